# SPDX-License-Identifier: Apache-2.0
"""config.md: --check-config and --print-config on files, finding by finding."""

import os
import re
import subprocess
import time

import harness
import pytest
from config_check import MINIMAL, SQL, change, check  # noqa: F401


def test_CFG_2_arguments(check):
    env = {k: v for k, v in os.environ.items() if k != "HOMING_CONFIG"}
    homingd = os.path.join(harness.BUILD, "homingd")
    done = subprocess.run([homingd], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 2 and "usage" in done.stderr
    a = check.workspace.write("a.toml", "x = 1\n")
    b = check.workspace.write("b.toml", MINIMAL)
    env["HOMING_CONFIG"] = a
    run = lambda *args: subprocess.run([homingd, *args], capture_output=True,  # noqa: E731
                                       text=True, env=env, timeout=60)
    assert run("--check-config").returncode == 1
    assert run("--check-config", "--config", b).returncode == 0
    assert run("--check-config", b).returncode == 0
    assert run("--version").stdout.startswith("homingd ")
    assert run("--frobnicate").returncode == 2


def test_CFG_3_minimal_file(check):
    assert check.ok(MINIMAL).stderr == ""
    check.ok("\ufeff" + MINIMAL.replace("\n", "\r\n"))


def test_section_13_cluster_fixture(check):
    """The user's own file, unchanged but for the paths that must exist."""
    space = check.workspace
    space.certificate("fullchain", ["mail.example.com"])
    space.write("admin.token", "x" * 40)
    with open(os.path.join(os.path.dirname(__file__), "cluster.toml"), encoding="utf-8") as f:
        text = f.read()
    text = text.replace("/etc/proxy/tls/fullchain.pem", space.path + "/fullchain.pem").replace(
        "/etc/proxy/tls/privkey.pem", space.path + "/fullchain.key").replace(
        "/etc/proxy/admin.token", space.path + "/admin.token")
    for name in ("fullchain.pem", "fullchain.key", "admin.token"): # for its user, if there is one
        os.chmod(os.path.join(space.path, name), 0o644)
    check.ok(text, mode=0o644)
    printed = check.ok(text, option="--print-config", mode=0o644).stdout
    check.ok(printed, name="printed.toml", mode=0o644)


def test_CFG_5_masked_secrets(check):
    text = MINIMAL + ('[admin]\nbind = "127.0.0.1:0"\nbearer_token = "%s"\n' % ("secret" * 8) +
                      '[mapping.redis]\nurl = "redis://user:hunter2@h/0"\n')
    printed = check.run(text, option="--print-config").stdout
    assert "secretsecret" not in printed and "hunter2" not in printed
    assert printed.count("********") == 2
    check.errors(change("secret" * 8, "********", text), "admin.bearer_token")


def test_CFG_9_relative_paths(check):
    check.workspace.mkdir("tls")
    check.workspace.certificate("tls/a", ["x.test"])
    check.ok(MINIMAL + '[tls.certificate.a]\ncert = "tls/a.pem"\nkey = "tls/a.key"\n')


def test_CFG_10_11_12_13_14_messages(check):
    err = check.errors(MINIMAL + '[server]\nhostnme = "x"\nthreads = "5"\nproxy_ttl = 0\n'
                       'log_level = "inof"\nuser = "%s"\n' % check.workspace.user)
    lines = err.splitlines()
    line = MINIMAL.count("\n") + 2
    assert lines[0].endswith(
        'homing.toml:%d:1: error: server.hostnme: unknown key "hostnme"; '
        'nearest known key: "hostname"' % line)
    assert lines[1].endswith(":%d:11: error: server.threads: expected integer, found string"
                             % (line + 1))
    assert "1 to 255" in lines[2] and 'probably meant: "info"' in lines[3]
    assert lines[-1] == "4 error(s), 0 warning(s)"
    assert len(lines) == 5


def test_CFG_11_syntax_error_stands_alone(check):
    err = check.errors("a = \nb = 1\n")
    assert err.count("error:") == 1 and "homing.toml:1:5: error: expected a value" in err


def test_CFG_12_belongs_to_another_table(check):
    err = check.errors(MINIMAL + '[mapping.sql]\nquery = "x"\npositive_ttl = "1m"\n')
    assert "it belongs to [mapping]" in err


@pytest.mark.parametrize("value", ["30s", "10m", "1h", "250ms", " 5 m ", "2d", "0s"])
def test_section_3_durations(check, value):
    check.ok(MINIMAL + '[server]\nhost_down_cooldown = "%s"\n' % value)


@pytest.mark.parametrize("value", ["", "10x", "abc", "10", "-1s", "1.5s", "18446744073709551615d",
                                   "3651d"])
def test_section_3_bad_durations(check, value):
    check.errors(MINIMAL + '[server]\nhost_down_cooldown = "%s"\n' % value,
                 "server.host_down_cooldown")


@pytest.mark.parametrize("old,new,wanted", [
    ('default_destination = "node1"', 'default_destination = "ghost"', '"ghost" is not declared'),
    ('protocol = "imap"', 'protocol = "pop3"', "declares no pop3"),
    ('protocol = "imap"', 'protocol = "smtp"', "smtp_passthrough_destination"),
    ('protocol = "imap"', 'protocol = "http"\nforwarded = "trust"', None),
    ("allow_plaintext_auth = true\n", "", "allow_plaintext_auth"),
    ('tls = "plain"\n[listener', 'tls = "implicit"\n[listener', "tls_server_name"),
    ("[destination.node1]\n", '[destination.node1]\ntls_client_cert = "accounts"\n', "together"),
    ("[destination.node1]\n", '[destination.node1]\ntls_pinned_cert_sha256 = "abc"\n',
     "64 hexadecimal"),
    ("[destination.node1]\n", '[destination.node1]\ntls_pinned_cert_sha256 = "%s"\n' % ("aB:" * 32),
     None),
    ('source = "file"', 'source = "redis"', "[mapping.redis] is missing"),
    ('bind = ["127.0.0.1:0"]', 'bind = ["127.0.0.1:1143"]', "loop"),
    ('bind = ["127.0.0.1:0"]', 'bind = ["0.0.0.0:1143"]', "loop"),
    ('bind = ["127.0.0.1:0"]', 'bind = ["127.0.0.1:5", "0.0.0.0:5"]', "already bound"),
    ('bind = ["127.0.0.1:0"]', 'bind = ["0.0.0.0:5", "[::]:5"]', None),
    ('bind = ["127.0.0.1:0"]', 'bind = ["localhost:5"]', "not an address"),
    ('bind = ["127.0.0.1:0"]', "bind = []", "at least one"),
    ('tls = "plain"\n[listener', 'tls = "starttls"\n[listener', "tls_server_name"),
    ('[listener.imap]\n', '[listener.imap]\nproxy_protocol = "optional"\n', "trusted peers"),
])
def test_CFG_40_cross_checks(check, old, new, wanted):
    text = change(old, new)
    if wanted:
        check.errors(text, wanted)
    else:
        done = check.run(text)
        assert "error:" not in done.stderr.replace("declares no http", ""), done.stderr


def test_CFG_40_14_mapping_file(check):
    check.workspace.write("accounts", "alice node1\nbob ghost\ncarol\ndave node1 x\n")
    err = check.errors(MINIMAL)
    assert re.search(r'accounts:2:1: error: .*"ghost"', err)
    assert "accounts:3:1: error" in err and "accounts:4:1: error" in err
    check.workspace.write("accounts", "alice node1\n# x\nALICE node1\nalice node1 # twice\n")
    assert check.ok(MINIMAL).stderr == ""
    check.ok(MINIMAL.replace('source = "file"', 'source = "file"\nnormalize = "lowercase"'))


@pytest.mark.parametrize("sql,wanted", [
    ('query = "SELECT n FROM t WHERE i = $1"', None),
    ('url = "sqlite:///x.db"\nquery = "SELECT n FROM t WHERE i = ?"', None),
    ('query = "SELECT n FROM t WHERE i = ?"', "no parameter $1"),
    ('url = "postgres://u:s3cret@h:5432,[::1]/d?sslmode=require"\nquery = "$1"', None),
    ('url = "postgres://u:s3cret@h/d?ssl_mode=require"\nquery = "$1"',
     'invalid URI query parameter: "ssl_mode"'),
    ('url = "postgres://u:s3%%zzcret@h/d"\nquery = "$1"', "not a valid url"),
    ('url = "postgres://u:s3cret@[::1/d"\nquery = "$1"', "not a valid url"),
    ('url = "postgres://u:s3cret@h:543210/d"\nquery = "$1"', "the port is not a number"),
    ('url = "mysql://h/d"\nquery = "$1"',
     "MySQL is not supported; use postgres://, postgresql:// or sqlite://"),
    ('url = "oracle://h/d"\nquery = "$1"', "sqlite://"),
    ('url = "sqlite://relative.db"\nquery = "$1"', "absolute path"),
    ('url = "postgres://h/d"', "required key is missing"),
    ('query = "$1"\nlist_query = "SELECT i FROM t WHERE n = $1 AND i > $2 LIMIT $3"', None),
    ('query = "$1"\nlist_query = "SELECT i FROM t WHERE n = $1 LIMIT $3"', "no parameter $2"),
    ('query = "$1"\nlist_query = "SELECT i FROM t WHERE n = $1 AND i > $2"', "no parameter $3"),
    ('query = "$1"\nlist_query = "SELECT i FROM t WHERE i > $2 LIMIT $3"', "no parameter $1"),
    ('url = "sqlite:///x.db"\nquery = "?"\nlist_query = "n = ? AND i > ? LIMIT ?"', None),
])
def test_CFG_30_31_sql(check, sql, wanted):
    if wanted:
        assert "cret" not in check.errors(SQL % sql, wanted)
    else:
        check.ok(SQL % sql)


@pytest.mark.parametrize("url,wanted", [
    ("redis://:p%3Fw@h/1", None), ("redis+unix:///s?db=1&user=u", None),
    ("redis://u:s3cret@h/1?protocol=3", "take no parameters"),
    ("redis+unix:///s?password=s3cret&protocol=3", "expected redis://"),
    ("redis://h:99999", "expected redis://")])
def test_CFG_50_redis_urls(check, url, wanted):
    text = MINIMAL.replace('source = "file"', 'source = "redis"').replace(
        '[mapping.file]\npath = "accounts"', '[mapping.redis]\nurl = "%s"' % url)
    if wanted:
        assert "s3cret" not in check.errors(text, wanted)
    else:
        check.ok(text)


@pytest.mark.parametrize("route,wanted", [
    ('fallback = "ghost"', "not declared"), ('fallback = "default"', None),
    ('extract = { from = "body" }', "needs regex"), ('extract = { from = "query" }', "needs param"),
    ('extract = { from = "header" }', "needs header"),
    ('extract = { from = "body", regex = "([" }', "does not compile"),
    ('extract = { from = "body", regex = "x" }', "no capture group"),
    ('extract = { from = "body", regex = "user=(.*)" }', None),
    ('extract = { from = "nowhere" }', "unknown value"), ('extract = { param = "x" }', "required")])
def test_CFG_40_15_17_18_routes(check, route, wanted):
    text = MINIMAL + '[destination.node1.protocol.http]\nport = 80\ntls = "plain"\n' \
        '[[http.route]]\nmatch = "/**"\n' + route + "\n"
    if wanted:
        check.errors(text, wanted)
    else:
        check.ok(text)


@pytest.mark.parametrize("admin,wanted", [
    ('bearer_token = "%s"' % ("x" * 32), None), ('bearer_token = "%s"' % ("x" * 31), "32 to 4096"),
    ('tls = "plain"\nbearer_token = "%s"' % ("x" * 32), "implicit"), ("", "no token"),
    ('bearer_token = "%s"' % ("x y" * 20), "without blanks"),
    ('bearer_token_file = "nothing"', "cannot read")])
def test_CFG_35_40_19_admin(check, admin, wanted):
    text = MINIMAL + '[admin]\nbind = "127.0.0.1:0"\n' + admin + "\n"
    if wanted:
        check.errors(text, wanted)
    else:
        check.ok(text)


def test_CFG_20_24_certificates(check):
    space = check.workspace
    space.certificate("a", ["a.test"])
    space.certificate("b", ["a.test"], days=30)
    one = '[tls.certificate.a]\ncert = "a.pem"\nkey = "a.key"\n'
    two = '[tls.certificate.b]\ncert = "b.pem"\nkey = "b.key"\n'
    check.ok(MINIMAL + one)
    space.certificate("rsa", ["a.test"], key="rsa")
    rsa = '[tls.certificate.rsa]\ncert = "rsa.pem"\nkey = "rsa.key"\n'
    assert "has this name too" not in check.ok(MINIMAL + one + rsa).stderr
    check.ok(MINIMAL + one + "default = true\n" + rsa + "default = true\n")
    space.certificate("b", ["b.test", "a.test"], days=60)
    done = check.ok(MINIMAL + one + two + rsa)
    assert 'tls.certificate.b.cert: another certificate has this name too; "b" is served, ' \
        'which lasts longer or is the first of equals: a.test\n' in done.stderr, done.stderr
    check.errors(MINIMAL + one.replace('"a.key"', '"b.key"'), "does not match")
    check.errors(MINIMAL + one.replace('"a.key"', '"nothing"'), "cannot read")
    check.errors(MINIMAL + one.replace('"a.pem"', '"a.key"'), "no PEM certificate")
    both = one + "default = true\n" + two + 'subjects = ["b.test"]\ndefault = true\n'
    check.errors(MINIMAL + both, "is the default already")


def test_CFG_25_suites(check):
    every = ["TLS13_AES_256_GCM_SHA384", "tls_aes_128_gcm_sha256", "TLS_CHACHA20_POLY1305_SHA256"]
    every += ["TLS_ECDHE_%s_WITH_%s" % (a, s) for a in ("ECDSA", "RSA") for s in (
        "AES_256_GCM_SHA384", "AES_128_GCM_SHA256", "CHACHA20_POLY1305_SHA256")]
    toml = lambda names, more="": '[tls.protocols]\n%sdisable_cipher_suites = %s\n' % (  # noqa: E731
        more, str(names).replace("'", '"'))
    check.ok(MINIMAL + toml(every[:-1]))
    check.errors(MINIMAL + toml(every), "no cipher suite is left")
    check.errors(MINIMAL + toml(every[:3], 'min_version = "1.3"\n'), "no cipher suite is left")
    check.errors(MINIMAL + toml(["TLS_RSA_WITH_NULL_MD5"]), "unknown cipher suite")


def test_CFG_32_33_34_capabilities(check):
    caps = lambda text: MINIMAL + "[capabilities.imap]\n" + text + "\n"  # noqa: E731
    check.ok(caps('sasl = ["plain", "LOGIN"]'))
    check.ok(caps("sasl = []"))
    check.errors(caps('sasl = ["PLAIN", "plain"]'), "listed twice")
    check.errors(caps('sasl = ["CRAM-MD5"]'), "unknown mechanism")
    check.errors(caps('banner = "a\\r\\nb"'), "control character")
    check.errors(caps('advertise = ["AUTH=PLAIN"]'), "by itself")
    check.errors(caps('advertise = ["STARTTLS"]'), "by itself")


def test_CFG_8_environment(check):
    check.errors(MINIMAL, "HOMING_LOG", environment={"HOMING_LOG": "loud"})
    printed = check.ok(MINIMAL, option="--print-config", environment={"HOMING_LOG": "debug"}).stdout
    assert 'log_level = "debug"' in printed


def test_one_mib_is_fast_and_more_is_refused(check):
    """Far below a second in the optimised build; a quadratic reader would take minutes."""
    entries = "".join('[destination."d%d"]\nhost = "h%d"\n[destination."d%d".protocol.imap]\n'
                      'port = 993\ntls = "implicit"\n' % (i, i, i) for i in range(9000))
    text = MINIMAL + entries
    assert 900000 < len(text) < 1024 * 1024
    start = time.monotonic()
    check.ok(text)
    assert time.monotonic() - start < 30
    check.errors(text + "#" + "x" * 1024 * 1024, "larger than 1 MiB")


def test_nesting_is_bounded(check):
    check.errors("a = " + "[" * 100000, "nested too deeply")
    check.errors("a = " + "{b = " * 100000, "nested too deeply")
    check.errors(".".join("a" * 100000) + " = 1", "too many parts")


@pytest.mark.parametrize("old,new,wanted", [
    ('tls = "plain"\n[listener', 'tls = "ssl"\n[listener', 'probably meant: "implicit"'),
    ('tls = "plain"\n[listener', 'tls = "STARTTLS"\n[listener', 'probably meant: "starttls"'),
    ('tls = "plain"\n[listener', 'tls = "off"\n[listener', 'probably meant: "plain"'),
    ('tls = "plain"\n[listener', 'tls = "clear"\n[listener', 'probably meant: "plain"'),
    ('tls = "plain"\n[listener', 'tls = "implict"\n[listener', 'probably meant: "implicit"'),
    ('source = "file"', 'source = "postgresql"', 'probably meant: "sql"'),
    ('protocol = "imap"', 'protocol = "sieve"', 'probably meant: "managesieve"'),
    ('protocol = "imap"', 'protocol = "imaps"', 'probably meant: "imap"'),
    ("[destination.node1]\n", '[destination.node1]\nforwarding = "off"\n',
     'probably meant: "none"'),
    ('[listener.imap]\n', '[listener.imap]\nproxy_protocol = "none"\n', 'probably meant: "off"'),
    ('source = "file"', "source = file", 'is it a string? then quote it: "..."'),
    ('source = "file"', 'source = "file"\npositive_ttl = 30m', "quote it"),
    ('bind = ["127.0.0.1:0"]', "bind = [127.0.0.1:0]", "quote it"),
    ('path = "accounts"', "path = /etc/accounts", "quote it"),
])
def test_OPS_15_wrong_values(check, old, new, wanted):
    check.errors(change(old, new), wanted)


def test_OPS_15_only_near_values_are_offered(check):
    err = check.errors(change('tls = "plain"\n[listener', 'tls = "xyzzy"\n[listener'))
    assert 'accepted are "implicit", "starttls", "plain"\n' in err and "meant" not in err
    for value in ("1.5", "0x", "1_", "-", "+5x", "2020-13-01"): # not taken for strings
        assert "quote" not in check.errors("x = %s\n" % value)


def test_OPS_15_twice_and_ranges(check):
    err = check.errors('[a]\nx = 1\n[b]\n[a]\n')
    assert ":4:2: error: table is defined twice: first on line 1" in err, err
    err = check.errors('[a]\nx = 1\n\nx = 2\n')
    assert ":4:1: error: key is defined twice: first on line 2" in err, err
    for line, wanted in (('backend_timeout = "1h"', "accepted are 100ms to 10m"),
                         ('bridge_idle = "1ms"', "accepted are 1s to 3650d"),
                         ('shutdown_grace = "3651d"', "accepted are 0ms to 3650d")):
        check.errors(MINIMAL + "[server]\n" + line, wanted)
    check.errors(MINIMAL + '[splice]\nbacklog_limit = "1B"\n', "accepted are 64KiB to 16MiB")


def test_CFG_40_guard(check):
    def guard(lines, more=""):
        return MINIMAL + more + "[guard]\n" + lines

    err = check.ok(guard('enabled = true\ninterfaces = ["eth0", "auto0"]\nallow = ["192.0.2.0/24"]\n'
                         'deny = ["192.0.0.0/16", "192.0.2.7"]\nban_after = 3\nxdp_mode = "auto"\n')).stderr
    assert "guard" not in err, err
    check.errors(guard('ban_time = "2h"\nban_time_max = "1h"\n'), # CFG-40.34
                 "guard.ban_time: is longer than ban_time_max")
    check.errors(guard('penalty = "16s"\n'), "guard.penalty: is longer than penalty_max")
    for names, wanted in (('"a/b"', '"a/b" is no name of an interface'), # CFG-40.35
                          ('"sixteen-letters0"', "is no name of an interface"),
                          ('"auto", "eth0"', '"auto" stands alone'),
                          ('"eth0", "eth1", "eth0"', '"eth0" is listed twice')):
        check.errors(guard("interfaces = [%s]\n" % names), "guard.interfaces: ", wanted)
    check.errors(guard('allow = ["10.0.0.0/8"]\ndeny = ["10.1.1.1/8"]\n'), # CFG-40.36
                 "guard.deny: 10.0.0.0/8 is in allow too")
    err = check.ok(guard('deny = ["0.0.0.0/0"]\n')).stderr
    assert "guard.deny: 0.0.0.0/0 refuses every client that no longer prefix of allow has" in err
    trusted = MINIMAL + 'proxy_trusted = ["10.0.0.0/8"]\n'
    err = check.ok(trusted + '[guard]\ndeny = ["10.1.0.0/16"]\n').stderr
    assert "guard.deny: 10.1.0.0/16 is trusted by listener.imap.proxy_trusted" in err, err
    assert "guard" not in check.ok(trusted + '[guard]\ndeny = ["10.0.0.0/8"]\n').stderr
    check.errors(guard('share = "store"\n'), # CFG-40.37
                 "guard.share: needs Redis or PostgreSQL as the mapping's store")
    for line, wanted in (("ban_after = 0", "accepted are 1 to 1000000"), ("ipv4_prefix = 33", "accepted are 8 to 32"),
                         ("ipv6_prefix = 15", "accepted are 16 to 128"), ('ban_window = "0s"', "accepted are 1s"),
                         ('ban_scope = "old"', 'accepted are "new", "all"'), ("ban_afer = 1", "ban_after")):
        check.errors(guard(line + "\n"), wanted)


def test_OPS_15_nobody_can_log_in(check):
    refused = "[capabilities.imap]\nallow_plain_auth_without_tls = false\n"
    assert "listener.imap.tls: nobody can log in here" in check.ok(MINIMAL + refused).stderr
    assert "nobody" not in check.ok(MINIMAL).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="as root alone")
