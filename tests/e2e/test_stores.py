# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and Redis as stores: lookups, writes, push, outages, restarts, a network that fails.
Real servers; the same tests on both where the rule is the same."""

import os
import sqlite3
import statistics
import subprocess
import threading
import time

import harness
import pytest
import stores
from harness import wait_until

SQL = ('[mapping]\nsource = "sql"\nnormalize = "lowercase"\npositive_ttl = "%s"\nnegative_ttl = "30s"\n'
       'lookup_timeout = "%s"\n%s\n[mapping.sql]\n%s\npool_size = %d\n'
       'query = "SELECT node FROM account_nodes WHERE identifier = $1"\n'
       'upsert_query = "INSERT INTO account_nodes (identifier, node) VALUES ($1, $2) ON CONFLICT '
       '(identifier) DO UPDATE SET node = excluded.node"\n'
       'delete_query = "DELETE FROM account_nodes WHERE identifier = $1"\n'
       'list_query = "' + harness.LIST_QUERY + '"\n')
REDIS = ('[mapping]\nsource = "redis"\nnormalize = "lowercase"\npositive_ttl = "%s"\nnegative_ttl = "30s"\n'
         'lookup_timeout = "%s"\n%s\n[mapping.redis]\n%s\npool_size = %d\n')


NO_TRACKING = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|tracking"]


@pytest.fixture(scope="module")
def postgres():
    server = stores.Postgres()
    yield server
    server.close()


class SqlStore:
    kind = "postgresql"

    def __init__(self, server, own=False):
        self.server, self.own = server, own
        self.name = server.database()
        self.target = ("127.0.0.1", server.port)

    def toml(self, port=None, ttl="10m", timeout="5s", extra="", pool=4):
        url = 'url = "postgres://postgres@127.0.0.1:%d/%s"' % (port or self.server.port, self.name)
        return SQL % (ttl, timeout, extra, url, pool)

    def put(self, account, node):
        assert self.server.try_sql(self.name, "INSERT INTO account_nodes VALUES ('%s', '%s') ON "
                                   "CONFLICT (identifier) DO UPDATE SET node = excluded.node" %
                                   (account, node))

    def remove(self, account):
        assert self.server.try_sql(self.name, "DELETE FROM account_nodes WHERE identifier = '%s'" %
                                   account)

    def get(self, account):
        value = self.server.try_sql(self.name, "SELECT node FROM account_nodes WHERE "
                                    "identifier = '%s'" % account)
        return None if value == "ok" else value

    def remove_all(self):
        assert self.server.try_sql(self.name, "TRUNCATE account_nodes")

    def close(self):
        if self.own:
            self.server.close()


class RedisStore:
    kind = "redis"

    def __init__(self, *args):
        self.server = stores.Redis(*args)
        self.target = ("127.0.0.1", self.server.port)

    def toml(self, port=None, ttl="10m", timeout="5s", extra="", pool=4, url=None):
        url = 'url = "%s"' % (url or "redis://127.0.0.1:%d" % (port or self.server.port))
        return REDIS % (ttl, timeout, extra, url, pool)

    def put(self, account, node):
        self.server.cli("set", "route:" + account, node)

    def remove(self, account):
        self.server.cli("del", "route:" + account)

    def get(self, account):
        return self.server.cli("get", "route:" + account) or None

    def remove_all(self):
        self.server.cli("flushall")

    def close(self):
        self.server.close()


@pytest.fixture(params=["postgresql", "redis"])
def store(request):
    made = SqlStore(request.getfixturevalue("postgres")) if request.param == "postgresql" \
        else RedisStore()
    yield made
    made.close()


@pytest.fixture(params=["postgresql", "redis"])
def own_store(request):
    """One whose server may be stopped."""
    made = SqlStore(stores.Postgres(), own=True) if request.param == "postgresql" else RedisStore()
    yield made
    made.close()


@pytest.fixture
def pair(make):
    return make, (make.node("node1"), make.node("node2"))


def login(router, user):
    """Returns the client's address as the log has it."""
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK"), user
        return "%s:%d" % client.sock.getsockname()[:2]


def where(router, user):
    """The node of a login, from the router's log. Only what is logged from now on counts: Linux
    draws its ports for clients anew every ten seconds, so an earlier session may have had the same."""
    before = len(router.session_lines())
    client = login(router, user)
    return wait_until(lambda: [line for line in router.session_lines()[before:]
                               if line["client"] == client])[-1]["node"]


def wait_push(router, state="up"):
    wait_until(lambda: router.stats()["push_state"] == state)


