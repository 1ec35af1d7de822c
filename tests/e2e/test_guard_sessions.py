# SPDX-License-Identifier: Apache-2.0
"""What clients of each protocol do and the guard makes of it: points, bans, and who never gets one
(GRD-2, GRD-3)."""

import contextlib
import os
import socket
import subprocess

import pytest

import harness
from fixtures import own_network
from guarding import (ALL, BAD, BALANCER, GOOD, LOGINS, PLAIN_AUTH, guard, leave, no_bans_left,  # noqa: F401
                      own, site)
from harness import wait_until
from mailnodes import MailClient, PROTOCOLS, Refused


def is_banned(site, protocol="imap", client=BAD):
    return not site.lets_in(protocol, client)


# ---- what counts ----

def test_GRD_2_guesses_ban(site):  # noqa: F811
    site = site(guard(3))
    for protocol in LOGINS:
        client = own(protocol)
        site.fail(protocol, 2, client)
        assert site.lets_in(protocol, client)
        site.fail(protocol, 1, client, user="third")
        assert is_banned(site, protocol, client), protocol
        line = site.router.wait_line(lambda text, name="listener=%s " % protocol:
                                     "msg=client_refused" in text and name in text)
        assert "client=%s:40000 reason=banned" % client in line
        # Others behind the same balancer, and the balancer itself.
        assert site.attempt(protocol, "honest", "pw", GOOD)
        assert site.lets_in(protocol, None)
    # Who is refused has no session, so no line of one.
    assert not [x for x in site.router.session_lines() if x["reason"] == "banned"]


def test_GRD_2_points_are_of_the_address_not_of_the_protocol(site):  # noqa: F811
    site = site(guard(5))
    for number, protocol in enumerate(LOGINS):
        assert site.lets_in(protocol)
        site.fail(protocol, 1, user="u%d" % (number + 10))
    for protocol in ALL:
        assert is_banned(site, protocol), protocol


def test_GRD_2_an_old_password_bans_nobody(site):  # noqa: F811
    """A phone: the same account and password, again and again."""
    site = site(guard(2))
    for protocol in LOGINS:
        client = own(protocol)
        site.fail(protocol, 12, client, user="phone")
        assert site.lets_in(protocol, client), protocol
        site.fail(protocol, 1, client, user="another")
        assert is_banned(site, protocol, client)


def test_GRD_2_a_password_that_cannot_be_read_counts(site):  # noqa: F811
    """By the router's own judgement, with and without a credential behind it."""
    site = site(guard(4), protocols=("imap", "http"))
    bad = {"imap": ("a AUTHENTICATE PLAIN !!!!", "b AUTHENTICATE PLAIN eA==")}
    with site.client("imap") as client:
        for command in bad["imap"]:
            with pytest.raises(Refused):
                client.ask(command)
    with site.client("http") as client:
        assert client.ask("/", "Authorization: Basic eCB5OnB3\r\n").status == 401 # "x y:pw"
    assert site.lets_in("imap")
    with site.client("imap") as client:
        assert not site.attempt("imap", "x y", talker=client)
    assert is_banned(site)


def test_GRD_2_leaving_without_a_command_counts_a_fifth(site):  # noqa: F811
    site, ends = site(guard(1)), 0
    for protocol in ALL:
        client = own(protocol)
        for _ in range(6):
            assert site.lets_in(protocol, client)
        for number in range(5):
            assert site.lets_in(protocol, client), protocol
            sock = site.told(protocol, client)
            if protocol != "http":
                assert sock.recv(100)
            leave(sock)
            site.wait_ends(ends + 6 + 2 * (number + 1))
        assert is_banned(site, protocol, client), protocol
        assert site.lets_in(protocol, GOOD)
        assert site.lets_in(protocol, None)
        ends += 6 + 2 * 5 + 2
        site.wait_ends(ends)


@pytest.mark.parametrize("tls", ("implicit", "starttls"))
def test_GRD_2_a_failed_handshake_counts_a_fifth(site, tls):  # noqa: F811
    site = site(guard(1), protocols=("imap",))
    for number in range(5):
        client = harness.Client(site.told(tls))
        if tls == "starttls":
            client.line()
            assert client.command("a STARTTLS")[-1].startswith("a OK")
        client.send("this is no TLS\r\n")
        client.eof()
        client.close()
        site.wait_ends(number + 1)
    assert {x["reason"] for x in site.router.session_lines()} == {"tls_client"}
    assert is_banned(site)


