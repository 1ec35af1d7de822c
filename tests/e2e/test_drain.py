# SPDX-License-Identifier: Apache-2.0
"""homingctl drain: a node's accounts move to others, at a rate, with live sessions, on one router and
on two, stopped and run again; what cannot be is refused. And init-db."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import harness
import pytest
from harness import wait_until
from test_list import FileStore, put_all_redis, put_all_sql
from test_stores import RedisStore, SqlStore, login, postgres, where  # noqa: F401


@pytest.fixture
def trio(make):
    return make, [make.node("node%d" % i) for i in (1, 2, 3)]


def command(router, *args, urls=None):
    words = [harness.BUILD + "/homingctl"]
    for port in urls or [router.ports["admin"]]:
        words += ["--url", "https://localhost:%d" % port]
    return words + ["--cacert", router.cert, "--token-file", router.workspace.path + "/token", *args]


def drain(router, *args, urls=None, timeout=200):
    return subprocess.run(command(router, "drain", *args, urls=urls), capture_output=True, text=True,
                          timeout=timeout, check=False)


def rows_of(router):
    with contextlib.closing(sqlite3.connect(router.db, timeout=10)) as db:
        return dict(db.execute("SELECT identifier, node FROM account_nodes"))


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


class FakeRouter:
    """On a unix socket; answers by path, whatever it is told to."""

    def __init__(self, path, answers):
        self.answers, self.asked = answers, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), conn:
                target = conn.recv(65536).split(b" ")[1].decode()
                self.asked.append(target)
                answer = self.answers.get(target.split("?")[0], b"{}")
                if not answer.startswith(b"HTTP"):
                    answer = b"HTTP/1.1 200 OK\r\n\r\n" + answer
                conn.sendall(answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


GOOD = {"/destinations": b'{"destinations":[{"destination":"node1","down":false},'
                         b'{"destination":"node2","down":false}]}',
        "/mappings/list": b'{"identifiers":[],"next":null,"writable":true}',
        "/sessions": b'{"total":0,"sessions":[]}'}


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


# ---- what the log says of it (OPS-22) ----

LOUD = 'log_level = "debug"\nlog_accounts = "full"\n'


def audit(router, level=None, **keys):
    """Lines of changes, of a level and with these keys if given."""
    lines = [harness.parse_logfmt(line) for line in router.log().splitlines() if " msg=admin " in line]
    return [line for line in lines if level in (None, line["level"]) and
            all(line.get(key) == value for key, value in keys.items())]


def with_socket(router):
    """Its admin API on a path as well, which a restart keeps."""
    path = router.workspace.path + "/admin.sock"
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace("[admin]\n", '[admin]\nsocket = "%s"\n' % path))
    router.start()
    return path


@pytest.mark.parametrize("level", ["debug", "info"])
def test_OPS_22_a_drain_is_a_line_an_account_at_debug(trio, level):
    """On two routers, of which only one writes the rows; at info what begins and how it ends."""
    make, nodes = trio
    router = make.router(nodes, default="node2", server=LOUD.replace("debug", level))
    router.map({"user%02d" % i: "node1" for i in range(30)})
    space = harness.Workspace("homing-test-")
    second = harness.Router(space, [node.toml() for node in nodes], default="node2", server=LOUD,
                            mapping=router.sqlite_toml())
    try:
        second.start()
        words = command(router, "drain", "node1", "--rate", "300",
                        urls=[router.ports["admin"], second.ports["admin"]])
        at = words.index("--cacert")
        words[at:at + 2] = ["--insecure"]
        with router.client() as client:
            client.line()
            assert client.command("a LOGIN user07 pw")[-1].startswith("a OK")
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert client.eof() == b""
        rows = rows_of(router)
        for one in (router, second):
            wait_until(lambda: audit(one, outcome="done", op="drain")) # pylint: disable=W0640
            begun, end = audit(one, "info")
            assert (begun["op"], begun["outcome"], begun["accounts"], begun["node"]) == (
                "drain", "begun", "30", "node1")
            assert begun["client"].startswith("127.0.0.1:") and begun["drain"] == end["drain"] == "1"
            assert (end["moved"], end["failed"], end["outcome"]) == ("30", "0", "done")
            quiet = audit(one, "debug")
            if one is router and level == "info":
                assert not quiet
                continue
            assert {line["op"] for line in quiet} == {"drain_account"} and len(quiet) == 30
            assert {line["account"]: line["node"] for line in quiet} == rows
            assert {(line["was"], line["outcome"]) for line in quiet} == {("node1", "done")}
            assert all(0 <= int(line["hold_ms"]) < 10000 for line in quiet)
            assert [line["sessions"] for line in quiet if line["account"] == "user07"] == [
                "1" if one is router else "0"]
    finally:
        second.close()
        space.close()


def test_OPS_22_a_claim_hides_no_other_change(trio):
    """What is not a move of an account from the drained node is a line at info, whatever it says it is."""
    make, nodes = trio
    router = make.router(nodes, start=False, default="node3", server=LOUD)
    path = with_socket(router)
    router.map({"alice": "node1", "bob": "node2", "carol": "node1", "dora": "node1"})

    def ask(method, target, status=200, source=None):
        got = router.admin(method, target, source=source)
        assert got[0] == status, (target, got[:2])
        return got[1]

    def lines_of(*calls):
        """Of all levels, between two marks."""
        def mark():
            marks = len(audit(router, op="reset"))
            ask("POST", "/destinations/reset?destination=node2")
            wait_until(lambda: len(audit(router, op="reset")) > marks)
            return len(audit(router))
        before = mark()
        for call in calls:
            ask(*call)
        end = mark()
        return audit(router)[before:end - 1]
    drain_id = ask("POST", "/drains?destination=node1&accounts=4")["drain"]
    mine = "&drain=" + drain_id
    assert drain_id not in router.log()

    # Nobody's, another's, another way in: nothing is done, nothing is quiet.
    for wrong in ("&drain=" + "0" * 32, "&drain=", "&drain=1", "&drain=" + drain_id[:-1], mine + "0",
                  "&drain=%s%%00" % drain_id[:-1]):
        for method, target in (("POST", "/connections/kick?identifier=bob"),
                               ("POST", "/cache/invalidate?identifier=bob"),
                               ("PUT", "/mappings?identifier=bob&destination=node1"),
                               ("POST", "/connections/delay?identifier=bob&seconds=5")):
            assert ask(method, target + wrong, 404) == {"error": "unknown drain"}
    ask("POST", "/connections/kick?identifier=bob" + mine, 404, source="127.0.0.9")
    ask("DELETE", "/drains?drain=" + drain_id, 404, source="127.0.0.9")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(harness.PATIENCE)
        sock.connect(path)
        sock.sendall(("POST /connections/kick?identifier=bob%s HTTP/1.1\r\nHost: x\r\n\r\n" %
                      mine).encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 404 ")
    ask("DELETE", "/mappings?identifier=bob" + mine, 400)
    assert rows_of(router)["bob"] == "node2" and not lines_of()
    assert len(audit(router)) == 3 # the announcement and two marks
    ask("POST", "/drains?destination=node9&accounts=4", 404)
    for bad in ("/drains", "/drains?destination=node1", "/drains?destination=node1&accounts=x",
                "/drains?destination=node1&accounts=1" + mine):
        ask("POST", bad, 400)

    # An account that was never on the node: each step is its own line.
    steps = [("POST", "/connections/delay?identifier=%s&seconds=5" + mine),
             ("PUT", "/mappings?identifier=%s&destination=node3" + mine),
             ("POST", "/connections/kick?identifier=%s" + mine),
             ("POST", "/connections/delay?identifier=%s&seconds=0" + mine)]

    def of(who):
        return [(method, target % who) for method, target in steps]
    got = lines_of(*of("bob"))
    assert [(line["level"], line["op"]) for line in got] == [
        ("info", "delay"), ("info", "map_set"), ("info", "kick"), ("info", "delay")], got
    assert (got[1]["was"], got[1]["node"]) == ("node2", "node3")

    # As announced, once; the same again is not.
    got = lines_of(*of("alice"))
    assert [(line["level"], line["op"], line["was"], line["node"]) for line in got] == [
        ("debug", "drain_account", "node1", "node3")], got
    assert {line["level"] for line in lines_of(*of("alice"))} == {"info"}
    # Writes outside of hold and release, back to the node, and twice.
    assert [line["op"] for line in lines_of(of("carol")[1])] == ["map_set"]
    router.map({"carol": "node1"})
    back = ("PUT", "/mappings?identifier=carol&destination=node1" + mine)
    got = lines_of(of("carol")[0], of("carol")[1], back, of("carol")[3])
    assert [(line["level"], line["op"], line["outcome"]) for line in got] == [
        ("info", "map_set", "done"), ("info", "drain_account", "failed")], got
    # Sessions ended, nothing moved.
    router.map({"carol": "node1"})
    ask("POST", "/cache/invalidate")
    got = lines_of(of("carol")[0], of("carol")[2], of("carol")[3])
    assert [(line["level"], line["op"], line["outcome"], line["node"]) for line in got] == [
        ("info", "drain_account", "failed", "node1")], got
    # Dropping what is cached assigns nothing; all of it is another matter.
    assert [line["level"] for line in lines_of(("POST", "/cache/invalidate?identifier=bob" + mine))] == [
        "debug"]
    got = lines_of(of("dora")[0])
    assert not got
    got = lines_of(("DELETE", "/drains?drain=" + drain_id))
    assert [(line["op"], line["outcome"]) for line in got] == [
        ("drain_account", "unfinished"), ("drain", "incomplete")], got
    assert (got[0]["account"], got[1]["moved"], got[1]["failed"]) == ("dora", "1", "3")
    ask("DELETE", "/drains?drain=" + drain_id, 404)
    for _ in range(16):
        ask("POST", "/drains?destination=node1&accounts=1")
    assert ask("POST", "/drains?destination=node1&accounts=1", 503) == {"error": "too many drains"}


def test_OPS_22_a_drain_goes_on_after_a_restart_and_has_an_end(trio):
    """A router that was restarted is told again; one whose drain was killed says so. Progress is bounded:
    a line in 5 s, here thirty times as fast."""
    make, nodes = trio
    router = make.router(nodes, start=False, default="node3", server=LOUD,
                         environment=harness.fast_time(30))
    router.map({"user%03d" % i: "node1" for i in range(600)})
    path = with_socket(router)
    words = [harness.BUILD + "/homingctl", "--socket", path, "drain", "node1", "--rate", "50"]

    def left():
        return list(rows_of(router).values()).count("node1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: left() < 560)
            # It gives up after some failures in a row, and how long a start takes the machine decides.
            process.send_signal(signal.SIGSTOP)
            router.stop()
            lost = [line for line in audit(router, "info", op="drain") if line["outcome"] != "running"]
            assert [line["outcome"] for line in lost] == ["begun", "abandoned"]
            router.start()
            was = left()
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: left() < was - 50)
        finally:
            process.kill()
            process.communicate(timeout=harness.PATIENCE)
    again = [line for line in audit(router, op="drain") if line["outcome"] == "begun"][-1]
    assert again["uid"] == str(os.getuid()) and again["client"] == "local"
    wait_until(lambda: len(audit(router, op="drain", outcome="abandoned")) == 2)
    assert audit(router, "info", op="drain", outcome="running")
    assert len(audit(router, "info", op="drain")) < 45
    # What the restart and the end have cut are lines of their own, eight at a time.
    assert len(audit(router, "debug", op="drain_account", outcome="done")) > 70
    assert len([line for line in audit(router, "info") if line["op"] != "drain"]) <= 5 * 8 * 2


# ---- init-db ----

def init_db(*args, **environment):
    return subprocess.run([harness.BUILD + "/homingctl", "init-db", *args], capture_output=True,
                          text=True, timeout=60, check=False, env=dict(os.environ, **environment))


def test_init_db_applies_to_postgresql(postgres, make): # noqa: F811
    name = postgres.database(schema=False)
    url = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, name)
    done = init_db(url)
    assert (done.returncode, done.stdout) == (
        0, "table account_nodes(identifier, node) and its triggers: created\n"), done.stderr
    again = init_db(url.replace("postgres://", "postgresql://"))
    assert (again.returncode, again.stdout) == (
        0, "table account_nodes(identifier, node) and its triggers: there already\n")
    assert postgres.try_sql(name, "INSERT INTO account_nodes VALUES ('alice', 'node1')")
    assert postgres.try_sql(name, "INSERT INTO account_nodes VALUES ('Alice', 'node1')") is None
    assert postgres.try_sql(name, "SELECT count(*) FROM pg_trigger WHERE tgrelid = "
                            "'account_nodes'::regclass AND NOT tgisinternal") == "2"


def test_init_db_by_the_environment(postgres): # noqa: F811
    name = postgres.database(schema=False)
    environment = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres",
                   "PGDATABASE": name}
    # Many at once: one creates it, the others find it.
    results, threads = [], []
    for _ in range(6):
        threads.append(threading.Thread(
            target=lambda: results.append(init_db("--apply", **environment))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0] * 6, [done.stderr for done in results]
    assert sum("created" in done.stdout for done in results) == 1


def test_init_db_failures(postgres, workspace): # noqa: F811
    name = postgres.database(schema=False)
    url = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, name)
    assert postgres.try_sql(name, "CREATE TABLE account_nodes (identifier text, node text)")
    done = init_db(url)
    assert done.returncode == 1 and "without the triggers" in done.stderr
    assert postgres.try_sql(name, "DROP TABLE account_nodes")
    # A conflict in the middle: nothing stays of what came before it.
    assert postgres.try_sql(name, "CREATE FUNCTION account_nodes_changed() RETURNS int LANGUAGE sql "
                            "AS 'SELECT 1'")
    done = init_db(url)
    assert done.returncode == 1 and "account_nodes_changed" in done.stderr
    assert postgres.try_sql(name, "SELECT to_regclass('account_nodes') IS NULL") == "t"
    done = init_db("postgres://homing:s3cret@127.0.0.1:%d/x" % harness.free_port())
    assert done.returncode == 1 and "s3cret" not in done.stdout + done.stderr
    for args in ((), ("a", "b"), ("mysql://h/d",), ("--print", "--apply"), ("--print", "x")):
        assert init_db(*args).returncode == 2, args
    path = workspace.path + "/new.db"
    for form in (path, "sqlite://" + path): # twice: it may be there
        assert init_db(form).returncode == 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        plan = " ".join(row[3] for row in db.execute(
            "EXPLAIN QUERY PLAN " + harness.LIST_QUERY.replace("$", "?"), ("n", "a", "10")))
        assert "account_nodes_node" in plan, plan


def test_help_man_and_completion_know_it():
    tool = harness.BUILD + "/homingctl"
    text, man, completion = (subprocess.run([tool, option], capture_output=True, text=True,
                                            check=True).stdout
                             for option in ("--help", "--man", "--completion"))
    assert "drain NODE [--rate N] [--to NODE,...] [--hold SECONDS]" in text
    assert "\\fBdrain\\fR NODE [\\-\\-rate N]" in man
    assert " drain " in completion and "--rate" in completion and "--to" in completion


def test_OPS_14_init_db_gives_a_role_its_rights(postgres): # noqa: F811
    name = postgres.database(schema=False)
    role = "homing-%s" % name # to be quoted
    url = "postgres://%%s@127.0.0.1:%d/%s" % (postgres.port, name)
    as_owner = url % "postgres"
    assert postgres.try_sql(name, 'CREATE ROLE "%s" LOGIN' % role)
    done = init_db(as_owner, "--role", "no-such-role")
    assert done.returncode == 1 and 'role "no-such-role" does not exist' in done.stderr
    done = init_db(as_owner, "--role", role)
    assert done.returncode == 0 and "there already" in done.stdout and role in done.stdout, done.stderr
    as_role = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url % role, "-c"]
    for statement in ("INSERT INTO account_nodes VALUES ('a', 'n')", "SELECT * FROM account_nodes",
                      "UPDATE account_nodes SET node = 'm'", "DELETE FROM account_nodes"):
        subprocess.run(as_role + [statement], check=True, capture_output=True)
    # An owner who may not become the role, in a schema that the role may not use until then.
    assert postgres.try_sql(name, 'CREATE ROLE "o-%s" LOGIN; CREATE SCHEMA mail AUTHORIZATION "o-%s"; '
                            'ALTER ROLE "o-%s" IN DATABASE %s SET search_path = mail' %
                            (name, name, name, name))
    done = init_db(url % ("o-" + name), "--role", role)
    assert done.returncode == 0, done.stderr
    assert postgres.try_sql(name, "SELECT has_schema_privilege('%s', 'mail', 'USAGE')" % role) == "t"
    # What cannot be given is named.
    assert postgres.try_sql(name, "REVOKE CONNECT ON DATABASE %s FROM PUBLIC; GRANT CONNECT ON DATABASE %s "
                            'TO "o-%s"' % (name, name, name))
    done = init_db(url % ("o-" + name), "--role", role)
    assert done.returncode == 1 and "still lacks: CONNECT" in done.stderr, done.stderr
    assert "TO \"x\"" in init_db("--print", "--role", "x").stdout
    assert init_db("/nowhere/x.db", "--role", "x").returncode == 2
