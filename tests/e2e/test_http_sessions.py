# SPDX-License-Identifier: Apache-2.0
"""http.md sections 8 to 10: hand-over, kick, shutdown, log, states and their limits."""

import base64
import hashlib
import http.client as http_client
import os
import socket
import subprocess
import threading
import time

import pytest

import harness
from harness import PATIENCE, memory_holds, wait_until
from http_nodes import (ROUTE, Wire, answer, basic, http, nothing_reached,  # noqa: F401
                        refused, serve_http, two)
from legs import told_of

G = "GET / HTTP/1.1\r\nHost: x\r\n"


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


@pytest.mark.parametrize("tls, node_tls, mode, path", [
    ("plain", "plain", "auto", "sockmap"), ("plain", "plain", "copy", "copy"),
    ("plain", "implicit", "auto", "record"), ("plain", "implicit", "copy", "copy"),
    ("implicit", "plain", "auto", "record"), ("implicit", "plain", "copy", "copy"),
    ("implicit", "implicit", "auto", "record"), ("implicit", "implicit", "copy", "copy")])
def test_HTTP_80_websocket(http, tls, node_tls, mode, path):
    node = http.node("node1", serve_websocket, tls=node_tls)
    router = http.router([node], tls=tls, extra='[splice]\nmode = "%s"\n' % mode)
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
    assert line["requests"] == "1" and line["path_up"] == line["path_down"]
    assert line["path_up"] in told_of(path), line
    for carried in ("bytes_up", "bytes_down"): # the heads and what came behind them
        assert 100 < int(line[carried]) - (4 << 20) < 1000, line
        assert router.stats()["nodes"]["node1"][carried] == int(line[carried])


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
@pytest.mark.parametrize("tls, node_tls, mode, path", [
    ("plain", "plain", "auto", "copy"), ("plain", "implicit", "auto", "record"),
    ("implicit", "plain", "auto", "record"), ("implicit", "implicit", "auto", "record"),
    ("implicit", "implicit", "copy", "copy")])
def test_section_8_event_stream(http, framing, tls, node_tls, mode, path):
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
            conn.read() # keeps its side open: the client leaves when it has the last chunk
        elif node_tls == "implicit":
            conn.sock = conn.sock.unwrap() # an end without close_notify would be none

    node = http.node("node1", serve, tls=node_tls)
    router = http.router([node], http='relay_idle = "1s"', tls=tls,
                         extra='[splice]\nmode = "%s"\n' % mode)
    with http.client(router) as c:
        c.send(G + "\r\n" + G + "X-Pipelined: 1\r\n\r\n")
        head = c.wire.head()
        assert head["Connection"] == "close"
        c.wire.until(b"data: 1\n\n")
        assert not c.readable(2.0) # silence longer than relay_idle does not end it
        go.set()
        c.wire.until(b"data: 2\n\n" + (b"\r\n0\r\n\r\n" if framing else b""))
        if not framing:
            assert c.rest() == b""
    assert node.everything()[0] == G.encode() + b"\r\n"
    assert router.wait_sessions(1)[0]["path_down"] == path # what mail takes, too


@pytest.mark.parametrize("tls", ["plain", "implicit"])
@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
def test_section_8_client_leaves_an_event_stream(http, framing, tls):
    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n" % framing)
        while conn.read():
            pass
        conn.saw_end = True
    node = http.node("node1", serve, tls=tls)
    router = http.router([node], tls=tls)
    with http.client(router) as c:
        c.send(G + "\r\n")
        c.wire.head()
    wait_until(lambda: getattr(node.connections[0], "saw_end", False))
    router.wait_idle()


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
def test_HTTP_96_half_closed_client_of_an_event_stream(http, framing):
    def serve(conn):
        Wire(conn.read).head()
        time.sleep(0.2) # the end of the client's side is there before the answer
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n" % framing)
        conn.send("3\r\n1\n\n\r\n0\r\n\r\n" if framing else "1\n\n")
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        c.send(G + "\r\n")
        c.sock.shutdown(socket.SHUT_WR)
        got = c.answer()
        assert got.body == b"1\n\n"


