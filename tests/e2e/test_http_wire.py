# SPDX-License-Identifier: Apache-2.0
"""http.md and security.md on the wire: smuggling with the nodes' raw bytes compared, accounts that share
a connection, bodies larger than any buffer, slow readers, real servers and client libraries."""

import asyncio
import base64
import hashlib
import http.client
import os
import random
import socket
import subprocess
import threading
import time

import pytest

import harness
import release
from harness import PATIENCE, rss_kib, wait_until
from http_nodes import HttpMake, Wire, answer, basic

LONG = os.environ.get("HOMING_LONG") == "1"
BULK = 10 << 30 if LONG else 256 << 20
BLOCK = bytes(range(251)) * 1044  # 262044 bytes
GROWTH_KIB = 8192 if "-san" not in harness.BUILD else 65536
# AddressSanitizer keeps freed memory for a while, which would be all that is measured.
MEASURED = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}

H = "Host: x\r\n"
A, B = basic("alice"), basic("bob")
EVIL = "GET /evil HTTP/1.1\r\n" + H + B + "\r\n"
END = "GET /end HTTP/1.1\r\n" + H + A + "\r\n"


@pytest.fixture
def http_(make, workspace):
    things = HttpMake(make, workspace)
    yield things
    things.close()


# ---- smuggling ----

def post(fields, body=""):
    return "POST / HTTP/1.1\r\n" + H + A + fields + "\r\n" + body


