# SPDX-License-Identifier: Apache-2.0
"""homingctl drain: a node's accounts move to others, at a rate, with live sessions, on one router and
on two, stopped and run again; what cannot be is refused."""

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import time

import harness
import pytest
from draining import GOOD, FakeRouter, command, drain, rows_of, trio  # noqa: F401
from harness import wait_until
from mapping_stores import (FileStore, RedisStore, SqlStore, login, postgres,  # noqa: F401
                            put_all_redis, put_all_sql, where)


def test_a_node_is_drained(trio):
    make, nodes = trio
    router = make.router(nodes, default="node2")
    router.map({"user%02d" % i: "node1" for i in range(40)})
    router.map({"other": "node2"})
    with contextlib.ExitStack() as clients:
        live = []
        for user in ("user00", "user17", "other"):
            client = clients.enter_context(router.client())
            client.line()
            assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
            live.append(client)
        done = drain(router, "node1", "--rate", "200")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "node1: 40 moved, 0 failed, 0 left, 0 sessions left\n"
        assert re.search(r"^node1: 40 of 40 moved, 0 failed, [\d.]+/s, about 0 s left$", done.stderr,
                         re.M)
        assert live[0].eof() == live[1].eof() == b""
        assert live[2].command("n NOOP") == ["n OK NOOP"]
    rows = rows_of(router)
    assert rows.pop("other") == "node2"
    moved = sorted(rows.values())
    assert moved == ["node2"] * 20 + ["node3"] * 20 # in turn
    assert where(router, "user00") == rows["user00"] != "node1"
    again = drain(router, "node1")
    assert (again.returncode, again.stdout) == (
        0, "node1: 0 moved, 0 failed, 0 left, 0 sessions left\n")
    as_json = drain(router, "node3", "--to", "node1", "--rate", "1000", "--json")
    assert json.loads(as_json.stdout) == {"node": "node3", "moved": 20, "failed": [], "left": 0,
                                          "sessions": 0, "stopped": False}


def test_the_rate_is_kept(trio):
    make, nodes = trio
    router = make.router(nodes)
    router.map({"user%02d" % i: "node2" for i in range(15)})
    began = time.monotonic()
    assert drain(router, "node2", "--rate", "5", "--to", "node3").returncode == 0
    assert time.monotonic() - began > 14 / 5
    assert set(rows_of(router).values()) == {"node3"}


def test_refusals(trio, postgres): # noqa: F811
    make, nodes = trio
    router = make.router(nodes)
    router.map({"alice": "node1"})

    def refused(code, text, *args):
        done = drain(router, *args)
        assert done.returncode == code and text in done.stderr, (args, done)

    refused(1, "node ghost is not declared", "ghost")
    refused(1, "node ghost is not declared", "node1", "--to", "node2,ghost")
    refused(2, "names the node that is to be drained", "node1", "--to", "node2,node1")
    refused(2, "empty name", "node1", "--to", "node2,")
    refused(2, "usage:")
    for rate in ("0", "x", "1001", "-1"):
        refused(2, "--rate", "node1", "--rate", rate)
    for hold in ("0", "3601", "y"):
        refused(2, "--hold", "node1", "--hold", hold)
    assert rows_of(router) == {"alice": "node1"}
    router.stop()
    refused(3, "cannot connect", "node1")

    def without(key):
        store = SqlStore(postgres)
        return make.router(nodes, mapping="\n".join(
            line for line in store.toml().splitlines() if not line.startswith(key)))

    router = without("list_query")
    refused(1, "mapping store cannot list accounts (no mapping.sql.list_query)", "node1")
    router = without("delete_query")
    refused(1, "mapping store is read-only", "node1")


