# SPDX-License-Identifier: Apache-2.0
"""The data paths after login, as an operator sees them: log line, /stats, bpftool, privileges. Every
test says which path must have carried the bytes."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import harness
import pytest
import rawtcp
from bulk import Bulk
from harness import node_login, wait_until
from legs import RELAYS, TLS_RELAYS, relay_login, relay_router
from logins import last_session
from plain_legs import login, pins, plain_router, rows  # noqa: F401


def capabilities(router):
    with open("/proc/%d/status" % router.process.pid, encoding="ascii") as f:
        return dict(re.findall(r"^(\w+):\s*(\S+)", f.read(), re.M))


# ---- sockmap ----

def test_plain_legs_go_to_the_kernel(make, pins):
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node], pins)
    with login(router) as client:
        before = router.stats()["paths"]["sockmap"]
        assert before["active"] == 2
        for i in range(50):
            assert client.command("n%d NOOP" % i) == ["n%d OK NOOP" % i]
        flows = rows(pins)
        assert sorted(row["direction"] for row in flows) == ["HM_DOWN", "HM_UP"]
        for row in flows:
            assert row["path"] == "HM_SOCKMAP" and row["state"] == "HM_REDIRECTING"
            assert row["protocol"] == "imap" and row["redirected"] > 400
            assert row["packets"] >= 50 and row["passed"] == 0
        wait_until(lambda: router.stats()["paths"]["sockmap"]["bytes"] > 800)
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("sockmap", "sockmap")
    assert session["bytes_up"] == str(sum(len("n%d NOOP\r\n" % i) for i in range(50)))
    assert rows(pins) == [] and rows(pins, "control") == []
    assert router.stats()["paths"]["sockmap"]["active"] == 0


LATER = 'arm_after = "1s"\n' # the default


def test_REC_4_an_idle_session_goes_to_the_kernel(make, pins):
    router = plain_router(make, [make.node("node1", tls="plain")], pins, splice=LATER)
    start = time.monotonic()
    with login(router, path="copy") as client:
        assert rows(pins) == rows(pins, "control") == []
        assert client.command("b NOOP") == ["b OK NOOP"]
        router.wait_path("sockmap", "alice")
        assert time.monotonic() - start > 0.9
        assert [row["path"] for row in rows(pins)] == ["HM_SOCKMAP"] * 2
        assert client.command("c NOOP") == ["c OK NOOP"]
        assert sum(row["redirected"] for row in rows(pins)) == len("c NOOP\r\nc OK NOOP\r\n")
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("sockmap", "sockmap")
    assert session["bytes_up"] == str(2 * len("b NOOP\r\n"))
    assert session["bytes_down"] == str(2 * len("b OK NOOP\r\n"))
    paths = router.stats()["paths"]
    assert {path: (row["active"], row["started"]) for path, row in paths.items()} == {
        "copy": (0, 2), "sockmap": (0, 2)}
    assert sum(row["bytes"] for row in paths.values()) == 2 * len("b NOOP\r\nb OK NOOP\r\n")
    assert rows(pins) == rows(pins, "control") == []


def test_REC_4_short_sessions_never_get_there(make, pins):
    router = plain_router(make, [make.node("node1", tls="plain")], pins,
                          splice='arm_after = "1h"\n')
    for i in range(10):
        with login(router, "user%d" % i, path=None) as client:
            for tag in range(10):
                assert client.command("n%d NOOP" % tag) == ["n%d OK NOOP" % tag]
            assert client.command("z LOGOUT")[-1].startswith("z OK")
            client.eof()
    assert {(line["path_up"], line["path_down"]) for line in router.wait_sessions(10)} == {("copy", "copy")}
    assert set(router.stats()["paths"]) == {"copy"}
    assert router.stats()["splice"]["refused"] == 0


def test_REC_4_a_crowd_that_talks_all_the_time(make):
    """Sessions at every age and rate, whose bytes are checked: none is lost or comes twice on the way into
    the kernel."""
    with harness.light_node() as (destination, default):
        router = plain_router(make, [destination], default=default, splice='arm_after = "300ms"\n')
        with harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "plain") as load:
            for crowd in range(4):
                load("open 100 16")
                for _ in range(12 if crowd % 2 else 50): # by their age, or because they are busy
                    load("noop")
                    time.sleep(0.03 if crowd % 2 else 0)
                load("check %d 16384" % (32 << 20))
                load("push %d 16384" % (4 << 20))
                wait_until(lambda: router.stats()["paths"].get("sockmap", {}).get("active") == 200)
                load("ping 400 100")
                load("close")
            router.wait_idle()
        assert router.stats()["splice"]["refused"] == router.stats()["splice"]["stalls"] == 0
    assert len(router.wait_sessions(400)) == 400
    assert {line["path_up"] for line in router.session_lines()} == {"sockmap"}


def test_48_pins_are_private(make, pins):
    plain_router(make, [make.node("node1", tls="plain")], pins)
    for path in (pins, pins + "/v2"):
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert sorted(os.listdir(pins + "/v2")) == ["control", "events", "flows", "sources", "targets",
                                                "verdict"]


@pytest.mark.parametrize("mode", ["auto", "sockmap", "ktls", "copy"])
def test_mode_is_obeyed(make, mode):
    router = plain_router(make, [make.node("node1", tls="plain")], splice='mode = "%s"\n' % mode)
    path = "sockmap" if mode in ("auto", "sockmap") else "copy"
    with login(router, path=path) as client:
        client.command("b NOOP")
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == (path, path)


def test_100_mib_each_way_through_the_valve(make, pins):
    """Bulk leaves the kernel for user space and comes back when it is quiet."""
    size = 100 * 1024 * 1024
    both_ways = Bulk(size)

    def serve(conn):
        if node_login(conn) is None:
            return
        assert conn.line() == "start"
        both_ways.up = both_ways.exchange(conn)
        while True:
            conn.send(conn.line() + "\n")

    router = plain_router(make, [make.node("node1", serve, tls="plain")], pins)
    with login(router) as client:
        both_ways.start(client)
        splice = router.stats()["splice"]
        assert splice["bulk"] + splice["backlog"] >= 2
        wait_until(lambda: router.stats()["splice"]["resumed"] >= 2)
        before = sum(row["redirected"] for row in rows(pins))
        client.send("small again\n")
        client.expect("small again")
        after = sum(row["redirected"] for row in rows(pins))
        assert after == before + 2 * len("small again\n")
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("sockmap", "sockmap")
    assert int(session["bytes_up"]) >= size and int(session["bytes_down"]) >= size


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_a_reader_that_stops_is_bounded(make, network, tls, mode, path):
    """400 MiB are pushed at a client that does not read: the sender is stopped, and what the router
    and the kernel hold for it is bounded."""
    harness.push_at_a_closed_door(make, network, path, tls=tls, mode=mode)


@pytest.mark.parametrize("path", ["sockmap", "copy"])
def test_more_than_4_gib(make, path):
    """Counters are 64 bits wide and sequence numbers wrap; every byte says where it belongs."""
    size = (4 << 30) + 12345678
    with harness.light_node() as (destination, default):
        router = plain_router(make, [destination], default=default, splice='mode = "%s"\n' % path)
        with harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "plain") as load:
            load("open 1 1")
            router.wait_path(path, "user0@example.com")
            for command in ("check", "push"):
                assert load("%s %d 65536" % (command, size))["bytes"] == size
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == (path, path)
    assert int(session["bytes_down"]) == size + len("b OK BULK\r\nb OK PUSH\r\n")
    assert int(session["bytes_up"]) == size + len("b CHECK %d 65536\r\nb PUSH %d\r\n" % (size, size))


def test_ten_thousand_round_trips_wake_nobody(make):
    """While the kernel moves small messages, the workers sleep."""
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node], server="threads = 1")

    def switches():
        total = 0
        tasks = "/proc/%d/task" % router.process.pid
        for task in os.listdir(tasks):
            with open("%s/%s/comm" % (tasks, task), encoding="ascii") as f:
                if not f.read().startswith("worker"):
                    continue
            with open("%s/%s/status" % (tasks, task), encoding="ascii") as f:
                total += sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", f.read())))
        return total

    with login(router) as client:
        client.command("b NOOP")
        before, start = switches(), time.monotonic()
        for _ in range(10000):
            client.command("n NOOP")
        woken, seconds = switches() - before, time.monotonic() - start
        # the scan once a second is all there is
        assert woken <= 20 + 5 * seconds, (woken, seconds)


def test_SES_84_half_close_both_orders(make):
    def serve(conn):
        user = node_login(conn)
        if user == "first":  # the node ends first
            conn.line()
            conn.send("node's last\r\n")
            conn.sock.shutdown(socket.SHUT_WR)
            conn.late = conn.line()
        else:
            while conn.read():
                pass
            conn.send("after the client's end\r\n")

    node = make.node("node1", serve, tls="plain")
    router = plain_router(make, [node])
    with login(router, "first") as client:
        client.send("go\r\n")
        assert client.eof() == b"node's last\r\n"
        client.send("client's last\r\n")
        wait_until(lambda: getattr(node.connections[-1], "late", None) == "client's last")
    with login(router, "second") as client:
        client.send("x" * 100000)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.eof() == b"after the client's end\r\n"
    for session in router.wait_sessions(2):
        assert session["path_up"] == "sockmap"


@pytest.mark.parametrize("tls, mode, path", [RELAYS[0], *TLS_RELAYS])
def test_bridge_idle_on_sockmap(make, tls, mode, path):
    router = relay_router(make, [make.node("node1", tls=tls)], tls, mode, server='bridge_idle = "1s"')
    with relay_login(router, tls, path) as client:
        for i in range(4): # a byte now and then keeps it
            time.sleep(0.5)
            start = time.monotonic()
            client.command("n%d NOOP" % i)
        assert client.eof() == b""
        assert 0.7 < time.monotonic() - start < 5
    session = last_session(router)
    assert session["reason"] == "idle" and session["path_up"] == path


def test_sessions_that_end_at_once_leave_nothing(make):
    """Logins whose clients hang up with the answer, from four threads: at any moment of the splice."""
    with harness.light_node() as (destination, default):
        router = plain_router(make, [destination], default=default)

        def come_and_go():
            for i in range(750):
                login(router, "user%d" % (i % 20), path=None).close()

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        router.wait_idle()
        assert router.stats()["splice"]["stalls"] == 0
        # Logged from within the start, or not spliced by then: both are right.
        assert {line["path_up"] for line in router.session_lines()} <= {"sockmap", "copy"}
        assert {line["reason"] for line in router.session_lines()} == {"client_eof"}


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_reset_of_either_side_ends_the_other(make, tls, mode, path):
    def serve(conn):
        if node_login(conn) == "node":
            conn.line()
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return
        with contextlib.suppress(OSError):
            while conn.read():
                pass

    node = make.node("node1", serve, tls=tls)
    router = relay_router(make, [node], tls, mode)
    client = relay_login(router, tls, path, "client")
    client.reset()
    session = last_session(router)
    assert (session["reason"], session["path_up"]) == ("client_error", path)
    assert node.connections[-1].closed.wait(harness.PATIENCE)
    with relay_login(router, tls, path, "node") as client:
        client.send("go\r\n")
        client.eof()
    session = last_session(router, 2)
    assert (session["reason"], session["path_up"]) == ("node_error", path)


# ---- when the kernel's paths are not there ----

def need_root():
    assert os.geteuid() == 0, "these tests start processes with other identities"


def as_user(capabilities_text):
    uid, gid = harness.service_user()[2:]
    caps = "+" + ",+".join(capabilities_text.split()) if capabilities_text else ""
    command = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
    if caps:
        command += ["--inh-caps=" + caps, "--ambient-caps=" + caps]
    else:
        command += ["--inh-caps=-all", "--bounding-set=-all"]
    return command


def test_SEC_2_without_cap_bpf(make):
    need_root()
    router = plain_router(make, [make.node("node1", tls="plain")], start=False)
    router.wrapper = as_user("")
    router.start()
    warnings = [line for line in router.lines if "msg=path_unavailable path=sockmap" in line]
    assert len(warnings) == 1 and "level=warn" in warnings[0]
    with login(router, path="copy") as client:
        client.command("b NOOP")
    assert last_session(router)["path_up"] == "copy"
    assert router.stats()["probe"][0]["ok"] is False


def test_capabilities_are_given_back(make, workspace):
    """Started with what loading and binding need; afterwards only binding is left."""
    need_root()
    router = plain_router(make, [make.node("node1", tls="plain")], start=False)
    router.wrapper = as_user("bpf net_admin perfmon net_bind_service")
    router.start()
    with login(router) as client:
        client.command("b NOOP")
        status = capabilities(router)
        assert status["CapEff"] == status["CapPrm"] == "%016x" % (1 << 10)
        assert int(status["CapAmb"], 16) == int(status["CapInh"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert last_session(router)["path_up"] == "sockmap"


def test_SEC_4_root_is_given_up_and_sockmap_still_works(make):
    need_root()
    router = plain_router(make, [make.node("node1", tls="plain")])
    with login(router) as client:
        client.command("b NOOP")
        status = capabilities(router)
        assert status["Uid"] != "0"
        assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "%016x" % (1 << 10)
    assert last_session(router)["path_up"] == "sockmap"


def test_not_pinned_is_a_warning(make, workspace):
    router = plain_router(make, [make.node("node1", tls="plain")],
                          workspace.path + "/not-a-bpf-file-system")
    assert any("msg=not_pinned" in line and "mount -t bpf" in line for line in router.lines)
    with login(router) as client:
        client.command("b NOOP")
    assert last_session(router)["path_up"] == "sockmap"


def test_SEC_10_what_somebody_else_put_there_is_not_used(make, workspace, pins):
    """A link is not followed and a stranger's directory not taken, not even their modes change."""
    victim = workspace.mkdir("victim")
    os.chmod(victim, 0o755)
    node = make.node("node1", tls="plain")
    os.symlink(victim, pins)
    router = plain_router(make, [node], pins)
    assert any("msg=not_pinned" in line for line in router.lines)
    assert os.stat(victim).st_mode & 0o777 == 0o755 and not os.listdir(victim)
    router.close()
    os.unlink(pins)
    os.mkdir(pins, 0o755)
    os.chown(pins, 65534, 65534)
    router = plain_router(make, [node], pins)
    assert any("msg=not_pinned" in line and "somebody else" in line for line in router.lines)
    assert os.stat(pins).st_mode & 0o777 == 0o755 and not os.listdir(pins)
    router.close()
    os.chown(pins, 0, 0)
    router = plain_router(make, [node], pins)
    assert not any("msg=not_pinned" in line for line in router.lines)
    assert os.stat(pins).st_mode & 0o777 == 0o700
    assert not [name for name in os.listdir(pins + "/v2") if name.endswith("_new")]
    with login(router):
        assert rows(pins)


