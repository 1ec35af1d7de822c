# SPDX-License-Identifier: Apache-2.0
"""sessions.md, IMAP: nodes that do not behave, and what a node is told."""

import base64
import os
import threading
import time

import harness
import pytest
from harness import node_imap, node_login, wait_until
from logins import UNAVAILABLE, last_session, login, served


# ---- nodes that misbehave ----

def serve_preauth(conn):
    conn.send("* PREAUTH welcome\r\n")
    conn.read()


def serve_bye(conn):
    conn.send("* BYE go away\r\n")
    conn.read()


def serve_early_success(conn):
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\na OK done\r\n")
    while conn.read():
        pass


def serve_half_greeting(conn):
    conn.send("* OK [CAPA")


def serve_endless_line(conn):
    conn.send("* OK " + "x" * 10000)
    conn.read()


def serve_endless_lines(conn):
    conn.send("* OK hi\r\n")
    conn.send("* 1 EXISTS\r\n" * 1000)
    conn.read()


def serve_close_in_replay(conn):
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
    conn.line()


def serve_continuation_after_credential(conn):
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
    conn.line()
    conn.send("+ more\r\n")
    conn.read()


def serve_garbage(conn):
    conn.send(os.urandom(4096))
    conn.read()


def serve_close(conn):
    pass


@pytest.mark.parametrize("serve,reason", [
    (serve_preauth, "node_refused"), (serve_bye, "node_refused"),
    (serve_early_success, "node_refused"), (serve_half_greeting, "node_eof"),
    (serve_endless_line, "node_refused"), (serve_endless_lines, "node_refused"),
    (serve_close_in_replay, "node_eof"), (serve_continuation_after_credential, "node_refused"),
    (serve_garbage, "node_refused"), (serve_close, "node_eof")])
def test_section_9_bad_nodes_give_unavailable(make, serve, reason):
    node = make.node("node1", serve)
    router = make.router([node], server='backend_timeout = "5s"')
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice very-secret-pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] in (reason, "node_timeout")
    router.wait_idle()
    assert router.stats()["nodes"]["node1"]["unavailable"] == 1
    if serve not in (serve_close_in_replay, serve_continuation_after_credential):
        sent = b"".join(conn.received for conn in node.connections)
        assert b"AUTHENTICATE" not in sent and b"very-secret" not in sent


@pytest.mark.parametrize("stage", ["greeting", "replay"])
def test_SES_76_node_that_hangs(make, stage):
    def serve(conn):
        if stage == "replay":
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        while conn.read():
            pass

    router = make.router([make.node("node1", serve)], server='backend_timeout = "1s"')
    with router.client() as c:
        c.line()
        start = time.monotonic()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
        assert 0.8 < time.monotonic() - start < 15
    assert last_session(router)["reason"] == "node_timeout"
    status = router.admin("GET", "/destinations")[1]["destinations"][0]
    # Section 8.1: the dial window counts for the node, a silent replay for the client.
    assert status["host_level_failure"] == (stage == "greeting")


def test_SES_46_retry_after_one_reset(make):
    first = threading.Event()

    def serve(conn):
        if not first.is_set():
            first.set()
            return
        node_imap(conn)

    router = make.router([make.node("node1", serve)])
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")


def test_SES_46_node_down(make, workspace):
    port = harness.free_port()
    router = make.router([harness.destination_toml("node1", "127.0.0.1", port, "implicit",
                                                   "00" * 32)], default="node1")
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] == "node_unreachable"


def test_SES_45_names_addresses_and_sources(make):
    """A name with several addresses (::1 has no listener); source addresses alternate."""
    node = make.node("node1")
    toml = harness.destination_toml("node1", "localhost", node.port, "implicit", node.pin, "none",
                                    'source_ips = ["127.0.5.1", "127.0.5.2"]')
    router = make.router([toml], default="node1", server="threads = 1")
    for _ in range(4):
        with router.client() as c:
            c.line()
            assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
    peers = [conn.peer for conn in node.connections]
    assert peers == ["127.0.5.1", "127.0.5.2"] * 2, peers


def test_SES_46_name_that_does_not_resolve(make):
    toml = harness.destination_toml("node1", "no.such.host.invalid", 993, "implicit", "00" * 32)
    router = make.router([toml], default="node1", server='backend_timeout = "3s"')
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] in ("node_unreachable", "node_timeout")


# ---- STARTTLS towards the node ----

