# SPDX-License-Identifier: Apache-2.0
"""Rules of sessions.md for all four interactive protocols, with nodes that misbehave on purpose."""

import base64
import contextlib
import socket
import time

import pytest

import harness
import mailnodes
from harness import wait_until
from mailnodes import PROTOCOLS, connect, speak

CREDENTIAL = base64.b64encode(b"\0alice\0pw").decode()
UNAVAILABLE = {
    "imap": ["a NO [UNAVAILABLE] Service temporarily unavailable.", "* BYE Try again later."],
    "pop3": ["-ERR [SYS/TEMP] Service temporarily unavailable."],
    "submission": ["421 4.3.0 router.test Service temporarily unavailable"],
    "managesieve": ['NO (TRYLATER) "Service temporarily unavailable."',
                    'BYE (TRYLATER) "Try again later."'],
}
VIOLATION = {"imap": "* BYE Protocol violation.", "pop3": "-ERR Protocol violation.",
             "submission": "421 4.7.0 router.test Protocol violation",
             "managesieve": 'BYE "Protocol violation."'}
TLS_COMMAND = {"imap": "a STARTTLS", "pop3": "STLS", "submission": "STARTTLS",
               "managesieve": "STARTTLS"}
NEXT_COMMAND = {"imap": "z NOOP", "pop3": "NOOP", "submission": "NOOP", "managesieve": "NOOP"}
LOGIN = {"imap": "a AUTHENTICATE PLAIN ", "pop3": "AUTH PLAIN ", "submission": "AUTH PLAIN ",
         "managesieve": 'AUTHENTICATE "PLAIN" '}


def login_line(protocol):
    credential = '"%s"' % CREDENTIAL if protocol == "managesieve" else CREDENTIAL
    return LOGIN[protocol] + credential


def node_toml(node, protocol, tls, name="node1", extra=""):
    return harness.destination_toml(name, node.address, None, {protocol: tls}, node.pin, "none", extra,
                                    {protocol: node.port})


def one_protocol(make, protocol, serve, tls="implicit", leg="implicit", more="", extra="",
                 destination=""):
    """A router with one listener of the protocol in front of one scripted node."""
    node = make.node("node1", serve, tls="implicit" if tls == "implicit" else "starttls")
    router = make.router([node_toml(node, protocol, tls, extra=destination)], default="node1",
                         listeners={"l": (leg, more, protocol)}, extra=extra)
    return node, router


def attempt(router, protocol, leg="implicit"):
    """Sends a login; returns the lines up to the end of the connection, greeting left out."""
    client = connect(router, "l", protocol, leg)
    client.send(login_line(protocol) + "\r\n")
    lines = client.eof().decode().split("\r\n")[:-1]
    client.close()
    return lines


# ---- injection ----

@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("pause", (None, 0.001, 0.05))
def test_SES_15_injection_before_starttls(make, protocol, pause):
    """A command behind STARTTLS, in the same packet or in the next one before the handshake: no OK, no
    answer to it, the line of a violation or a failed handshake, then the end (#1)."""
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol),
                                leg="starttls")
    client = harness.Client(router.connect("l"))
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.protocol = protocol
    mailnodes.MailClient.reply(client)
    bad = TLS_COMMAND[protocol] + "\r\n"
    if pause is None:
        client.send(bad + NEXT_COMMAND[protocol] + "\r\n")
        lines = client.eof().decode().split("\r\n")[:-1]
        assert lines == [VIOLATION[protocol]], lines
        line = router.wait_line(lambda x: "reason=starttls_injection" in x and "level=error" in x)
        assert "session_aborted" in line
        assert router.wait_sessions(1)[0]["reason"] == "starttls_injection"
    else:
        # the router may have said "go on" by then: what comes is the handshake's garbage
        client.send(bad)
        time.sleep(pause)
        with contextlib.suppress(OSError):
            client.send(NEXT_COMMAND[protocol] + "\r\n")
        data = client.eof()
        answer = {"imap": b"z OK", "pop3": b"+OK\r\n", "submission": b"250 ",
                  "managesieve": b'OK "Done."'}[protocol]
        assert answer not in data, data
        assert router.wait_sessions(1)[0]["reason"] in ("starttls_injection", "tls_client")
    assert not node.connections


