# SPDX-License-Identifier: Apache-2.0
"""mapping.md rule by rule, where a running router has to show it: what an identifier means on every
way in, stores that are read-only, slow, absent or back, entries that outlive their rows."""

import os
import re
import sqlite3
import threading
import time

import harness
import pytest
import stores
from harness import wait_until
from test_admin_mapping import file_mapping, lock_db, login, rollback_journal, served, unlock_db  # noqa: F401
from test_config import MINIMAL, SQL, check  # noqa: F401
from test_stores import RedisStore, SqlStore


@pytest.fixture
def pair(make):
    return make, (make.node("node1"), make.node("node2"))


def get_mapping(router, identifier):
    status, body, _ = router.admin("GET", "/mappings?identifier=" + identifier)
    assert status == 200, body
    return body


def account_column(router):
    with sqlite3.connect(router.db, timeout=10) as db:
        return [row[0] for row in db.execute("SELECT identifier FROM account_nodes ORDER BY 1")]


# ---- the lookup and identifiers ----

def test_MAP_1_a_lookup_never_fails_a_session(pair):
    """A query that no database can run, from the first login on."""
    make, (node1, _) = pair
    router = make.router(pair[1], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace("SELECT node FROM account_nodes",
                                                       "SELECT node FROM nowhere"))
    router.start()
    for user in ("alice", "bob", "alice"):
        login(router, user)
    assert served(node1) == ["alice", "bob", "alice"]
    assert {line["route"] for line in router.wait_sessions(3)} == {"default"}
    assert router.stats()["store_errors"] == 2


def test_MAP_3_a_row_that_names_the_default_node_is_positive(pair):
    make, nodes = pair
    router = make.router(nodes, mapping_extra='negative_ttl = "0s"\n')
    router.map({"alice": "node1"})
    assert get_mapping(router, "alice")["routed_to_default"] is False
    login(router, "alice")
    got = get_mapping(router, "alice")
    assert (got["source"], got["cached"], got["routed_to_default"]) == ("cache", True, False)
    assert got["expires_in_s"] > 500 # positive_ttl
    login(router, "bob") # no row: negative, which is not kept here
    got = get_mapping(router, "bob")
    assert (got["source"], got["cached"], got["routed_to_default"]) == ("default", False, True)
    assert [line["route"] for line in router.wait_sessions(2)] == ["mapped", "default"]


def test_MAP_11_normalised_before_every_use(pair, workspace):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    post = lambda path: router.admin("POST", path)[1]  # noqa: E731
    put = router.admin("PUT", "/mappings?identifier=ALICE@X&destination=node2")
    assert put[1]["identifier"] == "alice@x" and account_column(router) == ["alice@x"]
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN AlicE@X pw")[-1].startswith("a OK")
        assert router.stats()["cache_entries"] == 1
        assert router.sessions(identifier="aLICE@x")["total"] == 1
        assert get_mapping(router, "alicE@x")["cached"]
        assert post("/connections/kick?identifier=ALICE@x") == {"kicked": 1}
        assert client.eof() == b""
    assert post("/cache/invalidate?identifier=ALICE@X") == {"invalidated": 1}
    assert post("/connections/delay?identifier=Alice@X&seconds=60")["identifier"] == "alice@x"
    waiting = threading.Thread(target=login, args=(router, "alicE@x"))
    waiting.start()
    wait_until(lambda: [s["stage"] for s in router.sessions(identifier="alice@x")["sessions"]] ==
               ["hold"])
    post("/connections/delay?identifier=aLice@X&seconds=0")
    waiting.join()
    assert router.admin("DELETE", "/mappings?identifier=ALICE@X")[1] == {"removed": True}
    assert account_column(router) == []
    with open(router.config, encoding="utf-8") as f:
        rest = f.read()
    mapping = file_mapping(workspace, "ALICE@X node2\n")
    rest = rest[:rest.index("[mapping]")] + mapping + rest[rest.index("[routing]"):]
    router.workspace.write("homing.toml", rest)
    router.restart()
    before = len(served(node2))
    login(router, "alice@x")
    assert served(node2)[before:] == ["alice@x"] # a key of the mapping file


def test_MAP_13_limits_of_the_whole_login(pair):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2"})
    longest = "alice%" + "a" * (1024 - 6)
    with router.client() as client:
        client.line()
        failed = "NO [AUTHENTICATIONFAILED] Authentication failed."
        assert client.command('a LOGIN "%sa" pw' % longest) == ["a " + failed]
        client.send("b LOGIN {9+}\r\nalice%a\nx pw\r\n") # a line end far behind the account
        client.expect("b " + failed)
        assert router.stats()["store_queries"] == 0
        assert client.command('c LOGIN "%s" pw' % longest)[-1].startswith("c OK")
    assert served(node2) == [longest]


