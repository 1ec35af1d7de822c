# SPDX-License-Identifier: Apache-2.0
"""What is seen of handoffs (handoff.md section 6): why a login was not handed over, how many, how long it took,
who came to an agent without being asked, what state agents are in."""

import contextlib
import re
import select
import signal
import socket
import subprocess
import threading

import harness
import pytest
from handing import Nobody
from harness import wait_until
from metrics import fetch, values
from plain_legs import pins, rows  # noqa: F401
from test_handoff import agents, cluster  # noqa: F401


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


def slow_at_first(make):
    """A node whose first connection hears nothing until the event is set."""
    goes_on = threading.Event()

    def serve(conn):
        if len(node.connections) == 1:
            goes_on.wait(harness.PATIENCE)
        harness.node_imap(conn)

    node = make.node("node1", serve, tls="plain", proxy=True)
    return node, goes_on


def refusals(router):
    """Reason: how often, of those that there were; /metrics and /stats agree."""
    seen = {key.split('"')[3]: int(value) for key, value in values(fetch(router)[1]).items()
            if key.startswith('homing_handoff_refusals_total{node="node1"') and value}
    assert router.stats()["agents"]["node1"]["refusals"] == seen
    return seen


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


def fill(stack, port):
    """Connections until the port's listener, which accepts none, takes no more."""
    for _ in range(16):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        if not select.select([], [sock], [], 0.5)[1]:
            return
    raise AssertionError("its queue has no end")


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
    node, goes_on = slow_at_first(make)
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


def test_section_6_kept_because_the_node_refused_the_agent(make, cluster, agents):
    """The agent does not trust the certificate that the node has, nor would the router."""
    node = make.node("node1", proxy=True)
    node.pin = "00" * 32
    router = route(make, cluster, node, agents(node))
    with router.client() as client:
        client.line()
        assert "UNAVAILABLE" in client.command("a LOGIN alice pw")[-1]
    assert router.wait_sessions(1)[0]["tls_kept"] == "refused"
    assert set(refusals(router)) == {"refused"}


def test_section_6_kept_because_the_agent_has_no_such_leg(make, cluster, agents):
    """It is the router's alone, and the login takes it."""
    said = []

    def serve(conn):
        conn.send("+OK\r\n")
        said.append(conn.line())

    node = make.node("node1", serve, tls="plain", proxy=True)
    legs = dict.fromkeys(("imap", "pop3"), "plain")
    router = make.router([harness.destination_toml(node.name, node.address, None, legs,
                                                   ports=dict.fromkeys(legs, node.port))],
                         default="node1", listeners={"pop": ("implicit", "", "pop3")},
                         extra=cluster.handoff_toml("node1", agents(node)))
    with router.client("pop") as client:
        client.line()
        client.send("USER alice\r\nPASS pw\r\n")
        wait_until(lambda: said)
        client.eof()
    assert router.wait_sessions(1)[0]["tls_kept"] == "no_protocol"
    assert refusals(router) == {"no_protocol": 1}


