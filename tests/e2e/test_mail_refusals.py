# SPDX-License-Identifier: Apache-2.0
"""sessions.md for all four interactive protocols: refusals, limits and ends, with nodes that a test writes."""

import time

import harness
import pytest
from harness import wait_until
from mail_dialogue import (CREDENTIAL, NEXT_COMMAND, UNAVAILABLE, attempt, login_line, node_toml,
                           one_protocol)
from mailnodes import PROTOCOLS, connect, speak

# ---- replies ----

REFUSALS = {
    "imap": (("a NO [AUTHENTICATIONFAILED] secret detail", "a NO [AUTHENTICATIONFAILED] "
              "Authentication failed."),
             ("a NO [INUSE] secret detail", "a NO [UNAVAILABLE] Service temporarily unavailable.")),
    "pop3": (("-ERR secret detail", "-ERR [AUTH] Authentication failed."),
             ("-ERR [IN-USE] secret detail", "-ERR [SYS/TEMP] Service temporarily unavailable.")),
    "submission": (("535 secret detail", "535 5.7.8 Authentication failed"),
                   ("454 secret detail", "454 4.7.0 Temporary authentication failure")),
    "managesieve": (('NO "secret detail"', 'NO "Authentication failed."'),
                    ('NO (TRYLATER) "secret detail"',
                     'NO (TRYLATER) "Service temporarily unavailable."')),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_74_refusals_verbatim_or_hidden(make, protocol):
    """The node's own line, or with hide_auth_errors the generic one of its class; the same for a bad
    identifier (#20)."""
    for verdict, generic in REFUSALS[protocol]:
        for hidden in (False, True):
            node, router = one_protocol(
                make, protocol,
                lambda conn, v=verdict: speak(conn, protocol, verdict=v + "\r\n"),
                destination="hide_auth_errors = true" if hidden else "")
            client = connect(router, "l", protocol, "implicit")
            reply = client.ask(login_line(protocol), good=False)[-1]
            assert reply == (generic if hidden else verdict)
            wait_until(lambda n=node: all(c.closed.is_set() for c in n.connections))
            assert client.ask(NEXT_COMMAND[protocol])[-1]  # the dialogue goes on
            client.close()
            router.stop()


@pytest.mark.parametrize("protocol,verdict", (("submission", "421 4.3.2 bye"),
                                              ("managesieve", 'BYE "bye"')))
def test_SES_75_the_node_says_goodbye(make, protocol, verdict):
    node, router = one_protocol(
        make, protocol, lambda conn: speak(conn, protocol, verdict=verdict + "\r\n"))
    assert attempt(router, protocol) == [verdict]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_46_76_unavailable_in_each_form(make, protocol):
    """Nobody listens; a node that leaves at once, or after the credential: each protocol's own words,
    and one credential at most."""
    dead = harness.free_port()
    router = make.router([harness.destination_toml(
        "node1", "127.0.0.1", None, {protocol: "implicit"}, None, "none",
        "tls_allow_invalid_certs = true", {protocol: dead})], default="node1",
        listeners={"l": ("implicit", "", protocol)})
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    router.stop()
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol))
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert sum(CREDENTIAL.encode() in c.received for c in node.connections) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_44_a_node_without_the_protocol(make, protocol):
    """Unavailable, a warning, and no mark against the node; the default node is no substitute."""
    other = "pop3" if protocol == "imap" else "imap"
    node = make.node("node1", lambda conn: speak(conn, protocol))
    router = make.router([node_toml(node, protocol, "implicit"),
                          node_toml(node, other, "implicit", "node2")], default="node1",
                         listeners={"l": ("implicit", "", protocol)})
    router.map({"alice": "node2"})
    assert attempt(router, protocol) == UNAVAILABLE[protocol]
    assert router.wait_sessions(1)[0]["reason"] == "node_no_protocol"
    router.wait_line(lambda x: "msg=node_no_protocol" in x and "level=warn" in x)
    rows = router.admin("GET", "/destinations")[1]["destinations"]
    assert all(row["consecutive_failures"] == 0 for row in rows)
    assert not node.connections


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_16_attempt_limit_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Too many failed attempts.", "pop3": None,
           "submission": "421 4.7.0 router.test Too many failed attempts",
           "managesieve": 'BYE "Too many failed attempts."'}[protocol]
    refusal = REFUSALS[protocol][0][0]
    node, router = one_protocol(
        make, protocol, lambda conn: speak(conn, protocol, verdict=refusal + "\r\n"))
    client = connect(router, "l", protocol, "implicit")
    for _ in range(3):
        client.send(login_line(protocol) + "\r\n")
    lines = client.eof().decode().split("\r\n")[:-1]
    assert lines == [refusal] * 3 + ([end] if end else [])
    assert router.wait_sessions(1)[0]["reason"] == "auth_limit"
    assert len(node.connections) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_section_3_preauth_timeout_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Timed out.", "pop3": None, "submission": "421 4.4.2 router.test Timed out",
           "managesieve": 'BYE "Timed out."'}[protocol]
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol),
                                more='preauth_timeout = "1s"\n')
    start = time.monotonic()
    client = connect(router, "l", protocol, "implicit")
    lines = client.eof().decode().split("\r\n")[:-1]
    assert 0.9 <= time.monotonic() - start < 10
    assert lines == ([end] if end else [])
    assert router.wait_sessions(1)[0]["reason"] == "preauth_timeout"
    assert not node.connections


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_86_shutdown_of_each_protocol(make, protocol):
    end = {"imap": "* BYE Shutting down.", "pop3": "-ERR [SYS/TEMP] Shutting down.",
           "submission": "421 4.3.2 router.test Shutting down",
           "managesieve": 'BYE "Shutting down."'}[protocol]
    node, router = one_protocol(make, protocol, lambda conn: speak(conn, protocol))
    client = connect(router, "l", protocol, "implicit")
    router.process.terminate()
    assert client.eof().decode().split("\r\n")[:-1] == [end]
    router.stop()
    assert not node.connections


