# SPDX-License-Identifier: Apache-2.0
"""Changes of keys on legs of HTTP (REC-3, REC-32): on kept connections, in the middle of bodies and of
tunnels, by clients and by nodes, with a request for the router's keys and without."""

import pytest
from http_nodes import Wire, answer, http  # noqa: F401
from rawtls import Changing
from test_http_sessions import UPGRADE, serve_websocket
from test_record import as_tls

GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ROUNDS = 40 # more than may come in a row
PIECE = bytes(range(251)) * 80 # more than a record
WHOLE = ROUNDS * PIECE
MODES = pytest.mark.parametrize("mode, ask", [("auto", False), ("auto", True), ("copy", True)])


def both_tls(http, nodes, mode, **kwargs):
    return http.router(nodes, tls="implicit", extra='[splice]\nmode = "%s"\n' % mode, **kwargs)


class Peer(Changing):
    """answers: the router's KeyUpdates are waited for, one for each that asks for it. OpenSSL says them with its
    next data, so it is judged by the bytes alone."""

    def __init__(self, sock, mode, ask, certificate=None):
        super().__init__(sock, certificate)
        self.ask, self.answers = ask, ask and mode == "auto"
        self.wire = Wire(self.read)

    def change(self):
        so_far = self.updates
        self.change_keys(self.ask)
        if self.answers:
            self.hear_update(so_far)

    def judge(self, changes):
        assert self.updates == (changes if self.answers else self.updates if self.ask else 0)


# ---- clients ----

def client_of(router, mode, ask):
    return Peer(router.connect("http"), mode, ask)


def echo(conn):
    conn.wire = Wire(conn.read)
    while True:
        answer(conn, conn.wire.body(conn.wire.head()))


@MODES
def test_REC_3_a_client_changes_its_keys_between_requests(http, mode, ask):
    node = http.node("node1", tls="implicit")
    with client_of(both_tls(http, [node], mode), mode, ask) as client:
        for _ in range(ROUNDS):
            client.send(GET)
            assert client.wire.body(client.wire.head()) == GET.encode()
            client.change()
        client.judge(ROUNDS)
    assert len(node.connections) == 1 and len(node.requests) == ROUNDS


@MODES
def test_REC_3_a_client_changes_its_keys_within_its_body(http, mode, ask):
    """The router's KeyUpdate comes while the body is under way, and the answer behind it is whole."""
    node = http.node("node1", echo, tls="implicit")
    with client_of(both_tls(http, [node], mode), mode, ask) as client:
        for _ in range(2):
            client.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(WHOLE))
            for _ in range(ROUNDS):
                client.send(PIECE[:10000])
                client.change()
                client.send(PIECE[10000:])
            assert client.wire.body(client.wire.head()) == WHOLE
        client.judge(2 * ROUNDS)
    assert len(node.connections) == 1


@MODES
def test_REC_3_a_client_changes_its_keys_within_a_response(http, mode, ask):
    """While it reads: the router's come when it looks at the client again, at the latest for its next request."""
    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            conn.wire.head()
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(WHOLE))
            conn.send(WHOLE)
    node = http.node("node1", serve, tls="implicit")
    with client_of(both_tls(http, [node], mode), mode, ask) as client:
        for _ in range(3):
            client.send(GET)
            assert client.wire.head().status == 200
            for i in range(ROUNDS):
                if i % 2:
                    client.change_keys(ask)
                assert client.wire.exactly(len(PIECE)) == PIECE
        assert bool(client.updates) == ask
    assert len(node.connections) == 1


@MODES
def test_REC_3_a_client_changes_its_keys_in_a_tunnel(http, mode, ask):
    router = both_tls(http, [http.node("node1", serve_websocket, tls="implicit")], mode)
    with client_of(router, mode, ask) as client:
        client.send(UPGRADE + "\r\n")
        assert client.wire.head().status == 101
        assert client.wire.exactly(5) == b"hello"
        for _ in range(ROUNDS):
            client.change()
            client.send(PIECE)
            assert client.wire.exactly(len(PIECE)) == PIECE
        client.judge(ROUNDS)
    line = router.wait_sessions(1)[0]
    assert line["path_up"] == line["path_down"] == ("record" if mode == "auto" else "copy")


# ---- nodes ----

def node_of(http, mode, ask, serve):
    """serve(Peer), after the first request, behind whose response the leg has left OpenSSL; failures: its own."""
    failures = []

    def on_tls(conn):
        try:
            with Peer(conn.sock, mode, ask, (conn.node.cert, conn.node.key)) as peer:
                assert peer.wire.head().path == "/"
                peer.send("HTTP/1.1 204 No Content\r\n\r\n")
                serve(peer)
        except Exception as e:
            failures.append(e)
            raise
    node = http.node("node1", on_tls, tls="plain")
    return both_tls(http, [as_tls(node)], mode, default="node1"), failures


@MODES
def test_REC_3_a_node_changes_its_keys_before_its_responses(http, mode, ask):
    """On a leg that is kept for all of them. One that is idle when it says something is not used again."""
    def serve(peer):
        for i in range(ROUNDS):
            peer.wire.head()
            peer.change()
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % i)
        peer.judge(ROUNDS)
        peer.read()
    router, failures = node_of(http, mode, ask, serve)
    with http.client(router) as client:
        assert client.ask().status == 204
        for i in range(ROUNDS):
            assert client.ask().body == b"%02d" % i
    assert not failures


@MODES
def test_REC_3_a_node_changes_its_keys_within_bodies(http, mode, ask):
    """Of a request that it has read in part, then of its own response."""
    def serve(peer):
        peer.wire.head()
        for i in range(ROUNDS):
            assert peer.wire.exactly(len(PIECE)) == PIECE
            if i % 2: # not heard: more of the body may come before
                peer.change_keys(ask)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(WHOLE))
        for _ in range(ROUNDS):
            peer.send(PIECE[:10000])
            peer.change_keys(ask)
            peer.send(PIECE[10000:])
        assert peer.wire.head().path == "/last"
        assert bool(peer.updates) == ask
        peer.send("HTTP/1.1 204 No Content\r\n\r\n")
        peer.read()
    router, failures = node_of(http, mode, ask, serve)
    with http.client(router) as client:
        assert client.ask().status == 204
        assert client.ask("/", "", "PUT", WHOLE).body == WHOLE
        assert client.ask("/last").status == 204
    assert not failures


@MODES
def test_REC_3_a_node_changes_its_keys_in_a_tunnel(http, mode, ask):
    def serve(peer):
        peer.wire.head()
        peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        for _ in range(ROUNDS):
            peer.change()
            peer.send(PIECE)
            assert peer.wire.exactly(len(PIECE)) == PIECE
        peer.judge(ROUNDS)
        peer.read()
    router, failures = node_of(http, mode, ask, serve)
    with http.client(router) as client:
        assert client.ask().status == 204
        client.send(UPGRADE + "\r\n")
        assert client.wire.head().status == 101
        for _ in range(ROUNDS):
            assert client.wire.exactly(len(PIECE)) == PIECE
            client.send(PIECE)
    assert not failures
    line = router.wait_sessions(1)[0]
    assert line["path_up"] == line["path_down"] == ("record" if mode == "auto" else "copy")
