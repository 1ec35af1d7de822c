# SPDX-License-Identifier: Apache-2.0
"""What is seen of handoffs (handoff.md section 6): why a login was not handed over, how many, how long it took,
who came to an agent without being asked, what state agents are in."""

import contextlib
import socket
import threading

import handing
import harness
import pytest
from handing import Agent
from harness import wait_until
from metrics import fetch, values


@pytest.fixture
def cluster(workspace):
    return handing.Cluster(workspace)


@pytest.fixture
def agents(cluster):
    """Starts agents, and ends them."""
    started = []

    def start(node, **kwargs):
        agent = Agent(cluster, node, **kwargs)
        started.append(agent)
        return agent.start()
    yield start
    for agent in reversed(started):
        agent.close()


class Nobody:
    """An agent that is not there."""

    def __init__(self):
        self.ports, self.port, self.pin = {}, harness.free_port(), "00" * 32


def route(make, cluster, node, agent, extra="", listeners=None, more=""):
    """extra: of the handoff; more: of the router."""
    return make.router([node], extra=cluster.handoff_toml(node.name, agent, extra=extra) + more,
                       listeners=listeners or {"imap": "implicit"}, server="threads = 1\n")


def login(router, user="alice", context=None, tls=True):
    client = harness.Client(router.connect(), context or (router.tls_context() if tls else None))
    client.line()
    assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
    return client


def one_login(router, *args, **kwargs):
    with login(router, *args, **kwargs) as client:
        assert client.command("b LOGOUT")[-1].startswith("b OK")


def refusals(router):
    """Reason: how often, of those that there were; /metrics and /stats agree."""
    seen = {key.split('"')[3]: int(value) for key, value in values(fetch(router)[1]).items()
            if key.startswith('homing_handoff_refusals_total{node="node1"') and value}
    assert router.stats()["agents"]["node1"]["refusals"] == seen
    return seen


# ---- why not ----

@pytest.mark.parametrize("reason", ["plain", "protocol"])
def test_section_6_kept_by_what_it_is(make, cluster, agents, reason):
    """The client's leg, or the configuration, says that the session stays."""
    node = make.node("node1", tls="plain", proxy=True)
    router = route(make, cluster, node, agents(node), 'protocols = ["pop3"]' if reason == "protocol" else "",
                   {"imap": "plain" if reason == "plain" else "implicit"},
                   more="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    one_login(router, tls=reason != "plain")
    line = router.wait_sessions(1)[0]
    assert line["tls_kept"] == reason and "tls_at" not in line, line
    assert refusals(router) == {reason: 1}


def test_section_6_kept_from_a_dead_agent(make, cluster):
    """The first login finds out, those of the next second know, and after some failures its breaker does."""
    node = make.node("node1", tls="plain", proxy=True)
    router = route(make, cluster, node, Nobody())
    one_login(router)
    assert router.wait_sessions(1)[0]["tls_kept"] == "channel"

    def has_seen_all():
        one_login(router)
        return set(refusals(router)) == {"channel", "resting", "down"}
    wait_until(has_seen_all)
    lines = router.wait_sessions(sum(refusals(router).values()))
    assert {reason: sum(line["tls_kept"] == reason for line in lines) for reason in refusals(router)} == \
        refusals(router)


def test_section_6_kept_where_it_must_not(make, cluster):
    """With `require` such a login gets nothing else, and the line says why."""
    node = make.node("node1", tls="plain", proxy=True)
    router = route(make, cluster, node, Nobody(), 'mode = "require"')
    with router.client() as client:
        client.line()
        assert "UNAVAILABLE" in client.command("a LOGIN alice pw")[-1]
    line = router.wait_sessions(1)[0]
    assert line["reason"] == "node_unreachable" and line["tls_kept"] in ("channel", "resting"), line


def test_section_6_kept_from_a_channel_that_ends(make, cluster, agents):
    """The agent's reload has taken the router's right to come: its channel ends with the login that is on it."""
    goes_on = threading.Event()

    def serve(conn):
        if len(node.connections) == 1:
            goes_on.wait(harness.PATIENCE)
        harness.node_imap(conn)

    node = make.node("node1", serve, tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with router.client() as first:
        first.line()
        first.send("a LOGIN u0 pw\r\n")
        wait_until(lambda: node.connections)
        with open(agent.config, encoding="utf-8") as f:
            text = f.read()
        with open(agent.config, "w", encoding="utf-8") as f:
            f.write(text.replace('client_ca = "ca.pem"', 'client_pins = ["%s"]' % ("00" * 32)))
        assert agent.ctl("reload").returncode == 0
        one_login(router, "u1")
        assert router.wait_sessions(1)[0]["tls_kept"] == "draining"
        goes_on.set()
        assert first.line().startswith("a OK")
        assert first.command("b LOGOUT")[-1].startswith("b OK")
    assert router.wait_sessions(2)[1]["tls_at"] == "agent"
    assert refusals(router) == {"draining": 1}


def test_section_6_kept_by_an_agent_that_is_full(make, cluster, agents):
    """One place is the channel's, one the first session's."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node, listener="max_connections = 2")
    router = route(make, cluster, node, agent)
    with login(router, "u0"):
        agent.wait_path("record", "u0")
        one_login(router, "u1")
        assert router.wait_sessions(1)[0]["tls_kept"] == "limit"
    assert refusals(router) == {"limit": 1}


def test_section_6_kept_because_the_node_is_gone(make, cluster, agents):
    """The agent's own node is not there: that is no way around it."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    node.close()
    with router.client() as client:
        client.line()
        assert "UNAVAILABLE" in client.command("a LOGIN alice pw")[-1]
    line = router.wait_sessions(1)[0]
    assert line["tls_kept"] == "node" and line["reason"] == "node_unreachable", line
    assert set(refusals(router)) == {"node"}


def test_section_6_nothing_is_said_without_an_agent(make):
    router = make.router([make.node("node1")], listeners={"imap": "implicit"})
    one_login(router)
    assert "tls_kept" not in router.wait_sessions(1)[0]
    assert "homing_handoff_refusals_total{" not in fetch(router)[1]
    assert router.stats()["agents"] == {}