# ---- holds and the breaker ----

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_SES_43_hold_then_the_new_node(make, protocol):
    """A login that arrives during a delay waits, and goes where the mapping says afterwards."""
    nodes = [make.node("node%d" % i, lambda conn: speak(conn, protocol, verdict={
        "imap": "a OK in", "pop3": "+OK in", "submission": "235 in", "managesieve": "OK"}[protocol]
        + "\r\n")) for i in (1, 2)]
    router = make.router([node_toml(n, protocol, "implicit", n.name) for n in nodes],
                         default="node1", listeners={"l": ("implicit", "", protocol)})
    assert router.admin("POST", "/connections/delay?identifier=alice&seconds=2")[0] == 200
    start = time.monotonic()
    client = connect(router, "l", protocol, "implicit")
    client.send(login_line(protocol) + "\r\n")
    wait_until(lambda: router.sessions()["sessions"][0]["stage"] == "hold")
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
    assert client.is_good(client.reply("a")[-1])
    assert time.monotonic() - start >= 1.5
    client.close()
    assert router.wait_sessions(1)[0]["node"] == "node2"
    assert not nodes[0].connections


def test_SES_52_up_and_down_are_one_line_each(make):
    """A node that cannot be reached goes down, and comes up again, each in one line."""
    alive = []

    def serve(conn):
        if alive:
            speak(conn, "imap", verdict="a OK in\r\n")
    node = make.node("node1", serve)
    router = make.router([node_toml(node, "imap", "implicit")], default="node1",
                         listeners={"l": ("implicit", "", "imap")},
                         server='host_down_threshold = 2\nhost_down_min_clients = 0\n'
                         'host_down_cooldown = "100ms"\nbackend_connect_retries = 0\n')
    for _ in range(2):
        attempt(router, "imap")
    router.wait_line(lambda x: "msg=node_down" in x and "node=node1" in x)
    alive.append(True)

    def logged_in():
        client = connect(router, "l", "imap", "implicit")
        client.send(login_line("imap") + "\r\n")
        good = client.is_good(client.reply("a")[-1])
        client.close()
        return good
    wait_until(logged_in, interval=0.1)
    router.wait_line(lambda x: "msg=node_up" in x and "node=node1" in x)
    assert router.log().count("msg=node_down") == 1
    assert router.log().count("msg=node_up") == 1
