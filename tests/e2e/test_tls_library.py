# SPDX-License-Identifier: Apache-2.0
"""What must not depend on the TLS library that homingd is built with (LIB-*): its texts, the order of suites,
two libraries in one process, and sessions that go from a router of one build to an agent of the other."""

import concurrent.futures
import os
import socket
import ssl
import subprocess

import harness
import pytest
import stores
from harness import wait_until
from mapping_stores import SQL
from metrics import fetch
from test_handoff import agents, cluster, login, route  # noqa: F401

HOME = {"HOME": "/nonexistent"} # libpq looks for a certificate of its own there
# Another build beside the one under test, if there is one.
OTHER = os.environ.get("HOMING_OTHER_BUILD", harness.BUILD)
SUITES = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256") # as they are ranked


def test_LIB_1_the_library_is_named(make):
    router = make.router([make.node("node1")])
    name = harness.tls_library()
    assert router.stats()["tls_library"] == name
    assert 'tls_library="%s"' % name in fetch(router)[1]
    assert any("msg=ready" in line and 'tls_library="%s"' % name in line for line in router.lines), router.log()


# ---- the library of the store beside ours ----

@pytest.fixture
def postgres(workspace):
    """PostgreSQL that speaks TLS, and the authority that has signed for it."""
    authority = workspace.certificate("store-ca", ["Store CA"], authority=True)
    server = stores.Postgres(server=workspace.certificate("store", ["localhost"], issuer=authority)[:2])
    os.chmod(authority[0], 0o644)
    yield server, authority[0]
    server.close()


def mapping(server, name, root):
    url = "postgres://postgres@localhost:%d/%s?sslmode=verify-full&sslrootcert=%s" % (server.port, name, root)
    return SQL % ("10m", "5s", "", 'url = "%s"' % url, 4)


def test_LIB_2_a_store_that_speaks_tls(make, postgres):
    """libpq brings OpenSSL, whatever ours is: each goes on with its own."""
    server, root = postgres
    name = server.database()
    assert server.try_sql(name, "INSERT INTO account_nodes (identifier, node) SELECT 'user' || i, 'node' || (i % 2 + 1) "
                          "FROM generate_series(1, 200) i")
    nodes = [make.node("node%d" % i, tls="implicit") for i in (1, 2)]
    router = make.router(nodes, mapping=mapping(server, name, root), environment=HOME)

    def one(number):
        with router.client() as client:
            client.line()
            return client.command("a LOGIN user%d pw" % number)[-1]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(1, 201)))
    assert all(answer.startswith("a OK") for answer in answers), answers
    sessions = [s["node"] for s in router.wait_sessions(200)]
    assert (sessions.count("node1"), sessions.count("node2")) == (100, 100)
    assert server.try_sql("postgres", "SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl") == "t"


def test_LIB_2_errors_of_both(make, workspace, postgres):
    """Each library's error is told as its own, at the same time and in the same process."""
    server, _ = postgres
    other = workspace.certificate("other-ca", ["Other CA"], authority=True)
    os.chmod(other[0], 0o644)
    router = make.router([make.node("node1", tls="implicit")], mapping=mapping(server, server.database(), other[0]),
                         environment=HOME)
    refused = lambda: any("certificate verify failed" in line for line in router.lines) # noqa: E731
    for number in range(20):
        with socket.create_connection(("127.0.0.1", router.ports["imap"])) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.settimeout(harness.PATIENCE)
            while sock.recv(4096):
                pass
        with router.client() as client:
            client.line()
            assert client.command("a LOGIN user%d pw" % number)[-1].startswith("a OK") # the default node
    wait_until(refused)
    assert [s["reason"] for s in router.wait_sessions(40)].count("tls_client") == 20


# ---- suites ----

def chosen(router, *options):
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], *options],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.PATIENCE)
    return [line.split()[-1] for line in done.stdout.decode(errors="replace").splitlines()
            if line.startswith("New, ")]


@pytest.mark.parametrize("first", SUITES)
@pytest.mark.parametrize("ours", [False, True])
def test_LIB_4_the_order_of_suites(make, ours, first):
    policy = "[tls.protocols]\nignore_client_order = %s\n" % str(ours).lower()
    router = make.router([make.node("node1")], extra=policy)
    theirs = [first] + [suite for suite in reversed(SUITES) if suite != first]
    assert chosen(router, "-ciphersuites", ":".join(theirs)) == [SUITES[0] if ours else first]
    assert chosen(router, "-ciphersuites", first) == [first]
    names = {"TLS_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
             "TLS_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
             "TLS_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305"}
    assert chosen(router, "-tls1_2", "-cipher", ":".join(names[suite] for suite in theirs)) == [
        names[SUITES[0] if ours else first]]


@pytest.mark.parametrize("ours", [False, True])
def test_LIB_4_a_suite_that_is_disabled(make, ours):
    router = make.router([make.node("node1")], extra='[tls.protocols]\nignore_client_order = %s\n'
                         'disable_cipher_suites = ["%s"]\n' % (str(ours).lower(), SUITES[0]))
    assert chosen(router, "-ciphersuites", ":".join(SUITES)) == [SUITES[1]]
    assert chosen(router, "-tls1_3", "-ciphersuites", SUITES[0]) in ([], ["(NONE)"])


# ---- from one build to the other ----

@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("here, there", [(harness.BUILD, OTHER), (OTHER, harness.BUILD)])
def test_LIB_4_a_router_and_an_agent_of_two_builds(make, cluster, agents, monkeypatch, here, there, version): # noqa: F811
    """What is handed over is TLS's, not a library's."""
    node = make.node("node1", tls="plain", proxy=True)
    monkeypatch.setattr(harness.Router, "build", there)
    agent = agents(node)
    monkeypatch.setattr(harness.Router, "build", here)
    router = route(make, cluster, node, agent)
    context = router.tls_context()
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    for _ in range(5):
        client = harness.Client(router.connect(), context)
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        agent.wait_path("record", "alice")
        for number in range(20):
            assert client.command("b%d NOOP" % number)[-1].startswith("b%d OK" % number)
        client.close()
        router.wait_idle()
    assert {line["tls_at"] for line in router.wait_sessions(5)} == {"agent"}
