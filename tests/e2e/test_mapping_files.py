# SPDX-License-Identifier: Apache-2.0
"""mapping.md: SQLite and the mapping file, which others change too; how connections to stores are opened."""

import os
import re
import sqlite3
import threading
import time

import pytest
import stores
from config_check import MINIMAL, SQL, check  # noqa: F401
from harness import wait_until
from logins import login, served
from mapping_stores import SqlStore, file_mapping, get_mapping, postgres  # noqa: F401


# ---- SQLite ----

def test_MAP_63_change_by_another_process(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"alice": "node1"})
    login(router, "alice")
    router.map({"alice": "node2"})
    wait_until(lambda: router.stats()["flushes"] >= 1)
    login(router, "alice")
    assert served(node2) == ["alice"]


# ---- file store ----

def test_MAP_40_43_44_file_store(pair, workspace):
    make, (node1, node2) = pair
    mapping = file_mapping(workspace, "# comment\n\nBob@x \t node2  # two\r\ncarol@x node1\n")
    os.chmod(workspace.path, 0o755)
    router = make.router([node1, node2], mapping=mapping)
    login(router, "bob@x")
    assert served(node2) == ["bob@x"]
    assert router.admin("PUT", "/mappings?identifier=alice@example.com&destination=node2")[0] == 200
    with open(workspace.path + "/accounts", encoding="utf-8") as f:
        assert f.read() == "alice@example.com\tnode2\nbob@x\tnode2\ncarol@x\tnode1\n"
    assert os.stat(workspace.path + "/accounts").st_mode & 0o777 == 0o640
    login(router, "alice@example.com")
    assert router.admin("DELETE", "/mappings?identifier=bob@x")[1] == {"removed": True}
    assert router.admin("DELETE", "/mappings?identifier=bob@x")[1] == {"removed": False}
    file_mapping(workspace, "carol@x node2\n")
    assert router.admin("POST", "/mappings/reload")[1] == {"reloaded": True, "entries": 1}
    login(router, "carol@x")
    assert served(node2)[-1] == "carol@x"
    file_mapping(workspace, "carol@x ghost\n")
    status, body, _ = router.admin("POST", "/mappings/reload")
    assert status == 500 and body["error"] == "reload failed"
    login(router, "carol@x")
    assert served(node2)[-1] == "carol@x"


def test_MAP_43_failed_write_changes_nothing(pair, workspace):
    make, (node1, node2) = pair
    directory = workspace.mkdir("readonly")
    mapping = file_mapping(workspace, "").replace('"accounts"', '"readonly/accounts"')
    workspace.write("readonly/accounts", "alice node2\n")
    os.chmod(directory, 0o555)
    if os.geteuid() == 0:
        os.chown(directory, 0, 0)
    router = make.router([node1, node2], mapping=mapping)
    status, body, _ = router.admin("PUT", "/mappings?identifier=alice&destination=node1")
    assert (status, body["error"]) == (500, "store write failed")
    assert "Permission denied" in body["store_error"]
    login(router, "alice")
    assert served(node2) == ["alice"]
    os.chmod(directory, 0o755)


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
