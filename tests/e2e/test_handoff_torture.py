# SPDX-License-Identifier: Apache-2.0
"""Many sessions at random through a router and an agent: no byte is lost, doubled or seen elsewhere, whoever
ends when; nothing is left behind (HND-31, HND-34)."""

import contextlib
import os
import random
import ssl
import threading
import time

import handing
import harness
import pytest
from handing import Agent
from harness import node_login, wait_until
from test_torture import one_client, random_node

SECONDS = float(os.environ.get("TORTURE_SECONDS", "15"))
SESSIONS = int(os.environ.get("TORTURE_SESSIONS", "0")) # instead of a time


@pytest.fixture
def cluster(workspace):
    return handing.Cluster(workspace)


def pattern(user, count):
    """Bytes that belong to one session, and to each place of it."""
    return b"".join(b"%s:%08d\n" % (user.encode(), i) for i in range(count))


class Counting:
    """A node that says so many lines and ends at once, and keeps what each session has said to it."""

    def __init__(self):
        self.heard, self.lock = {}, threading.Lock()

    def serve(self, conn):
        user = node_login(conn)
        if user is None:
            return
        words = conn.line().split(" ")
        conn.send(pattern(user, int(words[1])))
        if words[0] == "say": # and ends without listening
            return
        heard = conn.buffer
        while data := conn.read():
            heard += data
        with self.lock:
            self.heard[user] = heard


def one_session(router, context, number, rng, faults, node):
    """Says its login and all else at once, or in pieces; ends when it has heard all, or at once."""
    user, lines = "u%d" % number, rng.choice([0, 1, 3, 50, 1000, 8000])
    ends = rng.choice(["say", "hear"])
    said = pattern("c" + user, rng.choice([0, 1, 10, 2000])) if ends == "hear" else b""
    client = harness.Client(router.connect(), context)
    client.sock.settimeout(60)
    client.line()
    text = b"a LOGIN %s pw\r\n%s %d\r\n" % (user.encode(), ends.encode(), lines) + said
    pause = rng.random() < 0.5
    while text:
        cut = rng.choice([1, 7, 40, 500, 5000, 70000])
        client.send(text[:cut])
        text = text[cut:]
        if pause and rng.random() < 0.1:
            time.sleep(0.002)
    answer = client.line()
    assert answer.startswith("a OK"), answer
    heard, wanted = client.buffer, pattern(user, lines)
    if ends == "say":
        while data := client.sock.recv(65536):
            heard += data
    else:
        while len(heard) < len(wanted):
            data = client.sock.recv(65536)
            assert data, "the end after %d of %d" % (len(heard), len(wanted))
            heard += data
        with contextlib.suppress(ssl.SSLError, OSError):
            client.sock.unwrap()
    client.sock.close()
    if heard != wanted:
        faults.append((user, ends, len(heard), len(wanted)))
    if ends == "hear":
        wait_until(lambda: user in node.heard)
        if node.heard[user] != said:
            faults.append((user, "up", len(node.heard[user]), len(said)))


def run_threads(count, work):
    errors = []

    def run(number):
        try:
            work(number)
        except Exception as e:  # noqa: BLE001
            errors.append((number, repr(e)))
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:5]


def start(make, cluster, node, **kwargs):
    agent = Agent(cluster, node, server='backend_timeout = "5s"\n').start()
    router = make.router([node], listeners={"imap": "implicit", "imapt": "starttls"},
                         extra=cluster.handoff_toml(node.name, agent), **kwargs)
    return agent, router


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_HND_31_random_sessions(make, cluster, version):
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    counting = Counting()
    node = make.node("node1", counting.serve, tls="plain", proxy=True)
    agent, router = start(make, cluster, node, server='backend_timeout = "60s"\n') # it may be a busy machine
    try:
        context = router.tls_context()
        context.maximum_version = getattr(ssl.TLSVersion, version)
        faults, end, per = [], time.monotonic() + SECONDS, [0] * 8

        def work(number):
            rng = random.Random(seed + number)
            while per[number] * len(per) < SESSIONS if SESSIONS else time.monotonic() < end:
                per[number] += 1
                one_session(router, context, number * 100000 + per[number], rng, faults, counting)
        run_threads(len(per), work)
        assert not faults, (seed, faults[:5])
        assert sum(per) > 30
        lines = router.wait_sessions(sum(per))
        assert {line.get("tls_at") for line in lines} == {"agent"}
        assert len(agent.wait_sessions(sum(per))) == sum(per)
        print("%d sessions" % sum(per))
    finally:
        agent.close()


def test_random_clients_and_nodes(make, cluster):
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    node = make.node("node1", random_node(random.Random(seed)), tls="plain", proxy=True)
    agent, router = start(make, cluster, node, server='backend_timeout = "2s"\n'
                          "host_down_threshold = 0\nbackend_connect_retries = 0")
    try:
        context, faults, end = router.tls_context(), [], time.monotonic() + SECONDS
        before = [process.fds() for process in (router, agent) if process.stats()]

        def work(number):
            rng = random.Random(seed + 100 + number)
            while time.monotonic() < end:
                with contextlib.suppress(OSError, EOFError, ssl.SSLError, UnicodeDecodeError):
                    one_client(router, rng, context, faults)
        run_threads(12, work)
        assert not faults, (seed, faults[:5])
        router.wait_idle()
        wait_until(lambda: agent.stats()["active_connections"] <= os.cpu_count())
        for process, fds in zip((router, agent), before):
            # the channels, one for each worker
            wait_until(lambda process=process, fds=fds: process.fds() <= fds + 1 + os.cpu_count())
            stats = process.stats()
            assert sum(n["active"] for n in stats["nodes"].values()) == 0
            assert sum(p["active"] for p in stats["paths"].values()) == 0
        assert any("tls_at" in line for line in router.session_lines())
    finally:
        agent.close()
