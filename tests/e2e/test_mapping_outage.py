# SPDX-License-Identifier: Apache-2.0
"""mapping.md: a store that is away. Who is served, from what, and what the counters say of it."""

import os
import threading
import time

import harness
import pytest
import stores
from harness import wait_until
from logins import login, served
from mapping_stores import (RedisStore, file_mapping, lock_db, rollback_journal,  # noqa: F401
                            unlock_db, wait_push)


def test_MAP_34_store_missing_at_start(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2], start=False)
    os.unlink(router.db)
    for suffix in ("-wal", "-shm"):
        if os.path.exists(router.db + suffix):
            os.unlink(router.db + suffix)
    router.start()
    status, body, _ = router.admin("GET", "/readyz", token=None)
    assert status == 503 and body["reasons"] == ["store"]
    login(router, "alice")  # served by the default node all the same
    assert served(node1) == ["alice"]
    router.sqlite_toml()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)


def test_MAP_90_blackholed_store(pair, rollback_journal):
    """Cached accounts and /healthz go on without delay; others get the default node in time."""
    make, (node1, node2) = pair
    router = make.router([node1, node2], mapping_extra='lookup_timeout = "2s"\n', start=False)
    rollback_journal(router)
    router.map({"alice": "node2"})
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)
    login(router, "alice")
    db = lock_db(router)
    try:
        results = []
        slow = [threading.Thread(target=lambda i=i: results.append(
            (time.monotonic(), login(router, "new%d" % i)))) for i in range(5)]
        start = time.monotonic()
        for t in slow:
            t.start()
        wait_until(lambda: router.stats()["store_queries"] >= 2)
        for _ in range(5):
            login(router, "alice")
            assert router.admin("GET", "/healthz", token=None)[0] == 200
        assert time.monotonic() - start < 10
        for t in slow:
            t.join()
        stats = router.stats()
        assert stats["store_state"] == "down" and stats["store_errors"] == 5
        queries = stats["store_queries"]
        login(router, "new0")  # MAP-90: no query within the transient time
        assert router.stats()["store_queries"] == queries
        assert router.log().count("msg=store_lost") == 1
    finally:
        unlock_db(router, db)
    wait_until(lambda: login(router, "other%f" % time.monotonic()) and
               router.stats()["store_state"] == "up")
    router.wait_line(lambda line: "msg=store_back" in line)


def test_MAP_91_93_stale_entries(pair, rollback_journal):
    make, (node1, node2) = pair
    router = make.router([node1, node2],
                         mapping_extra='positive_ttl = "1s"\nlookup_timeout = "500ms"\n',
                         start=False)
    rollback_journal(router)
    router.map({"alice": "node2", "bob": "node2"})
    router.start()
    login(router, "alice"), login(router, "bob")
    db = lock_db(router)
    try:
        wait_until(lambda: router.stats()["stale_entries"] == 2)
        login(router, "alice")
        assert served(node2)[-1] == "alice"
        assert router.stats()["stale_served"] == 1
        assert router.wait_sessions(3)[-1]["route"] == "stale"
        router.admin("POST", "/cache/invalidate?identifier=bob")
        login(router, "bob")
        assert served(node1) == ["bob"]
    finally:
        unlock_db(router, db)


def test_MAP_82_one_query_for_many_logins(pair, rollback_journal):
    make, (node1, node2) = pair
    router = make.router([node1, node2], mapping_extra='lookup_timeout = "20s"\n', start=False)
    rollback_journal(router)
    router.map({"alice": "node2"})
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)
    db = lock_db(router)
    results = []
    threads = [threading.Thread(target=lambda: results.append(login(router, "alice")))
               for _ in range(60)]
    for t in threads:
        t.start()
    wait_until(lambda: router.stats()["cache_misses"] + router.stats()["cache_coalesced"] == 60)
    unlock_db(router, db)
    for t in threads:
        t.join()
    stats = router.stats()
    assert len(results) == 60 and len(served(node2)) == 60 and not served(node1)
    assert (stats["store_queries"], stats["cache_misses"], stats["cache_coalesced"]) == (1, 1, 59)


# ---- cache and outage ----

def test_MAP_86_a_restart_begins_empty(pair, workspace):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2"})
    login(router, "alice")
    assert router.stats()["cache_entries"] == 1
    before = set(os.listdir(workspace.path))
    router.restart()
    assert {f for f in os.listdir(workspace.path) if f not in before} == set()
    stats = router.stats()
    assert stats["cache_entries"] == stats["cache_hits"] == stats["stale_entries"] == 0
    login(router, "alice")
    assert (router.stats()["cache_misses"], router.stats()["cache_hits"]) == (1, 0)


def test_MAP_92_95_an_outage_in_the_counters(pair, rollback_journal):  # noqa: F811
    make, (node1, node2) = pair
    router = make.router((node1, node2), start=False, mapping_extra='positive_ttl = "1s"\n'
                         'lookup_timeout = "1s"\n')
    rollback_journal(router)
    router.map({"alice": "node2"})
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)
    stats = router.stats()
    assert (stats["store_state"], stats["store_down_seconds"]) == ("up", 0)
    login(router, "alice")
    db = lock_db(router)
    try:
        wait_until(lambda: router.stats()["stale_entries"] == 1)
        login(router, "bob") # nothing is known: default, for the transient time
        login(router, "bob")
        stats = router.stats()
        assert served(node1) == ["bob", "bob"]
        assert (stats["store_errors"], stats["store_queries"], stats["cache_hits"]) == (1, 2, 1)
        assert (stats["store_state"], stats["stale_served"], stats["stale_entries"]) == ("down", 0, 1)
        login(router, "alice")
        stats = router.stats()
        assert (stats["stale_served"], stats["store_errors"]) == (1, 2)
        assert served(node2) == ["alice", "alice"]
        wait_until(lambda: router.stats()["store_down_seconds"] >= 1)
        assert router.admin("GET", "/readyz")[1] == {"ready": True, "store": "down"}
    finally:
        unlock_db(router, db)
    login(router, "carol")
    wait_until(lambda: router.stats()["store_state"] == "up")
    assert router.stats()["store_down_seconds"] == 0