def test_GRD_2_a_violation_counts_a_whole_point(site):  # noqa: F811
    site = site(guard(1), protocols=("imap",))
    client = harness.Client(site.told("starttls"))
    client.line()
    client.send("a STARTTLS\r\nz NOOP\r\n")
    client.eof()
    client.close()
    site.wait_ends(1)
    assert is_banned(site)


def test_GRD_2_good_logins_take_points_away(site):  # noqa: F811
    site = site(guard(3))
    for protocol in LOGINS:
        client = own(protocol)
        for number in range(6):
            site.fail(protocol, 1, client, user="u%d" % (number + 10))
            assert site.attempt(protocol, "honest", "pw", client), protocol
        site.fail(protocol, 3, client)
        assert is_banned(site, protocol, client)


def test_GRD_2_sessions_spare_their_address(site):  # noqa: F811
    """As long as they last: one that has ended spares nobody."""
    site, ended = site(guard(2, spare_active=2)), 0
    for protocol in LOGINS:
        client = own(protocol)
        sessions = [site.client(protocol, client) for _ in range(2)]
        for talker in sessions:
            assert site.attempt(protocol, "alice", "pw", talker=talker)
        site.fail(protocol, 4, client)
        assert site.lets_in(protocol, client), protocol
        site.wait_ends(ended + 5)
        sessions[0].close()
        site.wait_ends(ended + 6)
        site.fail(protocol, 1, client, user="another")
        assert is_banned(site, protocol, client), protocol
        assert not sessions[1].readable(0.05) # what is open goes on
        sessions[1].close()
        ended += 8
        site.wait_ends(ended)


def test_GRD_2_a_banned_client_has_no_further_attempt(site):  # noqa: F811
    """Its other connections are open, but not logged in."""
    site = site(guard(3), protocols=("imap", "http"))
    waiting = {"imap": site.client("imap"), "http": site.client("http")}
    assert not site.attempt("http", "h", talker=waiting["http"])
    assert not site.attempt("imap", "i", talker=waiting["imap"])
    site.fail("imap", 1)
    waiting["imap"].send("a LOGIN alice pw\r\n")
    waiting["http"].send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    for client in waiting.values():
        assert client.eof() == b""
        client.close()
    ended = [x["reason"] for x in site.router.wait_sessions(3)]
    assert sorted(ended)[:2] == ["banned", "banned"]


# ---- what does not ----

def silent(conn):
    conn.read()


def silent_after_login(conn):
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
    conn.line()
    conn.read()


@pytest.mark.parametrize("serve", (silent, silent_after_login))
@pytest.mark.parametrize("end", ("close", "reset"))
def test_GRD_2_a_login_that_is_given_up_counts_nothing(site, serve, end):  # noqa: F811
    site = site(guard(1), protocols=("imap",), serve={"imap": serve})
    for number in range(8):
        client = site.client("imap")
        client.send("a LOGIN u%d pw\r\n" % number)
        wait_until(lambda: len(site.nodes["imap"].connections) > number)
        getattr(client, end)()
        site.wait_ends(number + 1)
    assert site.lets_in("imap")


def test_GRD_2_a_login_that_waits_for_an_operator_counts_nothing(site):  # noqa: F811
    site = site(guard(1), protocols=("imap",))
    assert site.router.admin("POST", "/connections/delay?identifier=alice&seconds=30")[0] == 200
    for number in range(8):
        client = site.client("imap")
        client.send("a LOGIN alice pw\r\n")
        wait_until(lambda: site.router.sessions(identifier="alice")["total"])
        client.close()
        site.wait_ends(number + 1)
    assert site.lets_in("imap")


def test_GRD_2_a_node_that_fails_is_nobodys_failure(site):  # noqa: F811
    """Away, talking nonsense, or not able to judge just now."""
    words = ["* BYE away\r\n", "nonsense\r\n", None]

    def serve(conn):
        if words[0]:
            conn.send(words[0])
            return
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n")
        conn.send("%s NO [UNAVAILABLE] later\r\n" % conn.line().split(" ")[0])
        conn.read()
    site = site(guard(1), protocols=("imap",), serve={"imap": serve})
    while words:
        for number in range(3):
            assert not site.attempt("imap", "u%d" % number)
        words.pop(0)
        if not words:
            break
    assert site.lets_in("imap")


