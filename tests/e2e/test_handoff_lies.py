# SPDX-License-Identifier: Apache-2.0
"""An agent that says what it may not (HND-24): its channel ends, and nothing else does."""

import contextlib
import socket
import ssl
import struct
import threading

import harness
import pytest
from test_handoff import agents, cluster, login  # noqa: F401

OPEN, OPENED, FAILED, DATA, CLOSE, HANDOFF, DRAIN, PING, PONG = range(1, 10)
TOKEN = b"t" * 16


def frame(kind, stream, payload=b"", zeros=0):
    return struct.pack(">IBBHI", 8 + len(payload), kind, 0, zeros, stream) + payload


# What it answers to OPEN of a stream.
LIES = {
    "opened twice": lambda n: frame(OPENED, n, TOKEN) * 2,
    "another stream's OPENED": lambda n: frame(OPENED, n + 1, TOKEN),
    "no stream's OPENED": lambda n: frame(OPENED, 0, TOKEN),
    "a short token": lambda n: frame(OPENED, n, TOKEN[1:]),
    "a long token": lambda n: frame(OPENED, n, TOKEN + b"t"),
    "words before the node": lambda n: frame(DATA, n, b"* OK\r\n"),
    "another stream's words": lambda n: frame(OPENED, n, TOKEN) + frame(DATA, n + 7, b"* OK\r\n"),
    "a login": lambda n: frame(OPEN, n + 2, b"\x01" * 100),
    "keys": lambda n: frame(OPENED, n, TOKEN) + frame(HANDOFF, n, b"k" * 140),
    "no reason": lambda n: frame(FAILED, n, b"\x00"),
    "an unknown reason": lambda n: frame(FAILED, n, b"\x63"),
    "an unknown end": lambda n: frame(OPENED, n, TOKEN) + frame(CLOSE, n, b"\x63"),
    "PING of a stream": lambda n: frame(PING, n),
    "DRAIN with more": lambda n: frame(DRAIN, 0, b"x"),
    "type 0": lambda n: frame(0, n),
    "type 10": lambda n: frame(10, n),
    "no zeros": lambda n: frame(OPENED, n, TOKEN, zeros=1),
    "a short frame": lambda n: struct.pack(">I", 7) + b"\x02" * 7,
    "a long frame": lambda n: struct.pack(">IBBHI", 69633, DATA, 0, 0, n),
}


class Liar:
    """A listener with an agent's certificate, which answers OPEN with a lie."""
    ports = {}

    def __init__(self, cluster, certificate, lie):  # noqa: F811
        cert, key, self.pin = certificate
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.context.load_verify_locations(cluster.authority[0])
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols(["homing-handoff/1"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lie, self.told, self.ended = lie, threading.Event(), threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        with contextlib.suppress(OSError), conn, self.context.wrap_socket(conn, server_side=True) as tls:
            tls.settimeout(harness.PATIENCE)
            stream, kind = tls.makefile("rb"), None
            while kind != OPEN:
                size, kind, number = struct.unpack(">IB3xI", stream.read(12))
                stream.read(size - 8)
            tls.sendall(self.lie(number))
            self.told.set()
            while stream.read(1): # until the router closes it
                pass
            self.ended.set()

    def close(self):
        self.listener.close()


@pytest.fixture
def liars(cluster, workspace):  # noqa: F811
    """By the name of the node that it is beside."""
    certificate = workspace.certificate("liar", ["localhost"])
    liars = {"liar%d" % i: Liar(cluster, certificate, lie) for i, lie in enumerate(LIES.values())}
    yield liars
    for liar in liars.values():
        liar.close()


def try_login(router, account):
    """The ordinary legs, or that the node is unavailable."""
    with router.client() as client:
        client.line()
        answer = client.command("a LOGIN %s pw" % account)[-1]
        if "UNAVAILABLE" not in answer:
            assert answer.startswith("a OK"), answer
            assert client.command("b NOOP")[-1] == "b OK NOOP"


def test_HND_24_an_agent_that_lies(make, cluster, agents, liars):  # noqa: F811
    """Logins to its node take the ordinary legs or hear that it is unavailable, and are never bridged to the
    agent; sessions and logins by another agent on the same worker do not notice."""
    nodes = [make.node(name, tls="plain", proxy=True) for name in ["node1", *liars]]
    agent = agents(nodes[0])
    router = make.router(nodes, server="threads = 1\n", listeners={"imap": "implicit"}, extra="".join(
        cluster.handoff_toml(name, beside) for name, beside in [("node1", agent), *liars.items()]))
    router.map({"user-" + name: name for name in liars})

    def lied_to(liar, name):
        try_login(router, "user-" + name)
        return liar.told.is_set()  # a channel that took too long on a busy machine is tried again

    with login(router, "alice") as witness:
        agent.wait_path("record", "alice")
        for (name, liar), what in zip(liars.items(), LIES):
            harness.wait_until(lambda: lied_to(liar, name))
            assert liar.ended.wait(harness.PATIENCE), "%s: its channel stands" % what
            assert witness.command("c NOOP")[-1] == "c OK NOOP", what
    with login(router, "carol"):
        agent.wait_path("record", "carol")
    lines = harness.wait_until(lambda: len(router.session_lines()) > len(liars) + 1 and router.session_lines())
    assert sum(line.get("tls_at") == "agent" for line in lines) == 2, lines