def test_starttls_and_plain_legs(make):
    nodes = [make.node("node1", tls="starttls"), make.node("node2", tls="plain")]
    nodes[0].serve = lambda conn: node_imap_caps(conn, "IMAP4rev1 STARTTLS SASL-IR")
    router = make.router(nodes)
    router.map({"bob": "node2"})
    for user in ("alice", "bob"):
        with router.client("imap") as c:
            c.line()
            assert c.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
            assert c.command("b NOOP") == ["b OK NOOP"]


def node_imap_caps(conn, capabilities):
    if node_login(conn, capabilities=capabilities) is None:
        return
    while True:
        words = conn.line().split(" ")
        conn.send("%s OK %s\r\n" % (words[0], words[1]))


def test_node_without_starttls_sees_no_credential(make):
    node = make.node("node1", lambda c: node_imap_caps(c, "IMAP4rev1 XSTARTTLS"), tls="starttls")
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert b"AUTHENTICATE" not in b"".join(conn.received for conn in node.connections)


@pytest.mark.parametrize("joined", [True, False])
def test_section_9_response_injection(make, joined):
    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n")
        tag = conn.line().split(" ")[0]
        if joined:
            conn.send("%s OK go\r\n* CAPABILITY IMAP4rev1 SASL-IR\r\n" % tag)
        else:
            conn.send("%s OK go\r\n" % tag)
            conn.send("* CAPABILITY IMAP4rev1 SASL-IR\r\n")
        conn.read()
        conn.read()

    node = make.node("node1", serve, tls="starttls")
    router = make.router([node], server='backend_timeout = "5s"')
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice very-secret-pw\r\n")
        assert c.eof() == UNAVAILABLE
    if joined:
        assert last_session(router)["reason"] == "starttls_injection"
    assert b"very-secret" not in b"".join(conn.received for conn in node.connections)


def test_SES_54_capabilities_before_tls_are_forgotten(make):
    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 STARTTLS SASL-IR] hi\r\n")
        tag = conn.line().split(" ")[0]
        conn.send("%s OK go\r\n" % tag)
        conn.starttls()
        tag = conn.line().split(" ")[0]
        conn.send("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%s OK\r\n" % tag)
        line = conn.line()
        assert line == "a AUTHENTICATE PLAIN", line  # no SASL-IR any more
        conn.send("+ \r\n")
        conn.line()
        conn.send("a OK in\r\n")
        conn.read()

    node = make.node("node1", serve, tls="starttls")
    router = make.router([node])
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw") == ["a OK in"]


def test_SES_72_literal_that_looks_like_the_verdict(make):
    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        conn.line()
        conn.send("* OK {9}\r\na OK x\r\n tail\r\n")
        conn.send("a NO really not\r\n")
        conn.read()

    router = make.router([make.node("node1", serve)])
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        c.expect("* OK {9}")
        c.expect("a OK x")
        c.expect(" tail")
        c.expect("a NO really not")
        assert c.command("b SELECT INBOX") == ["b BAD Not allowed before authentication."]


# ---- conveying the client ----

def test_section_10_proxy_header(make):
    node = make.node("node1", proxy=True)
    router = make.router([node])
    with router.client(source="127.0.9.9") as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        me = c.sock.getsockname()
    conn = node.connections[0]
    assert conn.proxy_source == me
    assert conn.proxy_destination == ("127.0.0.1", router.ports["imap"])
    assert conn.proxy_tlvs[:7] == b"\x05\x00\x1cHMG1" and len(conn.proxy_tlvs) == 31


def test_section_10_imap_id(make):
    lines = []

    def serve(conn):
        original = conn.line
        conn.line = lambda: lines.append(original()) or lines[-1]
        node_imap_caps(conn, "IMAP4rev1 SASL-IR ID")

    node = make.node("node1", serve)
    router = make.router([node.toml(forwarding="xclient")], default="node1")
    with router.client(source="127.0.9.8") as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        port = c.sock.getsockname()[1]
        id_line = next(line for line in lines if " ID " in line)
        assert id_line.startswith(
            'H1 ID ("x-originating-ip" "127.0.9.8" "x-originating-port" "%d" "x-connected-ip" '
            '"127.0.0.1" "x-connected-port" "%d" "x-proxy-ttl" "6" "x-session-id" "H'
            % (port, router.ports["imap"]))
        assert id_line.endswith('" "x-client-transport" "TLS")')
        assert lines.index(id_line) < next(i for i, line in enumerate(lines) if "AUTH" in line)