@pytest.mark.parametrize("tls", ["plain", "implicit"])
@pytest.mark.parametrize("node_tls", ["plain", "implicit"])
def test_section_8_until_close(http, tls, node_tls):
    body = bytes(range(256)) * 4096

    def serve(conn):
        Wire(conn.read).head()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        if node_tls == "implicit":
            conn.sock = conn.sock.unwrap()
    router = http.router([http.node("node1", serve, tls=node_tls)], tls=tls)
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
        for row in router.sessions(net=1)["sessions"]: # GRD-31: also of a leg that is kept
            assert all(row["net"][leg]["rtt_us"] > 0 for leg in ("client", "node")), row
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 4}
        assert ws.rest() == idle.rest() == half.rest() == b""
        refused(slow, 503)
        assert other.ask("/", basic("bob")).status == 200
        stop.set()
    reasons = [line["reason"] for line in router.wait_sessions(5)]
    assert sorted(reasons) == ["client_eof"] + ["kicked"] * 4


def test_GRD_31_a_leg_that_is_being_connected(http):
    stop = threading.Event()
    node = http.node("node1", lambda conn: stop.wait(PATIENCE), tls="implicit")
    router = http.router([node])
    node.tls = "plain" # it takes connections, and no part in a handshake

    def fares():
        rows = router.sessions(net=1)["sessions"]
        return [row["stage"] for row in rows] == ["dial"] and rows[0]["net"]["node"]
    with http.client(router) as client:
        client.send(G + basic("alice") + "\r\n")
        assert wait_until(fares)["rtt_us"] > 0
        stop.set()


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
            time.sleep(0.8)
            conn.send("%d" % i)
        conn.read()
    router = http.router([http.node("node1", serve)], http='relay_idle = "3s"')
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


def test_section_2_wrong_pin_and_loop(http):
    node = http.node("node1", tls="implicit")
    port = harness.free_port()
    loop = harness.destination_toml("node2", "localhost", port, "plain", None, "none").replace(
        ".imap]", ".http]")
    router = http.router([node.toml().replace(node.pin, "00" * 32), loop], default="node1", extra=(
        '[listener.own]\nprotocol = "http"\nbind = ["127.0.0.1:%d"]\ntls = "plain"\n' % port))
    router.map({"bob": "node2"})
    for count, who in enumerate(("alice", "bob"), 1):
        with http.client(router) as c:
            c.send(G + basic(who) + "\r\n")
            refused(c, 502)
        router.wait_sessions(count)
    assert [line["reason"] for line in router.wait_sessions(2)] == ["tls_node", "loop"]
    nothing_reached_any(node)


def nothing_reached_any(node):
    assert all(not data for data in node.everything())


def test_HTTP_66_SES_48_plain_leg_needs_permission(http):
    """The configuration check refuses it; nothing reaches the node either way."""
    node = http.node("node1")
    router = http.router([node.toml().replace("allow_plaintext_auth = true", "")], default="node1",
                         start=False)
    done = subprocess.run([harness.BUILD + "/homingd", "--check-config", router.config],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "allow_plaintext_auth" in done.stderr


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
    nodes = router.stats()["nodes"]
    assert (nodes["node1"]["sessions"], nodes["node2"]["sessions"]) == (2, 1)
    assert nodes["node1"]["bytes_up"] > 0 and nodes["node1"]["bytes_down"] > 0
    text = metrics(router)
    assert 'homing_http_requests_total{node="node1",code="2xx"} 2\n' in text
    assert 'homing_http_requests_total{node="node2",code="2xx"} 1\n' in text


def metrics(router):
    context = router.tls_context()
    conn = http_client.HTTPSConnection("localhost", router.ports["admin"], context=context,
                                       timeout=PATIENCE)
    conn.request("GET", "/metrics", headers={"Authorization": "Bearer " + harness.TOKEN})
    return conn.getresponse().read().decode()


@pytest.mark.parametrize("tls, mode", [("plain", "auto"), ("implicit", "auto"), ("implicit", "copy")])
def test_SEC_21_authorization_is_gone_from_memory(http, tls, mode):
    """HTTP-53: once a request is over, nothing of its Authorization field is kept."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    def serve(conn):
        wire = Wire(conn.read)
        while True:
            wire.body(wire.head())
            answer(conn, b"it is " + password.encode(), fields="Set-Cookie: %s\r\n" % password)
    router = http.router([http.node("node1", serve, tls=tls)], tls=tls, server="threads = 1",
                         extra='[splice]\nmode = "%s"\n' % mode)
    password = "Unm1stakable-%d" % os.getpid()
    field = basic("alice", password)
    with http.client(router) as c:
        assert c.ask("/", field).status == c.ask("/", field, "POST", b"body").status == 200
        pid = router.process.pid
        assert memory_holds(pid, b"SELECT node FROM account_nodes") # the search does find things
        for needle in (password.encode(), field.split()[2].encode()[12:]):
            assert memory_holds(pid, needle) == []
