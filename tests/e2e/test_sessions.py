# SPDX-License-Identifier: Apache-2.0
"""sessions.md: IMAP from accept to drain, against nodes that behave as each rule needs."""

import base64
import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harness
from harness import PATIENCE, node_imap, node_login, wait_until

CAPS = "IMAP4rev1 ENABLE SASL-IR LITERAL+ ID UTF8=ACCEPT"
SASL = "AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2"


def plain(user, password):
    return base64.b64encode(b"\0%s\0%s" % (user.encode(), password.encode())).decode()


def last_session(router, count=1):
    return router.wait_sessions(count)[-1]


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


# ---- nodes that misbehave ----

UNAVAILABLE = b"a NO [UNAVAILABLE] Service temporarily unavailable.\r\n* BYE Try again later.\r\n"


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


def test_SES_47_wrong_pin_sends_no_credential(make):
    node = make.node("node1")
    router = make.router([harness.destination_toml("node1", "127.0.0.1", node.port, "implicit",
                                                   "11" * 32, "none")], default="node1")
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] == "tls_node"
    assert all(b"AUTHENTICATE" not in conn.received for conn in node.connections)


def test_SES_47_untrusted_issuer_and_allow_invalid(make):
    node = make.node("node1")
    strict = harness.destination_toml("node1", "127.0.0.1", node.port, "implicit", None, "none")
    loose = harness.destination_toml("node2", "127.0.0.1", node.port, "implicit", None, "none",
                                     "tls_allow_invalid_certs = true")
    router = make.router([strict, loose], default="node1")
    router.map({"bob": "node2"})
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN bob pw")[-1].startswith("a OK")


def test_SES_47_sessions_to_nodes_are_resumed(make):
    reused = []

    def serve(conn):
        reused.append(conn.sock.session_reused)
        node_imap(conn)

    router = make.router([make.node("node1", serve)], server="threads = 1")
    for _ in range(3):
        with router.client() as c:
            c.line()
            assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
            c.command("b LOGOUT")
            c.eof()
    assert reused[0] is False and any(reused[1:])


CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


def test_a_node_that_ends_the_handshake_is_no_node(make):
    """It refuses by close_notify and keeps the connection."""
    stop = threading.Event()

    def serve(conn):
        conn.sock.recv(5)
        conn.sock.sendall(CLOSE_NOTIFY)
        stop.wait(PATIENCE)
    node = make.node("node1", serve, tls="plain")
    router = make.router([harness.destination_toml("node1", "127.0.0.1", node.port, "implicit",
                                                   None, "none", "tls_allow_invalid_certs = true")],
                         default="node1", server='backend_timeout = "25s"')
    start = time.monotonic()
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        assert c.eof() == UNAVAILABLE
    stop.set()
    assert time.monotonic() - start < 15
    assert last_session(router)["reason"] == "tls_node"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_ends_the_handshake_is_no_client(make, version):
    router = make.router([make.node("node1")])
    context = router.tls_context()
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    with router.connect() as sock:
        sock.sendall(outgoing.read())
        assert sock.recv(5)[0] == 22
        sock.sendall(CLOSE_NOTIFY)
        sock.settimeout(PATIENCE)
        while sock.recv(4096):
            pass
    assert last_session(router)["reason"] == "tls_client"


def test_a_client_changes_its_keys(make):
    """`K` makes s_client send a KeyUpdate that asks for one."""
    router = make.router([make.node("node1")])
    client = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" %
                               router.ports["imap"], "-tls1_3", "-crlf"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def say(text, answer):
        client.stdin.write(text)
        client.stdin.flush()
        for line in client.stdout:
            if line.startswith(answer):
                return
        raise AssertionError("no " + repr(answer))
    try:
        say(b"", b"* OK")
        say(b"a LOGIN alice pw\n", b"a OK")
        for number in range(3):
            say(b"K\n", b"KEYUPDATE")
            time.sleep(0.2)  # so that it comes alone
            tag = b"b%d" % number
            say(tag + b" NOOP\n", tag + b" OK")
        say(b"c LOGOUT\n", b"c OK")
    finally:
        client.stdin.close()
        client.wait(PATIENCE)
        client.stdout.close()


