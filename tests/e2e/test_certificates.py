# SPDX-License-Identifier: Apache-2.0
"""config.md: certificates by name, addresses, and whom a node is trusted as."""

import os
import re
import signal
import socket
import ssl
import subprocess
import time

import harness
import pytest
from certificates import presented, presented_to, with_certificates
from config_check import MINIMAL, change, check  # noqa: F401
from logins import login
from reloading import edit

# ---- certificates ----

CHOICES = {
    "exact, wildcard, default": (
        {"exact": (["a.example.com"], ""), "wild": (["*.example.com"], ""),
         "rest": (["x.test"], "default = true")},
        {"a.example.com": "exact", "A.EXAMPLE.com": "exact", "b.example.com": "wild",
         "example.com": "rest", "b.a.example.com": "rest", "x.test": "rest", "other": "rest",
         None: "rest"}),
    "two and no default": (
        {"exact": (["a.example.com"], ""), "wild": (["*.example.com"], "")},
        {"a.example.com": "exact", "b.example.com": "wild", "example.com": "self-signed",
         "c.b.example.com": "self-signed", "other.test": "self-signed", None: "self-signed"}),
    "one alone": ({"only": (["a.example.com"], "")},
                  {"a.example.com": "only", "nothing.test": "only", None: "only"}),
    "subjects replace the names in the file": (
        {"one": (["a.test"], 'subjects = ["*.b.test", "c.test"]'),
         "two": (["d.test"], 'subjects = ["*"]')},
        {"a.test": "two", "x.b.test": "one", "c.test": "one", "b.test": "two", "x.c.test": "two",
         "d.test": "two", None: "two"}),
}


@pytest.mark.parametrize("case", CHOICES)
def test_CFG_21_choice_by_name(make, workspace, case):
    tables, wanted = CHOICES[case]
    _, who = with_certificates(make, workspace, tables)
    assert {name: who(name) for name in wanted} == wanted


def files(workspace):
    """SQLite's own come and go with its connections."""
    return {name for name in os.listdir(workspace.path) if not name.startswith("mapping.sqlite-")}


def test_CFG_22_the_self_signed_certificate(make, workspace, check):  # noqa: F811
    router, who = with_certificates(make, workspace, {})
    before = files(workspace)
    der = presented(router, "whatever.test")
    assert presented(router, None) == presented(router, "x.y", "admin") == der
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text"], input=der,
                          capture_output=True, check=True).stdout.decode()
    assert "ASN1 OID: prime256v1" in text and "DNS:localhost" in text
    begin, end = (time.mktime(time.strptime(re.search(word + r" ?: (.*) GMT", text).group(1),
                                            "%b %d %H:%M:%S %Y")) for word in ("Before", "After"))
    assert abs((end - begin) / 86400 - 3652) < 5
    assert re.search("warning: tls.certificate: .*self-signed", router.log())
    assert files(workspace) == before
    router.restart()
    assert presented(router, None) != der # made anew at each start
    plain = check.ok(MINIMAL)
    assert "self-signed" not in plain.stderr # no TLS listener: no warning
    tls = change('bind = ["127.0.0.1:0"]\ntls = "plain"', 'bind = ["127.0.0.1:0"]\ntls = "starttls"')
    assert "self-signed" in check.ok(tls).stderr


def test_CFG_23_one_default_one_owner(check):  # noqa: F811
    space = check.workspace
    for name, names in (("a", ["a.test"]), ("b", ["b.test", "*.c.test"]), ("c", ["A.TEST"])):
        space.certificate(name, names, days=40 if name == "a" else 30)

    def table(name, lines=""):
        return '[tls.certificate.%s]\ncert = "%s.pem"\nkey = "%s.key"\n%s\n' % (name, name, name, lines)

    check.ok(MINIMAL + table("a", "default = true") + table("b"))
    check.errors(MINIMAL + table("a", "default = true") + table("b", "default = true"), "default")
    check.errors(MINIMAL + table("a", "default = true") + table("b", 'subjects = ["*"]'), "default")
    for more, name in ((table("a") + table("c"), "a.test"),
                       (table("a") + table("b", 'subjects = ["x.test", "A.Test"]'), "a.test"),
                       (table("a", 'subjects = ["*.C.test"]') + table("b"), "*.c.test")):
        err = check.ok(MINIMAL + more).stderr
        assert re.search(r'has this name too; "a" is served, .*: ' + re.escape(name), err), err
    check.ok(MINIMAL + table("a", 'subjects = ["c.test"]') + table("b")) # a wildcard is another name


