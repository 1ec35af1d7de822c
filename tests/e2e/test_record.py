# SPDX-License-Identifier: Apache-2.0
"""The record path with real peers (REC-1, REC-20 to REC-36): changes of keys, suites, limits of a peer,
bytes around the switch, ends that are clean and ends that are not."""

import base64
import concurrent.futures
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

import harness
import pytest
from bulk import Bulk
from harness import PATIENCE, memory_holds, needs_openssl, node_login, wait_until
from legs import TLS_RELAYS, relay_login, relay_router
from logins import last_session
from plain_legs import pins, rows  # noqa: F401
from rawtls import Program, Records, Wire

GREETING = "* OK [CAPABILITY IMAP4rev1 SASL-IR] here\r\n"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SUITES = {
    "1.2": ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305"),
    "1.3": ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
}
ALL_SUITES = [(version, suite) for version, names in SUITES.items() for suite in names]


def only(context, version):
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def as_tls(node):
    """A node that a test makes of a plain socket: the router takes it for one of TLS."""
    return node.toml().replace('tls = "plain"', 'tls = "implicit"')


def s_client(port, *arguments):
    return Program("openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-crlf", *arguments)


def s_client_login(router, port, *arguments, path="record"):
    client = s_client(port, *arguments)
    client.wait("* OK")
    client.say("a LOGIN alice pw\n")
    client.wait("a OK")
    router.wait_path(path, "alice")
    return client


class ServerNode:
    """openssl s_server as a node; the test speaks for it."""

    def __init__(self, workspace, *arguments):
        cert, key, pin = workspace.certificate("node1", ["node1.test"])
        port = harness.free_port()
        self.program = Program("openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", cert,
                               "-key", key, "-crlf", *arguments)
        self.program.wait("ACCEPT")
        self.toml = harness.destination_toml("node1", "127.0.0.1", port, "implicit", pin, "none")

    def let_in(self):
        self.program.wait("CIPHER is")
        self.program.wait("\n")
        self.program.say(GREETING.replace("\r", ""))
        tag = self.program.wait(" AUTHENTICATE PLAIN").splitlines()[-1].split(" ")[0]
        self.program.wait("\n")
        self.program.say("%s OK in\n" % tag)


def hear_login(conn, context):
    """A node on a plain socket becomes one of TLS; its end, and the login's tag and user."""
    node = Records(conn.sock, context, server=True)
    node.send(GREETING)
    tag, _, _, message = node.line().split(" ")
    return node, tag, base64.b64decode(message).split(b"\0")[1].decode()


# ---- keys that change ----

def serve_to_the_end(conn):
    """Ends as it should, with close_notify."""
    with contextlib.suppress(EOFError):
        harness.node_imap(conn)
    conn.sock = conn.sock.unwrap()


@pytest.mark.parametrize("command", ["k", "K"])
def test_REC_32_a_client_changes_its_keys(make, command):
    """Also with a request for ours: then the router's KeyUpdate is seen, and what it says behind it is
    read with other keys."""
    router = make.router([make.node("node1", serve_to_the_end)])
    with s_client_login(router, router.ports["imap"], "-tls1_3", "-msg") as client:
        for i in range(40): # more than may come in a row
            client.change_keys(command)
            client.say("b%d NOOP\n" % i)
            said = client.wait("b%d OK NOOP" % i)
            assert ("<<< TLS 1.3, Handshake [length 0005], KeyUpdate" in said) == (command == "K")
        client.say("Q\n") # ends with close_notify
        session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("record", "record")
    assert session["reason"] == "client_eof"


@pytest.mark.parametrize("command", ["k", "K"])
def test_REC_32_a_node_changes_its_keys(make, workspace, command):
    node = ServerNode(workspace, "-tls1_3", "-msg")
    with node.program as program:
        router = make.router([node.toml], default="node1")
        with router.client() as client:
            client.line()
            client.send("a LOGIN alice pw\r\n")
            node.let_in()
            assert client.line() == "a OK in"
            router.wait_path("record", "alice")
            for i in range(40):
                program.change_keys(command)
                program.say("* %d EXISTS\n" % i)
                client.expect("* %d EXISTS" % i)
                client.send("b%d NOOP\r\n" % i)
                said = program.wait("b%d NOOP" % i)
                assert ("<<< TLS 1.3, Handshake [length 0005], KeyUpdate" in said) == (command == "K")
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("record", "record")
    assert session["reason"] in ("client_eof", "node_eof", "truncated") # the client leaves


# ---- suites ----