def test_OPS_15_users_and_what_they_can_read(check):
    space = check.workspace
    check.errors(MINIMAL + '[server]\nuser = "no-such"\n', 'server.user: no such user: "no-such"')
    group = '[server]\nuser = "%s"\ngroup = "no-such"\n' % space.user
    check.errors(MINIMAL + group, 'server.group: no such group: "no-such"')
    admin = '[admin]\nbind = "127.0.0.1:0"\nbearer_token = "%s"\nsocket = "%s/s"\n' % (
        harness.TOKEN, space.path)
    check.errors(MINIMAL + admin + 'socket_group = "no-such"\n', "admin.socket_group: no such group")
    space.certificate("a", ["a.test"])
    text = MINIMAL + '[tls.certificate.a]\ncert = "a.pem"\nkey = "a.key"\n'
    check.ok(text)
    for path in ("a.key", "a.pem", "accounts"):
        os.chown(os.path.join(space.path, path), 0, 0)
        os.chmod(os.path.join(space.path, path), 0o600)
        err = check.errors(text, '/%s" cannot be read by the user "%s", so that a reload will '
                           'fail: Permission denied' % (path, space.user))
        assert err.count("error:") == 1, err
        space.own(os.path.join(space.path, path))
    space.mkdir("deep")
    space.certificate("deep/b", ["b.test"])
    os.chown(os.path.join(space.path, "deep"), 0, 0)
    os.chmod(os.path.join(space.path, "deep"), 0o700)
    check.errors(text.replace("a.key", "deep/b.key").replace("a.pem", "deep/b.pem"),
                 'deep/b.key" cannot be read by the user')


