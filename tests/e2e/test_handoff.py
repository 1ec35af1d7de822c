# SPDX-License-Identifier: Apache-2.0
"""Sessions whose TLS goes to an agent beside the node (HND-*)."""

import contextlib
import imaplib
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import threading
import time

import handing
import harness
import pytest
from bulk import Bulk
from handing import Agent
from metrics import fetch, values
from rawtls import Program


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


def route(make, cluster, node, agent, extra="", listeners=None, **kwargs):
    return make.router([node], extra=cluster.handoff_toml(node.name, agent, extra=extra),
                       listeners=listeners or {"imap": "implicit"}, **kwargs)


def login(router, user="alice"):
    client = router.client()
    client.line()
    assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
    return client


def test_HND_30_one_session(make, cluster, agents):
    """A login, and what follows: the router's path is that of two plain legs, the agent's that of records."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    client = login(router)
    agent.wait_path("record", "alice")
    for _ in range(100):
        assert client.command("b NOOP")[-1] == "b OK NOOP"
    assert router.sessions()["sessions"][0]["handed_over"] is True
    assert {s["handed_over"] for s in agent.sessions()["sessions"]} == {False}
    assert "* the client's TLS is at the node's agent" in router.ctl("sessions").stdout
    assert client.command("c LOGOUT")[-1].startswith("c OK")
    assert client.eof() == b""
    client.close()
    line, other = router.wait_sessions(1)[0], agent.wait_sessions(1)[0]
    assert line["tls_at"] == "agent" and line["path_up"] in ("sockmap", "copy"), line
    assert other["via"] == line["id"] and other["proto"] == "imap", other
    assert other["path_up"] == other["path_down"] == "record", other
    assert node.connections[0].proxy_source[0] == "127.0.0.1"


def test_HND_30_one_handshake(make, cluster, agents):
    """A hundred logins: one TLS handshake towards the agent for each worker, none towards the node."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent, server="threads = 1\n")
    for _ in range(100):
        client = login(router)
        assert client.command("c LOGOUT")[-1].startswith("c OK")
        client.close()
    lines = router.wait_sessions(100)
    assert {line["tls_at"] for line in lines} == {"agent"}
    assert sum(s["stage"] == "channel" for s in agent.sessions()["sessions"]) == 1


def test_section_6_metrics(make, cluster, agents):
    """What both count, of a login that was handed over and of a guess."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent, server="threads = 1\n")
    with login(router) as client:
        client.command("b NOOP")
    with socket.create_connection(("127.0.0.1", agent.port), 10) as s:
        s.sendall(b"HMGD" + b"x" * 16)
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(10) == b""
    router.wait_sessions(1)
    seen = values(fetch(router)[1])
    assert seen['homing_agent_channels{node="node1"}'] == 1
    assert seen['homing_handoffs_total{node="node1"}'] == 1
    assert seen['homing_agent_errors_total{node="node1"}'] == 0
    seen = values(fetch(agent)[1])
    assert seen["homing_handoff_channels"] == 1 and seen["homing_handoff_tokens_refused_total"] == 1


def test_HND_21_refused(make, cluster, agents):
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    client = router.client()
    client.line()
    assert client.command("a LOGIN alice wrong")[-1].startswith("a NO")
    assert client.command("b LOGIN alice pw")[-1].startswith("b OK")
    assert client.command("c NOOP")[-1] == "c OK NOOP"
    client.close()


@pytest.mark.parametrize("certificate", ["stranger", "router"])
def test_section_3_who_may_come(make, cluster, agents, certificate):
    """A router that the agent does not know takes the ordinary legs, and the agent's breaker hears of it."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = make.router([node], listeners={"imap": "implicit"}, extra=cluster.handoff_toml(
        "node1", agent, getattr(cluster, certificate)))
    for _ in range(3):
        client = login(router)
        assert client.command("b LOGOUT")[-1].startswith("b OK")
        client.close()
    lines = router.wait_sessions(3)
    assert all(("tls_at" in line) == (certificate == "router") for line in lines), lines


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_HND_10_no_agent(make, cluster, mode):
    class Nobody:
        ports, port, pin = {}, harness.free_port(), "00" * 32

    node = make.node("node1", tls="plain", proxy=True)
    router = route(make, cluster, node, Nobody, 'mode = "%s"' % mode)
    client = router.client()
    client.line()
    answer = client.command("a LOGIN alice pw")[-1]
    client.close()
    line = router.wait_sessions(1)[0]
    if mode == "prefer":
        assert answer.startswith("a OK") and "tls_at" not in line
    else:
        assert "UNAVAILABLE" in answer and line["reason"] == "node_unreachable", (answer, line)


