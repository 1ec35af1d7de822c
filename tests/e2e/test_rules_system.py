# SPDX-License-Identifier: Apache-2.0
"""config.md and security.md rule by rule: what a file may hold and how it is printed, certificates by
name, addresses, and what the process may do, leave behind and say."""

import hashlib
import os
import platform
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib

import harness
import pytest
import stores
from harness import wait_until
from test_admin_mapping import file_mapping, login, served
from test_config import MINIMAL, change, check  # noqa: F401
from test_paths import login as path_login
from test_paths import pins, plain_router, rows  # noqa: F401
from test_stores import SqlStore

HOMINGD = os.path.join(harness.BUILD, "homingd")


def edit(router, old, new):
    """Changes the configuration of a router that has not been started."""
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    assert old in text
    router.workspace.write("homing.toml", text.replace(old, new, 1))


def homingd(*args, env=None):
    return subprocess.run([HOMINGD, *args], capture_output=True, text=True, timeout=60, cwd="/",
                          env=dict(os.environ, **(env or {})), check=False)


# ---- the file and the command line ----

def test_CFG_1_what_a_file_may_be(check):  # noqa: F811
    def raw(data):
        path = check.workspace.write("raw.toml", "")
        with open(path, "wb") as f:
            f.write(data)
        return homingd("--check-config", path)

    good = MINIMAL.encode()
    bom = b"\xef\xbb\xbf"
    for data in (good, bom + good, good.replace(b"\n", b"\r\n"), bom + good.replace(b"\n", b"\r\n"),
                 good + "# Grüße, 日本\n".encode(),
                 good + b"#" * ((1 << 20) - len(good))):
        done = raw(data)
        assert done.returncode == 0, done.stderr
    for data, text in ((bom + bom + good, "raw.toml:1:"), (good + b"# \xff\xfe\n", "UTF-8"),
                       (good + b"\xc0\x80\n", "UTF-8"), (good + b"# \0\n", "raw.toml:"),
                       (good.replace(b"\n", b"\r"), "raw.toml:1:"),
                       (good + b"#" * ((1 << 20) - len(good) + 1), "1 MiB"),
                       ("\ufeff".join(MINIMAL).encode("utf-16"), "UTF-8")):
        done = raw(data)
        assert done.returncode == 1 and text in done.stderr, done.stderr


def documented_keys():
    """Table pattern -> keys, from the schema's documentation."""
    with open(os.path.join(harness.ROOT, "docs", "config.md"), encoding="utf-8") as f:
        tables = re.split(r"^## \[\[?([^\]]+)\]\]?$", f.read(), flags=re.M)[1:]
    return {path: re.findall(r"^\| `([^`]+)` \|", body, re.M)
            for path, body in zip(tables[::2], tables[1::2])}


FULL = MINIMAL + """[server]
threads = 0x2
shutdown_grace = " 5 m "
[destination."na.me"]
host = "h.example"
source_ips = ["192.0.2.1", "2001:db8::1"]
[destination."na.me".protocol.http]
port = 80
tls = "implicit"
[capabilities.imap]
banner = "quote \\" slash \\\\ é"
sasl = ["plain"]
[mapping.sql]
query = '''SELECT "a\\b"
	FROM t WHERE i = $1'''
[[http.route]]
match = "/b/**"
extract = { from = "header", header = "X-User" }
[[http.route]]
match = "/a/**"
destination = "na.me"
[admin]
bind = "[::1]:0"
bearer_token_file = "token"
"""


