# SPDX-License-Identifier: Apache-2.0
"""What a configuration says of handoff, on both sides (HND-1, HND-2), certificates for it, and whom a
router takes for an agent (HND-4)."""

import os
import re
import shutil
import ssl
import subprocess

import harness
import pytest
from config_check import MINIMAL, check  # noqa: F401
from handing import Issued
from reloading import edit, reload_ok

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
    ('client_ca = "ca.pem"\n', 'client_ca = "accounts"\n',
     "listener.routers.client_ca: "),
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
     "destination.node1.handoff.tls_server_name: an IP address needs tls_ca, tls_server_name"),
    ("port = 4191\n", 'port = 4191\ntls_ca = "nowhere.pem"\n',
     "destination.node1.handoff.tls_ca: cannot read"),
    ("port = 4191\n", 'port = 4191\ntls_ca = "accounts"\n',
     "no certificate of an authority can be read"),
    ("port = 4191\n", 'port = 4191\ntls_ca = "ca.pem"\ntls_pinned_cert_sha256 = "%s"\n' % ("00" * 32),
     "destination.node1.handoff.tls_ca: tls_ca and tls_pinned_cert_sha256 exclude each other"),
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


def test_HND_4_check(files):
    """An authority is enough for an address too; a pin of the destination is not the agent's then."""
    with_ca = HANDOFF.replace('tls_server_name = "node1.test"', 'tls_ca = "ca.pem"')
    files.ok(with_ca)
    files.ok(with_ca.replace("[destination.node1]\n", '[destination.node1]\ntls_pinned_cert_sha256 = "%s"\n'
                             % ("00" * 32)))
    printed = files.ok(with_ca, option="--print-config").stdout
    assert 'tls_ca = "' in printed and "ca.pem" in printed


NAME = "node1.example.com"
NAMED = 'tls_server_name = "%s"' % NAME


def log_in(router):
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        assert client.command("b LOGOUT")[-1].startswith("b OK")


def first_login(router):
    """The router's line of one session."""
    count = len(router.session_lines())
    log_in(router)
    return router.wait_sessions(count + 1)[count]


@pytest.mark.parametrize("certificate,extra,error", [
    (NAME, NAMED, None),
    ("127.0.0.1", "", None),
    (NAME, "", "IP address mismatch"),
    ("other.example.com", NAMED, "hostname mismatch"),
    ("router", 'tls_server_name = "router"', "unsuitable certificate purpose"),
], ids=["name", "address", "not_the_address", "another_name", "a_router"])
def test_HND_4_authority(make, workspace, certificate, extra, error):
    """One that the authority vouches for, under the name that is asked for, and as a server; others get
    no login, which takes the ordinary legs."""
    issued = Issued(workspace, NAME, "other.example.com", "127.0.0.1")
    node = make.node("node1", tls="plain", proxy=True)
    agent = issued.agent(node, certificate).start()
    try:
        beside = re.sub(r"tls_server_name = .*", "", node.toml()) # nor does the agent get that name
        router = make.router([beside], default="node1", listeners={"imap": "implicit"},
                             extra=issued.handoff_toml("node1", agent, extra=extra))
        line = first_login(router)
        assert line.get("tls_at") == (None if error else "agent"), line
        if error:
            failed = router.wait_line(lambda text: "msg=agent_failed" in text)
            assert error in failed, failed
            assert not agent.session_lines() or all(
                line["proto"] == "handoff" for line in agent.session_lines())
        else:
            assert "msg=agent_failed" not in router.log()
    finally:
        agent.close()


def test_HND_4_another_authority(make, workspace):
    """An agent of another authority is refused, until a reload brings its authority; the old one's
    channel gets no login after that, though the file's name is the same."""
    issued = Issued(workspace, NAME)
    other = harness.Workspace("homing-other-")
    node = make.node("node1", tls="plain", proxy=True)
    agent = issued.agent(node, NAME).start()
    try:
        theirs = Issued(other, NAME)
        authority = workspace.write("agents.pem", open(theirs.authority[0], encoding="ascii").read(), 0o644)
        router = make.router([node], listeners={"imap": "implicit"}, server="threads = 1",
                             extra=issued.handoff_toml("node1", agent, extra=NAMED, authority=authority))
        assert "tls_at" not in first_login(router)
        failed = router.wait_line(lambda text: "msg=agent_failed" in text)
        assert "certificate" in failed, failed
        shutil.copyfile(issued.authority[0], authority)
        assert reload_ok(router)["changed"] == ["destination.node1.handoff.tls_ca"]
        assert harness.wait_until(lambda: first_login(router).get("tls_at")) == "agent"
        assert first_login(router).get("tls_at") == "agent"
        with open(authority, "a", encoding="ascii") as f, open(theirs.authority[0], encoding="ascii") as more:
            f.write(more.read()) # both are good, though their names are the same
        reload_ok(router)
        assert first_login(router).get("tls_at") == "agent"
        shutil.copyfile(theirs.authority[0], authority)
        reload_ok(router)
        assert "tls_at" not in first_login(router)
        edit(router, ("tls_ca", "#tls_ca"),
             (NAMED, 'tls_pinned_cert_sha256 = "%s"' % fingerprint(issued.pair(NAME)[0])))
        reload_ok(router)
        assert harness.wait_until(lambda: first_login(router).get("tls_at")) == "agent"
    finally:
        agent.close()
        other.close()


def fingerprint(certificate):
    """As docs/handoff.md says it is found."""
    der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], check=True,
                         capture_output=True).stdout
    return subprocess.run(["sha256sum"], input=der, check=True, capture_output=True).stdout.decode().split()[0]


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