# ---- lookups and writes ----

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
            import base64
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


# ---- push ----

def test_MAP_100_101_changes_count_at_once(pair, store):
    make, nodes = pair
    store.put("alice", "node1")
    router = make.router(nodes, mapping=store.toml())
    wait_push(router)
    assert where(router, "alice") == "node1"
    assert where(router, "later") == "node1" # negative entry
    store.put("alice", "node2")
    store.put("later", "node2")
    wait_until(lambda: router.stats()["cache_entries"] == 0, 5)
    assert where(router, "alice") == where(router, "later") == "node2"
    store.remove("alice")
    wait_until(lambda: router.stats()["cache_entries"] == 1, 5)
    assert where(router, "alice") == "node1"
    store.remove_all()
    wait_until(lambda: router.stats()["cache_entries"] == 0, 5)


def test_MAP_100_payloads(make, postgres):
    nodes = (make.node("node1"), make.node("node2"))
    store = SqlStore(postgres)
    router = make.router(nodes, mapping=store.toml())
    wait_push(router)
    where(router, "alice")
    where(router, "bob")

    def notify(payload):
        assert postgres.try_sql(store.name, "NOTIFY homing_invalidate, '%s'" % payload)

    notify("ALICE") # normalised on receipt
    wait_until(lambda: router.stats()["cache_entries"] == 1, 5)
    notify("no account at all")
    router.wait_line(lambda text: "msg=push " in text and "level=warn" in text)
    assert router.stats()["cache_entries"] == 1
    notify("")
    wait_until(lambda: router.stats()["cache_entries"] == 0, 5)


def test_MAP_102_keyspace_events(make):
    """A server that refuses client-side caching."""
    nodes = (make.node("node1"), make.node("node2"))
    store = RedisStore("--notify-keyspace-events", "KA", *NO_TRACKING)
    try:
        store.put("alice", "node1")
        router = make.router(nodes, mapping=store.toml())
        wait_push(router)
        assert where(router, "alice") == "node1"
        store.put("alice", "node2")
        wait_until(lambda: router.stats()["cache_entries"] == 0, 5)
        assert where(router, "alice") == "node2"
        assert "msg=push " not in router.log()
    finally:
        store.close()


def test_MAP_102_a_server_that_does_not_tell(make):
    nodes = (make.node("node1"),)
    store = RedisStore(*NO_TRACKING)
    try:
        router = make.router(nodes, mapping=store.toml(timeout="1s"))
        router.wait_line(lambda text: "notify-keyspace-events lacks" in text)
        router.wait_line(lambda text: "a change of our own is not told" in text)
        assert router.stats()["push_state"] == "down" and "msg=push_up" not in router.log()
    finally:
        store.close()


class Balancer(stores.FaultProxy):
    """Each connection goes to the other one of two servers."""

    @property
    def target(self):
        self.targets.reverse()
        return self.targets[0]

    @target.setter
    def target(self, targets):
        self.targets = list(targets)


def test_MAP_101_halves_of_a_subscription_on_two_servers(make):
    """Whatever the servers accept, no message comes: push is not up, and the times rule."""
    nodes = (make.node("node1"), make.node("node2"))
    pair = RedisStore(), RedisStore()
    balancer = Balancer([one.target for one in pair])
    try:
        for one in pair:
            one.put("alice", "node1")
        router = make.router(nodes, mapping=pair[0].toml(port=balancer.port, ttl="1s", timeout="1s",
                                                         pool=1))
        router.wait_line(lambda text: "a change of our own is not told" in text)
        assert router.stats()["push_state"] == "down" and "msg=push_up" not in router.log()
        assert where(router, "alice") == "node1"
        for one in pair:
            one.put("alice", "node2")
        wait_until(lambda: where(router, "alice") == "node2")
    finally:
        balancer.close()
        for one in pair:
            one.close()


def test_MAP_101_a_user_who_may_only_read_is_believed(make):
    nodes = (make.node("node1"), make.node("node2"))
    store = RedisStore("--user", "reader", "on", ">pw", "~*", "&*", "+@all", "-@write")
    try:
        store.put("alice", "node1")
        router = make.router(nodes, mapping=store.toml(
            url="redis://reader:pw@127.0.0.1:%d" % store.server.port))
        wait_push(router)
        assert where(router, "alice") == "node1"
        store.put("alice", "node2")
        wait_until(lambda: where(router, "alice") == "node2")
        assert "msg=push " not in router.log()
    finally:
        store.close()


