# SPDX-License-Identifier: Apache-2.0
"""What a peer may send without end takes its own time, not that of others: with one worker and four
attackers (tests/floods/flood.c) an honest client is greeted, and the admin port answers, in the median
within 50 ms.
make flood-table prints the table of docs/performance.md."""

import statistics
import subprocess

import pytest
from floods import ATTACKERS, KINDS, SERVER, SESSION_KINDS, TALK, flooded_router, measure
from harness import PATIENCE, destination_toml, light_node

LIMIT_MS = 50
SESSIONS_LIMIT_MS = 100  # a relay's turn is 1 MiB, a dialogue's 32 KiB
SECONDS = 1.2


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_client_is_greeted_during_a_flood_of(make, kind):
    router = flooded_router(make=make)
    waits, told = measure(router, kind, SECONDS)
    assert int(told["connections"]) >= ATTACKERS and int(told["bytes"]) > 0
    assert len(waits) >= 5 and None not in waits, waits
    assert statistics.median(waits) < LIMIT_MS, waits


# A relay in OpenSSL's hands is held to what ends its sessions; where data pays it is slower than that.
@pytest.mark.parametrize("mode, path, kind", [("auto", "record", kind) for kind in SESSION_KINDS] + [
    ("copy", "copy", "session-" + kind) for kind in ("keyupdate", "renegotiation")])
def test_an_honest_client_is_greeted_during_a_flood_in_sessions_of(make, mode, path, kind):
    with light_node() as (destination, default):
        router = make.router([destination], default=default, server=SERVER, listeners={"imap": "implicit"},
                             extra='[splice]\nmode = "%s"\n' % mode)
        waits, told = measure(router, kind, SECONDS)
        assert int(told["connections"]) >= ATTACKERS and int(told["bytes"]) > 0
        assert len(waits) >= 5 and None not in waits, waits
        assert statistics.median(waits) < SESSIONS_LIMIT_MS, waits
        router.wait_idle()
    lines = [line for line in router.session_lines() if line["node"] == "node1"]
    assert len(lines) >= ATTACKERS and {line["path_up"] for line in lines} == {path}
    assert not {line["reason"] for line in lines} & {"internal", "idle"}, lines


# ---- what a peer may send ----

def talk(*arguments):
    done = subprocess.run([TALK, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=PATIENCE,
                          check=True)
    return dict(pair.split("=") for pair in done.stdout.split())


@pytest.mark.parametrize("who, mode, path", [("client", "auto", "-"), ("login", "auto", "record"),
                                             ("login", "copy", "copy")])
def test_a_client_may_send_32_tls_messages_without_data(make, who, mode, path):
    router = make.router([make.node("node1")], extra='[splice]\nmode = "%s"\n' % mode)
    assert talk(who, router.ports["imap"], 32, 5) == {"answers": "5", "ended": "0"}
    assert talk(who, router.ports["imap"], 33, 5) == {"answers": "0", "ended": "1"}
    assert {line.get("path_up", "-") for line in router.wait_sessions(2)} == {path}


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
@pytest.mark.parametrize("count", [30, 33])  # a node sends two tickets as well
def test_a_node_may_send_32_tls_messages_without_data(make, workspace, count, mode, path):
    cert, key, pin = workspace.certificate("node1", ["node1.test"])
    with subprocess.Popen([TALK, "node", cert, key, str(count)], stdout=subprocess.PIPE, text=True) as node:
        try:
            port = int(node.stdout.readline())
            router = make.router([destination_toml("node1", "127.0.0.1", port, "implicit", pin, "none")],
                                 default="node1", extra='[splice]\nmode = "%s"\n' % mode)
            with router.client() as client:
                client.line()
                last = client.command("a LOGIN alice pw")[-1]
                if count > 32:
                    assert last.startswith("a NO [UNAVAILABLE]"), last
                    router.wait_line(lambda line: "too many TLS messages without data" in line)
                    return
                assert last.startswith("a OK"), last
                for _ in range(3):
                    assert client.command("b NOOP")[-1].startswith("b OK")
            assert router.wait_sessions(1)[0]["path_down"] == path
        finally:
            node.kill()
