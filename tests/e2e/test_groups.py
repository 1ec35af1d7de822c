# SPDX-License-Identifier: Apache-2.0
"""Key exchange groups: what listeners, the admin port and the legs to nodes offer, and what more of
them costs only whoever asks for it. The client is OpenSSL's own, with one group at a time."""

import subprocess

import harness
import pytest
import release
from config_check import MINIMAL, check  # noqa: F401

CHEAP = ["X25519", "P-256"]
COSTLY = ["P-384", "P-521", "X448", "ffdhe2048", "ffdhe8192"]
AWSLC = harness.tls_library().startswith("AWS-LC") # which has no X448
DEAR = "P-521" if AWSLC else "X448"


def takes(port, group, *options):
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-groups",
                           group, *options], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=harness.PATIENCE)
    assert done.returncode == 0 or b"CONNECTED" in done.stdout, done.stderr
    return done.returncode == 0


def library_has(group):
    return subprocess.run(["openssl", "s_client", "-groups", group, "-connect", "127.0.0.1:1"],
                          capture_output=True, stdin=subprocess.DEVNULL,
                          ).stderr.find(b"Connection refused") >= 0


def offered(router, groups, *options):
    """Of each listener with TLS and the admin port; they must not differ."""
    taken = [[g for g in groups if takes(router.ports[p], g, *options)] for p in ("imap", "admin")]
    assert taken[0] == taken[1]
    return taken[0]


def test_CFG_25a_listeners_offer_what_is_cheap(make):
    router = make.router([make.node("node1")])
    assert library_has("X25519MLKEM768") == (release.openssl() >= (3, 5))
    assert offered(router, CHEAP + COSTLY) == CHEAP
    assert offered(router, ["P-384", "X448"], "-tls1_2") == []
    assert takes(router.ports["imap"], "P-256", "-tls1_2")
    if library_has("X25519MLKEM768"):
        assert takes(router.ports["imap"], "X25519MLKEM768")
        shown = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"]],
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.PATIENCE)
        assert b"Negotiated TLS1.3 group: X25519MLKEM768" in shown.stdout # of two that know more
    # one that is not offered first, one that is behind it: asked for again, and served
    assert takes(router.ports["imap"], "P-521:X25519")


def test_CFG_25a_more_by_configuration_and_reload(make):
    router = make.router([make.node("node1")])
    with open(router.config, encoding="utf-8") as f:
        before = f.read()
    router.workspace.write("homing.toml", before + '[tls.protocols]\ngroups = ["p-384", "%s"]\n' % DEAR)
    assert router.admin("POST", "/config/reload")[0] == 200
    assert offered(router, CHEAP + COSTLY) == ["P-384", DEAR]
    router.workspace.write("homing.toml", before + '[tls.protocols]\ngroups = ["ffdhe8192"]\n')
    status, answer = router.admin("POST", "/config/reload")[:2]
    assert status == 400 and "unknown group: ffdhe8192" in str(answer)
    assert takes(router.ports["imap"], DEAR) # nothing has changed
    router.workspace.write("homing.toml", before)
    assert router.admin("POST", "/config/reload")[0] == 200
    assert offered(router, CHEAP + ["P-384", "X448"]) == CHEAP


def test_CFG_25a_a_certificate_of_another_curve(workspace, make):
    """Its curve has to be among the client's groups, not among the listener's."""
    router = make.router([make.node("node1")], start=False)
    workspace.certificate("router", ["router.test"], key=[
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"])
    router.start()
    assert takes(router.ports["imap"], "X25519:P-384", "-tls1_2")
    assert takes(router.ports["imap"], "X25519:P-384", "-tls1_3")


def test_CFG_25a_findings(check): # noqa: F811
    policy = lambda text: MINIMAL + "[tls.protocols]\ngroups = %s\n" % text # noqa: E731
    node = lambda text: MINIMAL.replace( # noqa: E731
        "allow_plaintext_auth = true\n", "allow_plaintext_auth = true\ntls_groups = %s\n" % text)
    for text, where in ((policy, "tls.protocols.groups"), (node, "destination.node1.tls_groups")):
        check.ok(text('["X25519", "P-256", "P-384", "P-521", "%s"]' % ("X25519MLKEM768" if AWSLC else "X448")))
        check.ok(text("[]"))
        check.errors(text('["X25519", "secp160r1"]'), where, "unknown group: secp160r1",
                     "known: ", "X25519, P-256, P-384, P-521" + ("" if AWSLC else ", X448"))
        check.errors(text('["P-256", "p-256"]'), where, "P-256 is named twice")
        if AWSLC:
            check.errors(text('["X448"]'), where, harness.tls_library() + " has no group X448")
        elif not library_has("X25519MLKEM768"):
            check.errors(text('["X25519MLKEM768"]'), where, "has no group X25519MLKEM768")
    printed = check.ok(policy('["P-384"]'), option="--print-config").stdout
    assert 'groups = ["P-384"]' in printed and "tls_groups = []" in printed


@pytest.mark.parametrize("bits,warned", [(2048, False), (4096, True)])
def test_SEC_a_costly_key_is_warned_of(check, bits, warned): # noqa: F811
    check.workspace.certificate("a", ["a.test"], key=["-newkey", "rsa:%d" % bits])
    text = MINIMAL + '[tls.certificate.a]\ncert = "a.pem"\nkey = "a.key"\n'
    assert ("more than 2048 bits" in check.ok(text).stderr) == warned


@pytest.mark.parametrize("curve,groups,reached", [
    ("secp384r1", None, True), ("secp521r1", None, False), ("secp521r1", '["P-521"]', True),
    ("secp384r1", '["X25519"]', False)])
def test_CFG_25a_towards_nodes(make, curve, groups, reached):
    node = make.node("node1")
    node.context.set_ecdh_curve(curve)
    extra = "tls_groups = %s" % groups if groups else ""
    router = make.router([node.toml(extra=extra)], default="node1")
    with router.client() as client:
        client.line()
        answer = client.command("a LOGIN alice pw")[-1]
        assert answer.startswith("a OK " if reached else "a NO [UNAVAILABLE] ")


def test_CFG_25a_a_reload_changes_the_legs(make):
    """The TLS sessions of a leg are kept over a reload, but not under other groups."""
    node = make.node("node1")
    node.context.set_ecdh_curve("secp521r1")
    router = make.router([node])
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace(
        "[destination.node1]\n", '[destination.node1]\ntls_groups = ["P-521"]\n'))
    assert router.admin("POST", "/config/reload")[0] == 200
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK ")