# (what is sent, what alice's node must get, what bob's node must get); "" = nothing at all. END is
# sent behind each; it must get through where nothing was wrong.
CASES = {
    "CL.0": (post("Content-Length: %d\r\n" % len(EVIL), EVIL),
             post("Content-Length: %d\r\n" % len(EVIL), EVIL) + END, ""),
    "GET with a body": ("GET / HTTP/1.1\r\n" + H + A + "Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL,
                        "GET / HTTP/1.1\r\n" + H + A + "Content-Length: %d\r\n\r\n" % len(EVIL) +
                        EVIL + END, ""),
    "pipelined, not smuggled": (post("Content-Length: 3\r\n", "abc") + EVIL,
                                post("Content-Length: 3\r\n", "abc") + END, EVIL),
    "CL.TE": (post("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(EVIL)),
                   "0\r\n\r\n" + EVIL), "", ""),
    "TE.CL": (post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                   "%x\r\n%s\r\n0\r\n\r\n" % (len(EVIL), EVIL)), "", ""),
    "TE.TE": (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n" + EVIL),
              "", ""),
    "TE with a tab": (post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"),
                      post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n") + END, ""),
    "TE with a vertical tab": (post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "TE name with a blank": (post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "TE folded": (post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "bare LF in a head": (post("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "bare CR in a head": (post("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "NUL in a value": (post("X: \0Transfer-Encoding: chunked\r\n", "0\r\n\r\n" + EVIL), "", ""),
    "two lengths": (post("Content-Length: 0\r\nContent-Length: %d\r\n" % len(EVIL), EVIL), "", ""),
    "length with a plus": (post("Content-Length: +0\r\n", EVIL), "", ""),
    "chunk extension": (post("Transfer-Encoding: chunked\r\n", "3;a=\"b\"\r\nabc\r\n0;c\r\n\r\n"),
                        post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") + END, ""),
    "chunk extension with LF": (post("Transfer-Encoding: chunked\r\n", "3;\nabc\r\n0\r\n\r\n" + EVIL),
                                post("Transfer-Encoding: chunked\r\n"), ""),
    "chunk of wrong length": (post("Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n" + EVIL),
                              post("Transfer-Encoding: chunked\r\n", "3\r\nabc"), ""),
    "request in a trailer": (post("Transfer-Encoding: chunked\r\n", "0\r\n" + EVIL),
                             post("Transfer-Encoding: chunked\r\n", "0\r\n"), ""),
    "length in a trailer": (post("Transfer-Encoding: chunked\r\n",
                                 "0\r\nContent-Length: 9\r\nX-A: b\r\n\r\n"),
                            post("Transfer-Encoding: chunked\r\n", "0\r\nX-A: b\r\n\r\n") + END, ""),
    "Connection names the framing": (
        post("Connection: Content-Length, Host, X-Secret\r\nX-Secret: 1\r\nContent-Length: 3\r\n",
             "abc"), post("Content-Length: 3\r\n", "abc") + END, ""),
    "absolute form of another host": ("GET http://y/ HTTP/1.1\r\n" + H + A + "\r\n", "", ""),
    "chunked in HTTP/1.0": ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + H + A + "\r\n0\r\n"
                            "\r\n" + EVIL, "", ""),
    "chunked and counted in HTTP/1.0": (
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"
        "Transfer-Encoding: chunked\r\n" + H + A + "\r\n0\r\n\r\n" + EVIL, "", ""),
    "h2c": ("GET / HTTP/1.1\r\n" + H + A + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\n" + H + A + "\r\n" + END, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_security_24_smuggling(http_, name):
    sent, alice, bob = CASES[name]
    nodes = [http_.node("node1"), http_.node("node2")]
    router = http_.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    for size in (len(sent) + len(END), 1):
        for node in nodes:
            for conn in node.connections:
                conn.received = b""
        data = (sent + END).encode("latin-1")
        with http_.client(router) as c:
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for at in range(0, len(data), size):
                    c.sock.send(data[at:at + size])
            except (BrokenPipeError, ConnectionResetError):
                pass # it was refused, and closed
            else:
                c.sock.shutdown(socket.SHUT_WR)
            answers = c.rest()
        wanted = [alice.encode("latin-1"), bob.encode("latin-1")]
        router.wait_idle()
        wait_until(lambda: all(conn.closed.is_set() for n in nodes for conn in n.connections))
        got = [b"".join(node.everything()) for node in nodes]
        if alice.endswith(END) or not alice:
            assert got == wanted
        else: # what a reset took with it never counted
            assert wanted[0].startswith(got[0]) and got[1] == wanted[1]
        assert (b" 200 OK" in answers) == alice.endswith(END)


# ---- accounts that share a connection ----

@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_60_two_accounts_interleaved(http_, tls):
    """Each answer repeats its request; each node sees only its account's requests."""
    nodes = [http_.node("node1"), http_.node("node2")]
    router = http_.router(nodes, tls=tls, http="max_keepalive_requests = 0")
    router.map({"alice": "node1", "bob": "node2"})
    rounds = 10000
    with http_.client(router) as c:
        for start in range(0, rounds, 50):
            text, wanted = b"", []
            for i in range(start, start + 50):
                who = "alice" if i * 7919 % 13 < 6 else "bob"
                body = (("%s-%d-" % (who, i)) * (i % 40)).encode()
                text += ("POST /%s/%d HTTP/1.1\r\nHost: x\r\n%s" % (who, i, basic(who))).encode()
                if i % 3:
                    text += b"Content-Length: %d\r\n\r\n" % len(body) + body
                else:
                    text += b"Transfer-Encoding: chunked\r\n\r\n" + \
                        (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
                wanted.append((who, i, body))
            c.sock.sendall(text)
            for who, i, body in wanted:
                got = c.answer("POST")
                assert got["X-Node"] == {"alice": "node1", "bob": "node2"}[who]
                assert got.body.startswith(b"POST /%s/%d HTTP/1.1\r\n" % (who.encode(), i))
                assert got.body.endswith(b"\r\n\r\n" + body)
    for node, who in zip(nodes, ("alice", "bob")):
        assert len(node.connections) == 1
        assert all(head.path.startswith("/%s/" % who) and head["Authorization"] ==
                   basic(who).split(": ")[1].strip() for head, _ in node.requests)
    assert len(nodes[0].requests) + len(nodes[1].requests) == rounds


def test_many_clients_at_once(http_):
    nodes = [http_.node("node1"), http_.node("node2")]
    router = http_.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    failures = []

    def one(number):
        try:
            who = ("alice", "bob")[number % 2]
            with http_.client(router) as c:
                for i in range(20):
                    got = c.ask("/%d/%d" % (number, i), basic(who), "PUT", b"x" * (number * i))
                    assert got["X-Node"] == "node%d" % (number % 2 + 1)
                    assert got.body.startswith(b"PUT /%d/%d HTTP" % (number, i))
        except Exception as e: # pylint: disable=broad-except
            failures.append((number, e))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 2)
    assert not failures
    before = router.fds()
    router.wait_idle()
    wait_until(lambda: router.fds() <= before)


# ---- bodies larger than any buffer ----

def digest_of(size):
    digest, whole = hashlib.sha256(), size // len(BLOCK)
    for _ in range(whole):
        digest.update(BLOCK)
    digest.update(BLOCK[:size - whole * len(BLOCK)])
    return digest.hexdigest()


def send_body(send, size, chunked):
    sent = 0
    while sent < size:
        piece = BLOCK[:size - sent]
        send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        sent += len(piece)
    if chunked:
        send(b"0\r\n\r\n")


class Watch:
    """The most memory the router had while it was watched."""

    def __init__(self, router):
        self.pid, self.most, self.stop = router.process.pid, 0, threading.Event()
        self.first = rss_kib(self.pid)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.05):
            self.most = max(self.most, rss_kib(self.pid))

    def grown(self):
        self.stop.set()
        self.thread.join()
        return max(self.most, rss_kib(self.pid)) - self.first


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_31_bulk_up(http_, chunked, tls):
    def serve(conn):
        wire = Wire(conn.sock.recv)
        head = wire.head()
        answer(conn, take_up(wire, head).encode())
        conn.sock.recv(1)
    take_up = take_plain if not chunked else take_chunked
    node = http_.node("node1", serve, tls=tls)
    router = http_.router([node], tls=tls, environment=MEASURED)
    with http_.client(router) as c:
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: %d" % BULK
        c.send("PUT / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % framing)
        wait_until(lambda: node.connections)
        watch = Watch(router)
        send_body(c.sock.sendall, BULK, chunked)
        assert c.answer("PUT").body.decode() == digest_of(BULK)
        assert watch.grown() < GROWTH_KIB


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_31_bulk_down(http_, chunked, tls):
    def serve(conn):
        Wire(conn.sock.recv).head()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: %d" % BULK
        conn.send("HTTP/1.1 200 OK\r\n%s\r\n\r\n" % framing)
        send_body(conn.send, BULK, chunked)
        conn.sock.recv(1)
    node = http_.node("node1", serve, tls=tls)
    router = http_.router([node], tls=tls, environment=MEASURED)
    with http_.client(router) as c:
        watch = Watch(router)
        c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = c.wire.head()
        got = (take_chunked if chunked else take_plain)(c.wire, head)
        assert got == digest_of(BULK)
        assert watch.grown() < GROWTH_KIB


def take_plain(wire, head):
    digest, left = hashlib.sha256(wire.buffer), int(head["Content-Length"]) - len(wire.buffer)
    wire.buffer = b""
    while left:
        data = wire.recv(min(left, 1 << 20))
        assert data
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def take_chunked(wire, head):
    assert head["Transfer-Encoding"] == "chunked"
    digest = hashlib.sha256()
    while True:
        left = int(wire.until(b"\r\n"), 16)
        if not left:
            assert wire.until(b"\r\n") == b"\r\n"
            return digest.hexdigest()
        while left:
            data = wire.buffer[:left] or wire.recv(min(left, 1 << 20))
            assert data
            wire.buffer = wire.buffer[len(data):]
            digest.update(data)
            left -= len(data)
        assert wire.exactly(2) == b"\r\n"


@pytest.mark.parametrize("framing", ["Content-Length: %d\r\n" % (64 << 20),
                                     "Transfer-Encoding: chunked\r\n", ""])
def test_HTTP_31_slow_clients_hold_neither_memory_nor_a_worker(http_, framing):
    """Clients that do not read: the node cannot push, others are served by the same worker."""
    taken, stop = [], threading.Event()

    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            if conn.wire.head().path == "/":
                answer(conn, b"ok")
                continue
            conn.send("HTTP/1.1 200 OK\r\n%s\r\n" % framing)
            conn.sock.settimeout(2)
            total = 0
            try:
                while total < 64 << 20:
                    piece = BLOCK[:65536]
                    conn.send(b"10000\r\n%s\r\n" % piece if "chunked" in framing else piece)
                    total += len(piece)
            except OSError:
                pass
            taken.append(total)
            stop.wait(PATIENCE)
            return
    router = http_.router([http_.node("node1", serve)], server="threads = 1", environment=MEASURED)
    slow = []
    before = rss_kib(router.process.pid)
    for _ in range(20):
        c = http_.client(router)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.append(c)
    wait_until(lambda: len(taken) == 20)
    with http_.client(router) as quick:
        for _ in range(50):
            assert quick.ask("/").body == b"ok"
    cpu = cpu_ticks(router.process.pid)
    time.sleep(1)
    assert cpu_ticks(router.process.pid) - cpu < 50 # waiting, not spinning
    assert all(total < 64 << 20 for total in taken)
    assert rss_kib(router.process.pid) - before < 20 * 512 + GROWTH_KIB
    stop.set()
    for c in slow:
        c.close()


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_HTTP_31_a_slow_node_stops_the_client(http_):
    stop, sent = threading.Event(), []

    def serve(conn):
        Wire(conn.read).head()
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stop.wait(PATIENCE)
    node = http_.node("node1", serve)
    router = http_.router([node], environment=MEASURED)
    before = rss_kib(router.process.pid)
    with http_.client(router) as c:
        c.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        c.sock.settimeout(2)
        total = 0
        try:
            while total < 64 << 20:
                total += c.sock.send(BLOCK)
        except OSError:
            sent.append(total)
        assert sent and rss_kib(router.process.pid) - before < GROWTH_KIB
        stop.set()


@pytest.mark.parametrize("side", ["request", "response"])
def test_security_22_trailer_that_fills_the_buffer(http_, side):
    """A trailer line that can never be complete is refused at once, not waited for."""
    endless = b"0\r\nX: " + b"x" * 70000

    def serve(conn):
        conn.wire = Wire(conn.read)
        conn.wire.head()
        if side == "response":
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
        conn.read()
    router = http_.router([http_.node("node1", serve)])
    with http_.client(router) as c:
        if side == "request":
            c.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
            assert c.rest().startswith(b"HTTP/1.1 400 ")
        else:
            c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.rest().endswith(b"\r\n\r\n0\r\n")


def test_security_21_one_byte_at_a_time(http_):
    node = http_.node("node1")
    router = http_.router([node])
    text = ("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;e\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
    with http_.client(router) as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            for byte in text:
                c.send(byte)
            assert c.answer().body.endswith(b"\r\n\r\nhello")


# ---- peers that vanish ----

VANISH = ["connect", "head", "body", "wait", "response"]


@pytest.mark.parametrize("when", VANISH)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_vanishes_at_every_stage(http_, when, how):
    go = threading.Event()

    def serve(conn):
        conn.wire = Wire(conn.read)
        head = conn.wire.head()
        conn.wire.body(head)
        if head.path == "/wait":
            go.wait(1)
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while True:
            conn.send(BLOCK)
    router = http_.router([http_.node("node1", serve)])
    with http_.client(router) as c:
        if when == "head":
            c.send("GET / HT")
        elif when == "body":
            c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        elif when in ("wait", "response"):
            c.send("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % when)
        if when == "response":
            c.wire.head()
        (c.close if how == "close" else c.reset)()
    router.wait_idle()
    assert len(router.wait_sessions(1)) == 1


# ---- real servers and client libraries ----

def curl(router, *args, tls=True, expect=0):
    scheme = "https" if tls else "http"
    done = subprocess.run(["curl", "-sS", "--http1.1", "--cacert", router.cert, "-D", "-",
                           *(a.replace("URL", "%s://localhost:%d" % (scheme, router.ports["http"]))
                             for a in args)], capture_output=True, timeout=PATIENCE * 4)
    assert done.returncode == expect, done.stderr
    return done.stdout


@pytest.fixture
def nginx(http_):
    nodes = [http_.nginx("node1", "127.0.0.21"), http_.nginx("node2", "127.0.0.22")]
    router = http_.router(nodes, tls="implicit", environment=MEASURED)
    router.map({"alice": "node1", "bob": "node2"})
    return router, nodes


def test_nginx_get_put_delete(nginx):
    router, nodes = nginx
    nodes[0].put("a/file", b"of alice")
    nodes[1].put("a/file", b"of bob")
    conn = http.client.HTTPSConnection("localhost", router.ports["http"], timeout=PATIENCE,
                                       context=router.tls_context())
    for who, node in (("alice", nodes[0]), ("bob", nodes[1])) * 3:
        headers = {"Authorization": basic(who).split(": ")[1].strip()}

        def ask(method, path, body=None, **more):
            conn.request(method, path, body, {**headers, **more})
            response = conn.getresponse()
            assert response.getheader("X-Node") == node.name
            return response.status, response.read()
        assert ask("GET", "/a/file") == (200, b"of " + who.encode())
        assert ask("HEAD", "/a/file") == (200, b"")
        assert ask("GET", "/a/file", Range="bytes=3-4") == (206, who.encode()[:2])
        assert ask("GET", "/none")[0] == 404
        assert ask("MKCOL", "/dir/")[0] == 201
        assert ask("PUT", "/dir/new", b"x" * 100000)[0] == 201
        assert ask("MOVE", "/dir/new", Destination="https://localhost/dir/moved")[0] == 204
        assert ask("GET", "/dir/moved") == (200, b"x" * 100000)
        assert ask("DELETE", "/dir/")[0] == 204
    conn.close()
    for node in nodes:
        assert node.log().count("127.0.0.1 GET /a/file") == 6 # the client's, by the PROXY header


def test_nginx_large_files_by_curl(nginx, workspace):
    router, nodes = nginx
    size = 64 << 20
    path = workspace.write("big", "")
    with open(path, "wb") as f:
        for _ in range(size // len(BLOCK) + 1):
            f.write(BLOCK)
    with open(path, "rb") as f:
        wanted = hashlib.sha256(f.read()).digest()
    watch = Watch(router)
    for upload in (["-T", path], ["-T", path, "-H", "Transfer-Encoding: chunked"]):
        out = curl(router, *upload, "-u", "bob:pw", "URL/up")
        assert b"HTTP/1.1 100 Continue" in out and b" 20" in out
        got = path + ".down"
        curl(router, "-u", "bob:pw", "-o", got, "URL/up")
        with open(got, "rb") as f:
            assert hashlib.sha256(f.read()).digest() == wanted
    assert watch.grown() < GROWTH_KIB
    assert not nodes[0].log()


def test_nginx_refuses_a_large_upload(nginx, workspace):
    """Whether it reads the body or not: curl gets its answer, and no byte of the body is a request."""
    router, nodes = nginx
    nodes[0].put("up", b"file")
    path = workspace.write("big", "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" * 1000000)
    out = curl(router, "-X", "POST", "-T", path, "-u", "alice:pw", "-H", "Expect:", "URL/up",
               "-o", "/dev/null")
    assert b"HTTP/1.1 405" in out
    wait_until(lambda: "POST /up" in nodes[0].log())
    assert "evil" not in nodes[0].log() and not nodes[1].log()


class AiohttpNode(threading.Thread):
    """A server written with another HTTP implementation: WebSocket echo, events, JSON."""

    def __init__(self, name):
        from aiohttp import web
        super().__init__(daemon=True)
        self.name_, self.web, self.port, self.ready = name, web, None, threading.Event()
        self.loop, self.stopped = asyncio.new_event_loop(), None

    async def echo(self, request):
        socket_ = self.web.WebSocketResponse()
        await socket_.prepare(request)
        await socket_.send_str(self.name_)
        async for message in socket_:
            if message.type.name == "TEXT":
                await socket_.send_str(message.data)
            elif message.type.name == "BINARY":
                await socket_.send_bytes(message.data)
        return socket_

    async def events(self, request):
        response = self.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for i in range(5):
            await response.write(b"data: %s %d\n\n" % (self.name_.encode(), i))
            await asyncio.sleep(0.05)
        return response

    async def json(self, request):
        data = await request.json() if request.method == "POST" else None
        return self.web.json_response({"node": self.name_, "got": data})

    async def main(self):
        app = self.web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self.echo)
        app.router.add_get("/events", self.events)
        app.router.add_route("*", "/api", self.json)
        runner = self.web.AppRunner(app)
        await runner.setup()
        site = self.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self.stopped = asyncio.Event()
        self.ready.set()
        await self.stopped.wait()
        await runner.cleanup()

    def run(self):
        self.loop.run_until_complete(self.main())
        self.loop.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.join(PATIENCE)


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_section_8_client_libraries_on_two_nodes(http_, tls):
    import aiohttp
    import websockets
    nodes = [AiohttpNode("node1"), AiohttpNode("node2")]
    for node in nodes:
        node.start()
        assert node.ready.wait(PATIENCE)
    tomls = [harness.destination_toml(n.name_, "127.0.0.1", n.port, "plain", None, "none").replace(
        ".imap]", ".http]") for n in nodes]
    router = http_.router(tomls, default="node1", tls=tls, http='relay_idle = "1s"')
    router.map({"alice": "node1", "bob": "node2"})
    context = router.tls_context() if tls == "implicit" else None
    base = "localhost:%d" % router.ports["http"]

    async def one(who, node):
        auth = {"Authorization": "Basic " + base64.b64encode(b"%s:pw" % who.encode()).decode()}
        async with websockets.connect("%s://%s/ws" % ("wss" if context else "ws", base),
                                      ssl=context, **release.websocket_headers(auth)) as ws:
            assert await ws.recv() == node
            for size in (1, 125, 126, 65536, 500000):
                await ws.send(b"x" * size)
                assert await ws.recv() == b"x" * size
        async with aiohttp.ClientSession(headers=auth) as session:
            url = "%s://%s" % ("https" if context else "http", base)
            async with session.get(url + "/events", ssl=context) as response:
                lines = [line async for line in response.content if line.strip()]
                assert lines == [b"data: %s %d\n" % (node.encode(), i) for i in range(5)]
            for i in range(20):
                async with session.post(url + "/api", json={"i": i}, ssl=context) as response:
                    assert await response.json() == {"node": node, "got": {"i": i}}
            async with session.ws_connect(url + "/ws", ssl=context) as ws:
                assert await ws.receive_str() == node
                await ws.send_str("hi")
                assert await ws.receive_str() == "hi"

    async def both():
        await asyncio.wait_for(asyncio.gather(*(one(*p) for p in (("alice", "node1"),
                                                                  ("bob", "node2")) * 3)), PATIENCE)
    asyncio.run(both())
    for node in nodes:
        node.close()


# ---- everything at random ----

def random_node(rng):
    """Mostly answers well; sometimes in pieces, slowly, not at all, or with nonsense."""
    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            try:
                head = conn.wire.head()
                body = conn.wire.body(head)
            except ValueError:
                return
            who = head["X-Who"] or "-"
            payload = ("%s %s " % (conn.node.name, who)).encode() + body[:3000]
            with conn.node.lock:
                mood = rng.randrange(40)
            if mood == 0:
                return
            if mood == 1:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(payload) + 5) +
                          payload)
                return
            if mood == 2:
                conn.send(b"nonsense\r\n\r\n")
                return
            if mood == 3:
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                return
            if mood == 4:
                answer(conn, payload)
                conn.send(b"left over")
                continue
            if mood == 5:
                conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + payload)
                return
            if mood == 6:
                answer(conn, payload, fields="Connection: close\r\n")
                return
            if mood < 20:
                conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (mood % 3))
                answer(conn, payload)
            else:
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(payload), 1000):
                    piece = payload[at:at + 1000]
                    conn.send(b"%x;e\r\n%s\r\n" % (len(piece), piece))
                conn.send(b"0\r\n\r\n")
    return serve


def random_client(http_, router, rng, problems):
    """Requests of two accounts in random pieces; every answer that comes is the right account's."""
    c = http_.client(router)
    c.sock.settimeout(PATIENCE)
    try:
        for _ in range(rng.randrange(1, 12)):
            who = rng.choice(["alice", "bob"])
            body = rng.randbytes(rng.choice([0, 1, 500, 70000]))
            framed = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            if rng.randrange(2):
                framed = b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
                    b"%x\r\n%s\r\n" % (len(body[i:i + 999]), body[i:i + 999])
                    for i in range(0, len(body), 999)) + b"0\r\n\r\n"
            data = ("%s /%s HTTP/1.1\r\nHost: x\r\nX-Who: %s\r\n%s" % (
                rng.choice(["GET", "POST", "PROPFIND"]), who, who, basic(who))).encode() + framed
            spoiled = rng.randrange(30) == 0
            if spoiled: # it may still be a request: with another end of its body
                data = data[:rng.randrange(len(data))] + rng.randbytes(20)
            if rng.randrange(30) == 0:
                c.sock.sendall(data[:rng.randrange(len(data))])
                (c.reset if rng.randrange(2) else c.close)()
                return
            at = 0
            while at < len(data):
                step = rng.choice([1, 7, 1000, 100000])
                c.sock.sendall(data[at:at + step])
                at += step
            got = c.answer()
            while got.status < 200:
                got = c.answer()
            if got.status == 200:
                node = {"alice": b"node1 alice ", "bob": b"node2 bob "}[who]
                if not got.body.startswith(node) or not spoiled and not (
                        node + body[:3000]).startswith(got.body[:len(node) + 3000]):
                    problems.append((who, got.head.raw, got.body[:100]))
            if got["Connection"] == "close":
                return
    except (OSError, EOFError, ValueError):
        pass # the other side had one of its moods
    finally:
        c.close()


@pytest.mark.parametrize("seed", range(int(os.environ.get("HOMING_TORTURE", "2"))))
def test_torture_by_random_peers(http_, seed):
    rng = random.Random(seed)
    nodes = [http_.node("node1", random_node(rng)), http_.node("node2", random_node(rng))]
    router = http_.router(nodes, server="host_down_threshold = 0\nthreads = 2",
                          http='relay_idle = "1s"\nkeepalive_timeout = "1s"',
                          listener='preauth_timeout = "1s"')
    router.map({"alice": "node1", "bob": "node2"})
    problems, threads = [], []
    fds = router.fds()

    def many(own):
        for _ in range(25):
            random_client(http_, router, own, problems)
    for i in range(16):
        threads.append(threading.Thread(target=many, args=(random.Random(seed * 100 + i),)))
        threads[-1].start()
    for _ in range(10):
        router.admin("POST", "/connections/kick?identifier=alice")
        router.sessions()
        time.sleep(0.1)
    for thread in threads:
        thread.join(PATIENCE * 4)
        assert not thread.is_alive()
    assert not problems, problems[:3]
    router.wait_idle()
    wait_until(lambda: router.fds() <= fds + 1)
