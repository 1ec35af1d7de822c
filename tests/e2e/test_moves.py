# SPDX-License-Identifier: Apache-2.0
"""Delay, kick and move: an account changes its node, and no login slips to the old one."""

import contextlib
import signal
import sqlite3
import subprocess
import threading
import time

import harness
import pytest
from harness import wait_until
from legs import RELAYS, relay_login, relay_router

PLAIN = "[capabilities.imap]\nallow_plain_auth_without_tls = true\n"


def start(client, user):
    client.line()
    client.send("a LOGIN %s pw\r\n" % user)


def login(router, user, tls=True):
    client = router.client(tls=tls)
    start(client, user)
    assert client.line().startswith("a OK")
    return client


def in_stage(router, stage, user):
    wait_until(lambda: [row["stage"] for row in router.sessions(identifier=user)["sessions"]] ==
               [stage])


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_SES_85_kick_ends_live_sessions(make, tls, mode, path):
    router = relay_router(make, [make.node("node1", tls=tls)], tls, mode)
    with relay_login(router, tls, path) as first, relay_login(router, tls, path) as second, \
            relay_login(router, tls, path, "bob") as other:
        assert router.admin("POST", "/connections/kick?identifier=ALICE")[1] == {"kicked": 2}
        start_time = time.monotonic()
        assert first.eof() == second.eof() == b""
        assert time.monotonic() - start_time < 1
        assert other.command("n NOOP") == ["n OK NOOP"]
    reasons = sorted(line["reason"] for line in router.wait_sessions(3))
    assert reasons.count("kicked") == 2
    assert router.admin("POST", "/connections/kick?identifier=nobody")[1] == {"kicked": 0}
    for query in ("", "?identifier=", "?identifier=a%20b", "?identifier=a&x=1"):
        assert router.admin("POST", "/connections/kick" + query)[0] == 400, query
    assert router.admin("GET", "/connections/kick?identifier=a")[0] == 405
    assert "op=kick" in router.log() and "alice" not in router.log()


@pytest.mark.parametrize("stage", ["dial", "replay"])
def test_SES_42_kick_before_the_relay(make, stage):
    """Half-open sessions end too, with an answer."""
    go_on = threading.Event()

    def serve(conn):
        if stage == "dial":
            go_on.wait(20)
            return
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        conn.line()
        go_on.wait(20)

    router = make.router([make.node("node1", serve)])
    with router.client() as client:
        start(client, "alice")
        wait_until(lambda: [row["stage"] for row in
                            router.sessions(identifier="alice")["sessions"]] in (["dial"], ["replay"]))
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 1}
        assert "UNAVAILABLE" in client.line()
        client.eof()
    go_on.set()
    assert router.wait_sessions(1)[0]["reason"] == "kicked"


def test_section_5_6_delay(pair):
    make, nodes = pair
    router = make.router(nodes)
    for query in ("", "?identifier=a", "?seconds=1", "?identifier=a&seconds=abc",
                  "?identifier=a&seconds=-1", "?identifier=a&seconds=3601",
                  "?identifier=a&seconds=", "?identifier=a&seconds=1.5"):
        assert router.admin("POST", "/connections/delay" + query)[0] == 400, query
    answer = router.admin("POST", "/connections/delay?identifier=Alice&seconds=3600")
    assert (answer[0], answer[1]) == (200, {"identifier": "alice", "seconds": 3600})
    assert router.admin("POST", "/connections/delay?identifier=alice&seconds=2")[0] == 200
    began = time.monotonic()
    with router.client() as held, login(router, "bob") as free:
        start(held, "alice")
        in_stage(router, "hold", "alice")
        assert free.command("n NOOP") == ["n OK NOOP"]
        router.map({"alice": "node2"}) # written while it waits
        assert held.line().startswith("a OK")
        assert time.monotonic() - began > 1.5
    session = router.wait_sessions(2)
    by_node = {line["node"]: line for line in session}
    assert int(by_node["node2"]["ms_hold"]) > 1000 and "ms_hold" not in by_node["node1"]
    assert router.stats()["held"] == 1


def test_delay_zero_lets_go_at_once(pair):
    make, nodes = pair
    router = make.router(nodes)
    router.admin("POST", "/connections/delay?identifier=alice&seconds=60")
    with router.client() as held:
        start(held, "alice")
        in_stage(router, "hold", "alice")
        router.admin("POST", "/connections/delay?identifier=alice&seconds=0")
        began = time.monotonic()
        assert held.line().startswith("a OK")
        assert time.monotonic() - began < 1.0 + 4 # one second, and a slow machine
    with login(router, "alice"):
        pass


