# SPDX-License-Identifier: Apache-2.0
"""Kernel TLS end to end, which `splice.mode = "ktls"` asks for: IMAP sessions and bulk with TLS on both
legs, against several TLS stacks. Runs inside the virtual machines; every test says which path must have
carried the bytes."""

import os
import re
import subprocess

import harness
import pytest
from harness import node_login, wait_until
from plain_legs import rows
from rawtls import Program
from tls_peers import (bulk, gnutls, hash_of, hashing_node, login, nss, openssl, the_session, tls_router,
                       version)


def polite_node(conn):
    """Answers, and ends with close_notify."""
    if node_login(conn) is None:
        return
    while True:
        tag, word = conn.line().split(" ")[:2]
        conn.send("%s OK %s\r\n" % (tag, word))
        if word == "LOGOUT":
            conn.sock.settimeout(harness.PATIENCE)
            conn.sock.unwrap()
            return


def rekeys(router):
    """Whether this kernel can change keys."""
    return any(row["name"].startswith("ktls key update") and row["ok"]
               for row in router.stats()["probe"])


@pytest.mark.parametrize("node_version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("client_version", ["TLSv1_2", "TLSv1_3"])
def test_imap_session(make, client_version, node_version):
    node = make.node("node1", polite_node)
    version(node.context, node_version)
    router = tls_router(make, [node], "ktls")
    with login(router, "ktls", version(router.tls_context(), client_version)) as client:
        for i in range(50):
            assert client.command("n%d NOOP" % i) == ["n%d OK NOOP" % i]
        up = sum(len("n%d NOOP\r\n" % i) for i in range(50))
        row = router.sessions()["sessions"][0]
        assert row["bytes_up"] == up
        assert client.command("z LOGOUT")[-1] == "z OK LOGOUT"
        assert client.eof() == b""
        client.sock.unwrap()
    session = the_session(router, "ktls")
    assert session["reason"] == "client_quit" and session["bytes_up"] == str(up + len("z LOGOUT\r\n"))
    paths = router.stats()["paths"]
    assert paths["ktls"]["active"] == 0 and paths["ktls"]["bytes"] > up


@pytest.mark.parametrize("name", ["TLSv1_2", "TLSv1_3"])
def test_bulk_tls_on_both_legs(make, name):
    bulk(make, 16 << 20, context=lambda router: version(router.tls_context(), name))


def test_bulk_tls_to_the_client_only(make):
    bulk(make, 16 << 20, node_tls="plain")


def test_bulk_tls_to_the_node_only(make):
    bulk(make, 16 << 20, client_tls=False)


def test_bulk_in_user_space_when_told_so(make):
    bulk(make, 16 << 20, mode="copy", path="copy")


def test_bulk_plain(make):
    bulk(make, 16 << 20, node_tls="plain", client_tls=False, path="sockmap", mode="auto")


@pytest.mark.parametrize("path", ["ktls", "copy"])
def test_a_reader_that_stops_is_bounded_with_tls(make, network, path):
    print(harness.push_at_a_closed_door(make, network, path, tls="implicit", mode=path))


@pytest.mark.parametrize("path", ["sockmap", "copy"])
def test_a_reader_that_stops_is_bounded(make, network, path):
    print(harness.push_at_a_closed_door(make, network, path, tls="plain", mode=path))


# ---- other TLS stacks ----

@pytest.mark.parametrize("name", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("stack", [gnutls, nss, openssl])
def test_other_stacks(make, stack, name):
    """Small lines both ways, 2 MiB down, 256 KiB up; every byte compared."""
    blob = b"".join(b"%07d\n" % i for i in range(256 * 1024))
    up = "".join("%07d " % i for i in range(4 * 1024))

    router = tls_router(make, [make.node("node1", hashing_node(blob))], "ktls")
    with Program(*stack(router.ports["imap"], name)) as client:
        client.wait("* OK")
        client.say("a LOGIN alice pw\r\n" if stack is nss else "a LOGIN alice pw\n")
        client.wait("a OK")
        router.wait_path("ktls", "alice")
        client.wait("\n")
        for i in range(20):
            client.say("small %d\n" % i)
            client.wait(hash_of("small %d" % i))
        for i in range(8):
            client.say("%s\n" % up)
            client.wait(hash_of(up))
        client.heard.clear()
        client.say("blob\n")
        assert client.wait(blob[-8:].decode()).replace("\r", "") == blob.decode()
    session = the_session(router, "ktls")
    assert session["tls"].startswith({"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[name])
    assert int(session["bytes_down"]) >= len(blob)


@pytest.mark.parametrize("key", ["k", "K"])
def test_key_update_by_the_client(make, key):
    """Followed where the kernel can; else the session ends cleanly and says why."""
    router = tls_router(make, [make.node("node1")], "ktls")
    command = ("openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], "-crlf", "-tls1_3")
    with Program(*command, "-ign_eof") as client:
        client.wait("* OK")
        client.say("a LOGIN alice pw\n")
        client.wait("a OK")
        router.wait_path("ktls", "alice")
        client.say("n NOOP\n")
        client.wait("n OK NOOP")
    the_session(router, "ktls")
    # s_client's keys k and K work only without -ign_eof
    with Program(*command) as client:
        client.wait("* OK")
        client.say("a LOGIN bob pw\n")
        client.wait("a OK")
        router.wait_path("ktls", "bob")
        client.say(key + "\n")
        client.wait("KEYUPDATE")
        if not rekeys(router):
            session = the_session(router, "ktls", 2)
            assert session["reason"] == "key_update"
            assert router.stats()["splice"]["key_updates"] == 1
            return
        for i in range(10):
            client.say("n%d NOOP\n" % i)
            client.wait("n%d OK NOOP" % i)
    the_session(router, "ktls", 2)


# ---- many ----

@pytest.mark.parametrize("mode, path", [("ktls", "ktls"), ("auto", "record")])
def test_many_idle_sessions(make, mode, path):
    """All of them on one path; all answer. Prints what one costs in user space."""
    count = int(os.environ.get("HOMING_VM_SESSIONS", "150"))
    done = subprocess.run(["/usr/bin/python3", harness.ROOT + "/tests/bench/idle.py", str(count), "tls", mode],
                          capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    assert done.returncode == 0
    figures = dict(re.findall(r"^(.*?)  +(.*)$", done.stdout, re.M))
    assert figures["path"] == path and figures["answered NOOP"] == str(count), figures


@pytest.mark.parametrize("mode, path", [("ktls", "ktls"), ("auto", "record")])
def test_bpftool_shows_a_tls_session(make, mode, path):
    pins = "/sys/fs/bpf/homing-test"
    router = tls_router(make, [make.node("node1")], mode, 'pin_path = "%s"\n' % pins)
    with login(router, path) as client:
        client.command("n NOOP")
        wait_until(lambda: sum(row["passed"] for row in rows(pins)) ==
                   len("n NOOP\r\n") + len("n OK NOOP\r\n"))
        assert {row["path"] for row in rows(pins)} == {"HM_" + path.upper()}