def test_GRD_2_an_operator_who_kicks_is_nobodys_failure(site):  # noqa: F811
    site = site(guard(1), protocols=("imap",), serve={"imap": silent_after_login})
    for number in range(3):
        client = site.client("imap")
        client.send("a LOGIN alice pw\r\n")
        wait_until(lambda: site.router.sessions(identifier="alice")["total"])
        assert site.router.admin("POST", "/connections/kick?identifier=alice")[1]["kicked"] == 1
        client.eof()
        client.close()
    assert site.lets_in("imap")


# ---- whose ----

def test_GRD_3_what_a_trusted_peer_says_counts_for_whom_it_names(site):  # noqa: F811
    """XCLIENT, and ID of IMAP."""
    site = site(guard(2), header="off", protocols=PROTOCOLS)

    def says(protocol, address):
        talker = MailClient(protocol, site.router.connect(protocol, BALANCER), None, "plain")
        if address:
            talker.ask({"imap": 'i ID ("x-originating-ip" "%s")',
                        "managesieve": 'XCLIENT "ADDR=%s"'}.get(protocol, "XCLIENT ADDR=%s") %
                       address)
        return talker
    for protocol in PROTOCOLS:
        for number in range(2):
            assert not site.attempt(protocol, "u%d" % number, talker=says(protocol, own(protocol)))
        with pytest.raises((EOFError, ConnectionError)):
            site.attempt(protocol, "alice", "pw", talker=says(protocol, own(protocol)))
        assert site.attempt(protocol, "alice", "pw", talker=says(protocol, GOOD))
        assert site.attempt(protocol, "alice", "pw", talker=says(protocol, None))


def test_GRD_3_a_balancer_that_does_not_tell_is_not_banned(site):  # noqa: F811
    """Neither for what comes through it, nor for its own checks."""
    site = site(guard(2), header="off", protocols=("imap",))

    def client():
        return MailClient("imap", site.router.connect("imap", BALANCER), None, "plain")
    for number in range(20):
        client().close()
        assert not site.attempt("imap", "u%d" % number, talker=client())
    assert site.attempt("imap", "alice", "pw", talker=client())


# ---- without a balancer ----

def sh(*command, **kwargs):
    subprocess.run(command, check=True, **kwargs)


@contextlib.contextmanager
def outside():
    """This thread is elsewhere: 10.77.0.2 and 10.77.0.3, which reach the test's network, 10.77.0.1."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    inside = ["nsenter", "--net=/proc/self/fd/%d" % here, "ip"]
    try:
        with own_network():
            sh(*inside, "link", "add", "router", "type", "veth", "peer", "name", "clients", "netns",
               str(os.getpid()), pass_fds=[here])
            sh(*inside, "addr", "add", "10.77.0.1/24", "dev", "router", pass_fds=[here])
            sh(*inside, "link", "set", "router", "up", pass_fds=[here])
            for address in ("10.77.0.2", "10.77.0.3"):
                sh("ip", "addr", "add", address + "/24", "dev", "clients")
            sh("ip", "link", "set", "clients", "up")
            yield
    finally:
        os.close(here)


def test_GRD_4_a_banned_client_is_refused_and_its_session_goes_on(no_bans_left, make, network):  # noqa: F811
    """Nothing is said to it, its open session is left alone, the ban ends by itself."""
    node = make.node("node1", tls="plain")
    port = harness.free_port("127.0.0.1")
    make.router([node], listeners={}, extra=PLAIN_AUTH + guard(2).replace("1h", "1s") +
                '[listener.imap]\nprotocol = "imap"\nbind = ["0.0.0.0:%d"]\ntls = "plain"\n' % port)
    with outside():
        def connect(source):
            return MailClient("imap", socket.create_connection(
                ("10.77.0.1", port), 30, (source, 0)), None, "plain")
        session = connect("10.77.0.2")
        session.login("PLAIN", "alice", "pw")
        for number in range(2):
            with pytest.raises(Refused):
                connect("10.77.0.2").login("PLAIN", "u%d" % number, "wrong")
        with pytest.raises((EOFError, ConnectionError)):
            connect("10.77.0.2")
        connect("10.77.0.3").login("PLAIN", "alice", "pw")
        assert session.command("b NOOP") == ["b OK NOOP"]

        def again():
            try:
                connect("10.77.0.2").login("PLAIN", "alice", "pw")
            except (EOFError, ConnectionError):
                return False
            return True
        wait_until(again)
        session.close()
