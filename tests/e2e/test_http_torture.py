# SPDX-License-Identifier: Apache-2.0
"""HTTP peers that do anything, from seeds that repeat."""

import os
import random
import threading
import time

import pytest
from harness import PATIENCE, wait_until
from http_nodes import Wire, answer, basic, http  # noqa: F401


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


def random_client(http, router, rng, problems):
    """Requests of two accounts in random pieces; every answer that comes is the right account's."""
    c = http.client(router)
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
def test_torture_by_random_peers(http, seed):
    rng = random.Random(seed)
    nodes = [http.node("node1", random_node(rng)), http.node("node2", random_node(rng))]
    router = http.router(nodes, server="host_down_threshold = 0\nthreads = 2",
                         http='relay_idle = "1s"\nkeepalive_timeout = "1s"',
                         listener='preauth_timeout = "1s"')
    router.map({"alice": "node1", "bob": "node2"})
    problems, threads = [], []
    fds = router.fds()

    def many(own):
        for _ in range(25):
            random_client(http, router, own, problems)
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
