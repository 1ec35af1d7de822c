# SPDX-License-Identifier: Apache-2.0
"""GET /mappings/list: the accounts of a node, page by page, from every kind of store."""

import sqlite3
import threading
import time
import urllib.parse

import harness
import pytest
import stores
from harness import wait_until
from mapping_stores import (FileStore, RedisStore, SqlStore, SqliteStore, login,  # noqa: F401
                            postgres, put_all_redis, put_all_sql, store, wait_push)

COUNT = 250
KINDS = ["file", "sqlite", "postgresql", "redis"]


@pytest.fixture(params=KINDS)
def any_store(request, workspace):
    if request.param == "file":
        made = FileStore(workspace)
    elif request.param == "sqlite":
        made = SqliteStore(workspace)
    elif request.param == "postgresql":
        made = SqlStore(request.getfixturevalue("postgres"))
        made.put_all = lambda rows: put_all_sql(made, rows)
    else:
        made = RedisStore()
        made.put_all = lambda rows: put_all_redis(made, rows)
    made.kind = request.param
    yield made
    made.close()


def page(router, **parameters):
    return router.admin("GET", "/mappings/list?" + urllib.parse.urlencode(parameters))[:2]


def everything(router, node, limit=100):
    """All pages. Asserts the shape of each."""
    found, pages, after = [], 0, None
    while True:
        status, body = page(router, destination=node, limit=limit,
                            **({"after": after} if after else {}))
        assert status == 200, body
        assert body["destination"] == node and body["writable"] is True and body["skipped"] == 0
        found += body["identifiers"]
        pages += 1
        assert pages < 1000
        after = body["next"]
        if after is None:
            return found, pages
        assert isinstance(after, str) and after


def names(node="x"):
    odd = ["zoë@example.com", "a+b%c&d=e@x", "it's", "\\back", "q?*[x]^y"]
    return ["user%03d" % i for i in range(COUNT)] + (odd if node == "node2" else [])


def test_every_store_lists(make, any_store):
    nodes = (make.node("node1"), make.node("node2"), make.node("node3"))
    rows = {name + ".1": "node1" for name in names()}
    rows.update({name.replace("'", "") + ".2": "node2" for name in names("node2")})
    if any_store.kind == "sqlite":
        router = make.router(nodes)
        any_store.put_all(rows)
    else:
        any_store.put_all(rows)
        router = make.router(nodes, mapping=any_store.toml())
    before = router.stats()
    for node in ("node1", "node2", "node3"):
        wanted = sorted(name for name, where in rows.items() if where == node)
        for limit in (1000, 7, 50):
            found, pages = everything(router, node, limit)
            if any_store.kind == "redis": # in no order, and a key may come twice
                assert set(found) == set(wanted)
            else:
                assert (found == wanted if any_store.kind != "postgresql"
                        else sorted(found) == wanted), (node, limit)
                assert pages <= len(wanted) // limit + 2
    stats = router.stats()
    for counter in ("store_queries", "cache_entries", "cache_misses", "store_errors"):
        assert stats[counter] == before[counter], counter


def test_parameters(make, any_store):
    nodes = (make.node("node1"), make.node("node2"))
    router = make.router(nodes, mapping=any_store.toml())
    for query, code, text in (
            ("", 400, "destination required"), ("?destination=ghost", 404, "unknown destination"),
            ("?destination=", 404, "unknown destination"),
            ("?destination=node1&limit=0", 400, "invalid limit"),
            ("?destination=node1&limit=1001", 400, "invalid limit"),
            ("?destination=node1&limit=x", 400, "invalid limit"),
            ("?destination=node1&after=a%00b", 400, "bad request"),
            ("?destination=node1&destination=node2", 400, "duplicate parameter"),
            ("?destination=node1&more=1", 400, "unknown parameter"),
            ("?destination=node1&after=" + "x" * 1025, 400, "bad request")):
        status, body, _ = router.admin("GET", "/mappings/list" + query)
        assert (status, body) == (code, {"error": text}), query
    assert router.admin("POST", "/mappings/list?destination=node1")[0] == 405
    assert router.admin("GET", "/mappings/list?destination=node1", token=None)[0] == 401
    body = page(router, destination="node1")[1]
    assert body == {"destination": "node1", "identifiers": [], "next": None, "writable": True,
                    "skipped": 0}
    if any_store.kind == "redis": # a token that is none
        assert page(router, destination="node1", after="x")[0] == 500
        assert router.stats()["store_state"] == "up"
    else: # past the end, or in the middle of nowhere
        assert page(router, destination="node1", after="~" * 1024)[1]["identifiers"] == []


def test_a_store_that_cannot_list(make, postgres): # noqa: F811
    nodes = (make.node("node1"), make.node("node2"))
    mapping = SqlStore(postgres).toml()
    router = make.router(nodes, mapping="\n".join(
        line for line in mapping.splitlines() if not line.startswith("list_query")))
    assert page(router, destination="node1") == (501, {
        "error": "mapping store cannot list accounts (no mapping.sql.list_query)"})
    assert router.stats()["store_errors"] == 0


def test_a_list_query_that_is_wrong_spoils_nothing_else(make, postgres): # noqa: F811
    nodes = (make.node("node1"), make.node("node2"))
    store = SqlStore(postgres)
    store.put("alice", "node2")
    router = make.router(nodes, mapping=store.toml().replace(
        harness.LIST_QUERY, "SELECT nothing FROM nowhere WHERE a = $1 AND b > $2 LIMIT $3"))
    assert page(router, destination="node1") == (500, {"error": "store read failed"})
    login(router, "alice")
    assert router.wait_sessions(1)[0]["node"] == "node2"
    stats = router.stats()
    assert stats["store_state"] == "up" and stats["store_errors"] == 0