def test_CFG_4_the_effective_configuration(check):  # noqa: F811
    check.workspace.write("token", "t" * 40)
    text = check.ok(FULL, option="--print-config").stdout
    printed = tomllib.loads(text)
    assert printed["server"]["threads"] == 2
    assert printed["server"]["bridge_idle"] == "1800s" and printed["server"]["user"] == "homing"
    assert printed["capabilities"]["imap"]["banner"] == 'quote " slash \\ é'
    assert printed["mapping"]["sql"]["query"] == 'SELECT "a\\b"\n\tFROM t WHERE i = $1'
    assert printed["destination"]["na.me"]["source_ips"] == ["192.0.2.1", "2001:db8::1"]
    assert [r["match"] for r in printed["http"]["route"]] == ["/b/**", "/a/**"] # their order counts
    assert printed["http"]["route"][0]["extract"] == {"from": "header", "header": "X-User"}
    sections = re.split(r"^\[\[?(.+?)\]\]?$", text, flags=re.M)
    names = sections[1::2]
    assert names == sorted(names)
    keys = documented_keys()
    for name, body in zip(names, sections[2::2]):
        pattern = re.sub(r'^(tls\.certificate|listener|destination)\.("[^"]+"|[^.]+)', r"\1.<name>", name)
        pattern = re.sub(r"\.protocol\.\w+$", ".protocol.<proto>", pattern)
        wanted = keys.get(pattern) or keys[next(k for k in keys if re.sub("<[^>]+>", "<name>", k) ==
                                                re.sub("<[^>]+>", "<name>", pattern))]
        got = re.findall(r"^(?:# )?([a-z0-9_]+) =", body, re.M)
        assert got == sorted(got) and sorted(wanted) == got, name
        for key in wanted: # unset ones, and only those, are comments
            assert ("# %s =" % key in body) == ("\n%s =" % key not in body), (name, key)
    again = check.ok(text, name="printed.toml", option="--print-config").stdout
    assert again == text
    check.ok(text, name="printed.toml")
    bad = check.run(MINIMAL + "x = 1\n", option="--print-config")
    assert bad.returncode == 1 and bad.stdout == "" and "1 error(s)" in bad.stderr


@pytest.mark.parametrize("url", [
    "postgres://me:hunter2@h/db", "postgres://me:hunter2@h/db?sslpassword=x",
    "postgres://h/db?user=me&password=hunter2&connect_timeout=1",
    "postgresql://me:hunter2@h1:1,h2:2/db?target_session_attrs=primary",
    "postgres://me:hun@ter2-hunter2@h/db", "postgres://me:hun?hunter2@h/db",
    "postgres://me:hun/hunter2@h/db", "postgres://me:hunter2@h/db?application_name=a@b", "postgres://me@h/db?sslpassword=hunter2"])
def test_CFG_4_5_no_password_is_printed(check, url):  # noqa: F811
    text = MINIMAL + '[mapping.sql]\nurl = "%s"\nquery = "SELECT $1"\n' % url
    done = check.ok(text, option="--print-config")
    assert "hunter2" not in done.stdout + done.stderr
    assert 'url = "postgres://h:5/db?application_name=a@b"' in check.ok(
        text.replace(url, "postgres://h:5/db?application_name=a@b"), option="--print-config").stdout
    line = re.search(r'^url = "(.*)"$', done.stdout, re.M).group(1)
    assert "********" in line and line.startswith("postgres")
    assert "h/db" in line or "h1:1,h2:2/db?target_session_attrs=primary" in line


def test_CFG_6_version_and_usage():
    done = homingd("--version")
    assert done.returncode == 0 and re.fullmatch(r"homingd \d+\.\d+\.\d+\S*\n", done.stdout)
    for args in (["--nope"], ["-x"], ["--check-config", "a", "b"], ["--config"], ["a", "b"]):
        done = homingd(*args)
        assert done.returncode == 2 and "usage: homingd" in done.stderr and done.stdout == ""


def test_CFG_7_exit_codes(make, check):  # noqa: F811
    assert check.run(MINIMAL).returncode == 0
    assert check.run("x = \n").returncode == 1
    assert homingd("/no/such/file").returncode == 1
    assert homingd("--config", "/no/such/file").returncode == 1
    assert homingd("--frobnicate").returncode == 2
    router = make.router([make.node("node1")])
    for how in (signal.SIGTERM, signal.SIGINT):
        router.stop(expect=0, how=how)
        router.lines, router.ports = [], {}
        router.start()
    with socket.create_server(("127.0.0.1", 0)) as taken: # a start that fails
        edit(router, '"127.0.0.1:0"', '"127.0.0.1:%d"' % taken.getsockname()[1])
        router.stop()
        done = homingd(router.config)
    assert done.returncode == 1 and "listener.imap" in done.stderr


# ---- certificates ----