def test_CFG_23_which_certificate_a_shared_name_gets(make, workspace):
    router = make.router([make.node("node1")], start=False)
    for name, names, days, key in (("short", ["a.test", "s.test"], 20, "ec"),
                                   ("long", ["a.test", "*.a.test"], 90, "ec"),
                                   ("rsa", ["a.test", "r.test"], 40, "rsa")):
        workspace.certificate("c-" + name, names, days=days, key=key)
    ders = {}
    for name in ("short", "long", "rsa"):
        with open("%s/c-%s.pem" % (workspace.path, name), encoding="ascii") as f:
            ders[ssl.PEM_cert_to_DER_cert(f.read())] = name
    old = '[tls.certificate.default]\ncert = "router.pem"\nkey = "router.key"\ndefault = true\n'

    def tables(*which):
        return "".join('[tls.certificate.%s]\ncert = "c-%s.pem"\nkey = "c-%s.key"\n%s' % (
            (name.rstrip("!"),) * 3 + ("default = true\n" if "!" in name else "",))
            for name in which)

    def who(name, kind):
        try:
            return ders.get(presented_to(router, name, kind), "self-signed")
        except ssl.SSLError:
            return None

    edit(router, (old, tables("short", "long", "rsa")))
    router.start()
    for name, ec, rsa in (("a.test", "long", "rsa"), ("A.test", "long", "rsa"),
                          ("s.test", "short", None), ("x.a.test", "long", None),
                          ("r.test", None, "rsa"), ("other.test", "self-signed", None)):
        assert (who(name, "ECDSA"), who(name, "RSA")) == (ec, rsa), name
    assert presented(router, "a.test") in ders # TLS 1.3
    # a reload: the default has what stands beside it, and the only pair is there for every name
    for which, name, ec, rsa in ((("short!", "long", "rsa"), None, "long", "rsa"),
                                 (("long!", "rsa!"), "other.test", "long", "rsa"),
                                 (("long", "short"), "a.test", "long", None),
                                 (("short",), None, "short", None)):
        with open(router.config, encoding="utf-8") as f:
            text = f.read()
        start, end = text.index("[tls.certificate"), text.index("[mapping]")
        workspace.write("homing.toml", text[:start] + tables(*which) + text[end:])
        start = len(router.lines)
        router.process.send_signal(signal.SIGHUP)
        assert "ok=true" in router.wait_line(lambda line: "msg=reload ok=" in line, start=start)
        assert (who(name, "ECDSA"), who(name, "RSA")) == (ec, rsa), which


def test_CFG_24_dates_and_keys(check):  # noqa: F811
    """A certificate that is out of date is a warning, and the router may start; a key that is not its
    own is an error."""
    space = check.workspace
    space.certificate("old", ["old.test"], days=-1)
    space.certificate("new", ["new.test"])
    table = '[tls.certificate.x]\ncert = "%s.pem"\nkey = "%s.key"\n'
    assert check.ok(MINIMAL + table % ("new", "new")).stderr == ""
    err = check.ok(MINIMAL + table % ("old", "old")).stderr
    date = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    assert re.search("warning: tls.certificate.x.cert: .*expired on " + date, err)
    space.certificate("soon", ["soon.test"], days=6)
    err = check.ok(MINIMAL + table % ("soon", "soon")).stderr
    assert re.search(r"warning: tls.certificate.x.cert: .*expires in [56] days, on \d{4}-", err)
    for pair in (("old", "new"), ("new", "old")):
        check.errors(MINIMAL + table % pair, "does not match")


# ---- addresses ----

def test_CFG_26_both_families_on_one_port(make):
    port = harness.free_port()
    node = make.node("node1")
    router = make.router([node], start=False)
    edit(router, ('bind = ["127.0.0.1:0"]', 'bind = ["0.0.0.0:%d", "[::]:%d"]' % (port, port)))
    router.start()
    for address in ("127.0.0.1", "::1"):
        sock = socket.create_connection((address, port), harness.PATIENCE)
        with harness.Client(sock, router.tls_context()) as client:
            client.line()
            assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
            client.command("b LOGOUT")
    assert sorted(line["client"].rsplit(":", 1)[0] for line in router.wait_sessions(2)) == \
        ["127.0.0.1", "[::1]"]