INJECTED = {"imap": "TAG OK go\r\n* CAPABILITY X\r\n", "pop3": "+OK go\r\n+OK more\r\n",
            "submission": "220 go\r\n250 more\r\n", "managesieve": 'OK\r\n"SASL" "X"\r\nOK\r\n'}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_9_injection_by_the_node(make, protocol):
    """Bytes behind the node's STARTTLS OK: unavailable, and no credential was sent (#2)."""
    node, router = one_protocol(
        make, protocol, lambda conn: speak(conn, protocol, True, INJECTED[protocol]), "starttls")
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert router.wait_sessions(1)[0]["reason"] == "starttls_injection"
    for conn in node.connections:
        assert CREDENTIAL.encode() not in conn.received


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_48_no_credential_without_tls(make, protocol):
    """A node that does not offer STARTTLS, or refuses it, gets no credential byte (#3)."""
    refused = {"imap": "TAG NO no\r\n", "pop3": "-ERR no\r\n", "submission": "454 no\r\n",
               "managesieve": "NO\r\n"}[protocol]
    for offer, answer in ((False, None), (True, refused)):
        node, router = one_protocol(
            make, protocol, lambda conn, o=offer, a=answer: speak(conn, protocol, o, a),
            "starttls")
        assert attempt(router, protocol) == UNAVAILABLE[protocol]
        assert router.wait_sessions(1)[0]["reason"] == "node_refused"
        assert all(CREDENTIAL.encode() not in c.received for c in node.connections)
        router.stop()


EARLY = {"imap": "* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\na OK in\r\n", "pop3": "+OK hi\r\n+OK in\r\n",
         "submission": "220 hi\r\n235 in\r\n", "managesieve": 'OK "hi"\r\nOK "in"\r\n'}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_57_success_that_nobody_asked_for(make, protocol):
    """A success that comes with the greeting establishes nothing (#7)."""
    def serve(conn):
        conn.send(EARLY[protocol])
        with contextlib.suppress(OSError):
            while conn.read():
                pass
    node, router = one_protocol(make, protocol, serve)
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert router.wait_sessions(1)[0]["reason"] == "node_refused"
    assert all(CREDENTIAL.encode() not in c.received for c in node.connections)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_9_greetings_that_refuse(make, protocol):
    bad = {"imap": ("* PREAUTH hi\r\n", "* BYE no\r\n", "garbage\r\n"),
           "pop3": ("-ERR no\r\n", "* OK\r\n"), "submission": ("554 no\r\n", "421 no\r\n"),
           "managesieve": ("NO\r\n", 'BYE "no"\r\n')}[protocol]
    for greeting in bad:
        def serve(conn, text=greeting):
            conn.send(text)
            with contextlib.suppress(OSError):
                conn.read()
        node, router = one_protocol(make, protocol, serve)
        assert attempt(router, protocol) == UNAVAILABLE[protocol]
        assert all(CREDENTIAL.encode() not in c.received for c in node.connections)
        router.stop()


ENDLESS = {"imap": b"* OK x\r\n", "pop3": b"X\r\n", "submission": b"220-x\r\n",
           "managesieve": b'"X"\r\n'}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", ("line", "lines"))
def test_section_3_endless_replies(make, protocol, what):
    """A greeting without an end, in one line or in many: unavailable, within bounds (#22)."""
    def serve(conn):
        text = b"x" * 8192 if what == "line" else ENDLESS[protocol] * 100
        if protocol == "pop3":
            conn.send("+OK hi\r\n")
            conn.line()
            conn.send("+OK\r\n")
        with contextlib.suppress(OSError):
            while True:
                conn.send(text)
    tls = "starttls" if protocol == "pop3" else "implicit"
    node, router = one_protocol(make, protocol, serve, tls)
    before = harness.rss_kib(router.process.pid)
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert harness.rss_kib(router.process.pid) - before < 65536
    assert all(CREDENTIAL.encode() not in c.received for c in node.connections)


# ---- replies ----

