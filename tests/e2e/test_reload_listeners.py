# SPDX-License-Identifier: Apache-2.0
"""Reload of listeners: no connection is refused, addresses move, sessions live (config.md section 14)."""

import contextlib
import re
import socket
import threading

import pytest
from harness import PATIENCE, Client, free_port, wait_until
from reloading import (DEFAULT1, DEFAULT2, alive, append, edit, frozen, login, node_of, reload, reload_ok,
                       two)


@contextlib.contextmanager
def knocking(router, listener, count):
    """So many clients connect again and again, and each must be greeted. Gives how many were, and a function
    that waits for more than that."""
    stop, failures, served = threading.Event(), [], [0]

    def knock():
        while not stop.is_set():
            try:
                with router.client(listener, tls=False) as client:
                    assert client.line().startswith("* OK")
                    served[0] += 1
            except (OSError, EOFError, AssertionError) as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=knock) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: served[0], lambda before: wait_until(lambda: served[0] > before or failures)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures, failures[:3]


# ---- CFG-54 ----

def test_CFG_54_no_connection_is_refused(make):
    router = two(make)
    with knocking(router, "imapt", 3) as (served, wait_served):
        for i in range(10):
            before = served()
            edit(router, (DEFAULT1, DEFAULT2) if i % 2 == 0 else (DEFAULT2, DEFAULT1))
            reload_ok(router)
            wait_served(before)
    assert router.stats()["config_generation"] == 11


def test_CFG_54_removed_listener_stops_and_its_sessions_live(make):
    router = two(make)
    port = router.ports["imapt"]
    with router.client("imapt", tls=False) as waiting:
        assert waiting.line().startswith("* OK")
        text = edit(router)
        block = re.search(r"\[listener.imapt\]\n(?:.+\n)*", text).group(0)
        edit(router, (block, ""))
        assert reload_ok(router)["changed"] == ["listener.imapt"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
        assert router.stats()["listeners"]["imapt"] == {
            "active": 1, "accepted": 1, "rejected_limit": 0}
        # it goes on as it began: STARTTLS, login, node
        waiting.send("s STARTTLS\r\n")
        assert waiting.line().startswith("s OK")
        waiting.starttls(router.tls_context())
        assert waiting.command("a LOGIN alice@x pw")[-1].startswith("a OK")
        alive(waiting)
    wait_until(lambda: "imapt" not in router.stats()["listeners"])
    row = router.wait_sessions(1)[0]
    assert row["listener"] == "imapt" and row["node"] == "node1"
    append(router, block)
    assert reload_ok(router)["changed"] == ["listener.imapt"]
    line = router.wait_line(lambda l: "msg=listening listener=imapt" in l, start=len(router.lines) - 4)
    assert line
    with router.client("imapt", tls=False) as client:
        assert client.line().startswith("* OK")
    assert router.stats()["listeners"]["imapt"]["accepted"] == 2


def test_CFG_54_settings_of_kept_addresses_follow(make):
    router = two(make)
    port = router.ports["imap"]
    with login(router, "alice@x") as live:
        wait_until(lambda: router.stats()["nodes"]["node1"]["active"] == 1)
        edit(router, ('tls = "implicit"\n\n\n[listener.imapt]',
                      'tls = "starttls"\nmax_connections = 1\n\n[listener.imapt]'))
        assert reload_ok(router)["changed"] == ["listener.imap.max_connections",
                                                "listener.imap.tls"]
        with router.client(tls=False) as client:  # over the limit now
            assert client.eof() == b""
        alive(live)
    wait_until(lambda: router.stats()["listeners"]["imap"]["active"] == 0)
    assert router.ports["imap"] == port
    with router.client(tls=False) as client:
        assert client.line().startswith("* OK")
    assert router.stats()["listeners"]["imap"]["rejected_limit"] == 1


def test_CFG_54_address_moves_to_another_listener(make):
    """And a wildcard takes the place of an address on the same port."""
    port = free_port()
    router = two(make, listeners={"imap": "implicit"}, extra='[listener.one]\nprotocol = "imap"\n'
                 'tls = "starttls"\nbind = ["127.0.0.1:%d"]\n' % port)
    router.ports["one"] = port
    with router.client("one", tls=False) as old:
        old.line()
        edit(router, ("[listener.one]", "[listener.two]"))
        assert reload_ok(router)["changed"] == ["listener.one", "listener.two"]
        with router.client("one", tls=False) as client:
            client.line()
            stats = router.stats()["listeners"]
            assert stats["one"]["active"] == 1 and stats["two"]["accepted"] == 1
        edit(router, ("127.0.0.1:%d" % port, "0.0.0.0:%d" % port))
        assert reload_ok(router)["changed"] == ["listener.two.bind"]
        with router.client("one", tls=False) as client:
            client.line()
        with socket.create_connection(("127.0.0.2", port), PATIENCE) as sock:
            assert Client(sock).line().startswith("* OK")
        edit(router, ("0.0.0.0:%d" % port, "127.0.0.1:%d" % port))
        reload_ok(router)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), PATIENCE)
        with router.client("one", tls=False) as client:
            client.line()
        assert old.command("n NOOP")[-1].startswith("n OK")


