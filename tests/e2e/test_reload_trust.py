# SPDX-License-Identifier: Apache-2.0
"""Reload of certificates, and of whom a node is trusted as (config.md section 14, security.md SEC-5)."""

import contextlib
import os
import re
import ssl

import pytest
from harness import Client, node_imap, wait_until
from reloading import (DEFAULT1, DEFAULT2, alive, append, certificate_of, ctl_reload, edit, login,
                       node_of, node_of_unverified, reload, reload_ok, two)


# ---- certificates and trust ----

def test_42_handshakes_begun_before_go_on(make, workspace):
    """Each connection has the certificate of the configuration that it began with."""
    router = two(make)
    before = certificate_of(router)
    socks = [router.connect(n) for n in ("imap", "admin")]
    wait_until(lambda: router.stats()["active_connections"] == 1)
    workspace.certificate("router", ["router.test", "localhost"])
    status, out = ctl_reload(router)
    assert status == 0, out
    for sock in socks:
        with Client(sock) as client:
            client.starttls(ssl._create_unverified_context())
            assert client.sock.getpeercert(True) == before
    assert certificate_of(router) != before
    assert certificate_of(router, "admin") != before


def test_CFG_50_new_certificate_is_served(make, workspace):
    router = two(make)
    before = certificate_of(router)
    with login(router, "alice@x") as live:
        workspace.certificate("router", ["router.test", "localhost"])
        assert certificate_of(router) == before  # until it is told
        context = ssl._create_unverified_context()
        router.tls_context = lambda: context
        status, out = ctl_reload(router)
        assert status == 0, out
        assert "tls.certificate.default.cert" in out and "tls.certificate.default.key" in out
        assert certificate_of(router) != before
        assert certificate_of(router, "admin") == certificate_of(router)
        alive(live)
    assert node_of_unverified(router, "bob@x") == "node1"


def test_33_sessions_towards_a_node_end_with_its_trust(make):
    """Resumed while the trust settings stay, a full handshake when they change."""
    reused = []

    def serve(conn):
        reused.append(conn.sock.session_reused)
        node_imap(conn)
    node = make.node("node1", serve)
    router = make.router([node])

    def log_in():
        count = len(reused)
        with login(router, "alice@x") as client:
            alive(client)
        assert len(reused) == count + 1
        return reused[-1]
    log_in()
    assert log_in() is True
    append(router, "[capabilities.imap]\nbanner = \"x\"\n")
    reload_ok(router)
    assert log_in() is True  # kept: nothing of it changed
    edit(router, ('tls_server_name = "node1.test"', 'tls_server_name = "other.test"'))
    reload_ok(router)
    assert log_in() is False
    assert log_in() is True
    pin = re.search(r'tls_pinned_cert_sha256 = "\w+"\n', edit(router)).group(0)
    edit(router, (pin, "tls_allow_invalid_certs = true\n"))
    assert reload_ok(router)["warnings"] >= 1
    assert log_in() is False
    edit(router, ("tls_allow_invalid_certs = true\n", pin))
    reload_ok(router)
    assert log_in() is False  # not even back to what once was trusted


def test_33_client_certificate_by_content(make, workspace):
    node = make.node("node1")
    cert, key, _ = workspace.certificate("me", ["me.test"])
    router = make.router([node.toml(extra='tls_client_cert = "%s"\ntls_client_key = "%s"'
                                    % (cert, key))])
    workspace.certificate("me", ["me.test"])
    assert reload_ok(router)["changed"] == ["destination.node1.tls_client_cert",
                                            "destination.node1.tls_client_key"]
    assert node_of(router, "alice@x") == "node1"


# ---- SEC-5 ----

@pytest.mark.parametrize("name", ["router.key", "router.pem", "token", "map", "me.key", "me.pem",
                                  "homing.toml"])
def test_SEC_5_unreadable_file_is_named(make, workspace, name):
    workspace.write("map", "alice@x node2\n")
    cert, key, _ = workspace.certificate("me", ["me.test"])
    nodes = [make.node("node1"), make.node("node2")]
    router = make.router(
        [nodes[0].toml(extra='tls_client_cert = "%s"\ntls_client_key = "%s"' % (cert, key)),
         nodes[1].toml()],
        mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "map"\n')
    before = certificate_of(router)
    edit(router, (DEFAULT1, DEFAULT2))
    path = os.path.join(workspace.path, name)
    os.chown(path, 0, 0)
    os.chmod(path, 0o600)
    status, body = reload(router)
    assert status == 400 and any(path in e for e in body["errors"]), body
    assert certificate_of(router) == before
    assert node_of(router, "bob@x") == "node1"
    workspace.own(path)
    reload_ok(router)
    assert node_of(router, "bob@x") == "node2"


# ---- CFG-51 ----

def test_CFG_51_ticket_keys(make):
    """A client's session is resumed after a reload, with a new certificate even."""
    router = two(make)
    context = router.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.closing(context.wrap_socket(router.connect(), server_hostname="localhost")) as s:
        session = s.session
    edit(router, (DEFAULT1, DEFAULT2))
    reload_ok(router)
    with contextlib.closing(context.wrap_socket(router.connect(), server_hostname="localhost",
                                                session=session)) as s:
        assert s.session_reused