def test_a_slow_list_query_holds_nobody(make, postgres): # noqa: F811
    """It has a connection of its own while it runs, and an end."""
    nodes = (make.node("node1"), make.node("node2"))
    store = SqlStore(postgres)
    store.put("alice", "node2")
    router = make.router(nodes, mapping=store.toml(timeout="3s", pool=2).replace(
        harness.LIST_QUERY, "SELECT pg_sleep(60)::text WHERE $1 <> $2 AND $3 <> ''"))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(page(router, destination="node1")))
    thread.start()
    wait_until(lambda: postgres.try_sql(store.name, "SELECT count(*) FROM pg_stat_activity WHERE "
                                        "query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() "
                                        "AND state = 'active'") == "1")
    slowest = 0
    for i in range(20):
        began = time.monotonic()
        assert router.admin("GET", "/mappings?identifier=user%d" % i)[1]["source"] == "default"
        slowest = max(slowest, time.monotonic() - began)
        if answers:
            break
    login(router, "alice")
    assert router.wait_sessions(1)[0]["node"] == "node2"
    thread.join()
    assert answers == [(504, {"error": "store timeout"})]
    assert router.stats()["store_errors"] == 0


def test_rows_that_serve_nobody_are_counted(make):
    nodes = (make.node("node1"), make.node("node2"))
    router = make.router(nodes, normalize="lowercase")
    with sqlite3.connect(router.db) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.executemany("INSERT INTO account_nodes VALUES (?, 'node1')",
                       [("Alice",), ("a b",), ("bob",), ("",), ("x" * 321,)])
    body = page(router, destination="node1")[1]
    assert body["identifiers"] == ["bob"]
    assert body["skipped"] == 3 # the empty one is before the first page


def test_a_dead_store(make):
    store = SqlStore(stores.Postgres(), own=True)
    try:
        nodes = (make.node("node1"), make.node("node2"))
        router = make.router(nodes, mapping=store.toml(timeout="2s"))
        assert page(router, destination="node1")[0] == 200
        store.server.stop()
        assert page(router, destination="node1")[0] in (500, 504)
        store.server.start()
        wait_until(lambda: page(router, destination="node1")[0] == 200)
    finally:
        store.close()


def test_a_long_mapping_file(make, workspace):
    """Few among many: pages may be empty, and the end is found."""
    store = FileStore(workspace)
    rows = {"user%06d" % i: "node1" for i in range(120000)}
    rows["user110000"] = rows["user000001"] = "node2"
    store.put_all(rows)
    router = make.router((make.node("node1"), make.node("node2")), mapping=store.toml())
    found, pages = everything(router, "node2")
    assert found == ["user000001", "user110000"] and pages == 3


def test_a_connection_that_is_cut_in_the_middle_of_a_list(make, store): # noqa: F811
    """At every few bytes of the answer: it is asked again, and comes whole and once."""
    nodes = (make.node("node1"), make.node("node2"))
    put_all = put_all_sql if store.kind == "postgresql" else put_all_redis
    put_all(store, {"user%03d" % i: "node2" for i in range(30)})
    wanted = ["user%03d" % i for i in range(30)]
    proxy = stores.FaultProxy(store.target)
    try:
        router = make.router(nodes, mapping=store.toml(port=proxy.port, pool=1))
        wait_push(router)
        assert page(router, destination="node2")[0] == 200
        for cut in (1, 2, 5, 17, 40, 100, 200, 400):
            proxy.cut_after = cut
            status, body = page(router, destination="node2", limit=1000)
            assert status == 200, (cut, body)
            assert sorted(set(body["identifiers"])) == wanted
            assert len(body["identifiers"]) == 30 or store.kind == "redis"
        assert router.stats()["store_errors"] == 0
    finally:
        proxy.close()


def test_a_store_that_swallows_a_list(make, store): # noqa: F811
    nodes = (make.node("node1"), make.node("node2"))
    store.put("alice", "node2")
    proxy = stores.FaultProxy(store.target)
    try:
        router = make.router(nodes, mapping=store.toml(port=proxy.port, timeout="1s"))
        # a busy machine may take the second for the connection alone
        wait_until(lambda: page(router, destination="node2")[0] == 200)
        assert page(router, destination="node2")[1]["identifiers"] == ["alice"]
        proxy.blackhole = True
        assert page(router, destination="node2") == (504, {"error": "store timeout"})
        proxy.blackhole = False
        proxy.cut()
        wait_until(lambda: page(router, destination="node2")[0] == 200)
    finally:
        proxy.close()


def test_clients_that_leave_before_the_list_comes(make, store): # noqa: F811
    nodes = (make.node("node1"), make.node("node2"))
    store.put("alice", "node2")
    proxy = stores.FaultProxy(store.target)
    try:
        router = make.router(nodes, mapping=store.toml(port=proxy.port))
        assert page(router, destination="node2")[0] == 200
        proxy.delay = 0.3
        for _ in range(10):
            sock = router.tls_context().wrap_socket(router.connect("admin"),
                                                    server_hostname="localhost")
            sock.sendall(("GET /mappings/list?destination=node2 HTTP/1.1\r\nHost: x\r\n"
                          "Authorization: Bearer %s\r\n\r\n" % harness.TOKEN).encode())
            sock.close()
        proxy.delay = 0.0
        assert page(router, destination="node2")[1]["identifiers"] == ["alice"]
    finally:
        proxy.close()
