# SPDX-License-Identifier: Apache-2.0
"""Bans as an operator sees them (GRD-8, GRD-10; admin.md section 5.7): the API, homingctl, log lines,
metrics; and routers with one store that tell each other."""

import os
import re
import subprocess
import time
import urllib.parse

import harness
import pytest
from guarding import BALANCER, OTHER_PINS, PINS, no_bans_left, tell  # noqa: F401
from harness import Client, wait_until
from mapping_stores import own_store, postgres, store, wait_push  # noqa: F401
from metrics import fetch, values
from plain_legs import PLAIN_AUTH
from reloading import edit, reload_ok

GUARD = "[guard]\nenabled = true\npenalty = \"0s\"\n%s\n"
# Who connects here is on loopback, and never banned: the header tells of others.
BEHIND = {"imap": ("plain", 'proxy_protocol = "required"\nproxy_trusted = ["127.0.4.0/24"]\n')}

pytestmark = pytest.mark.usefixtures("no_bans_left")


def settings(extra, pins=PINS):
    return GUARD % extra + PLAIN_AUTH + "[splice]\npin_path = \"%s\"\n" % pins


def guarded(make, nodes, extra="", **kwargs):
    return make.router(nodes, listeners=BEHIND, extra=settings(extra), **kwargs)


def login(router, source, account="alice", password="pw"):
    """What a client behind a balancer gets: "" if it is refused before a greeting."""
    conn = router.connect("imap", BALANCER)
    tell(conn, source)
    with Client(conn, None) as client:
        try:
            if not client.line():
                return ""
            return client.command("a LOGIN %s %s" % (account, password))[-1]
        except (ConnectionError, EOFError):
            return ""


def call(router, method, **params):
    status, body, _ = router.admin(method, "/bans" + ("?" + urllib.parse.urlencode(
        params, quote_via=urllib.parse.quote) if params else ""))
    return status, body


def bans(router):
    status, body = call(router, "GET")
    assert status == 200 and body["total"] == body["shown"] == len(body["bans"])
    return {ban["net"]: ban for ban in body["bans"]}


def line(router, msg, *parts):
    return router.wait_line(lambda text: re.search(r"msg=%s\b" % msg, text) and
                            all(part in text for part in parts))


def test_GRD_8_bans_of_the_api(make):
    router = guarded(make, [make.node("node1", proxy=True)])
    assert bans(router) == {}
    assert call(router, "PUT", address="198.51.100.7", seconds=600, reason="port scan") == (
        200, {"banned": "198.51.100.7/32", "seconds": 600})
    assert "level=warn" in line(router, "ban", "net=198.51.100.7/32", "origin=operator",
                                "seconds=600", 'text="port scan"', "points=0.0")
    line(router, "admin", "op=ban", "client=127.0.0.1:", "net=198.51.100.7/32", "seconds=600",
         'text="port scan"', "outcome=done")
    ban = bans(router)["198.51.100.7/32"]
    assert (ban["origin"], ban["text"], ban["told"], ban["dropped"]) == ("operator", "port scan",
                                                                       False, 0)
    assert 590 <= ban["left_s"] <= 600 and re.match(r"20\d\d-\d\d-\d\dT[\d:]+Z$", ban["until"])
    assert login(router, "198.51.100.7") == "" and "a OK" in login(router, "198.51.100.8")
    assert bans(router)["198.51.100.7/32"]["dropped"] == 1
    # Its source: the /64 of an IPv6 address; a network as it is.
    assert call(router, "PUT", address="2001:db8::1:2")[1]["banned"] == "2001:db8::/64"
    assert call(router, "PUT", address="203.0.113.77/24")[1]["banned"] == "203.0.113.0/24"
    assert login(router, "2001:db8::ffff") == "" and login(router, "203.0.113.1") == ""
    assert list(bans(router)) and len(bans(router)) == 3
    assert [ban["net"] for ban in call(router, "GET", address="203.0.113.9")[1]["bans"]] == [
        "203.0.113.0/24"]
    assert call(router, "GET", limit=1)[1]["shown"] == 1
    assert call(router, "DELETE", address="203.0.113.1")[1] == {
        "unbanned": "203.0.113.1/32", "removed": False, "still_in": "203.0.113.0/24"}
    assert call(router, "DELETE", address="203.0.113.0/24")[1] == {
        "unbanned": "203.0.113.0/24", "removed": True, "still_in": None}
    assert "level=info" in line(router, "unban", "net=203.0.113.0/24", "why=unbanned",
                                "origin=operator", "reason=order", "dropped=1")
    line(router, "admin", "op=unban", "net=203.0.113.0/24", "outcome=done")
    assert "a OK" in login(router, "203.0.113.1")
    # One of its addresses is no network that it is still in.
    for net in ("203.0.113.0/24", "203.0.113.0/32"):
        assert call(router, "PUT", address=net)[0] == 200
    assert call(router, "DELETE", address="203.0.113.0/24")[1] == {
        "unbanned": "203.0.113.0/24", "removed": True, "still_in": None}