@pytest.mark.parametrize("version, suite", ALL_SUITES)
def test_REC_1_suites_of_the_record_path(make, workspace, version, suite):
    """Both legs with each of them; lines of all lengths up to a few records, both ways."""
    words = ["-tls1_2", "-cipher", suite] if version == "1.2" else ["-tls1_3", "-ciphersuites", suite]
    node = ServerNode(workspace, *words)
    with node.program as program:
        router = make.router([node.toml], default="node1")
        with s_client(router.ports["imap"], *words) as client:
            client.wait("Cipher is " + suite)
            client.wait("* OK")
            client.say("a LOGIN alice pw\n")
            node.let_in()
            client.wait("a OK in")
            router.wait_path("record", "alice")
            for size in (1, 500, 16383, 16384, 16385, 50000):
                for speaker, hearer in ((client, program), (program, client)):
                    line = "x%d-%s-\n" % (size, "0123456789" * (size // 10))
                    speaker.say(line)
                    hearer.wait(line[:-1])
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("record", "record")
    if version == "1.3": # the log has the standard's name
        assert suite in router.log()


@pytest.mark.parametrize("suite", [
    pytest.param("ECDHE-ECDSA-AES128-SHA256", marks=needs_openssl("no suites with CBC and SHA-256")),
    "ECDHE-ECDSA-AES256-SHA"])
def test_REC_2_a_node_without_our_suites_keeps_openssl_on_its_leg(make, suite):
    """One leg on each; the path is that of the leg that costs more."""
    bulk = Bulk(8 << 20)
    node = make.node("node1", bulk.serve)
    only(node.context, "1.2").set_ciphers(suite)
    router = make.router([node])
    with relay_login(router, "implicit", "copy") as client:
        assert node.connections[0].sock.cipher()[0] == suite
        bulk.run(client)
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == ("copy", "copy")


def test_REC_2_modes_are_obeyed_on_tls_legs(make):
    for mode, path in (*((mode, path) for _, mode, path in TLS_RELAYS), ("record", "record"),
                       ("sockmap", "copy")):
        router = relay_router(make, [make.node("node1")], "implicit", mode)
        with relay_login(router, "implicit", path) as client:
            assert client.command("b NOOP") == ["b OK NOOP"]
        session = last_session(router)
        assert (session["path_up"], session["path_down"]) == (path, path), mode


# ---- limits of a peer ----

@needs_openssl("no extension for shorter records")
@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
@pytest.mark.parametrize("version, most", [("1.2", 8 + 16), ("1.3", 1 + 16)])
def test_REC_22_max_fragment_length(make, mode, path, version, most):
    """No record is longer than the client asked for (RFC 6066 section 4), before and after the login."""
    text = "".join("%07d\r\n" % i for i in range(20000))

    def serve(conn):
        if node_login(conn) is None:
            return
        while conn.line():
            conn.send(text + "done\r\n")

    router = make.router([make.node("node1", serve)], extra='[splice]\nmode = "%s"\n' % mode)
    with Wire(router.ports["imap"]) as wire, s_client_login(
            router, wire.port, "-maxfraglen", 512, "-tls1_" + version[-1], path=path) as client:
        before = len(wire.records())
        client.say("b\n")
        said = client.wait("done\r\n")
        assert text in said
        assert max(size for _, size in wire.records()) <= 512 + most
        assert len(wire.records()) - before >= len(text) // 512
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == (path, path)


# ---- around the switch ----

def at_once(count, run):
    """run(i) in a thread each; what fails is raised."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


EARLY = "b0 NOOP\r\nb1 NO"
LATER = "OP\r\nb2 NOOP\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_REC_20_what_a_client_says_around_its_login_arrives_once(make, version):
    """Bytes in the login's record and in one behind it, cut at every byte of them on the wire."""
    heard, lock = {}, threading.Lock()

    def serve(conn):
        user = node_login(conn)
        for _ in range(4):
            line = conn.line()
            with lock:
                heard.setdefault(user, []).append(line)
            conn.send("%s OK\r\n" % line.split(" ")[0])

    router = make.router([make.node("node1", serve)])
    context = only(router.tls_context(), version)
    ready, count = threading.Barrier(64), [0]
    wire_bytes = len("a LOGIN user000 pw\r\n" + EARLY + LATER) + 2 * (5 + (24 if version == "1.2" else 17))

    def run(i):
        ready.wait(PATIENCE)
        for cut in range(i, wire_bytes, 64):
            with Records(router.connect(), context) as client:
                assert client.line().startswith("* OK")
                sealed = client.seal("a LOGIN user%03d pw\r\n%s" % (cut, EARLY)) + client.seal(LATER)
                assert len(sealed) == wire_bytes
                client.sock.sendall(sealed[:cut])
                time.sleep(0.1) # the router has it
                client.sock.sendall(sealed[cut:])
                assert client.line().startswith("a OK")
                assert [client.line() for _ in range(3)] == ["b0 OK", "b1 OK", "b2 OK"]
                client.send("b3 NOOP\r\n")
                assert client.line() == "b3 OK"
                with lock:
                    count[0] += 1

    at_once(64, run)
    assert count[0] == wire_bytes
    assert heard == {"user%03d" % cut: ["b%d NOOP" % i for i in range(4)] for cut in range(wire_bytes)}
    lines = router.wait_sessions(wire_bytes)
    assert {(line["path_up"], line["path_down"]) for line in lines} == {("record", "record")}


@pytest.mark.parametrize("version", VERSIONS)
def test_REC_20_what_a_node_says_around_its_answer_arrives_once(make, version):
    """Likewise from the other side: in the record of its OK, and in one behind it."""
    early, later = "* 1 EXISTS\r\n* 2 EX", "ISTS\r\n* 3 EXISTS\r\n"
    sizes = set()

    def serve(conn):
        node, tag, user = hear_login(conn, context)
        cut = int(user[4:])
        sealed = node.seal("%s OK in\r\n%s" % (tag, early)) + node.seal(later)
        sizes.add(len(sealed) - len(tag))
        conn.sock.sendall(sealed[:cut])
        time.sleep(0.1)
        conn.sock.sendall(sealed[cut:])
        while node.line():
            node.send("* 4 EXISTS\r\n")

    node = make.node("node1", serve, tls="plain")
    context = only(node.context, version)
    router = make.router([as_tls(node)], default="node1")
    wire_bytes = len("x OK in\r\n" + early + later) + 2 * (5 + (24 if version == "1.2" else 17))

    def run(i):
        for cut in range(i, wire_bytes, 32):
            with router.client() as client:
                client.line()
                client.send("a LOGIN user%d pw\r\n" % cut)
                assert client.line() == "a OK in"
                assert [client.line() for _ in range(3)] == ["* %d EXISTS" % i for i in (1, 2, 3)]
                client.send("go\r\n")
                assert client.line() == "* 4 EXISTS"

    at_once(32, run)
    assert len(sizes) == 1 and sizes.pop() <= wire_bytes
    lines = router.wait_sessions(wire_bytes)
    assert {(line["path_up"], line["path_down"]) for line in lines} == {("record", "record")}


# ---- ends ----

@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tls, mode, path", TLS_RELAYS)
def test_SES_84_half_close_both_orders_over_tls(make, version, tls, mode, path):
    """close_notify of one side is passed on, and the other side's bytes go on arriving."""
    late = {}

    def serve(conn):
        node, tag, user = hear_login(conn, context)
        node.send("%s OK in\r\n" % tag)
        if user == "first": # the node ends first
            node.line()
            node.send("node's last\r\n")
            node.end()
            late["node"] = node.line(), node.read()
        else:
            data = node.buffer
            while piece := node.read():
                data += piece
            node.send("got %d bytes\r\n" % len(data))
            node.end()

    node = make.node("node1", serve, tls="plain")
    context = only(node.context, version)
    router = relay_router(make, [as_tls(node)], tls, mode, default="node1")
    with Records(router.connect(), only(router.tls_context(), version)) as client:
        client.line()
        client.send("a LOGIN first pw\r\n")
        assert client.line() == "a OK in"
        client.send("go\r\n")
        assert client.line() == "node's last"
        assert client.read() == b""
        client.send("client's last\r\n")
        client.end()
        wait_until(lambda: late.get("node") == ("client's last", b""))
    with Records(router.connect(), only(router.tls_context(), version)) as client:
        client.line()
        client.send("a LOGIN second pw\r\n")
        assert client.line() == "a OK in"
        client.send("x" * 1000000)
        client.end()
        assert client.line() == "got 1000000 bytes"
        assert client.read() == b""
    for session in router.wait_sessions(2):
        assert (session["path_up"], session["path_down"]) == (path, path)
        assert session["reason"] in ("client_eof", "client_quit", "node_eof"), session


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tls, mode, path", TLS_RELAYS)
@pytest.mark.parametrize("how", ["cut", "flipped", "replayed"])
def test_REC_30_a_leg_that_breaks_is_no_clean_end(make, version, tls, mode, path, how):
    """A connection that is cut, a record with a bit flipped, one that comes twice: what was whole is
    delivered, the node sees no close_notify, and a client that can be told gets an alert."""
    ended = threading.Event()

    def serve(conn):
        node, tag, _ = hear_login(conn, context)
        node.send("%s OK in\r\n" % tag)
        conn.heard = [node.line()]
        try:
            conn.heard.append(node.read())
        except ssl.SSLError as e:
            conn.heard.append(e.reason or type(e).__name__)
        ended.set()

    node = make.node("node1", serve, tls="plain")
    context = only(node.context, version)
    router = relay_router(make, [as_tls(node)], tls, mode, default="node1")
    with Records(router.connect(), only(router.tls_context(), version)) as client:
        client.line()
        client.send("a LOGIN alice pw\r\n")
        assert client.line() == "a OK in"
        router.wait_path(path, "alice")
        whole, bad = client.seal("whole\r\n"), bytearray(client.seal("not heard\r\n"))
        bad[-20] ^= 1
        client.sock.sendall(whole + {"cut": b"", "flipped": bad, "replayed": whole}[how])
        if how == "cut":
            client.sock.shutdown(socket.SHUT_WR)
        else:
            with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
                client.read()
        assert ended.wait(PATIENCE)
    assert node.connections[0].heard == ["whole", "UNEXPECTED_EOF_WHILE_READING"]
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == (path, path)
    assert session["reason"] == ("truncated" if how == "cut" else "client_error")
    assert session["bytes_up"] == str(len("whole\r\n"))


# ---- memory ----

def test_REC_10_an_idle_session_is_small(make, workspace):
    """Two TLS legs, and all that the heap holds for their session. What the first ones need once
    (contexts, scratch, what is kept of each account) is not counted."""
    if "-san" in harness.BUILD:
        pytest.skip("the sanitizers' heap is another")
    first, more, count = 400, 1600, workspace.write("heap", "")
    with harness.light_node(workspace.certificate("node1", ["node1.test"])) as (node, _):
        router = make.router([node], server="threads = 1",
                             listeners={"imap": ("implicit", "max_connections = 10000")},
                             environment=dict(harness.preloaded("heap"), HEAP_COUNT=count))
        found = []
        with harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "tls",
                          "accounts=%d" % first) as load:
            for sessions in (first, more):
                assert load("open %d 16" % sessions)["failed"] == 0
                time.sleep(1.5) # what has ended goes, and paths settle
                with open(count, "rb") as f:
                    found.append(int.from_bytes(f.read(), sys.byteorder))
            assert router.stats()["paths"]["record"]["active"] == 2 * (first + more)
    assert 1000 < (found[1] - found[0]) / more <= 1.2 * 1024


# ---- secrets ----

def keys_of(path, label):
    with open(path, encoding="ascii") as f:
        return [bytes.fromhex(line.split()[2]) for line in f if line.startswith(label + " ")]


def test_REC_36_traffic_secrets_are_gone_with_the_session(make, workspace):
    """Of both legs and directions; they are in memory as long as the session is."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    node = make.node("node1")
    node.context.keylog_filename = workspace.path + "/node.keys"
    router = make.router([node], server="threads = 1")
    context = only(router.tls_context(), "1.3")
    context.keylog_filename = workspace.path + "/client.keys"
    with harness.Client(router.connect(), context) as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.wait_path("record", "alice")
        assert client.command("b NOOP") == ["b OK NOOP"]
        secrets = [key for leg in ("client", "node") for label in ("CLIENT", "SERVER")
                   for key in keys_of("%s/%s.keys" % (workspace.path, leg), label + "_TRAFFIC_SECRET_0")]
        assert len(secrets) == 4
        pid = router.process.pid
        for secret in secrets:
            assert len(memory_holds(pid, secret)) == 1 # the session's own, no copy
    last_session(router)
    for secret in secrets:
        assert memory_holds(pid, secret) == []


# ---- what an operator sees ----

def test_rows_of_a_tls_session(make, pins):  # noqa: F811
    router = relay_router(make, [make.node("node1")], "implicit", "auto", pins)
    with relay_login(router, "implicit", "record") as client:
        for i in range(50):
            assert client.command("n%d NOOP" % i) == ["n%d OK NOOP" % i]
        up = sum(len("n%d NOOP\r\n" % i) for i in range(50))

        def there():
            flows = {row["direction"]: row for row in rows(pins)}
            return len(flows) == 2 and flows["HM_UP"]["passed"] == up and flows
        for row in wait_until(there).values():
            assert (row["path"], row["state"], row["protocol"]) == ("HM_RECORD", "HM_USERSPACE", "imap")
            assert row["redirected"] == 0
        stats = router.stats()["paths"]["record"]
        assert stats["active"] == 2 and stats["started"] == 2
    last_session(router)
    wait_until(lambda: rows(pins) == [])
    assert router.stats()["paths"]["record"]["active"] == 0


def test_probe_names_the_ciphers_of_the_record_path():
    done = subprocess.run([harness.BUILD + "/homingd", "--probe"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows_ = {line.split("  ")[0]: line.split()[-1] for line in done.stdout.splitlines() if "record " in line}
    assert rows_ == dict.fromkeys(("record AES-128-GCM", "record AES-256-GCM",
                                   "record CHACHA20-POLY1305"), "yes")
