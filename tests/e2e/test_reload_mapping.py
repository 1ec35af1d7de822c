# SPDX-License-Identifier: Apache-2.0
"""Reload of what lookups depend on: stores, queries, the cache, mapping files (config.md section 14)."""

import socket

import pytest
from harness import wait_until
from mapping_stores import SqlStore, postgres, store, wait_push  # noqa: F401
from reloading import (DEFAULT1, DEFAULT2, alive, append, edit, login, metric, node_of, reload_ok,
                       two)


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