def test_SES_60_loop(make):
    """A node that is the router's own listener."""
    router = make.router([make.node("node1")], start=False)
    port = harness.free_port()
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    text = text.replace('bind = ["127.0.0.1:0"]', 'bind = ["0.0.0.0:%d"]' % port, 1)
    text += harness.destination_toml("self", "localhost", port, "implicit", "00" * 32, "none")
    router.workspace.write("homing.toml", text)
    router.map({"alice": "self"})
    router.start()
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] == "loop"


# ---- holds, the breaker, what is passed on ----

def test_SES_51_exactly_one_probe(make):
    hang, waiting = threading.Event(), []

    def serve(conn):
        waiting.append(conn)
        hang.wait(harness.PATIENCE)
        harness.node_imap(conn)

    node = make.node("node1", serve)
    router = make.router([node], server='host_down_threshold = 1\nhost_down_cooldown = "500ms"\n'
                         'backend_timeout = "1s"\nbackend_connect_retries = 0')
    login(router, "alice", "a NO [UNAVAILABLE]")  # the dial window: a host failure
    assert router.admin("GET", "/destinations")[1]["destinations"][0]["down"]
    wait_until(lambda: router.admin("GET", "/destinations")[1]["destinations"][0][
        "down_for_s"] == 0)
    before, results = len(waiting), []
    threads = [threading.Thread(target=lambda i=i: results.append(
        login(router, "user%d" % i, "a "))) for i in range(20)]
    for t in threads:
        t.start()
    wait_until(lambda: len(results) >= 19)
    assert len(waiting) == before + 1
    hang.set()
    for t in threads:
        t.join()
    assert sum(line.startswith("a NO [UNAVAILABLE]") for line in results) >= 19


def node_states(router):
    return {d["destination"]: d for d in router.admin("GET", "/destinations")[1]["destinations"]}


def test_SES_43_the_lookup_comes_after_the_hold(pair):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node1"})
    login(router, "alice")
    router.admin("POST", "/connections/delay?identifier=alice&seconds=2")
    start, took = time.monotonic(), []
    waiting = threading.Thread(target=lambda: took.append((login(router, "Alice"),
                                                           time.monotonic() - start)))
    waiting.start()
    wait_until(lambda: router.stats()["held"] == 1)
    before = router.stats()
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
    # an admin makes it longer while it waits: the deadline is read again
    assert router.admin("POST", "/connections/delay?identifier=alice&seconds=3")[0] == 200
    stats = router.stats()
    assert (stats["cache_hits"], stats["cache_misses"]) == (before["cache_hits"], before["cache_misses"])
    login(router, "bob") # nobody else waits
    assert served(node2) == [] and not took
    waiting.join()
    assert 2.5 < took[0][1] < 20
    assert served(node2) == ["Alice"]
    line = [x for x in router.wait_sessions(3) if "ms_hold" in x]
    assert len(line) == 1 and int(line[0]["ms_hold"]) >= 2500 and line[0]["node"] == "node2"


def test_SES_44_no_leg_and_open_breaker(make):
    node1 = make.node("node1")
    pop3 = harness.destination_toml("pop3only", "127.0.0.1", 1, "implicit", "00" * 32).replace(
        "protocol.imap", "protocol.pop3")
    down = make.node("down", lambda conn: None)
    router = make.router([node1, pop3, down.toml()],
                         server="host_down_threshold = 1\nhost_down_min_clients = 0\n"
                         "backend_connect_retries = 0\n")
    router.map({"alice": "pop3only", "bob": "down"})
    unavailable = b"a NO [UNAVAILABLE] Service temporarily unavailable.\r\n* BYE Try again later.\r\n"

    def refused(user):
        with router.client() as client:
            client.line()
            client.send("a LOGIN %s pw\r\n" % user)
            assert client.eof() == unavailable
        return router.wait_sessions(len(reasons) + 1)[-1]["reason"]

    reasons = []
    for user in ("alice", "alice", "bob", "bob", "bob"):
        reasons.append(refused(user))
    assert reasons == ["node_no_protocol"] * 2 + ["node_eof"] + ["node_down"] * 2
    states = node_states(router)
    assert (states["pop3only"]["consecutive_failures"], states["pop3only"]["down"]) == (0, False)
    assert states["down"]["down"] and states["down"]["consecutive_failures"] == 1
    assert len(down.connections) == 1 # at once: nobody dialled again
    assert "msg=node_no_protocol" in router.log()
    login(router, "carol")
    assert served(node1) == ["carol"]