def test_HND_31_pipelined(make, cluster, agents):
    """A client that says much behind its login, and a node that talks unasked around its answer."""
    def serve(conn):
        harness.node_login(conn)
        conn.send("* 1 EXISTS\r\n* 2 EXISTS\r\n")
        while True:
            tag = conn.line().split(" ")[0]
            conn.send("%s OK\r\n" % tag)

    node = make.node("node1", serve, tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    client = router.client()
    client.line()
    count = 6000
    client.send("a LOGIN alice pw\r\n" + "".join("t%d NOOP\r\n" % i for i in range(count)))
    seen = []
    while len(seen) < count:
        line = client.line()
        if line.startswith("t"):
            seen.append(line)
    assert seen == ["t%d OK" % i for i in range(count)]
    client.close()


def tls_login(router, user="alice", **options):
    """The context of a client, set by options, and its session."""
    context = router.tls_context()
    for name, value in options.items():
        setattr(context, name, value)
    client = harness.Client(router.connect(), context)
    client.line()
    assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
    return client


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_HND_10_versions(make, cluster, agents, version):
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with tls_login(router, maximum_version=getattr(ssl.TLSVersion, version)) as client:
        assert client.command("b NOOP")[-1] == "b OK NOOP"
        assert client.command("c LOGOUT")[-1].startswith("c OK")
    line = router.wait_sessions(1)[0]
    assert line["tls_at"] == "agent"
    assert agent.wait_sessions(1)[0]["tls"] == line["tls"]


def test_HND_11_plain(make, cluster, agents):
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent, 'mode = "require"',
                   listeners={"imap": "plain"},
                   mapping_extra="")
    with harness.Client(router.connect()) as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a NO") # passwords want TLS