def test_SEC_10_the_next_start_replaces_the_pins(make, pins):
    node = make.node("node1", tls="plain")
    first = plain_router(make, [node], pins)
    with login(first) as client:
        client.command("b NOOP")
        first.stop(expect=-9, how=9)
        client.eof() # a crash ends its sessions
    assert os.listdir(pins + "/v2") and rows(pins, "sources") == []
    second = plain_router(make, [node], pins)
    with login(second) as client:
        client.command("b NOOP")
        assert len(rows(pins)) == 2


# ---- what it says about itself ----

def test_probe_prints_a_table_and_exits_0():
    done = subprocess.run([harness.BUILD + "/homingd", "--probe"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^sockmap valve, drain +yes", done.stdout, re.M)
    for cipher in ("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"):
        assert re.search(r"^record %s +yes" % cipher, done.stdout, re.M), done.stdout
    assert re.search(r"^ktls", done.stdout, re.M)


def test_section_5_3_sessions(make):
    """Filters, order, totals, idle time, every stage's fields."""
    one, two = make.node("node1", tls="plain"), make.node("node2", tls="plain")
    router = plain_router(make, [one, two])
    router.map({"bob": "node2"})
    with login(router) as first, login(router) as second, login(router, "bob") as third, \
            router.client(tls=False) as fresh:
        fresh.line()
        for client in (first, second, third):
            client.command("n NOOP")
        rows = router.sessions()["sessions"]
        assert [row["account"] for row in rows] == ["alice", "alice", "bob", None]
        assert rows[3]["stage"] == "dialogue" and rows[3]["node"] is rows[3]["path_up"] is None
        assert list(rows[0]) == ["id", "account", "protocol", "listener", "client", "node", "stage",
                                 "path_up", "path_down", "handed_over", "bytes_up", "bytes_down", "age_s",
                                 "idle_s"]
        assert rows[0]["client"] == "%s:%d" % first.sock.getsockname()
        assert (rows[0]["node"], rows[2]["node"]) == ("node1", "node2")
        assert (rows[0]["protocol"], rows[0]["listener"]) == ("imap", "imap")
        assert router.sessions(identifier="ALICE")["total"] == 2
        assert [row["account"] for row in router.sessions(destination="node2")["sessions"]] == \
            ["bob"]
        limited = router.sessions(limit=1)
        assert (limited["total"], limited["shown"]) == (4, 1)
        assert limited["sessions"][0]["id"] == rows[0]["id"]
        assert router.sessions(identifier="nobody") == {"total": 0, "shown": 0, "sessions": []}
        for query, status in (("limit=0", 400), ("limit=10001", 400), ("limit=x", 400),
                              ("destination=ghost", 404), ("identifier=", 400), ("x=1", 400)):
            assert router.admin("GET", "/sessions?" + query)[0] == status, query
        # bytes within a second; idle time grows and never passes the age
        wait_until(lambda: router.sessions()["sessions"][0]["bytes_up"] == len("n NOOP\r\n"))
        wait_until(lambda: router.sessions()["sessions"][0]["idle_s"] >= 2)
        third.command("n NOOP")
        wait_until(lambda: router.sessions(identifier="bob")["sessions"][0]["idle_s"] <= 1)
        for row in router.sessions()["sessions"]:
            assert row["age_s"] >= row["idle_s"]
        shown = router.ctl("sessions", "--account", "bob")
        assert shown.returncode == 0 and "sockmap/sockmap" in shown.stdout
        assert shown.stdout.splitlines()[-1] == "1 of 1 sessions" and "alice" not in shown.stdout
        assert "2 of 4 sessions" in router.ctl("sessions", "--limit", "2").stdout
        assert router.ctl("sessions", "--node", "ghost").returncode == 1
        assert router.ctl("sessions", "frobnicate").returncode == 2
    wait_until(lambda: router.sessions()["total"] == 0)


def test_GRD_31_how_the_connections_of_sessions_fare(make):
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node])
    keys = ["rtt_us", "rttvar_us", "retransmits", "cwnd", "limited_by", "receive_bytes",
            "receive_limit", "send_bytes", "send_limit", "memory_bytes"]
    with login(router) as client, router.client(tls=False) as fresh:
        fresh.line()
        client.command("n NOOP")
        assert "net" not in router.sessions()["sessions"][0]
        rows = router.sessions(net=1)["sessions"]
        for leg in (rows[0]["net"]["client"], rows[0]["net"]["node"], rows[1]["net"]["client"]):
            assert list(leg) == keys
            assert leg["rtt_us"] > 0 and leg["cwnd"] > 0 and leg["receive_limit"] > 0, leg
            assert leg["limited_by"] in ("application", "network"), leg
        assert rows[1]["net"]["node"] is None  # before the login
        assert router.sessions(net=1, identifier="nobody")["sessions"] == []
        for query, status in (("net=0", 400), ("net=x", 400), ("net=1&limit=1001", 400),
                              ("net=1&limit=1000", 200)):
            assert router.admin("GET", "/sessions?" + query)[0] == status, query
        shown = router.ctl("sessions", "--net").stdout.splitlines()
        assert [line.split()[3] for line in shown[1:3]] == ["client", "node"], shown
        assert shown[0].split()[:4] == ["id", "account", "stage", "leg"]
        assert len(shown) == 5 and shown[-1] == "2 of 2 sessions", shown