def test_MAP_104_a_channel_that_was_away(pair, store):
    """What changed meanwhile counts as soon as the channel is back."""
    make, nodes = pair
    proxy = stores.FaultProxy(store.target)
    try:
        store.put("alice", "node1")
        router = make.router(nodes, mapping=store.toml(port=proxy.port))
        wait_push(router)
        assert where(router, "alice") == "node1"
        proxy.refuse()
        wait_push(router, "down")
        store.put("alice", "node2")
        assert where(router, "alice") == "node1" # from the cache: nothing is asked
        proxy.accept()
        wait_push(router)
        assert where(router, "alice") == "node2"
    finally:
        proxy.close()


def test_two_routers_follow_200_moves(make, store):
    """Printed: how long until both route to the new node, as seen by their caches."""
    nodes = (make.node("node1"), make.node("node2"))
    routers = [make.router(nodes, mapping=store.toml(), extra="") for _ in range(1)]
    other_space = harness.Workspace("homing-test-")
    second = harness.Router(other_space, [node.toml() for node in nodes], "node1",
                            mapping=store.toml()).start()
    routers.append(second)
    took = []
    try:
        store.put("alice", "node1")
        for router in routers:
            wait_push(router)
            assert where(router, "alice") == "node1"
        for i in range(200):
            node = ("node2", "node1")[i % 2]
            before = [router.stats()["invalidated"] for router in routers]
            store.put("alice", node)
            start = time.monotonic()
            for router, count in zip(routers, before):
                wait_until(lambda r=router, c=count: r.stats()["invalidated"] > c, 5, 0.001)
            took.append(time.monotonic() - start)
            for router in routers:
                answer = router.admin("GET", "/mappings?identifier=alice")[1]
                assert answer["destination"] == node
                if i % 20 == 0:
                    assert where(router, "alice") == node
                else: # back into the cache, so that there is something to drop
                    login(router, "alice")
        print("%s: both routers after a change, median %.1f ms, worst %.1f ms of 200" % (
            store.kind, 1000 * statistics.median(took), 1000 * max(took)))
    finally:
        second.close()
        other_space.close()


def test_move_on_two_routers(make, store):
    """--url once for each: all hold before the row is written, and both send the next login there."""
    nodes = (make.node("node1"), make.node("node2"))
    router = make.router(nodes, mapping=store.toml())
    other_space = harness.Workspace("homing-test-")
    second = harness.Router(other_space, [node.toml() for node in nodes], "node1",
                            mapping=store.toml()).start()
    try:
        store.put("alice", "node1")
        with router.client() as one, second.client() as two:
            for client in (one, two):
                client.line()
                assert client.command("a LOGIN alice pw")[-1].startswith("a OK")

            def ctl(*args):
                return subprocess.run(
                    [harness.BUILD + "/homingctl", "--insecure", "--token-file",
                     router.workspace.path + "/token", "--url",
                     "https://localhost:%d" % router.ports["admin"], "--url",
                     "https://localhost:%d" % second.ports["admin"], *args],
                    capture_output=True, text=True, timeout=60, check=False)

            done = ctl("move", "alice", "node2")
            assert done.returncode == 0 and len(done.stdout.splitlines()) == 5, done.stderr
            assert one.eof() == two.eof() == b""
        assert where(router, "alice") == where(second, "alice") == "node2"
        assert [line["reason"] for line in (router.wait_sessions(2)[0], second.wait_sessions(2)[0])
                ] == ["kicked", "kicked"]
        second.stop()
        done = ctl("move", "alice", "node1") # one of them is away: nothing is written, nobody waits
        assert done.returncode == 3 and store.get("alice") == "node2"
        assert where(router, "alice") == "node2"
    finally:
        second.close()
        other_space.close()


# ---- outages ----

def test_MAP_32_a_connection_that_died_is_replaced(pair, store):
    make, nodes = pair
    proxy = stores.FaultProxy(store.target)
    try:
        store.put("alice", "node2")
        store.put("bob", "node2")
        router = make.router(nodes, mapping=store.toml(port=proxy.port))
        assert where(router, "alice") == "node2"
        proxy.cut()
        assert where(router, "bob") == "node2"
        assert router.stats()["store_errors"] == 0
        store.put("carol", "node2")
        proxy.cut_after = 3 # in the middle of the next reply
        assert where(router, "carol") == "node2"
        assert router.stats()["store_errors"] == 0
    finally:
        proxy.close()


