# SPDX-License-Identifier: Apache-2.0
"""Much through a router and an agent, and processes that are killed meanwhile: every byte is the one that was
said, or there is an error (HND-31, HND-34)."""

import contextlib
import os
import random
import signal
import socket
import ssl
import struct
import threading
import time

import harness
import pytest
from bulk import Bulk
from harness import node_login, wait_until
from test_handoff import agents, cluster, login, route  # noqa: F401

BULK_BYTES = int(os.environ.get("TORTURE_BULK_MIB", "64")) << 20
AT_ONCE = int(os.environ.get("TORTURE_AT_ONCE", "600"))
KILLS = int(os.environ.get("TORTURE_KILLS", "6"))
TALKERS = 8


def test_HND_31_bulk_both_ways(make, cluster, agents):  # noqa: F811
    """At once; both ends compare what they hear."""
    load = Bulk(BULK_BYTES)
    node = make.node("node1", load.serve, tls="plain", proxy=True)
    agent = agents(node, server="threads = 1\n")
    router = route(make, cluster, node, agent, server="threads = 1\n")
    for _ in range(10): # until the channel stands
        start = time.monotonic()
        with login(router) as client:
            load.run(client)
        line = router.wait_sessions(1)[-1]
        if "tls_at" in line:
            break
    print("%d MiB both ways in %.1f s, %s" % (BULK_BYTES >> 20, time.monotonic() - start, line["path_up"]))
    assert line["tls_at"] == "agent"


class Beside:
    """A node that is another process, as an agent's file has it."""

    def __init__(self, name, toml):
        self.name, self.toml = name, lambda: toml


def test_HND_31_many_sessions_at_once(make, cluster, agents):  # noqa: F811
    """All are there, all answer, and bytes of each are compared; then all end."""
    with harness.light_node() as (toml, name):
        agent = agents(Beside(name, toml), listener="max_connections = 20000\n")
        # The agent's legs are as plain, and without a header for a node that knows none.
        router = make.router([toml], default=name, listeners={"imap": ("implicit", "max_connections = 20000\n")},
                             extra=cluster.handoff_toml(name, agent))
        with login(router, "first"), harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "tls") as load:
            start = time.monotonic()
            while load("noop")["answered"] < AT_ONCE:
                assert load("open %d 32" % min(200, AT_ONCE))["failed"] == 0
            opened = time.monotonic() - start
            count = int(load("noop")["answered"])
            handed = sum(row["handed_over"] for row in router.sessions(limit=10000)["sessions"])
            assert router.stats()["active_connections"] == count + 1
            load("check %d 999" % 100003)
            assert load("noop")["answered"] == count
            print("%d sessions in %.1f s, %d of those shown handed over; KiB: router %d, agent %d" % (
                count, opened, handed, harness.rss_kib(router.process.pid), harness.rss_kib(agent.process.pid)))
            assert handed
            load("close")
        router.wait_idle()
        wait_until(lambda: agent.stats()["active_connections"] <= os.cpu_count())


# ---- whoever is killed ----

class Talking:
    """A node that answers each line with the user and the line; told to, it goes without a word."""

    def __init__(self):
        self.socks, self.lock = set(), threading.Lock()

    def serve(self, conn):
        with self.lock:
            self.socks.add(conn.sock)
        try:
            user = node_login(conn)
            while user:
                conn.send("%s %s\r\n" % (user, conn.line()))
        finally:
            with self.lock:
                self.socks.discard(conn.sock)

    def kill(self):
        """As the kernel does it for who has not read all."""
        with self.lock:
            for sock in self.socks:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RDWR)


def talk(router, context, rng, user, faults):
    """One session. Returns whether it came to its own end."""
    client = None
    try:
        client = harness.Client(router.connect(), context)
        client.line()
        answer = client.command("a LOGIN %s pw" % user)[-1]
        if not answer.startswith("a OK"):
            if "UNAVAILABLE" not in answer:
                faults.append((user, answer))
            return False
        lines = ["m%d %s" % (i, "x" * rng.choice([1, 100, 3000])) for i in range(rng.randrange(1, 60))]
        client.send("".join(line + "\r\n" for line in lines[::2]))
        wanted = "".join("%s %s\r\n" % (user, line) for line in lines[::2] + lines[1::2]).encode()
        client.send("".join(line + "\r\n" for line in lines[1::2]))
        heard = client.buffer
        with contextlib.suppress(OSError):
            while len(heard) < len(wanted):
                data = client.sock.recv(65536)
                if not data:
                    break
                heard += data
        if not wanted.startswith(heard):
            faults.append((user, len(heard), len(wanted)))
        return heard == wanted
    except TimeoutError:
        faults.append((user, "it hangs"))
        return False
    except (OSError, EOFError, KeyError): # KeyError: its ports are not known yet
        return False
    finally:
        if client:
            client.close()


def test_HND_34_killed_at_random(make, cluster, agents):  # noqa: F811
    """SIGKILL of router, agent or all connections of the node, while clients talk. A client hears what it should
    or an error; and afterwards all is as before."""
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    rng, talking = random.Random(seed), Talking()
    node = make.node("node1", talking.serve, tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    context, over, faults, whole = router.tls_context(), threading.Event(), [], [0] * TALKERS

    def talker(number):
        mine, count = random.Random(seed + number), 0
        while not over.is_set():
            count += 1
            whole[number] += talk(router, context, mine, "u%d-%d" % (number, count), faults)

    threads = [threading.Thread(target=talker, args=(i,)) for i in range(TALKERS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            goal = sum(whole) + rng.randrange(5, 60)
            wait_until(lambda goal=goal: sum(whole) > goal, 4 * harness.PATIENCE, 0.001)
            victim = rng.choice([router, agent, talking])
            if victim is talking:
                victim.kill()
            else:
                victim.stop(expect=-9, how=signal.SIGKILL)
                if victim is router:
                    router.ports = {}
                victim.start()
            assert not faults, (seed, faults[:5])
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not faults, (seed, faults[:5])
    print("%d kills, %d whole sessions" % (KILLS, sum(whole)))
    router.wait_idle()
    wait_until(lambda: agent.stats()["active_connections"] <= os.cpu_count())

    def handed():
        with login(router, "last"):
            pass
        return "tls_at" in router.session_lines()[-1]
    wait_until(handed)
