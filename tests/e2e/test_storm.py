# SPDX-License-Identifier: Apache-2.0
"""LIB-8 and LIB-9: many log in at once, and others among them. Deadlines are wide: what is looked for
is who is lost, or waits for ever."""

import contextlib
import re
import ssl
import threading

import pytest

import harness
from harness import PATIENCE, wait_until
from metrics import fetch, values

CROWD, UNDER_WAY, SLOW = 400, 64, 20
LONGEST_S = 60  # of a crowd together; the machine may be busy with other tests


class Site:
    """One worker in front of a light node with TLS."""

    def __init__(self, make, toml, name):
        self.node = "node=127.0.0.1:%s" % re.search(r"^port = (\d+)", toml, re.M).group(1)
        self.router = make.router([toml], default=name, server="threads = 1",
                                  listeners={"imap": ("implicit", "max_connections = 4000\n")})

    def load(self):
        return harness.Load("127.0.0.1:%d" % self.router.ports["imap"], "imap", "tls", self.node)

    def hello(self):
        """A client's first bytes."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.router.tls_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()


@pytest.fixture(name="site")
def site_fixture(make, workspace):
    with harness.light_node(workspace.certificate("node1", ["node1.test"])) as (toml, name):
        yield Site(make, toml, name)


@contextlib.contextmanager
def going_on(work):
    """Calls it again and again in a thread until this is left; what it raises is raised here."""
    stop, faults, begun = threading.Event(), [], threading.Event()

    def run():
        try:
            while not stop.is_set():
                work()
                begun.set()
        except Exception as e:  # pylint: disable=broad-except
            faults.append(e)
            begun.set()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(LONGEST_S)
        yield
    finally:
        stop.set()
        thread.join(LONGEST_S)
    assert not thread.is_alive()
    if faults:
        raise faults[0]


@contextlib.contextmanager
def storm(site):
    with site.load() as load:
        def logins():
            figures = load("logins %d %d full" % (2 * UNDER_WAY, UNDER_WAY))
            assert figures["failed"] == 0, figures
        with going_on(logins):
            yield


def test_LIB_8_notifications_in_a_storm(site):
    """All arrive, none of them late."""
    with site.load() as load:
        load("open 100 16")
        with storm(site):
            figures = load("notify 400 100")
        assert figures["notifications"] == 400
        assert figures["p99_us"] < 5e6
        assert load("noop")["answered"] == 100
        load("close")
    site.router.wait_idle()


def test_LIB_8_a_byte_a_second_in_a_storm(site):
    """In the handshake, and in the dialogue: a crowd among them is served, and so are they."""
    hello, slow, talker = site.hello(), [], site.router.client()
    assert talker.line().startswith("* OK")
    at = [0]

    def drip():
        for sock in slow:
            sock.send(hello[at[0]:at[0] + 1])
        talker.send("a LOGIN user1@example.com secret"[at[0]])
        at[0] += 1
        threading.Event().wait(1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(talker)
        for _ in range(SLOW):
            slow.append(stack.enter_context(site.router.connect()))
        with going_on(drip), site.load() as load:
            figures = load("logins %d %d full" % (CROWD, CROWD))
            assert figures["failed"] == 0 and figures["seconds"] < LONGEST_S, figures
        assert site.router.stats()["active_connections"] >= SLOW + 1
        for sock in slow:
            sock.send(hello[at[0]:])
        for sock in slow:
            sock.settimeout(PATIENCE)
            assert sock.recv(1) == b"\x16"  # its ServerHello
        talker.send("a LOGIN user1@example.com secret"[at[0]:] + "\r\n")
        while not (line := talker.line()).startswith("a "):
            pass
        assert line.startswith("a OK")


@pytest.mark.parametrize("flood", ["hellos", "commands"])
def test_LIB_8_others_log_in_beside_a_flood(site, flood):
    """Of clients that begin a handshake and leave, of those that say as much as they may."""
    hello = site.hello()

    def hellos():
        with contextlib.ExitStack() as stack:
            for sock in [stack.enter_context(site.router.connect()) for _ in range(50)]:
                sock.send(hello)

    def commands():
        with site.router.client() as client:
            client.send("n NOOP\r\n" * 99)
            for _ in range(100):
                client.line()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(going_on(hellos if flood == "hellos" else commands))
        load = stack.enter_context(site.load())
        figures = load("logins 40 8 full")
        assert figures["failed"] == 0 and figures["seconds"] < LONGEST_S, figures


def test_LIB_9_a_crowd_is_seen(site):
    before = site.router.stats()["logins"]
    with site.load() as load:
        assert load("logins %d %d full" % (CROWD, CROWD))["failed"] == 0
    site.router.wait_idle()
    wait_until(lambda: site.router.stats()["logins"]["waiting"] == 0)
    logins, seen = site.router.stats()["logins"], values(fetch(site.router)[1])
    assert logins["full_turns"] > before["full_turns"]
    assert logins["oldest_ms"] == 0
    assert seen["homing_login_full_turns_total"] >= logins["full_turns"]
    assert seen["homing_logins_waiting"] == seen["homing_login_wait_seconds"] == 0