def test_MAP_15_no_identifier_is_not_a_bad_one(make):
    """An opaque token names nobody: the default node, no lookup, no account. A name that is no
    identifier is refused."""
    import base64
    tokens = []

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        tag, _, mech, message = conn.line().split(" ")
        tokens.append((mech, base64.b64decode(message)))
        conn.send(tag + " OK in\r\n")
        conn.read()

    node1, node2 = make.node("node1", serve), make.node("node2", serve)
    router = make.router((node1, node2))
    router.map({"alice": "node2", "opaque": "node2"})

    def attempt(client, tag, mech, text):
        message = base64.b64encode(text).decode()
        return client.command("%s AUTHENTICATE %s %s" % (tag, mech, message))[-1]

    with router.client() as client:
        client.line()
        for i, name in enumerate((b'al"ice', b"al ice")):
            line = attempt(client, "x%d" % i, "OAUTHBEARER",
                           b"n,a=%s,\1auth=Bearer opaque\1\1" % name)
            assert line == "x%d NO [AUTHENTICATIONFAILED] Authentication failed." % i
        opaque = b"n,,\1auth=Bearer opaque\1\1"
        assert attempt(client, "a", "OAUTHBEARER", opaque).startswith("a OK")
        assert tokens == [("OAUTHBEARER", opaque)] and len(node1.connections) == 1
        assert router.sessions(destination="node1")["sessions"][0]["account"] is None
    stats = router.stats()
    assert (stats["store_queries"], stats["cache_hits"], stats["cache_entries"]) == (0, 0, 0)
    line = router.wait_sessions(1)[0]
    assert (line["account"], line["node"], line["route"]) == ("-", "node1", "default")
    with router.client() as client: # a name in the message is one
        client.line()
        assert attempt(client, "a", "XOAUTH2", b"user=alice\1auth=Bearer opaque\1\1").startswith("a OK")
    assert len(node2.connections) == 1


def test_MAP_21_22_23_master_logins(pair):
    """Only the account counts; the login goes to the node as it came; an operator names accounts."""
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2"})
    with router.client() as client:
        client.line()
        client.send('a LOGIN "%admin" pw\r\n')
        client.expect("a NO [AUTHENTICATIONFAILED] Authentication failed.")
        assert router.stats()["store_queries"] == 0
        assert client.command('b LOGIN "Alice%" pw')[-1].startswith("b OK") # the node decides
    with router.client() as client:
        client.line()
        assert client.command('a LOGIN "alice%Admin" pw')[-1].startswith("a OK")
        wait_until(lambda: router.sessions(identifier="alice")["total"] == 1) # the last one ended
        assert router.sessions(identifier="alice")["sessions"][0]["account"] == "alice"
        assert router.sessions(identifier="alice%25Admin")["total"] == 0
        assert router.admin("POST", "/connections/kick?identifier=alice%25admin")[1] == {"kicked": 0}
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 1}
        assert client.eof() == b""
    assert served(node2) == ["Alice%", "alice%Admin"] and served(node1) == []
    assert router.stats()["cache_entries"] == 1
    accounts = [line["account"] for line in router.wait_sessions(2)]
    assert len(set(accounts)) == 1 and accounts[0].startswith("al***#")
    router.admin("POST", "/connections/delay?identifier=alice&seconds=60")
    held = threading.Thread(target=login, args=(router, '"alice%admin"'))
    held.start()
    wait_until(lambda: [s["stage"] for s in router.sessions(identifier="alice")["sessions"]] == ["hold"])
    router.admin("POST", "/connections/delay?identifier=alice&seconds=0")
    held.join()
    got = get_mapping(router, "alice%25admin")
    assert (got["normalized"], got["destination"]) == ("alice%admin", "node1")


