# SPDX-License-Identifier: Apache-2.0
"""http.md: connections, heads, bodies, routes, node legs, hand-over; against nodes that behave as each
rule needs and keep every byte they were sent."""

import base64
import hashlib
import socket
import ssl
import struct
import threading
import time

import pytest

import harness
from harness import PATIENCE, wait_until
from http_nodes import ROUTE, Head, HttpMake, Wire, answer, basic, serve_http

G = "GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def http(make, workspace):
    things = HttpMake(make, workspace)
    yield things
    things.close()


@pytest.fixture
def two(http):
    """alice on node1, bob on node2."""
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    return router, nodes


def refused(client, status):
    """The router's own answer, to the byte, and the end."""
    data = client.rest()
    reason = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
              405: "Method Not Allowed", 408: "Request Timeout", 417: "Expectation Failed",
              431: "Request Header Fields Too Large", 502: "Bad Gateway",
              503: "Service Unavailable", 504: "Gateway Timeout",
              505: "HTTP Version Not Supported"}[status]
    body = "%d %s" % (status, reason)
    more = {401: "WWW-Authenticate: Basic realm=\"Homing\", charset=\"UTF-8\"\r\n"
                 "WWW-Authenticate: Bearer\r\n", 503: "Retry-After: 5\r\n"}.get(status, "")
    wanted = ("HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
              "%sConnection: close\r\n\r\n%s" % (body, len(body), more, body)).encode()
    assert data == wanted, data


