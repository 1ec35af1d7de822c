# SPDX-License-Identifier: Apache-2.0
"""Real servers behind agents, real clients in front of the router: each session's TLS is handed over (HND-20,
HND-30), with certificates of homingctl handoff-keys (HND-4). Moves and drains end such sessions like any other."""

import contextlib
import imaplib
import re
import smtplib
import ssl
import threading

import harness
import mailnodes
import pytest
from draining import drain, rows_of
from handing import Issued
from harness import PATIENCE, wait_until
from mailsite import PASSWORD, USER, Setup, postfix  # noqa: F401
from test_mailclients import (test_curl_imaps_pop3s_smtps, test_fetchmail, test_mbsync,  # noqa: F401
                              test_pythons_own_clients, test_sieve_connect, test_swaks)

REQUIRE = 'mode = "require"' # what is not handed over fails


class Beside:
    """What an agent's file says of the node on its host."""

    def __init__(self, *nodes):
        self.name, self.nodes = nodes[0].name, nodes

    def toml(self):
        table, *legs = self.nodes[0].toml(tls="plain").partition("[destination.%s.protocol." % self.name)
        for node in self.nodes[1:]:
            legs += node.toml(tls="plain").partition("[destination.%s.protocol." % self.name)[1:]
        return table + "".join(legs)


class Handed(Setup):
    """All of a node's protocols through its agent."""

    def beside(self):
        issued = Issued(self.workspace, self.node.name + ".test")
        self.agent = issued.agent(Beside(self.node), self.node.name + ".test").start()
        return issued.handoff_toml(self.node.name, self.agent, REQUIRE)

    def check(self):
        """Every session that was logged in was handed over, and the agent knows it under the router's id."""
        lines = [line for line in self.router.session_lines() if line.get("bytes_down", "0") != "0"]
        assert lines and {line.get("tls_at") for line in lines} == {"agent"}, lines
        ids = {line["id"] for line in lines}
        wait_until(lambda: ids <= {line.get("via") for line in self.agent.session_lines()})

    def close(self):
        self.agent.close()


@pytest.fixture
def setup(make, workspace, sink):
    """For tests of test_mailclients.py, which run here once more."""
    handed = Handed(make, workspace, sink)
    try:
        yield handed
        handed.router.wait_idle()
        handed.check()
    finally:
        handed.close()


def test_HND_30_idle(setup):
    """A client that waits for mail hears of it, and the agent's session is as idle meanwhile."""
    with imaplib.IMAP4_SSL("localhost", setup.ports["imaps"],
                           ssl_context=mailnodes.context(setup.router)) as imap:
        imap.login(USER, PASSWORD)
        assert imap.select()[0] == "OK"
        for i in range(1, 4):
            imap.send(b"idle%d IDLE\r\n" % i)
            assert imap.readline().startswith(b"+")
            setup.agent.wait_path("record", USER)
            setup.put("mail-%d" % i)
            line = imap.readline()
            while b"EXISTS" not in line: # Dovecot says that it is still there, and of what is recent
                line = imap.readline()
            assert line == b"* %d EXISTS\r\n" % i
            imap.send(b"DONE\r\n")
            while not line.startswith(b"idle%d OK" % i):
                line = imap.readline()
        assert imap.fetch("3", "(BODY[HEADER.FIELDS (SUBJECT)])")[1][0][1].startswith(b"Subject: mail-3")


def test_HND_20_postfix(make, workspace, sink, postfix): # noqa: F811
    """Submission is a Postfix's, the rest a Dovecot's, one agent for both: Postfix logs the client's own
    address, and takes what is bigger than any buffer."""
    dovecot = make.dovecot("node1", "127.0.0.52", {USER: PASSWORD}, protocols=("imap",))
    smtp = postfix("node1", "127.0.0.52", dovecot, "smtp:[127.0.0.1]:%d" % sink.port)
    issued = Issued(workspace, "node1.test")
    agent = issued.agent(Beside(dovecot, smtp), "node1.test").start()
    try:
        router = make.router([Beside(dovecot, smtp).toml()], default="node1", extra=issued.handoff_toml(
            "node1", agent, REQUIRE), listeners={"imap": "implicit", "smtps": ("implicit", "", "submission"),
                                                 "smtp": ("starttls", "", "submission")})
        letter = "Subject: big\r\n\r\n" + ("x" * 76 + "\r\n") * 40000
        with smtplib.SMTP_SSL("localhost", router.ports["smtps"], source_address=("127.0.0.9", 0),
                              context=router.tls_context(), timeout=PATIENCE) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(USER, "wrong")
            client.login(USER, PASSWORD)
            client.sendmail(USER, ["x@remote.test"], letter)
        with smtplib.SMTP("localhost", router.ports["smtp"], source_address=("127.0.0.10", 0),
                          timeout=PATIENCE) as client:
            client.starttls(context=router.tls_context())
            client.login(USER, PASSWORD)
            client.sendmail(USER, ["x@remote.test"], "Subject: small\r\n\r\ny\r\n")
        with router.client(source="127.0.0.11") as client:
            client.line()
            assert " OK" in client.command("a LOGIN %s %s" % (USER, PASSWORD))[-1]
        mails = sink.wait(2)
        assert sorted(re.search(rb"Subject: (\w+)", mail[2]).group(1) for mail in mails) == [b"big", b"small"]
        assert max(mail[2].count(b"x" * 76) for mail in mails) == 40000
        assert smtp.logins() == [(USER, "127.0.0.9"), (USER, "127.0.0.10")], smtp.log()
        assert {"127.0.0.9", "127.0.0.10"} <= set(smtp.clients()), smtp.log()
        wait_until(lambda: (USER, "127.0.0.11") in dovecot.logins())
        lines = router.wait_sessions(3)
        assert {line["tls_at"] for line in lines} == {"agent"}, lines
        assert {line["proto"] for line in agent.wait_sessions(3)} >= {"imap", "submission"}
    finally:
        agent.close()


