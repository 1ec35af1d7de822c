# SPDX-License-Identifier: Apache-2.0
"""Stores that cannot work: a reload does not go to one, a query that the server refuses is told in its
words, a write that fails is no outage."""

import os
import re
import signal
import subprocess
import threading
import time

import harness
import pytest
import stores
from harness import wait_until
from http_nodes import basic, http, refused  # noqa: F401
from logins import served
from mail_dialogue import attempt, node_toml
from mailnodes import PROTOCOLS, speak
from mapping_stores import RedisStore, SqlStore, login, postgres, wait_push, where  # noqa: F401

QUERY = "SELECT node FROM account_nodes WHERE identifier = $1"


def edit(router, before, after):
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    assert before in text
    router.workspace.write("homing.toml", text.replace(before, after))


def reload(router, query=""):
    status, body, _ = router.admin("POST", "/config/reload" + query)
    return status, " ".join(body.get("errors", []))


@pytest.mark.parametrize("url, said", [
    ("postgres://postgres@127.0.0.1:1/mail", "Connection refused"),
    ("postgres://postgres@127.0.0.1:%(port)d/nowhere", 'database "nowhere" does not exist'),
    ("postgres://postgres@127.0.0.1:%(port)d/postgres", 'relation "account_nodes" does not exist'),
    ("sqlite:///nowhere/a.db", "/nowhere/a.db: unable to open database file: No such file"),
])
def test_CFG_50_a_reload_onto_a_store_that_cannot_answer(pair, postgres, url, said):  # noqa: F811
    make, (node1, node2) = pair
    store = SqlStore(postgres)
    store.put("alice", "node2")
    router = make.router((node1, node2), mapping=store.toml())
    wait_push(router)
    login(router, "alice")
    old = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, store.name)
    edit(router, old, url % {"port": postgres.port} if "%(" in url else url)
    if url.startswith("sqlite"):
        edit(router, "pool_size = 4", "")
    status, errors = reload(router)
    assert status == 400 and said in errors, errors
    assert reload(router, "?dry_run=true")[0] == 400 # it says the same
    stats = router.stats()
    assert (stats["cache_entries"], stats["store_state"], stats["config_generation"]) == (1, "up", 1)
    store.put("bob", "node2")
    login(router, "alice"), login(router, "bob")
    assert served(node2) == ["alice", "alice", "bob"]
    os.kill(router.process.pid, signal.SIGHUP)
    router.wait_line(lambda line: "msg=reload " in line and "ok=false" in line)
    assert said.split(":")[0].split('"')[0] in router.log()
    assert reload(router, "?force=maybe")[0] == 400
    assert reload(router, "?force=true")[0] == 200 # whoever insists
    login(router, "alice")
    assert served(node1) == ["alice"] and router.stats()["store_state"] == "down"


def test_CFG_50_a_store_that_says_nothing_holds_up_nobody(pair):
    """The new store swallows the question: until lookup_timeout everything goes on, then 400."""
    make, (node1, node2) = pair
    redis, deaf = RedisStore(), RedisStore()
    proxy = stores.FaultProxy(deaf.target)
    proxy.blackhole = True
    try:
        redis.put("alice", "node2")
        router = make.router((node1, node2), mapping=redis.toml(timeout="2s"))
        edit(router, ":%d\"" % redis.server.port, ":%d\"" % proxy.port)
        got = []
        thread = threading.Thread(target=lambda: got.append(reload(router)))
        thread.start()
        wait_until(lambda: proxy.total)
        begin = time.monotonic()
        login(router, "alice") # a miss, answered by the control thread
        assert router.admin("GET", "/healthz")[0] == 200
        assert not got and time.monotonic() - begin < 2
        thread.join()
        # the question's time or the connection's, whichever is noticed first
        assert got[0][0] == 400 and re.search("within lookup_timeout|no answer in time", got[0][1])
        assert served(node2) == ["alice"]
        proxy.blackhole = False
        proxy.cut()
        assert reload(router)[0] == 200
    finally:
        proxy.close()
        deaf.close()
        redis.close()


def test_CFG_50_stopping_while_a_store_is_asked(pair):
    make, nodes = pair
    redis = RedisStore()
    proxy = stores.FaultProxy(redis.target)
    proxy.blackhole = True
    try:
        router = make.router(nodes, mapping=redis.toml(timeout="30s"))
        edit(router, ":%d\"" % redis.server.port, ":%d\"" % proxy.port)
        os.kill(router.process.pid, signal.SIGHUP)
        wait_until(lambda: proxy.total)
    finally:
        router.close() # checks how it ends
        proxy.close()
        redis.close()


