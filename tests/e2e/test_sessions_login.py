# SPDX-License-Identifier: Apache-2.0
"""sessions.md, IMAP: what a client may say up to its login, and what it hears."""

import base64
import socket
import ssl
import time

import harness
import pytest
from harness import node_login
from logins import last_session, plain

CAPS = "IMAP4rev1 ENABLE SASL-IR LITERAL+ ID UTF8=ACCEPT"
SASL = "AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2"


# ---- greeting, TLS ----

def test_greeting_and_capabilities(make):
    router = make.router([make.node("node1")])
    with router.client() as c:
        c.expect("* OK [CAPABILITY %s %s] Homing IMAP ready." % (CAPS, SASL))
        assert c.command("a CAPABILITY") == [
            "* CAPABILITY %s %s" % (CAPS, SASL), "a OK Done."]
        assert c.command("b NOOP") == ["b OK Done."]
        assert c.command("c ID NIL") == ["* ID NIL", "c OK Done."]
        assert c.command("d SELECT INBOX") == ["d BAD Not allowed before authentication."]
        assert c.command("e LOGOUT") == ["* BYE Closing.", "e OK Done."]
        assert c.eof() == b""
    assert last_session(router)["reason"] == "client_quit"


def test_privacy_before_tls_section_4(make):
    router = make.router([make.node("node1")])
    with router.client("imapt", tls=False) as c:
        c.expect("* OK [CAPABILITY %s LOGINDISABLED STARTTLS] Homing IMAP ready." % CAPS)
        privacy = "NO [PRIVACYREQUIRED] TLS is required before authentication."
        assert c.command("a LOGIN u p") == ["a " + privacy]
        assert c.command("b AUTHENTICATE XOAUTH2") == ["b " + privacy]
        assert c.command("c LOGIN {5}") == ["c " + privacy]
        assert c.command("d STARTTLS") == ["d OK Begin TLS."]
        c.starttls(router.tls_context())
        assert c.command("e CAPABILITY")[0] == "* CAPABILITY %s %s" % (CAPS, SASL)
        assert c.command("f STARTTLS") == ["f BAD STARTTLS not available."]
        assert c.command("g LOGIN alice pw")[-1].startswith("g OK")


@pytest.mark.parametrize("pause", [0, 0.001])
def test_SES_15_starttls_injection(make, pause):
    router = make.router([make.node("node1")])
    with router.client("imapt", tls=False) as c:
        c.line()
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.send("a STARTTLS\r\nz NOOP\r\n")
        answer = c.eof().decode()
        assert "a OK" not in answer and "z OK" not in answer
        assert answer == "* BYE Protocol violation.\r\n"
    assert last_session(router)["reason"] == "starttls_injection"
    assert any("level=error" in line and "starttls_injection" in line
               for line in router.log().splitlines())


@pytest.mark.parametrize("offered,served", [
    (["imap"], "imap"), (["foo"], None), (["h2", "imap"], "imap"), (["http/1.1"], "refused"),
    (["h2"], "refused"), (None, None)])
def test_SES_13_alpn(make, offered, served):
    router = make.router([make.node("node1")])
    context = router.tls_context()
    if offered:
        context.set_alpn_protocols(offered)
    sock = router.connect()
    if served == "refused":
        with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL|no application protocol"):
            context.wrap_socket(sock, server_hostname="localhost")
    else:
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            assert tls.selected_alpn_protocol() == served


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_SES_12_session_tickets(make, version):
    router = make.router([make.node("node1")])
    context = router.tls_context()
    context.minimum_version = context.maximum_version = version
    first = context.wrap_socket(router.connect(), server_hostname="localhost")
    first.recv(100)
    session = first.session
    first.close()
    with context.wrap_socket(router.connect(), server_hostname="localhost",
                             session=session) as second:
        assert second.session_reused
        second.recv(100)
        # A ticket of TLS 1.3 is for one use, so each connection brings a new one.
        assert (second.session.id != session.id) == (version == ssl.TLSVersion.TLSv1_3)


# ---- logins ----

