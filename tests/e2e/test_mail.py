# SPDX-License-Identifier: Apache-2.0
"""All mail protocols through the router, on real Dovecot and Postfix nodes, with every mechanism."""

import base64
import concurrent.futures
import contextlib
import hashlib
import imaplib
import itertools
import os
import smtplib

import harness
import mailnodes
import pytest
from harness import jwt, wait_until
from mailnodes import MECHS, PROTOCOLS, Refused, connect
from mailsite import PLAIN_ALLOWED, USERS, dovecots, listeners, postfix, secret_of  # noqa: F401


def login_everywhere(router, protocol, leg, mech, user):
    """The right secret reaches the node and the session works; a wrong one is refused there."""
    listener = protocol + "-" + leg
    client = connect(router, listener, protocol, leg, source="127.0.3.7")
    with pytest.raises(Refused):
        client.login(mech, user, secret_of(user, mech, right=False))
    client.login(mech, user, secret_of(user, mech))
    client.works()
    client.quit()


@pytest.mark.parametrize("node_leg", ("implicit", "starttls", "plain"))
def test_matrix_of_protocols_legs_mechanisms_and_nodes(make, dovecots, node_leg):
    """4 protocols x implicit/STARTTLS client leg x node leg x 4 mechanisms x right and wrong
    secret x two nodes (section 14 of the acceptance scenarios)."""
    router = make.router([d.toml(node_leg) for d in dovecots], default="node1",
                         listeners=listeners())
    router.map({"alice@example.com": "node1", "bob@example.com": "node2"})
    # at once, because a node takes its time over a refusal
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = [pool.submit(login_everywhere, router, *row) for row in itertools.product(
            PROTOCOLS, ("implicit", "starttls"), MECHS, USERS)]
        for future in done:
            future.result()
    assert len(done) == 64
    for user, node in zip(USERS, dovecots):
        for protocol in PROTOCOLS:
            wait_until(lambda n=node, p=protocol: len(n.logins(p)) == 8)
            assert set(node.logins(protocol)) == {(user, "127.0.3.7")}
    lines = router.wait_sessions(64)
    assert {(x["proto"], x["mech"]) for x in lines} == set(itertools.product(PROTOCOLS, MECHS))
    assert {x["node"] for x in lines if x["account"].startswith("al")} == {"node1"}
    assert {x["attempts"] for x in lines} == {"1"}


def test_postfix_submission_matrix(make, postfix, sink):
    """Submission to real Postfix: legs, mechanisms, the client's address, right and wrong."""
    dovecot = make.dovecot("auth1", "127.0.0.23", USERS, haproxy=False, protocols=("imap",))
    node = postfix("node1", "127.0.0.24", dovecot, "smtp:[127.0.0.1]:%d" % sink.port)
    for node_leg in ("implicit", "starttls", "plain"):
        router = make.router([node.toml(node_leg)], default="node1",
                             listeners=listeners(protocols=("submission",)))
        for leg, mech in itertools.product(("implicit", "starttls"), MECHS):
            client = connect(router, "submission-" + leg, "submission", leg, source="127.0.3.8")
            with pytest.raises(Refused):
                client.login(mech, "alice@example.com",
                             secret_of("alice@example.com", mech, right=False))
            client.login(mech, "alice@example.com", secret_of("alice@example.com", mech))
            seen = len(node.logins())
            client.ask("MAIL FROM:<alice@example.com>")
            client.ask("RCPT TO:<bob@example.com>")
            client.ask("DATA")
            client.ask("Subject: %s %s\r\n\r\nhello\r\n." % (leg, mech))
            client.quit()
            wait_until(lambda: len(node.logins()) > seen)
            assert node.logins()[-1] == ("alice@example.com", "127.0.3.8")
        router.stop()
    mails = sink.wait(24)
    assert len(mails) == 24


def test_one_account_one_node_before_and_after_a_move(make, dovecots):
    """IMAP, POP3, ManageSieve and submission of one account, by two routers, land on the same node, as the
    nodes saw it; after a move all on the other."""
    tomls = [d.toml() for d in dovecots]
    router = make.router(tomls, default="node1", listeners=listeners())
    router.map({"alice@example.com": "node1"})
    space = harness.Workspace("homing-test-")
    second = harness.Router(space, tomls, "node1", listeners=listeners(),
                            mapping=router.sqlite_toml()).start()

    def everywhere():
        for target, protocol in itertools.product((router, second), PROTOCOLS):
            client = connect(target, protocol + "-implicit", protocol, "implicit")
            client.login("PLAIN", "alice@example.com", "secret-a")
            client.quit()

    def seen():
        return [[len(d.logins(p)) for p in PROTOCOLS] for d in dovecots]

    try:
        everywhere()
        wait_until(lambda: seen() == [[2] * 4, [0] * 4])
        done = router.ctl("--insecure", "--url", "https://localhost:%d" % second.ports["admin"], "move",
                          "alice@example.com", "node2")
        assert done.returncode == 0, done.stdout + done.stderr
        everywhere()
        wait_until(lambda: seen() == [[2] * 4, [2] * 4])
    finally:
        second.close()
        space.close()


