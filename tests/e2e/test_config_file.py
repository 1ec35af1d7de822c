# SPDX-License-Identifier: Apache-2.0
"""config.md: what a file may hold, how it is printed, and the command line."""

import os
import re
import signal
import socket
import tomllib

import harness
import pytest
from config_check import MINIMAL, check, homingd  # noqa: F401
from reloading import edit


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
    assert done.returncode == 0 and re.fullmatch(
        r"homingd \d+\.\d+\.\d+\S* \((OpenSSL|AWS-LC) \d+\.\d+\S*\)\n", done.stdout)
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
        edit(router, ('"127.0.0.1:0"', '"127.0.0.1:%d"' % taken.getsockname()[1]))
        router.stop()
        done = homingd(router.config)
    assert done.returncode == 1 and "listener.imap" in done.stderr