def test_MAP_24_SES_33_the_authzid_names_the_account(pair):
    """Routed and logged by the account that is asked for, replayed unchanged; never by two accounts."""
    import base64
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2", "admin": "node1"})

    def attempt(client, tag, *fields):
        message = base64.b64encode("\0".join(fields).encode()).decode()
        return client.command("%s AUTHENTICATE PLAIN %s" % (tag, message))[-1]

    with router.client() as client:
        client.line()
        assert attempt(client, "a", "bob", "alice%admin", "pw").startswith(
            "a NO [AUTHENTICATIONFAILED]")
        assert attempt(client, "b", "admin", "alice%admin", "pw").startswith("b NO")
        assert router.stats()["store_queries"] == 0
        assert attempt(client, "c", "ALICE", "alice%admin", "pw").startswith("c OK")
    with router.client() as client:
        client.line()
        assert attempt(client, "a", "al ice", "admin", "pw").startswith("a NO")
        assert attempt(client, "b", "Alice", "admin", "pw").startswith("b OK")
        wait_until(lambda: router.sessions(identifier="alice")["total"] == 1) # the last one ended
        sessions = router.sessions(identifier="alice")["sessions"]
        assert [s["node"] for s in sessions] == ["node2"]
        router.admin("POST", "/connections/kick?identifier=alice")
        client.eof()
    assert served(node2) == ["alice%admin", "admin"] and served(node1) == []
    assert len({line["account"] for line in router.wait_sessions(2)}) == 1


# ---- stores ----

