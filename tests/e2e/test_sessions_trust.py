# SPDX-License-Identifier: Apache-2.0
"""sessions.md, IMAP: TLS with nodes and clients. Whom the router trusts, and ends and new keys in the middle."""

import ssl
import subprocess
import threading
import time

import harness
import pytest
from harness import PATIENCE, node_imap
from logins import UNAVAILABLE, last_session


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


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
def test_SES_47_sessions_to_nodes_are_resumed(make, mode, path):
    reused = []

    def serve(conn):
        reused.append(conn.sock.session_reused)
        node_imap(conn)

    router = make.router([make.node("node1", serve)], server="threads = 1",
                         extra='[splice]\nmode = "%s"\n' % mode)
    for _ in range(3):
        with router.client() as c:
            c.line()
            assert c.command("a LOGIN alice pw")[-1].startswith("a OK")
            c.command("b LOGOUT")
            c.eof()
    assert reused[0] is False and any(reused[1:])
    assert {line["path_up"] for line in router.wait_sessions(3)} == {path}


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
