# SPDX-License-Identifier: Apache-2.0
"""The router in front of other mail servers than Dovecot: Debian's Cyrus and Courier."""

import concurrent.futures
import contextlib
import imaplib
import itertools
import poplib
import socket

import pytest

import harness
import mailnodes
import unpackednodes
from harness import PATIENCE, wait_until
from mailnodes import MailClient, Refused, b64, sasl_messages
from unpackednodes import CourierNode, CyrusNode

USERS = {"alice@example.com": "secret-a", "bob@example.com": "secret-b"}
LEGS = ("implicit", "starttls")
NODE_LEGS = ("implicit", "starttls", "plain")
# What a client may say; COMMAND is IMAP's LOGIN, and USER with PASS.
MECHS = {"imap": ("PLAIN", "LOGIN", "COMMAND"), "pop3": ("PLAIN", "LOGIN", "COMMAND"),
         "managesieve": ("PLAIN", "LOGIN")}
SCRIPT = 'keep;\r\n'


def message(node):
    return b"From: alice@example.com\r\nSubject: on %s\r\n\r\nhello\r\n" % node.name.encode()


@contextlib.contextmanager
def running(*start):
    """Nodes for all tests of this file; each account has a mail on each node that names it."""
    space, nodes = harness.Workspace("homing-test-"), []
    try:
        for number, (kind, address) in enumerate(start, 1):
            nodes.append(kind(space, "node%d" % number, address, USERS))
            for user in USERS:
                nodes[-1].deliver(user, message(nodes[-1]))
        yield nodes
    except unpackednodes.Unavailable as e:
        print("not here:", e)
        pytest.skip(str(e))
    finally:
        for node in nodes:
            node.close()
        space.close()


@pytest.fixture(scope="module")
def cyrus():
    with running((CyrusNode, "127.0.0.61"), (CyrusNode, "127.0.0.62")) as nodes:
        for node, user in itertools.product(nodes, USERS): # a script that names the node
            sock = socket.create_connection((node.address, node.ports["managesieve"][0]), PATIENCE)
            with MailClient("managesieve", sock, None, "plain") as client:
                client.login("PLAIN", user, USERS[user])
                put_script(client, "on " + node.name)
        yield nodes


@pytest.fixture(scope="module")
def courier():
    with running((CourierNode, "127.0.0.63"), (CourierNode, "127.0.0.64")) as nodes:
        yield nodes


# ---- clients; each returns the name of the node that it saw ----

def put_script(client, name):
    return client.ask('PUTSCRIPT "%s" {%d+}\r\n%s' % (name, len(SCRIPT), SCRIPT))


def imap_session(router, leg, mech, user):
    context = mailnodes.context(router)
    if leg == "implicit":
        imap = imaplib.IMAP4_SSL("localhost", router.ports["imap-implicit"], ssl_context=context,
                                 timeout=PATIENCE)
    else:
        imap = imaplib.IMAP4("localhost", router.ports["imap-starttls"], PATIENCE)
        imap.starttls(context)
    with imap:
        def login(password):
            if mech == "COMMAND":
                return imap.login(user, password)
            parts = sasl_messages(mech, user, password)
            return imap.authenticate(mech, lambda _: parts.pop(0))
        with pytest.raises(imaplib.IMAP4.error):
            login("wrong")
        login(USERS[user])
        status, count = imap.select("INBOX")
        assert (status, count) == ("OK", [b"1"])
        status, data = imap.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert status == "OK"
        return data[0][1].split()[-1].decode()


def pop3_session(router, leg, mech, user):
    context = mailnodes.context(router)
    if leg == "implicit":
        pop3 = poplib.POP3_SSL("localhost", router.ports["pop3-implicit"], context=context,
                               timeout=PATIENCE)
    else:
        pop3 = poplib.POP3("localhost", router.ports["pop3-starttls"], PATIENCE)
        pop3.stls(context)

    def login(password):
        if mech == "COMMAND":
            pop3.user(user)
            return pop3.pass_(password)
        parts = [b64(part) for part in sasl_messages(mech, user, password)]
        answer = pop3._shortcmd("AUTH %s %s" % (mech, parts.pop(0)))
        while answer.startswith(b"+ "):
            answer = pop3._shortcmd(parts.pop(0))
        return answer
    try:
        with pytest.raises(poplib.error_proto):
            login("wrong")
        login(USERS[user])
        assert len(pop3.list()[1]) == 1
        lines = pop3.retr(1)[1]
        pop3.quit()
        return [line for line in lines if line.startswith(b"Subject:")][0].split()[-1].decode()
    finally:
        pop3.close()


def sieve_session(router, leg, mech, user):
    client = mailnodes.connect(router, "managesieve-" + leg, "managesieve", leg)
    with pytest.raises(Refused):
        client.login(mech, user, "wrong")
    client.login(mech, user, USERS[user])
    name = "%s %s" % (leg, mech)
    put_script(client, name)
    names = [line.split('"')[1] for line in client.ask("LISTSCRIPTS") if line.startswith('"')]
    assert name in names
    client.quit()
    return [name for name in names if name.startswith("on ")][0].split()[-1]


SESSIONS = {"imap": imap_session, "pop3": pop3_session, "managesieve": sieve_session}


def listeners(protocols):
    return {p + "-" + leg: (leg, "", p) for p in protocols for leg in LEGS}


def matrix(make, nodes, protocols, node_leg):
    """Client legs x mechanisms x right and wrong password x two nodes."""
    router = make.router([n.toml(node_leg) for n in nodes], default="node1",
                         listeners=listeners(protocols))
    router.map({user: node.name for user, node in zip(USERS, nodes)})
    rows = [(p, leg, mech, user, node.name) for p in protocols for mech in MECHS[p]
            for leg, (user, node) in itertools.product(LEGS, zip(USERS, nodes))]
    # at once, because Courier takes five seconds over a refusal
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        done = [(row, pool.submit(SESSIONS[row[0]], router, *row[1:4])) for row in rows]
        for row, future in done:
            assert future.result() == row[4], row
    lines = router.wait_sessions(len(rows))
    assert len(lines) == len(rows)
    for node, user in zip(nodes, USERS):
        mine = [x for x in lines if x["account"].startswith(user[:2])]
        assert len(mine) * 2 == len(rows)
        assert {(x["node"], x["route"]) for x in mine} == {(node.name, "mapped")}


@pytest.mark.parametrize("node_leg", NODE_LEGS)
def test_cyrus(make, cyrus, node_leg):
    """IMAP, POP3 and ManageSieve; implicit TLS is not among what timsieved can do."""
    matrix(make, cyrus, ("imap", "pop3", "managesieve"), node_leg)


def test_cyrus_logs_the_address_that_ID_names(make, cyrus):
    """docs/cyrus.md: it knows neither the PROXY header nor XCLIENT; of ID it keeps a log line."""
    node, protocols = cyrus[0], ("imap", "pop3", "managesieve")
    router = make.router([node.toml(forwarding="xclient")], default=node.name,
                         listeners=listeners(protocols))
    for protocol in protocols:
        client = mailnodes.connect(router, protocol + "-implicit", protocol, "implicit",
                                   source="127.0.3.7")
        client.login("PLAIN", "alice@example.com", USERS["alice@example.com"])
        client.works()
        client.quit()
    wait_until(lambda: any('"x-originating-ip" "127.0.3.7"' in x for x in node.lines))


@pytest.mark.parametrize("node_leg", NODE_LEGS)
def test_courier(make, courier, node_leg):
    """IMAP and POP3; Courier has no SASL-IR and no ManageSieve."""
    matrix(make, courier, ("imap", "pop3"), node_leg)