def test_CFG_27_addresses_that_clash(check):  # noqa: F811
    def binds(first, second="", admin=""):
        text = change('"127.0.0.1:0"', first)
        if second:
            text += '[listener.two]\nprotocol = "imap"\nbind = [%s]\ntls = "plain"\n' % second
        if admin:
            check.workspace.write("token", "t" * 40)
            text += '[admin]\nbind = %s\nbearer_token_file = "token"\n' % admin
        return text

    for clash in (('"127.0.0.1:5"', '"127.0.0.1:5"'), ('"127.0.0.1:5", "127.0.0.1:5"',),
                  ('"0.0.0.0:5"', '"127.0.0.1:5"'), ('"[::]:5"', '"[::1]:5"'),
                  ('"[::1]:5"', '"[::1]:5"'), ('"127.0.0.1:5"', "", '"127.0.0.1:5"'),
                  ('"0.0.0.0:5"', "", '"127.0.0.1:5"'), ('"127.0.0.1:5"', "", '"0.0.0.0:5"')):
        assert "1 error(s)" in check.errors(binds(*clash), "already bound by listener.imap"), clash
    for fine in (('"127.0.0.1:5"', '"127.0.0.2:5"'), ('"0.0.0.0:5"', '"[::]:5"'),
                 ('"127.0.0.1:5"', '"[::]:5"'), ('"127.0.0.1:5"', '"127.0.0.1:6"'),
                 ('"127.0.0.1:0", "127.0.0.1:0"', '"0.0.0.0:0"', '"127.0.0.1:0"')):
        check.ok(binds(*fine))


# ---- trust in nodes ----

@pytest.mark.parametrize("case", ["right", "wrong"])
def test_CFG_28_the_pin_wins_over_allow_invalid(make, case):
    node = make.node("node1")
    pin = node.pin if case == "right" else "11" * 32
    router = make.router([harness.destination_toml(
        "node1", "127.0.0.1", node.port, "implicit", pin, "none", "tls_allow_invalid_certs = true")],
        default="node1")
    assert re.search("warning: destination.node1.tls_allow_invalid_certs: .*pin is enforced",
                     router.log())
    login(router, "alice", "a OK" if case == "right" else "a NO [UNAVAILABLE]")
    if case == "wrong":
        assert router.wait_sessions(1)[0]["reason"] == "tls_node"
        assert all(b"AUTH" not in conn.received for conn in node.connections)


def test_CFG_28_allow_invalid_alone_is_a_warning(make, workspace):
    cert, key, _ = workspace.certificate("old", ["elsewhere.test"], days=-1)
    node = make.node("node1")
    node.context.load_cert_chain(cert, key)
    router = make.router([harness.destination_toml(
        "node1", "127.0.0.1", node.port, "implicit", None, "none", "tls_allow_invalid_certs = true")],
        default="node1")
    assert "not verified" in router.log()
    login(router, "alice")


@pytest.mark.parametrize("upper", [False, True])
def test_CFG_29_a_pin_is_all_that_counts(make, workspace, upper):
    """Expired, of another name, of an unknown issuer: and the one that was pinned."""
    cert, key, pin = workspace.certificate("old", ["elsewhere.test"], days=-1)
    node = make.node("node1")
    node.context.load_cert_chain(cert, key)
    if upper:
        pin = ":".join(re.findall("..", pin.upper()))
    router = make.router([harness.destination_toml("node1", "127.0.0.1", node.port, "implicit", pin,
                                                   "none")], default="node1")
    login(router, "alice")


@pytest.mark.parametrize("case", ["chain", "name", "dates"])
def test_CFG_29_without_a_pin_all_three_count(make, workspace, case):
    good = case == "chain"
    cert, key, _ = workspace.certificate(
        "one", ["elsewhere.test" if case == "name" else "node1.test"], days=-1 if case == "dates" else 30)
    other, _, _ = workspace.certificate("issuer", ["issuer.test"])
    node = make.node("node1")
    node.context.load_cert_chain(cert, key)
    router = make.router([harness.destination_toml("node1", "127.0.0.1", node.port, "implicit", None,
                                                   "none")], default="node1",
                         environment={"SSL_CERT_FILE": other if good else cert})
    login(router, "alice", "a NO [UNAVAILABLE]")
    assert router.wait_sessions(1)[0]["reason"] == "tls_node"
    assert all(b"AUTH" not in conn.received for conn in node.connections)
    if good: # the same with the right issuer in the system's store
        router.environment["SSL_CERT_FILE"] = cert
        router.restart()
        login(router, "alice")


def test_certificates_by_sni(make, workspace):
    workspace.certificate("exact", ["a.example.com"])
    workspace.certificate("wild", ["*.example.com"])
    extra = ('[tls.certificate.exact]\ncert = "exact.pem"\nkey = "exact.key"\n'
             '[tls.certificate.wild]\ncert = "wild.pem"\nkey = "wild.key"\n')
    router = make.router([make.node("node1")], extra=extra)

    def subject(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(router.connect(), server_hostname=name) as tls:
            der = tls.getpeercert(True)
        for file in ("exact", "wild", "router"):
            with open("%s/%s.pem" % (workspace.path, file), encoding="ascii") as f:
                if ssl.PEM_cert_to_DER_cert(f.read()) == der:
                    return file
        return "other"

    assert subject("a.example.com") == "exact"
    assert subject("A.Example.Com") == "exact"
    assert subject("b.example.com") == "wild"
    assert subject("b.c.example.com") == "router"
    assert subject("example.com") == "router"
    assert subject(None) == "router"
