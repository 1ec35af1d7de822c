# SPDX-License-Identifier: Apache-2.0
"""http.md: bodies of any length in both directions, and peers that are slow."""

import socket
import threading
import time

import pytest
from harness import PATIENCE, rss_kib, wait_until
from http_bodies import (BLOCK, BULK, GROWTH_KIB, MEASURED, Watch, cpu_ticks, digest_of, send_body,
                         take_chunked, take_plain)
from http_nodes import Wire, answer, http  # noqa: F401


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_31_bulk_up(http, chunked, tls):
    def serve(conn):
        wire = Wire(conn.sock.recv)
        head = wire.head()
        answer(conn, take_up(wire, head).encode())
        conn.sock.recv(1)
    take_up = take_plain if not chunked else take_chunked
    node = http.node("node1", serve, tls=tls)
    router = http.router([node], tls=tls, environment=MEASURED)
    with http.client(router) as c:
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: %d" % BULK
        c.send("PUT / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % framing)
        wait_until(lambda: node.connections)
        watch = Watch(router)
        send_body(c.sock.sendall, BULK, chunked)
        assert c.answer("PUT").body.decode() == digest_of(BULK)
        assert watch.grown() < GROWTH_KIB


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_31_bulk_down(http, chunked, tls):
    def serve(conn):
        Wire(conn.sock.recv).head()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: %d" % BULK
        conn.send("HTTP/1.1 200 OK\r\n%s\r\n\r\n" % framing)
        send_body(conn.send, BULK, chunked)
        conn.sock.recv(1)
    node = http.node("node1", serve, tls=tls)
    router = http.router([node], tls=tls, environment=MEASURED)
    with http.client(router) as c:
        watch = Watch(router)
        c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = c.wire.head()
        got = (take_chunked if chunked else take_plain)(c.wire, head)
        assert got == digest_of(BULK)
        assert watch.grown() < GROWTH_KIB


@pytest.mark.parametrize("mode", ["auto", "copy"])
def test_HTTP_31_bodies_both_ways_on_kept_legs_of_tls(http, mode):
    """One connection of each, many bodies whose lengths are around those of records."""
    sizes = [0, 1, 16383, 16384, 16385, 65535, 65537, 300000, 3 << 20]

    def serve(conn):
        conn.wire = Wire(conn.read)
        while True:
            answer(conn, conn.wire.body(conn.wire.head()))
    node = http.node("node1", serve, tls="implicit")
    router = http.router([node], tls="implicit", extra='[splice]\nmode = "%s"\n' % mode)
    with http.client(router) as c:
        for size in sizes + sizes[::-1]:
            body = (BLOCK * (size // len(BLOCK) + 1))[:size]
            assert c.ask("/", "Content-Length: 0\r\n" if not size else "", "POST", body).body == body
    assert len(node.connections) == 1


@pytest.mark.parametrize("framing", ["Content-Length: %d\r\n" % (64 << 20),
                                     "Transfer-Encoding: chunked\r\n", ""])
def test_HTTP_31_slow_clients_hold_neither_memory_nor_a_worker(http, framing):
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
    router = http.router([http.node("node1", serve)], server="threads = 1", environment=MEASURED)
    slow = []
    before = rss_kib(router.process.pid)
    for _ in range(20):
        c = http.client(router)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.append(c)
    wait_until(lambda: len(taken) == 20)
    with http.client(router) as quick:
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


def test_HTTP_31_a_slow_node_stops_the_client(http):
    stop, sent = threading.Event(), []

    def serve(conn):
        Wire(conn.read).head()
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stop.wait(PATIENCE)
    node = http.node("node1", serve)
    router = http.router([node], environment=MEASURED)
    before = rss_kib(router.process.pid)
    with http.client(router) as c:
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


@pytest.mark.parametrize("ahead", ["next", "end"])
def test_HTTP_3_who_speaks_ahead_of_an_answer_waits_without_work(http, ahead):
    """The client's watch is left as it is for an exchange, until it tells of what nobody asks for yet."""
    go = threading.Event()

    def serve(conn):
        wire = Wire(conn.read)
        while wire.head():
            go.wait(PATIENCE)
            answer(conn, b"ok")
    node = http.node("node1", serve)
    router = http.router([node])
    with http.client(router) as c:
        c.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: b"GET /1 " in b"".join(node.everything()))
        if ahead == "next":
            c.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        else:
            c.sock.shutdown(socket.SHUT_WR)
        cpu = cpu_ticks(router.process.pid)
        time.sleep(1)
        assert cpu_ticks(router.process.pid) - cpu < 20
        go.set()
        assert [c.answer().body for _ in range(2 if ahead == "next" else 1)] == [b"ok"] * (
            2 if ahead == "next" else 1)