def test_down_nodes_are_no_targets(make):
    """node3 refuses connections: after a failure it is down, and gets no accounts."""
    nodes = [make.node("node1"), make.node("node2"), make.node("node3")]
    router = make.router(nodes)
    nodes[2].close()
    router.map({"probe": "node3"})
    for _ in range(50):
        with router.client() as client:
            client.line()
            client.send("a LOGIN probe pw\r\n")
            client.line()
        state = {row["destination"]: row["down"]
                 for row in router.admin("GET", "/destinations")[1]["destinations"]}
        if state["node3"]:
            break
    assert state == {"node1": False, "node2": False, "node3": True}
    router.map({"user%d" % i: "node1" for i in range(10)})
    assert drain(router, "node1", "--rate", "100").returncode == 0
    rows = rows_of(router)
    assert rows.pop("probe") == "node3" and set(rows.values()) == {"node2"}
    done = drain(router, "node2")
    assert done.returncode == 0 and "node1" in set(rows_of(router).values())


def test_only_one_node(make):
    router = make.router([make.node("node1")])
    done = drain(router, "node1")
    assert done.returncode == 1 and "no other node" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_run_again(trio, how):
    make, nodes = trio
    router = make.router(nodes, default="node3")
    router.map({"user%03d" % i: "node1" for i in range(200)})
    with subprocess.Popen(command(router, "drain", "node1", "--rate", "40"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: "node1" in rows_of(router).values() and
                   list(rows_of(router).values()).count("node1") < 190)
        process.send_signal(how)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    match = re.match(r"node1: (\d+) moved, 0 failed, (\d+) left, 0 sessions left\n"
                     r"stopped: the same command goes on from here\n$", out)
    assert match, out
    moved, left = map(int, match.groups())
    assert moved + left == 200 and 10 <= moved < 200
    assert list(rows_of(router).values()).count("node1") == left
    began = time.monotonic() # no delay is left: nobody waits, of the moved and of the others
    for i in (0, moved - 1, moved, 199):
        login(router, "user%03d" % i)
    assert time.monotonic() - began < 8
    assert router.stats()["held"] == 0
    done = drain(router, "node1", "--rate", "1000")
    assert done.returncode == 0 and "node1: %d moved, 0 failed, 0 left" % left in done.stdout
    assert "node1" not in rows_of(router).values()


def test_rows_that_cannot_be_written_are_reported(trio):
    """The store refuses two of them; the rest moves, and nobody waits."""
    make, nodes = trio
    router = make.router(nodes, default="node3")
    router.map({"user%02d" % i: "node1" for i in range(20)})
    with contextlib.closing(sqlite3.connect(router.db, timeout=10)) as db:
        db.execute("CREATE TRIGGER stay BEFORE UPDATE ON account_nodes WHEN OLD.identifier IN "
                   "('user03', 'user11') BEGIN SELECT RAISE(ABORT, 'stays'); END")
        db.commit()
    done = drain(router, "node1", "--rate", "100")
    assert done.returncode == 1
    assert done.stdout == ("node1: 18 moved, 2 failed, 2 left, 0 sessions left\n"
                           "failed: user03: store write failed\n"
                           "failed: user11: store write failed\n")
    began = time.monotonic()
    assert where(router, "user03") == "node1" and where(router, "user04") != "node1"
    assert time.monotonic() - began < 8 and router.stats()["held"] == 0


def test_a_dead_store_stops_it(trio):
    make, nodes = trio
    router = make.router(nodes)
    router.map({"user%02d" % i: "node1" for i in range(50)})
    with contextlib.closing(sqlite3.connect(router.db, timeout=10)) as db:
        db.execute("CREATE TRIGGER stay BEFORE UPDATE ON account_nodes "
                   "BEGIN SELECT RAISE(ABORT, 'stays'); END")
        db.commit()
    done = drain(router, "node1", "--rate", "1")
    assert done.returncode == 1
    assert "node1: 0 moved, 5 failed, 50 left" in done.stdout
    assert "stopped: too many failures in a row" in done.stdout


def test_sessions_that_an_interrupted_move_left_are_ended(trio):
    """The row is written already, the session is not gone: a run with nothing to move ends it. One of
    an account without a row stays, and is told."""
    make, nodes = trio
    router = make.router(nodes, default="node1")
    router.map({"alice": "node1"})
    with router.client() as alice, router.client() as nobody:
        for client, user in ((alice, "alice"), (nobody, "nobody")):
            client.line()
            assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
        router.map({"alice": "node2"})
        done = drain(router, "node1")
        assert alice.readable(5)
        assert alice.eof() == b""
        assert nobody.command("n NOOP") == ["n OK NOOP"]
    assert done.returncode == 1
    assert done.stdout.startswith("node1: 0 moved, 0 failed, 0 left, 1 sessions left\n")


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_two_routers_on_one_store(trio, request, kind):
    make, nodes = trio
    store = SqlStore(request.getfixturevalue("postgres")) if kind == "postgresql" else RedisStore()
    put_all = put_all_sql if kind == "postgresql" else put_all_redis
    space = harness.Workspace("homing-test-")
    second = None
    try:
        put_all(store, {"user%03d" % i: "node1" for i in range(120)})
        router = make.router(nodes, default="node2", mapping=store.toml())
        second = harness.Router(space, [node.toml() for node in nodes], default="node2",
                                mapping=store.toml())
        second.start()
        urls = [router.ports["admin"], second.ports["admin"]]
        with contextlib.ExitStack() as stack:
            cut = []
            for i, target in ((3, router), (90, router), (3, second), (55, second)):
                client = stack.enter_context(target.client())
                client.line()
                assert client.command("a LOGIN user%03d pw" % i)[-1].startswith("a OK")
                cut.append(client)
            words = command(router, "drain", "node1", "--rate", "300", urls=urls)
            at = words.index("--cacert")
            words[at:at + 2] = ["--insecure"] # each has a certificate of its own
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout == "node1: 120 moved, 0 failed, 0 left, 0 sessions left\n"
            for client in cut:
                assert client.eof() == b""
        assert where(router, "user003") == where(second, "user003") == store.get("user003") != "node1"
        second.stop()
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3 and "cannot connect" in done.stderr
    finally:
        if second:
            second.close()
        space.close()
        store.close()


def test_a_router_that_dies_in_the_middle(trio):
    """The other waits for it: what was under way fails, nothing more is begun, nobody waits."""
    make, nodes = trio
    router = make.router(nodes, default="node3")
    router.map({"user%03d" % i: "node1" for i in range(300)})
    space = harness.Workspace("homing-test-")
    second = harness.Router(space, [node.toml() for node in nodes], default="node3",
                            mapping=router.sqlite_toml()).start()
    try:
        words = command(router, "drain", "node1", "--rate", "50", "--timeout", "3",
                        urls=[router.ports["admin"], second.ports["admin"]])
        at = words.index("--cacert")
        words[at:at + 2] = ["--insecure"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            wait_until(lambda: list(rows_of(router).values()).count("node1") < 290)
            second.stop(expect=-signal.SIGKILL, how=signal.SIGKILL)
            out, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "stopped: too many failures in a row" in out and "failed: user" in out, out
        left = list(rows_of(router).values()).count("node1")
        assert left > 200
        began = time.monotonic()
        login(router, "user299")
        login(router, re.search(r"failed: (user\d+)", out).group(1))
        assert time.monotonic() - began < 8 # no delay is left on the one that lives
        done = drain(router, "node1", "--rate", "1000") # without the dead one
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        second.close()
        space.close()


def test_a_mapping_file_over_the_unix_socket(trio, workspace):
    make, nodes = trio
    store = FileStore(workspace)
    store.put_all({"user%02d" % i: "node1" for i in range(50)})
    path = workspace.path + "/admin.sock"
    router = make.router(nodes, start=False, default="node3", mapping=store.toml())
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace("[admin]\n", '[admin]\nsocket = "%s"\n' % path))
    router.start()
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN user07 pw")[-1].startswith("a OK")
        done = subprocess.run([harness.BUILD + "/homingctl", "--socket", path, "drain", "node1",
                               "--rate", "500", "--to", "node2"], capture_output=True, text=True,
                              timeout=100, check=False)
        assert (done.returncode, done.stdout) == (
            0, "node1: 50 moved, 0 failed, 0 left, 0 sessions left\n"), done.stderr
        assert client.eof() == b""
    with open(store.path, encoding="utf-8") as f:
        assert f.read() == "".join("user%02d\tnode2\n" % i for i in range(50))
    assert where(router, "user07") == "node2"


@pytest.mark.parametrize("path,answer,text", [
    ("/destinations", b"no json", "not an answer of the admin API"),
    ("/destinations", b"[1, 2", "not an answer of the admin API"),
    ("/destinations", b'{"destinations":[{},{"destination":7},8,null]}', "not declared"),
    ("/destinations", b"HTTP/1.1 200", "not an answer of the admin API"),
    ("/destinations", b"HTTP", "not an answer of the admin API"),
    ("/destinations", b"HTTP/1.1 500 X\r\n\r\n", "not an answer of the admin API"),
    ("/mappings/list", b'{"identifiers":{},"next":[],"writable":1}', "read-only"),
    ("/mappings/list", b'{"identifiers":[],"next":"x","writable":true}', "does not end"),
    ("/mappings/list", b'{"identifiers":[1,null,{}],"next":null,"writable":true}', None),
    ("/sessions", b'{"total":"many","sessions":[1,{"account":3}]}', None),
    ("/sessions", b'{"total":3,"sessions":[{"account":null}]}', "3 sessions left"),
    ("/connections/delay", b"HTTP/1.1 503 X\r\n\r\n{\"error\":\"too many delays\"}", None),
])
def test_a_router_that_answers_nonsense(workspace, path, answer, text):
    socket_path = workspace.path + "/fake.sock"
    fake = FakeRouter(socket_path, dict(GOOD, **{path: answer}))
    try:
        done = subprocess.run([harness.BUILD + "/homingctl", "--socket", socket_path, "drain",
                               "node1"], capture_output=True, text=True, timeout=60, check=False)
    finally:
        fake.close()
    if text:
        assert done.returncode == 1 or "not an answer" in text and done.returncode == 3, done
        assert text in done.stdout + done.stderr, done
    else:
        assert (done.returncode, done.stdout) == (
            0, "node1: 0 moved, 0 failed, 0 left, 0 sessions left\n"), done


@pytest.mark.parametrize("path,calls", [("/connections/delay", 0), ("/mappings", 2),
                                        ("/cache/invalidate", 4), ("/connections/kick", 4)])
def test_a_step_that_is_refused_ends_the_account(workspace, path, calls):
    """Whatever the step, the delay is taken back, last; what may be tried again is."""
    socket_path = workspace.path + "/fake.sock"
    answers = dict(GOOD, **{"/mappings/list": b'{"identifiers":["zo\xc3\xab@x","a+b%c&d"],"next":null,'
                                              b'"writable":true}'})
    answers[path] = b"HTTP/1.1 500 X\r\n\r\n{\"error\":\"no luck\"}"
    fake = FakeRouter(socket_path, answers)
    try:
        done = subprocess.run([harness.BUILD + "/homingctl", "--socket", socket_path, "drain", "node1",
                               "--rate", "1000"], capture_output=True, text=True, timeout=60,
                              check=False)
    finally:
        fake.close()
    assert done.returncode == 1
    assert "node1: 0 moved, 2 failed, 2 left" in done.stdout and "a+b%c&d: " in done.stdout
    for name in ("zo%C3%AB%40x", "a%2Bb%25c%26d"):
        mine = [target for target in fake.asked if "identifier=" + name in target]
        assert mine[0] == "/connections/delay?identifier=%s&seconds=10" % name
        assert mine[-1] == "/connections/delay?identifier=%s&seconds=0" % name
        if calls:
            assert sum(target.split("?")[0] == path for target in mine) == calls, mine


def test_help_man_and_completion_know_it():
    tool = harness.BUILD + "/homingctl"
    text, man, completion = (subprocess.run([tool, option], capture_output=True, text=True,
                                            check=True).stdout
                             for option in ("--help", "--man", "--completion"))
    assert "drain NODE [--rate N] [--to NODE,...] [--hold SECONDS]" in text
    assert "\\fBdrain\\fR NODE [\\-\\-rate N]" in man
    assert " drain " in completion and "--rate" in completion and "--to" in completion
