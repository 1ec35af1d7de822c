# SPDX-License-Identifier: Apache-2.0
"""Without a word about it, TLS is on path record, also where the kernel has TLS; and what kernels cannot
do is no matter there. Runs inside the virtual machines."""

import hashlib

import harness
import pytest
from bulk import Bulk
from harness import node_login
from tls_peers import Tool, login, the_session, tls_router, version


def assert_kernel_tls(router):
    """It could be used here."""
    assert any(row["name"].startswith("ktls TLSv1.3") and row["ok"]
               for row in router.stats()["probe"]), router.stats()["probe"]


@pytest.mark.parametrize("mode", [None, "auto", "record"])
@pytest.mark.parametrize("name", ["TLSv1_2", "TLSv1_3"])
def test_REC_1_auto_is_record_where_the_kernel_has_tls(make, name, mode):
    node = make.node("node1")
    version(node.context, name)
    router = tls_router(make, [node], mode)
    assert_kernel_tls(router)
    with login(router, "record", version(router.tls_context(), name)) as client:
        for i in range(20):
            assert client.command("n%d NOOP" % i)[-1] == "n%d OK NOOP" % i
        paths = router.stats()["paths"]
        assert paths["record"]["active"] == 2 and set(paths) == {"record"}, paths
    the_session(router, "record")
    assert set(router.stats()["paths"]) == {"record"}


@pytest.mark.parametrize("legs", ["both", "client", "node"])
def test_REC_1_bulk(make, legs):
    size = 16 << 20
    both_ways = Bulk(size)
    node = make.node("node1", both_ways.serve, tls="plain" if legs == "client" else "implicit")
    router = tls_router(make, [node], None, listeners={"imap": "plain" if legs == "node" else "implicit"})
    with login(router, "record", tls=legs != "node") as client:
        both_ways.run(client)
    session = the_session(router, "record")
    assert int(session["bytes_up"]) == size + len("start\nend\n")
    assert int(session["bytes_down"]) == size


@pytest.mark.parametrize("key", ["k", "K"])
def test_REC_32_a_client_that_changes_keys_lives_on(make, key):
    """On every kernel, those that cannot change keys too."""
    blob = b"".join(b"%07d\n" % i for i in range(8192))

    def serve(conn):
        if node_login(conn) is None:
            return
        while True:
            word = conn.line()
            conn.send(blob if word == "blob" else
                      "got %s\n" % hashlib.sha256(word.encode()).hexdigest())

    router = tls_router(make, [make.node("node1", serve)], None)
    tool = Tool("openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], "-crlf", "-tls1_3")
    try:
        tool.wait_for("* OK")
        tool.send("a LOGIN alice pw\n")
        tool.wait_for("a OK")
        router.wait_path("record", "alice")
        for i in range(5):
            tool.send(key + "\n")
            tool.wait_for("KEYUPDATE")
            for line in ("first %d" % i, "second %d" % i):
                tool.send(line + "\n")
                tool.wait_for("got " + hashlib.sha256(line.encode()).hexdigest())
        tool.send("blob\n")
        tool.wait_for(blob[-8:].decode().strip())
        assert router.sessions()["sessions"][0]["path_down"] == "record"
    finally:
        tool.close()
    session = the_session(router, "record")
    assert session["reason"] != "key_update" and int(session["bytes_down"]) > len(blob)
    assert router.stats()["splice"]["key_updates"] == 0


def test_REC_34_a_reader_that_stops_is_bounded(make, network):
    print(harness.push_at_a_closed_door(make, network, "record", tls="implicit", mode="record"))