def test_MAP_30_35_writes_are_confirmed_and_then_seen(pair):
    """A write waits for the lock that another process holds, and the old entry counts until then."""
    make, (node1, node2) = pair
    router = make.router((node1, node2), mapping_extra='lookup_timeout = "20s"\n')
    router.map({"alice": "node1"})
    login(router, "alice")
    db = sqlite3.connect(router.db, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN IMMEDIATE")
    answers = []
    writers = [threading.Thread(target=lambda n=n: answers.append(router.admin(
        "PUT", "/mappings?identifier=alice&destination=node%d" % n)[0])) for n in (2, 1, 2)]
    for writer in writers:
        writer.start()
    login(router, "alice") # from the cache: the write has not happened
    assert not answers and served(node2) == [] and get_mapping(router, "alice")["source"] == "cache"
    db.execute("ROLLBACK")
    db.close()
    for writer in writers:
        writer.join()
    assert answers == [200, 200, 200]
    assert not get_mapping(router, "alice")["cached"] # removed by the write
    node = get_mapping(router, "alice")["destination"]
    login(router, "alice")
    assert router.wait_sessions(3)[-1]["node"] == node


def test_MAP_35_a_store_without_write_queries_answers_501(pair):
    make, nodes = pair
    router = make.router(nodes, start=False)
    with open(router.config, encoding="utf-8") as f:
        lines = [line for line in f if not line.startswith(("upsert_query", "delete_query"))]
    router.workspace.write("homing.toml", "".join(lines))
    router.map({"alice": "node2"})
    router.start()
    refusal = (501, {"error": "mapping store is read-only"})
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node1")[:2] == refusal
    assert router.admin("DELETE", "/mappings?identifier=alice")[:2] == refusal
    assert router.admin("PUT", "/mappings?identifier=alice&destination=ghost")[0] == 400 # comes first
    login(router, "alice")
    assert router.wait_sessions(1)[0]["node"] == "node2"


def test_MAP_41_42_findings_of_the_mapping_file(check):  # noqa: F811
    lower = MINIMAL.replace('source = "file"', 'source = "file"\nnormalize = "lowercase"')
    check.workspace.write("accounts", 'ok node1\nbad"name node1\n%s node1\nx ghost\n' % ("y" * 321))
    err = check.errors(lower)
    assert re.search(r"accounts:2:1: error: .*not a valid identifier", err)
    assert re.search(r"accounts:3:1: error: .*not a valid identifier", err)
    assert re.search(r'accounts:4:1: error: .*"ghost" is not declared', err)
    assert "3 error(s), 0 warning(s)" in err
    two = lower + '[destination.node2]\nhost = "127.0.0.1"\nallow_plaintext_auth = true\n' \
        '[destination.node2.protocol.imap]\nport = 1144\ntls = "plain"\n'
    check.workspace.write("accounts", "alice node1\nbob node2\nALICE node2\nbob node2\n")
    err = check.ok(two).stderr
    assert re.search(r"accounts:3:1: warning: .*line 1\b", err), err
    assert err.endswith("0 error(s), 1 warning(s)\n")


def test_MAP_41_a_node_that_lacks_a_listened_protocol(check):  # noqa: F811
    """A warning, not more: the node may get its leg later, and an operator may write such a row."""
    text = MINIMAL + '[destination.node2]\nhost = "127.0.0.1"\nallow_plaintext_auth = true\n' \
        '[destination.node2.protocol.pop3]\nport = 1110\ntls = "plain"\n'
    check.workspace.write("accounts", "# pop3 only\nalice node2\nbob node1\ncarol node2\n")
    err = check.ok(text).stderr
    assert re.search(r'accounts:2:1: warning: .*"node2" declares no imap', err), err
    assert err.count("declares no imap") == 1 and "0 error(s), 1 warning(s)" in err


def test_MAP_42_the_later_line_wins(pair, workspace):
    make, (node1, node2) = pair
    router = make.router((node1, node2), mapping=file_mapping(
        workspace, "alice node1\nbob node1\nALICE node2\n"))
    login(router, "alice")
    assert served(node2) == ["alice"]
    assert router.admin("POST", "/mappings/reload")[1] == {"reloaded": True, "entries": 2}
    line = [x for x in router.log().splitlines() if "msg=mapping_file" in x][-1]
    assert "level=warn" in line and "line=3" in line and "line 1" in line


@pytest.fixture(scope="module")
def postgres():
    server = stores.Postgres()
    yield server
    server.close()


def names_of_clients(postgres, store):
    return postgres.try_sql(store.name, "SELECT string_agg(DISTINCT application_name, ',') FROM "
                            "pg_stat_activity WHERE datname = '%s' AND pid <> pg_backend_pid()" %
                            store.name)


@pytest.mark.parametrize("given,seen", [("", "homingd"), ("?application_name=mine", "mine")])
def test_MAP_51_name_at_the_server(pair, postgres, given, seen):
    make, nodes = pair
    store = SqlStore(postgres)
    router = make.router(nodes, mapping=store.toml().replace(store.name + '"', store.name + given + '"'))
    login(router, "alice")
    wait_until(lambda: names_of_clients(postgres, store) == seen, 10)


def test_MAP_51_a_connect_that_hangs_is_given_up(pair, postgres):
    """The server takes the connection and says nothing. As a connect_timeout of lookup_timeout would."""
    make, (node1, node2) = pair
    store = SqlStore(postgres)
    store.put("alice", "node2")
    proxy = stores.FaultProxy(store.target)
    proxy.blackhole = True
    try:
        router = make.router((node1, node2), mapping=store.toml(port=proxy.port, timeout="1s"))
        login(router, "alice")
        assert served(node1) == ["alice"]
        wait_until(lambda: proxy.total > 2 and len(proxy.pairs) < proxy.total, 15) # hung up, tried anew
        proxy.blackhole = False
        wait_until(lambda: login(router, "new%f" % time.monotonic()) and
                   router.admin("GET", "/readyz")[0] == 200)
    finally:
        proxy.close()


def open_mode(router):
    """How the router has its database open: set of O_ACCMODE values."""
    base, modes = "/proc/%d/" % router.process.pid, set()
    for fd in os.listdir(base + "fd"):
        try:
            if os.readlink(base + "fd/" + fd) != router.db:
                continue
            with open(base + "fdinfo/" + fd, encoding="ascii") as f:
                modes.add(int(re.search(r"^flags:\s*(\d+)", f.read(), re.M).group(1), 8) & 3)
        except FileNotFoundError:
            continue
    return modes


@pytest.mark.parametrize("case", ["writable", "no write queries", "one write query", "mode=ro"])
def test_MAP_60_how_sqlite_is_opened(pair, case):
    make, (node1, node2) = pair
    router = make.router((node1, node2), start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    gone = {"no write queries": ("upsert_query", "delete_query"), "one write query": ("delete_query",)}
    if case in gone:
        text = "".join(line for line in text.splitlines(True) if not line.startswith(gone[case]))
    elif case == "mode=ro":
        text = text.replace('mapping.sqlite"', 'mapping.sqlite?mode=ro"')
    router.workspace.write("homing.toml", text)
    router.map({"alice": "node2"})
    router.start()
    login(router, "alice")
    assert served(node2) == ["alice"]
    writable = case == "writable"
    assert open_mode(router) == {os.O_RDWR if writable else os.O_RDONLY}
    assert router.admin("PUT", "/mappings?identifier=x&destination=node2")[0] == \
        (200 if writable else 501)
    if case in ("mode=ro", "one write query"):
        assert re.search("warning: .*read-only", router.log())


def test_MAP_60_never_created_never_relative(pair, check):  # noqa: F811
    make, (node1, _) = pair
    router = make.router(pair[1], start=False)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(router.db + suffix):
            os.unlink(router.db + suffix)
    router.start()
    login(router, "alice")
    assert router.admin("PUT", "/mappings?identifier=x&destination=node2")[0] == 500
    assert served(node1) == ["alice"] and not os.path.exists(router.db)
    query = 'query = "SELECT n FROM t WHERE i = ?"'
    check.errors(SQL % ('url = "sqlite://a/b.db"\n' + query), "absolute path")
    check.ok(SQL % ('url = "sqlite:///a/b.db"\n' + query))


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
