# SPDX-License-Identifier: Apache-2.0
"""security.md: secrets and accounts in memory, in logs and in files, and where random numbers come from."""

import base64
import errno
import hashlib
import os
import re
import subprocess

import harness
import pytest
from config_check import HOMINGD, MINIMAL, check, homingd  # noqa: F401
from confined import deny
from harness import memory_holds, node_imap, node_login
from legs import RELAYS, relay_login, relay_router
from logins import login, plain


# ---- process ----

def test_SES_90_no_secret_in_any_log(make):
    secrets = ["S3cret-one", "S3cret-two", "S3cret-three"]
    node = make.node("node1", lambda c: node_imap(c))
    router = make.router([node], environment={"HOMING_LOG": "trace"})
    with router.client() as c:
        c.line()
        c.command("a LOGIN alice %s" % secrets[0])
    with router.client() as c:
        c.line()
        c.send("a AUTHENTICATE PLAIN\r\n")
        c.line()
        c.send(plain("alice", secrets[1]) + "\r\n")
        c.line()
    with router.client() as c:
        c.line()
        c.send('a LOGIN "bad user" "%s"\r\n' % secrets[2])
        c.line()
    router.admin("GET", "/stats?x=" + secrets[2])
    router.wait_sessions(3)
    router.stop()
    log = router.log()
    for secret in secrets + [harness.TOKEN, plain("alice", secrets[1])]:
        assert secret not in log
    assert "account=al***#" in log


@pytest.mark.parametrize("how", ["LOGIN", "literal", "PLAIN"])
def test_SEC_21_password_is_gone_from_memory(make, how):
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    password = "Unm1stakable-%s-%d" % (how, os.getpid())
    encoded = plain("alice", password)
    router = make.router([make.node("node1")], server="threads = 1")
    with router.client() as c:
        c.line()
        if how == "LOGIN":
            c.send("a LOGIN alice %s\r\n" % password)
        elif how == "literal":
            c.send("a LOGIN alice {%d+}\r\n%s\r\n" % (len(password), password))
        else:
            c.send("a AUTHENTICATE PLAIN %s\r\n" % encoded)
        assert c.line().startswith("a OK")
        assert c.command("b NOOP") == ["b OK NOOP"]
        pid = router.process.pid
        assert memory_holds(pid, b"SELECT node FROM account_nodes")  # the search does find things
        for needle in (password.encode(), encoded.encode()):
            assert memory_holds(pid, needle) == []


def test_SEC_21_claims_of_a_token_are_gone_from_memory(make):
    """Also what the JSON library copied of them, small and large."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    claims = {"email": "alice@example.com", "note": "Unm1stakable-%d" % os.getpid(),
              "long": "Unm1stakable-too-%d" % os.getpid() * 20}
    router = make.router([make.node("node1", lambda conn: conn.close())],
                         server="threads = 1")
    token = harness.jwt(claims)
    encoded = base64.b64encode(b"n,,\1auth=Bearer %s\1\1" % token.encode()).decode()
    with router.client() as c:
        c.line()
        assert c.command("a AUTHENTICATE OAUTHBEARER " + encoded)[-1].startswith("a NO [UNAVAIL")
        pid = router.process.pid
        for needle in ("Unm1stakable-%d" % os.getpid(), "Unm1stakable-too-%d" % os.getpid(),
                       token, encoded):
            assert memory_holds(pid, needle.encode()) == []


@pytest.mark.parametrize("answer", ["OK", "NO"])
def test_SEC_21_what_a_node_repeats_is_gone_from_memory(make, answer):
    """The password in the node's last line, in one of before, and in one with a literal."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    password = "Unm1stakable-%s-%d" % (answer, os.getpid())

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] scripted\r\n")
        tag = conn.line().split(" ")[0]
        conn.send("* X {%d}\r\n%s too\r\n* OK so it is %s\r\n" % (len(password), password, password))
        conn.send("%s %s it is %s\r\n" % (tag, answer, password))
        conn.read()

    router = make.router([make.node("node1", serve)], server="threads = 1")
    with router.client() as c:
        c.line()
        assert c.command("a LOGIN alice " + password)[-1].startswith("a " + answer)
        pid = router.process.pid
        assert memory_holds(pid, b"SELECT node FROM account_nodes") # the search does find things
        assert memory_holds(pid, password.encode()) == []


@pytest.mark.parametrize("tls, mode, path", RELAYS)
def test_SEC_21_a_message_is_gone_from_memory(make, tls, mode, path):
    """Both ways through the relay, and what waited for the reader: gone with the session."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    up, down = ("Unm1stakable-%s-%d" % (way, os.getpid()) for way in ("up", "down"))
    size = 8 << 20

    def serve(conn):
        if node_login(conn) is None:
            return
        assert conn.line() == (up + " ") * 2000
        conn.send((down + " ") * (size // (len(down) + 1)) + "\r\n")
        conn.read()

    router = relay_router(make, [make.node("node1", serve, tls=tls)], tls, mode,
                          server="threads = 1")
    with relay_login(router, tls, path) as c:
        c.send((up + " ") * 2000 + "\r\n")
        assert len(c.line()) > size // 2
    line = router.wait_sessions(1)[0]
    assert (line["path_up"], line["path_down"]) == (path, path)
    pid = router.process.pid
    assert memory_holds(pid, b"SELECT node FROM account_nodes") # the search does find things
    for needle in (up, down):
        assert memory_holds(pid, needle.encode()) == []


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
