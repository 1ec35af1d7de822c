# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL behind a pooler (a real pgbouncer): connections that are not the router's alone."""

import threading

import harness
import pytest
import stores
from harness import wait_until
from mapping_stores import SqlStore, login, postgres, wait_push, where  # noqa: F401


@pytest.fixture
def nodes(make):
    return make.node("node1"), make.node("node2")


def crowd(router, accounts, at_once=8):
    def some(part):
        for account in part:
            login(router, account)
    threads = [threading.Thread(target=some, args=(accounts[i::at_once],)) for i in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_MAP_52_100_behind_a_pooler(make, nodes, postgres, mode):  # noqa: F811
    """Lookups and writes work, whoever's server connection they run on, and are not one transaction;
    push is up only where messages arrive."""
    store = SqlStore(postgres)
    accounts = ["u%d" % i for i in range(40)]
    assert postgres.try_sql(store.name, "INSERT INTO account_nodes SELECT 'u' || i, 'node2' FROM "
                            "generate_series(0, 39) i")
    pooler = stores.Pgbouncer(postgres, store.name, mode)
    # In session mode each of ours holds a server connection, of which there are two.
    pool = 1 if mode == "session" else 4
    try:
        router = make.router(nodes, mapping=store.toml(port=pooler.port, ttl="1s", pool=pool,
                                                       timeout="1s"))
        wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
        crowd(router, accounts)
        crowd(router, accounts)
        assert {(line["node"], line["route"]) for line in router.wait_sessions(80)} == \
            {("node2", "mapped")}
        assert router.admin("PUT", "/mappings?identifier=u1&destination=node1")[0] == 200
        assert store.get("u1") == where(router, "u1") == "node1"
        if mode == "session":
            wait_push(router)
            store.put("u2", "node1")
            wait_until(lambda: router.stats()["invalidated"] >= 2)
        else:
            router.wait_line(lambda text: "msg=push " in text and "does not come back" in text)
            assert router.stats()["push_state"] == "down" and "msg=push_up" not in router.log()
            store.put("u2", "node1")
            wait_until(lambda: where(router, "u2") == "node1") # by its time
        stats = router.stats()
        assert (stats["store_errors"], stats["store_state"]) == (0, "up")
        assert "msg=store_lost" not in router.log()
    finally:
        pooler.close()


def test_MAP_52_a_pooler_keeps_other_programs_statements_apart(make, nodes, postgres):  # noqa: F811
    """Two routers with different queries share server connections: neither runs the other's."""
    store = SqlStore(postgres)
    assert postgres.try_sql(store.name, "CREATE VIEW other AS SELECT identifier, 'node1' AS node FROM "
                            "account_nodes; INSERT INTO account_nodes VALUES ('alice', 'node2')")
    pooler = stores.Pgbouncer(postgres, store.name, "transaction")
    other_space = harness.Workspace("homing-test-")
    toml = store.toml(port=pooler.port, ttl="0s", pool=2)
    other = toml.replace("FROM account_nodes WHERE", "FROM other WHERE", 1)
    second = harness.Router(other_space, [node.toml() for node in nodes], "node1", mapping=other)
    try:
        routers = [make.router(nodes, mapping=toml), second.start()]
        for router in routers:
            wait_until(lambda r=router: r.admin("GET", "/readyz")[0] == 200)
        for _ in range(5):
            assert [where(router, "alice") for router in routers] == ["node2", "node1"]
        assert [router.stats()["store_errors"] for router in routers] == [0, 0]
    finally:
        second.close()
        other_space.close()
        pooler.close()


def test_MAP_52_a_table_that_changes_under_a_statement(make, nodes, postgres):  # noqa: F811
    """SQLSTATE 0A000 on a connection of our own: asked again, not an outage."""
    store = SqlStore(postgres)
    store.put("alice", "node2")
    router = make.router(nodes, mapping=store.toml(ttl="0s", pool=1))
    assert where(router, "alice") == "node2"
    assert postgres.try_sql(store.name, "ALTER TABLE account_nodes ALTER COLUMN node TYPE varchar(40)")
    assert where(router, "alice") == "node2"
    assert router.stats()["store_errors"] == 0
