# SPDX-License-Identifier: Apache-2.0
"""Reload while sessions live and logins go on: what they keep and what they find (config.md section 14)."""

import re
import signal
import threading

from harness import PATIENCE, exchange, free_port, node_login, wait_until
from reloading import (DEFAULT1, DEFAULT2, alive, append, edit, login, node_of, reload, reload_ok,
                       settled, two)


# ---- CFG-51 ----

def test_CFG_51_survives_an_unrelated_change(make):
    router = two(make)
    router.map({"alice@x": "node2"})
    with login(router, "alice@x") as live:
        with login(router, "alice@x"):
            pass
        wait_until(lambda: router.stats()["nodes"]["node2"]["active"] == 1)
        router.admin("POST", "/connections/delay?identifier=held@x&seconds=600")
        before = router.stats()
        assert before["cache_hits"] == 1 and before["cache_entries"] == 1
        append(router, "[capabilities.imap]\nbanner = \"new banner\"\n")
        body = reload_ok(router)
        assert body["changed"] == ["capabilities.imap.banner"] and body["cache_kept"] is True
        after = router.stats()
        for key in ("cache_hits", "cache_misses", "cache_entries", "store_queries", "store_state"):
            assert after[key] == before[key], key
        for key in ("nodes", "listeners", "paths"):
            assert after[key] == before[key], key
        alive(live)
        with router.client() as client:
            assert "new banner" in client.line()
        with router.client() as held:
            held.line()
            held.send("a LOGIN held@x pw\r\n")
            wait_until(lambda: router.sessions(identifier="held@x")["sessions"][0]["stage"]
                       == "hold")
        with login(router, "alice@x"):
            assert router.stats()["cache_hits"] == before["cache_hits"] + 1


def test_CFG_51_health_by_name_while_the_host_stays(make):
    router = two(make, server="host_down_threshold = 1\nhost_down_min_clients = 0\n"
                 "host_down_cooldown = \"1h\"\nbackend_connect_retries = 0\n")
    text = edit(router)
    port = re.search(r"\[destination.node1.protocol.imap\]\nport = (\d+)", text).group(1)
    dead = free_port()
    edit(router, ("port = " + port, "port = %d" % dead))
    reload_ok(router)
    with router.client() as client:
        client.line()
        assert "UNAVAILABLE" in client.command("a LOGIN alice@x pw")[-1]
    assert router.stats()["nodes"]["node1"]["down"] is True
    edit(router, ("port = %d" % dead, "port = " + port))
    assert reload_ok(router)["changed"] == ["destination.node1.protocol.imap.port"]
    assert router.stats()["nodes"]["node1"]["down"] is True
    edit(router, ('host = "127.0.0.1"', 'host = "localhost"'))
    assert reload_ok(router)["changed"] == ["destination.node1.host"]
    stats = router.stats()["nodes"]["node1"]
    assert stats["down"] is False and stats["unavailable"] == 1  # counters stay
    assert node_of(router, "alice@x") == "node1"


# ---- CFG-55 ----

def test_CFG_55_session_keeps_its_settings(make):
    """Attempts, banner, node settings of a session that began before."""
    router = two(make)
    with router.client() as client:
        client.line()
        edit(router, ("[listener.imap]", "[listener.imap]\nmax_auth_attempts = 1"))
        reload_ok(router)
        for tag in "ab":
            assert client.command("%s LOGIN x wrong" % tag)[-1].startswith(tag + " NO")
        assert client.command("c LOGIN alice@x pw")[-1].startswith("c OK")
    with router.client() as client:
        client.line()
        client.send("a LOGIN x wrong\r\n")
        assert b"a NO" in client.eof()


def test_CFG_55_session_before_finds_a_node_of_after(make):
    router = two(make)
    node3 = make.node("node3")
    with router.client() as client:
        client.line()
        append(router, node3.toml())
        router.map({"alice@x": "node3"})
        reload_ok(router)
        assert client.command("a LOGIN alice@x pw")[-1].startswith("a OK")
        rows = router.sessions(identifier="alice@x")["sessions"]
        assert rows[0]["node"] == "node3"
        alive(client)


def test_CFG_55_bridge_idle_follows(make):
    router = two(make)
    with login(router, "alice@x") as live:
        wait_until(lambda: router.stats()["nodes"]["node1"]["active"] == 1)
        edit(router, ("[server]", '[server]\nbridge_idle = "1s"'))
        reload_ok(router)
        live.eof()
    assert router.wait_sessions(1)[0]["reason"] == "idle"


def test_CFG_55_log_settings_follow(make):
    router = two(make)
    with login(router, "alice@x"):
        edit(router, ("[server]", '[server]\nlog_accounts = "full"'))
        reload_ok(router)
    assert router.wait_sessions(1)[0]["account"] == "alice@x"
    edit(router, ("[server]", '[server]\nlog_level = "error"'))
    assert reload_ok(router)["changed"] == ["server.log_level"]
    with login(router, "bob@x"):
        pass
    router.wait_idle()
    edit(router, ('log_level = "error"', 'log_level = "info"'))
    reload_ok(router)
    with login(router, "carol@x"):
        pass
    assert router.wait_sessions(2)[1]["account"] == "carol@x"


def test_CFG_8_environment_after_reload(make):
    router = two(make, environment={"HOMING_LOG": "info", "HOMING_ADMIN_TOKEN": "e" * 40})
    edit(router, ("[server]", '[server]\nlog_level = "error"'), (DEFAULT1, DEFAULT2))
    status, body, _ = router.admin("POST", "/config/reload", token="e" * 40)
    assert status == 200 and body["changed"] == ["routing.default_destination"]
    assert router.admin("GET", "/stats")[0] == 401
    assert router.admin("GET", "/stats", token="e" * 40)[0] == 200
    with login(router, "alice@x"):
        pass
    assert router.wait_sessions(1)


