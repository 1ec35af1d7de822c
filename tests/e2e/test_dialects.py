# SPDX-License-Identifier: Apache-2.0
"""What clients send and servers take: the same bytes to a real node and to the router in front of it
come to the same end."""

import base64
import contextlib
import socket

import pytest

import harness
from harness import wait_until
from mailnodes import PostfixNode, speak

USERS = {"alice@example.com": "secret-a", "alice": "pw", "pct": "50%off*]\\x"}
MASTERS = {"admin": "master"}
LATIN1 = b"accentu\xe9!"
PLAIN_LOGIN = "".join("[capabilities.%s]\nallow_plain_auth_without_tls = true\n" % p
                      for p in ("imap", "pop3", "managesieve", "submission"))


def plain(authzid, authcid, password):
    return base64.b64encode(b"\0".join((authzid, authcid, password)))


ALICE = plain(b"", b"alice", b"pw")
FOR_ALICE = plain(b"alice@example.com", b"admin", b"master")

# What a client sends, how the last answer begins, and whether the node is as kind (it always is
# where somebody is refused).
IMAP = (
    (b'a LOGIN alice@example.com%admin "master"\r\n', b"a OK", True),
    (b'a LOGIN alice@example.com%admin master\r\n', b"a OK", True),
    (b"a LOGIN pct 50%off*]\\x\r\n", b"a OK", True),
    (b'a LOGIN alice "p\\w"\r\n', b"a OK", True),
    (b"a LOGIN  alice   pw  \r\n", b"a OK", True),
    (b"a CAPABILITY \r\n", b"a OK", True),
    (b"a NOOP \r\n", b"a OK", True),
    (b"a AUTHENTICATE PLAIN " + ALICE + b" \r\n", b"a OK", True),
    (b"a AUTHENTICATE  PLAIN \r\n" + ALICE + b" \r\n", b"a OK", False),
    (b"a AUTHENTICATE PLAIN " + FOR_ALICE + b"\r\n", b"a OK", True),
    (b"a AUTHENTICATE PLAIN " + plain(b"alice", b"admin", b"wrong") + b"\r\n", b"a NO", True),
    (b"a LOGIN latin {%d+}\r\n" % len(LATIN1) + LATIN1 + b"\r\n", b"a OK", True),
    (b'a LOGIN latin "' + LATIN1 + b'"\r\n', b"a OK", True),
    (b"a LOGIN latin " + LATIN1 + b"\r\n", b"a OK", False),
    (b"a LOGIN DOMAIN\\user pw\r\n", b"a NO", True),
    (b"a LOGIN alice abc(def\r\n", b"a BAD", True),
    (b"a LOGIN alice p w\r\n", b"a BAD", True),
    (b"a LOGIN alice pw{5}\r\n", b"a BAD", True),
    (b"a X ({8+}\r\na LOGOUT\r\n)\r\n", b"a BAD", True),
)
POP3 = (
    (b"USER alice \r\nPASS pw\r\n", b"+OK", False),
    (b"USER latin\r\nPASS " + LATIN1 + b"\r\n", b"+OK", True),
    (b"AUTH PLAIN " + ALICE + b" \r\n", b"+OK", True),
    (b"AUTH  PLAIN " + ALICE + b"\r\n", b"+OK", False),
    (b"AUTH PLAIN " + FOR_ALICE + b"\r\n", b"+OK", True),
)
MANAGESIEVE = (
    (b'AUTHENTICATE "PLAIN"  "' + ALICE + b'"\r\n', b"OK", True),
    (b'AUTHENTICATE "PLAIN" "' + ALICE + b'" \r\n', b"OK", True),
    (b'AUTHENTICATE "PLAIN" "' + ALICE + b' "\r\n', b"OK", True),
    (b'AUTHENTICATE "PLAIN" "' + FOR_ALICE + b'"\r\n', b"OK", True),
)
SUBMISSION = (
    (b"AUTH PLAIN " + ALICE + b"\r\n", b"235", True),
    (b"HELO x\r\nAUTH PLAIN " + ALICE + b"\r\n", b"235", True),
    (b"EHLO My Computer\r\nAUTH PLAIN " + ALICE + b"\r\n", b"235", True),
    (b'EHLO "\xc3\x9c"\r\nAUTH  PLAIN ' + ALICE + b" \r\n", b"235", True),
    (b"EHLO c\r\nAUTH PLAIN " + FOR_ALICE + b"\r\n", b"235", True),
    (b"EHLO c\r\nBDAT x\r\nAUTH PLAIN " + ALICE + b"\r\n", b"521", True),
    (b"EHLO c\r\nBDAT 12 LAST\r\nNOOP\r\nQUIT\r\n", b"5", True),
)


def answers(address, text, last):
    """Sends all of it and returns the answers, up to a line that begins as the last one does."""
    with contextlib.closing(socket.create_connection(address, harness.PATIENCE)) as sock:
        client = harness.Client(sock)
        lines = [client.line()] # of a greeting, which may have more
        client.send(text)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while not lines[-1].encode().startswith(last) or lines[-1] == "+OK" or len(lines) < 2:
                lines.append(client.line())
        return lines[1:]