def test_bulk(make, cluster, agents):
    """Megabytes in both directions, compared."""
    load = Bulk(8 << 20)
    node = make.node("node1", load.serve, tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with login(router) as client:
        load.run(client)


@pytest.mark.parametrize("asks", ["k", "K"])
def test_HND_33_key_update(make, cluster, agents, asks):
    """OpenSSL's client changes its keys, and asks for other ones of ours."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with Program("openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], "-crlf",
                 "-tls1_3", "-msg") as client:
        client.wait("* OK")
        client.say("a LOGIN alice pw\n")
        client.wait("a OK")
        agent.wait_path("record", "alice")
        for i in range(3):
            client.change_keys(asks)
            client.say("t%d NOOP\n" % i)
            client.wait("t%d OK" % i)


def test_HND_34_kick(make, cluster, agents):
    """The client is told that it is over by close_notify, which only the agent can say."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with login(router) as client:
        agent.wait_path("record", "alice")
        assert router.ctl("kick", "alice").returncode == 0
        assert client.eof() == b""
        client.sock.unwrap() # after a truncation that is an error
    assert router.wait_sessions(1)[0]["reason"] == "kicked"
    harness.wait_until(lambda: node.connections[0].closed.is_set())


def test_HND_34_client_first(make, cluster, agents):
    """close_notify and FIN of the client reach the node as an end, and what it still says arrives."""
    def serve(conn):
        harness.node_login(conn)
        while conn.read():
            pass
        conn.send("the last word\r\n")

    node = make.node("node1", serve, tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    client = login(router)
    agent.wait_path("record", "alice")
    with contextlib.suppress(ssl.SSLError): # what the node still says
        client.sock.unwrap()
    client.sock.close()
    harness.wait_until(lambda: node.connections[0].closed.is_set())
    router.wait_sessions(1)
    agent.wait_sessions(1)


@pytest.mark.parametrize("who", ["agent", "router"])
def test_HND_34_killed(make, cluster, agents, who):
    """Everybody else is rid of the session within two seconds."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    client = login(router)
    agent.wait_path("record", "alice")
    gone, left = (agent, router) if who == "agent" else (router, agent)
    start = time.monotonic()
    gone.stop(expect=-9, how=signal.SIGKILL)
    with contextlib.suppress(OSError, ssl.SSLError):
        client.sock.settimeout(10)
        assert client.sock.recv(100) == b""
    client.close()
    harness.wait_until(lambda: node.connections[0].closed.is_set())
    left.wait_sessions(1)
    assert time.monotonic() - start < 10


def test_HND_32_tokens(make, cluster, agents):
    """Garbage, guesses and silence at the agent's port, and logins go on."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    idle = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(600)]
    for first in (b"HMGD" + os.urandom(16), b"GET / HTTP/1.0\r\n\r\n", b"HMG", b"HMGD" + b"\0" * 16 + b"x"):
        with socket.create_connection(("127.0.0.1", agent.port), 10) as s:
            s.sendall(first)
            if len(first) > 3:
                with contextlib.suppress(ConnectionResetError):
                    assert s.recv(100) == b""
    with login(router) as client:
        assert client.command("b NOOP")[-1] == "b OK NOOP"
        agent.wait_path("record", "alice")
    for s in idle:
        s.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(1) == b""
        s.close()


def test_HND_23_agent_restarts(make, cluster, agents):
    """A channel that is lost: logins take the ordinary legs, and the agent again when it is back."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with login(router, "u0"):
        agent.wait_path("record", "u0")
    agent.stop(expect=-9, how=signal.SIGKILL)
    with login(router, "u1") as client:
        assert client.command("b NOOP")[-1] == "b OK NOOP"
    agent.start()

    def handed():
        with login(router, "u2") as client:
            client.command("b LOGOUT")
        return "tls_at" in router.session_lines()[-1]
    harness.wait_until(handed)


def test_HND_12_drain(make, cluster, agents):
    """An agent that stops ends its logins, and gets no new ones; sessions go on until the grace is over."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node, server='shutdown_grace = "5s"\n')
    router = route(make, cluster, node, agent)
    with login(router, "u0") as client:
        agent.wait_path("record", "u0")
        agent.process.send_signal(signal.SIGTERM)
        agent.wait_line(lambda line: "msg=stopping" in line or "msg=shutdown" in line or "draining" in line)
        with login(router, "u1") as other:
            assert other.command("b NOOP")[-1] == "b OK NOOP"
        assert client.command("c NOOP")[-1] == "c OK NOOP"
    lines = harness.wait_until(lambda: len(router.session_lines()) == 2 and router.session_lines())
    assert sorted("tls_at" in line for line in lines) == [False, True]


def test_HND_20_dovecot(make, cluster, agents, sink):
    """A real node behind an agent, all four protocols: it logs the client's own address and its TLS."""
    protocols = ("imap", "pop3", "managesieve", "submission")
    node = make.dovecot("node1", "127.0.0.21", {"alice": "pw"}, protocols=protocols,
                        relay_port=sink.port)

    class Beside:
        name = "node1"

        @staticmethod
        def toml():
            return plain_toml(node, {p: node.ports[p][0] for p in protocols})

    agent = agents(Beside)
    listeners = {p: ("implicit", "", p) for p in protocols}
    router = make.router([plain_toml(node, {p: node.ports[p][0] for p in protocols})], default="node1",
                         listeners=listeners, extra=cluster.handoff_toml("node1", agent))
    context = router.tls_context()
    with imaplib.IMAP4_SSL("localhost", router.ports["imap"], ssl_context=context) as imap:
        imap.login("alice", "pw")
        assert imap.select()[0] == "OK"
        assert imap.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"yyyyyyyy\r\n" * 10000)[0] == "OK"
        assert imap.fetch("1", "(RFC822.SIZE)")[0] == "OK"
    pop = poplib.POP3_SSL("localhost", router.ports["pop3"], context=context)
    pop.user("alice")
    pop.pass_("pw")
    assert pop.stat()[0] == 1 and len(pop.retr(1)[1]) > 10000
    pop.quit()
    with smtplib.SMTP_SSL("localhost", router.ports["submission"], context=context) as smtp:
        smtp.login("alice", "pw")
        assert smtp.noop()[0] == 250
        smtp.sendmail("alice@example.com", ["bob@example.com"], "Subject: x\r\n\r\ny\r\n")
    with harness.Client(router.connect(source="127.0.0.9"), context) as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
    lines = router.wait_sessions(4)
    assert all(line.get("tls_at") == "agent" for line in lines), lines
    assert ("alice", "127.0.0.9") in node.logins("imap"), node.log()
    # The address is another one than Dovecot's own: only the header can tell it that.
    assert re.search(r"rip=127\.0\.0\.9,.*(secured|TLS)", node.log()), node.log()


def plain_toml(node, ports):
    return "\n".join(['[destination.node1]', 'host = "%s"' % node.address, 'forwarding = "proxy"',
                      "allow_plaintext_auth = true"] + [
                          '[destination.node1.protocol.%s]\nport = %d\ntls = "plain"' % item
                          for item in ports.items()]) + "\n"


def test_HND_13_dead_agent(make, cluster):
    """Somebody listens at the agent's port and closes: a handful of logins try it, the others do not."""
    tried = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        class Dead:
            ports, port, pin = {}, listener.getsockname()[1], "00" * 32

        def close_all():
            with contextlib.suppress(OSError):
                while True:
                    tried.append(1)
                    listener.accept()[0].close()
        thread = threading.Thread(target=close_all, daemon=True)
        thread.start()
        node = make.node("node1", tls="plain", proxy=True)
        router = route(make, cluster, node, Dead)
        slowest = 0
        for i in range(100):
            start = time.monotonic()
            with login(router, "u%d" % (i % 10)):
                slowest = max(slowest, time.monotonic() - start)
        assert len(tried) - 1 <= 12, tried
        assert slowest < 5
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_HND_3_reload(make, cluster, agents):
    """Routers that may not come any more get no logins with the reload; what was handed over goes on."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    router = route(make, cluster, node, agent)
    with login(router, "u0") as client:
        agent.wait_path("record", "u0")
        with open(agent.config, encoding="utf-8") as f:
            text = f.read()
        with open(agent.config, "w", encoding="utf-8") as f:
            f.write(text.replace('client_ca = "ca.pem"', 'client_pins = ["%s"]' % ("00" * 32)))
        done = agent.ctl("reload")
        assert done.returncode == 0, done.stdout + done.stderr
        with login(router, "u1") as other:
            assert other.command("b NOOP")[-1] == "b OK NOOP"
        assert client.command("c NOOP")[-1] == "c OK NOOP"
    lines = router.wait_sessions(2)
    assert sorted("tls_at" in line for line in lines) == [False, True], lines


def test_HND_35_no_data_connection(make, cluster, agents):
    """A channel through a forwarder that takes one connection alone: the login ends as lost with its node,
    and the next ones take the ordinary legs."""
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        class Through:
            ports, port, pin = {}, listener.getsockname()[1], agent.pin
        router = route(make, cluster, node, Through, server="threads = 1\n")
        client = router.client()
        client.line()
        client.send("a LOGIN alice pw\r\n")
        conn = listener.accept()[0]
        listener.close()
        with socket.create_connection(("127.0.0.1", agent.port)) as onward:
            def pump(a, b):
                with contextlib.suppress(OSError):
                    while data := a.recv(65536):
                        b.sendall(data)
            for pair in ((conn, onward), (onward, conn)):
                threading.Thread(target=pump, args=pair, daemon=True).start()
            client.line()
            client.eof()
            client.close()
            line = router.wait_sessions(1)[0]
            assert (line["reason"], line["tls_kept"]) == ("node_error", "data")
            with login(router) as other:
                assert other.command("b NOOP")[-1] == "b OK NOOP"
            assert "tls_at" not in router.wait_sessions(2)[1]
        conn.close()