@pytest.mark.parametrize("case", ["trusted", "wrong name", "expired"])
def test_SES_47_system_trust(make, workspace, case):
    """The system store is the node's own certificate here."""
    names = ["other.test"] if case == "wrong name" else ["node1.test"]
    cert, key, _ = workspace.certificate("trusted", names, days=-1 if case == "expired" else 30)
    node = make.node("node1")
    node.context.load_cert_chain(cert, key)
    toml = harness.destination_toml("node1", "127.0.0.1", node.port, "implicit", None, "none")
    router = make.router([toml], default="node1", environment={"SSL_CERT_FILE": cert})
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice very-secret-pw\r\n")
        if case == "trusted":
            assert c.line().startswith("a OK")
            return
        assert c.eof() == UNAVAILABLE
    assert last_session(router)["reason"] == "tls_node"
    assert "certificate refused" in router.log()
    assert b"very-secret" not in b"".join(conn.received for conn in node.connections)


def test_SES_47_client_certificate(make, workspace):
    cert, key, _ = workspace.certificate("client", ["router.test"])
    node = make.node("node1")
    node.context.verify_mode = ssl.CERT_REQUIRED
    node.context.load_verify_locations(cert)
    with_cert = node.toml(extra='tls_client_cert = "client.pem"\ntls_client_key = "client.key"')
    without = harness.destination_toml("node2", "127.0.0.1", node.port, "implicit", node.pin, "none")
    router = make.router([with_cert, without], default="node1")
    router.map({"bob": "node2"})
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
    with router.client() as c:
        c.line()
        c.send("a LOGIN bob pw\r\n")
        assert c.eof() == UNAVAILABLE


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


# ---- established ----