def test_SES_52_up_and_down_are_a_line_each(make):
    broken = threading.Event()
    broken.set()

    def serve(conn):
        if not broken.is_set():
            harness.node_imap(conn)

    router = make.router([make.node("node1", serve)],
                         server="host_down_threshold = 2\nhost_down_min_clients = 0\n"
                         'host_down_cooldown = "300ms"\nbackend_connect_retries = 0\n')

    def changes():
        return [(x["msg"], x["level"], x["node"]) for x in
                map(harness.parse_logfmt, router.log().splitlines())
                if x.get("msg") in ("node_down", "node_up")]

    login(router, "alice", "a NO [UNAVAILABLE]")
    assert changes() == []
    login(router, "alice", "a NO [UNAVAILABLE]")
    wait_until(lambda: changes() == [("node_down", "warn", "node1")])
    for _ in range(3):
        login(router, "alice", "a NO [UNAVAILABLE]") # refused, or a failed probe: down as before
    assert [c[0] for c in changes()].count("node_up") == 0
    broken.clear()
    wait_until(lambda: login(router, "alice", "a ").startswith("a OK"))
    for _ in range(3):
        login(router, "alice")
    assert changes() == [("node_down", "warn", "node1"), ("node_up", "info", "node1")]


@pytest.mark.parametrize("sasl_ir", [True, False])
def test_SES_70_what_the_node_is_told(make, sasl_ir):
    lines = []

    def serve(conn):
        original = conn.line
        conn.line = lambda: lines.append(original()) or lines[-1]
        node_login(conn, capabilities="IMAP4rev1 AUTH=PLAIN" + (" SASL-IR" if sasl_ir else ""))
        conn.read()

    node1 = make.node("node1", lambda conn: None)
    node2 = make.node("node2", serve)
    router = make.router([node1, node2])
    router.map({"user@example.com": "node2"})
    user = base64.b64encode(b"user@example.com%admin").decode()
    message = base64.b64encode(b"\0user@example.com%admin\0pw").decode()
    with router.client() as client: # the mechanism LOGIN, a tag of the client's own
        client.line()
        client.send("My.Tag-7 AUTHENTICATE LOGIN %s\r\n" % user)
        client.expect("+ UGFzc3dvcmQ6")
        client.send(base64.b64encode(b"pw").decode() + "\r\n")
        assert client.line() == "My.Tag-7 OK [CAPABILITY IMAP4rev1] welcome user@example.com%admin"
    start = "My.Tag-7 AUTHENTICATE PLAIN"
    assert lines == [start + " " + message] if sasl_ir else [start, message]
    assert node1.connections == [] # routed by the account, replayed in full


def test_SES_73_left_over_bytes_of_both_legs(make):
    """Bytes that came with the verdict, and bytes that came with the credential, open stage 9."""
    early = "".join("e%d NOOP\r\n" % i for i in range(200))

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        tag = conn.line().split(" ")[0]
        conn.send("* CAPABILITY X\r\n%s OK in\r\n* 3 EXISTS\r\n* 1 RECENT\r\n" % tag)
        data = conn.buffer
        while len(data) < len(early) + 6:
            data += conn.read()
        conn.send(data)
        conn.read()

    router = make.router([make.node("node1", serve)])
    with router.client() as client:
        client.line()
        client.send("a LOGIN alice pw\r\n" + early)
        for line in ("* CAPABILITY X", "a OK in", "* 3 EXISTS", "* 1 RECENT"):
            client.expect(line)
        row = wait_until(lambda: [s for s in router.sessions(identifier="alice")["sessions"]
                                  if s["stage"] == "established"])[0]
        assert (row["node"], row["account"]) == ("node1", "alice")
        client.send("later\n")
        back = b""
        while len(back) < len(early) + 6:
            back += client.buffer or client.sock.recv(65536)
            client.buffer = b""
        assert back.decode() == early + "later\n"
    line = router.wait_sessions(1)[0]
    assert int(line["bytes_up"]) == len(early) + 6
    assert int(line["bytes_down"]) == len("* 3 EXISTS\r\n* 1 RECENT\r\n") + len(early) + 6
