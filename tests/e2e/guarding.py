# SPDX-License-Identifier: Apache-2.0
"""A router with a guard in front of a node of every protocol, and a balancer that tells it of clients
at addresses of the test's choice, since nobody on this host is ever banned."""

import base64
import contextlib
import os
import socket
import tempfile

import pytest

import harness
from harness import wait_until
from http_nodes import ROUTE, HttpClient, Wire, answer, basic
from mailnodes import PROTOCOLS, MailClient, Refused
from mailpeers import Peer
from plain_legs import bpf_file_system

BALANCER = "127.0.4.1"
BPF_FS = os.path.join(tempfile.gettempdir(), "homing-guarding-%d" % os.getpid())
PINS = BPF_FS + "/a"
OTHER_PINS = BPF_FS + "/b" # of a second router
# Addresses of clients: who fails, and who has nothing to do with it.
BAD, GOOD = "203.0.113.9", "198.51.100.7"
LOGINS = PROTOCOLS + ("http",)
ALL = LOGINS + ("smtp", "lmtp")
OFFERS = {"imap": "AUTH=PLAIN SASL-IR", "pop3": "USER\r\nSASL PLAIN", "submission": "AUTH PLAIN",
          "managesieve": "PLAIN"}
# A command that is no login, and is answered.
WORDS = {"imap": "a LOGOUT", "managesieve": "LOGOUT", "http": "GET / HTTP/1.1\r\nHost: x\r\n"}
PLAIN_AUTH = "".join("[capabilities.%s]\nallow_plain_auth_without_tls = true\n" % p
                     for p in PROTOCOLS)


def own(protocol):
    """The address of a client that fails by this protocol only."""
    return "203.0.113.%d" % (20 + ALL.index(protocol))


def guard(ban_after=1000, penalty="0s", **more):
    """Points do not decay: they are ban_after in ban_window."""
    more.setdefault("penalty_max", '"60s"')
    more.setdefault("ban_window", '"365d"')
    lines = ["enabled = true", "ban_after = %d" % ban_after, 'penalty = "%s"' % penalty,
             'ban_time = "1h"']
    lines += ["%s = %s" % pair for pair in more.items()]
    return "[guard]\n%s\n[splice]\npin_path = \"%s\"\n" % ("\n".join(lines), PINS)


@pytest.fixture
def no_bans_left():
    """Bans outlive a router, but not the test: they are in a BPF file system of its own. A router may still
    be there when it goes."""
    with bpf_file_system(BPF_FS, ["--lazy"]):
        yield


@pytest.fixture
def site(no_bans_left, make):  # pylint: disable=redefined-outer-name,unused-argument
    return lambda *args, **kwargs: Site(make, *args, **kwargs)


def tell(sock, client):
    """What a balancer says of its client; None: it is its own."""
    if client is None:
        sock.sendall(b"PROXY UNKNOWN\r\n")
        return
    family, to = (6, "2001:db8::1") if ":" in client else (4, "192.0.2.1")
    sock.sendall(b"PROXY TCP%d %s %s 40000 143\r\n" % (family, client.encode(), to.encode()))


def serve_mail(protocol):
    return lambda conn: Peer(conn, protocol, OFFERS[protocol], []).serve()


def serve_web(conn):
    wire = Wire(conn.read)
    with contextlib.suppress(EOFError):
        while True:
            head = wire.head()
            wire.body(head)
            given = head["Authorization"]
            wrong = given and b":wrong" in base64.b64decode(given.split(" ")[1])
            answer(conn, b"x", "401 Unauthorized" if wrong else "200 OK")


def serve_lines(conn):
    conn.send("220 hi\r\n")
    with contextlib.suppress(EOFError):
        while True:
            conn.line()
            conn.send("250 fine\r\n")


class Site:
    """One listener of each protocol, all behind the balancer, without TLS; IMAP also with it."""

    def __init__(self, make, settings, serve=None, listener="", header="required", protocols=ALL,
                 **kwargs):
        serves = {p: serve_mail(p) for p in PROTOCOLS}
        if "lmtp" in protocols: # the pass-through's node has both
            protocols = {"smtp", *protocols}
        serves.update(http=serve_web, smtp=serve_lines, lmtp=serve_lines)
        serves.update(serve or {})
        self.nodes = {p: make.node("node-" + p, serves[p], tls="plain") for p in protocols}
        more = 'proxy_protocol = "%s"\nproxy_trusted = ["127.0.4.0/24"]\n%s' % (header, listener)
        listeners = {p: ("plain", more, p) for p in protocols}
        listeners.update({t: (t, more, "imap") for t in ("implicit", "starttls")
                          if "imap" in protocols})
        node = harness.destination_toml(
            "node1", "127.0.0.1", None, {p: "plain" for p in protocols}, None, "none", "",
            {p: node.port for p, node in self.nodes.items()})
        kwargs.setdefault("routing", 'smtp_passthrough_destination = "node1"\n'
                          if "smtp" in protocols else "")
        self.router = make.router([node], default="node1", listeners=listeners,
                                  extra=PLAIN_AUTH + ROUTE + settings, **kwargs)

    def told(self, listener, client=BAD):
        """A connection of the balancer's, for this client. None: for nobody."""
        sock = self.router.connect(listener, BALANCER)
        tell(sock, client)
        return sock

    def client(self, protocol, client=BAD):
        if protocol == "http":
            return HttpClient(self.told(protocol, client))
        return MailClient(protocol, self.told(protocol, client), None, "plain")

    def attempt(self, protocol, user, password="wrong", client=BAD, talker=None):
        """Whether the login was good."""
        talker = talker or self.client(protocol, client)
        if protocol == "http":
            return talker.ask("/", basic(user, password)).status == 200
        try:
            talker.login("PLAIN", user, password)
        except Refused:
            return False
        return True

    def fail(self, protocol, times, client=BAD, user="u%d"):
        for number in range(times):
            talker = self.client(protocol, client)
            assert not self.attempt(protocol, user % number if "%" in user else user,
                                    talker=talker)
            talker.close()

    def lets_in(self, protocol, client=BAD):
        """Whether it may begin to talk. It says a word, so that this counts nothing."""
        talker = harness.Client(self.told(protocol, client))
        with contextlib.closing(talker), contextlib.suppress(ConnectionError, EOFError):
            talker.send(WORDS.get(protocol, "QUIT") + "\r\n")
            return bool(talker.line())
        return False

    def wait_ends(self, count, reason=None):
        """So many sessions have ended, all or those that were let in."""
        def ended():
            lines = self.router.session_lines()
            return len([x for x in lines if reason in (None, x["reason"])]) >= count
        wait_until(ended)


def leave(sock):
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
