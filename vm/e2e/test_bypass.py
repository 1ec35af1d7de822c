# SPDX-License-Identifier: Apache-2.0
"""Nodes that write to the client's socket themselves, on the kernels where they may: what the
operator sees, what the client gets, and what a killed router leaves."""

import json
import os
import socket
import subprocess

import harness
import plain_legs
import pytest
from bulk import Bulk
from harness import node_login, wait_until
from plain_legs import plain_router, rows
from test_metrics import fetch

PINS = "/sys/fs/bpf/homing-bypass"
RESET = b"\1\0\0\0\0\0\0\0"


def bypass_router(make, node):
    router = plain_router(make, [node], PINS, splice='same_host = "auto"\n')
    refused = [row for row in router.stats()["probe"]
               if not row["name"].startswith("ktls") and not row["ok"]]
    if refused:
        pytest.skip("%(name)s: %(reason)s" % refused[0])
    return router


def login(router, user="alice"):
    client = plain_legs.login(router, user, path=None)

    def there():
        found = router.sessions(identifier=user)["sessions"]
        return found and all((row["stage"], row["path_up"], row["path_down"]) ==
                             ("established", "sockmap", "bypass") for row in found)
    wait_until(there)
    return client


def the_session(router):
    session = router.wait_sessions(1)[-1]
    assert (session["path_up"], session["path_down"]) == ("sockmap", "bypass"), session
    return session


def listed(kind):
    done = subprocess.run(["bpftool", "-j", kind, "list"], capture_output=True, text=True, check=True)
    return {entry.get("name") for entry in json.loads(done.stdout)}


def test_GRD_24_logs_sessions_metrics_and_rows(make):
    node = make.node("node1", tls="plain")
    router = bypass_router(make, node)
    with login(router) as client:
        for i in range(50):
            assert client.command("n%d NOOP" % i) == ["n%d OK NOOP" % i]
        down = sum(len("n%d OK NOOP\r\n" % i) for i in range(50))
        (row,) = [row for row in rows(PINS) if row["direction"] == "HM_DOWN"]
        assert (row["path"], row["state"], row["protocol"]) == ("HM_BYPASS", "HM_REDIRECTING", "imap")
        assert row["redirected"] == down and row["passed"] == 0 and row["packets"] >= 50
        wait_until(lambda: router.sessions()["sessions"][0]["bytes_down"] == down)
        wait_until(lambda: router.stats()["paths"]["bypass"]["bytes"] == down)
        assert router.stats()["paths"]["bypass"]["active"] == 1
        metrics = fetch(router)[1]
        assert 'homing_path_active{path="bypass",direction="down"} 1\n' in metrics
        assert 'homing_path_bytes_total{path="bypass",direction="down"} %d\n' % down in metrics
    assert the_session(router)["bytes_down"] == str(down)
    assert rows(PINS) == [] and rows(PINS, "control") == []
    assert router.stats()["paths"]["bypass"]["active"] == 0


def test_GRD_22_bulk_both_ways(make):
    """More than the client's socket has room for, so both ways of the node's bytes are taken."""
    both_ways = Bulk(4 << 20)
    router = bypass_router(make, make.node("node1", both_ways.serve, tls="plain"))
    with login(router) as client:
        both_ways.run(client)
    assert the_session(router)["bytes_down"] == str(both_ways.size)


def test_GRD_23_ends(make):
    """A node that writes and goes at once; resets of either side."""
    def serve(conn):
        user = node_login(conn)
        if user == "goes":
            conn.send("x" * 300000)
            return
        conn.line()
        if user == "resets":
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    node = make.node("node1", serve, tls="plain")
    router = bypass_router(make, node)
    client = router.client(tls=False)
    client.line()
    client.send("a LOGIN goes pw\r\n")
    assert client.line().startswith("a OK")
    assert client.eof() == b"x" * 300000
    client.sock.close()
    router.wait_sessions(1)
    with login(router, "resets") as client:
        client.send("go\r\n")
        client.eof()
    assert router.wait_sessions(2)[-1]["reason"] == "node_error"
    login(router, "client").reset()
    assert router.wait_sessions(3)[-1]["reason"] == "client_error"
    assert node.connections[-1].closed.wait(harness.PATIENCE)


def test_GRD_24_a_killed_router_leaves_nothing(make):
    node = make.node("node1", tls="plain")
    router = bypass_router(make, node)
    before = {"hm_redirect", "hm_arm", "hm_nodes", "hm_node_state"}
    assert before <= listed("prog") | listed("map")
    with login(router) as client:
        client.command("b NOOP")
        router.stop(expect=-9, how=9)
        assert client.eof() == b""
    assert node.connections[-1].closed.wait(harness.PATIENCE)
    # the kernel lets go of maps a moment later
    wait_until(lambda: not before & (listed("prog") | listed("map")))
    assert not [name for name in os.listdir(PINS + "/v2") if "node" in name or "redirect" in name]
