# SPDX-License-Identifier: Apache-2.0
"""What must hold whatever happens: no message that was acknowledged is lost while its node is drained,
an account is on one node from all routers, a crowd makes one query, a flood on the admin port stops
nobody. (test_stores.py has the store's outage and 200 moves.)"""

import asyncio
import contextlib
import subprocess
import threading
import time

import harness
import pytest
import stores
from crowds import Crowd
from harness import wait_until
from legs import told_of
from mailcrowd import MailClient, MailNode, SubmitClient
from mapping_stores import SqlStore, login, postgres, put_all_sql, store, wait_push  # noqa: F401

PLAIN = "".join("[capabilities.%s]\nallow_plain_auth_without_tls = true\n" % protocol
                for protocol in ("imap", "submission"))


# ---- drain under load ----

async def drain_under_load(workspace, make_router, store, sessions, tls): # noqa: F811
    nodes = [MailNode(name, workspace.certificate(name, [name + ".test"]) if tls == "implicit" else None)
             for name in ("node1", "node2", "node3")]
    for node in nodes:
        await node.start()
    routers = await asyncio.to_thread(make_router, [node.toml() for node in nodes])
    kinds = (("imap", MailClient), ("submission", SubmitClient))
    contexts = [router.tls_context() if tls == "implicit" else None for router in routers]
    clients = [kind("user%03d" % i, routers[i // 2 % 2].ports[protocol], contexts[i // 2 % 2])
               for i in range(sessions) for protocol, kind in kinds[i % 2:i % 2 + 1]]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    deadline = time.monotonic() + 60
    while not all(client.acked for client in clients):
        assert time.monotonic() < deadline, sum(bool(client.acked) for client in clients)
        await asyncio.sleep(0.1)
    assert nodes[0].live == sessions and {node for c in clients for _, node in c.acked} == {"node1"}
    words = [harness.BUILD + "/homingctl", "--insecure", "--token-file", workspace.path + "/token"]
    for router in routers:
        words += ["--url", "https://localhost:%d" % router.ports["admin"]]
    began = time.monotonic()
    done = await asyncio.to_thread(lambda: subprocess.run(
        words + ["drain", "node1", "--rate", "100"], capture_output=True, text=True, timeout=150,
        check=False))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "node1: %d moved, 0 failed, 0 left, 0 sessions left\n" % sessions
    rows = {client.account: await asyncio.to_thread(store.get, client.account)
            for client in clients[::25]}
    marks = {client: len(client.acked) for client in clients}
    deadline = time.monotonic() + 60 # every one of them is served by its new node
    while not all(len(client.acked) > marks[client] + 1 for client in clients):
        assert time.monotonic() < deadline, "clients that never came back"
        await asyncio.sleep(0.1)
    assert nodes[0].live == 0
    for client in clients:
        client.stop = True
    await asyncio.gather(*tasks)
    for node in nodes:
        await node.stop()
    return nodes, clients, rows, took


@pytest.mark.parametrize("tls, mode, path, sessions", [
    ("plain", "auto", "sockmap", 500), ("implicit", "auto", "record", 200),
    ("implicit", "copy", "copy", 200)])
def test_drain_loses_no_message_that_was_acknowledged(make, workspace, postgres, tls, mode, path, # noqa: F811
                                                      sessions):
    """500 clients on two routers append and submit mail all the time while their node is drained (200
    with TLS)."""
    mapping = SqlStore(postgres)
    put_all_sql(mapping, {"user%03d" % i: "node1" for i in range(sessions)})
    space = harness.Workspace("homing-test-")
    routers, second = [], []

    def make_router(destinations):
        arguments = {"default": "node2", "mapping": mapping.toml(),
                     "extra": PLAIN + '[splice]\nmode = "%s"\n' % mode,
                     "listeners": {"imap": tls, "submission": (tls, "", "submission")}}
        routers.append(make.router(destinations, **arguments))
        second.append(harness.Router(space, destinations, **arguments).start())
        routers.append(second[0])
        return routers

    try:
        nodes, clients, rows, took = asyncio.run(
            drain_under_load(workspace, make_router, mapping, sessions, tls))
        for router in routers: # the node that was drained had them on this path
            seen = {line["path_up"] for line in router.session_lines() if line["node"] == "node1"}
            assert path in seen and seen <= told_of(path) | {"-"}, seen
    finally:
        for router in second:
            router.close()
        space.close()
    by_name = {node.name: node for node in nodes}
    acked = unknown = cuts = 0
    for client in clients:
        on_old = [node == "node1" for _, node in client.acked]
        for number, node in client.acked: # it is where it was acknowledged
            assert number in by_name[node].mail[client.account], (client.account, number, node)
        assert on_old == sorted(on_old, reverse=True), client.account # never back to the old node
        new = {node for _, node in client.acked[on_old.count(True):]}
        assert len(new) == 1 and new < {"node2", "node3"}, (client.account, new)
        assert rows.get(client.account, *new) in new
        assert client.cuts == 1 and client.refused == 0, (client.account, client.cuts)
        assert not client.late_ok
        numbers = {number for number, _ in client.acked}
        assert not numbers & set(client.unknown)
        assert numbers | set(client.unknown) == set(range(1, client.number + 1))
        acked, unknown, cuts = acked + len(numbers), unknown + len(client.unknown), cuts + client.cuts
    kept = sum(number in by_name["node1"].mail[client.account]
               for client in clients for number in client.unknown)
    print("%d accounts drained in %.1f s (%.0f/s), %d messages acknowledged, %d under way when cut, "
          "of which the node has %d" % (sessions, took, sessions / took, acked, unknown, kept))
    assert acked > 3 * sessions and unknown <= cuts == sessions


# ---- one node for an account, from every router ----

def test_locality_with_two_routers_before_and_after_a_move(make, store): # noqa: F811
    """Read at the nodes: all of an account's sessions, from both routers, are on one node."""
    nodes = (make.node("node1"), make.node("node2"))
    router = make.router(nodes, mapping=store.toml())
    space = harness.Workspace("homing-test-")
    second = harness.Router(space, [node.toml() for node in nodes], "node1",
                            mapping=store.toml()).start()
    users = ["user%d" % i for i in range(8)]

    def users_by_node(since):
        return [{conn.user for conn in node.connections[count:] if hasattr(conn, "user")}
                for node, count in zip(nodes, since)]

    def log_everybody_in():
        since = [len(node.connections) for node in nodes]
        threads = [threading.Thread(target=login, args=(target, user))
                   for user in users for target in (router, second) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return users_by_node(since)

    try:
        for i, user in enumerate(users):
            store.put(user, ("node1", "node2")[i % 2])
        for target in (router, second):
            wait_push(target)
        even, odd = set(users[::2]), set(users[1::2])
        assert log_everybody_in() == [even, odd]
        words = [harness.BUILD + "/homingctl", "--insecure", "--token-file",
                 router.workspace.path + "/token"]
        for target in (router, second):
            words += ["--url", "https://localhost:%d" % target.ports["admin"]]
        for user in users[:4]: # change sides
            node = "node2" if user in even else "node1"
            subprocess.run(words + ["move", user, node], check=True, capture_output=True, timeout=60)
        wanted = [(even - set(users[:4])) | {users[1], users[3]},
                  (odd - set(users[:4])) | {users[0], users[2]}]
        for _ in range(3):
            assert log_everybody_in() == wanted
    finally:
        second.close()
        space.close()


# ---- crowds ----

def test_1000_logins_at_once_of_an_unknown_account_make_one_query(make, store): # noqa: F811
    proxy = stores.FaultProxy(store.target)
    with harness.light_node() as (node, name):
        try:
            router = make.router([node], default=name, mapping=store.toml(port=proxy.port),
                                 listeners={"imap": "plain"}, extra=PLAIN)
            wait_push(router)
            assert router.admin("GET", "/mappings?identifier=warm-up")[0] == 200
            crowd = Crowd(router, 1000)
            try:
                assert all(line.startswith(b"* OK") for line in crowd.lines())
                before = router.stats()
                proxy.delay = 2.0
                crowd.say(b"a LOGIN nobody@example.com pw\r\n")
                assert all(line.startswith(b"a OK") for line in crowd.lines())
                after = router.stats()
            finally:
                crowd.close()
            assert after["store_queries"] == before["store_queries"] + 1
            assert after["cache_misses"] == before["cache_misses"] + 1
            assert after["cache_coalesced"] + after["cache_hits"] == \
                before["cache_coalesced"] + before["cache_hits"] + 999
            assert after["store_errors"] == 0
        finally:
            proxy.delay = 0.0
            proxy.close()


# ---- a flood on the admin port ----

@pytest.mark.parametrize("how", ["silent", "half a head", "half a handshake"])
def test_thousands_of_half_open_admin_connections(make, how):
    """They come from one address; others are answered, and mail goes on."""
    node = make.node("node1")
    router = make.router([node], rlimit_nofile=20000)
    stop, count, socks = threading.Event(), [0], []
    context = router.tls_context()

    def one():
        sock = router.connect("admin", source="127.0.0.66")
        socks.append(sock)
        if how == "half a head":
            sock.settimeout(5)
            sock = context.wrap_socket(sock, server_hostname="localhost")
            socks[-1] = sock
            sock.sendall(b"GET /stats HTTP/1.1\r\nHost: x\r\n")
        elif how == "half a handshake":
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    def flood():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                one()
            count[0] += 1
            while len(socks) > 1500: # the router has closed these long ago
                socks.pop(0).close()
            time.sleep(0)

    threads = [threading.Thread(target=flood) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        target = 4000 if how != "half a head" else 1000 # these cost a handshake
        slowest = answered = 0
        while count[0] < target or answered < 20:
            began = time.monotonic()
            status, body, _ = router.admin("GET", "/healthz", token=None, source="127.0.0.77")
            assert (status, body) == (200, {"status": "ok"})
            login(router, "alice")
            slowest = max(slowest, time.monotonic() - began)
            answered += 1
        assert router.admin("GET", "/stats", source="127.0.0.78")[0] == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for sock in socks:
            sock.close()
    print("%s: %d connections, %d answers and logins meanwhile, the slowest pair %.0f ms" % (
        how, count[0], answered, 1000 * slowest))
    # Nothing of it stays: the flooding address is served again.
    wait_until(lambda: answers_again(router), 15, 0.2)


def answers_again(router):
    with contextlib.suppress(OSError):
        return router.admin("GET", "/healthz", token=None, source="127.0.0.66")[0] == 200
    return False
