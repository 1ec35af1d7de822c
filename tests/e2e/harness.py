# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests and the demo share: certificates, real Dovecot nodes, scripted nodes, the
router as a process, clients. Standard library only. Everything lives in a directory of its own and
is stopped and removed by close()."""

import base64
import contextlib
import fcntl
import grp
import hashlib
import hmac
import http.client
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

import release

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("HOMING_BUILD", os.path.join(ROOT, "build")))
TOKEN = "e2e-admin-token-0123456789abcdefghij"
LIST_QUERY = ("SELECT identifier FROM account_nodes WHERE node = $1 AND identifier > $2 "
              "ORDER BY identifier LIMIT $3")
# Sanitizers make everything slower; deadlines of the tests are generous anyway.
PATIENCE = 30.0
# What Python 3.13 wants of an authority (RFC 5280 section 4.2.1.3).
AUTHORITY = ["-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign"]


def wait_until(what, timeout=PATIENCE, interval=0.02):
    """Polls until what() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for %r" % (what,))
        time.sleep(interval)


GIVEN = set()


def free_port(host="127.0.0.1"):
    """A port that nobody listens on, and that it has not given before in this process."""
    while True:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, 0))
            port = s.getsockname()[1]
        if port not in GIVEN:
            GIVEN.add(port)
            return port


def service_user():
    """An unprivileged user for the processes under test, and its group."""
    name = os.environ.get("HOMING_TEST_USER", "nobody")
    entry = pwd.getpwnam(name)
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name, entry.pw_uid, entry.pw_gid


class Workspace:
    """A temporary directory that the service user owns."""

    def __init__(self, prefix="homing-"):
        self.user, self.group, self.uid, self.gid = service_user()
        self.path = tempfile.mkdtemp(prefix=prefix)
        os.chmod(self.path, 0o755)
        self.own(self.path)

    def own(self, path):
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        self.own(path)
        return path

    def mkdir(self, name):
        path = os.path.join(self.path, name)
        os.mkdir(path)
        self.own(path)
        return path

    def certificate(self, name, names, days=30, key="ec", issuer=None, authority=False):
        """A certificate (negative days: expired), self-signed or by an issuer that this returned, made
        with authority; returns (cert path, key path, SHA-256 of the DER)."""
        cert, keyfile = (os.path.join(self.path, name + s) for s in (".pem", ".key"))
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        if key == "rsa":
            algorithm = ["-newkey", "rsa:2048"]
        elif key != "ec":
            algorithm = key # options of "openssl req"
        request = cert + ".csr"
        subprocess.run(["openssl", "req", "-new", *algorithm, "-nodes", "-keyout", keyfile, "-out",
                        request, "-subj", "/CN=" + names[0], "-addext",
                        "subjectAltName=" + ",".join("DNS:" + n for n in names),
                        *(AUTHORITY if authority else [])],
                       check=True, capture_output=True)
        signer = ["-signkey", keyfile]
        if issuer:
            signer = ["-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial"]
        subprocess.run(["openssl", "x509", "-req", "-in", request, *signer,
                        *release.validity(days), "-copy_extensions", "copy", "-out", cert],
                       check=True, capture_output=True)
        for path in (cert, keyfile):
            os.chmod(path, 0o600)
            self.own(path)
        with open(cert, encoding="ascii") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
            return cert, keyfile, hashlib.sha256(der).hexdigest()

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


# ---- Dovecot ----

# The protocol in the router's configuration -> Dovecot's names for it and its listener.
DOVECOT_NAMES = {"imap": ("imap", "imap"), "pop3": ("pop3", "pop3"),
                 "managesieve": ("managesieve", "sieve"), "submission": ("submission", "submission")}
# Signs the tokens that Dovecot nodes accept (HS256).
OAUTH_KEY = b"a key that only tests know, of 256 bits or so"


