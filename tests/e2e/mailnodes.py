# SPDX-License-Identifier: Apache-2.0
"""Real Postfix nodes, a place where mails end up, and clients that log in by every protocol and
mechanism. Standard library only."""

import base64
import contextlib
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading

import harness
from harness import PATIENCE, free_port, wait_until

MECHS = ("PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")
PROTOCOLS = ("imap", "pop3", "managesieve", "submission")


# ---- where mails end up ----

class MailSink:
    """An SMTP server that keeps what it is given: (sender, recipients, message bytes)."""

    def __init__(self, address="127.0.0.1"):
        self.mails, lock = [], threading.Lock()
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def reply(self, text):
                self.wfile.write(text.encode() + b"\r\n")

            def data(self):
                lines = []
                for line in iter(self.rfile.readline, b".\r\n"):
                    if not line:
                        return None
                    lines.append(line[1:] if line.startswith(b".") else line)
                return b"".join(lines)

            def handle(self):
                sender, recipients = None, []
                self.reply("220 sink ESMTP")
                for raw in iter(self.rfile.readline, b""):
                    line = raw.decode(errors="replace").rstrip("\r\n")
                    word = line.split(" ")[0].upper()
                    if word == "EHLO":
                        self.reply("250-sink\r\n250-8BITMIME\r\n250-SIZE 1073741824\r\n250 CHUNKING")
                    elif word == "MAIL":
                        sender, recipients = line, []
                        self.reply("250 2.1.0 OK")
                    elif word == "RCPT":
                        recipients.append(re.search("<(.*?)>", line).group(1))
                        self.reply("250 2.1.5 OK")
                    elif word == "DATA":
                        self.reply("354 go on")
                        body = self.data()
                        if body is None:
                            return
                        with lock:
                            mails.append((sender, recipients, body))
                        self.reply("250 2.0.0 kept")
                    elif word == "BDAT":
                        self.body = getattr(self, "body", b"") + self.rfile.read(
                            int(line.split(" ")[1]))
                        if "LAST" in line.upper():
                            with lock:
                                mails.append((sender, recipients, self.body))
                            self.body = b""
                        self.reply("250 2.0.0 kept")
                    elif word == "QUIT":
                        self.reply("221 2.0.0 bye")
                        return
                    else:
                        self.reply("250 2.0.0 OK")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count, timeout=PATIENCE):
        return wait_until(lambda: len(self.mails) >= count and self.mails, timeout)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# ---- Postfix ----

POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
maillog_file = {dir}/postfix.log
maillog_file_prefixes = {dir}
myhostname = {name}.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = all
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_transport = {transport}
default_transport = {transport}
relay_domains =
message_size_limit = 0
mailbox_size_limit = 0
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_sasl_security_options = noanonymous
smtpd_peername_lookup = no
smtpd_delay_reject = yes
smtpd_authorized_xclient_hosts = {xclient}
smtpd_upstream_proxy_protocol = {proxy}
smtp_host_lookup = native
lmtp_host_lookup = native
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
smtpd_forbid_unauth_pipelining = no
"""

POSTFIX_MASTER = """
{address}:{smtp} inet n - n - - smtpd
{address}:{smtps} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
{address}:{submission} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
{address}:{submissions} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_wrappermode=yes -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixNode:
    """A real Postfix. Passwords are checked by a Dovecot node's auth socket; mails go to transport,
    "smtp:[ADDRESS]:PORT" or "lmtp:inet:ADDRESS:PORT". ports and certificate: as of a DovecotNode."""

    def __init__(self, workspace, name, address, dovecot, transport, proxy=True, xclient=False,
                 ports=None, certificate=None):
        self.name, self.address = name, address
        # Postfix wants every directory above its own to be root's.
        self.dir = os.path.join("/tmp", os.path.basename(workspace.path) + "-" + name)
        os.mkdir(self.dir, 0o755)
        for sub in ("spool", "data", "etc"):
            os.mkdir(os.path.join(self.dir, sub), 0o755)
        shutil.chown(self.dir + "/data", "postfix")
        self.cert, self.key, self.pin = certificate or workspace.certificate(name, [name + ".test"])
        self.ports = ports or {p: (free_port(address), free_port(address))
                               for p in ("smtp", "submission")}
        values = {"dir": self.dir, "name": name, "address": address, "transport": transport,
                  "cert": self.cert, "key": self.key, "auth": dovecot.dir + "/run/auth-client",
                  "xclient": "127.0.0.0/8" if xclient else "",
                  "proxy": "haproxy" if proxy else "",
                  "smtp": self.ports["smtp"][0], "smtps": self.ports["smtp"][1],
                  "submission": self.ports["submission"][0],
                  "submissions": self.ports["submission"][1]}
        for file, text in (("main.cf", POSTFIX_MAIN), ("master.cf", POSTFIX_MASTER)):
            with open(os.path.join(self.dir, "etc", file), "w", encoding="ascii") as f:
                f.write(text.format(**values).lstrip())
        self.log_path = self.dir + "/postfix.log"
        self._postfix("start")
        wait_until(self._listening)

    def _postfix(self, *args, check=True):
        # A server keeps what it inherits open: no pipe that would be waited for.
        done = subprocess.run(["postfix", "-c", self.dir + "/etc", *args], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=PATIENCE)
        assert not check or done.returncode == 0, self.log()

    def _listening(self):
        with contextlib.suppress(OSError), socket.create_connection(
                (self.address, self.ports["submission"][1]), 1):
            return True
        return False

    def log(self):
        return harness.read_log(self.log_path)

    def clients(self):
        """The client address of each connection, oldest first."""
        return re.findall(r"smtpd\[\d+\]: connect from \S*\[([^\]]*)\]", self.log())

    def logins(self):
        """(user, client address) of each mail that was submitted after a login."""
        return [(user, address) for address, user in re.findall(
            r": client=\S*\[([^\]]*)\], sasl_method=\S+, sasl_username=(\S+)", self.log())]

    def toml(self, tls="implicit", forwarding="proxy", extra="", protocols=("submission",)):
        """Protocols: submission, smtp."""
        return harness.destination_toml(
            self.name, self.address, None, {p: tls for p in protocols}, self.pin, forwarding, extra,
            {p: self.ports[p][tls == "implicit"] for p in protocols})

    def close(self):
        self._postfix("stop", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- clients ----

class Refused(Exception):
    """The login was refused; the reply is the argument."""


def sasl_messages(mech, user, secret):
    """What the client says, decoded, one message per challenge."""
    if mech == "PLAIN":
        return [b"\0%s\0%s" % (user.encode(), secret.encode())]
    if mech == "LOGIN":
        return [user.encode(), secret.encode()]
    if mech == "OAUTHBEARER":
        return [b"n,a=%s,\x01auth=Bearer %s\x01\x01" % (
            user.replace("=", "=3D").replace(",", "=2C").encode(), secret.encode())]
    return [b"user=%s\x01auth=Bearer %s\x01\x01" % (user.encode(), secret.encode())]


def b64(data):
    return base64.b64encode(data).decode()


class MailClient(harness.Client):
    """A client of one protocol on a socket; TLS by STARTTLS when asked for."""

    STARTTLS = {"imap": "s STARTTLS", "pop3": "STLS", "managesieve": "STARTTLS",
                "submission": "STARTTLS"}

    def __init__(self, protocol, sock, context, leg):
        super().__init__(sock, context if leg == "implicit" else None)
        self.protocol, self.context = protocol, context
        self.greeting = self.reply()
        if protocol == "submission":
            self.ask("EHLO client.test")
        if leg == "starttls":
            self.ask(self.STARTTLS[protocol])
            self.starttls()
            if protocol == "managesieve":
                self.reply()
            elif protocol == "submission":
                self.ask("EHLO client.test")

    def reply(self, tag=None):
        """One whole reply of the server, as lines."""
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if self.protocol == "imap" and (tag is None or line.startswith((tag + " ", "+"))):
                return lines
            if self.protocol == "pop3":
                return lines
            if self.protocol == "submission" and line[3:4] != "-":
                return lines
            if self.protocol == "managesieve":
                if re.match(r"(OK|NO|BYE)\b", line):
                    return lines
                literal = re.fullmatch(r"\{(\d+)\}", line)
                if literal or line == '""':
                    if literal:
                        lines.append(self.line())
                    return lines

    def ask(self, text, good=True):
        self.send(text + "\r\n")
        lines = self.reply(text.split(" ")[0] if self.protocol == "imap" else None)
        if good and not self.is_good(lines[-1]):
            raise Refused(lines[-1])
        return lines

    def is_good(self, line):
        return {"imap": re.match(r"\S+ OK\b", line), "pop3": line.startswith("+OK"),
                "managesieve": re.match(r"OK\b", line),
                "submission": line[:1] in "23"}[self.protocol]

    def is_challenge(self, line):
        return {"imap": line.startswith("+"), "pop3": line.startswith("+ "),
                "managesieve": not re.match(r"(OK|NO|BYE)\b", line),
                "submission": line.startswith("334")}[self.protocol]

    def login(self, mech, user, secret, initial=True):
        """Logs in; raises Refused. Returns the final line."""
        messages = [b64(m) for m in sasl_messages(mech, user, secret)]
        quote = '"%s"' if self.protocol == "managesieve" else "%s"
        command = {"imap": "a AUTHENTICATE " + mech, "pop3": "AUTH " + mech,
                   "managesieve": 'AUTHENTICATE "%s"' % mech, "submission": "AUTH " + mech}
        text = command[self.protocol]
        if initial and len(messages[0]) < 900:
            text += " " + quote % messages.pop(0)
        self.send(text + "\r\n")
        while True:
            line = self.reply("a")[-1]
            if not self.is_challenge(line):
                break
            self.send((quote % messages.pop(0) if messages else quote % "") + "\r\n")
        if not self.is_good(line):
            raise Refused(line)
        return line

    def works(self):
        """The session does something that needs the account."""
        text = {"imap": "b SELECT INBOX", "pop3": "STAT", "managesieve": "LISTSCRIPTS",
                "submission": "NOOP"}[self.protocol]
        return self.ask(text)

    def quit(self):
        self.send({"imap": "z LOGOUT", "pop3": "QUIT", "managesieve": "LOGOUT",
                   "submission": "QUIT"}[self.protocol] + "\r\n")
        self.eof()
        self.close()


def context(router):
    return ssl.create_default_context(cafile=router.cert)


def connect(router, listener, protocol, leg, source=None):
    return MailClient(protocol, router.connect(listener, source), context(router), leg)


# ---- scripted nodes of all protocols ----

GREETING = {"imap": "* OK [CAPABILITY IMAP4rev1 SASL-IR%s] hi\r\n", "pop3": "+OK hi\r\n",
            "submission": "220 hi\r\n",
            "managesieve": '"SIEVE" "x"\r\n%sOK "hi"\r\n'}


def speak(conn, protocol, starttls=False, on_tls=None, verdict=None):
    """A node of one protocol. on_tls: what it answers to STARTTLS instead of going on. verdict: what it
    answers to the credential. Returns when the client has gone or the verdict is given."""
    offer = {"imap": " STARTTLS", "managesieve": '"STARTTLS"\r\n'}.get(protocol, "")
    text = GREETING[protocol]
    conn.send(text % (offer if starttls else "") if "%s" in text else text)
    while True:
        line = conn.line()
        words = line.split(" ")
        word = (words[1] if protocol == "imap" else words[0]).upper()
        if word in ("STARTTLS", "STLS"):
            if on_tls is not None:
                conn.send(on_tls.replace("TAG", words[0]))
                conn.read()
                return
            conn.send({"imap": words[0] + " OK go\r\n", "pop3": "+OK go\r\n",
                       "submission": "220 go\r\n", "managesieve": "OK\r\n"}[protocol])
            conn.starttls()
            starttls = False
            if protocol == "managesieve":
                conn.send(GREETING[protocol] % "")
        elif word in ("AUTH", "AUTHENTICATE"):
            conn.credential = line
            if verdict:
                conn.send(verdict.replace("TAG", words[0]))
            return
        elif word == "CAPA":
            conn.send("+OK\r\n%s.\r\n" % ("STLS\r\n" if starttls else ""))
        elif word == "EHLO":
            conn.send("250-node\r\n%s250 AUTH PLAIN\r\n" % ("250-STARTTLS\r\n" if starttls else ""))
        elif word == "CAPABILITY":
            conn.send("* CAPABILITY IMAP4rev1 SASL-IR\r\n%s OK\r\n" % words[0])
        else:
            conn.send("%s OK\r\n" % words[0])
