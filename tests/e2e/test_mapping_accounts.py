# SPDX-License-Identifier: Apache-2.0
"""mapping.md: which account a login names, and which node it is routed to."""

import base64
import imaplib
import os
import sqlite3
import subprocess
import threading

import harness
import pytest
from harness import wait_until
from logins import login, served
from mapping_stores import file_mapping, get_mapping


# ---- the lookup and identifiers ----

def test_MAP_1_a_lookup_never_fails_a_session(pair):
    """A query that no database can run, from the first login on."""
    make, (node1, _) = pair
    router = make.router(pair[1], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace("SELECT node FROM account_nodes",
                                                       "SELECT node FROM nowhere"))
    router.start()
    for user in ("alice", "bob", "alice"):
        login(router, user)
    assert served(node1) == ["alice", "bob", "alice"]
    assert {line["route"] for line in router.wait_sessions(3)} == {"default"}
    assert router.stats()["store_errors"] == 2


def test_MAP_3_a_row_that_names_the_default_node_is_positive(pair):
    make, nodes = pair
    router = make.router(nodes, mapping_extra='negative_ttl = "0s"\n')
    router.map({"alice": "node1"})
    assert get_mapping(router, "alice")["routed_to_default"] is False
    login(router, "alice")
    got = get_mapping(router, "alice")
    assert (got["source"], got["cached"], got["routed_to_default"]) == ("cache", True, False)
    assert got["expires_in_s"] > 500 # positive_ttl
    login(router, "bob") # no row: negative, which is not kept here
    got = get_mapping(router, "bob")
    assert (got["source"], got["cached"], got["routed_to_default"]) == ("default", False, True)
    assert [line["route"] for line in router.wait_sessions(2)] == ["mapped", "default"]


def test_MAP_11_normalised_before_every_use(pair, workspace):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    post = lambda path: router.admin("POST", path)[1]  # noqa: E731
    put = router.admin("PUT", "/mappings?identifier=ALICE@X&destination=node2")
    assert put[1]["identifier"] == "alice@x" and account_column(router) == ["alice@x"]
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN AlicE@X pw")[-1].startswith("a OK")
        assert router.stats()["cache_entries"] == 1
        assert router.sessions(identifier="aLICE@x")["total"] == 1
        assert get_mapping(router, "alicE@x")["cached"]
        assert post("/connections/kick?identifier=ALICE@x") == {"kicked": 1}
        assert client.eof() == b""
    assert post("/cache/invalidate?identifier=ALICE@X") == {"invalidated": 1}
    assert post("/connections/delay?identifier=Alice@X&seconds=60")["identifier"] == "alice@x"
    waiting = threading.Thread(target=login, args=(router, "alicE@x"))
    waiting.start()
    wait_until(lambda: [s["stage"] for s in router.sessions(identifier="alice@x")["sessions"]] ==
               ["hold"])
    post("/connections/delay?identifier=aLice@X&seconds=0")
    waiting.join()
    assert router.admin("DELETE", "/mappings?identifier=ALICE@X")[1] == {"removed": True}
    assert account_column(router) == []
    with open(router.config, encoding="utf-8") as f:
        rest = f.read()
    mapping = file_mapping(workspace, "ALICE@X node2\n")
    rest = rest[:rest.index("[mapping]")] + mapping + rest[rest.index("[routing]"):]
    router.workspace.write("homing.toml", rest)
    router.restart()
    before = len(served(node2))
    login(router, "alice@x")
    assert served(node2)[before:] == ["alice@x"] # a key of the mapping file


def test_MAP_13_limits_of_the_whole_login(pair):
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2"})
    longest = "alice%" + "a" * (1024 - 6)
    with router.client() as client:
        client.line()
        failed = "NO [AUTHENTICATIONFAILED] Authentication failed."
        assert client.command('a LOGIN "%sa" pw' % longest) == ["a " + failed]
        client.send("b LOGIN {9+}\r\nalice%a\nx pw\r\n") # a line end far behind the account
        client.expect("b " + failed)
        assert router.stats()["store_queries"] == 0
        assert client.command('c LOGIN "%s" pw' % longest)[-1].startswith("c OK")
    assert served(node2) == [longest]


