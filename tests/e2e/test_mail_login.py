# SPDX-License-Identifier: Apache-2.0
"""sessions.md for all four interactive protocols: the way up to a login, with nodes that a test writes."""

import contextlib
import socket
import time

import harness
import mailnodes
import pytest
from mail_dialogue import (CREDENTIAL, LOGIN, NEXT_COMMAND, TLS_COMMAND, UNAVAILABLE, VIOLATION,
                           attempt, one_protocol)
from mailnodes import PROTOCOLS, connect, speak


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


# ---- without TLS ----

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
