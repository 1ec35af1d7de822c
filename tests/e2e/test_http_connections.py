# SPDX-License-Identifier: Apache-2.0
"""http.md: the beginning and the end of a connection, what is passed on, and accounts that move."""

import contextlib
import socket
import threading
import time

import pytest

from harness import PATIENCE, wait_until
from http_nodes import HttpMake, Wire, basic, http, two  # noqa: F401

G = "GET / HTTP/1.1\r\nHost: x\r\n"
LARGE = 64 << 20
UPGRADE = ("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")


def test_HTTP_1_a_proxy_header_names_the_client(http):
    """Accept and the inbound header are those of mail: the address is the header's, and who is not trusted is
    not heard."""
    node = http.node("node1", forwarded=True)
    router = http.router([node], listener='proxy_trusted = ["127.0.0.1/32"]\nproxy_protocol = "required"')
    with http.client(router) as c:
        c.sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n")
        assert c.ask()["X-Node"] == "node1"
        assert b"X-Forwarded-For: 192.0.2.7\r\n" in node.everything()[0]
        assert router.sessions()["sessions"][0]["client"].startswith("192.0.2.7")
    with http.client(router, source="127.0.0.9") as c:
        c.sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n" + G.encode() + b"\r\n")
        assert c.rest() == b""


def test_HTTP_7_the_answer_survives_what_the_client_goes_on_to_send(http):
    """Without a lingering close the unread bytes would make a reset of it, which overtakes the answer."""
    router = http.router([http.node("node1")], '[[http.route]]\nmatch = "/x"\ndestination = "node1"\n')
    with http.client(router) as c:
        c.sock.sendall(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" +
                       b"x" * 30000)
        wait_until(lambda: c.readable(0.1))
        c.sock.sendall(b"x" * 20000) # behind the end that the router has sent
        assert c.answer().status == 404
        assert c.rest() == b""
        c.sock.shutdown(socket.SHUT_WR)
    assert router.wait_sessions(1)[0]["reason"] == "protocol_error"


@pytest.mark.parametrize("secure", ["plain", "implicit"])
def test_HTTP_7_a_large_body_does_not_cost_the_client_the_answer(http, secure):
    """Who sends on, faster than it is read, is not reset before it has looked."""
    router = http.router([http.node("node1")], '[[http.route]]\nmatch = "/x"\ndestination = "node1"\n',
                         tls=secure)
    with http.client(router) as c:
        c.sock.sendall(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LARGE)
        c.sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            for _ in range(LARGE >> 16):
                c.sock.sendall(bytes(1 << 16))
        c.sock.settimeout(PATIENCE)
        assert c.answer().status == 404
    assert router.wait_sessions(1)[0]["reason"] == "protocol_error"


def test_HTTP_7_who_never_stops_sending_is_waited_for_3_s(http):
    router = http.router([http.node("node1")], '[[http.route]]\nmatch = "/x"\ndestination = "node1"\n')
    with http.client(router) as c:
        c.sock.sendall(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert c.answer().status == 404
        begun = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while time.monotonic() < begun + PATIENCE:
                c.sock.sendall(bytes(4096))
                time.sleep(0.01)
        assert time.monotonic() - begun > 2.5
    assert router.wait_sessions(1)[0]["reason"] == "protocol_error"


def test_HTTP_53_61_72_fields_reach_each_node_as_they_were(two):
    """No 421, and names, order and bytes of the fields stay: the same fields to two nodes in turn."""
    router, nodes = two
    fields = ("X-oDD-cASE:  two  blanks \r\nx-b: 1\r\nX-B: 2\r\nX-Latin: \xe9\xff\r\n"
              "Cookie: a=b; c=d\r\nX-Empty:\r\n")
    with HttpMake.client(router) as c:
        for who in ("alice", "bob", "alice", "bob"):
            got = c.ask("/", basic(who) + fields)
            assert got.status == 200
            sent = (basic(who) + fields).encode("latin-1").replace(b"  two  blanks ", b" two  blanks")
            seen = [line for line in got.body.split(b"\r\n")[2:] if line]
            wanted = [line for line in sent.split(b"\r\n") if line]
            assert [line.replace(b": ", b":", 1) for line in seen] == \
                [line.replace(b": ", b":", 1) for line in wanted]
    assert [len(node.connections) for node in nodes] == [1, 1]


def test_HTTP_80_kick_ends_what_was_handed_over(http):
    gone = threading.Event()

    def serve(conn):
        Wire(conn.read).head()
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while conn.read():
            pass
        gone.set()
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        c.send(UPGRADE + basic("alice") + "\r\n")
        assert c.wire.head().status == 101
        wait_until(lambda: [row["stage"] for row in router.sessions()["sessions"]] == ["established"])
        assert router.admin("POST", "/connections/kick?identifier=alice")[1]["kicked"] == 1
        assert c.rest() == b""
        assert gone.wait(PATIENCE)
    assert router.wait_sessions(1)[0]["reason"] == "kicked"


def test_one_account_one_node_by_two_routers(http):
    """Before and after a move that both are told of."""
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    second = http.router(nodes, mapping=router.sqlite_toml())

    def seen():
        answers = []
        for target in (router, second):
            with HttpMake.client(target) as c:
                answers += [c.ask("/", basic(who))["X-Node"] for who in ("alice", "bob", "alice")]
        return answers

    assert seen() == ["node1", "node2", "node1"] * 2
    done = router.ctl("--insecure", "--url", "https://localhost:%d" % second.ports["admin"], "move",
                      "alice", "node2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen() == ["node2"] * 6
