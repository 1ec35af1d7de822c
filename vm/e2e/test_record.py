# SPDX-License-Identifier: Apache-2.0
"""Without a word about it, TLS is on path record, also where the kernel has TLS; and what kernels cannot
do is no matter there. Runs inside the virtual machines."""

import harness
import pytest
from rawtls import Program
from tls_peers import bulk, hash_of, hashing_node, login, the_session, tls_router, version


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
    bulk(make, 16 << 20, "plain" if legs == "client" else "implicit", legs != "node", "record", mode=None)


@pytest.mark.parametrize("key", ["k", "K"])
def test_REC_32_a_client_that_changes_keys_lives_on(make, key):
    """On every kernel, those that cannot change keys too."""
    blob = b"".join(b"%07d\n" % i for i in range(8192))

    router = tls_router(make, [make.node("node1", hashing_node(blob))], None)
    with Program("openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], "-crlf",
                 "-tls1_3") as client:
        client.wait("* OK")
        client.say("a LOGIN alice pw\n")
        client.wait("a OK")
        router.wait_path("record", "alice")
        for i in range(5):
            client.say(key + "\n")
            client.wait("KEYUPDATE")
            for line in ("first %d" % i, "second %d" % i):
                client.say(line + "\n")
                client.wait(hash_of(line).strip())
        client.say("blob\n")
        client.wait(blob[-8:].decode().strip())
        assert router.sessions()["sessions"][0]["path_down"] == "record"
    session = the_session(router, "record")
    assert session["reason"] != "key_update" and int(session["bytes_down"]) > len(blob)
    assert router.stats()["splice"]["key_updates"] == 0


def test_REC_34_a_reader_that_stops_is_bounded(make, network):
    print(harness.push_at_a_closed_door(make, network, "record", tls="implicit", mode="record"))
