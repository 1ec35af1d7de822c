# SPDX-License-Identifier: Apache-2.0
"""Who is never banned (GRD-3), and what a reload changes of that. The router's network is the test's own
and takes 198.51.100.0/24 for addresses of clients, but none of them for its own."""

import os
import subprocess

import metrics
import pytest
from guarding import PLAIN_AUTH, guard, no_bans_left  # noqa: F401
from harness import wait_until
from reloading import edit, reload, reload_ok

STRANGER, OTHER = "198.51.100.7", "198.51.100.8"
BAN_AFTER = 4
LISTENER = 'proxy_protocol = "optional"\nproxy_trusted = ["198.51.100.16/28"]\n'
# Never dialled: its address alone counts.
MORE_NODES = ('[destination.node2]\nhost = "198.51.100.50"\nallow_plaintext_auth = true\n'
              '[destination.node2.protocol.imap]\nport = 143\ntls = "plain"\n')
SETTINGS = guard(BAN_AFTER, allow='["198.51.100.64/26"]')

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network")


def guarded(make, settings):
    subprocess.run(["ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo"], check=True)
    return make.router([make.node("node1", tls="plain")], listeners={"imap": ("plain", LISTENER)},
                       extra=PLAIN_AUTH + MORE_NODES + settings)


@pytest.fixture
def router(make, network, no_bans_left): # noqa: F811
    return guarded(make, SETTINGS)


def attempt(router, source, user="alice", password="pw"):
    """Whether the login was good; None where it is not let in."""
    try:
        with router.client(source=source, tls=False) as client:
            client.line()
            return client.command("a LOGIN %s %s" % (user, password))[-1].startswith("a OK")
    except (ConnectionError, EOFError):
        return None


def guesses(router, source, count, user="user"):
    return [attempt(router, source, "%s%d" % (user, i), "wrong") for i in range(count)]


def withheld(router):
    prefix = 'homing_bans_withheld_total{why="'
    return {key[len(prefix):-2]: value for key, value in metrics.values(metrics.fetch(router)[1]).items()
            if key.startswith(prefix) and value}


def bans(router):
    return {ban["net"]: ban for ban in router.admin("GET", "/bans")[1]["bans"]}


def is_banned(router, source):
    assert guesses(router, source, BAN_AFTER) == [False] * BAN_AFTER
    wait_until(lambda: attempt(router, source) is None)


def is_spared(router, source, why):
    before = withheld(router).get(why, 0)
    assert guesses(router, source, 2 * BAN_AFTER) == [False] * (2 * BAN_AFTER)
    wait_until(lambda: withheld(router).get(why, 0) == before + 1)
    assert attempt(router, source) is True


def test_GRD_3_who_is_never_banned(router):
    subprocess.run(["ip", "addr", "add", "198.51.100.33/32", "dev", "lo"], check=True)
    is_spared(router, "127.9.9.9", "loopback")
    wait_until(lambda: is_own(router, "198.51.100.33"))
    is_spared(router, "198.51.100.33", "own")
    is_spared(router, "198.51.100.17", "proxy")
    is_spared(router, "198.51.100.50", "node")
    is_spared(router, "198.51.100.65", "allow")
    assert bans(router) == {}
    for neighbour in ("198.51.100.34", "198.51.100.15", "198.51.100.51", "198.51.100.63"):
        is_banned(router, neighbour)
    assert len(bans(router)) == 4 and not any(ban["told"] for ban in bans(router).values())


def is_own(router, address):
    """An order to ban it is refused, with the reason."""
    status, body, _ = router.admin("PUT", "/bans?address=%s&seconds=1" % address)
    return status != 200 and "own" in str(body)


def test_GRD_3_who_has_called_the_admin_api(router):
    assert router.admin("GET", "/stats", source=STRANGER)[0] == 200
    assert router.admin("GET", "/stats", source=OTHER, token="x" * 40)[0] == 401
    is_spared(router, STRANGER, "admin")
    is_banned(router, OTHER)
    # Whoever is banned already is let in again by it.
    assert router.admin("GET", "/stats", source=OTHER)[0] == 200
    assert attempt(router, OTHER) is True
    assert bans(router) == {}
    router.wait_line(lambda line: "msg=unban " in line and OTHER in line and "why=spared" in line)


def test_GRD_3_a_reload_that_allows(router):
    is_banned(router, STRANGER)
    edit(router, ("198.51.100.64/26", "198.51.100.0/28"))
    assert "guard.allow" in reload_ok(router)["changed"]
    assert attempt(router, STRANGER) is True
    is_spared(router, STRANGER, "allow")
    edit(router, ("198.51.100.0/28", "198.51.100.64/26"))
    reload_ok(router)
    is_banned(router, OTHER)


def test_GRD_2_a_reload_keeps_bans_and_points(router):
    assert guesses(router, OTHER, BAN_AFTER - 1) == [False] * (BAN_AFTER - 1)
    is_banned(router, STRANGER)
    edit(router, ('ban_time = "1h"', 'ban_time = "2h"'))
    reload_ok(router)
    assert attempt(router, STRANGER) is None
    assert guesses(router, OTHER, 1, "another") == [False]
    wait_until(lambda: attempt(router, OTHER) is None)
    # Switched off nobody is refused; on again, it is as it was.
    edit(router, ("enabled = true", "enabled = false"))
    reload_ok(router)
    wait_until(lambda: attempt(router, STRANGER) is True and attempt(router, OTHER) is True)
    assert guesses(router, "198.51.100.9", 2 * BAN_AFTER) == [False] * (2 * BAN_AFTER)
    edit(router, ("enabled = false", "enabled = true"))
    reload_ok(router)
    wait_until(lambda: attempt(router, STRANGER) is None and attempt(router, OTHER) is None)
    is_banned(router, "198.51.100.9")


def test_GRD_2_a_reload_turns_it_on(make, network, no_bans_left): # noqa: F811
    """User space's part needs no rights that a start had."""
    router = guarded(make, SETTINGS.replace("enabled = true", "enabled = false"))
    assert guesses(router, STRANGER, 2 * BAN_AFTER) == [False] * (2 * BAN_AFTER)
    edit(router, ("enabled = false", "enabled = true"))
    assert reload_ok(router)["changed"] == ["guard.enabled"]
    is_banned(router, STRANGER)
    is_spared(router, "127.9.9.9", "loopback")
    # What was counted by them stays as it is until a restart.
    edit(router, ("[guard]\n", "[guard]\nipv4_prefix = 24\nmax_bans = 1\n"))
    assert reload(router)[1]["restart_required"] == ["guard.ipv4_prefix", "guard.max_bans"]
    is_banned(router, OTHER)
    assert len(bans(router)) == 2


def test_GRD_3_deny_and_allow(router):
    edit(router, ("[guard]\n", '[guard]\ndeny = ["198.51.100.0/24", "198.51.100.70"]\n'))
    reload_ok(router)
    wait_until(lambda: attempt(router, STRANGER) is None)
    assert attempt(router, "198.51.100.65") is True # of allow, which is longer
    assert attempt(router, "198.51.100.70") is None # and this is longer still
    assert attempt(router, "198.51.100.50") is True # a node
    assert attempt(router, "127.0.0.1") is True
    edit(router, ("enabled = true", "enabled = true\nobserve = true"))
    reload_ok(router)
    wait_until(lambda: attempt(router, STRANGER) is True)
