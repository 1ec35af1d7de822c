# SPDX-License-Identifier: Apache-2.0
"""sessions.md, IMAP: after the login, and the end of a session."""

import os
import socket
import threading
import time

import harness
import pytest
from bulk import Bulk
from harness import node_imap, node_login, wait_until
from logins import last_session


# ---- established ----

@pytest.mark.parametrize("leg", ["implicit", "plain"])
@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
def test_SES_84_100_mib_each_way_and_half_close(make, leg, mode, path):
    size = 100 * 1024 * 1024
    both_ways = Bulk(size)

    def serve(conn):
        if node_login(conn) is None:
            return
        both_ways.up = both_ways.exchange(conn)
        if leg == "implicit":
            conn.sock = conn.sock.unwrap()

    node = make.node("node1", serve, tls=leg)
    router = make.router([node], extra='[splice]\nmode = "%s"\n' % mode)
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        down = both_ways.exchange(c)
        assert c.sock.recv(1) == b""
    session = last_session(router)
    assert down == both_ways.up == both_ways.expected
    assert (session["bytes_up"], session["bytes_down"]) == (str(size), str(size))
    assert (session["path_up"], session["path_down"]) == (path, path)


def test_SES_84_half_close_delivers_the_answer(make):
    """A plain client ends its direction; the node's answer still arrives."""
    def serve(conn):
        if node_login(conn) is None:
            return
        data = conn.buffer
        while True:
            piece = conn.read()
            if not piece:
                break
            data += piece
        conn.send(b"got %d bytes\r\n" % len(data))

    node = make.node("node1", serve, tls="plain")
    router = make.router([node], listeners={"imap": "plain"},
                         extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    with router.client(tls=False) as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        c.send(b"x" * 1000000)
        c.sock.shutdown(socket.SHUT_WR)
        assert c.eof() == b"got 1000000 bytes\r\n"
    assert last_session(router)["reason"] == "client_eof"


def test_section_3_bridge_idle(make):
    router = make.router([make.node("node1")], server='bridge_idle = "3s"')
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice pw")
        for i in range(5):  # a byte now and then keeps it open
            assert c.command("b%d NOOP" % i) == ["b%d OK NOOP" % i]
            assert not c.readable(0.8)
        assert c.eof() == b""
    assert last_session(router)["reason"] == "idle"


def test_section_3_slow_reader_is_bounded(make):
    def serve(conn):
        if node_login(conn) is None:
            return
        conn.sock.settimeout(1)
        sent = 0
        try:
            while sent < 400 * 1024 * 1024:
                sent += conn.sock.send(b"x" * 65536)
        except (TimeoutError, OSError):
            pass
        conn.sent = sent
        conn.stuck.set()

    node = make.node("node1", lambda c: (setattr(c, "stuck", threading.Event()), serve(c)))
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        wait_until(lambda: node.connections and hasattr(node.connections[0], "stuck"))
        assert node.connections[0].stuck.wait(harness.PATIENCE)
        assert node.connections[0].sent < 64 * 1024 * 1024  # kernel buffers, not ours


# ---- clients that vanish, limits, shutdown ----

@pytest.mark.parametrize("step", ["connect", "tls", "greeting", "half", "lookup", "dial", "replay",
                                  "established"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_SES_3_client_vanishes(make, step, how):
    block = threading.Event()

    def serve(conn):
        if step == "dial":
            conn.read()
            return
        if step == "replay":
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
            conn.line()
            conn.read()
            return
        node_imap(conn)

    router = make.router([make.node("node1", serve)], server='backend_timeout = "20s"')
    router.stats()
    before = router.fds()
    c = harness.Client(router.connect())
    if step in ("tls",):
        c.send(b"\x16\x03\x01\x02\x00")
    elif step != "connect":
        c.starttls(router.tls_context())
        c.line()
    if step == "half":
        c.send("a LOGIN {10}\r\nali")
    elif step in ("lookup", "dial", "replay", "established"):
        c.send("a LOGIN alice pw\r\n")
        if step == "established":
            c.line()
        elif step != "lookup":
            wait_until(lambda: router.stats()["cache_misses"] == 1)
    getattr(c, how)()
    start = time.monotonic()
    router.wait_idle()
    assert time.monotonic() - start < 10
    wait_until(lambda: router.fds() <= before)
    block.set()


def test_SES_4_max_connections(make):
    router = make.router([make.node("node1")],
                         listeners={"imap": ("implicit", "max_connections = 2")})
    with router.client() as one, router.client() as two:
        one.line(), two.line()
        with router.connect() as third:
            assert third.recv(100) == b""
        assert router.stats()["rejected_limit"] == 1
    router.wait_idle()
    with router.client() as again:
        again.line()


def refuses(router):
    try:
        router.connect().close()
    except OSError:
        return True
    return False


def test_SES_86_drain(make):
    router = make.router([make.node("node1")], server='shutdown_grace = "2s"')
    waiting = router.client()
    waiting.line()
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice pw")
        router.process.terminate()
        assert waiting.eof() == b"* BYE Shutting down.\r\n"
        assert c.command("b NOOP") == ["b OK NOOP"]
        wait_until(lambda: refuses(router)) # each worker closes its own listening socket
        status, body, _ = router.admin("GET", "/readyz", token=None)
        assert (status, body["reasons"]) == (503, ["draining"])
        assert c.eof() == b""
    router.stop()
    reasons = [s["reason"] for s in router.session_lines()]
    # those two, and who came while a worker's listening socket was still there, and may have gone again
    assert reasons.count("shutdown") >= 2 and set(reasons) <= {"shutdown", "tls_client"}


def test_section_14_150_concurrent_logins(make):
    router = make.router([make.node("node1"), make.node("node2")])
    router.map({"user%d" % i: "node%d" % (1 + i % 2) for i in range(150)})
    clients, errors = [], []

    def login(i):
        try:
            c = router.client()
            clients.append(c)
            c.line()
            assert c.command("a LOGIN user%d pw" % i)[-1].startswith("a OK"), i
            assert c.command("b NOOP") == ["b OK NOOP"], i
        except Exception as e:  # noqa: BLE001 - collected for the main thread
            errors.append((i, repr(e)))

    threads = [threading.Thread(target=login, args=(i,)) for i in range(150)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:5]
    assert router.stats()["active_connections"] == 150
    for c in clients:
        c.close()
    router.wait_idle()


def test_section_6_out_of_descriptors(make):
    """RLIMIT_NOFILE 256 and 300 clients: no crash, no busy loop, service afterwards."""
    router = make.router([make.node("node1")], rlimit_nofile=256)
    socks = []
    for _ in range(300):
        socks.append(router.connect())
    router.wait_line(lambda line: "accept_paused" in line)

    def cpu():
        with open("/proc/%d/stat" % router.process.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu()
    time.sleep(2)  # the time over which a spin would show
    assert cpu() - before < 1.0
    assert router.log().count("accept_paused") <= 8
    for sock in socks:
        sock.close()
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