def test_GRD_8_what_the_api_refuses(make):
    router = guarded(make, [make.node("node1", proxy=True)])
    for params, error in (({}, "address required"), ({"address": "host"}, "invalid address"),
                          ({"address": "0.0.0.0/0"}, "invalid address"),
                          ({"address": "203.0.113.1/33"}, "invalid address"),
                          ({"address": "203.0.113.1", "seconds": 0}, "invalid seconds"),
                          ({"address": "203.0.113.1", "seconds": 40000000}, "invalid seconds"),
                          ({"address": "203.0.113.1", "seconds": "1h"}, "invalid seconds"),
                          ({"address": "203.0.113.1", "reason": "a\x1bb"}, "invalid reason"),
                          ({"address": "203.0.113.1", "reason": "x" * 64}, "invalid reason"),
                          ({"address": "203.0.113.1", "limit": 1}, "unknown parameter")):
        assert call(router, "PUT", **params) == (400, {"error": error}), params
    assert call(router, "GET", limit=0) == (400, {"error": "invalid limit"})
    assert call(router, "GET", seconds=1) == (400, {"error": "unknown parameter"})
    assert call(router, "DELETE")[0] == 400
    # GRD-3: whoever asks, and the balancer
    for address, why in (("127.0.0.1", "own"), ("127.0.5.1", "loopback"), ("127.0.4.1", "proxy")):
        assert call(router, "PUT", address=address) == (
            409, {"error": "never banned", "why": why}), address
    assert bans(router) == {}
    line(router, "admin", "op=ban", "outcome=never_banned")


def test_GRD_8_without_a_guard(make):
    router = make.router([make.node("node1")])
    for method in ("GET", "PUT", "DELETE"):
        assert call(router, method, address="203.0.113.1") == (
            501, {"error": "the guard is not enabled"})
    assert router.admin("GET", "/guard")[:2] == (200, {"enabled": False})
    assert "not enabled" in router.ctl("guard").stdout
    assert not any(key.startswith(("homing_bans", "homing_guard")) for key in values(fetch(router)[1]))


def test_GRD_8_points_in_the_log_and_a_ban_that_ends(make):
    router = guarded(make, [make.node("node1", proxy=True)], 'ban_after = 3\nban_time = "1s"\n')
    for i in range(4): # the first fades meanwhile
        assert "a NO" in login(router, "198.51.100.20", "user%d" % i, "wrong")
    text = line(router, "ban", "net=198.51.100.20/32")
    assert "reason=refused origin=local points=3.0 strikes=1 told=true" in text and "seconds=1" in text
    assert login(router, "198.51.100.20") == ""
    line(router, "unban", "net=198.51.100.20/32", "why=expired", "points=3.0", "dropped=1")
    assert "a OK" in login(router, "198.51.100.20")