def test_MAP_15_no_identifier_is_not_a_bad_one(make):
    """An opaque token names nobody: the default node, no lookup, no account. A name that is no
    identifier is refused."""
    tokens = []

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        tag, _, mech, message = conn.line().split(" ")
        tokens.append((mech, base64.b64decode(message)))
        conn.send(tag + " OK in\r\n")
        conn.read()

    node1, node2 = make.node("node1", serve), make.node("node2", serve)
    router = make.router((node1, node2))
    router.map({"alice": "node2", "opaque": "node2"})

    def attempt(client, tag, mech, text):
        message = base64.b64encode(text).decode()
        return client.command("%s AUTHENTICATE %s %s" % (tag, mech, message))[-1]

    with router.client() as client:
        client.line()
        for i, name in enumerate((b'al"ice', b"al ice")):
            line = attempt(client, "x%d" % i, "OAUTHBEARER",
                           b"n,a=%s,\1auth=Bearer opaque\1\1" % name)
            assert line == "x%d NO [AUTHENTICATIONFAILED] Authentication failed." % i
        opaque = b"n,,\1auth=Bearer opaque\1\1"
        assert attempt(client, "a", "OAUTHBEARER", opaque).startswith("a OK")
        assert tokens == [("OAUTHBEARER", opaque)] and len(node1.connections) == 1
        assert router.sessions(destination="node1")["sessions"][0]["account"] is None
    stats = router.stats()
    assert (stats["store_queries"], stats["cache_hits"], stats["cache_entries"]) == (0, 0, 0)
    line = router.wait_sessions(1)[0]
    assert (line["account"], line["node"], line["route"]) == ("-", "node1", "default")
    with router.client() as client: # a name in the message is one
        client.line()
        assert attempt(client, "a", "XOAUTH2", b"user=alice\1auth=Bearer opaque\1\1").startswith("a OK")
    assert len(node2.connections) == 1


def test_MAP_21_22_23_master_logins(pair):
    """Only the account counts; the login goes to the node as it came; an operator names accounts."""
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2"})
    with router.client() as client:
        client.line()
        client.send('a LOGIN "%admin" pw\r\n')
        client.expect("a NO [AUTHENTICATIONFAILED] Authentication failed.")
        assert router.stats()["store_queries"] == 0
        assert client.command('b LOGIN "Alice%" pw')[-1].startswith("b OK") # the node decides
    with router.client() as client:
        client.line()
        assert client.command('a LOGIN "alice%Admin" pw')[-1].startswith("a OK")
        wait_until(lambda: router.sessions(identifier="alice")["total"] == 1) # the last one ended
        assert router.sessions(identifier="alice")["sessions"][0]["account"] == "alice"
        assert router.sessions(identifier="alice%25Admin")["total"] == 0
        assert router.admin("POST", "/connections/kick?identifier=alice%25admin")[1] == {"kicked": 0}
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 1}
        assert client.eof() == b""
    assert served(node2) == ["Alice%", "alice%Admin"] and served(node1) == []
    assert router.stats()["cache_entries"] == 1
    accounts = [line["account"] for line in router.wait_sessions(2)]
    assert len(set(accounts)) == 1 and accounts[0].startswith("al***#")
    router.admin("POST", "/connections/delay?identifier=alice&seconds=60")
    held = threading.Thread(target=login, args=(router, '"alice%admin"'))
    held.start()
    wait_until(lambda: [s["stage"] for s in router.sessions(identifier="alice")["sessions"]] == ["hold"])
    router.admin("POST", "/connections/delay?identifier=alice&seconds=0")
    held.join()
    got = get_mapping(router, "alice%25admin")
    assert (got["normalized"], got["destination"]) == ("alice%admin", "node1")


def test_MAP_24_SES_33_the_authzid_names_the_account(pair):
    """Routed and logged by the account that is asked for, replayed unchanged; never by two accounts."""
    make, (node1, node2) = pair
    router = make.router((node1, node2))
    router.map({"alice": "node2", "admin": "node1"})

    def attempt(client, tag, *fields):
        message = base64.b64encode("\0".join(fields).encode()).decode()
        return client.command("%s AUTHENTICATE PLAIN %s" % (tag, message))[-1]

    with router.client() as client:
        client.line()
        assert attempt(client, "a", "bob", "alice%admin", "pw").startswith(
            "a NO [AUTHENTICATIONFAILED]")
        assert attempt(client, "b", "admin", "alice%admin", "pw").startswith("b NO")
        assert router.stats()["store_queries"] == 0
        assert attempt(client, "c", "ALICE", "alice%admin", "pw").startswith("c OK")
    with router.client() as client:
        client.line()
        assert attempt(client, "a", "al ice", "admin", "pw").startswith("a NO")
        assert attempt(client, "b", "Alice", "admin", "pw").startswith("b OK")
        wait_until(lambda: router.sessions(identifier="alice")["total"] == 1) # the last one ended
        sessions = router.sessions(identifier="alice")["sessions"]
        assert [s["node"] for s in sessions] == ["node2"]
        router.admin("POST", "/connections/kick?identifier=alice")
        client.eof()
    assert served(node2) == ["alice%admin", "admin"] and served(node1) == []
    assert len({line["account"] for line in router.wait_sessions(2)}) == 1