def test_MAP_95_a_store_never_seen_is_unknown_until_it_fails(pair):
    """Nothing answers and nothing refuses: the state is unknown, then down, then up."""
    make, nodes = pair
    proxy = stores.FaultProxy(("127.0.0.1", harness.free_port()))
    redis = RedisStore()
    proxy.target, proxy.blackhole = redis.target, True
    try:
        router = make.router(nodes, mapping=redis.toml(port=proxy.port, timeout="3s"))
        assert router.stats()["store_state"] == "unknown"
        wait_until(lambda: router.stats()["store_state"] == "down")
        proxy.blackhole = False
        proxy.cut()
        wait_until(lambda: login(router, "new%f" % time.monotonic()) and
                   router.stats()["store_state"] == "up")
        assert router.admin("GET", "/readyz")[0] == 200
    finally:
        proxy.close()
        redis.close()


# ---- push ----

def test_MAP_105_a_live_session_stays_where_it_is(pair):
    make, (node1, node2) = pair
    redis = RedisStore()
    try:
        redis.put("alice", "node1")
        router = make.router((node1, node2), mapping=redis.toml())
        wait_until(lambda: router.stats()["push_state"] == "up")
        with router.client() as client:
            client.line()
            assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
            redis.put("alice", "node2")
            wait_until(lambda: router.stats()["invalidated"] >= 1)
            login(router, "alice") # the next login follows the new row
            assert served(node2) == ["alice"]
            assert client.command("b NOOP") == ["b OK NOOP"]
            assert [s["node"] for s in router.sessions(identifier="alice")["sessions"]
                    if s["stage"] == "established"][0] == "node1"
    finally:
        redis.close()


def test_MAP_106_a_channel_that_fails_is_no_failure_of_the_store(pair):
    """The server refuses every subscription and serves every lookup."""
    make, (node1, node2) = pair
    redis = RedisStore("--user", "default", "on", "nopass", "~*", "resetchannels", "+@all",
                       "-subscribe", "-psubscribe", "-client|tracking")
    try:
        redis.put("alice", "node2")
        router = make.router((node1, node2), mapping=redis.toml())
        login(router, "alice")
        login(router, "nobody")
        wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
        stats = router.stats()
        assert (stats["push_state"], stats["store_state"], stats["store_errors"]) == ("down", "up", 0)
        assert served(node2) == ["alice"]
        assert "msg=store_lost" not in router.log()
    finally:
        redis.close()


def test_MAP_106_no_channel_is_none(pair, workspace):
    make, nodes = pair
    router = make.router(nodes, mapping=file_mapping(workspace, ""))
    assert router.stats()["push_state"] == "none"


def test_MAP_84_unknown_names_do_not_evict_the_fallback(pair):
    """More made-up names than the cache has places, while the store is away: whoever is known stays on
    the own node."""
    make, (node1, node2) = pair
    redis = RedisStore()
    known = ["known%d" % i for i in range(12)]
    try:
        for account in known:
            redis.put(account, "node2")
        router = make.router((node1, node2), mapping=redis.toml(
            ttl="1s", timeout="1s", extra="cache_max_entries = 16"))
        wait_push(router) # it empties the cache, and an answer that is under way then is not kept
        for account in known:
            login(router, account)
        wait_until(lambda: router.stats()["stale_entries"] == 12)
        redis.server.stop()
        for i in range(20):
            login(router, "nobody%d" % i)
        stats = router.stats()
        assert stats["cache_entries"] <= 4 and stats["stale_entries"] == 12
        for account in known:
            login(router, account)
        assert served(node2) == known * 2
        assert {line["route"] for line in router.wait_sessions(44)[32:]} == {"stale"}
    finally:
        redis.close()


@pytest.mark.parametrize("removed", [True, False])
def test_MAP_94_a_stale_entry_of_a_node_that_is_gone(make, rollback_journal, removed):  # noqa: F811
    """The store is away and the entry's node is no longer declared: the default node. With the node
    still declared, the same entry is served."""
    nodes = [make.node("node%d" % i) for i in (1, 2, 3)]
    router = make.router(nodes, start=False, mapping_extra='positive_ttl = "1s"\n'
                         'lookup_timeout = "1s"\n')
    rollback_journal(router)
    router.map({"alice": "node2", "bob": "node3"})
    router.start()
    login(router, "alice"), login(router, "bob")
    wait_until(lambda: router.stats()["stale_entries"] == 2)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    gone = nodes[1].toml()
    assert gone in text
    if removed:
        text = text.replace(gone, "")
    else:
        text += "# read again\n"
    router.workspace.write("homing.toml", text)
    assert router.admin("POST", "/config/reload")[0] == 200
    db = lock_db(router)
    try:
        login(router, "alice"), login(router, "bob")
        assert served(nodes[2]) == ["bob", "bob"] # its node is declared: stale
        assert served(nodes[0]) == (["alice"] if removed else [])
        assert served(nodes[1]) == (["alice"] if removed else ["alice", "alice"])
        assert router.stats()["stale_served"] == (1 if removed else 2)
        routes = [line["route"] for line in router.wait_sessions(4)[2:]]
        assert routes == (["default", "stale"] if removed else ["stale", "stale"])
    finally:
        unlock_db(router, db)