def test_GRD_8_homingctl(make):
    router = guarded(make, [make.node("node1", proxy=True)])
    done = router.ctl("ban", "198.51.100.7", "--for", "2h", "--reason", "port scan & more")
    assert (done.returncode, done.stdout) == (0, "198.51.100.7/32: banned for 7200 s\n"), done.stderr
    assert router.ctl("ban", "198.51.100.0/24").stdout == "198.51.100.0/24: banned for 3600 s\n"
    for wrong in ("1y", "h", "0", "-1s", ""):
        done = router.ctl("ban", "198.51.100.9", "--for", wrong)
        assert done.returncode == 2 and "not a time" in done.stderr, wrong
    done = router.ctl("ban", "127.0.0.1")
    assert done.returncode == 1 and "never banned" in done.stderr
    assert router.ctl("ban").returncode == 2
    rows = router.ctl("bans").stdout.splitlines()
    assert len(rows) == 4 and rows[0].startswith("net ") and rows[-1] == "2 of 2 bans"
    assert any(re.match(r"198\.51\.100\.7/32 +operator +order +7\d\d\ds .* port scan & more$", row)
               for row in rows), rows
    assert router.ctl("bans", "198.51.100.8").stdout.splitlines()[-1] == "1 of 1 bans"
    assert router.ctl("bans", "--limit", "1").stdout.splitlines()[-1] == "1 of 2 bans"
    done = router.ctl("unban", "198.51.100.7")
    assert done.stdout == ("198.51.100.7/32: unbanned\n"
                           "it is in a banned network all the same: 198.51.100.0/24\n")
    assert router.ctl("unban", "198.51.100.7").stdout.startswith("198.51.100.7/32: had no ban\n")
    shown = router.ctl("guard").stdout
    assert shown.startswith("enabled\n") and re.search(r"^bans +local 0 operator 1 ", shown, re.M)
    assert re.search(r"^127\.0\.0\.0/8 +loopback$", shown, re.M)


def test_GRD_10_metrics(make):
    router = guarded(make, [make.node("node1", proxy=True)],
                     'ban_after = 2\nallow = ["198.51.100.30"]\n')
    for source in ("198.51.100.20", "198.51.100.30"):
        for i in range(3): # the first fades meanwhile
            assert "a NO" in login(router, source, "user%d" % i, "wrong")
    assert login(router, "198.51.100.20") == "" and "a OK" in login(router, "198.51.100.30")
    assert call(router, "PUT", address="203.0.113.0/24")[0] == 200
    got = values(fetch(router)[1])
    assert got['homing_bans{origin="local"}'] == got['homing_bans{origin="operator"}'] == 1
    assert got['homing_bans{origin="shared"}'] == got['homing_bans{origin="restored"}'] == 0
    assert got['homing_bans_total{reason="refused"}'] == got['homing_bans_total{reason="order"}'] == 1
    assert got['homing_bans_withheld_total{why="allow"}'] == 1
    assert got['homing_guard_checks_total{verdict="banned"}'] == 1
    line(router, "ban_withheld", "client=198.51.100.30", "why=allow", "points=2.0")
    status = router.admin("GET", "/guard")[1]
    assert status["enabled"] and status["bans"]["operator"] == 1 and status["checks"]["banned"] == 1
    assert status["withheld"]["allow"] == 1 and status["events"]["refused"] == 6
    assert {"net": "198.51.100.30/32", "why": "allow"} in status["networks"]


@pytest.mark.skipif(os.geteuid() != 0, reason="loads programs")
def test_GRD_10_the_kernels_packets(make, network):
    """A denied address of the loopback device: refused before anybody accepts it."""
    del network
    router = guarded(make, [make.node("node1", proxy=True)], 'deny = ["127.0.9.9"]\n')

    def refused():
        try:
            router.connect("imap", "127.0.9.9").close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused)
    status, got = router.admin("GET", "/guard")[1], values(fetch(router)[1])
    assert status["kernel"] and not status["inert"] and status["interfaces"] == []
    assert status["packets"]["denied"] == got['homing_guard_packets_total{verdict="denied"}'] >= 1
    assert got["homing_guard_inert"] == 0
    assert re.search(r"^kernel +yes$", router.ctl("guard").stdout, re.M)
    assert re.search(r"^packets .* denied [1-9]", router.ctl("guard").stdout, re.M)


@pytest.mark.skipif(os.geteuid() != 0, reason="loads programs")
def test_GRD_10_an_interface_by_whatever_name(make, network):
    """Linux takes quotes in names of devices; the metrics stay what a scraper reads."""
    del network
    subprocess.run(["ip", "link", "add", 'g"\\0', "type", "veth", "peer", "name", "p0"],
                   check=True)
    subprocess.run(["ip", "link", "set", 'g"\\0', "up"], check=True)
    router = guarded(make, [make.node("node1", proxy=True)],
                     "interfaces = ['g\"\\0']\nxdp_mode = \"generic\"\n")
    status, text = router.admin("GET", "/guard")[1], fetch(router)[1]
    assert [(row["name"], row["mode"]) for row in status["interfaces"]] == [('g"\\0', "generic")], \
        router.log()
    assert '\nhoming_guard_interface{name="g\\"\\\\0",mode="generic"} 1\n' in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                             capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert 'interface    g"\\0: generic, by ' in router.ctl("guard").stdout


