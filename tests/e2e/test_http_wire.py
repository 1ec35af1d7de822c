# SPDX-License-Identifier: Apache-2.0
"""http.md and security.md on the wire: smuggling with the nodes' raw bytes, accounts that share a
connection, clients that vanish."""

import socket
import threading

import pytest
from harness import PATIENCE, wait_until
from http_bodies import BLOCK
from http_nodes import Wire, basic, http  # noqa: F401

H = "Host: x\r\n"
A, B = basic("alice"), basic("bob")
EVIL = "GET /evil HTTP/1.1\r\n" + H + B + "\r\n"
END = "GET /end HTTP/1.1\r\n" + H + A + "\r\n"


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
def test_security_24_smuggling(http, name):
    sent, alice, bob = CASES[name]
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    for size in (len(sent) + len(END), 1):
        for node in nodes:
            for conn in node.connections:
                conn.received = b""
        data = (sent + END).encode("latin-1")
        with http.client(router) as c:
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
def test_HTTP_60_two_accounts_interleaved(http, tls):
    """Each answer repeats its request; each node sees only its account's requests."""
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes, tls=tls, http="max_keepalive_requests = 0")
    router.map({"alice": "node1", "bob": "node2"})
    rounds = 10000
    with http.client(router) as c:
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


def test_many_clients_at_once(http):
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    failures = []

    def one(number):
        try:
            who = ("alice", "bob")[number % 2]
            with http.client(router) as c:
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


# ---- too many bytes, and one at a time ----

@pytest.mark.parametrize("side", ["request", "response"])
def test_security_22_trailer_that_fills_the_buffer(http, side):
    """A trailer line that can never be complete is refused at once, not waited for."""
    endless = b"0\r\nX: " + b"x" * 70000

    def serve(conn):
        conn.wire = Wire(conn.read)
        conn.wire.head()
        if side == "response":
            conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
        conn.read()
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
        if side == "request":
            c.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
            assert c.rest().startswith(b"HTTP/1.1 400 ")
        else:
            c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.rest().endswith(b"\r\n\r\n0\r\n")


def test_security_21_one_byte_at_a_time(http):
    node = http.node("node1")
    router = http.router([node])
    text = ("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;e\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
    with http.client(router) as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            for byte in text:
                c.send(byte)
            assert c.answer().body.endswith(b"\r\n\r\nhello")


# ---- peers that vanish ----

VANISH = ["connect", "head", "body", "wait", "response"]


@pytest.mark.parametrize("when", VANISH)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_vanishes_at_every_stage(http, when, how):
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
    router = http.router([http.node("node1", serve)])
    with http.client(router) as c:
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
