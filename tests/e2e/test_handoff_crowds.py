# SPDX-License-Identifier: Apache-2.0
"""Many clients at once, and agents that are not there, say nothing, are slow for some or besieged (HND-10,
HND-13, HND-22, HND-32)."""

import contextlib
import os
import signal
import socket
import threading
import time

import harness
import pytest
from between import CHANNEL, DATA, Between, Instead
from harness import node_login, wait_until
from metrics import fetch, values
from test_handoff import agents, cluster, login, route  # noqa: F401
from test_record import at_once

LOGINS = int(os.environ.get("TORTURE_LOGINS", "200"))
SILENT = int(os.environ.get("TORTURE_SILENT", "250"))
IDLE = int(os.environ.get("TORTURE_IDLE", "5000"))
SLOWEST = 10.0 # on a busy machine; rules say a second


def crowd(router, count, workers=8):
    """Logins, each with a command; how long each took."""
    took, lock = [], threading.Lock()

    def one(number):
        client = router.client()
        client.line()
        start = time.monotonic()
        assert client.command("a LOGIN u%d pw" % number)[-1].startswith("a OK")
        with lock:
            took.append(time.monotonic() - start)
        assert client.command("b NOOP")[-1] == "b OK NOOP"
        client.close()
    at_once(workers, lambda i: [one(n) for n in range(i, count, workers)])
    print("%d logins, the first %.3f s, the slowest %.3f s" % (count, took[0], max(took)))
    return took


class Nobody:
    """An agent's port, on which nobody is."""
    ports, pin = {}, "00" * 32

    def __init__(self, port):
        self.port = port


@pytest.mark.parametrize("who", ["nobody", "mute"])
def test_HND_10_ordinary_legs_for_a_crowd(make, cluster, who):  # noqa: F811
    """A hundred at once whose agent is not there, or takes connections and says nothing."""
    node = make.node("node1", tls="plain", proxy=True)
    with contextlib.ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512)) if who == "mute" else None
        port = mute.getsockname()[1] if mute else harness.free_port()
        router = route(make, cluster, node, Nobody(port))
        took = crowd(router, 100, 100)
        assert max(took) < SLOWEST, took
        assert not any("tls_at" in line for line in router.wait_sessions(100))
        assert values(fetch(router)[1])['homing_agent_errors_total{node="node1"}'] >= 1


def test_HND_13_dead_agent_and_many_logins(make, cluster):  # noqa: F811
    """Somebody takes connections and closes them; a handful of logins try it."""
    node, tried = make.node("node1", tls="plain", proxy=True), []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as dead:
        def close_all():
            with contextlib.suppress(OSError):
                while True:
                    sock = dead.accept()[0]
                    tried.append(time.monotonic())
                    sock.close()
        thread = threading.Thread(target=close_all)
        thread.start()
        router = route(make, cluster, node, Nobody(dead.getsockname()[1]), server="threads = 1\n")
        start = time.monotonic()
        crowd(router, LOGINS)
        seconds = time.monotonic() - start
        dead.shutdown(socket.SHUT_RDWR)
        thread.join()
    # One a second at most, until the breaker opens; then one for each of its pauses.
    print("%d tries in %.1f s" % (len(tried), seconds))
    assert 1 <= len(tried) <= 10 + seconds / 10, tried
    assert all(b - a > 0.9 for a, b in zip(tried, tried[1:])), tried
    assert "msg=agent_down" in router.log() or len(tried) < 5