def nothing_reached(nodes):
    assert [node.everything() for node in nodes] == [[] for _ in nodes]


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
    (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"), (505, "GET / HTTP/1.0\r\nHost: x\r\n\r\n"),
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


# ---- 4, 5. routes and identifiers ----

def pin(match, node):
    return '[[http.route]]\nmatch = "%s"\ndestination = "%s"\n' % (match, node)


def test_HTTP_40_routes(http):
    nodes = [http.node("node%d" % i) for i in range(1, 6)]
    router = http.router(nodes, pin("/.well-known/**", "node1") + pin("/api", "node2") +
                         pin("/a/*", "node3") + pin("/", "node4") + pin("/**", "node5"))
    with http.client(router) as c:
        for path, node in (("/.well-known/jmap", 1), ("/api", 2), ("/api/", 2), ("/api/x", 5),
                           ("/a/b", 3), ("/a/b/c", 3), ("/ab", 5), ("/", 4), ("//api", 5),
                           ("/a%2Fb", 5), ("/api?x=/", 2)):
            assert c.ask(path)["X-Node"] == "node%d" % node, path
        c.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.answer()["X-Node"] == "node4"
    stats = router.stats()
    assert (stats["cache_misses"], stats["cache_hits"]) == (0, 0)
    assert router.wait_sessions(1)[0]["route"] == "pin"


def test_HTTP_40_no_route(http):
    router = http.router([http.node("node1")], pin("/x", "node1"))
    with http.client(router) as c:
        assert c.ask("/x").status == 200
        c.send(G + "\r\n")
        refused(c, 404)


def test_section_4_fallback(http):
    nodes = [http.node("node1"), http.node("node2")]
    route = '[[http.route]]\nmatch = "%s"\nextract = { from = "authorization" }\n%s\n'
    router = http.router(nodes, route % ("/f/**", 'fallback = "node2"') + route % ("/d/**", "") +
                         route % ("/e/**", 'fallback = "default"') +
                         '[[http.route]]\nmatch = "/n"\nfallback = "node2"\n')
    with http.client(router) as c:
        for path, node in (("/f/", "node2"), ("/d/", "node1"), ("/e/", "node1"), ("/n", "node2")):
            assert c.ask(path)["X-Node"] == node
        assert c.ask("/f/", "Authorization: Bearer opaque\r\n")["X-Node"] == "node2"
        assert c.ask("/f/", "Authorization: Digest x\r\n")["X-Node"] == "node2"
        assert c.ask("/f/", basic("unknown"))["X-Node"] == "node1" # looked up: the default


def test_section_5_bearer_tokens_name_their_account(two, http):
    """As for mail: the claims route, the node judges (SES-41)."""
    router, _ = two
    router.map({"alice@example.com": "node1", "bob@example.com": "node2"})
    with http.client(router) as c:
        for user, node in (("alice", "node1"), ("bob", "node2")):
            field = "Authorization: Bearer %s\r\n" % harness.jwt({"email": user + "@example.com"})
            got = c.ask("/", field)
            assert got["X-Node"] == node and field.encode() in got.body


def test_section_5_basic_is_normalised_and_forwarded_unchanged(two, http):
    router, _ = two
    router.map({"alice@example.com": "node2"})
    with http.client(router) as c:
        for login in ("Alice@Example.COM", "alice@example.com%admin"):
            got = c.ask("/", basic(login))
            assert got["X-Node"] == "node2" and basic(login).encode() in got.body
    assert router.wait_sessions(1)[0]["account"].startswith("al***#")
    log = router.log()
    assert basic("Alice@Example.COM").split()[2] not in log


def test_section_5_query_header_body(http):
    nodes = [http.node("node1"), http.node("node2")]
    routes = "".join('[[http.route]]\nmatch = "%s"\nextract = { %s }\n' % pair for pair in (
        ("/q", 'from = "query", param = "login_hint"'), ("/h", 'from = "header", header = "X-User"'),
        ("/b", 'from = "body", regex = "username=([^&]*)"')))
    router = http.router(nodes, routes)
    router.map({"user@example.com": "node2", "joe@corp.com": "node2"})
    with http.client(router) as c:
        assert c.ask("/q?login_hint=user%40example.com")["X-Node"] == "node2"
        got = c.ask("/h", "X-User: user@example.com\r\n")
        assert got["X-Node"] == "node2" and b"X-User: user@example.com\r\n" in got.body
        body = b"a=b&username=joe%40corp.com&c=d"
        got = c.ask("/b", method="POST", body=body)
        assert got["X-Node"] == "node2" and got.body.endswith(b"\r\n\r\n" + body)
        c.send("POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
               "8\r\nusername\r\n12;x\r\n=joe%40corp.com&c=\r\n0\r\n\r\n")
        got = c.answer("POST")
        assert got["X-Node"] == "node2" and got.body.endswith(b"username=joe%40corp.com&c=")
        assert c.ask("/b", method="POST", body=b"nothing")["X-Node"] == "node1"
        assert c.ask("/b")["X-Node"] == "node1"
    with http.client(router) as c:
        c.send("GET /q?login_hint=a%00b HTTP/1.1\r\nHost: x\r\n\r\n")
        refused(c, 400)


def test_HTTP_52_long_body_is_routed_on_its_first_bytes(http):
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes, '[[http.route]]\nmatch = "/**"\nextract = { from = "body", '
                         'regex = "u=([a-z]*)" }\n', http="body_extract_cap = 10")
    router.map({"alice": "node2"})
    with http.client(router) as c:
        body = b"u=alice&" + b"x" * 300000
        got = c.ask("/", method="POST", body=body)
        assert got["X-Node"] == "node2" and got.body.endswith(body)
        assert c.ask("/", method="POST", body=b"x" * 10 + b"u=alice")["X-Node"] == "node1"


def test_section_3_1_expect_on_a_body_route(http):
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes, '[[http.route]]\nmatch = "/**"\nextract = { from = "body", '
                         'regex = "u=([a-z]*)" }\n')
    router.map({"alice": "node2"})
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n")
        assert c.wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        c.send("u=alice")
        got = c.answer()
        assert got["X-Node"] == "node2" and got.body.endswith(b"\r\n\r\nu=alice")
        assert b"Expect" not in got.body


@pytest.mark.parametrize("login", ["a b", "a\x01", "a" * 321, ""])
def test_HTTP_50_rejected_identifiers(two, http, login):
    router, nodes = two
    with http.client(router) as c:
        c.send(G + basic(login) + "\r\n")
        refused(c, 401)
    stats = router.stats()
    assert stats["store_queries"] == 0 and stats["auth_failed"] == 1
    nothing_reached(nodes)