def presented(router, name, listener="imap"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(router.connect(listener), server_hostname=name) as tls:
        return tls.getpeercert(True)


def with_certificates(make, workspace, tables):
    """A router with these certificates, {table: (subjects of the file, lines)}, and no other; and a
    function that tells which one a name gets."""
    router = make.router([make.node("node1")], start=False)
    text = ""
    for name, (names, lines) in tables.items():
        workspace.certificate("c-" + name, names)
        text += '[tls.certificate.%s]\ncert = "c-%s.pem"\nkey = "c-%s.key"\n%s\n' % (
            name, name, name, lines)
    edit(router, '[tls.certificate.default]\ncert = "router.pem"\nkey = "router.key"\n'
         "default = true\n", text)
    router.start()
    ders = {}
    for name in tables:
        with open("%s/c-%s.pem" % (workspace.path, name), encoding="ascii") as f:
            ders[ssl.PEM_cert_to_DER_cert(f.read())] = name
    return router, lambda name: ders.get(presented(router, name), "self-signed")


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


def presented_to(router, name, kind):
    """What a client gets that can verify one kind of signatures alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2 # there the suite tells it
    context.set_ciphers("ECDHE-%s-AES128-GCM-SHA256" % kind)
    with context.wrap_socket(router.connect(), server_hostname=name) as tls:
        return tls.getpeercert(True)


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

    edit(router, old, tables("short", "long", "rsa"))
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
    edit(router, 'bind = ["127.0.0.1:0"]', 'bind = ["0.0.0.0:%d", "[::]:%d"]' % (port, port))
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


# ---- what the process may do and leaves behind ----

def read_only_root(workspace, *writable):
    """A start in a mount namespace where only these directories can be written."""
    script = "mount -o remount,bind,ro /\nmount --bind %s %s\n" % ((workspace.path,) * 2)
    script += "mount -o remount,bind,ro %s\n" % workspace.path
    for path in writable:
        script += "mount --bind %s %s\nmount -o remount,bind,rw %s\n" % ((path,) * 3)
    script += "if touch %s/x 2>/dev/null; then exit 99; fi\nexec \"$@\"\n" % workspace.path
    return ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]


def test_SEC_6_a_read_only_root_with_sql(make, workspace):
    postgres = stores.Postgres()
    try:
        store = SqlStore(postgres)
        node1, node2 = make.node("node1"), make.node("node2")
        router = make.router([node1, node2], mapping=store.toml(), start=False)
        router.wrapper = read_only_root(workspace)
        before = set(os.listdir(workspace.path))
        router.start()
        assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
        login(router, "alice")
        assert served(node2) == ["alice"]
        wait_until(lambda: router.stats()["push_state"] == "up")
        assert router.admin("POST", "/cache/invalidate")[0] == 200
        router.stop()
        assert set(os.listdir(workspace.path)) == before
        assert "level=error" not in router.log()
    finally:
        postgres.close()


@pytest.mark.parametrize("source", ["file", "sqlite"])
def test_SEC_6_only_the_mapping_is_written(make, workspace, source):
    """The directory of the mapping is writable, nothing else is."""
    data = workspace.mkdir("data")
    nodes = [make.node("node1"), make.node("node2")]
    if source == "file":
        mapping = file_mapping(workspace, "").replace('"accounts"', '"data/accounts"')
        workspace.write("data/accounts", "bob node1\n")
        router = make.router(nodes, mapping=mapping, start=False)
    else:
        router = make.router(nodes, start=False)
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(router.db + suffix):
                os.rename(router.db + suffix, data + "/mapping.sqlite" + suffix)
        edit(router, "sqlite://" + router.db, "sqlite://" + data + "/mapping.sqlite")
    router.wrapper = read_only_root(workspace, data)
    router.start()
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
    login(router, "alice")
    assert served(nodes[1]) == ["alice"]
    router.stop()
    assert set(os.listdir(data)) <= ({"accounts"} if source == "file" else
                                     {"mapping.sqlite", "mapping.sqlite-wal", "mapping.sqlite-shm"})


def test_SEC_7_umask_and_descriptors(make):
    """Every kind of descriptor is open: listeners, sessions, pipes and maps, SQLite, admin."""
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node], server="threads = 2")
    with path_login(router, path=None), router.client(tls=False) as half, \
            socket.create_connection(("127.0.0.1", router.ports["admin"])):
        half.line()
        router.stats()
        base = "/proc/%d/" % router.process.pid
        with open(base + "status", encoding="ascii") as f:
            assert re.search(r"^Umask:\s*0077$", f.read(), re.M)
        seen = 0
        for fd in os.listdir(base + "fdinfo"):
            if int(fd) <= 2:
                continue
            try:
                with open(base + "fdinfo/" + fd, encoding="ascii") as f:
                    flags = int(re.search(r"^flags:\s*(\d+)", f.read(), re.M).group(1), 8)
                target = os.readlink(base + "fd/" + fd)
            except FileNotFoundError:
                continue
            assert flags & os.O_CLOEXEC, target
            seen += 1
        assert seen > 15


def test_SEC_7_the_temporary_file_is_nobody_else_s(make, workspace):
    """One that was left behind, world-writable and linked to something else, is not written into."""
    directory = workspace.mkdir("data")
    mapping = file_mapping(workspace, "").replace('"accounts"', '"data/accounts"')
    path = workspace.write("data/accounts", "bob node1\n", 0o640)
    other = workspace.write("data/other", "precious\n", 0o666)
    os.link(other, path + ".tmp")
    router = make.router([make.node("node1")], mapping=mapping)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            try:
                info = os.stat(path + ".tmp")
                if info.st_ino != os.stat(other).st_ino:
                    seen.add(info.st_mode & 0o777)
            except FileNotFoundError:
                pass
    watcher = threading.Thread(target=watch)
    watcher.start()
    for i in range(30):
        assert router.admin("PUT", "/mappings?identifier=user%d&destination=node1" % i)[0] == 200
    stop.set()
    watcher.join()
    with open(other, encoding="ascii") as f:
        assert f.read() == "precious\n"
    assert os.stat(other).st_mode & 0o777 == 0o666
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert all(mode & 0o007 == 0 for mode in seen), [oct(mode) for mode in seen]
    assert sorted(os.listdir(directory)) == ["accounts", "other"]


@pytest.mark.parametrize("mode", ["auto", "copy"])
def test_SEC_11_sessions_in_random_order_do_not_mix(make, pins, mode):  # noqa: F811
    """Each says its own number over and over while others come and go, in one order or another."""
    def serve(conn):
        if harness.node_login(conn) is None:
            return
        while True:
            line = conn.line()
            conn.send("%s for %s\r\n" % (line, conn.user))

    router = plain_router(make, [make.node("node1", serve, tls="plain")], pins,
                          splice='mode = "%s"\n' % mode, server="threads = 2")
    rng, live, made = random.Random(11), [], 0
    while made < 300 or live:
        if made < 300 and (len(live) < 5 or (len(live) < 40 and rng.random() < 0.55)):
            client = router.client(tls=False)
            client.line()
            client.send("a LOGIN user%d pw\r\nearly-%d\r\n" % (made, made))
            assert client.line().endswith("welcome user%d" % made)
            client.expect("early-%d for user%d" % (made, made))
            live.append((made, client))
            made += 1
        elif rng.random() < 0.5:
            number, client = rng.choice(live)
            text = "-".join([str(number)] * rng.randrange(1, 200))
            client.send(text + "\r\n")
            client.expect("%s for user%d" % (text, number))
        else:
            _, client = live.pop(rng.randrange(len(live)))
            (client.reset if rng.random() < 0.5 else client.close)()
    router.wait_idle()
    wait_until(lambda: rows(pins) == [] and rows(pins, "sources") == [])
    assert len(router.wait_sessions(300)) == 300


@pytest.mark.parametrize("mode", ["auto", "copy"])
def test_SEC_11_a_crash_closes_all_sessions(make, pins, mode):  # noqa: F811
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node], pins, splice='mode = "%s"\n' % mode)
    clients = [path_login(router, "user%d" % i, path="sockmap" if mode == "auto" else "copy")
               for i in range(10)]
    router.stop(expect=-9, how=signal.SIGKILL)
    for client in clients:
        assert client.eof() == b""
        client.close()
    for conn in node.connections:
        assert conn.closed.wait(harness.PATIENCE) # nothing forwards to it any more
    assert rows(pins, "sources") == []


DENY = """
import ctypes, os, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
# load the number; if it is ours, fail; else allow
code = b"".join(struct.pack("HBBI", *op) for op in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7fff0000)))
text = ctypes.create_string_buffer(code)
class Prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
prog = Prog(4, ctypes.addressof(text))
if ctypes.CDLL(None, use_errno=True).prctl(22, 2, ctypes.byref(prog), 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[3], sys.argv[3:])
"""


def deny(call, error):
    """A start under which one system call fails."""
    numbers = {"x86_64": {"bpf": 321, "getrandom": 318, "seccomp": 317},
               "aarch64": {"bpf": 280, "getrandom": 278, "seccomp": 277}}
    return [sys.executable, "-c", DENY, str(numbers[platform.machine()][call]), str(error)]


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "E2BIG"])
def test_SEC_12_without_the_kernel_s_path_it_serves(make, error):
    import errno
    router = plain_router(make, [make.node("node1", tls="plain")], start=False)
    router.wrapper = deny("bpf", getattr(errno, error))
    router.start()
    lines = [x for x in router.lines if "msg=path_unavailable path=sockmap" in x]
    assert len(lines) == 1 and "level=warn" in lines[0]
    assert len(harness.parse_logfmt(lines[0])["reason"]) > 10
    with path_login(router, path="copy") as client:
        assert client.command("b NOOP") == ["b OK NOOP"]
    line = router.wait_sessions(1)[0]
    assert (line["path_up"], line["path_down"]) == ("copy", "copy")


# ---- secrets ----

def test_SEC_22_secrets_that_others_can_read(check, make):  # noqa: F811
    space = check.workspace
    space.certificate("a", ["a.test"])
    space.write("token", "t" * 40)
    text = MINIMAL + '[tls.certificate.a]\ncert = "a.pem"\nkey = "a.key"\n' \
        '[admin]\nbind = "127.0.0.1:0"\nbearer_token_file = "token"\n'
    assert check.ok(text).stderr == ""
    for name, key in (("a.key", "tls.certificate.a.key"), ("token", "admin.bearer_token_file")):
        path = os.path.join(space.path, name)
        for mode, warned in ((0o604, True), (0o640, False), (0o644, True), (0o600, False)):
            os.chmod(path, mode)
            err = check.ok(text).stderr
            assert (": warning: %s: " % key in err) == warned, (name, oct(mode), err)
    secret = text.replace('bearer_token_file = "token"', 'bearer_token = "%s"' % ("t" * 40))
    path = space.write("open.toml", secret, 0o644)
    done = homingd("--check-config", path)
    assert done.returncode == 0 and re.search("warning: .*readable by others", done.stderr)
    os.chmod(path, 0o640)
    assert "readable" not in homingd("--check-config", path).stderr
    router = make.router([make.node("node1")], start=False)
    os.chmod(os.path.join(space.path, "router.key"), 0o644)
    router.start() # at each load: also at a start
    assert re.search(r"warning: tls\.certificate\.default\.key: .*readable by others", router.log())


def digest8(account):
    return hashlib.sha256(account.encode()).hexdigest()[:8]


def decoded(text):
    """A logged value with its \\xHH taken back."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m.group(1), 16)]),
                  text.encode()).decode()