def account_column(router):
    with sqlite3.connect(router.db, timeout=10) as db:
        return [row[0] for row in db.execute("SELECT identifier FROM account_nodes ORDER BY 1")]


# ---- rows, and nodes that lack a protocol ----

def test_MAP_10_normalisation(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"user@example.com": "node2"})
    login(router, "USER@EXAMPLE.COM")
    assert served(node2) == ["USER@EXAMPLE.COM"]


def test_MAP_20_master_user_is_routed_by_account(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"user@example.com": "node2"})
    login(router, '"user@example.com%admin"')
    assert served(node2) == ["user@example.com%admin"]


def test_MAP_2_mapped_node_without_the_protocol(make):
    node1 = make.node("node1")
    other = harness.destination_toml("node2", "127.0.0.1", 1, "implicit", "00" * 32).replace(
        "protocol.imap", "protocol.pop3")
    router = make.router([node1, other])
    router.map({"alice": "node2"})
    login(router, "alice", "a NO [UNAVAILABLE]")
    assert router.wait_sessions(1)[-1]["reason"] == "node_no_protocol"
    assert all(d["consecutive_failures"] == 0 for d in
               router.admin("GET", "/destinations")[1]["destinations"])


def test_MAP_53_null_blank_and_unknown_values(make):
    node1, node2 = make.node("node1"), make.node("node2")
    router = make.router([node1, node2])
    router.map({"empty": "", "blank": "  ", "padded": " node2 ", "ghosty": "ghost"})
    for user in ("empty", "blank", "ghosty", "ghosty", "padded"):
        login(router, user)
    assert served(node2) == ["padded"]
    stats = router.stats()
    assert stats["unknown_destination"] == 1  # the second one is a (negative) hit
    router.wait_line(lambda line: "unknown_destination" in line)


# ---- real servers, real clients ----

def test_dovecot_with_mbsync_curl_imaplib(make, workspace):
    """Right node, wrong password refused with the node's words, mail stored and fetched."""
    users = {"alice@x.com": "pw-a", "bob@x.com": "pw-b"}
    nodes = [make.dovecot("node%d" % i, "127.0.0.%d" % (20 + i), users) for i in (1, 2)]
    router = make.router(nodes)
    router.map({"alice@x.com": "node1", "bob@x.com": "node2"})
    context = router.tls_context()
    imap = imaplib.IMAP4_SSL("localhost", router.ports["imap"], ssl_context=context)
    with pytest.raises(imaplib.IMAP4.error, match="Authentication failed"):
        imap.login("bob@x.com", "not it")
    imap.login("bob@x.com", "pw-b")
    assert imap.append("INBOX", None, None, b"Subject: x\r\n\r\nbody\r\n")[0] == "OK"
    imap.select("INBOX")
    assert imap.fetch("1", "(BODY[TEXT])")[1][0][1] == b"body\r\n"
    imap.logout()
    starttls = imaplib.IMAP4("localhost", router.ports["imapt"])
    starttls.starttls(context)
    starttls.login("alice@x.com", "pw-a")
    starttls.logout()
    subprocess.run(["curl", "-sSf", "--cacert", router.cert, "-u", "bob@x.com:pw-b",
                    "imaps://localhost:%d/INBOX;MAILINDEX=1" % router.ports["imap"]], check=True,
                   capture_output=True, timeout=60)
    assert [user for user, _ in nodes[1].logins()] == ["bob@x.com", "bob@x.com"]
    assert [user for user, _ in nodes[0].logins()] == ["alice@x.com"]
    mail = os.path.join(workspace.path, "mbsync")
    os.mkdir(mail)
    rc = workspace.write("mbsyncrc", """
IMAPAccount far
Host localhost
Port %d
User bob@x.com
Pass pw-b
SSLType IMAPS
CertificateFile %s
AuthMechs LOGIN PLAIN

IMAPStore far
Account far

MaildirStore near
Path %s/
Inbox %s/INBOX

Channel all
Far :far:
Near :near:
Create Near
SyncState *
""" % (router.ports["imap"], router.cert, mail, mail))
    done = subprocess.run(["mbsync", "-c", rc, "all"], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [f for _, _, files in os.walk(mail + "/INBOX") for f in files if "U=" in f]
    assert len(found) == 1
    assert len(nodes[1].logins()) == 3