def test_CFG_50_other_settings_ask_no_store(pair):
    """A reload that leaves the store as it is goes through while that is away."""
    make, nodes = pair
    redis = RedisStore()
    try:
        router = make.router(nodes, mapping=redis.toml(timeout="1s"))
        redis.server.stop()
        edit(router, 'negative_ttl = "30s"', 'negative_ttl = "20s"')
        assert reload(router)[0] == 200
    finally:
        redis.close()


def test_MAP_54_the_question_assigns_nothing(pair, postgres):  # noqa: F811
    make, nodes = pair
    store = SqlStore(postgres)
    assert postgres.try_sql(store.name, """CREATE FUNCTION assign(a text) RETURNS text LANGUAGE sql AS
        $$ INSERT INTO account_nodes VALUES (a, 'node2') RETURNING node $$""")
    router = make.router(nodes, mapping=store.toml().replace(QUERY, "SELECT assign($1)"))
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
    assert where(router, "fresh") == "node2"
    assert postgres.try_sql(store.name, "SELECT string_agg(identifier, ',') FROM account_nodes") == "fresh"


def test_OPS_14_a_refused_query_in_readyz(pair, postgres):  # noqa: F811
    """No table, then no right to read it, then all is well; and lost again."""
    make, nodes = pair
    store = SqlStore(postgres)
    name = "homing%d" % postgres.databases
    assert postgres.try_sql(store.name, "ALTER TABLE account_nodes RENAME TO away; CREATE ROLE %s LOGIN" %
                            name)
    router = make.router(nodes, mapping=store.toml(extra="").replace("postgres@", name + "@"))

    def ready():
        status, body, _ = router.admin("GET", "/readyz", token=None)
        return status, body.get("store_error")

    wait_until(lambda: 'relation "account_nodes" does not exist' in (ready()[1] or ""))
    assert ready()[0] == 503
    assert postgres.try_sql(store.name, "ALTER TABLE away RENAME TO account_nodes")
    wait_until(lambda: "permission denied for table account_nodes (SQLSTATE 42501)" in (ready()[1] or ""))
    assert postgres.try_sql(store.name, "GRANT SELECT ON account_nodes TO " + name)
    wait_until(lambda: ready() == (200, None))
    assert postgres.try_sql(store.name, "REVOKE SELECT ON account_nodes FROM " + name)
    assert where(router, "carol") == "node1"
    status, text = ready()
    assert status == 503 and "permission denied" in text and "carol" not in text


def test_MAP_90_a_failed_write_is_no_outage(pair, postgres):  # noqa: F811
    make, nodes = pair
    store = SqlStore(postgres)
    store.put("alice", "node2")
    assert postgres.try_sql(store.name, "ALTER TABLE account_nodes ADD CHECK (identifier <> 'nobody')")
    router = make.router(nodes, mapping=store.toml(ttl="0s").replace(
        "DELETE FROM account_nodes", "DELETE FROM no_such_table"))
    assert where(router, "alice") == "node2"
    status, body, _ = router.admin("PUT", "/mappings?identifier=nobody&destination=node2")
    assert status == 500 and 'violates check constraint' in body["store_error"]
    done = router.ctl("map", "del", "alice")
    assert done.returncode == 1 and 'relation "no_such_table" does not exist' in done.stderr
    stats = router.stats()
    assert (stats["store_state"], stats["store_errors"]) == ("up", 0)
    assert where(router, "alice") == "node2"
    assert "msg=store_lost" not in router.log()


def test_OPS_14_sqlite_says_which_file(pair):
    make, nodes = pair
    router = make.router(nodes, start=False)
    edit(router, "FROM account_nodes WHERE", "FROM nowhere WHERE")
    router.start()
    line = router.wait_line(lambda text: "msg=store_lost" in text)
    assert router.db in line and "no such table: nowhere" in line
    assert router.admin("GET", "/readyz")[1]["store_error"].endswith("no such table: nowhere")


def test_CFG_50_homingctl_reload_force(pair):
    make, nodes = pair
    redis = RedisStore()
    try:
        router = make.router(nodes, mapping=redis.toml(timeout="1s"))
        edit(router, ":%d\"" % redis.server.port, ":%d\"" % harness.free_port())
        done = router.ctl("reload")
        assert done.returncode != 0 and "the store cannot answer: redis" in done.stderr
        done = router.ctl("reload", "--force")
        assert done.returncode == 0 and "reloaded" in done.stdout
    finally:
        redis.close()