def test_HTTP_51_regex_limits_are_counted(http):
    router = http.router([http.node("node1")], '[[http.route]]\nmatch = "/**"\nextract = { '
                         'from = "body", regex = "(a*)*[bc]" }\n')
    with http.client(router) as c:
        assert c.ask("/", method="POST", body=b"a" * 65536).status == 200
    assert router.stats()["regex_limited"] == 1


def test_HTTP_54_hold(two, http):
    router, _ = two
    router.admin("POST", "/connections/delay?identifier=alice&seconds=2")
    with http.client(router) as c, http.client(router) as gone:
        gone.send(G + basic("alice") + "\r\n")
        begin = time.monotonic()
        c.send(G + basic("alice") + "\r\n")
        wait_until(lambda: {row["stage"] for row in router.sessions()["sessions"]} == {"hold"})
        gone.close()
        wait_until(lambda: router.sessions()["total"] == 1) # its end ends the hold
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 0}
        assert c.answer().status == 200
        assert time.monotonic() - begin >= 1.5


# ---- 6. node legs ----

def test_HTTP_60_legs_of_one_client(two, http):
    router, nodes = two
    with http.client(router) as c:
        for who in ("alice", "bob", "alice"):
            assert c.ask("/", basic(who)).status == 200
        assert [len(node.connections) for node in nodes] == [1, 1]
        with http.client(router) as other:
            other.ask("/", basic("alice"))
        assert len(nodes[0].connections) == 2
    wait_until(lambda: all(conn.closed.is_set() for node in nodes for conn in node.connections))


def test_HTTP_60_at_most_eight_idle_legs(http):
    nodes = [http.node("node%d" % i) for i in range(10)]
    router = http.router(nodes, "".join(pin("/%d" % i, "node%d" % i) for i in range(10)))
    with http.client(router) as c:
        for i in range(10):
            assert c.ask("/%d" % i).status == 200
        wait_until(lambda: [n.connections[0].closed.is_set() for n in nodes] ==
                   [True, True] + [False] * 8)


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_62_63_proxy_header_then_requests(http, tls):
    node = http.node("node1", proxy=True, tls=tls)
    router = http.router([node], tls="implicit")
    with http.client(router) as c:
        ours = c.sock.getsockname()
        assert c.ask().status == c.ask("/2").status == 200
    assert len(node.connections) == 1
    conn = node.connections[0]
    assert conn.proxy_source == ours
    assert conn.proxy_destination == ("127.0.0.1", router.ports["http"])
    assert conn.received.startswith(b"GET / HTTP/1.1\r\n")


def test_HTTP_64_two_answers_to_one_request(http):
    def serve(conn):
        wire = Wire(conn.read)
        while True:
            wire.head()
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
                      "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        assert c.ask("/1").body == c.ask("/2").body == b"first"
    assert len(node.connections) == 2
    assert "node_unexpected_bytes" in router.log()


def test_HTTP_64_bytes_on_an_idle_leg(http):
    def serve(conn):
        wire = Wire(conn.read)
        wire.head()
        answer(conn, b"first")
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        conn.read()
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        assert c.ask("/1").body == b"first"
        wait_until(lambda: node.connections[0].closed.is_set())
        assert c.ask("/2").body == b"first"


def test_HTTP_64_idle_legs_end_after_keepalive_timeout(two, http):
    def serve(conn):
        serve_http(conn)
    node = http.node("node3", serve)
    router = http.router([node], http='keepalive_timeout = "1s"')
    with http.client(router) as c:
        c.ask()
        wait_until(lambda: node.connections[0].closed.is_set())
        assert c.rest() == b""


def close_when_reused(conn):
    """Answers once; the connection breaks just when the second request has been sent."""
    wire = Wire(conn.read)
    head = wire.head()
    wire.body(head)
    answer(conn, b"first")
    wire.head()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("method,repeated", [
    ("GET", True), ("PROPFIND", True), ("REPORT", True), ("HEAD", True), ("POST", False),
    ("PUT", False), ("DELETE", False)])
def test_HTTP_65_kept_leg_fails(http, method, repeated):
    node = http.node("node1", close_when_reused)
    router = http.router([node])
    with http.client(router) as c:
        assert c.ask().body == b"first"
        c.send("%s /2 HTTP/1.1\r\nHost: x\r\n%s\r\n" % (
            method, "Content-Length: 0\r\n" if method == "PUT" else ""))
        if repeated:
            assert c.answer(method).status == 200
            assert len(node.connections) == 2
        else:
            refused(c, 502)
            assert len(node.connections) == 1