REFUSALS = {
    "imap": (("a NO [AUTHENTICATIONFAILED] secret detail", "a NO [AUTHENTICATIONFAILED] "
              "Authentication failed."),
             ("a NO [INUSE] secret detail", "a NO [UNAVAILABLE] Service temporarily unavailable.")),
    "pop3": (("-ERR secret detail", "-ERR [AUTH] Authentication failed."),
             ("-ERR [IN-USE] secret detail", "-ERR [SYS/TEMP] Service temporarily unavailable.")),
    "submission": (("535 secret detail", "535 5.7.8 Authentication failed"),
                   ("454 secret detail", "454 4.7.0 Temporary authentication failure")),
    "managesieve": (('NO "secret detail"', 'NO "Authentication failed."'),
                    ('NO (TRYLATER) "secret detail"',
                     'NO (TRYLATER) "Service temporarily unavailable."')),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_74_refusals_verbatim_or_hidden(make, protocol):
    """The node's own line, or with hide_auth_errors the generic one of its class; the same for a bad
    identifier (#20)."""
    for verdict, generic in REFUSALS[protocol]:
        for hidden in (False, True):
            node, router = one_protocol(
                make, protocol,
                lambda conn, v=verdict: speak(conn, protocol, verdict=v + "\r\n"),
                destination="hide_auth_errors = true" if hidden else "")
            client = connect(router, "l", protocol, "implicit")
            reply = client.ask(login_line(protocol), good=False)[-1]
            assert reply == (generic if hidden else verdict)
            wait_until(lambda n=node: all(c.closed.is_set() for c in n.connections))
            assert client.ask(NEXT_COMMAND[protocol])[-1]  # the dialogue goes on
            client.close()
            router.stop()


@pytest.mark.parametrize("protocol,verdict", (("submission", "421 4.3.2 bye"),
                                              ("managesieve", 'BYE "bye"')))
def test_SES_75_the_node_says_goodbye(make, protocol, verdict):
    node, router = one_protocol(
        make, protocol, lambda conn: speak(conn, protocol, verdict=verdict + "\r\n"))
    assert attempt(router, protocol) == [verdict]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_46_76_unavailable_in_each_form(make, protocol):
    """Nobody listens; a node that leaves at once, or after the credential: each protocol's own words,
    and one credential at most."""
    dead = harness.free_port()
    router = make.router([harness.destination_toml(
        "node1", "127.0.0.1", None, {protocol: "implicit"}, None, "none",
        "tls_allow_invalid_certs = true", {protocol: dead})], default="node1",
        listeners={"l": ("implicit", "", protocol)})
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    router.stop()
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol))
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert sum(CREDENTIAL.encode() in c.received for c in node.connections) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_44_a_node_without_the_protocol(make, protocol):
    """Unavailable, a warning, and no mark against the node; the default node is no substitute."""
    other = "pop3" if protocol == "imap" else "imap"
    node = make.node("node1", lambda conn: speak(conn, protocol))
    router = make.router([node_toml(node, protocol, "implicit"),
                          node_toml(node, other, "implicit", "node2")], default="node1",
                         listeners={"l": ("implicit", "", protocol)})
    router.map({"alice": "node2"})
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert router.wait_sessions(1)[0]["reason"] == "node_no_protocol"
    router.wait_line(lambda x: "msg=node_no_protocol" in x and "level=warn" in x)
    rows = router.admin("GET", "/destinations")[1]["destinations"]
    assert all(row["consecutive_failures"] == 0 for row in rows)
    assert not node.connections


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_16_attempt_limit_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Too many failed attempts.", "pop3": None,
           "submission": "421 4.7.0 router.test Too many failed attempts",
           "managesieve": 'BYE "Too many failed attempts."'}[protocol]
    refusal = REFUSALS[protocol][0][0]
    node, router = one_protocol(
        make, protocol, lambda conn: speak(conn, protocol, verdict=refusal + "\r\n"))
    client = connect(router, "l", protocol, "implicit")
    for _ in range(3):
        client.send(login_line(protocol) + "\r\n")
    lines = client.eof().decode().split("\r\n")[:-1]
    assert lines == [refusal] * 3 + ([end] if end else [])
    assert router.wait_sessions(1)[0]["reason"] == "auth_limit"
    assert len(node.connections) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_3_preauth_timeout_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Timed out.", "pop3": None, "submission": "421 4.4.2 router.test Timed out",
           "managesieve": 'BYE "Timed out."'}[protocol]
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol),
                                more='preauth_timeout = "1s"\n')
    start = time.monotonic()
    client = connect(router, "l", protocol, "implicit")
    lines = client.eof().decode().split("\r\n")[:-1]
    assert 0.9 <= time.monotonic() - start < 10
    assert lines == ([end] if end else [])
    assert router.wait_sessions(1)[0]["reason"] == "preauth_timeout"
    assert not node.connections


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_86_shutdown_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Shutting down.", "pop3": "-ERR [SYS/TEMP] Shutting down.",
           "submission": "421 4.3.2 router.test Shutting down",
           "managesieve": 'BYE "Shutting down."'}[protocol]
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol))
    client = connect(router, "l", protocol, "implicit")
    router.process.terminate()
    assert client.eof().decode().split("\r\n")[:-1] == [end]
    router.stop()
    assert not node.connections


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_4_privacy_of_each_protocol(make, protocol):
    """Before TLS no mechanism is offered, and each is refused before a secret is asked for (#4)."""
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol),
                                leg="starttls")
    client = connect(router, "l", protocol, "plain")
    if protocol == "submission":
        offered = client.ask("EHLO c")
    elif protocol == "pop3":
        client.send("CAPA\r\n")
        offered = [client.line() for _ in range(11)]
        assert offered[-1] == "."
    else:
        offered = client.greeting
    text = "\n".join(offered)
    assert "AUTH=" not in text and "AUTH PLAIN" not in text and "USER" not in offered
    assert 'SASL" "P' not in text and "SASL PLAIN" not in text
    words = {"imap": "[PRIVACYREQUIRED]", "pop3": "TLS is required", "submission": "538 5.7.11",
             "managesieve": "ENCRYPT-NEEDED"}[protocol]
    for mech in mailnodes.MECHS:
        command = LOGIN[protocol].replace("PLAIN", mech).rstrip()
        assert words in client.ask(command, good=False)[-1]
    client.close()
    line = router.wait_sessions(1)[0]
    assert line["attempts"] == "0"
    assert not node.connections


