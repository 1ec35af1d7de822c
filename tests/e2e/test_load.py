# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' load generator against their light node: it counts what was done, and says so
when a server does not do it. What it counts wrong would be wrong in every figure."""

import re
import socket
import subprocess
import threading

import pytest

import harness

KINDS = [(protocol, tls) for protocol in ("imap", "submission") for tls in ("plain", "tls")]


@pytest.fixture(name="node")
def node_fixture(request):
    """(protocol, tls, address)"""
    protocol, tls = request.param
    space = harness.Workspace("homing-load-")
    cert, key, _ = space.certificate("node1", ["node1.test"])
    with subprocess.Popen([harness.BUILD + "/bench/lightnode", "127.0.0.1:0", protocol] +
                          (["plain"] if tls == "plain" else [cert, key]),
                          stdout=subprocess.PIPE, text=True) as process:
        yield protocol, tls, "127.0.0.1:%d" % int(process.stdout.readline())
        alive = process.poll() is None
        process.kill()
    space.close()
    assert alive


@pytest.mark.parametrize("node", KINDS, indirect=True)
def test_sessions(node):
    protocol, tls, address = node
    with harness.Load(address, protocol, tls, "accounts=3", "domain=x.test") as load:
        figures = load("logins 100 8 full")
        assert (figures["logins"], figures["failed"], figures["resumed"]) == (100, 0, 0)
        figures = load("logins 100 8 resumed")
        assert (figures["logins"], figures["failed"]) == (100, 0)
        assert figures["resumed"] == (100 if tls == "tls" else 0)
        assert load("open 20 4")["open"] == 20
        assert load("open 10 4 resumed")["open"] == 30
        assert load("noop")["answered"] == 30
        figures = load("ping 100")
        assert figures["count"] == 100 and 0 < figures["p50_us"] <= figures["max_us"]
        assert load("close")["closed"] == 30
        assert load("noop")["answered"] == 0


@pytest.mark.parametrize("node", KINDS[:2], indirect=True)
def test_work(node):
    protocol, tls, address = node
    with harness.Load(address, protocol, tls, "node=" + address) as load:
        load("open 100 8")
        for command in ("bulk 3000000 65536", "bulk 10000 33", "check 1000003 999",
                        "push 3000000 1000"):
            assert load(command)["bytes"] == int(command.split()[1])
        assert load("bulk 12000 300 5")["bytes"] == 60000
        figures = load("fetch 50 300000 7")
        assert (figures["messages"], figures["bytes"]) == (50, 15000000)
        figures = load("notify 250 1000")
        assert figures["notifications"] == 250 and 0.2 < figures["seconds"]
        figures = load("mixed 2 200 10")
        assert figures["notifications"] == 6 # 95 sessions, each twice a minute
        # a machine with other work may be late, but what was not begun is counted
        assert 400 - figures["behind"] <= figures["chatty"] <= 400
        assert load("noop")["answered"] == 100


@pytest.mark.parametrize("node", KINDS[1::2], indirect=True)
def test_node_counts_handshakes(node):
    protocol, tls, address = node
    with harness.Load(address, protocol, tls) as load:
        load("logins 5 1 full")
        assert load("logins 7 1 resumed")["resumed"] == 7
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 10) as conn:
        conn.sendall(b"h HANDSHAKES\r\n" if protocol == "imap" else b"HANDSHAKES\r\n")
        assert conn.makefile().readline().split()[1:] == ["OK", "5", "7"]


def peer(serve, at_once=False):
    """A server that runs serve(socket, its lines) on every connection, one after the other or at once; its
    address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def talk(conn):
        with conn, conn.makefile("rb") as lines:
            serve(conn, lines)

    def run():
        while True:
            conn, _ = listener.accept()
            if at_once:
                threading.Thread(target=talk, args=(conn,), daemon=True).start()
            else:
                talk(conn)

    threading.Thread(target=run, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1]


def test_refused_logins_are_counted():
    def serve(conn, lines):
        conn.sendall(b"* OK\r\n")
        lines.readline()
        conn.sendall(b"a NO wrong password\r\n")

    with harness.Load(peer(serve), "imap", "plain") as load:
        figures = load("logins 5 1")
        assert (figures["logins"], figures["failed"]) == (0, 5)
        assert figures["failure"] == "login:_a_NO_wrong_password"
    with harness.Load(peer(lambda *_: None), "imap", "tls") as load:
        assert load("open 5 1")["failed"] == 5


def test_pings_take_turns_over_the_sessions():
    asked = []

    def serve(conn, lines):
        conn.sendall(b"* OK\r\n")
        for line in lines:
            if b"NOOP" in line:
                asked.append(conn.getpeername())
            conn.sendall(line.split()[0] + b" OK\r\n")

    with harness.Load(peer(serve, at_once=True), "imap", "plain") as load:
        assert load("open 5 1")["open"] == 5
        assert load("ping 9 3")["count"] == 9
        assert len(set(asked)) == 3 and asked == asked[:3] * 3
        del asked[:]
        assert load("ping 4")["count"] == 4
        assert len(asked) == 4 and len(set(asked)) == 1


@pytest.mark.parametrize("answer, command, error", [
    (b"", "ping 1 2", "count_or_sessions"),
    (b"", "ping 1", "a_session_was_lost"),
    (b"n BAD what\r\n", "ping 1", "n_BAD_what"),
    (b"* 1 FETCH (BODY[] {5}\r\nhello)\r\nf OK\r\n", "fetch 1 300 1", "*_1_FETCH_(BODY[]_{5}"),
    (b"* 1 FETCH (BODY[] {300}\r\nhello", "fetch 1 300 1", "a_session_was_lost"),
    (b"x" * 1000 + b"b OK\r\n", "check 1000 1000", "wrong_byte")])
def test_wrong_answers_end_it(answer, command, error):
    def serve(conn, lines):
        conn.sendall(b"* OK\r\n")
        lines.readline()
        conn.sendall(b"a OK\r\n")
        lines.readline()
        conn.sendall(answer)

    load = harness.Load(peer(serve), "imap", "plain")
    try:
        load("open 1 1")
        with pytest.raises(AssertionError, match=re.escape("%s: error=%s\n" % (command, error))):
            load(command)
        assert load.process.wait(10) == 1
    finally:
        load.kill()