@pytest.mark.parametrize("leg", ["implicit", "plain"])
def test_SES_84_100_mib_each_way_and_half_close(make, leg):
    size = 100 * 1024 * 1024
    block = bytes(range(256)) * 1024
    sums = {}

    def serve(conn):
        if node_login(conn) is None:
            return
        sums["up"] = harness.exchange(conn.sock, block, size, conn.buffer)
        if leg == "implicit":
            conn.sock = conn.sock.unwrap()

    node = make.node("node1", serve, tls=leg)
    router = make.router([node])
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        down = harness.exchange(c.sock, block, size, c.buffer)
        assert c.sock.recv(1) == b""
    expected = hashlib.sha256(block * (size // len(block))).hexdigest()
    session = last_session(router)
    assert down == expected and sums["up"] == expected
    assert (session["bytes_up"], session["bytes_down"]) == (str(size), str(size))
    assert (session["path_up"], session["path_down"]) == ("copy", "copy")


def test_SES_84_half_close_delivers_the_answer(make):
    """A plain client ends its direction; the node's answer still arrives."""
    def serve(conn):
        if node_login(conn) is None:
            return
        data = conn.buffer
        while True:
            piece = conn.read()
            if not piece:
                break
            data += piece
        conn.send(b"got %d bytes\r\n" % len(data))

    node = make.node("node1", serve, tls="plain")
    router = make.router([node], listeners={"imap": "plain"},
                         extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    with router.client(tls=False) as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        c.send(b"x" * 1000000)
        c.sock.shutdown(socket.SHUT_WR)
        assert c.eof() == b"got 1000000 bytes\r\n"
    assert last_session(router)["reason"] == "client_eof"


def test_section_3_bridge_idle(make):
    router = make.router([make.node("node1")], server='bridge_idle = "3s"')
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice pw")
        for i in range(5):  # a byte now and then keeps it open
            assert c.command("b%d NOOP" % i) == ["b%d OK NOOP" % i]
            assert not c.readable(0.8)
        assert c.eof() == b""
    assert last_session(router)["reason"] == "idle"


def test_section_3_slow_reader_is_bounded(make):
    def serve(conn):
        if node_login(conn) is None:
            return
        conn.sock.settimeout(1)
        sent = 0
        try:
            while sent < 400 * 1024 * 1024:
                sent += conn.sock.send(b"x" * 65536)
        except (TimeoutError, OSError):
            pass
        conn.sent = sent
        conn.stuck.set()

    node = make.node("node1", lambda c: (setattr(c, "stuck", threading.Event()), serve(c)))
    router = make.router([node])
    with router.client() as c:
        c.line()
        c.send("a LOGIN alice pw\r\n")
        wait_until(lambda: node.connections and hasattr(node.connections[0], "stuck"))
        assert node.connections[0].stuck.wait(harness.PATIENCE)
        assert node.connections[0].sent < 64 * 1024 * 1024  # kernel buffers, not ours


# ---- clients that vanish, limits, shutdown ----

@pytest.mark.parametrize("step", ["connect", "tls", "greeting", "half", "lookup", "dial", "replay",
                                  "established"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_SES_3_client_vanishes(make, step, how):
    block = threading.Event()

    def serve(conn):
        if step == "dial":
            conn.read()
            return
        if step == "replay":
            conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
            conn.line()
            conn.read()
            return
        node_imap(conn)

    router = make.router([make.node("node1", serve)], server='backend_timeout = "20s"')
    router.stats()
    before = router.fds()
    c = harness.Client(router.connect())
    if step in ("tls",):
        c.send(b"\x16\x03\x01\x02\x00")
    elif step != "connect":
        c.starttls(router.tls_context())
        c.line()
    if step == "half":
        c.send("a LOGIN {10}\r\nali")
    elif step in ("lookup", "dial", "replay", "established"):
        c.send("a LOGIN alice pw\r\n")
        if step == "established":
            c.line()
        elif step != "lookup":
            wait_until(lambda: router.stats()["cache_misses"] == 1)
    getattr(c, how)()
    start = time.monotonic()
    router.wait_idle()
    assert time.monotonic() - start < 10
    wait_until(lambda: router.fds() <= before)
    block.set()


def test_SES_4_max_connections(make):
    router = make.router([make.node("node1")],
                         listeners={"imap": ("implicit", "max_connections = 2")})
    with router.client() as one, router.client() as two:
        one.line(), two.line()
        with router.connect() as third:
            assert third.recv(100) == b""
        assert router.stats()["rejected_limit"] == 1
    router.wait_idle()
    with router.client() as again:
        again.line()


def refuses(router):
    try:
        router.connect().close()
    except OSError:
        return True
    return False


def test_SES_86_drain(make):
    router = make.router([make.node("node1")], server='shutdown_grace = "2s"')
    waiting = router.client()
    waiting.line()
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice pw")
        router.process.terminate()
        assert waiting.eof() == b"* BYE Shutting down.\r\n"
        assert c.command("b NOOP") == ["b OK NOOP"]
        wait_until(lambda: refuses(router)) # each worker closes its own listening socket
        status, body, _ = router.admin("GET", "/readyz", token=None)
        assert (status, body["reasons"]) == (503, ["draining"])
        assert c.eof() == b""
    router.stop()
    reasons = sorted(s["reason"] for s in router.session_lines())
    assert reasons == ["shutdown", "shutdown"]


def test_section_14_150_concurrent_logins(make):
    router = make.router([make.node("node1"), make.node("node2")])
    router.map({"user%d" % i: "node%d" % (1 + i % 2) for i in range(150)})
    clients, errors = [], []

    def login(i):
        try:
            c = router.client()
            clients.append(c)
            c.line()
            assert c.command("a LOGIN user%d pw" % i)[-1].startswith("a OK"), i
            assert c.command("b NOOP") == ["b OK NOOP"], i
        except Exception as e:  # noqa: BLE001 - collected for the main thread
            errors.append((i, repr(e)))

    threads = [threading.Thread(target=login, args=(i,)) for i in range(150)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:5]
    assert router.stats()["active_connections"] == 150
    for c in clients:
        c.close()
    router.wait_idle()


def test_section_6_out_of_descriptors(make):
    """RLIMIT_NOFILE 256 and 300 clients: no crash, no busy loop, service afterwards."""
    router = make.router([make.node("node1")], rlimit_nofile=256)
    socks = []
    for _ in range(300):
        socks.append(router.connect())
    router.wait_line(lambda line: "accept_paused" in line)

    def cpu():
        with open("/proc/%d/stat" % router.process.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu()
    time.sleep(2)  # the time over which a spin would show
    assert cpu() - before < 1.0
    assert router.log().count("accept_paused") <= 8
    for sock in socks:
        sock.close()
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")


# ---- process ----

def test_SEC_1_3_20_privileges(make):
    if os.geteuid() != 0:
        pytest.skip("needs a start as root")
    router = make.router([make.node("node1")], environment={"HOMING_COREDUMP": "0"}, start=False)
    if "-san" in harness.BUILD:
        # LeakSanitizer cannot trace a process that is not dumpable.
        router.environment["ASAN_OPTIONS"] = "detect_leaks=0"
    router.start()
    with open("/proc/%d/status" % router.process.pid, encoding="ascii") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert status["Uid"].split() == [str(router.workspace.uid)] * 4
    assert status["NoNewPrivs"] == "1"
    bind_service = 1 << 10
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        assert int(status[name], 16) & ~bind_service == 0, name
    with open("/proc/%d/limits" % router.process.pid, encoding="ascii") as f:
        core = next(line for line in f if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # /proc/PID/mem of a process that is not dumpable belongs to root.
    assert os.stat("/proc/%d/mem" % router.process.pid).st_uid == 0
    with open("/proc/%d/task/%d/children" % ((router.process.pid,) * 2), encoding="ascii") as f:
        assert f.read() == ""


def test_SEC_1_missing_user(make):
    if os.geteuid() != 0:
        pytest.skip("needs a start as root")
    router = make.router([make.node("node1")], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read().replace('user = "%s"' % router.workspace.user, 'user = "no-such-user"', 1)
    router.workspace.write("homing.toml", text)
    done = subprocess.run([harness.BUILD + "/homingd", router.config], capture_output=True,
                          text=True, timeout=harness.PATIENCE)
    assert done.returncode == 1 and "no-such-user" in done.stderr


def test_SEC_23_token_leaves_the_environment(make):
    router = make.router([make.node("node1")],
                         environment={"HOMING_ADMIN_TOKEN": "environment-token-0123456789abcdef"})
    with open("/proc/%d/environ" % router.process.pid, "rb") as f:
        assert b"environment-token" not in f.read()
    assert router.admin("GET", "/stats")[0] == 401
    assert router.admin("GET", "/stats", token="environment-token-0123456789abcdef")[0] == 200


def test_SES_90_no_secret_in_any_log(make):
    secrets = ["S3cret-one", "S3cret-two", "S3cret-three"]
    node = make.node("node1", lambda c: node_imap(c))
    router = make.router([node], environment={"HOMING_LOG": "trace"})
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice %s" % secrets[0])
    with router.client() as c:
        c.line()
        c.send("a AUTHENTICATE PLAIN\r\n")
        c.line()
        c.send(plain("alice", secrets[1]) + "\r\n")
        c.line()
    with router.client() as c:
        c.line()
        c.send('a LOGIN "bad user" "%s"\r\n' % secrets[2])
        c.line()
    router.admin("GET", "/stats?x=" + secrets[2])
    router.wait_sessions(3)
    router.stop()
    log = router.log()
    for secret in secrets + [harness.TOKEN, plain("alice", secrets[1])]:
        assert secret not in log
    assert "account=al***#" in log


def test_bind_conflict_names_listener(make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        router = make.router([make.node("node1")], start=False)
        with open(router.config, encoding="utf-8") as f:
            text = f.read().replace('"127.0.0.1:0"', '"127.0.0.1:%d"' % taken.getsockname()[1], 1)
        router.workspace.write("homing.toml", text)
        done = subprocess.run([harness.BUILD + "/homingd", router.config], capture_output=True,
                              text=True, timeout=harness.PATIENCE)
    assert done.returncode == 1
    assert "listener.imap: cannot bind 127.0.0.1:" in done.stderr


def memory_holds(pid, needle):
    """Where a process's writable memory holds some bytes."""
    found = []
    with open("/proc/%d/maps" % pid, encoding="ascii") as maps, \
            open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, mode, *rest = line.split()
            start, end = (int(x, 16) for x in span.split("-"))
            if not mode.startswith("rw") or end - start > 1 << 32:
                continue
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            at = data.find(needle)
            while at >= 0:
                found.append((hex(start + at), rest[-1] if rest else ""))
                at = data.find(needle, at + 1)
    return found


@pytest.mark.parametrize("how", ["LOGIN", "literal", "PLAIN"])
def test_SEC_21_password_is_gone_from_memory(make, how):
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    password = "Unm1stakable-%s-%d" % (how, os.getpid())
    encoded = plain("alice", password)
    router = make.router([make.node("node1")], server="threads = 1")
    with router.client() as c:
        c.line()
        if how == "LOGIN":
            c.send("a LOGIN alice %s\r\n" % password)
        elif how == "literal":
            c.send("a LOGIN alice {%d+}\r\n%s\r\n" % (len(password), password))
        else:
            c.send("a AUTHENTICATE PLAIN %s\r\n" % encoded)
        assert c.line().startswith("a OK")
        assert c.command("b NOOP") == ["b OK NOOP"]
        pid = router.process.pid
        assert memory_holds(pid, b"SELECT node FROM account_nodes")  # the search does find things
        for needle in (password.encode(), encoded.encode()):
            assert memory_holds(pid, needle) == []


def test_SEC_21_claims_of_a_token_are_gone_from_memory(make):
    """Also what the JSON library copied of them, small and large."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    claims = {"email": "alice@example.com", "note": "Unm1stakable-%d" % os.getpid(),
              "long": "Unm1stakable-too-%d" % os.getpid() * 20}
    router = make.router([make.node("node1", lambda conn: conn.close())],
                         server="threads = 1")
    token = harness.jwt(claims)
    encoded = base64.b64encode(b"n,,\1auth=Bearer %s\1\1" % token.encode()).decode()
    with router.client() as c:
        c.line()
        assert c.command("a AUTHENTICATE OAUTHBEARER " + encoded)[-1].startswith("a NO [UNAVAIL")
        pid = router.process.pid
        for needle in ("Unm1stakable-%d" % os.getpid(), "Unm1stakable-too-%d" % os.getpid(),
                       token, encoded):
            assert memory_holds(pid, needle.encode()) == []


@pytest.mark.parametrize("answer", ["OK", "NO"])
def test_SEC_21_what_a_node_repeats_is_gone_from_memory(make, answer):
    """The password in the node's last line, in one of before, and in one with a literal."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    password = "Unm1stakable-%s-%d" % (answer, os.getpid())

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] scripted\r\n")
        tag = conn.line().split(" ")[0]
        conn.send("* X {%d}\r\n%s too\r\n* OK so it is %s\r\n" % (len(password), password, password))
        conn.send("%s %s it is %s\r\n" % (tag, answer, password))
        conn.read()

    router = make.router([make.node("node1", serve)], server="threads = 1")
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice " + password)[-1].startswith("a " + answer)
        pid = router.process.pid
        assert memory_holds(pid, b"SELECT node FROM account_nodes") # the search does find things
        assert memory_holds(pid, password.encode()) == []


@pytest.mark.parametrize("mode, tls", [("copy", "implicit"), ("auto", "implicit"),
                                       ("auto", "plain"), ("copy", "plain")])
def test_SEC_21_a_message_is_gone_from_memory(make, mode, tls):
    """Both ways through the relay, and what waited for the reader: gone with the session."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    up, down = ("Unm1stakable-%s-%d" % (way, os.getpid()) for way in ("up", "down"))
    size = 8 << 20

    def serve(conn):
        if node_login(conn) is None:
            return
        assert conn.line() == (up + " ") * 2000
        conn.send((down + " ") * (size // (len(down) + 1)) + "\r\n")
        conn.read()

    router = make.router([make.node("node1", serve, tls=tls)], listeners={"imap": tls},
                         server="threads = 1", extra="[capabilities.imap]\n"
                         "allow_plain_auth_without_tls = true\n[splice]\nmode = \"%s\"\n" % mode)
    with router.client(tls=tls == "implicit") as c:
        c.line()
        assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
        c.send((up + " ") * 2000 + "\r\n")
        assert len(c.line()) > size // 2
    router.wait_sessions(1)
    pid = router.process.pid
    assert memory_holds(pid, b"SELECT node FROM account_nodes") # the search does find things
    for needle in (up, down):
        assert memory_holds(pid, needle.encode()) == []