@pytest.mark.parametrize("window", ["2s", "20s"])
def test_HND_13_frozen_agent(make, cluster, agents, window):  # noqa: F811
    """Its host is there, its channel too, and nothing is said: the node is not to blame, and logins take their
    ordinary legs: those that asked already when the channel is given up, if there is time, others at once."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent, server='threads = 1\nbackend_timeout = "%s"\n' % window)

    def stands():
        crowd(router, 1)
        return "tls_at" in router.wait_sessions(1)[-1]
    wait_until(stands)
    agent.process.send_signal(signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(router.client()) for _ in range(12)]
            for number, client in enumerate(waiting):
                client.line()
                client.send("a LOGIN w%d pw\r\n" % number)
            time.sleep(1.5) # behind its PING
            crowd(router, 20)
            answers = {client.line().split(" [")[0] for client in waiting}
            assert answers == {"a NO" if window == "2s" else "a OK"}, answers
            crowd(router, 20)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    assert "msg=node_down" not in router.log(), router.log()
    wait_until(stands, 120, 0.5) # its breaker may be open


def test_HND_22_silent_streams(make, cluster, agents):  # noqa: F811
    """A node that does not answer to most of the logins on a channel: the others do not notice, and those get
    their answer when it comes."""
    heard, answer = threading.Semaphore(0), threading.Event()

    def serve(conn):
        def accept(user, _):
            if user.startswith("silent"):
                heard.release()
                answer.wait(200)
            return True
        if node_login(conn, accept) is None:
            return
        while True:
            words = conn.line().split(" ")
            conn.send("%s OK %s\r\n" % (words[0], words[1]))

    node = make.node("node1", serve, tls="plain", proxy=True)
    agent = agents(node, server='threads = 1\nbackend_timeout = "240s"\n')
    with Between(agent.port) as between, contextlib.ExitStack() as stack:
        router = route(make, cluster, node, Instead(agent, between.port),
                       server='threads = 1\nbackend_timeout = "240s"\n')
        wait_until(lambda: crowd(router, 1) and between.of_kind(CHANNEL) and between.of_kind(DATA))
        silent = []
        for number in range(SILENT):
            silent.append(stack.enter_context(router.client()))
            silent[-1].line()
            silent[-1].send("a LOGIN silent%d pw\r\n" % number)
            assert heard.acquire(timeout=harness.PATIENCE)
        assert max(crowd(router, LOGINS)) < SLOWEST
        assert not any(client.readable(0) for client in silent)
        assert len(between.of_kind(CHANNEL)) == 1
        wait_until(lambda: router.fds() < SILENT + 60) # none for a stream, and the others have gone
        answer.set()
        for number, client in enumerate(silent):
            assert client.line() == "a OK [CAPABILITY IMAP4rev1] welcome silent%d" % number
            assert client.command("b NOOP")[-1] == "b OK NOOP"
    assert all("tls_at" in line for line in router.wait_sessions(SILENT + LOGINS)[1:])


def refused(sock):
    """Closed by the agent, without a byte."""
    sock.settimeout(harness.PATIENCE)
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(100) == b""
    sock.close()


def test_HND_32_besieged(make, cluster, agents):  # noqa: F811
    """Tokens that are replayed, guessed or missing, and thousands of connections that say nothing: all are
    closed and counted, and logins go on meanwhile."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node, server="threads = 1\n")

    def knock(first):
        sock = socket.create_connection(("127.0.0.1", agent.port), harness.PATIENCE)
        sock.sendall(first)
        return sock

    with Between(agent.port) as between:
        router = route(make, cluster, node, Instead(agent, between.port), server="threads = 1\n")
        wait_until(lambda: crowd(router, 1) and between.of_kind(DATA))
        before = agent.fds()
        with login(router, "alice") as client:
            agent.wait_path("record", "alice")
            first = bytes(between.of_kind(DATA)[-1].up[:20])
            refused(knock(first))                          # of a session that lives
            refused(knock(first[:4] + os.urandom(16)))
            idle = [knock(b"") for _ in range(IDLE)]
            crowd(router, 20)
            assert client.command("b NOOP")[-1] == "b OK NOOP"
            for sock in idle:
                refused(sock)
        refused(knock(first))                              # and of one that is over
        wait_until(lambda: agent.stats()["active_connections"] == 1)
        wait_until(lambda: agent.fds() <= before + 1)
        seen = values(fetch(agent)[1])
        # those that had their 5 s, and the oldest of too many
        assert seen["homing_handoff_tokens_refused_total"] >= 3
        assert seen["homing_handoff_tokens_refused_total"] + seen[
            'homing_session_end_total{reason="preauth_timeout"}'] == IDLE + 3
    assert all("tls_at" in line for line in router.wait_sessions(22)[-21:])
    assert "no such token" in agent.log() and first[4:].hex() not in agent.log()