@pytest.mark.parametrize("full", [False, True])
def test_SEC_24_accounts_in_the_log(make, full):
    import base64
    router = make.router([make.node("node1")],
                         server='log_accounts = "full"\n' if full else "")
    accounts = ["alice@example.com", "b", "éa@x.test", "aé@x.test", "日本語@x.test"]
    for account in accounts:
        with router.client() as client:
            client.line()
            message = base64.b64encode(b"\0%s\0pw" % account.encode()).decode()
            assert client.command("a AUTHENTICATE PLAIN " + message)[-1].startswith("a OK")
    with router.client() as client: # no account at all
        client.line()
        client.command("a LOGOUT")
    router.admin("PUT", "/mappings?identifier=alice@example.com&destination=node1")
    wanted = [a if full else "%s***#%s" % (a[:2], digest8(a)) for a in accounts] + ["-"]
    got = [decoded(line["account"]) for line in router.wait_sessions(len(wanted))]
    assert sorted(got) == sorted(wanted) # a session may end after the next one
    line = harness.parse_logfmt(router.wait_line(lambda text: "op=map_set" in text))
    assert line["account"] == wanted[0]
    assert ("alice@example.com" in router.log()) == full


def test_SEC_25_no_source_of_random_numbers(make):
    import errno
    router = make.router([make.node("node1")], start=False)
    done = subprocess.run([*deny("getrandom", errno.ENOSYS), HOMINGD, router.config],
                          capture_output=True, text=True, timeout=60, env=router.environment,
                          check=False)
    assert done.returncode == 1 and "random" in done.stderr
    assert "msg=listening" not in done.stderr


def test_SEC_25_every_process_has_its_own_numbers(make):
    """The id of the instance is random; 16 bits of it are shown."""
    router = make.router([make.node("node1")])
    seen = set()
    for _ in range(3):
        login(router, "alice")
        seen.add(router.wait_sessions(1)[0]["id"].split("-")[0])
        router.restart()
    assert len(seen) > 1 # chance may repeat one of them