UNAVAILABLE = 'on_store_failure = "unavailable"\n'


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_MAP_92_unavailable_instead_of_the_default(make, protocol):
    """The store is away and nothing is remembered: no node sees the login, in any protocol."""
    store = RedisStore()
    try:
        node = make.node("node1", lambda conn: speak(conn, protocol), tls="implicit")
        store.put("alice", "node1")
        router = make.router([node_toml(node, protocol, "implicit")], default="node1", routing=UNAVAILABLE,
                             mapping=store.toml(timeout="1s", ttl="0s"),
                             listeners={"l": ("implicit", "", protocol)})
        store.server.stop()
        lines = attempt(router, protocol)
        assert lines and {"imap": "NO [UNAVAILABLE]", "pop3": "-ERR [SYS/TEMP]", "submission": "421 ",
                          "managesieve": "BYE (TRYLATER)"}[protocol] in "\n".join(lines), lines
        line = router.wait_sessions(1)[0]
        assert (line["route"], line["reason"], line.get("node", "-")) == ("unavailable", "store_down", "-")
        assert not node.connections
        edit(router, UNAVAILABLE, "")
        assert reload(router)[0] == 200 # a change at run time
        attempt(router, protocol)
        line = router.wait_sessions(2)[1]
        assert (line["route"], line["node"]) == ("default", "node1")
    finally:
        store.close()


def test_MAP_92_unavailable_over_http(http):  # noqa: F811
    """503, known accounts are served from what is remembered, and whoever says no name goes to the
    default as ever."""
    store = RedisStore()
    try:
        store.put("alice", "node2")
        router = http.router([http.node("node1"), http.node("node2")], routing=UNAVAILABLE,
                             mapping=store.toml(timeout="1s", ttl="1s"))
        wait_push(router) # it empties the cache, and an answer that is under way then is not kept
        with http.client(router) as client:
            assert client.ask("/", basic("alice"))["X-Node"] == "node2"
            wait_until(lambda: router.stats()["stale_entries"] == 1)
            store.server.stop()
            assert client.ask("/", basic("alice"))["X-Node"] == "node2"
            assert client.ask("/", "")["X-Node"] == "node1"
            client.send("GET / HTTP/1.1\r\nHost: x\r\n" + basic("bob") + "\r\n")
            refused(client, 503)
        assert router.ctl("map", "get", "carol").stdout == "carol -> no node (error)\n"
        got = router.admin("GET", "/mappings?identifier=carol")[1]
        assert (got["source"], got["destination"], got["routed_to_default"]) == ("error", None, False)
        assert router.wait_sessions(1)[-1]["route"] == "unavailable"
    finally:
        store.close()


def test_OPS_14_missing_capabilities_are_named(make):
    """What the kernel refuses, by the name of what is missing; nothing of a library's own words."""
    def run(lacks, *args):
        return subprocess.run(["setpriv", "--inh-caps=-all", "--bounding-set=" + lacks,
                               harness.BUILD + "/homingd", *args], capture_output=True, text=True,
                              check=False, timeout=60)
    for lacks, words in (("-bpf,-perfmon,-net_admin", "capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"),
                         ("-bpf,-net_admin", "capabilities CAP_BPF and CAP_NET_ADMIN"),
                         ("-perfmon", "capability CAP_PERFMON")):
        text = run(lacks + ",-sys_admin", "--probe").stdout.splitlines()[0]
        assert text.startswith("bpf program") and "no" in text and "libbpf" not in text
        assert text.endswith("(missing: the %s)" % words), text
    router = make.router((make.node("node1"),), start=False)
    edit(router, 'bind = "127.0.0.1:0"\nbearer', 'bind = "127.0.0.1:999"\nbearer')
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as f:
        if int(f.read()) <= 999:
            return # this host lets everybody
    done = run("-net_bind_service", "--config", router.config)
    assert done.returncode != 0 and "need the capability CAP_NET_BIND_SERVICE" in done.stderr, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's directory")
def test_OPS_14_a_directory_that_sqlite_may_not_write_to(make, workspace):
    """A database in WAL mode that everybody may read, in root's directory: said by the check, in the log
    and by readyz; good as soon as the directory is the user's."""
    router = make.router((make.node("node1"),), start=False)
    directory = workspace.mkdir("db")
    os.chown(directory, 0, 0)
    os.chmod(directory, 0o755)
    path = directory + "/accounts.db"
    subprocess.run([harness.BUILD + "/homingctl", "init-db", path], check=True, capture_output=True)
    edit(router, router.db, path)
    done = subprocess.run([harness.BUILD + "/homingd", "--check-config", "--config", router.config],
                          capture_output=True, text=True, check=False)
    assert 'may not write to "%s/"' % directory in done.stdout + done.stderr
    router.start()

    def is_said(text):
        return path + ": " in text and "(this user may not write to its directory, where" in text

    wait_until(lambda: is_said(router.admin("GET", "/readyz")[1].get("store_error", "")))
    assert is_said(router.wait_line(lambda text: "msg=store_lost" in text))
    for name in (directory, path):
        workspace.own(name)
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)
