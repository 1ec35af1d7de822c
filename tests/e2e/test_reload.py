# SPDX-License-Identifier: Apache-2.0
"""Reload: all or nothing, live (config.md section 14, security.md SEC-5, #33, #42)."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import ssl
import threading
import time

import pytest

import harness
from harness import (PATIENCE, TOKEN, Client, exchange, free_port, node_imap, node_login, parse_logfmt,
                     wait_until)
from test_stores import SqlStore, postgres, store, wait_push  # noqa: F401


def edit(router, *pairs):
    """Replaces texts in the configuration file; each must be there."""
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    for old, new in pairs:
        assert old in text, (old, text)
        text = text.replace(old, new, 1)
    router.workspace.write("homing.toml", text)
    return text


def append(router, text):
    with open(router.config, encoding="utf-8") as f:
        router.workspace.write("homing.toml", f.read() + "\n" + text)


def reload(router, **query):
    path = "/config/reload" + ("?" + "&".join("%s=%s" % p for p in query.items()) if query else "")
    status, body, _ = router.admin("POST", path)
    return status, body


def reload_ok(router):
    status, body = reload(router)
    assert status == 200, body
    assert body["reloaded"] is True
    return body


def login(router, account, listener="imap", tls=True):
    """An established session."""
    client = router.client(listener, tls=tls)
    client.line()
    reply = client.command("a LOGIN %s pw" % account)[-1]
    assert reply.startswith("a OK"), reply
    return client


def node_of(router, account, listener="imap"):
    before = {row["id"] for row in router.sessions()["sessions"]}
    with login(router, account, listener):
        rows = wait_until(lambda: [r for r in router.sessions(identifier=account)["sessions"]
                                   if r["id"] not in before and r["stage"] == "established"])
        return rows[0]["node"]


def alive(client):
    assert client.command("n NOOP")[-1] == "n OK NOOP"


def two(make, **kwargs):
    nodes = [make.node("node1"), make.node("node2")]
    return make.router(nodes, **kwargs)


DEFAULT1, DEFAULT2 = ('default_destination = "%s"' % n for n in ("node1", "node2"))


def metric(router, name):
    context = ssl.create_default_context(cafile=router.cert)
    with socket.create_connection(("127.0.0.1", router.ports["admin"]), PATIENCE) as raw, \
            context.wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
                  % TOKEN.encode())
        data = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
    return {m.group(1): int(float(m.group(2))) for m in re.finditer(
        r"^(%s(?:\{[^}]*\})?) (\S+)$" % name, data.decode(), re.M)}


# ---- CFG-50 ----

def test_CFG_50_new_default_destination(make):
    router = two(make)
    assert node_of(router, "nobody@x") == "node1"
    edit(router, (DEFAULT1, DEFAULT2))
    body = reload_ok(router)
    assert body == {"reloaded": True, "changed": ["routing.default_destination"],
                    "restart_required": [], "cache_kept": True, "warnings": 0}
    assert node_of(router, "nobody@x") == "node2"  # the cached "no mapping" as well
    assert node_of(router, "somebody@x") == "node2"
    assert router.admin("GET", "/mappings?identifier=nobody@x")[1]["destination"] == "node2"
    stats = router.stats()
    assert stats["config_generation"] == 2
    assert metric(router, "homing_config_generation") == {"homing_config_generation": 2}


def test_CFG_50_broken_file_changes_nothing(make):
    router = two(make)
    loaded = router.stats()["config_loaded_at"]
    with login(router, "alice@x") as live:
        good = edit(router, (DEFAULT1, 'default_destination = "ghost"'),
                    ('protocol = "imap"', 'protocol = "imapp"'), ("port = ", "poort = "))
        status, body = reload(router)
        assert status == 400 and body["error"] == "invalid configuration"
        assert len(body["errors"]) >= 3
        for wrong, key in (("ghost", "default_destination"), ("imapp", "protocol"),
                           ("poort", "poort")):
            line = next(i for i, text in enumerate(good.split("\n"), 1) if wrong in text)
            assert any(e.startswith("%s:%d:" % (router.config, line)) and ": error: " in e and
                       key in e for e in body["errors"]), body
        assert node_of(router, "bob@x") == "node1"
        alive(live)
        router.workspace.write("homing.toml", "this is no TOML")
        status, body = reload(router)
        assert status == 400 and len(body["errors"]) == 1
        assert node_of(router, "carol@x") == "node1"
    stats = router.stats()
    assert stats["config_generation"] == 1 and stats["config_loaded_at"] == loaded
    assert metric(router, "homing_config_reload_failures_total") == {
        "homing_config_reload_failures_total": 2}


def test_CFG_50_at_most_100_errors(make):
    router = two(make)
    append(router, "[capabilities.imap]\n" + "".join("k%d = 1\n" % i for i in range(150)))
    status, body = reload(router)
    assert status == 400 and len(body["errors"]) == 100


def test_CFG_50_taken_port_changes_nothing(make):
    """#42: the failing listener comes after new certificates, nodes and listeners."""
    router = two(make)
    node3 = make.node("node3")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], free_port()
        edit(router, (DEFAULT1, 'default_destination = "node3"'))
        append(router, node3.toml() + "".join(
            '[listener.more%d]\nprotocol = "imap"\ntls = "implicit"\nbind = ["127.0.0.1:%d"]\n'
            % (i, port) for i, port in enumerate((free, taken))))
        status, body = reload(router)
        assert status == 400, body
        assert len(body["errors"]) == 1
        assert "listener.more1: cannot bind 127.0.0.1:%d" % taken in body["errors"][0]
        assert body["errors"][0].startswith(router.config + ":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free), PATIENCE)
        assert node_of(router, "alice@x") == "node1"
        assert set(router.stats()["nodes"]) == {"node1", "node2"}
        assert set(router.stats()["listeners"]) == {"imap", "imapt"}
    assert set(reload_ok(router)["changed"]) == {
        "destination.node3", "listener.more0", "listener.more1", "routing.default_destination"}
    for port in (free, taken):
        router.ports["more"] = port
        assert node_of(router, "zoe%d@x" % port, "more") == "node3"


def test_CFG_50_failing_certificate_changes_nothing(make, workspace):
    """#42"""
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2))
    with open(router.key, encoding="ascii") as f:
        key = f.read()
    workspace.certificate("other", ["other.test"])
    with open(workspace.path + "/other.key", encoding="ascii") as f:
        workspace.write("router.key", f.read())
    status, body = reload(router)
    assert status == 400 and "tls.certificate.default.key" in body["errors"][0]
    assert node_of(router, "alice@x") == "node1"
    workspace.write("router.key", key)
    reload_ok(router)
    assert node_of(router, "alice@x") == "node2"