def test_MAP_31_a_store_that_swallows(pair, store):
    make, nodes = pair
    proxy = stores.FaultProxy(store.target)
    try:
        store.put("alice", "node2")
        router = make.router(nodes, mapping=store.toml(port=proxy.port, timeout="1s", ttl="1s"))
        wait_push(router)
        assert where(router, "alice") == "node2"
        proxy.blackhole = True
        time.sleep(1.2) # the entry is stale
        start = time.monotonic()
        assert where(router, "alice") == "node2"
        assert 0.5 < time.monotonic() - start < 10
        assert router.stats()["stale_served"] == 1
        proxy.blackhole = False
        proxy.cut()
        wait_until(lambda: where(router, "alice") == "node2" and
                   router.stats()["store_state"] == "up")
    finally:
        proxy.close()


def test_MAP_34_90_stop_and_start(pair, own_store):
    """Known accounts stay on their nodes, whatever the store does; afterwards answers are fresh."""
    make, nodes = pair
    own_store.put("alice", "node2")
    router = make.router(nodes, mapping=own_store.toml(ttl="1s"))
    wait_push(router)
    assert where(router, "alice") == "node2"
    own_store.server.stop()
    time.sleep(1.2)
    for _ in range(3):
        assert where(router, "alice") == "node2"
    assert where(router, "unknown") == "node1"
    stats = router.stats()
    assert stats["store_state"] == "down" and stats["push_state"] == "down"
    assert router.admin("PUT", "/mappings?identifier=x&destination=node2")[0] in (500, 504)
    own_store.server.start()
    wait_push(router)
    if own_store.kind == "redis":
        own_store.put("alice", "node2") # it keeps nothing
    wait_until(lambda: where(router, "unknown2-%f" % time.monotonic()) and
               router.stats()["store_state"] == "up")
    assert where(router, "alice") == "node2"
    down = [line for line in router.lines if "msg=store_lost" in line]
    back = [line for line in router.lines if "msg=store_back" in line]
    assert len(down) == len(back) == 1, down + back


def test_MAP_34_down_at_start(make, own_store):
    nodes = (make.node("node1"), make.node("node2"))
    own_store.put("alice", "node2")
    own_store.server.stop()
    router = make.router(nodes, mapping=own_store.toml())
    assert router.admin("GET", "/readyz")[0] == 503
    assert where(router, "alice") == "node1"
    own_store.server.start()
    if own_store.kind == "redis":
        own_store.put("alice", "node2")
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
    wait_push(router)
    wait_until(lambda: where(router, "alice") == "node2")


