# SPDX-License-Identifier: Apache-2.0
"""Clients and nodes that do the wrong thing at random, many at once; the seed is printed. What
must hold afterwards: the router is alive, serves, leaks neither connections nor descriptors, its
counters agree, and no byte of one session was seen in another."""

import os
import random
import ssl
import threading
import time

import harness
import pytest
from harness import node_login, wait_until

SECONDS = float(os.environ.get("TORTURE_SECONDS", "15"))


def random_node(rng):
    def serve(conn):
        mood = rng.random()
        if mood < 0.08:
            return
        if mood < 0.16:
            conn.send(os.urandom(rng.randrange(1, 3000)))
            return
        if mood < 0.24:
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
            conn.line()
            if rng.random() < 0.5:
                conn.send("* OK {%d}\r\n" % rng.randrange(100000))
            return
        user = node_login(conn)
        if user is None:
            return
        while True:  # echo, marked with the user the node believes in
            line = conn.line()
            if rng.random() < 0.02:
                return
            conn.send("%s %s\r\n" % (user, line))
    return serve


def one_client(router, rng, context, faults):
    user = "user%d" % rng.randrange(50)
    mood = rng.random()
    client = harness.Client(router.connect(rng.choice(["imap", "imapt"])))
    try:
        if mood < 0.1:
            return
        if mood < 0.2:
            client.send(os.urandom(rng.randrange(1, 2000)))
            return
        if router.ports["imapt"] == client.sock.getpeername()[1]:
            client.line()
            client.command("a STARTTLS")
            client.starttls(context)
        else:
            client.starttls(context)
            client.line()
        if mood < 0.3:
            client.send(bytes(rng.choice(b"{}+\"\\ \r\naA0") for _ in range(rng.randrange(500))))
            return
        text = "a LOGIN %s %s\r\n" % (user, rng.choice(["pw", "pw", "pw", "wrong"]))
        cut = rng.randrange(len(text) + 1) if rng.random() < 0.3 else len(text)
        client.send(text[:cut])
        if cut < len(text):
            return
        if not client.line().startswith("a OK"):
            return
        for i in range(rng.randrange(20)):
            message = "m%d %s" % (i, "x" * rng.randrange(2000))
            client.send(message + "\r\n")
            answer = client.line()
            if answer != user + " " + message:
                faults.append((user, answer[:80]))
        if rng.random() < 0.3:
            client.reset()
    finally:
        client.close()


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
def test_random_clients_and_nodes(make, mode, path):
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    rng = random.Random(seed)
    nodes = [make.node("node%d" % i, random_node(random.Random(seed + i)), tls=tls)
             for i, tls in ((1, "implicit"), (2, "plain"), (3, "implicit"))]
    router = make.router(nodes, server='backend_timeout = "2s"\nhost_down_threshold = 0\n'
                         "backend_connect_retries = 0", extra='[splice]\nmode = "%s"\n' % mode)
    router.map({"user%d" % i: "node%d" % (1 + i % 3) for i in range(50)})
    context = router.tls_context()
    router.stats()
    before = router.fds()
    faults, counts, end = [], [0] * 12, time.monotonic() + SECONDS

    def run(number):
        mine = random.Random(seed + 100 + number)
        while time.monotonic() < end:
            counts[number] += 1
            try:
                one_client(router, mine, context, faults)
            except (OSError, EOFError, ssl.SSLError, UnicodeDecodeError):
                pass

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(counts))]
    for t in threads:
        t.start()
    while time.monotonic() < end:
        router.admin("POST", "/cache/invalidate" + rng.choice(["", "?identifier=user%d" % (
            rng.randrange(50))]))
        assert router.admin("GET", "/healthz", token=None)[0] == 200
    for t in threads:
        t.join()
    assert not faults, (seed, faults[:5])
    assert sum(counts) > 50
    router.wait_idle()
    wait_until(lambda: router.fds() <= before + 1)
    stats = router.stats()
    sessions = router.session_lines()
    assert sum(n["active"] for n in stats["nodes"].values()) == 0
    assert sum(p["active"] for p in stats["paths"].values()) == 0
    accepted = sum(item["accepted"] for item in stats["listeners"].values())
    assert wait_until(lambda: len(router.session_lines()) == accepted), (accepted, len(sessions))
    sessions = router.session_lines()
    for direction in ("up", "down"):
        assert sum(int(s["bytes_" + direction]) for s in sessions) == \
            sum(n["bytes_" + direction] for n in stats["nodes"].values())
    paths = {s["path_up"] for s in sessions if int(s["bytes_up"])}
    assert paths == {path}, paths
    print("%d clients, reasons: %s" % (sum(counts), sorted({s["reason"] for s in sessions})))
