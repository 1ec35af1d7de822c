# SPDX-License-Identifier: Apache-2.0
"""security.md: sessions in any order do not mix, and none outlives the process."""

import random
import signal

import harness
import pytest
from harness import wait_until
from legs import RELAYS, relay_login, relay_router, told_of
from plain_legs import pins, rows  # noqa: F401


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_SEC_11_sessions_in_random_order_do_not_mix(make, pins, tls, mode, path):  # noqa: F811
    """Each says its own number over and over while others come and go, in one order or another."""
    def serve(conn):
        if harness.node_login(conn) is None:
            return
        while True:
            line = conn.line()
            conn.send("%s for %s\r\n" % (line, conn.user))

    router = relay_router(make, [make.node("node1", serve, tls=tls)], tls, mode, pins,
                          server="threads = 2")
    rng, live, made = random.Random(11), [], 0
    while made < 300 or live:
        if made < 300 and (len(live) < 5 or (len(live) < 40 and rng.random() < 0.55)):
            client = router.client(tls=tls == "implicit")
            client.line()
            client.send("a LOGIN user%d pw\r\nearly-%d\r\n" % (made, made))
            assert client.line().endswith("welcome user%d" % made)
            client.expect("early-%d for user%d" % (made, made))
            live.append((made, client))
            made += 1
        elif rng.random() < 0.5:
            number, client = rng.choice(live)
            text = "-".join([str(number)] * rng.randrange(1, 200))
            client.send(text + "\r\n")
            client.expect("%s for user%d" % (text, number))
        else:
            _, client = live.pop(rng.randrange(len(live)))
            (client.reset if rng.random() < 0.5 else client.close)()
    router.wait_idle()
    wait_until(lambda: rows(pins) == [] and rows(pins, "sources") == [])
    lines = router.wait_sessions(300)
    assert len(lines) == 300
    seen = {line["path_up"] for line in lines}
    assert path in seen and seen <= told_of(path), seen


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_SEC_11_a_crash_closes_all_sessions(make, pins, tls, mode, path):  # noqa: F811
    node = make.node("node1", tls=tls)
    router = relay_router(make, [node], tls, mode, pins)
    clients = [relay_login(router, tls, path, "user%d" % i) for i in range(10)]
    router.stop(expect=-9, how=signal.SIGKILL)
    for client in clients:
        assert client.eof() == b""
        client.close()
    for conn in node.connections:
        assert conn.closed.wait(harness.PATIENCE) # nothing forwards to it any more
    assert rows(pins, "sources") == []
