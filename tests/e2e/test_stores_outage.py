# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and Redis away, at a distance, and under many lookups at once."""

import os
import sqlite3
import subprocess
import threading
import time

import harness
import stores
from crowds import Logins
from harness import wait_until
from mapping_stores import SqlStore, login, own_store, postgres, store, wait_push, where  # noqa: F401


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


def askers(url, count, threads=4, timeout_ms=3000, pool=4):
    """The program, running."""
    return subprocess.Popen([harness.BUILD + "/tests/stores/askers", url, str(pool), str(timeout_ms),
                             str(count), str(threads)], stdout=subprocess.PIPE, text=True)


def came_back(process):
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 0, out
    print(out.strip())
    words = out.split()
    return dict(zip(words[::2], map(int, words[1::2])))


def spread(store, count):
    """Even ones on node1, odd ones on node2."""
    if store.kind == "redis":
        for first in range(0, count, 2000):
            some = range(first, min(first + 2000, count))
            store.server.cli("mset", *[word for i in some for word in
                                       ("route:user%d" % i, "node%d" % (i % 2 + 1))])
        return
    assert store.server.try_sql(store.name, "INSERT INTO account_nodes SELECT 'user' || i, 'node' || "
                                "(i %% 2 + 1) FROM generate_series(0, %d) i" % (count - 1))


def url_of(store, port):
    return "redis://127.0.0.1:%d" % port if store.kind == "redis" else \
        "postgres://postgres@127.0.0.1:%d/%s" % (port, store.name)


def test_MAP_36_threads_ask_while_connections_break(store):
    """Each of those that ask sends on connections that go away under it, in the middle of replies too.
    Every lookup is answered once, none with another's node; a query is asked twice at most."""
    count = 20000
    spread(store, count)
    proxy = stores.FaultProxy(store.target)
    process = askers(url_of(store, proxy.port), count)
    try:
        number = 0
        while process.poll() is None:
            time.sleep(0.05)
            number += 1
            if number % 3 == 0:
                proxy.cut()
            elif proxy.cut_after is None:
                proxy.cut_after = 40
        result = came_back(process)
    finally:
        process.kill()
        proxy.close()
    assert result["answers"] == count and not result["wrong"] and not result["twice"]
    assert result["mapped"] + result["errors"] == count and result["mapped"]


def test_MAP_36_threads_ask_a_server_that_ends_some(postgres):  # noqa: F811
    """Backends that end are errors of the queries that they were at."""
    store, count = SqlStore(postgres), 20000
    spread(store, count)
    process = askers(url_of(store, postgres.port), count)
    try:
        while process.poll() is None:
            postgres.try_sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                             "WHERE datname = '%s' AND random() < 0.5" % store.name)
            time.sleep(0.1)
        result = came_back(process)
    finally:
        process.kill()
    assert result["answers"] == count and not result["wrong"] and not result["twice"]
    assert result["mapped"] + result["errors"] == count and result["mapped"]


def test_MAP_36_54_one_in_ten_fails(postgres):  # noqa: F811
    """Pipelined with others, and an error of its own."""
    store, count = SqlStore(postgres), 5000
    spread(store, count)
    assert postgres.try_sql(
        store.name, "ALTER TABLE account_nodes RENAME TO assigned; CREATE VIEW account_nodes AS SELECT "
        "identifier, CASE WHEN identifier ~ '7$' THEN (1 / (length(node) - 5))::text ELSE node END "
        "AS node FROM assigned")
    result = came_back(askers(url_of(store, postgres.port), count))
    assert result == dict(result, answers=count, wrong=0, twice=0, errors=count / 10,
                          mapped=count - count / 10)


def test_MAP_36_threads_ask_through_a_pooler(postgres):  # noqa: F811
    store, count = SqlStore(postgres), 5000
    spread(store, count)
    pooler = stores.Pgbouncer(postgres, store.name, "transaction")
    try:
        result = came_back(askers(url_of(store, pooler.port), count))
    finally:
        pooler.close()
    assert result == dict(result, answers=count, mapped=count, wrong=0, twice=0, errors=0)


OUTAGE_S = float(os.environ.get("HOMING_OUTAGE_S",
                                "60" if os.environ.get("HOMING_LONG") == "1" else "15"))


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