def test_HTTP_65_new_leg_fails(http):
    def serve(conn):
        Wire(conn.read).head()
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send(G + "\r\n")
        refused(c, 502)
    assert len(node.connections) == 1


def test_HTTP_65_no_repetition_once_a_body_was_read(http):
    node = http.node("node1", close_when_reused)
    router = http.router([node])
    with http.client(router) as c:
        assert c.ask().body == b"first"
        c.send("PROPFIND / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        refused(c, 502)
    assert len(node.connections) == 1


def test_HTTP_67_a_changed_mapping_counts_for_the_next_request(two, http):
    router, _ = two
    with http.client(router) as c:
        assert c.ask("/", basic("alice"))["X-Node"] == "node1"
        router.map({"alice": "node2"})
        router.admin("POST", "/cache/invalidate?identifier=alice")
        assert c.ask("/", basic("alice"))["X-Node"] == "node2"


# ---- 7. header changes ----

def test_section_7_hop_fields(two, http):
    router, _ = two
    with http.client(router) as c:
        got = c.ask("/", "Connection: keep-alive, X-Drop, Host\r\nX-Drop: 1\r\nTE: trailers\r\n"
                    "Upgrade: h2c\r\nX-Keep: a\tb \r\n").body
        assert got == b"GET / HTTP/1.1\r\nHost: x\r\nX-Keep: a\tb\r\n\r\n"


@pytest.mark.parametrize("mode,trusted,kept", [
    ("off", "", False), ("trust", "", True), ("trust", '"127.0.0.0/8"', True),
    ("trust", '"10.0.0.0/8"', False)])
def test_HTTP_70_71_forwarded(http, mode, trusted, kept):
    node = http.node("node1", forwarded=True)
    router = http.router([node], listener='forwarded = "%s"\nproxy_trusted = [%s]' % (mode, trusted))
    with http.client(router, source="127.0.0.7") as c:
        c.ask("/", "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n")
    head = node.requests[0][0]
    before = "1.1.1.1, " if kept else ""
    assert head.all("X-Forwarded-For") == [before + "127.0.0.7"]
    assert head.all("Forwarded") == ["for=1.1.1.1, for=127.0.0.7" if kept else "for=127.0.0.7"]
    assert head.all("X-Real-IP") == (["1.1.1.1"] if kept else [])


def test_HTTP_71_ipv6_client(http):
    node = http.node("node1", forwarded=True)
    router = http.router([node], extra='[listener.six]\nprotocol = "http"\n'
                         'bind = ["[::1]:0"]\ntls = "plain"\n')
    with socket.create_connection(("::1", router.ports["six"]), PATIENCE) as sock:
        sock.sendall(G.encode() + b"\r\n")
        assert Wire(sock.recv).head().status == 200
    head = node.requests[0][0]
    assert head["Forwarded"] == 'for="[::1]"' and head["X-Forwarded-For"] == "::1"


# ---- 8. hand-over ----

UPGRADE = ("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def serve_websocket(conn):
    """RFC 6455 as far as bytes go: the handshake, then an echo of what comes."""
    conn.wire = Wire(conn.read)
    head = conn.wire.head()
    assert (head["Upgrade"], head["Connection"]) == ("websocket", "Upgrade")
    digest = hashlib.sha1((head["Sec-WebSocket-Key"] +
                           "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Accept: %s\r\n\r\nhello" % base64.b64encode(digest).decode())
    data = conn.wire.buffer
    while True:
        if data:
            conn.send(data)
        data = conn.read()
        if not data:
            return


@pytest.mark.parametrize("tls", ["plain", "implicit"])
@pytest.mark.parametrize("node_tls", ["plain", "implicit"])
def test_section_8_websocket(http, tls, node_tls):
    node = http.node("node1", serve_websocket, tls=node_tls)
    router = http.router([node], tls=tls)
    with http.client(router) as c:
        c.send(UPGRADE + basic("alice") + "\r\nearly")
        head = c.wire.head()
        assert head.status == 101 and head["Sec-WebSocket-Accept"] == ACCEPT
        assert (head["Connection"], head["Upgrade"]) == ("Upgrade", "websocket")
        assert c.wire.exactly(10) == b"helloearly"
        block = bytes(range(256)) * 256
        assert harness.exchange(c.sock, block, 4 << 20) == \
            hashlib.sha256(block * 64).hexdigest()
        row = router.sessions()["sessions"][0]
        assert (row["stage"], row["account"], row["protocol"]) == ("established", "alice", "http")
        c.sock.shutdown(socket.SHUT_RDWR)
    line = router.wait_sessions(1)[0]
    assert line["requests"] == "1" and line["path_up"] in ("copy", "ktls", "sockmap")
    assert int(line["bytes_down"]) > 4 << 20


def test_section_8_refused_upgrade(http):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nnogarbage")
        conn.read()
    nodes = [http.node("node1", serve), http.node("node2")]
    router = http.router(nodes)
    router.map({"bob": "node2"})
    with http.client(router) as c:
        c.send(UPGRADE + "\r\n" + G + basic("bob") + "\r\n")
        got = c.answer()
        assert (got.status, got.body) == (403, b"no")
        assert c.rest() == b""
    nothing_reached(nodes[1:])


def test_security_26_h2c_and_101(http):
    node = http.node("node1")
    router = http.router([node])
    with http.client(router) as c:
        got = c.ask("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                    "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n").body
        assert got == G.encode() + b"\r\n"


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_section_8_event_stream(http, framing, tls):
    go = threading.Event()

    def event(text):
        return "%x\r\n%s\r\n" % (len(text), text) if framing else text

    def serve(conn):
        conn.wire = Wire(conn.read)
        conn.wire.head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n%s\r\n"
                  % framing + event("data: 1\n\n"))
        go.wait(PATIENCE)
        conn.send(event("data: 2\n\n") + ("0\r\n\r\n" if framing else ""))
        if framing:
            conn.read() # keeps its side open: the stream's end is the connection's

    node = http.node("node1", serve)
    router = http.router([node], http='relay_idle = "1s"', tls=tls)
    with http.client(router) as c:
        c.send(G + "\r\n" + G + "X-Pipelined: 1\r\n\r\n")
        head = c.wire.head()
        assert head["Connection"] == "close"
        c.wire.until(b"data: 1\n\n")
        assert not c.readable(2.0) # silence longer than relay_idle does not end it
        go.set()
        c.wire.until(b"data: 2\n\n")
        assert c.rest() in (b"", b"\r\n0\r\n\r\n")
    assert node.everything()[0] == G.encode() + b"\r\n"


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
def test_section_8_client_leaves_an_event_stream(http, framing):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n" % framing)
        while conn.read():
            pass
        conn.saw_end = True
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send(G + "\r\n")
        c.wire.head()
    wait_until(lambda: getattr(node.connections[0], "saw_end", False))
    router.wait_idle()


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_section_8_until_close(http, tls):
    body = bytes(range(256)) * 4096

    def serve(conn):
        Wire(conn.read).head()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    router = http.router([http.node("node1", serve)], tls=tls)
    with http.client(router) as c:
        got = c.ask("/", "X: y\r\n")
        assert got["Connection"] == "close" and got.body == body


# ---- 9, 10. kick, log, states ----

def test_HTTP_90_kick(http):
    stop = threading.Event()

    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            head = conn.wire.head()
            if head.path == "/ws":
                conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\n\r\n")
                stop.wait(PATIENCE)
            elif head.path == "/slow":
                stop.wait(PATIENCE)
            elif head.path == "/half":
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                stop.wait(PATIENCE)
            else:
                answer(conn, b"ok")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as ws, http.client(router) as idle, http.client(router) as slow, \
            http.client(router) as half, http.client(router) as other:
        ws.send(UPGRADE + basic("alice") + "\r\n")
        assert ws.wire.head().status == 101
        assert idle.ask("/", basic("alice")).status == 200
        other.ask("/", basic("alice"))
        assert other.ask("/", basic("bob")).status == 200 # its last request is not alice's
        slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n" + basic("alice") + "\r\n")
        half.send("GET /half HTTP/1.1\r\nHost: x\r\n" + basic("alice") + "\r\n")
        half.wire.until(b"abc")
        wait_until(lambda: sorted(row["stage"] for row in router.sessions()["sessions"]) ==
                   ["established", "http", "http", "http_idle", "http_idle"])
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 4}
        assert ws.rest() == idle.rest() == half.rest() == b""
        refused(slow, 503)
        assert other.ask("/", basic("bob")).status == 200
        stop.set()
    reasons = [line["reason"] for line in router.wait_sessions(5)]
    assert sorted(reasons) == ["client_eof"] + ["kicked"] * 4


def test_HTTP_92_log(http):
    node = http.node("node1")
    router = http.router([node], server='log_level = "debug"')
    with http.client(router) as c:
        c.ask("/secret-path?token=secret-query", basic("alice", "secret-pw"))
        c.ask("/", basic("bob"), "POST", b"hello")
    line = router.wait_sessions(1)[0]
    assert (line["proto"], line["requests"], line["node"], line["route"], line["mech"]) == (
        "http", "2", "node1", "default", "-")
    assert line["account"].startswith("bo***#")
    requests = [harness.parse_logfmt(text) for text in router.log().splitlines()
                if "msg=request " in text]
    assert [(r["method"], r["status"], r["node"]) for r in requests] == [
        ("GET", "200", "node1"), ("POST", "200", "node1")]
    assert "secret" not in router.log()


def test_HTTP_93_shutdown(http):
    go = threading.Event()

    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            if conn.wire.head().path == "/slow":
                conn.asked = True
                go.wait(PATIENCE)
            answer(conn, b"ok")
    node = http.node("node1", serve)
    router = http.router([node], server="threads = 1") # all are told at once
    with http.client(router) as idle, http.client(router) as busy:
        idle.ask()
        busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(hasattr(conn, "asked") for conn in node.connections))
        router.process.terminate()
        assert idle.rest() == b""
        go.set()
        got = busy.answer()
        assert (got.status, got["Connection"]) == (200, "close")
        assert busy.rest() == b""
    router.process.wait(PATIENCE)
    router.stop()
    assert sorted(line["reason"] for line in router.session_lines()) == ["shutdown"] * 2


def test_HTTP_95_a_trickling_answer_completes(http):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for i in range(5):
            time.sleep(0.6)
            conn.send("%d" % i)
        conn.read()
    router = http.router([http.node("node1", serve)], http='relay_idle = "1s"')
    with http.client(router) as c:
        assert c.ask().body == b"01234"


@pytest.mark.parametrize("part", ["head", "body"])
def test_HTTP_32_silence(http, part):
    stop = threading.Event()

    def serve(conn):
        Wire(conn.read).head()
        if part == "body":
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        stop.wait(PATIENCE)
    router = http.router([http.node("node1", serve)], http='relay_idle = "1s"')
    with http.client(router) as c:
        c.send(G + "\r\n")
        if part == "head":
            refused(c, 504)
        else:
            c.wire.until(b"\r\n\r\nab")
            assert c.rest() == b""
    stop.set()
    assert router.wait_sessions(1)[0]["reason"] == ("node_timeout" if part == "head" else "idle")


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_96_half_closed_client(http, tls):
    body = b"x" * 3000000

    def serve(conn):
        wire = Wire(conn.read)
        wire.body(wire.head())
        time.sleep(0.1)
        answer(conn, body)
    router = http.router([http.node("node1", serve)], tls=tls)
    with http.client(router) as c:
        c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        if tls == "plain":
            c.sock.shutdown(socket.SHUT_WR)
        else:
            socket.socket.shutdown(c.sock, socket.SHUT_WR) # a FIN without close_notify
        assert c.answer().body == body
        assert c.rest() == b""


def test_HTTP_96_client_leaves_before_the_node_is_reached(http):
    node = http.node("node1", lambda conn: time.sleep(5), tls="implicit")
    router = http.router([node])
    hang = socket.create_server(("127.0.0.1", 0))
    toml = node.toml().replace("port = %d" % node.port, "port = %d" % hang.getsockname()[1])
    router = http.router([toml], default="node1")
    with http.client(router) as c:
        c.send(G + "\r\n")
        conn, _ = hang.accept()
        begin = time.monotonic()
    conn.settimeout(PATIENCE)
    while conn.recv(4096):
        pass
    assert time.monotonic() - begin < 2
    assert router.wait_sessions(1)[0]["reason"] == "client_eof"
    conn.close()
    hang.close()


def test_section_2_dead_node_and_breaker(http):
    port = harness.free_port()
    toml = harness.destination_toml("node1", "127.0.0.1", port, "plain", None, "none").replace(
        ".imap]", ".http]")
    router = http.router([toml], default="node1", server="host_down_threshold = 2\n"
                         "backend_connect_retries = 0\nhost_down_min_clients = 0")
    for status in (502, 502, 503):
        with http.client(router) as c:
            c.send(G + "\r\n")
            refused(c, status)
    assert router.stats()["nodes"]["node1"]["unavailable"] == 3


def test_section_2_silent_node(http):
    hang = socket.create_server(("127.0.0.1", 0))
    toml = harness.destination_toml("node1", "127.0.0.1", hang.getsockname()[1], "implicit", None,
                                    "none").replace(".imap]", ".http]")
    router = http.router([toml], default="node1", server='backend_timeout = "1s"')
    with http.client(router) as c:
        c.send(G + "\r\n")
        refused(c, 504)
    hang.close()


def test_SES_44_node_without_http(http):
    node = http.node("node1")
    mail = harness.destination_toml("node2", "127.0.0.1", 1, "plain", None, "none")
    router = http.router([node.toml(), mail], default="node1")
    router.map({"bob": "node2"})
    with http.client(router) as c:
        c.send(G + basic("bob") + "\r\n")
        refused(c, 502)
    assert router.wait_sessions(1)[0]["reason"] == "node_no_protocol"


def test_section_10_the_example(http):
    nodes = [http.node("node1", proxy=True, tls="implicit", forwarded=True),
             http.node("node2", lambda conn: serve_websocket(conn) if conn.node.ws else
                       serve_http(conn), proxy=True, tls="implicit", forwarded=True)]
    nodes[1].ws = False
    router = http.router(nodes, ROUTE + 'fallback = "default"\n', tls="implicit")
    router.map({"alice@example.com": "node2"})
    with http.client(router, source="127.0.0.5") as c:
        first = c.ask("/jmap/session", basic("alice@example.com") + "X-Forwarded-For: 1.1.1.1\r\n")
        assert first["X-Node"] == "node2"
        assert first.body.decode() == (
            "GET /jmap/session HTTP/1.1\r\nHost: x\r\n" + basic("alice@example.com") +
            "Forwarded: for=127.0.0.5\r\nX-Forwarded-For: 127.0.0.5\r\n\r\n")
        assert c.ask("/logo.png")["X-Node"] == "node1"
        assert c.ask("/again", basic("alice@example.com"))["X-Conn"] == "0"
    assert nodes[1].connections[0].proxy_source[0] == "127.0.0.5"


def test_metrics_and_stats_count_requests(two, http):
    router, _ = two
    with http.client(router) as c:
        for who in ("alice", "alice", "bob"):
            c.ask("/", basic(who))
    conn = router.admin
    nodes = router.stats()["nodes"]
    assert (nodes["node1"]["sessions"], nodes["node2"]["sessions"]) == (2, 1)
    assert nodes["node1"]["bytes_up"] > 0 and nodes["node1"]["bytes_down"] > 0
    text = metrics(router)
    assert 'homing_http_requests_total{node="node1",code="2xx"} 2\n' in text
    assert 'homing_http_requests_total{node="node2",code="2xx"} 1\n' in text
    assert conn is not None


def metrics(router):
    import http.client
    context = router.tls_context()
    conn = http.client.HTTPSConnection("localhost", router.ports["admin"], context=context,
                                       timeout=PATIENCE)
    conn.request("GET", "/metrics", headers={"Authorization": "Bearer " + harness.TOKEN})
    return conn.getresponse().read().decode()