# ---- machinery ----

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_43_hold_then_the_new_node(make, protocol):
    """A login that arrives during a delay waits, and goes where the mapping says afterwards."""
    nodes = [make.node("node%d" % i, lambda conn: speak(conn, protocol, verdict={
        "imap": "a OK in", "pop3": "+OK in", "submission": "235 in", "managesieve": "OK"}[protocol]
        + "\r\n")) for i in (1, 2)]
    router = make.router([node_toml(n, protocol, "implicit", n.name) for n in nodes],
                         default="node1", listeners={"l": ("implicit", "", protocol)})
    assert router.admin("POST", "/connections/delay?identifier=alice&seconds=2")[0] == 200
    start = time.monotonic()
    client = connect(router, "l", protocol, "implicit")
    client.send(login_line(protocol) + "\r\n")
    wait_until(lambda: router.sessions()["sessions"][0]["stage"] == "hold")
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
    assert client.is_good(client.reply("a")[-1])
    assert time.monotonic() - start >= 1.5
    client.close()
    assert router.wait_sessions(1)[0]["node"] == "node2"
    assert not nodes[0].connections


def test_SES_52_up_and_down_are_one_line_each(make):
    """A node that cannot be reached goes down, and comes up again, each in one line."""
    alive = []

    def serve(conn):
        if alive:
            speak(conn, "imap", verdict="a OK in\r\n")
    node = make.node("node1", serve)
    router = make.router([node_toml(node, "imap", "implicit")], default="node1",
                         listeners={"l": ("implicit", "", "imap")},
                         server='host_down_threshold = 2\nhost_down_min_clients = 0\n'
                         'host_down_cooldown = "100ms"\nbackend_connect_retries = 0\n')
    for _ in range(2):
        attempt(router, "imap")
    router.wait_line(lambda x: "msg=node_down" in x and "node=node1" in x)
    alive.append(True)

    def logged_in():
        client = connect(router, "l", "imap", "implicit")
        client.send(login_line("imap") + "\r\n")
        good = client.is_good(client.reply("a")[-1])
        client.close()
        return good
    wait_until(logged_in, interval=0.1)
    router.wait_line(lambda x: "msg=node_up" in x and "node=node1" in x)
    assert router.log().count("msg=node_down") == 1
    assert router.log().count("msg=node_up") == 1


def test_SES_81_proxy_header_of_a_pass_through_and_no_xclient(make):
    """proxy is honoured on smtp legs; xclient conveys nothing: the node sees the client's bytes alone."""
    for forwarding in ("proxy", "xclient"):
        got = []

        def serve(conn):
            conn.send("220 hi\r\n")
            got.append(conn.line())
            conn.send("221 bye\r\n")
        node = make.node("node1", serve, tls="plain", proxy=forwarding == "proxy")
        router = make.router([harness.destination_toml(
            "node1", node.address, None, {"smtp": "plain"}, None, forwarding, "",
            {"smtp": node.port})], default="node1", listeners={"l": ("plain", "", "smtp")},
            routing='smtp_passthrough_destination = "node1"\n')
        with router.client("l", source="127.0.6.6", tls=False) as client:
            client.expect("220 hi")
            client.send("QUIT\r\n")
            client.expect("221 bye")
        assert got == ["QUIT"]
        if forwarding == "proxy":
            assert node.connections[0].proxy_source[0] == "127.0.6.6"
        router.stop()


def test_SES_92_the_line_of_statistics(make):
    """Once a minute: hits, misses, rate, entries, connections."""
    node, router = one_protocol(make, "imap", lambda conn: speak(conn, "imap"))
    line = harness.parse_logfmt(router.wait_line(lambda x: "msg=stats" in x, timeout=90))
    assert line["level"] == "info"
    assert set(line) >= {"hits", "misses", "hit_rate_pct", "cache_entries", "active_connections"}
    assert not node.connections