def test_MAP_82_one_query_for_200_logins(pair, store):
    make, nodes = pair
    proxy = stores.FaultProxy(store.target)
    try:
        store.put("alice", "node2")
        router = make.router(nodes, mapping=store.toml(port=proxy.port))
        where(router, "warm-up")
        before = router.stats()["store_queries"]
        proxy.delay = 0.5
        threads = [threading.Thread(target=login, args=(router, "alice")) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert router.stats()["store_queries"] == before + 1
        assert {line["node"] for line in router.wait_sessions(201)[1:]} == {"node2"}
    finally:
        proxy.close()


# ---- at the mapping's interface ----

def storm(store, port, count, kind, timeout_ms=5000, pool=16):
    url = "redis://127.0.0.1:%d" % port if store.kind == "redis" else \
        "postgres://postgres@127.0.0.1:%d/%s" % (port, store.name)
    done = subprocess.run([harness.BUILD + "/tests/stores/storm", url, str(pool), str(timeout_ms),
                           str(count), kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    print(store.kind, done.stdout.strip())
    return dict(zip(words[::2], map(int, words[1::2])))


def test_10000_accounts_at_once(store):
    """50 ms away, 16 connections: pipelined, or it would take half a minute."""
    proxy = stores.FaultProxy(store.target)
    try:
        for i in (0, 5000, 9999):
            store.put("user%d" % i, "node2")
        proxy.delay = 0.05
        result = storm(store, proxy.port, 10000, "different")
        assert result["answers"] == result["queries"] == 10000
        assert result["mapped"] == 3 and result["errors"] == 0 and result["ms"] < 5000
        assert proxy.total <= 16
    finally:
        proxy.close()


def test_1000_logins_of_one_account_make_one_query(store):
    store.put("user0", "node2")
    result = storm(store, store.server.port, 1000, "same")
    assert result == dict(result, answers=1000, mapped=1000, queries=1, errors=0)


OUTAGE_S = float(os.environ.get("HOMING_OUTAGE_S",
                                "60" if os.environ.get("HOMING_LONG") == "1" else "15"))


class Logins:
    """Logins of known accounts on a schedule, by a few threads; what failed is kept."""

    def __init__(self, router, users, per_second, threads=8):
        self.router, self.users, self.interval = router, users, threads / per_second
        self.stop, self.failures, self.count, self.began = threading.Event(), [], 0, 0
        self.threads = [threading.Thread(target=self.run, args=(i, threads)) for i in range(threads)]

    def run(self, number, step):
        i, due = number, self.began + self.interval * number / step
        while not self.stop.is_set():
            try:
                with self.router.client(tls=False) as client:
                    client.line()
                    reply = client.command("a LOGIN %s pw" % self.users[i % len(self.users)])[-1]
                    assert reply.startswith("a OK"), reply
            except (OSError, EOFError, AssertionError) as e:
                self.failures.append((time.monotonic() - self.began, e))
            i += step
            self.count += 1
            due += self.interval
            self.stop.wait(max(0, due - time.monotonic()))

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_an_outage_under_200_logins_per_second(make, own_store):
    """Twenty known accounts whose entries expire every second; the store is away for OUTAGE_S, with
    HOMING_LONG=1 a minute. None goes astray, none fails; then answers are fresh."""
    with harness.light_node() as (one, _), harness.light_node() as (two, _):
        two = two.replace("node1", "node2")
        router = make.router([one, two], default="node1", listeners={"imap": "plain"},
                             server='log_accounts = "full"', mapping=own_store.toml(ttl="1s"),
                             extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
        users = ["user%d" % i for i in range(20)]
        for user in users:
            own_store.put(user, "node2")
        if own_store.kind == "redis":
            own_store.server.cli("save") # what it has comes back with it
        wait_push(router)
        for user in users:
            with router.client(tls=False) as client:
                client.line()
                assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
        with Logins(router, users, 200) as logins:
            time.sleep(1.5)
            began, before = time.monotonic(), logins.count
            own_store.server.stop()
            time.sleep(OUTAGE_S)
            rate = (logins.count - before) / (time.monotonic() - began)
            assert router.stats()["store_state"] == "down"
            own_store.server.start()
            back = time.monotonic()
            while not try_put(own_store, "user0", "node1"): # a change counts again
                time.sleep(0.05)
            changed = time.monotonic()
            wait_until(lambda: router.admin("GET", "/mappings?identifier=user0")[1]["destination"] ==
                       "node1" and router.stats()["store_state"] == "up", 15)
            fresh = time.monotonic() - changed
            wait_push(router)
            push = time.monotonic() - back
            time.sleep(1.5)
        router.wait_idle()
        lines = router.session_lines()
        print("%s: %.0f logins per second during an outage of %.0f s, %d in all, %d failed, fresh "
              "%.1f s after the first change, push up %.1f s after the start" % (
                  own_store.kind, rate, OUTAGE_S, logins.count, len(logins.failures), fresh, push))
        assert not logins.failures and rate > 50
        assert {line["node"] for line in lines if line["account"] != "user0"} == {"node2"}
        assert not [line for line in lines if line["route"] == "default"]
        of_user0 = [line["node"] for line in lines if line["account"] == "user0"]
        assert of_user0[-1] == "node1" and of_user0[0] == "node2"
        assert router.stats()["unknown_destination"] == 0
        assert sum(line["route"] == "stale" for line in lines) > 10
        assert lines[-1]["route"] == "mapped"


def try_put(any_store, account, node):
    try:
        any_store.put(account, node)
        return True
    except (AssertionError, subprocess.CalledProcessError): # it is still starting
        return False


# ---- SQLite ----

def test_a_write_survives_a_connection_that_cannot_write(make):
    """Opened while the journal was another user's, as in the moment in which a tool run by root makes it, a
    connection is good for reading alone. It is not kept for the write that comes later."""
    router = make.router([make.node("node1"), make.node("node2")], start=False)
    db = sqlite3.connect(router.db)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("INSERT INTO account_nodes VALUES ('alice', 'node2')")
    db.commit()
    journals = [router.db + "-wal", router.db + "-shm"]
    for path in journals:
        os.chown(path, 0, 0)
        os.chmod(path, 0o644)
    router.start()
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
    for path in journals:
        router.workspace.own(path)
    assert router.admin("PUT", "/mappings?identifier=bob&destination=node2")[0] == 200
    assert db.execute("SELECT node FROM account_nodes WHERE identifier = 'bob'").fetchall() == [
        ("node2",)]
    db.close()
