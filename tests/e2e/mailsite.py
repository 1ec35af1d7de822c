# SPDX-License-Identifier: Apache-2.0
"""Nodes with all mail protocols and accounts on them, and what real mail clients need to use them."""

import email
import imaplib
import os
import subprocess

import harness
import mailnodes
import pytest
from harness import PATIENCE, jwt, wait_until
from mailnodes import PROTOCOLS, PostfixNode

USERS = {"alice@example.com": "secret-a", "bob@example.com": "secret-b"}
PLAIN_ALLOWED = "".join("[capabilities.%s]\nallow_plain_auth_without_tls = true\n" % p
                        for p in PROTOCOLS)


def listeners(legs=("implicit", "starttls"), more="", protocols=PROTOCOLS):
    return {p + "-" + leg: (leg, more, p) for p in protocols for leg in legs}


def secret_of(user, mech, right=True):
    if mech in ("PLAIN", "LOGIN"):
        return USERS[user] if right else "wrong"
    return jwt({"email": user}, harness.OAUTH_KEY if right else b"another key, not the node's one")


@pytest.fixture
def dovecots(make, sink):
    """node1 and node2 with all four protocols; submission ends in the sink."""
    return [make.dovecot("node%d" % i, "127.0.0.%d" % (20 + i), USERS, protocols=PROTOCOLS,
                         relay_port=sink.port) for i in (1, 2)]


@pytest.fixture
def postfix(workspace, make):
    """Returns a function that starts a Postfix; its passwords and mailboxes are a Dovecot's."""
    started = []

    def start(name, address, dovecot, transport=None, **kwargs):
        if transport is None:
            transport = "lmtp:inet:%s:%d" % (dovecot.address, dovecot.ports["lmtp"][0])
        started.append(PostfixNode(workspace, name, address, dovecot, transport, **kwargs))
        return started[-1]
    yield start
    for node in started:
        node.close()


USER, PASSWORD = "alice@example.com", "secret-a"
MAIL = "From: bob@remote.test\r\nTo: %s\r\nSubject: %%s\r\nMessage-ID: <%%s@test>\r\n\r\nhello %%s\r\n" % USER


class Setup:
    def __init__(self, make, workspace, sink):
        self.workspace, self.sink = workspace, sink
        self.home = workspace.mkdir("home")
        self.node = make.dovecot("node1", "127.0.0.51", {USER: PASSWORD},
                                 protocols=mailnodes.PROTOCOLS, relay_port=sink.port)
        self.router = make.router([self.node.toml()], default="node1", extra=self.beside(), listeners={
            "imaps": ("implicit", "", "imap"), "imap": ("starttls", "", "imap"),
            "pop3s": ("implicit", "", "pop3"), "pop3": ("starttls", "", "pop3"),
            "sieve": ("starttls", "", "managesieve"),
            "smtps": ("implicit", "", "submission"), "smtp": ("starttls", "", "submission")})
        self.ports = self.router.ports
        self.environment = dict(os.environ, HOME=self.home, LC_ALL="C", TERM="xterm",
                                SSL_CERT_FILE=self.router.cert)

    def beside(self):
        """More of the router's configuration."""
        return ""

    def file(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o600)
        return path

    def run(self, *command, stdin="", check=True, **kwargs):
        done = subprocess.run(command, input=stdin, env=self.environment, cwd=self.home, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE * 2,
                              check=False, **kwargs)
        assert not check or done.returncode == 0, done.stdout + self.router.log()
        return done.stdout

    def put(self, *names):
        """Mails that are there."""
        imap = imaplib.IMAP4_SSL("localhost", self.ports["imaps"],
                                 ssl_context=mailnodes.context(self.router))
        imap.login(USER, PASSWORD)
        for name in names:
            assert imap.append("INBOX", None, None, (MAIL % (name, name, name)).encode())[0] == "OK"
        imap.logout()

    @staticmethod
    def maildir_subjects(path):
        found = []
        for sub in ("new", "cur"):
            for name in os.listdir(os.path.join(path, sub)) if os.path.isdir(
                    os.path.join(path, sub)) else []:
                with open(os.path.join(path, sub, name), "rb") as f:
                    found.append(email.message_from_binary_file(f)["Subject"])
        return sorted(found)

    def logged_in(self, protocol, count=1):
        wait_until(lambda: len(self.node.logins(protocol)) >= count)