LOGINS = [
    ("a LOGIN alice pw\r\n", "pw"),
    ('a LOGIN "alice" "p\\"w\\\\"\r\n', 'p"w\\'),
    ("a LOGIN {5+}\r\nalice {2+}\r\npw\r\n", "pw"),
    ("a login alice {0003+}\r\np w\r\n", "p w"),
    ("a AUTHENTICATE PLAIN %s\r\n" % plain("alice", "pw"), "pw"),
    ("a authenticate plain %s\r\n" % plain("alice", "pw").rstrip("="), "pw"),
    ("a LOGIN alice pw\n", "pw"),
]


@pytest.mark.parametrize("text,password", LOGINS)
@pytest.mark.parametrize("split", [False, True])
def test_section_5_2_same_credential_however_sent(make, text, password, split):
    node = make.node("node1")
    router = make.router([node])
    with router.client() as c:
        c.line()
        for piece in text if split else [text]:
            c.send(piece)
        assert c.line() == "a OK [CAPABILITY IMAP4rev1] welcome alice"
        assert c.command("b NOOP") == ["b OK NOOP"]
    assert (node.connections[0].user, node.connections[0].password) == ("alice", password)


def test_section_5_2_synchronising_literals(make):
    node = make.node("node1")
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a LOGIN {5}\r\n")
        c.expect("+ Ready.")
        c.send("alice {2}\r\n")
        c.expect("+ Ready.")
        c.send("pw\r\n")
        assert c.line().startswith("a OK")


def test_section_5_2_authenticate_without_initial_response(make):
    node = make.node("node1")
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a AUTHENTICATE PLAIN\r\n")
        c.expect("+ ")
        c.send(plain("alice", "pw") + "\r\n")
        assert c.line().startswith("a OK")


@pytest.mark.parametrize("initial", [False, True])
def test_SES_19_mechanism_login_becomes_plain(make, initial):
    node = make.node("node1")
    router = make.router([node])
    user = base64.b64encode(b"alice").decode()
    with router.client() as c:
        c.line()
        c.send("a AUTHENTICATE LOGIN%s\r\n" % (" " + user if initial else ""))
        if not initial:
            c.expect("+ VXNlcm5hbWU6")
            c.send(user + "\r\n")
        c.expect("+ UGFzc3dvcmQ6")
        c.send(base64.b64encode(b"pw").decode() + "\r\n")
        assert c.line().startswith("a OK")
    assert b"AUTHENTICATE PLAIN" in node.connections[0].received
    assert node.connections[0].password == "pw"