# ---- bulk ----

BIG = int(os.environ.get("HOMING_MAIL_BYTES", 100 << 20))


def big_mail(size, line=b"0123456789abcdef" * 4 + b"\r\n"):
    head = b"Subject: big\r\nFrom: alice@example.com\r\n\r\n"
    return head + line * ((size - len(head)) // len(line))


@pytest.mark.parametrize("node_leg,client_leg,path", (
    ("implicit", "implicit", "record"), ("implicit", "implicit", "copy"),
    ("plain", "plain", "sockmap"), ("plain", "plain", "copy")))
def test_100_mb_mails_both_ways(make, dovecots, sink, node_leg, client_leg, path):
    """Submission of a big mail, IMAP APPEND and FETCH of it: digests equal."""
    mode = "copy" if path == "copy" else "auto"
    router = make.router([dovecots[0].toml(node_leg)], default="node1",
                         listeners=listeners((client_leg,)),
                         extra=PLAIN_ALLOWED + '[splice]\nmode = "%s"\n' % mode)
    mail = big_mail(BIG)
    digest = hashlib.sha256(mail).digest()
    port = router.ports["imap-" + client_leg]
    if client_leg == "implicit":
        imap = imaplib.IMAP4_SSL("localhost", port, ssl_context=mailnodes.context(router))
        smtp = smtplib.SMTP_SSL("localhost", router.ports["submission-implicit"],
                                context=mailnodes.context(router))
    else:
        imap = imaplib.IMAP4("localhost", port)
        smtp = smtplib.SMTP("localhost", router.ports["submission-plain"])
    imap.login("alice@example.com", "secret-a")
    assert imap.append("INBOX", None, None, mail)[0] == "OK"
    imap.select("INBOX")
    data = imap.fetch("1", "(BODY.PEEK[])")[1][0][1]
    assert hashlib.sha256(data).digest() == digest
    imap.logout()
    smtp.login("alice@example.com", "secret-a")
    assert smtp.sendmail("alice@example.com", ["bob@example.com"], mail) == {}
    smtp.quit()
    received = sink.wait(1)[0][2]
    # the node adds its Received header in front
    assert hashlib.sha256(received[received.index(b"Subject: big"):]).digest() == digest
    for line in router.wait_sessions(2):
        assert (line["path_up"], line["path_down"]) == (path, path), line
        if line["proto"] == "submission":
            assert int(line["bytes_up"]) >= BIG


# ---- tokens ----

def test_SES_35_to_41_identity_from_tokens(make, dovecots):
    """a= and user= come first, then the token's claims; sw1. footers; else the default node."""
    router = make.router([d.toml() for d in dovecots], default="node1", listeners=listeners())
    router.map({"bob@example.com": "node2"})

    def routed(mech, user, token, protocol):
        count = len(router.session_lines())
        client = connect(router, protocol + "-implicit", protocol, "implicit")
        with contextlib.suppress(Refused):
            client.login(mech, user, token)
        client.quit()
        return router.wait_sessions(count + 1)[-1]

    footer = base64.urlsafe_b64encode(b"bob@example.com").rstrip(b"=").decode()
    for protocol in PROTOCOLS:
        for mech in ("OAUTHBEARER", "XOAUTH2"):
            line = routed(mech, "bob@example.com", "opaque", protocol)
            assert (line["node"], line["route"]) == ("node2", "mapped"), line
            line = routed(mech, "", jwt({"upn": "bob@example.com", "email": "no-at-sign"}),
                          protocol)
            assert line["node"] == "node2", line
            line = routed(mech, "", "sw1.body." + footer, protocol)
            assert line["node"] == "node2", line
            line = routed(mech, "", "opaque", protocol)
            assert (line["node"], line["route"]) == ("node1", "default"), line
            assert line["account"] == "-", line


def test_SES_35_jwt_alone_logs_in(make, dovecots):
    """Without a name, the token's address chooses the node, and the node accepts the token."""
    router = make.router([d.toml() for d in dovecots], default="node1", listeners=listeners())
    router.map({"bob@example.com": "node2"})
    client = connect(router, "imap-implicit", "imap", "implicit")
    client.login("OAUTHBEARER", "bob@example.com", jwt({"email": "bob@example.com"}))
    client.works()
    client.quit()
    assert dovecots[1].logins() == [("bob@example.com", "127.0.0.1")]


def test_greetings_of_all_protocols(make, dovecots):
    router = make.router([dovecots[0].toml()], default="node1",
                         listeners=listeners(("starttls",)))
    starts = {"imap": "* OK [CAPABILITY ", "pop3": "+OK Homing POP3 ready.",
              "submission": "220 router.test ESMTP Homing ready.",
              "managesieve": '"IMPLEMENTATION" "Homing ManageSieve"'}
    for protocol, start in starts.items():
        with router.client(protocol + "-starttls", tls=False) as client:
            assert client.line().startswith(start)