def jwt(claims, key=OAUTH_KEY):
    """A signed JSON Web Token (RFC 7519)."""
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    now = int(time.time())
    claims = dict({"iat": now - 10, "nbf": now - 10, "exp": now + 3600, "sub": "subject"}, **claims)
    signed = b".".join(part(json.dumps(p).encode()) for p in (
        {"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + part(hmac.new(key, signed, "sha256").digest())).decode()


def end_process(process):
    """Asks it to end, then makes it; closes its stderr."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process.stderr.close()


def read_log(path):
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
        return f.read()
    return ""


class DovecotNode:
    """A real Dovecot on a loopback address of its own, with its own data and log. protocols are
    names of the router's configuration; relay_port: where submission sends mails; ports: (plain, TLS)
    of each protocol, certificate: what certificate() returned, trusted: who may send PROXY headers.
    masters: passwords of those who may act for others, as NAME and authzid or USER%NAME."""

    def __init__(self, workspace, name, address, users, haproxy=True, protocols=("imap",),
                 relay_port=25, ports=None, certificate=None, trusted="127.0.0.0/8",
                 masters=None,
                 mechanisms="plain login oauthbearer xoauth2", extra=""):
        self.name, self.address, self.protocols = name, address, protocols
        self.dir = workspace.mkdir(name)
        for sub in ("run", "state", "mail"):
            os.mkdir(os.path.join(self.dir, sub))
            workspace.own(os.path.join(self.dir, sub))
        self.cert, self.key, self.pin = certificate or workspace.certificate(name, [name + ".test"])
        self.ports = ports or {p: (free_port(address), free_port(address)) for p in protocols}
        proxied = "yes" if haproxy else "no"
        services = "".join(release.dovecot_service(
            login=DOVECOT_NAMES[p][0], listener=DOVECOT_NAMES[p][1], plain_port=self.ports[p][0],
            tls_port=self.ports[p][1], ready=1 if p == "imap" else 0,
            haproxy=proxied) for p in protocols if p != "lmtp")
        if "lmtp" in protocols:
            services += release.LMTP.format(port=self.ports["lmtp"][0], haproxy=proxied)
        self.plain_port, self.tls_port = self.ports[protocols[0]]
        self._write_oauth(workspace)
        workspace.write(name + "/users",
                        "".join("%s:{PLAIN}%s\n" % pair for pair in users.items()))
        if masters:
            workspace.write(name + "/masters",
                            "".join("%s:{PLAIN}%s\n" % pair for pair in masters.items()))
        conf = workspace.write(name + "/dovecot.conf", release.dovecot_conf(
            services, masters, dir=self.dir, address=address, user=workspace.user,
            group=workspace.group, uid=workspace.uid, gid=workspace.gid, cert=self.cert,
            key=self.key, protocols=" ".join("sieve" if p == "managesieve" else p for p in protocols),
            relay_port=relay_port, trusted=trusted, mechanisms=mechanisms, extra=extra))
        self.log_path = os.path.join(self.dir, "dovecot.log")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(self._listening)

    def _write_oauth(self, workspace):
        keys = self.dir + "/keys/default/HS256"
        os.makedirs(keys)
        for path in (self.dir + "/keys", self.dir + "/keys/default", keys):
            workspace.own(path)
        workspace.write(keys[len(workspace.path) + 1:] + "/default",
                        base64.b64encode(OAUTH_KEY).decode())
        workspace.write(self.name + "/oauth2.conf",
                        "introspection_mode = local\nusername_attribute = email\n"
                        "local_validation_key_dict = fs:posix:prefix=%s/keys/\n" % self.dir)

    def _listening(self):
        if self.process.poll() is not None:
            raise RuntimeError("dovecot: " + self.process.stderr.read().decode() + self.log())
        with contextlib.suppress(OSError), socket.create_connection(
                (self.address, self.tls_port), 1):
            return True
        return False

    def log(self):
        return read_log(self.log_path)

    def logins(self, protocol="imap"):
        """(user, client address) of each successful login, oldest first."""
        return release.dovecot_logins(self.log(), DOVECOT_NAMES[protocol][0])

    def toml(self, tls="implicit", forwarding="proxy", extra=""):
        """tls: of all legs, or a table by protocol."""
        table = tls if isinstance(tls, dict) else {p: tls for p in self.protocols}
        return destination_toml(self.name, self.address, None, table, self.pin, forwarding, extra, {
            p: self.ports[p][table[p] == "implicit"] for p in table})

    def close(self):
        end_process(self.process)


def destination_toml(name, host, port, tls, pin=None, forwarding="proxy", extra="", ports=None):
    """port and tls are the IMAP leg's; with ports, both are tables by protocol."""
    legs = {p: (ports[p], tls[p]) for p in ports} if ports else {"imap": (port, tls)}
    lines = ["[destination.%s]" % name, 'host = "%s"' % host,
             'tls_server_name = "%s.test"' % name, 'forwarding = "%s"' % forwarding]
    if pin:
        lines.append('tls_pinned_cert_sha256 = "%s"' % pin)
    if any(leg[1] == "plain" for leg in legs.values()):
        lines.append("allow_plaintext_auth = true")
    if extra:
        lines.append(extra)
    for protocol, leg in legs.items():
        lines += ["[destination.%s.protocol.%s]" % (name, protocol), "port = %d" % leg[0],
                  'tls = "%s"' % leg[1]]
    return "\n".join(lines) + "\n"


# ---- scripted nodes ----

class ScriptedNode:
    """An IMAP node whose behaviour a test writes as a function. serve(conn) runs in a thread per
    connection; conn has line(), send(), starttls(), and what the PROXY header said."""

    def __init__(self, workspace, name, serve, tls="implicit", proxy=False, address="127.0.0.1"):
        self.name, self.address, self.tls, self.proxy = name, address, tls, proxy
        self.serve = serve
        self.cert, self.key, self.pin = workspace.certificate(name, [name + ".test"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.cert, self.key)
        self.listener = socket.create_server((address, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.connections, self.errors, self.lock = [], [], threading.Lock()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        conn = NodeConnection(self, sock)
        with self.lock:
            self.connections.append(conn)
        try:
            if self.proxy:
                conn.read_proxy()
            if self.tls == "implicit":
                conn.starttls()
            self.serve(conn)
        except (OSError, EOFError, ssl.SSLError) as e:
            conn.error = e
        finally:
            conn.close()

    def toml(self, forwarding=None, extra=""):
        if forwarding is None:
            forwarding = "proxy" if self.proxy else "none"
        return destination_toml(self.name, self.address, self.port, self.tls, self.pin, forwarding,
                                extra)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for conn in self.connections:
                conn.close()


class NodeConnection:
    def __init__(self, node, sock):
        self.node, self.sock = node, sock
        self.buffer, self.received, self.error = b"", b"", None
        self.proxy_source = self.proxy_destination = self.proxy_tlvs = None
        self.closed, self.peer = threading.Event(), None
        with contextlib.suppress(OSError): # reset before it was looked at
            self.peer = sock.getpeername()[0]
        sock.settimeout(PATIENCE)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def read_proxy(self):
        head = self._exactly(15)
        if head == b"PROXY UNKNOWN\r\n":
            self.proxy_source = "unknown"
            return
        head += self._exactly(1)
        assert head[:12] == b"\r\n\r\n\0\r\nQUIT\n" and head[12] == 0x21, head
        body = self._exactly(struct.unpack(">H", head[14:16])[0])
        assert head[13] == 0x11, head
        source, destination = (socket.inet_ntoa(body[i:i + 4]) for i in (0, 4))
        ports = struct.unpack(">HH", body[8:12])
        self.proxy_source = (source, ports[0])
        self.proxy_destination = (destination, ports[1])
        self.proxy_tlvs = body[12:]

    def starttls(self):
        self.sock = self.node.context.wrap_socket(self.sock, server_side=True)

    def read(self, size=65536):
        data = self.sock.recv(size)
        self.received += data
        return data

    def line(self):
        while b"\n" not in self.buffer:
            data = self.read()
            if not data:
                raise EOFError
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()
        self.closed.set()


def node_login(conn, accept=lambda user, password: password != "wrong",
               capabilities="IMAP4rev1 SASL-IR", refusal="NO [AUTHENTICATIONFAILED] No such luck."):
    """Greeting and AUTHENTICATE as a well-behaved node does it. Returns the user or None."""
    conn.send("* OK [CAPABILITY %s] scripted\r\n" % capabilities)
    while True:
        words = conn.line().split(" ")
        tag, command = words[0], words[1].upper()
        if command == "CAPABILITY":
            conn.send("* CAPABILITY %s\r\n%s OK done\r\n" % (capabilities, tag))
        elif command == "ID":
            conn.send("* ID NIL\r\n%s OK done\r\n" % tag)
        elif command == "STARTTLS":
            conn.send("%s OK go\r\n" % tag)
            conn.starttls()
        elif command == "AUTHENTICATE":
            conn.tag = tag
            if len(words) < 4:
                conn.send("+ \r\n")
                words.append(conn.line())
            _, user, password = base64.b64decode(words[3]).decode().split("\0")
            conn.user, conn.password = user, password
            if accept(user, password):
                conn.send("%s OK [CAPABILITY IMAP4rev1] welcome %s\r\n" % (tag, user))
                return user
            conn.send("%s %s\r\n" % (tag, refusal))
            return None
        else:
            conn.send("%s BAD what\r\n" % tag)


def node_imap(conn):
    """A node on which a session can live: NOOP, LOGOUT, and BYTES n for bulk."""
    if node_login(conn) is None:
        conn.read()
        return
    while True:
        words = conn.line().split(" ")
        if words[1].upper() == "LOGOUT":
            conn.send("* BYE\r\n%s OK bye\r\n" % words[0])
            return
        conn.send("%s OK %s\r\n" % (words[0], words[1]))


@contextlib.contextmanager
def light_node():
    """The benchmark's node, plain: (destination, its name)."""
    with subprocess.Popen([BUILD + "/bench/lightnode", "127.0.0.1:0", "imap", "plain"],
                          stdout=subprocess.PIPE, text=True) as node:
        try:
            port = int(node.stdout.readline())
            yield destination_toml("node1", "127.0.0.1", port, "plain", None, "none"), "node1"
        finally:
            node.kill()


class Load:
    """The benchmark's load generator (tests/bench/load.c): call it with a command, get its figures.
    within: a command to start it in a network namespace, for example."""

    def __init__(self, address, *arguments, within=()):
        self.process = subprocess.Popen([*within, BUILD + "/bench/load", address, *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line == "ready\n", line

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line and not line.startswith("error="), "%s: %s" % (command, line)
        pairs = dict(pair.split("=", 1) for pair in line.split())
        return {key: value if key == "failure" else float(value) for key, value in pairs.items()}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0

    def kill(self):
        """In whatever state it is."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.kill() if kind else self.close()


# ---- the router ----

class Router:
    """homingd with a configuration made of the given parts."""

    def __init__(self, workspace, destinations, default, mapping=None, listeners=None, server="",
                 extra="", admin=True, environment=None, rlimit_nofile=None, normalize="lowercase",
                 mapping_extra="", routing=""):
        self.workspace = workspace
        self.cert, self.key, self.pin = workspace.certificate("router", ["router.test",
                                                                         "localhost"])
        self.db = os.path.join(workspace.path, "mapping.sqlite")
        if mapping is None:
            mapping = self.sqlite_toml(mapping_extra, normalize)
        if listeners is None:
            listeners = {"imap": "implicit", "imapt": "starttls"}
        parts = ["[server]\nhostname = \"router.test\"\nuser = \"%s\"\ngroup = \"%s\"\n%s\n" % (
            workspace.user, workspace.group, server),
            "[tls.certificate.default]\ncert = \"router.pem\"\nkey = \"router.key\"\n"
            "default = true\n", mapping,
            "[routing]\ndefault_destination = \"%s\"\n%s" % (default, routing)]
        parts += destinations
        for name, tls in listeners.items():
            # NAME: tls, (tls, more lines) or (tls, more lines, protocol); the default is imap
            tls, more, protocol = (tls if isinstance(tls, tuple) else (tls,)) + ("", "imap")[
                len(tls) - 1 if isinstance(tls, tuple) else 0:]
            parts.append("[listener.%s]\nprotocol = \"%s\"\nbind = [\"127.0.0.1:0\"]\n"
                         "tls = \"%s\"\n%s\n" % (name, protocol, tls, more))
        if admin:
            workspace.write("token", TOKEN + "\n")
            parts.append("[admin]\nbind = \"127.0.0.1:0\"\nbearer_token_file = \"token\"\n"
                         "lockout_threshold = 3\nlockout_duration = \"2s\"\n")
        parts.append(extra)
        self.config = workspace.write("homing.toml", "\n".join(parts))
        self.environment = dict(os.environ, **(environment or {}))
        # LeakSanitizer traces the process, which a non-dumpable one forbids.
        if "-san" in BUILD:
            self.environment.setdefault("HOMING_COREDUMP", "1")
        self.rlimit_nofile = rlimit_nofile
        self.wrapper = []  # a command that starts the router under another identity
        self.ports, self.lines, self.process = {}, [], None
        self.lock = threading.Condition()

    def sqlite_toml(self, extra="", normalize="lowercase"):
        if not os.path.exists(self.db):
            subprocess.run([os.path.join(BUILD, "homingctl"), "init-db", self.db], check=True,
                           stdout=subprocess.DEVNULL)
        for path in (self.db, self.db + "-wal", self.db + "-shm"):
            if os.path.exists(path):
                self.workspace.own(path)
        return ("[mapping]\nsource = \"sql\"\nnormalize = \"%s\"\n%s\n[mapping.sql]\n"
                "url = \"sqlite://%s\"\n"
                "query = \"SELECT node FROM account_nodes WHERE identifier = $1\"\n"
                "upsert_query = \"INSERT INTO account_nodes (identifier, node) VALUES ($1, $2) "
                "ON CONFLICT (identifier) DO UPDATE SET node = excluded.node\"\n"
                "delete_query = \"DELETE FROM account_nodes WHERE identifier = $1\"\n"
                "list_query = \"%s\"\n" % (normalize, extra, self.db, LIST_QUERY))

    def map(self, assignments):
        """Writes rows behind the router's back."""
        db = sqlite3.connect(self.db, timeout=10)
        with db:
            db.executemany("INSERT OR REPLACE INTO account_nodes VALUES (?, ?)",
                           list(assignments.items()))
        db.close()
        for path in (self.db + "-wal", self.db + "-shm"):
            if os.path.exists(path):
                self.workspace.own(path)

    def start(self):
        import resource

        def limits():
            if self.rlimit_nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.rlimit_nofile,) * 2)

        begin = len(self.lines) # after those of an earlier run
        self.process = subprocess.Popen([*self.wrapper, os.path.join(BUILD, "homingd"), "--config",
                                         self.config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=self.environment,
                                        preexec_fn=limits)
        # The router drops lines rather than wait for a reader; let bursts fit.
        fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_line(lambda line: "msg=ready" in line, start=begin)
        return self

    def restart(self):
        """Stops it and starts it anew; the log begins anew as well."""
        self.stop()
        self.lines, self.ports = [], {}
        return self.start()

    def _read(self):
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            match = re.search(r"msg=listening listener=(\S+) addr=\S*:(\d+)$", line)
            with self.lock:
                if match:
                    self.ports[match.group(1)] = int(match.group(2))
                self.lines.append(line)
                self.lock.notify_all()
        with self.lock:
            self.lines.append("END OF LOG")
            self.lock.notify_all()

    def wait_line(self, wanted, timeout=PATIENCE, start=0):
        """The first log line from index start on that wanted() likes."""
        end, seen = time.monotonic() + timeout, start
        with self.lock:
            while True:
                for line in self.lines[seen:]:
                    if wanted(line):
                        return line
                seen = len(self.lines)
                if "END OF LOG" in self.lines[start:]:
                    raise AssertionError("the router ended:\n" + "\n".join(self.lines))
                if not self.lock.wait(max(0.0, end - time.monotonic())):
                    raise AssertionError("no such log line:\n" + "\n".join(self.lines))

    def session_lines(self):
        with self.lock:
            return [parse_logfmt(line) for line in self.lines if " msg=session " in line]

    def wait_sessions(self, count):
        return wait_until(lambda: len(self.session_lines()) >= count and self.session_lines())

    def log(self):
        with self.lock:
            return "\n".join(self.lines)

    # clients

    def connect(self, listener="imap", source=None):
        return socket.create_connection(("127.0.0.1", self.ports[listener]), PATIENCE,
                                        (source, 0) if source else None)

    def client(self, listener="imap", source=None, tls=True):
        return Client(self.connect(listener, source), self.tls_context() if tls else None)

    def tls_context(self):
        context = ssl.create_default_context(cafile=self.cert)
        return context

    def admin(self, method, path, token=TOKEN, source=None, headers=None):
        context = ssl.create_default_context(cafile=self.cert)
        conn = http.client.HTTPSConnection("localhost", self.ports["admin"], timeout=PATIENCE,
                                           context=context,
                                           source_address=(source, 0) if source else None)
        try:
            sent = dict(headers or {})
            if token is not None:
                sent.setdefault("Authorization", "Bearer " + token)
            conn.request(method, path, headers=sent)
            response = conn.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body else None, response
        finally:
            conn.close()

    def stats(self):
        return self.admin("GET", "/stats")[1]

    def sessions(self, **filters):
        query = urllib.parse.urlencode(filters)
        status, body, _ = self.admin("GET", "/sessions" + ("?" + query if query else ""))
        assert status == 200, body
        return body

    def wait_path(self, path, account):
        """The account's sessions are established, and this path carries both directions."""
        def there():
            rows = self.sessions(identifier=account)["sessions"]
            return rows and all((row["stage"], row["path_up"], row["path_down"]) ==
                                ("established", path, path) for row in rows)
        wait_until(there)

    def wait_idle(self):
        """No client connection is left."""
        wait_until(lambda: self.stats()["active_connections"] == 0)

    def ctl(self, *args):
        return subprocess.run([os.path.join(BUILD, "homingctl"), "--url",
                               "https://localhost:%d" % self.ports["admin"], "--cacert", self.cert,
                               "--token-file", os.path.join(self.workspace.path, "token"), *args],
                              capture_output=True, text=True, timeout=PATIENCE)

    def fds(self):
        """Open descriptors, but for those of a WAL, which SQLite opens at its first query."""
        count = 0
        for name in os.listdir("/proc/%d/fd" % self.process.pid):
            with contextlib.suppress(FileNotFoundError): # closed meanwhile
                target = os.readlink("/proc/%d/fd/%s" % (self.process.pid, name))
                count += not target.endswith(("-wal", "-shm"))
        return count

    def stop(self, expect=0, how=signal.SIGTERM):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(PATIENCE * 2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the router did not stop:\n" + self.log())
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        code, self.process = self.process.returncode, None
        log = self.log()
        assert "Sanitizer" not in log and "runtime error:" not in log, log
        assert code == expect, "exit %d\n%s" % (code, log)

    def close(self):
        if self.process is not None:
            self.stop()


def exchange(sock, block, size, received=b""):
    """Sends size bytes of repeated block and receives size bytes at the same time, in one thread
    (an SSLSocket must not be used by two). Returns the digest of what came, received included."""
    digest, got, sent = hashlib.sha256(received), len(received), 0
    view, end = memoryview(block), time.monotonic() + 10 * PATIENCE
    sock.setblocking(False)
    while (got < size or sent < size) and time.monotonic() < end:
        moved = False
        if sent < size:
            at = sent % len(block)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent += sock.send(view[at:at + min(len(block) - at, size - sent)])
                moved = True
        if got < size:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                data = sock.recv(1 << 18)
                assert data, "end after %d of %d bytes, %d sent" % (got, size, sent)
                digest.update(data)
                got += len(data)
                moved = True
        if not moved:
            select.select([sock] if got < size else [], [sock] if sent < size else [], [], 1)
    sock.settimeout(PATIENCE)
    assert got == sent == size, (got, sent)
    return digest.hexdigest()


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


def available_kib():
    with open("/proc/meminfo", encoding="ascii") as f:
        return int(re.search(r"^MemAvailable:\s+(\d+)", f.read(), re.M).group(1))


def push_at_a_closed_door(make, sysctl, path, tls, mode, push=400 << 20):
    """A node tries to push at a client that does not read. What was taken of it is held by four
    sockets, the router and the kernel's backlog between them: at most the buffers and 2 MiB. Then
    the client reads, and every byte is there. Returns the figures."""
    buffer = 256 << 10
    for name in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
        sysctl(name, "4096 %d %d" % (buffer // 2, buffer))
    started, taken, stop = threading.Event(), [], threading.Event()
    block = bytes(range(251)) * 1024

    def serve(conn):
        if node_login(conn) is None:
            return
        assert conn.line() == "start"
        conn.sock.settimeout(3)
        total = 0
        with contextlib.suppress(OSError):
            while total < push:
                at = total % len(block) # a record at a time: all that is counted was sent
                total += conn.sock.send(block[at:at + 16384])
        taken.append(total)
        stop.wait(PATIENCE)

    node = make.node("node1", serve, tls=tls)
    router = make.router([node], listeners={"imap": tls}, extra="[capabilities.imap]\n"
                         "allow_plain_auth_without_tls = true\n[splice]\nmode = \"%s\"\n" % mode)
    with router.client(tls=tls == "implicit") as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.wait_path(path, "alice")
        rss, available = rss_kib(router.process.pid), available_kib()
        client.send("start\n")
        wait_until(lambda: taken)
        grown, used = rss_kib(router.process.pid) - rss, []
        # a socket's memory is what it holds with the kernel's overhead: at most twice its buffer
        assert taken[0] < 4 * 2 * buffer + (2 << 20), taken
        assert grown < 2048, grown
        limit = (4 * 2 * buffer + (2 << 20)) // 1024 + 32768

        def settled():
            """The machine is not ours alone: others take memory and give it back, what is held here stays."""
            used.append(available - available_kib())
            return used[-1] < limit
        wait_until(settled, PATIENCE / 2)
        digest, got = hashlib.sha256(), 0
        while got < taken[0]:
            data = client.sock.recv(1 << 20)
            assert data
            digest.update(data)
            got += len(data)
        expected = hashlib.sha256((block * (taken[0] // len(block) + 1))[:taken[0]])
        assert got == taken[0] and digest.digest() == expected.digest()
        rows = router.sessions()["sessions"]
        assert {rows[0]["path_up"], rows[0]["path_down"]} == {path}
        stop.set()
    return {"taken": taken[0], "rss_kib": grown, "available_kib": used[-1]}


def preloaded(name):
    """Environment of a router with tests/e2e/NAME.c in front of the C library."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".c")
    library = os.path.join(BUILD, "tests", name + ".so")
    if not os.path.exists(library) or os.path.getmtime(library) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(library), exist_ok=True)
        made = "%s.%d" % (library, os.getpid())
        subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, source], check=True)
        os.rename(made, library)
    return {"LD_PRELOAD": library,
            "ASAN_OPTIONS": ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"),
                                                   "verify_asan_link_order=0")))}


def fast_time(factor):
    """Environment of a router whose timers run so many times as fast (tests/e2e/fasttime.c)."""
    return dict(preloaded("fasttime"), FASTTIME=str(factor))


def parse_logfmt(line):
    return {key: bare or quoted for key, quoted, bare in
            re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line)}


class Client:
    """A line client that sees every byte."""

    def __init__(self, sock, context=None):
        self.sock, self.context, self.buffer = sock, context, b""
        sock.settimeout(PATIENCE)
        if context:
            self.starttls()

    def starttls(self, context=None):
        self.sock = (context or self.context).wrap_socket(self.sock, server_hostname="localhost")

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def expect(self, text):
        line = self.line()
        assert line == text, "%r is not %r" % (line, text)

    def command(self, text):
        """Sends a tagged command; returns the lines up to its tagged reply."""
        self.send(text + "\r\n")
        tag, lines = text.split(" ", 1)[0], []
        while True:
            lines.append(self.line())
            if lines[-1].startswith(tag + " "):
                return lines

    def eof(self):
        """Reads to the end; returns what came."""
        data = self.buffer
        self.buffer = b""
        while True:
            try:
                piece = self.sock.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                return data
            if not piece:
                return data
            data += piece

    def readable(self, seconds):
        return bool(select.select([self.sock], [], [], seconds)[0])

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
