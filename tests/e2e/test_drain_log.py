# SPDX-License-Identifier: Apache-2.0
"""What the log says of a drain (OPS-22)."""

import os
import signal
import socket
import subprocess

import harness
import pytest
from draining import LOUD, audit, command, rows_of, trio, with_socket  # noqa: F401
from harness import wait_until


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
