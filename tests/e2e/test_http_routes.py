# SPDX-License-Identifier: Apache-2.0
"""http.md sections 4 to 7: routes, identifiers, node connections, header changes."""

import os
import signal
import socket
import struct
import threading
import time

import pytest

from harness import PATIENCE, jwt, wait_until
from http_nodes import (Wire, answer, basic, http, nothing_reached,  # noqa: F401
                        refused, serve_http, two)

G = "GET / HTTP/1.1\r\nHost: x\r\n"


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
            field = "Authorization: Bearer %s\r\n" % jwt({"email": user + "@example.com"})
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


def test_HTTP_54_91_hold(two, http):
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


@pytest.mark.parametrize("mode", ["auto", "copy"])
def test_SES_47_sessions_to_nodes_are_resumed_by_http(http, mode):
    """A leg leaves OpenSSL only when the node's tickets are there."""
    reused = []

    def serve(conn):
        reused.append(conn.sock.session_reused)
        serve_http(conn)

    node = http.node("node1", serve, tls="implicit")
    router = http.router([node], tls="implicit", server="threads = 1",
                         extra='[splice]\nmode = "%s"\n' % mode)
    for i in range(3):
        with http.client(router) as c:
            for _ in range(2): # a kept leg
                assert c.ask("/", basic("alice"))["X-Conn"] == str(i)
    assert reused == [False, True, True]


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
    router.wait_line(lambda line: "node_unexpected_bytes" in line)


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


def has_stopped(pid):
    states = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, task), encoding="ascii") as f:
            states.append(f.read().rsplit(")", 1)[1].split()[0])
    return set(states) == {"T"}


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"])
def test_HTTP_64_a_leg_ends_when_the_next_request_comes(http, says):
    """The loop is told of both at once, of the request first."""
    go = threading.Event()

    def serve(conn):
        wire = Wire(conn.read)
        wire.body(wire.head())
        answer(conn, b"first")
        go.wait(PATIENCE)
        if says and conn is node.connections[0]:
            conn.send(says)
            wire.head()
    node = http.node("node1", serve)
    router = http.router([node], server="threads = 1")
    with http.client(router) as c:
        assert c.ask("/1", method="POST", body=b"x").body == b"first"
        time.sleep(0.1)
        os.kill(router.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: has_stopped(router.process.pid))
            c.send("POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.1)
            go.set()
            time.sleep(0.1)
        finally:
            os.kill(router.process.pid, signal.SIGCONT)
        assert c.answer().body == b"first"
    assert len(node.connections) == 2


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