# ---- nodes ----

def test_node_added_and_removed_under_load(make):
    """Sessions move bytes while the cluster changes around them; the counters are right."""
    def serve(conn):
        if node_login(conn) is None:
            return
        while True:
            data = conn.read()
            if not data:
                return
            conn.send(data)
    nodes = [make.node(n, serve) for n in ("node1", "node2", "node3")]
    router = make.router(nodes[:2])
    router.map({"alice@x": "node2"})
    with login(router, "alice@x") as alice:
        wait_until(lambda: router.stats()["nodes"]["node2"]["active"] == 1)
        digests = []
        thread = threading.Thread(target=lambda: digests.append(
            exchange(alice.sock, bytes(range(256)) * 64, 32 << 20)))
        thread.start()
        for i in range(6):
            if i % 2 == 0:
                append(router, nodes[2].toml())
            else:
                edit(router, (nodes[2].toml(), ""))
            assert reload_ok(router)["changed"] == ["destination.node3"]
        edit(router, (nodes[1].toml(), ""))
        reload_ok(router)
        thread.join(PATIENCE * 10)
        assert digests
        wait_until(lambda: router.stats()["nodes"]["node2"]["bytes_up"] == 32 << 20)
    wait_until(lambda: set(router.stats()["nodes"]) == {"node1"})
    router.wait_idle()
    assert router.stats()["listeners"]["imap"]["active"] == 0


# ---- everything at once ----

def test_logins_while_everything_changes(make):
    """Stores, nodes, listeners, lifetimes and idle times change under logins: every login succeeds,
    and each account is on its node."""
    nodes = [make.node(n) for n in ("node1", "node2", "node3")]
    router = make.router(nodes, server="threads = 2\n")
    accounts = {"u%d@x" % i: "node%d" % (i % 3 + 1) for i in range(9)}
    router.map(accounts)
    stop, failures, served = threading.Event(), [], [0]
    names = {node: node.name for node in nodes}

    def log_in(part):
        mine = [a for i, a in enumerate(accounts) if i % 3 == part]
        while not stop.is_set():
            for account in mine:
                try:
                    with login(router, account, "imapt" if part == 0 else "imap",
                               tls=part != 0) as client:
                        alive(client)
                    served[0] += 1
                except (OSError, EOFError, AssertionError) as e:
                    failures.append("%s: %r" % (account, e))
                    return
    edit(router, ('tls = "starttls"', 'tls = "plain"'))
    append(router, "[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    reload_ok(router)
    plain = edit(router)
    variants = [
        plain.replace("WHERE identifier = $1\"\nupsert", "WHERE $1 = identifier\"\nupsert"),
        plain.replace("[server]", '[server]\nbridge_idle = "77s"\nlog_accounts = "full"'),
        plain + '[listener.more]\nprotocol = "imap"\ntls = "implicit"\nbind = ["127.0.0.1:0"]\n',
        plain.replace(DEFAULT1, DEFAULT2),
        plain.replace("[mapping]", '[mapping]\npositive_ttl = "0s"\ncache_max_entries = 3'),
        plain + "broken",
        plain + nodes[0].toml().replace("node1", "node4"),
        plain.replace("normalize = \"lowercase\"", "normalize = \"none\""),
    ]
    threads = [threading.Thread(target=log_in, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for variant in variants * 3 + [plain]:
            before = served[0]
            router.workspace.write("homing.toml", variant)
            status, body = reload(router)
            assert status == (400 if variant.endswith("broken") else 200), body
            wait_until(lambda b=before: served[0] > b + 3 or failures)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE * 2)
    assert not failures, failures[:3]
    for node in nodes:
        seen = {conn.user for conn in node.connections if hasattr(conn, "user")}
        assert seen == {a for a, n in accounts.items() if n == names[node]}
    router.wait_idle()
    stats = router.stats()
    assert all(node["active"] == 0 for node in stats["nodes"].values())
    assert sum(node["sessions"] for node in stats["nodes"].values()) == served[0]
    assert sum(listener["active"] for listener in stats["listeners"].values()) == 0


# ---- stopping ----

def test_reload_while_draining_is_refused(make):
    router = two(make, server='shutdown_grace = "30s"')
    with login(router, "alice@x") as live:
        wait_until(lambda: router.stats()["nodes"]["node1"]["active"] == 1)
        router.process.send_signal(signal.SIGTERM)
        router.wait_line(lambda line: "msg=stopping" in line)
        assert reload(router) == (503, {"error": "shutting down"})
        alive(live)


def test_no_descriptor_and_no_memory_is_lost(make):
    router = two(make)
    node3 = make.node("node3")
    extra = node3.toml() + ('[listener.more]\nprotocol = "imap"\ntls = "implicit"\n'
                            'bind = ["127.0.0.1:%d"]\n' % free_port())
    plain = edit(router)

    def there_and_back():
        append(router, extra)
        reload_ok(router)
        router.workspace.write("homing.toml", plain.replace(
            "WHERE identifier = $1\"", "WHERE $1 = identifier\""))
        reload_ok(router)
        router.workspace.write("homing.toml", plain + "\nbroken")
        assert reload(router)[0] == 400
        router.workspace.write("homing.toml", plain)
        reload_ok(router)
    for _ in range(3):
        there_and_back()
    fds = settled(router)
    for _ in range(8):
        there_and_back()
    wait_until(lambda: settled(router) < fds + 8) # SQLite opens three when it is first asked
