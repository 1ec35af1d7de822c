# SPDX-License-Identifier: Apache-2.0
"""The answer to a failed login waits (GRD-9): in each protocol, as long as said, no longer than the client
stays, and at nobody else's cost."""

import contextlib
import signal
import socket
import ssl
import threading
import time

import harness
from guarding import BAD, GOOD, LOGINS, guard, leave, no_bans_left, own, site  # noqa: F401
from harness import wait_until
from http_nodes import Wire, answer, basic
from mailnodes import PROTOCOLS, b64

LONG = "10m" # nobody waits for its end


def seconds(what, *args, **kwargs):
    start = time.monotonic()
    result = what(*args, **kwargs)
    return time.monotonic() - start, result


def start_guess(site, protocol, user="guess", client=BAD):
    """A guess whose answer is not waited for."""
    if protocol == "http":
        talker = site.client(protocol, client)
        talker.send("GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % basic(user, "wrong"))
        return talker
    talker = site.client(protocol, client)
    message = b64(b"\0%s\0wrong" % user.encode())
    talker.send({"imap": "a AUTHENTICATE PLAIN %s", "managesieve": 'AUTHENTICATE "PLAIN" "%s"'}.get(
        protocol, "AUTH PLAIN %s") % message + "\r\n")
    return talker


def waiting(site, count):  # noqa: F811
    wait_until(lambda: [row["stage"] for row in site.router.sessions()["sessions"]].count(
        "penalty") == count)


def listens(port):
    with contextlib.suppress(ConnectionRefusedError):
        with contextlib.suppress(ConnectionResetError): # it was there a moment ago
            socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


# ---- how long ----

def test_GRD_9_answers_wait_longer_and_longer(site):  # noqa: F811
    site = site(guard(penalty="200ms", penalty_max='"300ms"'), protocols=LOGINS)
    for protocol in LOGINS:
        client, times = own(protocol), []
        for number in range(4):
            talker = site.client(protocol, client)
            took, good = seconds(site.attempt, protocol, "u%d" % number, talker=talker)
            talker.close()
            assert not good
            times.append(took)
        assert times[1] >= 0.19 and times[2] >= 0.29 and times[3] >= 0.29, times
        assert times[3] < 20, times # that is the most


def test_GRD_9_what_does_not_wait(site):  # noqa: F811
    """The first failure, what is good, and what others do."""
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=LOGINS)
    for protocol in LOGINS:
        client = own(protocol)
        site.fail(protocol, 1, client)
        talker = start_guess(site, protocol, "again", client)
        waiting(site, 1)
        assert site.attempt(protocol, "alice", "pw", client)
        assert site.attempt(protocol, "alice", "pw", GOOD)
        assert not talker.readable(0)
        talker.reset()
        waiting(site, 0)


def test_GRD_9_an_old_password_waits_no_longer_each_time(site):  # noqa: F811
    """It counts once, so its penalty does not double."""
    site = site(guard(penalty="50ms"), protocols=("imap",))
    site.fail("imap", 8, user="phone")
    took, _ = seconds(site.fail, "imap", 1, user="phone")
    assert took < 3


def test_GRD_9_what_the_router_cannot_read_waits_too(site):  # noqa: F811
    site = site(guard(penalty="300ms", penalty_max='"300ms"'), protocols=("imap", "http"))
    site.fail("imap", 1)
    for command in ("a AUTHENTICATE PLAIN !!!!", "a AUTHENTICATE PLAIN eA==", 'a LOGIN "x y" pw'):
        with site.client("imap") as client:
            took, lines = seconds(client.ask, command, good=False)
            assert took >= 0.29 and lines[-1].startswith(("a NO", "a BAD")), (took, lines)
    with site.client("http") as client:
        took, response = seconds(client.ask, "/", "Authorization: Basic eCB5OnB3\r\n")
        assert took >= 0.29 and response.status == 401
        assert client.rest() == b""


def test_GRD_9_commands_behind_it_keep_their_order(site):  # noqa: F811
    """Pipelined commands are answered after it, each once; the limit's line comes behind the answer."""
    site = site(guard(penalty="200ms", penalty_max='"200ms"'), protocols=("imap",))
    site.fail("imap", 1)
    with site.client("imap") as client:
        client.send("a LOGIN u1 wrong\r\nb NOOP\r\nc LOGIN u2 wrong\r\nd NOOP\r\n"
                    "e LOGIN u3 wrong\r\nf NOOP\r\n")
        took, lines = seconds(client.eof)
    words = [" ".join(line.split(" ")[:2]) for line in lines.decode().split("\r\n")[:-1]]
    assert words == ["a NO", "b OK", "c NO", "d OK", "e NO", "* BYE"], lines
    assert took >= 0.55
    assert site.router.wait_sessions(2)[-1]["reason"] == "auth_limit"


