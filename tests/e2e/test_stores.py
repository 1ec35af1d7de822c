# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and Redis as stores: lookups and writes, and what their URLs say. Real servers; the same
tests on both where the rule is the same."""

import base64

import harness
import pytest
from harness import wait_until
from mapping_stores import RedisStore, SqlStore, postgres, store, wait_push, where  # noqa: F401


def test_MAP_52_71_lookups_and_writes(pair, store):
    make, nodes = pair
    store.put("alice", "node2")
    store.put("blank", "  node2 ")
    store.put("ghosted", "ghost")
    router = make.router(nodes, mapping=store.toml())
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
    assert router.admin("GET", "/mappings?identifier=ghosted")[1]["stored"] == "ghost"
    assert where(router, "Alice") == "node2"
    assert where(router, "nobody") == "node1"
    assert where(router, "blank") == "node2" # MAP-33
    assert where(router, "ghosted") == "node1"
    assert router.stats()["store_state"] == "up"
    assert router.admin("PUT", "/mappings?identifier=new&destination=node2")[0] == 200
    assert store.get("new") == "node2"
    assert router.admin("PUT", "/mappings?identifier=new&destination=node1")[0] == 200
    assert store.get("new") == "node1"
    assert router.admin("DELETE", "/mappings?identifier=new")[1] == {"removed": True}
    assert router.admin("DELETE", "/mappings?identifier=new")[1] == {"removed": False}
    assert store.get("new") is None


def test_MAP_16_identifiers_are_data(pair, store):
    make, nodes = pair
    router = make.router(nodes, mapping=store.toml())
    for user in ("x';drop/**/table/**/account_nodes;--", "a\\'b", "a%s%n", "x\\r\\nSET", "ÄB@x"):
        with router.client() as client:
            client.line()
            client.send("a AUTHENTICATE PLAIN\r\n")
            client.line()
            client.send(base64.b64encode(b"\0" + user.encode() + b"\0pw") + b"\r\n")
            assert client.line().startswith("a OK"), user
    assert router.stats()["store_errors"] == 0
    store.put("alice", "node2")
    assert where(router, "alice") == "node2"


def test_MAP_50_environment(make, postgres):
    nodes = (make.node("node1"), make.node("node2"))
    store = SqlStore(postgres)
    store.put("alice", "node2")
    toml = store.toml().replace('url = "postgres://postgres@127.0.0.1:%d/%s"' %
                                (postgres.port, store.name), "")
    router = make.router(nodes, mapping=toml, environment={
        "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres",
        "PGDATABASE": store.name})
    assert where(router, "alice") == "node2"
    assert postgres.try_sql(store.name, "SELECT count(*) > 0 FROM pg_stat_activity WHERE "
                            "application_name = 'homingd'") == "t"


def test_MAP_54_a_query_may_assign(make, postgres):
    nodes = (make.node("node1"), make.node("node2"))
    store = SqlStore(postgres)
    assert postgres.try_sql(store.name, """CREATE FUNCTION assign(a text) RETURNS text LANGUAGE sql AS
        $$ INSERT INTO account_nodes VALUES (a, 'node2') ON CONFLICT (identifier) DO UPDATE SET node =
        account_nodes.node RETURNING node $$""")
    toml = store.toml().replace("SELECT node FROM account_nodes WHERE identifier = $1",
                                "SELECT assign($1)")
    router = make.router(nodes, mapping=toml)
    assert where(router, "fresh") == where(router, "fresh") == "node2"
    assert store.get("fresh") == "node2"


def test_a_statement_that_cannot_be_prepared(make, postgres):
    nodes = (make.node("node1"),)
    store = SqlStore(postgres)
    router = make.router(nodes, mapping=store.toml().replace("SELECT node FROM account_nodes",
                                                             "SELECT node FROM no_such_table"))
    assert where(router, "alice") == "node1"
    line = router.wait_line(lambda text: "msg=store_lost" in text)
    assert "SQLSTATE 42P01" in line and "alice" not in line


@pytest.mark.parametrize("how", ["password", "user", "db", "unix", "unix-password"])
def test_MAP_70_redis_urls(make, how):
    nodes = (make.node("node1"), make.node("node2"))
    args = ["--requirepass", "p@ss/word"] if "password" in how else []
    if how == "user":
        args = ["--user", "homing", "on", ">s3cret", "~*", "&*", "+@all"]
    store = RedisStore(*args)
    if "password" in how:
        store.server.cli_args = ["--no-auth-warning", "-a", "p@ss/word"]
    try:
        port, path = store.server.port, store.server.space.path + "/socket"
        url = {"password": "redis://:p%%40ss%%2Fword@127.0.0.1:%d" % port,
               "user": "redis://homing:s3cret@127.0.0.1:%d" % port,
               "db": "redis://127.0.0.1:%d/3" % port,
               "unix": "redis+unix://" + path,
               "unix-password": "redis+unix://%s?password=p%%40ss%%2Fword&db=0" % path}[how]
        if how == "db":
            store.server.cli("-n", "3", "set", "route:alice", "node2")
        else:
            store.put("alice", "node2")
        router = make.router(nodes, mapping=store.toml(url=url))
        assert where(router, "alice") == "node2"
        wait_push(router)
        assert "p@ss" not in router.log() and "s3cret" not in router.log()
    finally:
        store.close()


def test_MAP_70_rediss(make, workspace):
    nodes = (make.node("node1"), make.node("node2"))
    cert, key, _ = workspace.certificate("redis", ["localhost"])
    for path in (cert, key, workspace.path):
        workspace.own(path)
    port = harness.free_port()
    store = RedisStore("--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key,
                       "--tls-auth-clients", "no")
    try:
        store.put("alice", "node2")
        router = make.router(nodes, mapping=store.toml(url="rediss://localhost:%d" % port),
                             environment={"SSL_CERT_FILE": cert})
        assert where(router, "alice") == "node2"
        wait_push(router)
        store.put("alice", "node1")
        wait_until(lambda: where(router, "alice") == "node1")
        wrong = make.router(nodes, mapping=store.toml(url="rediss://127.0.0.1:%d" % port),
                            environment={"SSL_CERT_FILE": cert})
        assert where(wrong, "alice") == "node1" # another name: not trusted, so the default
        assert "TLS" in wrong.wait_line(lambda text: "msg=store_lost" in text)
    finally:
        store.close()


def test_MAP_71_72_redis_errors(make):
    nodes = (make.node("node1"), make.node("node2"))
    store = RedisStore()
    try:
        store.server.cli("lpush", "route:list", "node2")
        store.put("alice", "node2")
        store.server.cli("set", "route:empty", "")
        router = make.router(nodes, mapping=store.toml())
        assert where(router, "list") == "node1"
        assert "WRONGTYPE" in router.wait_line(lambda text: "msg=store_lost" in text)
        assert where(router, "empty") == "node1"
        assert where(router, "alice") == "node2"
        assert router.stats()["store_errors"] == 1
    finally:
        store.close()