# ---- routers with one store ----

SHARE = 'share = "store"\nban_after = 3\n%s'


@pytest.fixture
def other(workspace):
    """Starts a router that knows the same node, in a place of its own."""
    del workspace # that of the first one ends later
    space, started = harness.Workspace("homing-test-"), []

    def start(node, store, extra=""):
        started.append(harness.Router(space, [node.toml()], node.name, mapping=store.toml(),
                                      listeners=BEHIND, extra=settings(SHARE % extra, OTHER_PINS)))
        return started[0].start()

    yield start
    for router in started:
        router.close()
    space.close()


def first(make, store):
    node = make.node("node1", proxy=True)
    router = guarded(make, [node], SHARE % "", mapping=store.toml())
    wait_push(router)
    return node, router


def two(make, other, store, extra=""):
    node, router = first(make, store)
    second = other(node, store, extra)
    wait_push(second)
    return router, second


def test_GRD_8_bans_reach_the_other_router(make, other, store):
    a, b = two(make, other, store, 'allow = ["198.51.100.0/28"]\n')
    for i in range(4):
        login(a, "198.51.100.20", "user%d" % i, "wrong")
    text = line(b, "ban", "net=198.51.100.20/32", "origin=shared")
    assert "level=info" in text and "reason=refused" in text and "told=true" in text
    assert login(b, "198.51.100.20") == ""
    left = [bans(router)["198.51.100.20/32"]["left_s"] for router in (a, b)]
    assert abs(left[0] - left[1]) <= 2
    # Its own rules come first.
    assert call(a, "PUT", address="198.51.100.1")[0] == call(a, "PUT", address="203.0.113.0/24",
                                                           reason="a b")[0] == 200
    line(b, "ban_withheld", "net=198.51.100.1/32", "why=allow", "origin=shared")
    line(b, "ban", "net=203.0.113.0/24", "reason=order", 'text="a b"')
    assert set(bans(b)) == {"198.51.100.20/32", "203.0.113.0/24"}
    # The end of one, by the router that did not begin it.
    assert call(b, "DELETE", address="198.51.100.20")[1]["removed"]
    line(a, "unban", "net=198.51.100.20/32", "why=unbanned", "origin=local")
    assert set(bans(a)) == {"198.51.100.1/32", "203.0.113.0/24"}
    assert "a OK" in login(a, "198.51.100.20")
    # An assignment is none of their business, and the reverse.
    assert "msg=push " not in a.log() + b.log()


def test_GRD_8_who_comes_later_finds_the_bans(make, other, store):
    node, a = first(make, store)
    for last in range(40):
        assert call(a, "PUT", address="203.0.113.%d" % last, seconds=900)[0] == 200
    assert call(a, "DELETE", address="203.0.113.7")[1]["removed"]
    wait_until(lambda: a.admin("GET", "/guard")[1]["share"]["waiting"] == 0)
    b = other(node, store)
    wait_until(lambda: len(bans(b)) == 39)
    assert "203.0.113.7/32" not in bans(b)
    assert {ban["origin"] for ban in bans(b).values()} == {"shared"}
    assert all(880 < ban["left_s"] <= 900 for ban in bans(b).values())


def test_GRD_8_a_store_that_is_away_takes_no_ban(make, other, own_store):
    """What was banned meanwhile is told when it is back; what was there stays."""
    a, b = two(make, other, own_store)
    assert call(a, "PUT", address="203.0.113.1")[0] == 200
    line(b, "ban", "net=203.0.113.1/32")
    own_store.server.stop()
    for router in (a, b):
        line(router, "push_lost", "")
    assert call(a, "PUT", address="203.0.113.2")[0] == 200
    assert call(a, "DELETE", address="203.0.113.1")[1]["removed"]
    line(a, "guard_share", "error=")
    assert set(bans(a)) == {"203.0.113.2/32"} and set(bans(b)) == {"203.0.113.1/32"}
    own_store.server.start()
    wait_until(lambda: set(bans(b)) == {"203.0.113.2/32"}, 40)
    assert set(bans(a)) == {"203.0.113.2/32"}