def test_GRD_9_the_connection_goes_on_after_it(site):  # noqa: F811
    site = site(guard(penalty="100ms"), protocols=PROTOCOLS)
    for protocol in PROTOCOLS:
        site.fail(protocol, 1, own(protocol))
        with site.client(protocol, own(protocol)) as client:
            assert not site.attempt(protocol, "guess", talker=client)
            assert site.attempt(protocol, "alice", "pw", talker=client)


def test_GRD_9_with_tls(site):  # noqa: F811
    site = site(guard(penalty="200ms"), protocols=("imap",))
    context = ssl.create_default_context(cafile=site.router.cert)
    site.fail("imap", 1)
    with harness.Client(site.told("implicit"), context) as client:
        client.line()
        took, lines = seconds(client.command, "a LOGIN u1 wrong")
        assert took >= 0.19 and lines[-1].startswith("a NO")
        assert client.command("b LOGIN alice pw")[-1].startswith("b OK")
    with harness.Client(site.told("implicit"), context) as client:
        client.line()
        client.send("a LOGIN u2 wrong\r\n")
        waiting(site, 1)
    waiting(site, 0)


def test_GRD_9_preauth_timeout_goes_on(site):  # noqa: F811
    """Whichever is first."""
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=("imap",),
                listener='preauth_timeout = "300ms"\n')
    site.fail("imap", 1)
    with site.client("imap") as client:
        client.send("a LOGIN u1 wrong\r\n")
        took, lines = seconds(client.eof)
    assert lines.startswith(b"a NO ") and lines.endswith(b"* BYE Timed out.\r\n"), lines
    assert 0.25 <= took < 10
    assert site.router.wait_sessions(2)[-1]["reason"] == "preauth_timeout"


# ---- HTTP ----

def test_GRD_9_a_401_waits_and_the_connection_goes_on(site):  # noqa: F811
    site = site(guard(penalty="200ms", penalty_max='"200ms"'), protocols=("http",))
    with site.client("http") as client:
        for number in range(3): # the node's connection is kept meanwhile
            assert client.ask("/", basic("u%d" % number, "wrong")).status == 401
        assert client.ask("/", basic("alice", "pw")).status == 200
        start = time.monotonic()
        client.send("GET /1 HTTP/1.1\r\nHost: x\r\n%s\r\nGET /2 HTTP/1.1\r\nHost: x\r\n%s\r\n" % (
            basic("u8", "wrong"), basic("alice", "pw")))
        assert [client.answer().status for _ in range(2)] == [401, 200]
        assert time.monotonic() - start >= 0.19
    assert len(site.nodes["http"].connections) == 1
    with site.client("http") as client: # who only asks what is wanted is not kept waiting
        assert client.ask("/").status == 200


def test_GRD_9_a_401_that_is_more_than_is_kept_does_not_wait(site):  # noqa: F811
    """And none of it is lost."""
    body = bytes(range(256)) * 1000

    def serve(conn):
        wire = Wire(conn.read)
        while wire.head():
            answer(conn, body, "401 Unauthorized")
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=("http",),
                serve={"http": serve})
    with site.client("http") as client:
        for number in range(3):
            response = client.ask("/", basic("u%d" % number, "wrong"))
            assert response.status == 401 and response.body == body


# ---- the client leaves ----

def test_GRD_9_it_ends_when_the_client_leaves(site):  # noqa: F811
    """By FIN, by reset, with more commands behind it than are read; nothing stays of it."""
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=LOGINS)
    site.fail("imap", 1)
    site.router.wait_idle()
    before = site.router.fds()
    for end in (lambda c: leave(c.sock), lambda c: c.reset()):
        for more in (b"", b"x" * 70000):
            talkers = {protocol: start_guess(site, protocol) for protocol in LOGINS}
            waiting(site, len(LOGINS))
            for protocol, talker in talkers.items():
                talker.sock.setblocking(False)
                if more:
                    talker.sock.send(more[:30000] if protocol == "http" else more)
                end(talker)
            waiting(site, 0)
    site.router.wait_idle()
    wait_until(lambda: site.router.fds() <= before)
    lines = site.router.session_lines()[1:]
    assert {x["reason"] for x in lines} <= {"client_eof", "client_error"}


# ---- the operator ----

SAID_AT_A_STOP = {"imap": [b"a NO", b"* BYE"], "pop3": [b"-ERR", b"-ERR"],
                  "managesieve": [b"NO", b"BYE"], "submission": [b"535", b"421"]}