def test_delay_is_replaced_and_clients_may_leave(pair):
    make, nodes = pair
    router = make.router(nodes)
    router.admin("POST", "/connections/delay?identifier=alice&seconds=1")
    with router.client() as held:
        start(held, "alice")
        in_stage(router, "hold", "alice")
        router.admin("POST", "/connections/delay?identifier=alice&seconds=3600")
        time.sleep(1.3)
        in_stage(router, "hold", "alice")
    assert router.wait_sessions(1)[0]["reason"] == "client_eof"
    with router.client() as held:
        start(held, "alice")
        in_stage(router, "hold", "alice")
        router.process.send_signal(signal.SIGTERM)
        assert held.line().startswith("* BYE")
    router.stop()


def test_section_11_homingctl_move(make):
    """Clients that log in all the time during ten moves: never on the old node afterwards."""
    nodes = (make.node("node1"), make.node("node2"))
    router = make.router(nodes)
    router.map({"alice": "node1"})
    stop, errors = threading.Event(), []

    def keep_logging_in():
        while not stop.is_set():
            with contextlib.suppress(OSError, EOFError, AssertionError):
                with login(router, "alice") as client:
                    while not stop.is_set() and client.command("n NOOP"):
                        time.sleep(0.01)

    threads = [threading.Thread(target=keep_logging_in) for _ in range(8)]
    with login(router, "alice"):
        for thread in threads:
            thread.start()
        try:
            for i in range(10):
                node, old = (("node2", "node1"), ("node1", "node2"))[i % 2]
                done = router.ctl("move", "alice", node)
                assert done.returncode == 0, done.stderr
                assert len(done.stdout.splitlines()) == 5
                wait_until(lambda n=node: len(router.sessions(identifier="alice")["sessions"]) == 8)
                rows = router.sessions(identifier="alice")["sessions"]
                assert {row["node"] for row in rows} <= {node, None}, (old, rows)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not errors


def test_section_8_move_with_a_dead_store(pair):
    make, nodes = pair
    router = make.router(nodes)
    router.map({"alice": "node1"})
    with contextlib.closing(sqlite3.connect(router.db)) as db:
        db.execute("DROP TABLE account_nodes")
        db.commit()
    done = router.ctl("move", "alice", "node2")
    assert done.returncode == 1
    with login(router, "alice"):
        pass # nobody waits
    assert router.ctl("move", "alice").returncode == 2
    assert router.ctl("kick", "alice").stdout.startswith("kicked: ")
    assert router.ctl("delay", "alice", "5").stdout == "alice: logins wait for 5 s\n"
    assert router.ctl("delay", "alice", "x").returncode == 1


def test_homingctl_top_in_tmux(make):
    """A terminal: it draws, it follows, q ends it and gives the screen back."""
    node = make.node("node1", tls="plain")
    router = make.router([node], listeners={"imap": "plain"}, extra=PLAIN)
    once = router.ctl("top")
    assert once.returncode == 0 and "\033" not in once.stdout
    assert "NODE" in once.stdout and "(0 accounts)" in once.stdout
    socket_path = router.workspace.path + "/tmux"

    def tmux(*args):
        return subprocess.run(["tmux", "-S", socket_path, *args], capture_output=True, text=True,
                              check=True).stdout

    command = " ".join([harness.BUILD + "/homingctl", "--url",
                        "https://localhost:%d" % router.ports["admin"], "--cacert", router.cert,
                        "--token-file", router.workspace.path + "/token", "top"])
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40",
         command + "; echo ended with $?; sleep 60")
    try:
        def screen():
            return tmux("capture-pane", "-p")
        wait_until(lambda: "(0 accounts)" in screen())
        with login(router, "alice", False) as client, login(router, "alice", False):
            router.wait_path("sockmap", "alice")
            for _ in range(20):
                client.command("n NOOP")
            wait_until(lambda: "(1 accounts)" in screen() and "sockmap" in screen())
            text = screen()
            assert "node1" in text and "sockmap" in text and "hit rate" in text
            wait_until(lambda: [line.split()[:2] for line in screen().splitlines()
                                if line.startswith("alice")] == [["alice", "2"]])
        tmux("send-keys", "q")
        wait_until(lambda: "ended with 0" in screen())
        assert "NODE" not in screen()
    finally:
        tmux("kill-server")
