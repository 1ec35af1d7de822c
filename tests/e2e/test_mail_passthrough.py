# SPDX-License-Identifier: Apache-2.0
"""sessions.md: SMTP and LMTP that the router only passes on."""

import smtplib

import harness
import mailnodes
import pytest
from harness import wait_until
from mailsite import USERS, postfix  # noqa: F401


def passthrough_router(make, table, tables):
    return make.router([table], default="node1", listeners=tables,
                       extra='[splice]\narm_after = "0s"\n',
                       routing='smtp_passthrough_destination = "node1"\n')


def test_SES_80_pass_through_of_smtp_and_lmtp(make, postfix):
    """The node's greeting is the first line, EHLO is the node's, lmtp uses the lmtp leg, the client's
    address arrives, and on plain legs the kernel moves the bytes."""
    dovecot = make.dovecot("back", "127.0.0.25", USERS, protocols=("imap", "lmtp"))
    store = make.dovecot("store", "127.0.0.26", USERS, haproxy=False, protocols=("imap", "lmtp"))
    front = postfix("node1", "127.0.0.27", store)
    table = harness.destination_toml(
        "node1", "127.0.0.27", None, {"smtp": "plain"}, front.pin, "proxy", "",
        {"smtp": front.ports["smtp"][0]})
    smtp_router = passthrough_router(make, table, {"smtp": ("plain", "", "smtp"),
                                                   "smtps": ("implicit", "", "smtp")})
    with smtplib.SMTP("localhost", smtp_router.ports["smtp"], source_address=("127.0.3.9", 0)) as s:
        code, text = s.ehlo()
        assert code == 250 and text.startswith(b"node1.test")
        assert s.sendmail("x@remote.test", ["alice@example.com"], "Subject: a\r\n\r\nb\r\n") == {}
    smtp_router.wait_sessions(1)
    with smtplib.SMTP_SSL("localhost", smtp_router.ports["smtps"],
                          context=mailnodes.context(smtp_router)) as s:
        assert s.sendmail("x@remote.test", ["alice@example.com"], "Subject: c\r\n\r\nd\r\n") == {}
    lines = smtp_router.wait_sessions(2)
    assert [(x["proto"], x["route"], x["node"]) for x in lines] == [
        ("smtp", "passthrough", "node1")] * 2
    assert (lines[0]["path_up"], lines[0]["path_down"]) == ("sockmap", "sockmap")
    assert "127.0.3.9" in front.clients()
    lmtp_table = harness.destination_toml(
        "node1", "127.0.0.25", None, {"lmtp": "plain", "smtp": "plain"}, None, "proxy", "",
        {"lmtp": dovecot.ports["lmtp"][0], "smtp": dovecot.ports["lmtp"][0]})
    smtp_router.stop()
    router = passthrough_router(make, lmtp_table, {"lmtp": ("plain", "", "lmtp")})
    with smtplib.LMTP("localhost", router.ports["lmtp"]) as s:
        assert s.sendmail("x@remote.test", ["alice@example.com"], "Subject: e\r\n\r\nf\r\n") == {}
    wait_until(lambda: "saved mail to INBOX" in dovecot.log())
    wait_until(lambda: store.log().count("saved mail to INBOX") == 2)


def test_SES_82_dead_pass_through_node(make):
    port = harness.free_port()
    table = harness.destination_toml("node1", "127.0.0.1", None, {"smtp": "plain"}, None, "none",
                                     "", {"smtp": port})
    router = passthrough_router(make, table, {"smtp": ("plain", "", "smtp")})
    with router.client("smtp", tls=False) as client:
        client.expect("421 4.3.0 router.test Service temporarily unavailable")
        assert client.eof() == b""


def test_SES_83_early_bytes_of_a_pass_through_client(make):
    """What the client sent before the node was there arrives first, in order."""
    got = []

    def serve(conn):
        conn.send("220 scripted\r\n")
        while len(got) < 3:
            got.append(conn.line())
            conn.send("250 ok\r\n")

    node = make.node("node1", serve, tls="plain")
    table = harness.destination_toml("node1", node.address, None, {"smtp": "plain"}, None, "none",
                                     "", {"smtp": node.port})
    router = passthrough_router(make, table, {"smtp": ("plain", "", "smtp")})
    with router.client("smtp", tls=False) as client:
        client.send("EHLO early\r\nNOOP 1\r\nNOOP 2\r\n")
        client.expect("220 scripted")
        for _ in range(3):
            client.expect("250 ok")
    assert got == ["EHLO early", "NOOP 1", "NOOP 2"]


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