@pytest.mark.parametrize("text,reply", [
    ("a AUTHENTICATE PLAIN bm9udWxoZXJl\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"bob\0alice%admin\0pw").decode(),
     "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"bo b\0alice\0pw").decode(),
     "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"\0alice\0").decode(),
     "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"\0a\0b\0c").decode(),
     "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a AUTHENTICATE PLAIN !!!!\r\n", "a BAD Invalid base64."),
    ("a AUTHENTICATE PLAIN\r\n*\r\n", "a BAD Authentication cancelled."),
    ("a AUTHENTICATE PLAIN\r\n" + "A" * 16388 + "\r\n", "a BAD Response too long."),
    ("a AUTHENTICATE PLAIN " + "A" * 16388 + "\r\n", "a BAD Response too long."),
    ("a LOGIN alice abc(def\r\n", "a BAD Syntax error."),
    ("a NOOP x\r\n", "a BAD Syntax error."),
    ('a LOGIN "al ice" pw\r\n', "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a LOGIN alice\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a LOGIN %s pw\r\n" % ("x" * 321), "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("a LOGIN {4294967295}\r\n", "a BAD Literal too long."),
    ("a LOGIN {abc}\r\n", "a BAD Syntax error."),
    ("a LOGIN {30} junk\r\n", "a BAD Syntax error."),
    ("a LOGIN {+30}\r\n", "a BAD Syntax error."),
    ("NOOP\r\n", "* BAD Syntax error."),
])
def test_SES_16_17_refusals_one_reply_each(make, text, reply):
    router = make.router([make.node("node1")])
    with router.client() as c:
        c.line()
        c.send(text + "b NOOP\r\n")
        if "PLAIN\r\n" in text:
            c.expect("+ ")
        c.expect(reply)
        c.expect("b OK Done.")
        c.send("c LOGOUT\r\n")
        c.eof()
    assert last_session(router)["attempts"] == "1"
    assert router.stats()["store_queries"] == 0  # MAP-12, MAP-14


def test_SES_16_attempt_limit(make):
    router = make.router([make.node("node1", serve=lambda c: (node_login(c), c.read()))])
    with router.client() as c:
        c.line()
        for tag in "abc":
            assert c.command(tag + " LOGIN alice wrong") == [
                tag + " NO [AUTHENTICATIONFAILED] No such luck."]
        c.expect("* BYE Too many failed attempts.")
        assert c.eof() == b""
    session = last_session(router)
    assert (session["reason"], session["attempts"]) == ("auth_limit", "3")


def test_section_3_input_too_long(make):
    router = make.router([make.node("node1")])
    with router.client() as c:
        c.line()
        c.send("a LOGIN {4294967295+}\r\n")
        assert c.eof() == b"* BYE Command too long.\r\n"
    with router.client() as c:
        c.line()
        c.send("a" * 70000)
        assert c.eof() == b"* BYE Command too long.\r\n"


def test_section_3_preauth_timeout(make):
    router = make.router([make.node("node1")],
                         listeners={"imap": ("implicit", 'preauth_timeout = "1s"')})
    start = time.monotonic()
    with router.client() as c:
        c.line()
        assert c.eof() == b"* BYE Timed out.\r\n"
        assert 0.8 < time.monotonic() - start < 10
    assert last_session(router)["reason"] == "preauth_timeout"
    # Silence and garbage instead of a handshake end as well.
    with router.connect() as sock:
        assert sock.recv(1) == b""


def test_SES_2_pipelined_commands_follow_the_credential(make):
    node = make.node("node1")
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a1 LOGIN alice pw\r\na2 NOOP\r\na3 CHECK\r\n")
        assert c.line().startswith("a1 OK")
        c.expect("a2 OK NOOP")
        c.expect("a3 OK CHECK")


def test_wrong_password_then_right_one_SES_1_74_77(make):
    """The node's own words; nothing is bridged after a refusal; the next try may go elsewhere."""
    def serve(conn):
        if node_login(conn) is None:
            conn.rest = b""
            while True:
                data = conn.read()
                if not data:
                    return
                conn.rest += data
        node_loop(conn)

    def node_loop(conn):
        while True:
            words = conn.line().split(" ")
            conn.send("%s OK %s\r\n" % (words[0], words[1]))

    node1, node2 = make.node("node1", serve), make.node("node2", serve)
    router = make.router([node1, node2])
    router.map({"alice": "node1", "bob": "node2"})
    with router.client() as c:
        c.line()
        assert c.command("a1 LOGIN alice wrong") == ["a1 NO [AUTHENTICATIONFAILED] No such luck."]
        node1.connections[0].closed.wait(harness.PATIENCE)
        assert node1.connections[0].rest == b""
        assert c.command("a2 SELECT INBOX") == ["a2 BAD Not allowed before authentication."]
        assert c.command("a3 LOGIN bob right")[-1].startswith("a3 OK")
        assert c.command("a4 NOOP") == ["a4 OK NOOP"]
    assert node2.connections[0].user == "bob"
    session = last_session(router)
    assert (session["node"], session["attempts"]) == ("node2", "1")
    stats = router.stats()
    assert stats["nodes"]["node1"]["auth_failed"] == 1 and stats["auth_failed"] == 1


@pytest.mark.parametrize("refusal,reply", [
    ("NO [AUTHENTICATIONFAILED] bob unknown", "a NO [AUTHENTICATIONFAILED] Authentication failed."),
    ("NO [UNAVAILABLE] later", "a NO [UNAVAILABLE] Service temporarily unavailable.")])
def test_SES_74_hidden_refusals(make, refusal, reply):
    node = make.node("node1", lambda c: node_login(c, accept=lambda *_: False, refusal=refusal))
    router = make.router([node.toml(extra="hide_auth_errors = true")], default="node1")
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw") == [reply]
        assert c.command("b NOOP") == ["b OK Done."]


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
