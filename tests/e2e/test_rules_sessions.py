# SPDX-License-Identifier: Apache-2.0
"""sessions.md, rules about the machinery around a login that had no test of their own: hold, breaker,
the hand-over to the data path, the line of figures."""

import base64
import re
import threading
import time

import harness
import pytest
from harness import fast_time, node_login, wait_until
from test_admin_mapping import login, served


@pytest.fixture
def pair(make):
    return make, (make.node("node1"), make.node("node2"))


def node_states(router):
    return {d["destination"]: d for d in router.admin("GET", "/destinations")[1]["destinations"]}


def test_SES_18_any_case_and_no_echo(pair):
    """On the wire: commands however they are spelled, and nothing but the tag comes back."""
    router = pair[0].router(pair[1])
    with router.client() as client:
        client.line()
        assert client.command("zQx CaPaBiLiTy")[-1] == "zQx OK Done."
        for text in ("a xyZZyMark", "b sElEcT Mark", 'c iD ("Mark" "Mark")'):
            assert "mark" not in " ".join(client.command(text)).lower()
        message = base64.b64encode(b"\0alice\0pw").decode()
        assert client.command("d aUTHENTICATE pLaIn " + message)[-1].startswith("d OK")


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
    assert changes() == [("node_down", "warn", "node1")]
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


@pytest.mark.parametrize("forwarding", ["proxy", "xclient", "none"])
def test_SES_81_what_a_pass_through_conveys(make, forwarding):
    """PROXY is honoured. XCLIENT conveys nothing, offered as it may be: no byte is the router's."""
    def serve(conn):
        conn.send("220 node XCLIENT\r\n")
        conn.line()
        conn.send("250-node\r\n250 XCLIENT ADDR PORT\r\n")
        conn.read()

    node = make.node("node1", serve, tls="plain", proxy=forwarding == "proxy")
    table = harness.destination_toml("node1", node.address, None, {"smtp": "plain"}, None, forwarding,
                                     "", {"smtp": node.port})
    router = make.router([table], default="node1", listeners={"smtp": ("plain", "", "smtp")},
                         routing='smtp_passthrough_destination = "node1"\n')
    assert ("conveys nothing" in router.log()) == (forwarding == "xclient")
    with router.client("smtp", source="127.0.7.7", tls=False) as client:
        client.expect("220 node XCLIENT")
        client.send("EHLO me.test\r\n")
        client.expect("250-node")
        client.expect("250 XCLIENT ADDR PORT")
        client.send("QUIT\r\n")
        conn = node.connections[0]
        wait_until(lambda: b"QUIT\r\n" in conn.received)
        assert conn.received == b"EHLO me.test\r\nQUIT\r\n"
        if forwarding == "proxy":
            assert conn.proxy_source == client.sock.getsockname()
            assert conn.proxy_destination == ("127.0.0.1", router.ports["smtp"])


def test_SES_92_a_line_of_figures_every_minute(pair):
    make, nodes = pair
    router = make.router(nodes, environment=fast_time(30), start=False,
                         mapping_extra='positive_ttl = "1h"\nlookup_timeout = "5m"\n',
                         server='backend_timeout = "5m"\n',
                         listeners={"imap": ("implicit", 'preauth_timeout = "10m"')})
    router.map({"alice": "node1", "bob": "node1"}) # a change later on would drop the cache
    router.start()
    for _ in range(3):
        login(router, "alice")
    login(router, "bob")
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.wait_path("copy", "alice")
        start = time.monotonic()
        first = router.wait_line(lambda line: "msg=stats" in line)
        at = len(router.lines)
        router.wait_line(lambda line: "msg=stats" in line, start=at)
        assert time.monotonic() - start < 20
        took = [float(re.search(r"ts=\S+:(\d+\.\d+)Z", x).group(1)) for x in router.lines
                if "msg=stats" in x]
    assert 1.9 < (took[1] - took[0]) % 60 < 10 # 60 s, thirty times as fast
    assert re.search(r"level=info msg=stats hits=3 misses=2 hit_rate_pct=60.00 cache_entries=2 "
                     r"active_connections=1$", first), first