def test_CFG_50_failing_store_changes_nothing(make, workspace):
    """#42: the mapping file is broken, and what else is new does not come."""
    path = workspace.write("map", "alice@x node1\n")
    router = two(make, mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "map"\n')
    workspace.write("map", "alice@x node1\nbroken\n")
    edit(router, (DEFAULT1, DEFAULT2))
    status, body = reload(router)
    assert status == 400 and body["errors"][0].startswith(path + ":2:"), body
    assert node_of(router, "alice@x") == "node1"
    assert node_of(router, "bob@x") == "node1"


def test_CFG_50_checks_are_those_of_a_start(make):
    """CFG-40.3: no node for this protocol."""
    router = two(make)
    append(router, '[listener.x]\nprotocol = "pop3"\ntls = "implicit"\nbind = ["127.0.0.1:0"]\n')
    status, body = reload(router)
    assert status == 400 and "pop3" in body["errors"][0]


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


def test_CFG_51_ticket_keys(make):
    """A client's session is resumed after a reload, with a new certificate even."""
    router = two(make)
    context = router.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.closing(context.wrap_socket(router.connect(), server_hostname="localhost")) as s:
        session = s.session
    edit(router, (DEFAULT1, DEFAULT2))
    reload_ok(router)
    with contextlib.closing(context.wrap_socket(router.connect(), server_hostname="localhost",
                                                session=session)) as s:
        assert s.session_reused


# ---- CFG-52, CFG-53 ----

@pytest.mark.parametrize("change", [
    ("WHERE identifier = $1\"\nupsert", "WHERE identifier = $1 LIMIT 1\"\nupsert"),
    ('normalize = "lowercase"', 'normalize = "none"'),
    ("mapping.sqlite\"", "mapping.sqlite?mode=ro\"")])
def test_CFG_52_inputs_of_the_answers_drop_the_cache(make, change):
    router = two(make)
    router.map({"alice@x": "node2"})
    assert node_of(router, "alice@x") == "node2"
    assert router.stats()["cache_entries"] == 1
    edit(router, change)
    assert reload_ok(router)["cache_kept"] is False
    assert router.stats()["cache_entries"] == 0
    assert node_of(router, "alice@x") == "node2"  # by the new store


def test_CFG_52_another_store(make, workspace):
    router = two(make)
    router.map({"alice@x": "node2"})
    assert node_of(router, "alice@x") == "node2"
    workspace.write("map", "alice@x node1\n")
    edit(router, ('source = "sql"', 'source = "file"'),
         ("[mapping.sql]", '[mapping.file]\npath = "map"\n[mapping.sql]'))
    assert reload_ok(router)["changed"] == ["mapping.file", "mapping.source"]
    assert node_of(router, "alice@x") == "node1"
    status, body, _ = router.admin("PUT", "/mappings?identifier=bob@x&destination=node2")
    assert status == 200, body
    assert node_of(router, "bob@x") == "node2"


def test_CFG_52_entries_of_a_removed_destination(make):
    nodes = [make.node(n) for n in ("node1", "node2", "node3")]
    router = make.router(nodes)
    router.map({"alice@x": "node2", "bob@x": "node3"})
    assert node_of(router, "alice@x") == "node2"
    with login(router, "bob@x") as live:
        wait_until(lambda: router.stats()["nodes"]["node3"]["active"] == 1)
        assert router.stats()["cache_entries"] == 2
        edit(router, (nodes[2].toml(), ""))
        body = reload_ok(router)
        assert body["changed"] == ["destination.node3"] and body["cache_kept"] is True
        stats = router.stats()
        assert stats["cache_entries"] == 1
        # the removed node is listed until its last session ends, and so is what is asked of it
        assert stats["nodes"]["node3"]["active"] == 1
        assert metric(router, "homing_sessions_active")[
            'homing_sessions_active{node="node3",protocol="imap"}'] == 1
        assert router.sessions(destination="node3")["total"] == 1
        names = [d["destination"] for d in router.admin("GET", "/destinations")[1]["destinations"]]
        assert names == ["node1", "node2"]
        alive(live)
        assert node_of(router, "bob@x") == "node1"  # the row names nobody: the default
        assert router.stats()["unknown_destination"] >= 1
    wait_until(lambda: "node3" not in router.stats()["nodes"])
    assert router.admin("GET", "/sessions?destination=node3")[0] == 404
    append(router, nodes[2].toml())
    reload_ok(router)
    router.admin("POST", "/cache/invalidate")
    assert node_of(router, "bob@x") == "node3"
    assert router.stats()["nodes"]["node3"]["sessions"] == 2  # since start, never reset


def test_CFG_52_smaller_cache_evicts_at_once(make):
    router = two(make)
    for i in range(12):
        assert router.admin("GET", "/mappings?identifier=u%d@x" % i)[0] == 200
        with login(router, "u%d@x" % i):
            pass
    assert router.stats()["cache_entries"] == 12
    edit(router, ("[mapping]", "[mapping]\ncache_max_entries = 5"))
    assert reload_ok(router)["cache_kept"] is True
    assert router.stats()["cache_entries"] <= 5
    for i in range(12):
        with login(router, "u%d@x" % i):
            pass
    stats = router.stats()
    assert stats["cache_entries"] + stats["stale_entries"] <= 5


def test_CFG_52_new_lifetimes(make):
    router = two(make, mapping_extra='negative_ttl = "1h"')
    with login(router, "old@x"):
        pass
    edit(router, ('negative_ttl = "1h"', 'negative_ttl = "0s"'))
    reload_ok(router)
    for _ in range(2):
        with login(router, "new@x"):
            pass
    with login(router, "old@x"):
        pass
    stats = router.stats()
    assert (stats["cache_entries"], stats["cache_misses"], stats["cache_hits"]) == (1, 3, 1)


def test_CFG_53_mapping_file_is_read_again(make, workspace):
    """MAP-44 too."""
    workspace.write("map", "alice@x node1\n")
    router = two(make, mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "map"\n')
    assert node_of(router, "alice@x") == "node1"
    assert reload_ok(router) == {"reloaded": True, "changed": [], "restart_required": [],
                                 "cache_kept": True, "warnings": 0}
    assert router.stats()["cache_entries"] == 1
    workspace.write("map", "alice@x node2\nbob@x node2\n")
    body = reload_ok(router)
    assert body["changed"] == ["mapping.file.path"] and body["cache_kept"] is False
    assert node_of(router, "alice@x") == "node2"
    assert node_of(router, "bob@x") == "node2"
    # the rows of the file follow the new destinations
    node3 = make.node("node3")
    append(router, node3.toml())
    workspace.write("map", "alice@x node3\n")
    reload_ok(router)
    assert node_of(router, "alice@x") == "node3"
    workspace.write("map", "alice@x node1\n")
    assert router.admin("POST", "/mappings/reload")[0] == 200
    assert node_of(router, "alice@x") == "node1"


def test_CFG_51_the_store_stays_with_its_push_channel(make, store):  # noqa: F811
    """An unrelated change costs no connection, no expiry; changes in the store still count."""
    router = two(make, mapping=store.toml())
    store.put("alice@x", "node2")
    wait_push(router)
    assert node_of(router, "alice@x") == "node2"
    before = router.stats()
    edit(router, (DEFAULT1, DEFAULT2))
    reload_ok(router)
    after = router.stats()
    for key in ("cache_entries", "stale_entries", "flushes", "invalidated", "push_state",
                "store_state", "store_queries"):
        assert after[key] == before[key], key
    store.put("alice@x", "node1")
    wait_until(lambda: router.stats()["cache_entries"] == 0)
    assert node_of(router, "alice@x") == "node1"
    # another pool: a new store, whose channel takes over
    edit(router, ("pool_size = 4", "pool_size = 5"))
    assert reload_ok(router)["cache_kept"] is True
    wait_push(router)
    node = "node2"
    assert node_of(router, "alice@x") == "node1"
    store.put("alice@x", node)
    wait_until(lambda: node_of(router, "alice@x") == node)
    assert router.stats()["store_errors"] == 0


def test_CFG_52_queries_under_way_finish_on_the_old_store(make, postgres):  # noqa: F811
    """A login that waits for its row gets it, though the store is another one by then."""
    old, new = SqlStore(postgres), SqlStore(postgres)
    old.put("alice@x", "node2")
    router = two(make, mapping=old.toml().replace(
        "SELECT node FROM account_nodes", "SELECT node FROM account_nodes, pg_sleep(2)"))
    wait_push(router)
    with router.client() as client:
        client.line()
        client.send("a LOGIN alice@x pw\r\n")
        wait_until(lambda: router.stats()["store_queries"] == 1)
        edit(router, (old.name, new.name), (", pg_sleep(2)", ""))
        assert reload_ok(router)["cache_kept"] is False
        assert router.sessions(identifier="alice@x")["sessions"][0]["stage"] == "lookup"
        assert client.line().startswith("a OK")
        assert router.sessions(identifier="alice@x")["sessions"][0]["node"] == "node2"
    assert node_of(router, "alice@x") == "node1"  # what the new one says: nothing
    wait_push(router)
    new.put("alice@x", "node2")
    wait_until(lambda: node_of(router, "alice@x") == "node2")
    assert router.stats()["store_errors"] == 0


def test_CFG_52_away_from_a_dead_store(make, workspace, postgres):  # noqa: F811
    """What an operator does when the store is gone: nothing waits for the old one."""
    store = SqlStore(postgres)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        router = two(make, mapping=store.toml(port=silent.getsockname()[1], timeout="60s"))
        with router.client() as client:
            client.line()
            client.send("a LOGIN alice@x pw\r\n")
            wait_until(lambda: router.stats()["store_queries"] == 1)
            workspace.write("map", "bob@x node2\n")
            edit(router, ('source = "sql"', 'source = "file"'),
                 ("[mapping.sql]", '[mapping.file]\npath = "map"\n[mapping.sql]'))
            reload_ok(router)
            assert node_of(router, "bob@x") == "node2"
            assert router.stats()["store_state"] == "up"
            assert router.stats()["push_state"] == "none"
        router.stop()


# ---- CFG-54 ----

def test_CFG_54_no_connection_is_refused(make):
    router = two(make)
    stop, failures, served = threading.Event(), [], [0]

    def knock():
        while not stop.is_set():
            try:
                with router.client("imapt", tls=False) as client:
                    assert client.line().startswith("* OK")
                    served[0] += 1
            except (OSError, EOFError, AssertionError) as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=knock) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(10):
            before = served[0]
            edit(router, (DEFAULT1, DEFAULT2) if i % 2 == 0 else (DEFAULT2, DEFAULT1))
            reload_ok(router)
            wait_until(lambda b=before: served[0] > b or failures)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures, failures[:3]
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


# ---- CFG-56, CFG-57, CFG-58 ----

def test_CFG_56_restart_required(make):
    router = two(make)
    edit(router, ("[server]", "[server]\nthreads = 7"))
    for _ in range(2):  # as long as it differs from what is in force
        body = reload_ok(router)
        assert body["changed"] == [] and body["restart_required"] == ["server.threads"]
    edit(router, ("threads = 7", 'threads = 7\nbridge_idle = "77s"'),
         ('[admin]\nbind = "127.0.0.1:0"', '[admin]\nsocket = "/nowhere/x"\nbind = "127.0.0.1:1"'))
    append(router, '[splice]\npin_path = "/sys/fs/bpf/elsewhere"\n')
    body = reload_ok(router)
    assert body["changed"] == ["server.bridge_idle"]
    assert body["restart_required"] == ["admin.bind", "admin.socket", "server.threads",
                                        "splice.pin_path"]
    text = edit(router)
    edit(router, (re.search(r"\[admin\]\n(?:.+\n)*", text).group(0), ""))
    body = reload_ok(router)
    assert body["changed"] == []
    assert body["restart_required"] == ["admin", "server.threads", "splice.pin_path"]
    assert router.stats()["config_generation"] == 5  # the admin listener is still there


@contextlib.contextmanager
def frozen(pid, thread_name):
    """One thread of a process stands still (PTRACE_SEIZE and PTRACE_INTERRUPT)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def name(tid):
        with open("/proc/%d/task/%s/comm" % (pid, tid), encoding="ascii") as f:
            return f.read().strip()

    def find():
        return [int(t) for t in os.listdir("/proc/%d/task" % pid) if name(t) == thread_name]
    tid = wait_until(find)[0]
    for request in (0x4206, 0x4207):
        assert libc.ptrace(request, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(tid, 0x40000000)  # __WALL
    try:
        yield
    finally:
        assert libc.ptrace(17, tid, None, None) == 0, os.strerror(ctypes.get_errno())


def test_CFG_57_the_second_waits_then_503(make, monkeypatch):
    monkeypatch.setattr(harness.router, "PATIENCE", 120.0)
    router = two(make)
    results = {}

    def ask(name):
        results[name] = (reload(router), time.monotonic())
    first, second, third = (threading.Thread(target=ask, args=(n,)) for n in "abc")
    with frozen(router.process.pid, "worker0"):
        edit(router, (DEFAULT1, DEFAULT2))
        first.start()
        router.wait_line(lambda line: "msg=reload ok=true" in line)
        started = time.monotonic()
        second.start()
        wait_until(lambda: "b" in results, timeout=60)
        assert "a" not in results
        (status, body), ended = results["b"]
        assert (status, body) == (503, {"error": "reload in progress"})
        assert ended - started >= 29
        # one who does not wait for the answer
        gone = Client(router.connect("admin"), router.tls_context())
        gone.send("POST /config/reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
                  % TOKEN)
        wait_until(lambda: router.stats() and True)
        gone.reset()
        third.start()  # in time: waits for the first only
    for thread in (first, second, third):
        thread.join(PATIENCE)
    assert results["a"][0][0] == results["c"][0][0] == 200
    assert results["a"][0][1]["changed"] == ["routing.default_destination"]
    assert results["c"][0][1]["changed"] == []
    wait_until(lambda: router.stats()["config_generation"] == 4)


def test_CFG_58_sighup(make):
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    router.process.send_signal(signal.SIGHUP)
    line = router.wait_line(lambda l: "msg=reload ok=" in l)
    assert parse_logfmt(line)["ok"] == "true"
    assert "msg=reload ok=true changed=1 restart=server.threads" in line
    wait_until(lambda: router.stats()["config_generation"] == 2)
    assert node_of(router, "alice@x") == "node2"
    mark = len(router.lines)
    edit(router, (DEFAULT2, 'default_destination = "ghost"'), ('tls = "implicit"', 'tls = "x"'))
    router.process.send_signal(signal.SIGHUP)
    router.wait_line(lambda l: "msg=reload ok=false" in l, start=mark)
    with router.lock:
        lines = router.lines[mark:]
    last = next(i for i, l in enumerate(lines) if "msg=reload ok=false" in l)
    errors = [l for l in lines[:last] if "level=error" in l]
    assert len(errors) >= 2 and any("ghost" in l for l in errors), lines
    assert node_of(router, "bob@x") == "node2"


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


# ---- certificates and trust ----

def test_42_handshakes_begun_before_go_on(make, workspace):
    """Each connection has the certificate of the configuration that it began with."""
    router = two(make)
    before = certificate_of(router)
    socks = [router.connect(n) for n in ("imap", "admin")]
    wait_until(lambda: router.stats()["active_connections"] == 1)
    workspace.certificate("router", ["router.test", "localhost"])
    status, out = ctl_reload(router)
    assert status == 0, out
    for sock in socks:
        with Client(sock) as client:
            client.starttls(ssl._create_unverified_context())
            assert client.sock.getpeercert(True) == before
    assert certificate_of(router) != before
    assert certificate_of(router, "admin") != before


def certificate_of(router, listener="imap"):
    with Client(router.connect(listener), None) as client:
        context = ssl._create_unverified_context()
        client.starttls(context)
        return client.sock.getpeercert(True)


def test_CFG_50_new_certificate_is_served(make, workspace):
    router = two(make)
    before = certificate_of(router)
    with login(router, "alice@x") as live:
        workspace.certificate("router", ["router.test", "localhost"])
        assert certificate_of(router) == before  # until it is told
        context = ssl._create_unverified_context()
        router.tls_context = lambda: context
        status, out = ctl_reload(router)
        assert status == 0, out
        assert "tls.certificate.default.cert" in out and "tls.certificate.default.key" in out
        assert certificate_of(router) != before
        assert certificate_of(router, "admin") == certificate_of(router)
        alive(live)
    assert node_of_unverified(router, "bob@x") == "node1"


def ctl_reload(router, *args):
    """homingctl by the old certificate's pin: the file at the path has changed already."""
    import subprocess
    from harness import BUILD
    done = subprocess.run([os.path.join(BUILD, "homingctl"), "--url",
                           "https://localhost:%d" % router.ports["admin"], "--pin", router.pin,
                           "--token-file", os.path.join(router.workspace.path, "token"), "reload",
                           *args], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def node_of_unverified(router, account):
    count = len([r for r in router.session_lines() if r["node"] != "-"])
    with login(router, account):
        pass
    rows = wait_until(lambda: [r for r in router.session_lines() if r["node"] != "-"][count:])
    return rows[0]["node"]


def test_33_sessions_towards_a_node_end_with_its_trust(make):
    """Resumed while the trust settings stay, a full handshake when they change."""
    reused = []

    def serve(conn):
        reused.append(conn.sock.session_reused)
        node_imap(conn)
    node = make.node("node1", serve)
    router = make.router([node])

    def log_in():
        count = len(reused)
        with login(router, "alice@x") as client:
            alive(client)
        assert len(reused) == count + 1
        return reused[-1]
    log_in()
    assert log_in() is True
    append(router, "[capabilities.imap]\nbanner = \"x\"\n")
    reload_ok(router)
    assert log_in() is True  # kept: nothing of it changed
    edit(router, ('tls_server_name = "node1.test"', 'tls_server_name = "other.test"'))
    reload_ok(router)
    assert log_in() is False
    assert log_in() is True
    pin = re.search(r'tls_pinned_cert_sha256 = "\w+"\n', edit(router)).group(0)
    edit(router, (pin, "tls_allow_invalid_certs = true\n"))
    assert reload_ok(router)["warnings"] >= 1
    assert log_in() is False
    edit(router, ("tls_allow_invalid_certs = true\n", pin))
    reload_ok(router)
    assert log_in() is False  # not even back to what once was trusted


def test_33_client_certificate_by_content(make, workspace):
    node = make.node("node1")
    cert, key, _ = workspace.certificate("me", ["me.test"])
    router = make.router([node.toml(extra='tls_client_cert = "%s"\ntls_client_key = "%s"'
                                    % (cert, key))])
    workspace.certificate("me", ["me.test"])
    assert reload_ok(router)["changed"] == ["destination.node1.tls_client_cert",
                                            "destination.node1.tls_client_key"]
    assert node_of(router, "alice@x") == "node1"


# ---- SEC-5 ----

@pytest.mark.parametrize("name", ["router.key", "router.pem", "token", "map", "me.key", "me.pem",
                                  "homing.toml"])
def test_SEC_5_unreadable_file_is_named(make, workspace, name):
    workspace.write("map", "alice@x node2\n")
    cert, key, _ = workspace.certificate("me", ["me.test"])
    nodes = [make.node("node1"), make.node("node2")]
    router = make.router(
        [nodes[0].toml(extra='tls_client_cert = "%s"\ntls_client_key = "%s"' % (cert, key)),
         nodes[1].toml()],
        mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "map"\n')
    before = certificate_of(router)
    edit(router, (DEFAULT1, DEFAULT2))
    path = os.path.join(workspace.path, name)
    os.chown(path, 0, 0)
    os.chmod(path, 0o600)
    status, body = reload(router)
    assert status == 400 and any(path in e for e in body["errors"]), body
    assert certificate_of(router) == before
    assert node_of(router, "bob@x") == "node1"
    workspace.own(path)
    reload_ok(router)
    assert node_of(router, "bob@x") == "node2"


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


# ---- admin settings ----

def test_CFG_50_admin_settings_are_live(make, workspace):
    router = two(make)
    for _ in range(2):
        assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 401
    edit(router, ("lockout_threshold = 3", "lockout_threshold = 4"),
         ('lockout_duration = "2s"', 'lockout_duration = "1h"'))
    workspace.write("token", "n" * 40 + "\n")
    body = reload_ok(router)
    assert body["changed"] == ["admin.bearer_token_file", "admin.lockout_duration",
                               "admin.lockout_threshold"]
    assert router.admin("GET", "/stats", source="127.0.0.8")[0] == 401
    assert router.admin("GET", "/stats", token="n" * 40)[0] == 200
    for _ in range(2):
        assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 401
    assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 429
    # ADM-15: a lockout survives
    edit(router, ("lockout_threshold = 4", "lockout_threshold = 5"))
    assert router.admin("POST", "/config/reload", token="n" * 40)[0] == 200
    assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 429


def test_ADM_21_parameters_of_reload(make):
    router = two(make)
    assert router.admin("POST", "/config/reload?dry_run=yes")[:2] == (400, {"error": "bad request"})
    assert router.admin("POST", "/config/reload?x=1")[0] == 400
    assert router.admin("GET", "/config/reload")[0] == 405
    assert router.admin("POST", "/config/reload", token=None)[0] == 401
    assert router.stats()["config_generation"] == 1


def test_dry_run_changes_nothing(make):
    router = two(make)
    port = free_port()
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    append(router, '[listener.more]\nprotocol = "imap"\ntls = "implicit"\nbind = ["127.0.0.1:%d"]\n'
           % port)
    status, body = reload(router, dry_run="true")
    assert status == 200 and body == {
        "reloaded": False, "changed": ["listener.more", "routing.default_destination"],
        "restart_required": ["server.threads"], "cache_kept": True, "warnings": 0,
        "dry_run": True}
    assert node_of(router, "alice@x") == "node1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)
    assert set(router.stats()["listeners"]) == {"imap", "imapt"}
    with socket.create_server(("127.0.0.1", port)):
        status, body = reload(router, dry_run="true")
        assert status == 400 and "cannot bind" in body["errors"][0]
    stats = router.stats()
    assert stats["config_generation"] == 1
    assert metric(router, "homing_config_reload_failures_total") == {
        "homing_config_reload_failures_total": 0}
    assert reload(router, dry_run="false")[1]["reloaded"] is True
    assert node_of(router, "alice@x") == "node2"


# ---- homingctl ----

def test_homingctl_reload(make):
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    done = router.ctl("reload", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^routing.default_destination +would change$", done.stdout, re.M)
    assert re.search(r"^server.threads +needs a restart$", done.stdout, re.M)
    assert done.stdout.endswith("dry run: 1 changed, 1 needs a restart, the cache stays\n")
    assert node_of(router, "alice@x") == "node1"
    done = router.ctl("reload")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^routing.default_destination +changed$", done.stdout, re.M)
    assert done.stdout.endswith("reloaded: 1 changed, 1 needs a restart, the cache stays\n")
    assert node_of(router, "alice@x") == "node2"
    edit(router, (DEFAULT2, 'default_destination = "ghost"'))
    for args in (["reload"], ["reload", "--dry-run"]):
        done = router.ctl(*args)
        assert done.returncode == 1 and done.stdout == ""
        assert "homingctl: invalid configuration" in done.stderr and "ghost" in done.stderr
    assert router.ctl("reload", "now").returncode == 2
    done = router.ctl("--json", "reload")
    assert done.returncode == 1 and '"errors":' in done.stdout
    assert "reload [--dry-run]" in router.ctl("--help").stdout
    for how in ("--man", "--completion"):
        out = router.ctl(how).stdout
        assert "reload" in out and "dry" in out
    router.stop()
    assert router.ctl("reload").returncode == 3


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


def settled(router):
    """Descriptors once old stores have been freed."""
    def same():
        first = router.fds()
        threads = os.listdir("/proc/%d/task" % router.process.pid)
        names = []
        for t in threads:
            with contextlib.suppress(OSError), open("/proc/%d/task/%s/comm" % (
                    router.process.pid, t), encoding="ascii") as f:
                names.append(f.read())
        return first if not any("reaper" in n for n in names) and router.fds() == first else 0
    return wait_until(same)