@pytest.fixture
def pair_of_agents(make, workspace):
    """Two Dovecots, an agent beside each, a router; alice is at node1."""
    nodes = [make.dovecot("node%d" % i, "127.0.0.%d" % (60 + i), {USER: PASSWORD, "bob@example.com": PASSWORD})
             for i in (1, 2)]
    issued = Issued(workspace, "node1.test", "node2.test")
    agents = [issued.agent(Beside(node), node.name + ".test") for node in nodes]
    try:
        for agent in agents:
            agent.start()
        router = make.router([node.toml() for node in nodes], default="node1", listeners={"imap": "implicit"},
                             extra="".join(issued.handoff_toml(node.name, agent, REQUIRE)
                                           for node, agent in zip(nodes, agents)))
        router.map({USER: "node1", "bob@example.com": "node1"})
        yield router, agents
    finally:
        for agent in agents:
            agent.close()


def log_in(router, user=USER):
    client = router.client()
    client.line()
    assert " OK" in client.command("a LOGIN %s %s" % (user, PASSWORD))[-1]
    return client


def at_agent(agent, user=USER):
    wait_until(lambda: [row["stage"] for row in agent.sessions(identifier=user)["sessions"]] == ["established"])


def to_the_end(client):
    """What still comes; without close_notify it is an error."""
    client.sock.suppress_ragged_eofs = False
    data = client.buffer
    while piece := client.sock.recv(65536):
        data += piece
    return data


def test_HND_34_move(pair_of_agents):
    """The session on the old node ends with close_notify, who logs in meanwhile waits, and both nodes' agents
    know what they have."""
    router, agents = pair_of_agents
    with log_in(router) as client:
        at_agent(agents[0])
        held = []

        def log_in_again():
            with log_in(router) as again:
                held.append(again.command("b NOOP")[-1])
                at_agent(agents[1])
        assert router.admin("POST", "/connections/delay?identifier=%s&seconds=60" % USER)[0] == 200
        thread = threading.Thread(target=log_in_again)
        thread.start()
        wait_until(lambda: "hold" in [row["stage"] for row in router.sessions(identifier=USER)["sessions"]])
        done = router.ctl("move", USER, "node2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert to_the_end(client) == b""
        thread.join(PATIENCE)
        assert len(held) == 1 and held[0].startswith("b OK")
    wait_until(lambda: not agents[0].sessions(identifier=USER)["sessions"])
    lines = {line["node"]: line for line in router.wait_sessions(2)}
    assert lines["node1"]["reason"] == "kicked" and lines["node1"]["tls_at"] == "agent"
    assert lines["node2"]["tls_at"] == "agent"


def test_HND_34_drain(pair_of_agents):
    """A node whose accounts go: sessions that were handed over end with them, no login comes to its agent."""
    router, agents = pair_of_agents
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(log_in(router, user)) for user in (USER, "bob@example.com")]
        at_agent(agents[0])
        at_agent(agents[0], "bob@example.com")
        done = drain(router, "node1", "--to", "node2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "node1: 2 moved, 0 failed, 0 left, 0 sessions left\n"
        assert [to_the_end(client) for client in clients] == [b"", b""]
    assert set(rows_of(router).values()) == {"node2"}
    with log_in(router) as client:
        at_agent(agents[1])
        assert client.command("b NOOP")[-1].startswith("b OK")
    line = router.wait_sessions(3)[2]
    assert (line["node"], line["tls_at"]) == ("node2", "agent"), line
    assert line["id"] not in {other.get("via") for other in agents[0].session_lines()}


def test_HND_34_the_agent_dies(pair_of_agents):
    """Its sessions end; the next login is served by the ordinary legs (prefer), and by the agent when it is
    back."""
    router, agents = pair_of_agents
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace(REQUIRE, 'mode = "prefer"'))
    assert router.ctl("reload").returncode == 0
    with log_in(router) as client:
        at_agent(agents[0])
        agents[0].process.kill()
        agents[0].stop(expect=-9)
        with contextlib.suppress(ssl.SSLError, OSError):
            assert client.sock.recv(100) == b""
    with log_in(router) as client:
        assert client.command("b NOOP")[-1].startswith("b OK")
    lines = router.wait_sessions(2)
    assert [line.get("tls_at") for line in lines] == ["agent", None], lines
    agents[0].start()

    def is_back():
        count = len(router.session_lines())
        log_in(router).close()
        return router.wait_sessions(count + 1)[count].get("tls_at") == "agent"
    wait_until(is_back)
