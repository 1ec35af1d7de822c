# SPDX-License-Identifier: Apache-2.0
"""What a configuration says of handoff, on both sides (HND-1, HND-2), and certificates for it."""

import os
import ssl
import subprocess

import harness
import pytest
from config_check import MINIMAL, check  # noqa: F401

AGENT = """[listener.routers]
protocol = "handoff"
bind = ["127.0.0.1:0"]
tls = "implicit"
client_ca = "ca.pem"
destination = "local"
[destination.local]
host = "127.0.0.1"
forwarding = "proxy"
allow_plaintext_auth = true
[destination.local.protocol.imap]
port = 10143
tls = "plain"
[tls.certificate.default]
cert = "agent.pem"
key = "agent.key"
"""

HANDOFF = MINIMAL + """[destination.node1.handoff]
port = 4191
tls_server_name = "node1.test"
tls_client_cert = "agent.pem"
tls_client_key = "agent.key"
"""


@pytest.fixture
def files(check):
    authority = check.workspace.certificate("ca", ["authority.test"], authority=True)
    check.workspace.certificate("agent", ["agent.test"], issuer=authority)
    return check


def test_HND_1_no_mapping(files):
    files.ok(AGENT)
    both = AGENT + '[listener.imap]\nprotocol = "imap"\nbind = ["127.0.0.1:0"]\ntls = "implicit"\n'
    files.errors(both, "mapping: required table is missing", "routing: required table is missing")


def test_HND_1_router_and_agent(files):
    files.ok(AGENT + MINIMAL)


@pytest.mark.parametrize("old,new,wanted", [
    ('client_ca = "ca.pem"\n', "", "listener.routers.client_ca: client_ca or client_pins must say"),
    ('client_ca = "ca.pem"\n', "client_pins = []\n", "client_ca or client_pins must say"),
    ('client_ca = "ca.pem"\n', 'client_pins = ["12"]\n',
     "listener.routers.client_pins: not 64 hexadecimal digits"),
    ('tls = "plain"', 'tls = "starttls"', "destination.local.protocol.imap.tls: the agent of listener"),
    ('forwarding = "proxy"', 'forwarding = "xclient"',
     "destination.local.protocol.imap.forwarding: the agent of listener"),
    ('tls = "implicit"\nclient_ca', 'tls = "plain"\nclient_ca',
     'listener.routers.tls: handoff needs tls = "implicit"'),
    ('destination = "local"\n', "", "listener.routers.destination: required key is missing"),
    ('destination = "local"\n', 'destination = "elsewhere"\n',
     'listener.routers.destination: destination "elsewhere" is not declared'),
    ("[destination.local.protocol.imap]", "[destination.local.protocol.http]",
     'destination "local" declares no protocol with a login'),
    ('destination = "local"\n', 'destination = "local"\nproxy_protocol = "required"\n'
     'proxy_trusted = ["127.0.0.1"]\n', "listener.routers.proxy_protocol: routers come themselves"),
    ("[destination.local.protocol.imap]", "[destination.local.protocol.handoff]",
     "destination.local.protocol.handoff: unknown key"),
])
def test_HND_2_errors(files, old, new, wanted):
    assert old in AGENT
    files.errors(AGENT.replace(old, new), wanted)


def test_HND_2_pins(files):
    _, _, pin = files.workspace.certificate("router", ["router.test"])
    files.ok(AGENT.replace('client_ca = "ca.pem"', 'client_pins = ["%s"]' % pin))
    files.ok(AGENT.replace('client_ca = "ca.pem"', 'client_ca = "ca.pem"\nclient_pins = ["%s"]' % pin))


@pytest.mark.parametrize("old,new,wanted", [
    ("port = 4191\n", "", "destination.node1.handoff.port: required key is missing"),
    ('tls_client_cert = "agent.pem"\n', "",
     "destination.node1.handoff.tls_client_cert: required key is missing"),
    ('tls_client_key = "agent.key"', 'tls_client_key = "nowhere.key"',
     "destination.node1.handoff.tls_client_key: cannot read"),
    ('tls_server_name = "node1.test"\n', "",
     "destination.node1.handoff.tls_server_name: an IP address needs tls_server_name"),
    ("port = 4191\n", 'port = 4191\nmode = "always"\n', "destination.node1.handoff.mode:"),
    ("port = 4191\n", 'port = 4191\nprotocols = ["http"]\n',
     "destination.node1.handoff.protocols: expected imap, pop3, managesieve or submission"),
    ("port = 4191\n", "port = 4191\ntls_allow_invalid_certs = true\n", "unknown key"),
])
def test_section_1_errors(files, old, new, wanted):
    assert old in HANDOFF
    files.errors(HANDOFF.replace(old, new), wanted)


def test_section_1_defaults(files):
    files.ok(HANDOFF)
    printed = files.ok(HANDOFF, option="--print-config").stdout
    assert "[destination.node1.handoff]" in printed and 'mode = "prefer"' in printed


def test_keys_of_homingctl(workspace, files):
    """A directory with an authority and certificates, to which an agent is added later."""
    ctl, directory = os.path.join(harness.BUILD, "homingctl"), os.path.join(workspace.path, "keys")

    def run(*args):
        return subprocess.run([ctl, "handoff-keys", *args], capture_output=True, text=True, timeout=60)

    done = run(directory, "node1.example.com")
    assert done.returncode == 0, done.stderr
    before = open(directory + "/node1.example.com.pem", encoding="ascii").read()
    assert run(directory, "node1.example.com", "192.0.2.7").returncode == 0
    assert open(directory + "/node1.example.com.pem", encoding="ascii").read() == before
    for name in ("router", "node1.example.com", "192.0.2.7"):
        verified = subprocess.run(["openssl", "verify", "-CAfile", directory + "/ca.pem",
                                   "%s/%s.pem" % (directory, name)], capture_output=True, text=True)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert os.stat("%s/%s.key" % (directory, name)).st_mode & 0o777 == 0o600
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            "%s/%s.pem" % (directory, name), "%s/%s.key" % (directory, name))
    assert run(directory, "../evil").returncode == 2
    os.unlink(directory + "/ca.key")
    assert run(directory, "node2.example.com").returncode == 1
