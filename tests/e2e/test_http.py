# SPDX-License-Identifier: Apache-2.0
"""http.md sections 1 to 3: connections, heads, bodies; against nodes that behave as each rule needs and
keep every byte they were sent."""

import socket
import ssl
import struct
import threading
import time

import pytest

from harness import PATIENCE, wait_until
from http_nodes import (Head, Wire, answer, basic, http, nothing_reached,  # noqa: F401
                        refused, two)

G = "GET / HTTP/1.1\r\nHost: x\r\n"


# ---- 1. connection ----

@pytest.mark.parametrize("offered,served", [
    (["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], "refused"),
    (["imap"], "refused"), (None, None)])
def test_HTTP_2_alpn(http, offered, served):
    router = http.router([http.node("node1")], tls="implicit")
    context = router.tls_context()
    if offered:
        context.set_alpn_protocols(offered)
    sock = router.connect("http")
    if served == "refused":
        with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL|no application protocol"):
            context.wrap_socket(sock, server_hostname="localhost")
        sock.close()
        return
    with context.wrap_socket(sock, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == served
        tls.sendall(G.encode() + b"\r\n")
        assert Wire(tls.recv).head().status == 200


def test_HTTP_2_preface_in_clear(http):
    node = http.node("node1")
    router = http.router([node])
    with http.client(router) as c:
        c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        refused(c, 505)
    nothing_reached([node])


def test_HTTP_3_pipelined_requests_of_two_accounts(two, http):
    router, nodes = two
    with http.client(router) as c:
        c.send("".join("GET /%d HTTP/1.1\r\nHost: x\r\n%s\r\n" % (i, basic(who))
                       for i, who in enumerate(["alice", "bob", "alice", "bob"])))
        answers = [c.answer() for _ in range(4)]
    assert [a["X-Node"] for a in answers] == ["node1", "node2"] * 2
    assert [Head(a.body).path for a in answers] == ["/0", "/1", "/2", "/3"]
    assert nodes[0].heads() == ["GET /0 HTTP/1.1", "GET /2 HTTP/1.1"]


def test_HTTP_4_half_a_head(http):
    router = http.router([http.node("node1")], listener='preauth_timeout = "1s"')
    with http.client(router) as c, http.client(router) as silent, http.client(router) as gone:
        gone.sock.shutdown(socket.SHUT_WR)
        assert gone.rest() == b""
        c.send("GET / HTTP/1.1\r\nHo")
        begin = time.monotonic()
        refused(c, 408)
        assert time.monotonic() - begin > 0.5
        refused(silent, 408)
    reasons = {line["reason"] for line in router.wait_sessions(3)}
    assert reasons == {"preauth_timeout", "client_eof"}


def test_HTTP_4_later_heads(http):
    router = http.router([http.node("node1")], listener='preauth_timeout = "1s"',
                         http='keepalive_timeout = "1500ms"\nrelay_idle = "1s"')
    with http.client(router) as idle, http.client(router) as half:
        assert idle.ask().status == half.ask().status == 200
        half.send("GET ")
        begin = time.monotonic()
        refused(half, 408)
        assert idle.rest() == b""
        assert time.monotonic() - begin > 0.8
    assert {line["reason"] for line in router.wait_sessions(2)} == {"keepalive", "idle"}


def test_HTTP_4_HTTP_64_each_answer_begins_the_time_anew(http):
    """For the client and for its node leg: timers that are set already stay until they go off."""
    node = http.node("node1")
    router = http.router([node], http='keepalive_timeout = "1500ms"')
    with http.client(router) as c:
        for _ in range(4):
            assert c.ask().status == 200
            begin = time.monotonic()
            time.sleep(0.7)
        assert len(node.connections) == 1
        assert c.rest() == b""
        assert 1.4 < time.monotonic() - begin < PATIENCE
    assert router.wait_sessions(1)[0]["reason"] == "keepalive"


def test_HTTP_5_max_keepalive_requests(http):
    router = http.router([http.node("node1")], http="max_keepalive_requests = 2")
    with http.client(router) as c:
        c.send((G + "\r\n") * 3)
        assert c.answer()["Connection"] is None
        assert c.answer()["Connection"] == "close"
        assert c.rest() == b""
    assert router.wait_sessions(1)[0]["requests"] == "2"


def test_HTTP_6_client_closes(two, http):
    router, _ = two
    with http.client(router) as c:
        assert c.ask("/", "connection: Keep-Alive, Close\r\n")["Connection"] == "close"
        assert c.rest() == b""


def test_HTTP_6_node_closes(http):
    def serve(conn):
        Wire(conn.read).head()
        answer(conn, b"bye", fields="Connection: close\r\nKeep-Alive: timeout=5\r\n")
        conn.read()
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        first = c.ask()
        assert (first["Connection"], first["Keep-Alive"], first.body) == ("close", None, b"bye")
        assert c.rest() == b""


# ---- 2. heads: each refusal, and nothing reaches a node ----

REFUSED = [
    (431, G + "A: " + "x" * 65537), (431, G + "A: b\r\n" * 100 + "\r\n"),
    (400, "GET / HTTP/1.1\nHost: x\n\n"), (400, G + "A: b\0c\r\n\r\n"),
    (400, G + "A\x01: b\r\n\r\n"), (400, G + "A: b\r\n c\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost : x\r\n\r\n"), (400, G + "A\r\n\r\n"),
    (400, "\r\n\r\n" + G + "\r\n"), (400, "GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"), (505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    (405, "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, G + "Host: x\r\n\r\n"), (400, G + "Content-Length: +5\r\n\r\nabcde"),
    (400, G + "Content-Length: 5, 5\r\n\r\nabcde"), (400, G + "Content-Length: 0x5\r\n\r\nabcde"),
    (400, G + "Content-Length: 5\t5\r\n\r\nabcde"), (400, G + "Content-Length: -1\r\n\r\n"),
    (400, G + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    (400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
          "0\r\n\r\n"),
    (400, G + "Transfer-Encoding: gzip\r\n\r\n"), (400, G + "Transfer-Encoding: chunked, gzip\r\n\r\n"),
    (400, G + "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    (400, G + "Transfer-Encoding: identity\r\n\r\n"), (400, G + "Transfer-Encoding: xchunked\r\n\r\n"),
    (400, G + "Transfer-Encoding:\r\n\r\n"), (417, G + "Expect: 200-ok\r\n\r\n"),
    (400, "GET http://y/p HTTP/1.1\r\nHost: x\r\n\r\n"), (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, G + basic("alice") + basic("bob") + "\r\n"),
]


def test_HTTP_10_to_21_refusals(two, http):
    router, nodes = two
    for status, head in REFUSED:
        with http.client(router) as c:
            c.sock.sendall(head.encode("latin-1"))
            refused(c, status)
    nothing_reached(nodes)


def test_section_2_no_body_to_head(two, http):
    router, nodes = two
    with http.client(router) as c:
        c.send("HEAD / HTTP/1.1\r\n\r\n")
        data = c.rest()
        assert data.startswith(b"HTTP/1.1 400 ") and data.endswith(b"\r\n\r\n")
    nothing_reached(nodes)


def test_HTTP_17_18_21_accepted(two, http):
    router, _ = two
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde")
        assert c.answer().body.endswith(b"Content-Length: 5\r\n\r\nabcde")
        c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
               "1\r\na\r\n0\r\n\r\n")
        assert b"Transfer-Encoding: gzip, chunked\r\n\r\na" in c.answer().body
        c.send("GET http://x/p?q HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.answer().body.startswith(b"GET /p?q HTTP/1.1\r\n")
        c.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.answer().body.startswith(b"OPTIONS * HTTP/1.1\r\n")
        c.send("\r\n" + G + "\r\n") # one empty line in front is tolerated
        assert c.answer().status == 200


# ---- 3. bodies ----

def test_HTTP_30_chunked_both_ways(http):
    def serve(conn):
        wire = Wire(conn.read)
        head = wire.head()
        conn.body, conn.trailer = wire.chunks()
        assert head["Transfer-Encoding"] == "chunked"
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                  "3;ext=1\r\nabc\r\n00\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n")
        conn.read()
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n"
               "0\r\nX-A: b\r\nAuthorization: x\r\n\r\n")
        got = c.answer()
        assert got.body == b"abc" and c.wire.trailer == b"X-Sum: 1\r\n"
        assert got["Trailer"] is None
    conn = node.connections[0]
    assert (conn.body, conn.trailer) == (b"hello", b"X-A: b\r\n")
    assert b"ext" not in conn.received and b"Authorization" not in conn.received


@pytest.mark.parametrize("bad", ["5g\r\n", "0" * 16 + "5\r\n", "5\nhello", "5 \r\nhello\r\n"])
def test_HTTP_30_bad_chunks(http, bad):
    node = http.node("node1")
    router = http.router([node])
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        wait_until(lambda: node.connections and node.connections[0].received.endswith(b"\r\n\r\n"))
        c.send(bad)
        refused(c, 400)
    wait_until(lambda: node.connections and node.connections[0].closed.is_set())
    assert isinstance(node.connections[0].error, (ConnectionResetError, EOFError))
    assert b"5" not in node.connections[0].received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("tls", ["plain", "implicit"])
@pytest.mark.parametrize("head", ["Content-Length: 100\r\n\r\nabc",
                                  "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "\r\nabc"])
def test_HTTP_33_node_dies_in_the_body(http, tls, head):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 200 OK\r\n" + head)
        conn.sent.wait(PATIENCE)
        if head.startswith("\r\n"): # read until close: only a broken leg is a truncation
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def with_event(conn):
        conn.sent = sent
        serve(conn)
    sent = threading.Event()
    router = http.router([http.node("node1", with_event)], tls=tls)
    with http.client(router) as c:
        c.send(G + "\r\n")
        assert c.wire.head().status == 200
        while b"abc" not in c.wire.buffer:
            c.wire.buffer += c.sock.recv(100)
        sent.set()
        rest = c.wire.buffer
        with pytest.raises((ConnectionResetError, ssl.SSLError, EOFError)):
            while True:
                data = c.sock.recv(100)
                if not data:
                    raise EOFError
                rest += data
        assert not rest.endswith(b"0\r\n\r\n")
    assert router.wait_sessions(1)[0]["reason"] in ("truncated", "node_error")


NO_BODY = [("GET", "304 Not Modified", "Content-Length: 100\r\n"),
           ("GET", "204 No Content", ""), ("HEAD", "200 OK", "Content-Length: 100\r\n"),
           ("HEAD", "200 OK", "Transfer-Encoding: chunked\r\n"),
           ("GET", "205 Reset Content", "Content-Length: 0\r\n")]


@pytest.mark.parametrize("method,status,fields", NO_BODY)
def test_section_3_answers_without_a_body(http, method, status, fields):
    def serve(conn):
        wire = Wire(conn.read)
        wire.head()
        conn.send("HTTP/1.1 %s\r\n%s\r\n" % (status, fields))
        assert wire.head().path == "/second"
        answer(conn, b"second")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        first = c.ask("/", method=method)
        assert first.head.first == "HTTP/1.1 " + status
        assert fields.strip() in first.head.raw.decode()
        assert c.ask("/second").body == b"second"
    assert len(node.connections) == 1


@pytest.mark.parametrize("nonsense", [
    "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 99 X\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: " + "x" * 70000,
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", ""])
def test_HTTP_34_node_speaks_nonsense(http, nonsense):
    def serve(conn):
        Wire(conn.read).head()
        conn.send(nonsense)
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        c.send(G + "\r\n")
        refused(c, 502)


def test_HTTP_34_http_1_0_answer(http):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        conn.read()
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        got = c.ask()
        assert (got.head.first, got["Connection"], got.body) == ("HTTP/1.1 200 OK", "close", b"hi")
        assert c.rest() == b""


def test_HTTP_35_interim_answers(http):
    def serve(conn):
        wire = Wire(conn.read)
        head = wire.head()
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conn.send("HTTP/1.1 100 Continue\r\n\r\n")
        conn.body = wire.body(head)
        answer(conn, b"done")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        early = c.answer()
        assert (early.status, early["Link"]) == (103, "</a>")
        assert c.answer().status == 100
        c.send("hello")
        assert c.answer().body == b"done"
    assert node.connections[0].body == b"hello"


def test_HTTP_35_too_many_interim_answers(http):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 103 Early Hints\r\n\r\n" * 17)
        answer(conn, b"done")
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        c.send(G + "\r\n")
        assert [c.answer().status for _ in range(16)] == [103] * 16
        refused(c, 502)


def test_HTTP_36_early_final_answer_and_a_smuggled_request(http):
    smuggled = G + basic("bob") + "\r\n"

    def serve(conn):
        conn.wire = Wire(conn.read)
        conn.wire.head()
        answer(conn, b"no", "413 Content Too Large")
        conn.read()
    nodes = [http.node("node1", serve), http.node("node2")]
    router = http.router(nodes)
    router.map({"bob": "node2"})
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s"
               % (len(smuggled), smuggled))
        got = c.answer()
        assert (got.status, got["Connection"], got.body) == (413, "close", b"no")
        assert c.rest() == b""
    nothing_reached(nodes[1:])
    assert nodes[0].connections[0].received.count(b"HTTP/1.1") == 1


def test_HTTP_36_early_final_answer_while_the_body_comes(http):
    def serve(conn):
        Wire(conn.read).head()
        answer(conn, b"no", "403 Forbidden")
        while conn.read():
            pass
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        got = c.answer()
        assert (got.status, got["Connection"], got.body) == (403, "close", b"no")
        assert c.rest() == b""


def test_section_3_1_silent_node_gets_the_body_after_a_second(http):
    def serve(conn):
        wire = Wire(conn.read)
        head = wire.head()
        begin = time.monotonic()
        conn.body = wire.body(head)
        conn.waited = time.monotonic() - begin
        conn.send("HTTP/1.1 100 Continue\r\n\r\n") # too late: dropped
        answer(conn, b"done")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        assert c.answer().body == b"done"
    assert node.connections[0].body == b"hello" and node.connections[0].waited > 0.8