def test_sessions_answer_while_stopping(make):
    """Every worker is asked also when it is going; nothing is left waiting."""
    router = plain_router(make, [make.node("node1", tls="plain")])
    with login(router):
        router.process.send_signal(signal.SIGTERM)
        wait_until(lambda: router.admin("GET", "/readyz")[0] == 503)
        assert router.sessions()["total"] == 1
    router.stop()


def test_homingctl_probe_and_stats(make):
    router = plain_router(make, [make.node("node1", tls="plain")])
    done = router.ctl("probe")
    assert done.returncode == 0
    assert re.search(r"^bpf program +yes", done.stdout, re.M)
    assert "stalls" in router.ctl("stats").stdout
    assert set(router.stats()["splice"]) == {"backlog", "bulk", "resumed", "stalls", "refused",
                                             "key_updates"}


# ---- many ----

def test_9000_sessions_at_once(make):
    """Plain legs, each session its own account; all of them answer, in turn and together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        destination, default = stack.enter_context(harness.light_node())
        router = plain_router(make, [destination], default=default,
                              listeners={"imap": ("plain", "max_connections = 20000")})
        with harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "plain") as load:
            assert load("open 9000 64")["open"] == 9000
            wait_until(lambda: router.stats()["paths"]["sockmap"]["active"] == 18000)
            listed = router.sessions(limit=10000)
            assert listed["total"] == listed["shown"] == 9000
            assert load("noop")["answered"] == 9000
        router.wait_idle()
        paths = router.stats()["paths"]
        assert paths["sockmap"]["active"] == 0 and set(paths) == {"sockmap"}
        assert {s["path_up"] for s in router.session_lines()} == {"sockmap"}


@pytest.mark.parametrize("path", ["sockmap", "copy"])
def test_segments_that_repeat_bytes(make, network, pins, path):
    """A retransmission merged with new data: TCP skips what it had, and so must the kernel's path."""
    got = []

    def serve(conn):
        if node_login(conn) is None:
            return
        while True:
            got.append(conn.line())
            conn.send("got %d\n" % len(got))

    router = plain_router(make, [make.node("node1", serve, tls="plain")], pins, start=False,
                          server='shutdown_grace = "1s"',
                          splice='mode = "%s"\n' % path)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace('protocol = "imap"\nbind = ["127.0.0.1:0"]',
                             'protocol = "imap"\nbind = ["10.99.0.1:0"]'))
    client = rawtcp.RawClient("10.99.0.1", "10.99.0.2", 0)
    try:
        router.start()
        client.port = router.ports["imap"]
        client.connect()
        client.wait_for(b"* OK")
        client.wait_for(b"\n")
        client.say(b"a LOGIN alice pw\r\n")
        client.wait_for(b"a OK")
        router.wait_path(path, "alice")
        client.again(18, b"first\n") # with what user space had read before
        client.wait_for(b"got 1\n")
        expected = ["first"]
        repeated = 18
        for i in range(20):
            line = "line %d %s" % (i, "x" * (i * 60))
            half = len(line) // 2
            client.say(line[:half].encode())
            client.again(half, line[half:].encode() + b"\n") # merged
            client.wait_for(b"got %d\n" % (2 + i))
            client.again(5) # nothing new: TCP drops it itself
            repeated += half
            expected.append(line)
        client.say(b"y" * 1000)
        client.say(b"y" * 1000 + b"\n")
        client.again(1500, b"z\n")
        client.wait_for(b"got %d\n" % (len(expected) + 2))
        expected += ["y" * 2000, "z"]
        repeated += 1500
        assert got == expected
        if path == "sockmap":
            up = [row for row in rows(pins) if row["direction"] == "HM_UP"]
            assert up[0]["repeated"] == repeated and up[0]["state"] == "HM_REDIRECTING"
            assert up[0]["redirected"] == sum(len(line) + 1 for line in expected)
    finally:
        client.close()