def test_GRD_8_what_people_write_to_the_store(make, store):
    """A ban by hand counts; what is none is told, and does nothing."""
    _, router = first(make, store)
    put_ban(store, "203.0.113.1/32", "ban - order net by hand")
    put_ban(store, "203.0.113.2/32", "node1")
    put_ban(store, "127.0.5.1/32", "ban -")
    line(router, "ban", "net=203.0.113.1/32", "origin=shared", 'text="by hand"')
    line(router, "guard_share", "source=203.0.113.2/32", "is no ban")
    line(router, "ban_withheld", "net=127.0.5.1/32", "why=loopback")
    assert set(bans(router)) == {"203.0.113.1/32"}
    put_ban(store, "203.0.113.1/32", "lift -")
    wait_until(lambda: not bans(router))


def test_GRD_8_a_restart_keeps_bans(make):
    """With the rest of their time, also of a network; what was unbanned stays so."""
    router = guarded(make, [make.node("node1", proxy=True)], 'ban_after = 3\n')
    assert call(router, "PUT", address="198.51.100.7", seconds=600)[0] == 200
    assert call(router, "PUT", address="203.0.113.0/24", seconds=900)[0] == 200
    assert call(router, "PUT", address="2001:db8::1", seconds=300)[0] == 200
    assert call(router, "PUT", address="198.51.100.8")[0] == 200
    assert call(router, "DELETE", address="198.51.100.8")[1]["removed"]
    wait_until(lambda: router.admin("GET", "/guard")[1]["kernel"])
    time.sleep(1.5) # networks reach the kernel with the next heartbeat
    router.restart()
    kept = bans(router)
    assert set(kept) == {"198.51.100.7/32", "203.0.113.0/24", "2001:db8::/64"}
    assert {ban["origin"] for ban in kept.values()} == {"restored"}
    assert 560 < kept["198.51.100.7/32"]["left_s"] < 600
    assert 860 < kept["203.0.113.0/24"]["left_s"] < 900
    assert login(router, "198.51.100.7") == "" == login(router, "203.0.113.1")
    assert "a OK" in login(router, "198.51.100.8")


def test_GRD_8_a_lift_while_a_router_is_away(make, other, store):
    """Its pins still have the ban: that is older than what the store says."""
    a, b = two(make, other, store)
    for address in ("198.51.100.7", "198.51.100.8"):
        assert call(a, "PUT", address=address, seconds=900)[0] == 200
        line(b, "ban", "net=%s/32" % address, "origin=shared")
    b.stop()
    assert call(a, "DELETE", address="198.51.100.7")[1]["removed"]
    wait_until(lambda: a.admin("GET", "/guard")[1]["share"]["waiting"] == 0)
    b.start()
    wait_push(b)
    wait_until(lambda: set(bans(b)) == {"198.51.100.8/32"})
    wait_until(lambda: b.admin("GET", "/guard")[1]["share"]["waiting"] == 0)
    assert set(bans(a)) == {"198.51.100.8/32"}


def test_GRD_8_reloads_turn_it_off_and_on(make, other, store):
    """What was missed meanwhile comes then, lifts too."""
    def change(old, new):
        edit(b, (old, new))
        reload_ok(b)

    def put(router, address):
        assert call(router, "PUT", address=address)[0] == 200
        wait_until(lambda: router.admin("GET", "/guard")[1]["share"]["waiting"] == 0)

    a, b = two(make, other, store)
    change('share = "store"', 'share = "off"')
    put(a, "198.51.100.7")
    put(b, "198.51.100.9")
    assert set(bans(b)) == {"198.51.100.9/32"}
    change('share = "off"', 'share = "store"')
    wait_until(lambda: set(bans(b)) == set(bans(a)) == {"198.51.100.7/32", "198.51.100.9/32"})
    change("enabled = true", "enabled = false")
    assert call(b, "GET")[0] == 501
    assert call(a, "DELETE", address="198.51.100.7")[1]["removed"]
    put(a, "198.51.100.10")
    change("enabled = false", "enabled = true")
    wait_until(lambda: set(bans(b)) == {"198.51.100.9/32", "198.51.100.10/32"})


def put_ban(store, source, note):
    if store.kind == "redis":
        store.server.cli("set", "route:ban/%s@homing.invalid" % source, note, "ex", "60")
    else:
        assert store.server.try_sql(
            store.name, "INSERT INTO homing_bans VALUES ('%s', '%s', now() + interval '1 minute') ON "
            "CONFLICT (source) DO UPDATE SET note = excluded.note" % (source, note))