def test_HND_35_a_data_connection_without_an_answer(make, cluster, agents):
    """Its first packet is dropped: the login is lost, the next ones take the ordinary legs."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        through = Nobody()
        through.port, through.pin = listener.getsockname()[1], agent.pin
        router = route(make, cluster, node, through)
        client = stack.enter_context(router.client())
        client.line()
        client.send("a LOGIN alice pw\r\n")
        conn = stack.enter_context(listener.accept()[0])
        onward = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
        fill(stack, through.port)
        for pair in ((conn, onward), (onward, conn)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
        assert client.line().startswith("a OK")
        assert client.eof() == b""
        line = router.wait_sessions(1)[0]
        assert (line["reason"], line["tls_kept"]) == ("node_error", "data")
        one_login(router, "u1")
        assert router.wait_sessions(2)[1]["tls_kept"] in ("draining", "resting", "channel")


def test_section_6_nothing_is_said_without_an_agent(make):
    router = make.router([make.node("node1")], listeners={"imap": "implicit"})
    one_login(router)
    assert "tls_kept" not in router.wait_sessions(1)[0]
    assert "homing_handoff_refusals_total{" not in fetch(router)[1]
    assert router.stats()["agents"] == {}


# ---- how many, and how long ----

def figures(process):
    return {key: value for key, value in values(fetch(process)[1]).items() if "agent" in key or "handoff" in key}


def test_section_6_counted_on_both_sides(make, cluster, agents):
    """A login that waits for its node is a stream on both sides; then it is a handoff, and took some time."""
    node, goes_on = slow_at_first(make)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with router.client() as client:
        client.line()
        client.send("a LOGIN alice pw\r\n")
        wait_until(lambda: node.connections)
        seen, other = figures(router), figures(agent)
        assert seen['homing_agent_streams{node="node1"}'] == other["homing_handoff_streams"] == 1
        assert seen["homing_handoff_seconds_count{}"] == other["homing_handoff_joined_total"] == 0
        goes_on.set()
        assert client.line().startswith("a OK")
        agent.wait_path("record", "alice")
        seen, other = figures(router), figures(agent)
        assert seen['homing_agent_streams{node="node1"}'] == other["homing_handoff_streams"] == 0
        assert seen['homing_handoffs_total{node="node1"}'] == other["homing_handoff_joined_total"] == 1
        assert seen["homing_handoff_seconds_count{}"] == seen['homing_handoff_seconds_bucket{le="+Inf"}'] == 1
        stats = router.stats()
        assert stats["agents"]["node1"] == {"channels": 1, "streams": 0, "errors": 0, "handoffs": 1, "refusals": {}}
        assert sum(stats["handoff_time"]["until_ms"].values()) == 1
        assert stats["handoff_time"]["sum_ms"] == round(1000 * seen["homing_handoff_seconds_sum{}"])
        assert agent.stats()["handoff"]["joined"] == agent.stats()["handoff"]["channels"] == 1
        assert "as an agent" in agent.ctl("stats").stdout and "as an agent" not in router.ctl("stats").stdout
        assert re.search(r"^node1 +1 +0 +0 +1$", router.ctl("stats").stdout, re.M)


def test_section_6_an_agent_counts_what_it_refuses(make, cluster, agents):
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node, listener="max_connections = 1")
    router = route(make, cluster, node, agent)
    one_login(router)
    assert router.wait_sessions(1)[0]["tls_kept"] == "limit"
    assert figures(agent)['homing_handoff_logins_refused_total{reason="limit"}'] == 1
    assert agent.stats()["handoff"]["refusals"] == {"limit": 1}
    assert "refused (routers): limit 1" in agent.ctl("stats").stdout
    assert "refused (node1): limit 1" in router.ctl("stats").stdout


def test_HND_32_counted_per_address(make, cluster, agents):
    """Guesses, and one who says nothing that an agent knows, from two addresses."""
    agent = agents(make.node("node1", tls="plain", proxy=True))
    for source, said in (("127.0.0.2", b"HMGD" + b"x" * 16), ("127.0.0.3", b"GET / HTTP/1.1\r\n\r\n"),
                         ("127.0.0.3", b"HMGD" + b"y" * 16)):
        with socket.create_connection(("127.0.0.1", agent.port), 10, (source, 0)) as s, \
                contextlib.suppress(ConnectionResetError):
            s.sendall(said)
            assert s.recv(10) == b""
    seen = agent.stats()["handoff"]
    assert seen["tokens_refused"] == 3
    assert [(row["address"], row["count"]) for row in seen["strangers"]] == [("127.0.0.3", 2), ("127.0.0.2", 1)]
    assert re.search(r"^127.0.0.3 +2 20\d\d-", agent.ctl("stats").stdout, re.M)
    assert "127.0.0" not in fetch(agent)[1]


# ---- agents ----

def state_of(router, node="node1"):
    """As /destinations has it; homingctl has the same."""
    row = next(row for row in router.admin("GET", "/destinations")[1]["destinations"]
               if row["destination"] == node)
    return row["agent"] and row["agent"]["state"]


def test_section_6_states_of_agents(make, cluster, agents):
    node, other = make.node("node1", tls="plain", proxy=True), make.node("node2")
    agent = agents(node)
    router = make.router([node, other], listeners={"imap": "implicit"}, server="threads = 1\n",
                         extra=cluster.handoff_toml("node1", agent))
    assert (state_of(router), state_of(router, "node2")) == ("idle", None)
    with login(router):
        wait_until(lambda: router.stats()["agents"]["node1"]["handoffs"])
        row = router.admin("GET", "/destinations")[1]["destinations"][0]["agent"]
        assert row == {"state": "up", "channels": 1, "streams": 0, "handoffs": 1, "errors": 0}
        shown = router.ctl("nodes").stdout
        assert re.search(r"^node +state .* active agent +channels +streams$", shown, re.M), shown
        assert re.search(r"^node1 +up .* 1 up +1 +0$", shown, re.M), shown
        assert re.search(r"^node2 +up .* 0 none +- +-$", shown, re.M), shown
    agent.stop(how=signal.SIGKILL, expect=-signal.SIGKILL)
    wait_until(lambda: state_of(router) == "idle")

    def down():
        one_login(router, "u1")
        return state_of(router) == "down"
    wait_until(down)
    assert re.search(r"^node1 +up .* 0 down +0 +0$", router.ctl("nodes").stdout, re.M)
    assert router.ctl("nodes", "reset", "node1").returncode == 0
    assert state_of(router) in ("resting", "idle")
    agent.start()
    wait_until(lambda: [one_login(router, "u2"), state_of(router)][1] == "up")


# ---- what the kernel has ----

def probe_row(text):
    return re.search(r"^handoff ends in sockmap +(yes|no) *(.*)$", text, re.M).groups()


def test_section_6_the_probe_says_where_a_handoff_ends():
    """In sockmap where the program works; without the right to load one, in copy."""
    for wrapper, found in (([], ("yes", "")),
                           (["setpriv", "--inh-caps=-all", "--bounding-set=-bpf,-sys_admin"],
                            ("no", "no sockmap: it ends in copy"))):
        done = subprocess.run([*wrapper, harness.BUILD + "/homingd", "--probe"], capture_output=True, text=True,
                              check=True, timeout=60)
        assert probe_row(done.stdout) == found


@pytest.mark.parametrize("mode, path", [("auto", "sockmap"), ("copy", "copy")])
def test_section_6_rows_say_that_tls_is_passed(make, cluster, agents, pins, mode, path):  # noqa: F811
    """bpftool shows it of the session that was handed over, and not of one whose TLS is the router's."""
    node = make.node("node1", tls="plain", proxy=True)
    router = route(make, cluster, node, agents(node), 'protocols = ["imap"]',
                   {"imap": "implicit", "plain": "plain"},
                   more="[capabilities.imap]\nallow_plain_auth_without_tls = true\n"
                        '[splice]\npin_path = "%s"\nmode = "%s"\n' % (pins, mode))
    with login(router) as client:
        router.wait_path(path, "alice")
        assert client.command("n NOOP") == ["n OK NOOP"]
        wait_until(lambda: len(rows(pins)) == 2)
        assert {(flow["path"], flow["tls"], flow["protocol"]) for flow in rows(pins)} == \
            {("HM_" + path.upper(), "HM_TLS_PASSED", "imap")}
    wait_until(lambda: not rows(pins))
    with router.client("plain", tls=False) as client:
        client.line()
        assert client.command("a LOGIN bob pw")[-1].startswith("a OK")
        router.wait_path(path, "bob")
        wait_until(lambda: len(rows(pins)) == 2)
        assert {flow["tls"] for flow in rows(pins)} == {"HM_TLS_NONE"}
