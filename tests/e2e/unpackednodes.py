# SPDX-License-Identifier: Apache-2.0
"""Real Cyrus and Courier nodes. Debian's packages conflict with Dovecot's, so they are not installed: apt
downloads them into a cache, they are unpacked, and the servers run in a mount and process namespace
of their own in which the unpacked files lie over the machine's. Standard library only."""

import contextlib
import fcntl
import functools
import hashlib
import imaplib
import os
import shutil
import signal
import socket
import subprocess
import threading

import harness
from harness import PATIENCE, free_port, wait_until

CACHE = os.environ.get("HOMING_PACKAGE_CACHE", os.path.join(harness.ROOT, "build", "packages"))


class Unavailable(Exception):
    """The servers cannot run here; the text says why."""


# ---- packages ----

def apt(*command, **kwargs):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, **kwargs).stdout
    except (OSError, subprocess.SubprocessError) as e:
        raise Unavailable("%s: %s" % (" ".join(command[:2]), (
            getattr(e, "stderr", "") or str(e)).strip())) from e


def missing(packages):
    """What an installation would add to this machine."""
    simulated = apt("apt-get", "install", "--simulate", "--no-install-recommends", *packages)
    return [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]


def download(names, directory):
    apt("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *names, cwd=directory)


@functools.lru_cache(maxsize=None)
def unpacked(packages):
    """A directory with the packages' files and those of their dependencies that are not here."""
    directory = os.path.join(CACHE, packages[0])
    os.makedirs(CACHE, exist_ok=True)
    with open(directory + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX) # several runs at once
        try:
            names = missing(packages)
        except Unavailable: # apt knows nothing of them yet
            apt("apt-get", "update", "-qq")
            names = missing(packages)
        # Another set on another machine, or after an upgrade, is another directory.
        versions = apt("apt-cache", "show", "--no-all-versions", *names) if names else ""
        directory += "-merged-" + hashlib.sha256("\n".join(
            line for line in versions.splitlines()
            if line.startswith("Filename: ")).encode()).hexdigest()[:16]
        if os.path.exists(directory):
            return directory
        made = directory + ".tmp"
        shutil.rmtree(made, ignore_errors=True)
        os.makedirs(made + "/debs")
        try:
            download(names, made + "/debs")
        except Unavailable: # its lists are old
            apt("apt-get", "update", "-qq")
            download(names, made + "/debs")
        for deb in sorted(os.listdir(made + "/debs")):
            apt("dpkg-deb", "-x", os.path.join(made, "debs", deb), made)
        for name in ("bin", "lib", "lib64", "sbin"): # what only an installation finds below /usr
            if os.path.isdir(os.path.join(made, name)):
                shutil.copytree(os.path.join(made, name), os.path.join(made, "usr", name), symlinks=True,
                                dirs_exist_ok=True)
        shutil.rmtree(made + "/debs")
        os.rename(made, directory)
        return directory


# ---- servers in a namespace ----

# /usr and /etc: the node's files over the unpacked ones over the machine's, none written to.
ENTER = """set -e
mount --make-rprivate /
mount -t overlay overlay -o ro,lowerdir={dir}/usr:{root}/usr:/usr /usr
mount -t overlay overlay -o ro,lowerdir={dir}/etc:{root}/etc:/etc /etc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs {dir}/dev
for device in null zero full random urandom tty; do
  touch {dir}/dev/$device
  mount --bind /dev/$device {dir}/dev/$device
done
ln -s /proc/self/fd {dir}/dev/fd
touch {dir}/dev/log
mount --bind {dir}/log {dir}/dev/log
mount --rbind {dir}/dev /dev
echo entered
"""


class UnpackedNode:
    """A server from unpacked packages. Its processes end with the first of them, its mounts with
    its processes; what it says to syslog is kept."""

    PROTOCOLS = PACKAGES = ()

    def __init__(self, workspace, name, address, users):
        self.workspace, self.name, self.address, self.users = workspace, name, address, users
        self.dir = workspace.mkdir(name)
        for sub in ("usr", "etc", "dev", "data"):
            workspace.mkdir(name + "/" + sub)
            os.chmod(os.path.join(self.dir, sub), 0o755)
        self.cert, self.key, self.pin = workspace.certificate(name, [name + ".test"])
        self.ports = {p: (free_port(address), free_port(address)) for p in self.PROTOCOLS}
        self.lines, self.process = [], None
        self.syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.syslog.bind(self.dir + "/log")
        os.chmod(self.dir + "/log", 0o666)
        threading.Thread(target=self._listen, args=(self.syslog,), daemon=True).start()

    def _listen(self, sock):
        with contextlib.suppress(OSError):
            while True:
                self.lines.append(sock.recv(65536).decode(errors="replace").rstrip("\n\0"))

    def account(self, name):
        """A system user of the service user's number, in the namespace alone."""
        with open("/etc/passwd", encoding="utf-8") as f:
            passwd = f.read()
        self.write("etc/passwd", "%s:x:%d:%d::/nonexistent:/bin/false\n%s" % (
            name, self.workspace.uid, self.workspace.gid, passwd), 0o644)
        with open("/etc/group", encoding="utf-8") as f:
            group = f.read()
        self.write("etc/group", "%s:x:%d:\n%s" % (name, self.workspace.gid, group), 0o644)

    def write(self, name, text, mode=0o600):
        os.makedirs(os.path.dirname(os.path.join(self.dir, name)), exist_ok=True)
        return self.workspace.write(self.name + "/" + name, text, mode)

    def run(self, script):
        """Starts the script in its namespace."""
        root = unpacked(self.PACKAGES)
        with open(self.dir + "/output", "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh",
                 "-c", ENTER.format(root=root, dir=self.dir) + script.format(dir=self.dir)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        for ports in self.ports.values():
            for port in filter(None, ports):
                wait_until(lambda p=port: self._listening(p))

    def _listening(self, port):
        if self.process.poll() is not None:
            log = self.log()
            raise (RuntimeError if log.startswith("entered") else Unavailable)(log)
        with contextlib.suppress(OSError), socket.create_connection((self.address, port), 1):
            return True
        return False

    def log(self):
        with contextlib.suppress(OSError), open(self.dir + "/output", encoding="utf-8",
                                                errors="replace") as f:
            return f.read() + "\n".join(self.lines)
        return "\n".join(self.lines)

    def toml(self, tls="implicit", forwarding="none", extra=""):
        """A protocol that has no port for implicit TLS gets STARTTLS."""
        table = {p: "starttls" if tls == "implicit" and not self.ports[p][1] else tls
                 for p in self.PROTOCOLS}
        return harness.destination_toml(self.name, self.address, None, table, self.pin, forwarding,
                                        extra, {p: self.ports[p][table[p] == "implicit"]
                                                for p in table})

    def deliver(self, user, message):
        """Puts a message into an account, without the router. It has been read, so that no session
        renames Courier's file under another."""
        with imaplib.IMAP4(self.address, self.ports["imap"][0], PATIENCE) as imap:
            imap.login(user, self.users[user])
            status, answer = imap.append("INBOX", r"(\Seen)", None, message)
            assert status == "OK", answer

    def close(self):
        if self.process is not None:
            # The first process takes all of its namespace with it; unshare waits for that.
            path = "/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)
            with contextlib.suppress(OSError), open(path, encoding="ascii") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)
            try:
                self.process.wait(PATIENCE)
            finally:
                self.process.kill()
        self.syslog.close()


# ---- Cyrus ----

CYRUS_CONF = """
START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="imapd -U 30" listen="{address}:{imap[0]}" proto="tcp4"
  imaps cmd="imapd -s -U 30" listen="{address}:{imap[1]}" proto="tcp4"
  pop3 cmd="pop3d -U 30" listen="{address}:{pop3[0]}" proto="tcp4"
  pop3s cmd="pop3d -s -U 30" listen="{address}:{pop3[1]}" proto="tcp4"
  sieve cmd="timsieved" listen="{address}:{managesieve[0]}" proto="tcp4"
}}
"""

CYRUS_IMAPD = """
servername: {name}.test
configdirectory: {dir}/data/lib
proc_path: {dir}/data/proc
mboxname_lockpath: {dir}/data/lock
defaultpartition: default
partition-default: {dir}/data/spool
sievedir: {dir}/data/sieve
idlesocket: {dir}/data/idle
lmtpsocket: {dir}/data/lmtp
notifysocket: {dir}/data/notify
virtdomains: userid
autocreate_quota: 0
autocreate_post: yes
failedloginpause: 0
popminpoll: 0
sieve_maxscripts: 100
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {dir}/data/sasldb2
tls_server_cert: {cert}
tls_server_key: {key}
tls_session_timeout: 0
allowstarttls: on
"""


class CyrusNode(UnpackedNode):
    """Cyrus IMAP 3.6 or 3.10 with a password database of SASL."""

    PROTOCOLS = ("imap", "pop3", "managesieve")
    PACKAGES = ("cyrus-imapd", "cyrus-pop3d", "sasl2-bin", "libsasl2-modules",
                "libsasl2-modules-db")

    def __init__(self, workspace, name, address, users):
        super().__init__(workspace, name, address, users)
        self.ports["managesieve"] = (self.ports["managesieve"][0], 0)
        self.account("cyrus")
        for sub in ("lib", "lib/db", "lib/socket", "proc", "lock", "spool", "sieve"):
            workspace.mkdir(name + "/data/" + sub)
        values = {"name": name, "address": address, "dir": self.dir, "cert": self.cert,
                  "key": self.key, **self.ports}
        self.write("etc/imapd.conf", CYRUS_IMAPD.format(**values).lstrip(), 0o644)
        self.write("etc/cyrus.conf", CYRUS_CONF.format(**values).lstrip(), 0o644)
        passwords = "".join(
            "printf %%s '%s' | saslpasswd2 -p -c -f {dir}/data/sasldb2 -u %s %s\n" % (
                (password, *reversed(user.split("@")))) for user, password in users.items())
        self.run(passwords + "chown cyrus {dir}/data/sasldb2\nexec cyrmaster -D\n")


# ---- Courier ----

# What is set behind Debian's own settings. An imapd that waits for a mailbox's lock is told by gamin
# when it is free. Gamin's server is found by an abstract socket with the user's name, here one for
# all nodes, and aborts when a process of another namespace asks: then nobody tells.
COURIER_SETTINGS = {
    "imapd": """
ADDRESS={address}
PORT={imap[0]}
MAXDAEMONS=200
MAXPERIP=200
GAM_CLIENT_ID={gamin}
""",
    "imapd-ssl": """
SSLADDRESS={address}
SSLPORT={imap[1]}
TLS_CERTFILE={dir}/both.pem
TLS_CACHEFILE=
""",
    "pop3d": """
ADDRESS={address}
PORT={pop3[0]}
MAXDAEMONS=200
MAXPERIP=200
""",
    "pop3d-ssl": """
SSLADDRESS={address}
SSLPORT={pop3[1]}
TLS_CERTFILE={dir}/both.pem
TLS_CACHEFILE=
""",
    "authdaemonrc": """
authmodulelist="authuserdb"
daemons=2
""",
}

COURIER_START = """
mount --bind {dir}/courier /etc/courier
mkdir -p /run/courier/authdaemon
chown -R courier /run/courier
makeuserdb
authdaemond start
scripts=/usr/sbin # Debian 12
[ -x $scripts/imapd ] || scripts=/usr/lib/courier
for server in imapd imapd-ssl pop3d pop3d-ssl; do
  $scripts/$server start
done
sleep infinity &
wait
"""


class CourierNode(UnpackedNode):
    """Courier IMAP and POP3 with passwords in userdb."""

    PROTOCOLS = ("imap", "pop3")
    PACKAGES = ("courier-imap", "courier-pop", "courier-authdaemon", "courier-authlib-userdb")

    def __init__(self, workspace, name, address, users):
        super().__init__(workspace, name, address, users)
        self.account("courier")
        with open(self.cert, encoding="ascii") as cert, open(self.key, encoding="ascii") as key:
            self.write("both.pem", cert.read() + key.read())
        os.makedirs(self.dir + "/usr/bin")
        os.symlink("makedat.courier", self.dir + "/usr/bin/makedat") # of update-alternatives
        shutil.copytree(unpacked(self.PACKAGES) + "/etc/courier", self.dir + "/courier")
        values = {"address": address, "dir": self.dir, **self.ports,
                  "gamin": os.path.basename(workspace.path) + "-" + name}
        for file, text in COURIER_SETTINGS.items():
            with open(os.path.join(self.dir, "courier", file), "a", encoding="ascii") as f:
                f.write(text.format(**values))
        for user in users:
            for sub in ("", "/Maildir", "/Maildir/cur", "/Maildir/new", "/Maildir/tmp"):
                workspace.mkdir(name + "/data/" + user + sub)
        self.write("courier/userdb", "".join(self._row(*pair) for pair in users.items()))
        os.chown(self.dir + "/courier/userdb", 0, 0)
        self.run(COURIER_START)

    def _row(self, user, password):
        hashed = subprocess.run(["openssl", "passwd", "-5", "-stdin"], input=password, text=True,
                                check=True, capture_output=True).stdout.strip()
        return "%s\tuid=%d|gid=%d|home=%s/data/%s|systempw=%s\n" % (
            user, self.workspace.uid, self.workspace.gid, self.dir, user, hashed)