def test_CFG_54_low_port_after_the_privileges_are_gone(make, network):
    router = two(make)
    with open("/proc/%d/status" % router.process.pid, encoding="ascii") as f:
        assert "Uid:\t0" not in f.read()
    append(router, '[listener.low]\nprotocol = "imap"\ntls = "implicit"\n'
           'bind = ["127.0.0.1:993", "[::1]:993"]\n')
    reload_ok(router)
    router.ports["low"] = 993
    assert node_of(router, "alice@x", "low") == "node1"


# ---- connections that wait ----

def test_CFG_54_who_waits_to_be_accepted_is_served(make):
    """Connections that the kernel holds when their listener goes."""
    router = two(make, server="threads = 1\n")
    text = edit(router)
    block = re.search(r"\[listener.imapt\]\n(?:.+\n)*", text).group(0)
    asked = threading.Thread(target=lambda: reload_ok(router))
    with frozen(router.process.pid, "worker0"):
        leaving = [router.connect("imapt") for _ in range(200)]
        edit(router, (block, ""))
        asked.start()
        router.wait_line(lambda line: "msg=not_listening" in line)
    asked.join(PATIENCE)
    for sock in leaving:
        with Client(sock) as client:
            assert client.line().startswith("* OK")
    with pytest.raises(ConnectionRefusedError):
        router.connect("imapt")
    wait_until(lambda: "imapt" not in router.stats()["listeners"])


def test_GRD_32_all_workers_serve_who_waits(make):
    """An address goes from each worker in its own time; meanwhile more connect."""
    router = two(make, server="threads = 2\n")
    text = edit(router)
    block = re.search(r"\[listener.imapt\]\n(?:.+\n)*", text).group(0)
    asked = threading.Thread(target=lambda: reload_ok(router))
    with frozen(router.process.pid, "worker0"):
        with frozen(router.process.pid, "worker1"):
            leaving = [router.connect("imapt") for _ in range(200)]
            edit(router, (block, ""))
            asked.start()
            router.wait_line(lambda line: "msg=not_listening" in line)
        # this one has left, the other one's queue is still open
        leaving += [router.connect("imapt") for _ in range(20)]
    asked.join(PATIENCE)
    for sock in leaving:
        with Client(sock) as client:
            assert client.line().startswith("* OK")


def test_GRD_32_a_shutdown_tells_who_waits(make):
    router = two(make, server="threads = 1\n")
    with frozen(router.process.pid, "worker0"):
        waiting = [router.connect("imapt") for _ in range(200)]
        router.process.terminate()
        router.wait_line(lambda line: "msg=stopping" in line)
    for sock in waiting:
        with Client(sock) as client:
            greeting, end = client.eof().decode().splitlines()
            assert greeting.startswith("* OK") and end == "* BYE Shutting down."
    router.stop()


def test_GRD_32_a_dry_run_takes_nobody_from_a_wildcard(make):
    """The address that is tried is a part of one that serves."""
    port = free_port()
    router = two(make, listeners={"imap": "implicit"}, extra='[listener.one]\nprotocol = "imap"\n'
                 'tls = "starttls"\nbind = ["0.0.0.0:%d"]\n' % port)
    router.ports["one"] = port
    edit(router, ("0.0.0.0:%d" % port, "127.0.0.1:%d" % port))
    with knocking(router, "one", 4) as (served, wait_served):
        for _ in range(60):
            before = served()
            status, body = reload(router, dry_run="true")
            assert status == 200 and body["changed"] == ["listener.one.bind"], body
            wait_served(before)