def test_GRD_9_a_stop_does_not_wait_for_it(site):  # noqa: F811
    """What was held back is said, then the end."""
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=LOGINS)
    site.fail("imap", 1)
    talkers = {protocol: start_guess(site, protocol) for protocol in LOGINS}
    waiting(site, len(talkers))
    site.router.process.send_signal(signal.SIGTERM)
    for protocol, talker in talkers.items():
        said = talker.eof()
        if protocol == "http":
            assert said.startswith(b"HTTP/1.1 401") and said.count(b"HTTP/1.1 ") == 1, said
            continue
        lines = [line for line in said.split(b"\r\n") if line]
        assert len(lines) == 2, said
        for line, start in zip(lines, SAID_AT_A_STOP[protocol]):
            assert line.startswith(start), said
    site.router.stop()


def test_GRD_9_a_request_that_is_under_way_at_a_stop_waits_for_nothing(site):  # noqa: F811
    """Whether the node has begun to refuse it before or after."""
    began, go = threading.Semaphore(0), threading.Event()

    def serve(conn):
        head = Wire(conn.read).head()
        if head.path == "/first":
            return answer(conn, b"x", "401 Unauthorized")
        conn.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nx" if head.path ==
                  "/half" else "")
        began.release()
        go.wait(harness.PATIENCE)
        conn.send("x" if head.path == "/half" else
                  "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nxx")
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=("http",),
                serve={"http": serve}, server='shutdown_grace = "60s"\n')
    with site.client("http") as client:
        assert client.ask("/first", basic("first", "wrong")).status == 401
    talkers = [site.client("http") for _ in range(2)]
    for talker, path in zip(talkers, ("/half", "/none")):
        talker.send("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, basic(path, "wrong")))
        assert began.acquire(timeout=harness.PATIENCE)
    site.router.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not listens(site.router.ports["http"]))
    assert not any(talker.readable(0) for talker in talkers)
    go.set()
    for talker in talkers:
        response = talker.answer()
        assert response.status == 401 and response.body == b"xx"
        assert talker.rest() == b""
    site.router.stop()


def test_GRD_9_the_last_attempt_ends_with_one_last_word(site):  # noqa: F811
    """Also when the router stops while the answer waits."""
    site = site(guard(penalty=LONG, penalty_max='"10m"'), protocols=("imap",),
                listener="max_auth_attempts = 1\n")
    site.fail("imap", 1)
    talker = start_guess(site, "imap")
    waiting(site, 1)
    site.router.process.send_signal(signal.SIGTERM)
    said = talker.eof()
    assert said.startswith(b"a NO") and said.count(b"* BYE") == 1, said
    site.router.stop()


def test_GRD_9_reload_and_kick_leave_it(site):  # noqa: F811
    """It keeps the settings that it started with; an account is no session's that failed."""
    site = site(guard(penalty="1s", penalty_max='"1s"'), protocols=("imap",))
    site.fail("imap", 1)
    start = time.monotonic()
    talker = start_guess(site, "imap", user="alice")
    waiting(site, 1)
    assert site.router.admin("POST", "/config/reload")[0] == 200
    assert site.router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 0}
    assert talker.reply("a")[-1].startswith("a NO")
    assert time.monotonic() - start >= 0.99
    assert site.attempt("imap", "alice", "pw", talker=talker)


# ---- many ----

def test_GRD_9_a_thousand_wait_and_an_honest_login_does_not(site):  # noqa: F811
    """No worker, lock or node is held by them; nothing stays when they have left."""
    site = site(guard(1000000, LONG, penalty_max='"10m"'), protocols=("imap",),
                server="threads = 1\n")
    site.fail("imap", 1)
    site.router.wait_idle()
    before, took = site.router.fds(), []
    talkers = []
    for part in range(20):
        talkers += [start_guess(site, "imap", "u%d-%d" % (part, n)) for n in range(50)]
        wait_until(lambda: site.router.stats()["active_connections"] >= len(talkers))
    wait_until(lambda: site.router.stats()["active_connections"] == 1000 and
               site.router.fds() <= before + 1010)
    assert not any(talker.readable(0) for talker in talkers)
    for number in range(10):
        talker = site.client("imap", GOOD)
        took.append(seconds(site.attempt, "imap", "alice", "pw", talker=talker)[0])
        talker.close()
    print("honest logins beside 1,000 penalties: %.1f ms" % (1000 * sorted(took)[5]))
    assert sorted(took)[5] < 1
    for talker in talkers:
        talker.reset()
    site.router.wait_idle()
    wait_until(lambda: site.router.fds() <= before)
