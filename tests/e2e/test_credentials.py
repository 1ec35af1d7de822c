# SPDX-License-Identifier: Apache-2.0
"""How a credential reaches nodes: long ones in lines that the receiver takes (RFC 4954 section 4, RFC
5034 section 4, RFC 2683 section 3.2.1.5), and by what the node offers (SES-70)."""

import contextlib
import itertools

import pytest
from harness import jwt
from mailnodes import MECHS, PROTOCOLS, PostfixNode, Refused, connect
from mailpeers import Nodes, listeners, protocol_toml

SIZES = (300, 4000, 5900, 12000)
ALICE = "alice@example.com"
USERS = dict({"long%d@example.com" % n: "p" * n for n in SIZES}, **{ALICE: "secret-a"})


def credential(mech, size):
    """A user and a secret of about that many bytes."""
    if mech in ("PLAIN", "LOGIN"):
        return "long%d@example.com" % size, "p" * size
    bare = len(jwt({"email": ALICE, "pad": ""}))
    return ALICE, jwt({"email": ALICE, "pad": "x" * ((size - bare) * 3 // 4)})


def login(router, protocol, mech, size):
    """None, or the refusal."""
    client = connect(router, protocol, protocol, "implicit")
    with contextlib.closing(client):
        try:
            client.login(mech, *credential(mech, size))
        except Refused as e:
            return str(e)
        client.works()
    return None


def test_section_12_long_secrets_on_dovecot(make, sink):
    """Dovecot takes 8192 bytes of base64 and hangs up on more, whoever sends them: unavailable, and the
    next one logs in."""
    node = make.dovecot("node1", "127.0.0.31", USERS, protocols=PROTOCOLS, relay_port=sink.port)
    router = make.router([node.toml()], default="node1", listeners=listeners(),
                         server="host_down_threshold = 0\n")
    for protocol, mech in itertools.product(PROTOCOLS, MECHS):
        for size in (300, 4000, 5900):
            assert login(router, protocol, mech, size) is None, (protocol, mech, size)
        refusal = login(router, protocol, mech, 12000)
        assert refusal and ("UNAVAILABLE" in refusal or "SYS/TEMP" in refusal or
                            "TRYLATER" in refusal or refusal[:3] in ("500", "421")), refusal
    assert login(router, "imap", "PLAIN", 300) is None


def test_section_12_long_secrets_on_postfix(make, workspace):
    """Postfix takes 12288 bytes of base64, as RFC 4954 says, and refuses more."""
    dovecot = make.dovecot("auth1", "127.0.0.32", USERS, haproxy=False)
    node = PostfixNode(workspace, "node1", "127.0.0.33", dovecot, "smtp:[127.0.0.1]:9")
    try:
        router = make.router([node.toml()], default="node1", listeners=listeners(("submission",)))
        for mech in ("PLAIN", "LOGIN", "XOAUTH2"):
            # of PLAIN, Dovecot's auth process takes no more
            for size in (300, 4000, 5900):
                assert login(router, "submission", mech, size) is None, (mech, size)
            assert login(router, "submission", mech, 12000).startswith("500 5.5.6 ")
    finally:
        node.close()


# ---- scripted nodes ----

OFFERS = {"imap": "SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
          "pop3": "SASL PLAIN XOAUTH2 OAUTHBEARER", "managesieve": "PLAIN XOAUTH2 OAUTHBEARER",
          "submission": "AUTH PLAIN XOAUTH2 OAUTHBEARER"}
COMMAND_BYTES = {"imap": 8000, "pop3": 255, "submission": 512, "managesieve": 1100}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_12_no_line_is_too_long(make, protocol):
    """Secrets of 4,000 and 12,000 bytes arrive whole, and no command is longer than the protocol has it."""
    nodes = Nodes(make, protocol, OFFERS[protocol])
    for mech, size in itertools.product(("PLAIN", "XOAUTH2", "OAUTHBEARER"), (4000, 12000)):
        user, secret = credential(mech, size)
        assert nodes.attempt(mech, user, secret) is None, (mech, size)
        assert nodes.conns[-1].login[1] == secret and nodes.conns[-1].mech == mech
    commands = [x for x in nodes.lines if " " in x]
    assert commands and max(map(len, commands)) + 2 <= COMMAND_BYTES[protocol]


LOGIN_ONLY = {"imap": "AUTH=LOGIN AUTH=XOAUTH2", "pop3": "SASL LOGIN XOAUTH2",
              "managesieve": "LOGIN XOAUTH2", "submission": "AUTH LOGIN XOAUTH2"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_70_nodes_with_LOGIN_and_XOAUTH2_only(make, protocol):
    nodes = Nodes(make, protocol, LOGIN_ONLY[protocol])
    for mech in ("PLAIN", "LOGIN"):
        assert nodes.attempt(mech, ALICE, "secret-a") is None
        assert nodes.conns[-1].login == (ALICE, "secret-a") and nodes.conns[-1].mech == "LOGIN"
        assert nodes.attempt(mech, ALICE, "wrong")
        assert nodes.conns[-1].login == (ALICE, "wrong")
    assert nodes.attempt("XOAUTH2", ALICE, "t0ken") is None
    assert nodes.conns[-1].login == ("XOAUTH2", "t0ken")
    for _ in range(6): # more than open the breaker: it is the client's choice, not the node's fault
        refusal = nodes.attempt("OAUTHBEARER", ALICE, "t0ken")
        assert any(x in refusal for x in ("UNAVAILABLE", "SYS/TEMP", "421", "TRYLATER")), refusal
    nodes.router.wait_line(lambda line: "msg=node_failed" in line and "node=node1" in line and
                           "offers no mechanism" in line)
    assert not [x for x in nodes.lines if "OAUTHBEARER" in x]
    assert nodes.attempt("PLAIN", ALICE, "secret-a") is None


@pytest.mark.parametrize("protocol,lists", (
    ("imap", ("", "LITERAL+", "LITERAL- AUTH=GSSAPI")), ("pop3", ("USER", "USER\r\nSASL GSSAPI"))))
def test_SES_70_nodes_with_commands_only(make, protocol, lists):
    nodes = Nodes(make, protocol, "")
    for nodes.offers in lists:
        for secret in ("secret-a", 'p"\\ {3} \xe9', "p" * 5000):
            assert nodes.attempt("PLAIN", ALICE, secret) is None
            assert nodes.conns[-1].login == (ALICE, secret) and nodes.conns[-1].mech is None
        assert nodes.attempt("LOGIN", ALICE, "wrong")
        assert nodes.attempt("XOAUTH2", ALICE, "t0ken")


@pytest.mark.parametrize("protocol,lists", (
    ("imap", ("LOGINDISABLED", "LOGINDISABLED SASL-IR AUTH=GSSAPI")),
    ("submission", ("AUTH CRAM-MD5", "AUTH=NTLM"))))
def test_SES_70_nodes_that_offer_nothing(make, protocol, lists):
    nodes = Nodes(make, protocol, "")
    for nodes.offers in lists:
        refusal = nodes.attempt("PLAIN", ALICE, "secret-a")
        assert any(x in refusal for x in ("UNAVAILABLE", "421")), refusal
    nodes.router.wait_line(lambda line: "offers no mechanism" in line)
    assert {x["reason"] for x in nodes.router.wait_sessions(2)} == {"node_refused"}
    assert not [x for x in nodes.lines if "AUTH" in x or "LOGIN" in x]


def test_SES_70_a_dovecot_with_LOGIN_only(make, sink):
    node = make.dovecot("node1", "127.0.0.34", USERS, protocols=PROTOCOLS, relay_port=sink.port,
                        mechanisms="login")
    router = make.router([node.toml()], default="node1", listeners=listeners())
    for protocol, mech in zip(PROTOCOLS, ("PLAIN", "LOGIN") * 2):
        client = connect(router, protocol, protocol, "implicit")
        if protocol == "imap": # a node takes its time over a refusal
            with pytest.raises(Refused):
                client.login(mech, ALICE, "wrong")
        client.login(mech, ALICE, "secret-a")
        client.works()
        client.quit()
    with pytest.raises(Refused):
        connect(router, "imap", "imap", "implicit").login("XOAUTH2", ALICE, jwt({"email": ALICE}))


@pytest.mark.parametrize("mechanisms", ("plain", "login"))
def test_a_dovecot_that_overlooks_quick_commands(make, mechanisms):
    """ManageSieve on implicit TLS with XCLIENT: what follows an answer at once is overlooked, and stalls
    until the node's timeout. One in four logins did, or one of two prompts."""
    node = make.dovecot("node1", "127.0.0.36", USERS, haproxy=False, protocols=("managesieve",),
                        mechanisms=mechanisms, extra="login_trusted_networks = 127.0.0.0/8")
    router = make.router([node.toml(forwarding="xclient")], default="node1",
                         listeners=listeners(("managesieve",)))
    for _ in range(15):
        client = connect(router, "managesieve", "managesieve", "implicit", source="127.0.3.9")
        client.login("PLAIN", ALICE, "secret-a")
        client.quit()
    assert node.logins("managesieve") == [(ALICE, "127.0.3.9")] * 15
    assert max(int(x["ms_total"]) for x in router.wait_sessions(15)) < 9000


# ---- names in EHLO ----

def test_SES_53_names_that_any_node_takes(make):
    got = []

    def serve(conn):
        conn.send("220 hi\r\n")
        while True:
            line = conn.line()
            got.append(line)
            if line.startswith("EHLO"):
                conn.send("250-node\r\n250-XCLIENT HELO PROTO\r\n250 AUTH PLAIN\r\n")
            elif line.startswith("XCLIENT"):
                conn.send("220 again\r\n")
            else:
                conn.send("235 in\r\n")
                conn.read()
                return

    node = make.node("node1", serve)
    router = make.router([protocol_toml(node, "submission", forwarding="xclient")],
                         default="node1", listeners=listeners(("submission",)))
    for said, passed in (("M\xdcLLER-PC", False), ("my_pc", False), ("192.0.2.7", False),
                         ("a..b", False), ("client.test", True), ("[192.0.2.7]", True)):
        del got[:]
        with router.client("submission") as client:
            client.line()
            client.send(("EHLO %s\r\n" % said).encode())
            while client.line()[3] == "-":
                pass
            client.send("AUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHB3\r\n")
            client.expect("235 in")
        name = said if passed else "router.test"
        helo = " HELO=" + said if passed else ""
        assert got[:3] == ["EHLO " + name, "XCLIENT%s PROTO=ESMTP" % helo, "EHLO " + name]