def test_OPS_15_a_file_that_cannot_be_read_says_so(check):
    check.workspace.certificate("a", ["a.test"])
    for key, line in (("cert", 'cert = "no.pem"\nkey = "a.key"\n'),
                      ("key", 'cert = "a.pem"\nkey = "no.key"\n')):
        err = check.errors(MINIMAL + "[tls.certificate.a]\n" + line,
                           'tls.certificate.a.%s: cannot read "' % key, "No such file")
        assert err.count("error:") == 1, err
    err = check.errors(change('path = "accounts"', 'path = "nothing"'), "No such file")
    assert err.count("error:") == 1, err


@pytest.mark.parametrize("host,name,good", [
    ("mail_1", "mail_1", True), ("node1.example.com.", "node1.example.com.", True),
    ("[::1]", "[::1]", True), ("::1", "::1", True), ("10.0.0.1", "10.0.0.1", True),
    ("_imap._tcp.test", "a", True), ("[node1]", "a", False), ("[::1", "a", False),
    ("a..b", "a", False), (".", "a", False), ("a b", "a", False), ("-a", "a", False),
    ("a", "[::g]", False), ("a", "", False), ("a", "x.", True), ("a..", "a", False)])
def test_section_7_hosts(check, host, name, good):
    text = change('host = "127.0.0.1"', 'host = "%s"\ntls_server_name = "%s"' % (host, name))
    check.ok(text) if good else check.errors(text, "not a hostname or IP address")