def compare(node, router, protocol, dialects):
    direct = (node.address, node.ports[protocol][0])
    through = ("127.0.0.1", router.ports[protocol])
    for text, last, alike in dialects:
        for address in (direct, through) if alike else (through,):
            lines = answers(address, text, last)
            assert lines and lines[-1].encode().startswith(last), (address, text, lines)
            assert not any("BYE" in line for line in lines), (address, text, lines)


@pytest.fixture
def dovecot(make):
    node = make.dovecot("node1", "127.0.0.34", USERS, haproxy=False, masters=MASTERS,
                        protocols=("imap", "pop3", "managesieve"))
    with open(node.dir + "/users", "ab") as users:
        users.write(b"latin:{PLAIN.b64}" + base64.b64encode(LATIN1) + b"\n")
    return node


def test_SES_32_33_dialects_on_dovecot(make, dovecot):
    """Blanks, arguments that are not quoted, passwords of any encoding, acting for somebody else; on
    IMAP, POP3 and ManageSieve."""
    router = make.router([dovecot.toml(forwarding="none")], extra=PLAIN_LOGIN, listeners={
        p: ("plain", "", p) for p in ("imap", "pop3", "managesieve")})
    compare(dovecot, router, "imap", IMAP)
    compare(dovecot, router, "pop3", POP3)
    compare(dovecot, router, "managesieve", MANAGESIEVE)
    wait_until(lambda: len(router.session_lines()) >= len(IMAP + POP3 + MANAGESIEVE))
    # by each its own account, not by who acts for it
    accounts = {line["account"][:2] for line in router.session_lines()}
    assert accounts == {"al", "la", "pc", "do", "-"}


def test_SES_30_33_dialects_on_postfix(make, workspace, dovecot):
    node = PostfixNode(workspace, "node2", "127.0.0.35", dovecot, "discard:", proxy=False)
    try:
        router = make.router([node.toml(forwarding="none")], default="node2", extra=PLAIN_LOGIN,
                             listeners={"submission": ("plain", "", "submission")})
        compare(node, router, "submission", SUBMISSION)
    finally:
        node.close()


def test_section_5_4_a_message_before_login_is_no_commands(make):
    """A client that pipelines a whole mail with BDAT: no line of it logs in."""
    node = make.node("node1")
    table = harness.destination_toml("node1", node.address, None, {"submission": "implicit"},
                                     node.pin, "none", "", {"submission": node.port})
    router = make.router([table], default="node1", extra=PLAIN_LOGIN,
                         listeners={"s": ("plain", "", "submission")})
    body = b"Subject: hi\r\n\r\nAUTH PLAIN " + ALICE + b"\r\nQUIT\r\n"
    with router.client("s", tls=False) as client:
        client.line()
        client.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT %d LAST\r\n" % len(body) + body)
        client.send("NOOP\r\nQUIT\r\n")
        assert client.eof().split(b"\r\n")[:-1] == [b"530 5.7.0 Authentication required"] * 3 + [
            b"250 2.0.0 OK", b"221 2.0.0 Closing"]
    line = router.wait_sessions(1)[0]
    assert (line["reason"], line["attempts"], line["account"]) == ("client_quit", "0", "-")
    assert not node.connections


def test_SES_16_commands_before_login_have_a_limit(make):
    """Mechanisms that are not offered are no failed attempts; all commands together are bounded."""
    node = make.node("node1", harness.node_imap)
    router = make.router([node])
    with router.client() as client:
        client.line()
        for mech in ("CRAM-MD5", "NTLM", "GSSAPI", "SCRAM-SHA-256"):
            assert client.command("a AUTHENTICATE " + mech) == ["a NO Mechanism not supported."]
        assert client.command("b LOGIN alice pw")[-1].startswith("b OK")
    assert router.wait_sessions(1)[0]["attempts"] == "0"
    with router.client() as client:
        client.line()
        client.send("a NOOP\r\n" * 200)
        assert client.eof() == b"a OK Done.\r\n" * 100 + b"* BYE Too many failed attempts.\r\n"
    assert router.wait_sessions(2)[1]["reason"] == "auth_limit"


def test_SES_53_names_that_nodes_get(make):
    """A client's name goes to the node only as a strict one would take it."""
    node = make.node("node1", lambda conn: speak(conn, "submission", verdict="535 no\r\n"))
    table = harness.destination_toml("node1", node.address, None, {"submission": "implicit"},
                                     node.pin, "none", "", {"submission": node.port})
    router = make.router([table], default="node1", extra=PLAIN_LOGIN,
                         listeners={"s": ("plain", "", "submission")})
    names = (("HELO printer", "printer"), ("EHLO [IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
             ("NOOP", "router.test"), ("EHLO My Computer", "router.test"),
             ("EHLO M\u00dcLLER-PC", "router.test"), ("HELO my_pc", "router.test"),
             ("EHLO [Windows.Networking]", "router.test"))
    for greeting, name in names:
        with router.client("s", tls=False) as client:
            client.line()
            client.send("%s\r\nAUTH PLAIN %s\r\nQUIT\r\n" % (greeting, ALICE.decode()))
            while not client.line().startswith("535"):
                pass
        assert node.connections[-1].received.startswith(b"EHLO %s\r\n" % name.encode()), greeting
