# SPDX-License-Identifier: Apache-2.0
"""Changes in PostgreSQL and Redis that count at once: what their channels tell, with two routers too."""

import statistics
import subprocess
import time

import harness
import stores
from harness import wait_until
from mapping_stores import (NO_TRACKING, RedisStore, SqlStore, login, postgres, store,  # noqa: F401
                            wait_push, where)
from stores import Balancer


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
