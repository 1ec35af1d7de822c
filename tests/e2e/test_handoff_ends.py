# SPDX-License-Identifier: Apache-2.0
"""Whoever ends a session that was handed over, and however: everybody else is rid of it soon, and nothing is
left (HND-34)."""

import contextlib
import signal
import socket
import ssl
import threading
import time

import harness
import pytest
from between import DATA, Between, Instead, Passing, reset
from harness import node_login, wait_until
from rawtls import Records
from test_handoff import agents, cluster, route  # noqa: F401

PATIENT = 10.0 # on a busy machine; the rule says 2 s


class Ends:
    """A session that was handed over, with all its connections in a test's hands."""

    def __init__(self, make, cluster, agents, **kwargs):  # noqa: F811
        self.ended, self.how = threading.Event(), None
        self.node = make.node("node1", self.serve, tls="plain", proxy=True)
        self.agent = agents(self.node, server="threads = 1\n")
        self.inner = Between(self.agent.port)
        self.router = route(make, cluster, self.node, Instead(self.agent, self.inner.port),
                            server="threads = 1\n" + kwargs.pop("server", ""), **kwargs)
        self.outer = Between(self.router.ports["imap"])
        self.count = 0

    def serve(self, conn):
        """Keeps what it is told, and how it ended: with FIN, or broken."""
        if node_login(conn) is None:
            return
        if conn.user != "alice":
            conn.read()
            return
        self.conn = conn
        try:
            while data := Passing.read(conn.sock):
                conn.send(data)
            self.how = "end"
        except (OSError, ValueError) as e: # reset, or closed by the test
            self.how = type(e).__name__
        self.ended.set()

    def one(self, user):
        sock = socket.create_connection(("127.0.0.1", self.outer.port), harness.PATIENCE)
        client = Records(sock, self.router.tls_context())
        client.line()
        client.send("a LOGIN %s pw\r\n" % user)
        assert client.line().startswith("a OK")
        return client

    def start(self):
        """The channel stands, and what a first session needs is there; then the one."""
        def handed():
            with self.one("first"):
                pass
            self.count += 1
            return self.router.wait_sessions(self.count)[-1].get("tls_at") == "agent"
        wait_until(handed)
        wait_until(lambda: self.left() == (0, 1))
        self.before = self.fds()
        self.client = self.one("alice")
        self.agent.wait_path("record", "alice")
        self.client.send("hello\r\n")
        assert self.client.line() == "hello"
        self.data, self.wire = self.inner.of_kind(DATA)[-1], self.outer.passings[-1]
        return self

    def fds(self):
        """Without those of our own questions, which may be open for a moment more."""
        seen = []
        for _ in range(10):
            seen.append((self.router.fds(), self.agent.fds()))
            time.sleep(0.01)
        return tuple(map(min, zip(*seen)))

    def left(self):
        return (self.router.stats()["active_connections"], self.agent.stats()["active_connections"])

    def client_end(self, start, seconds=PATIENT):
        """How the client's connection ends: "end" by close_notify, "cut" without, "reset"."""
        self.client.sock.settimeout(seconds)
        try:
            assert self.client.read() == b""
            how = "end"
        except ssl.SSLError as e:
            assert "EOF" in str(e), e
            how = "cut"
        except ConnectionResetError:
            how = "reset"
        print("the client after %.3f s: %s" % (time.monotonic() - start, how))
        return how

    def over(self, start):
        """Everybody is, and has what it had before."""
        assert self.ended.wait(PATIENT)
        for passing in (self.data, self.wire):
            assert passing.over.wait(PATIENT)
        print("all after %.3f s, the node: %s" % (time.monotonic() - start, self.how))
        for process in (self.router, self.agent):
            if process.process:
                wait_until(lambda process=process: not process.sessions(identifier="alice")["sessions"], PATIENT)
        if self.router.process and self.agent.process:
            wait_until(lambda: self.left() == (0, 1), PATIENT)
            wait_until(lambda: self.fds() == self.before, PATIENT)

    def close(self):
        self.client.close()
        self.inner.close()
        self.outer.close()


def leave(ends):
    """FIN without close_notify."""
    ends.client.sock.shutdown(socket.SHUT_WR)


def say_goodbye(ends):
    ends.client.end()


def kill(process):
    process.stop(expect=-9, how=signal.SIGKILL)


# Who does what; how the client's connection ends, if it has not done it; what the node sees; the reason in the
# router's line, of those there may be; and in the agent's.
WAYS = {
    "client says goodbye": (say_goodbye, {"end"}, "end", {"client_eof", "client_quit"}, {"client_eof", "client_quit"}),
    "client leaves": (leave, {"end", "cut"}, None, {"client_eof", "client_quit", "node_error"}, {"truncated"}),
    "client resets": (lambda e: reset(e.wire.near), None, None, {"client_error"}, {"client_error", "truncated"}),
    # the client's end follows at once: which of the two is seen first, nobody can say
    "node ends": (lambda e: e.conn.sock.shutdown(socket.SHUT_WR), {"end"}, "end", {"client_eof", "client_quit"},
                  {"client_eof", "client_quit"}),
    "node resets": (lambda e: reset(e.conn.sock), {"end", "cut", "reset"}, None, None, {"node_error"}),
    "data connection is reset": (lambda e: e.data.cut(reset), {"cut", "reset"}, None, {"node_error"}, {"client_error"}),
    "data connection ends": (lambda e: e.data.cut(), {"cut", "reset"}, None, {"client_quit", "node_eof", "node_error"},
                             {"truncated", "client_error"}),
    "kick at the router": (lambda e: e.router.ctl("kick", "alice"), {"end"}, None, {"kicked"}, None),
    "kick at the agent": (lambda e: e.agent.ctl("kick", "alice"), {"end"}, None, None, {"kicked"}),
    "agent is killed": (lambda e: kill(e.agent), {"cut", "reset"}, None, None, None),
    "router is killed": (lambda e: kill(e.router), {"cut", "reset"}, None, None, {"truncated", "client_error"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_HND_34_ways_to_end(make, cluster, agents, way):  # noqa: F811
    act, client_ends, node_sees, at_router, at_agent = WAYS[way]
    ends = Ends(make, cluster, agents).start()
    with contextlib.closing(ends):
        start = time.monotonic()
        act(ends)
        if client_ends:
            assert ends.client_end(start) in client_ends
        ends.client.close()
        ends.over(start)
        assert node_sees in (None, ends.how)
        for process, reasons in ((ends.router, at_router), (ends.agent, at_agent)):
            lines = [line for line in process.session_lines() if line["account"].startswith("al")]
            print([line["reason"] for line in lines])
            assert reasons is None or (len(lines) == 1 and lines[0]["reason"] in reasons), lines


@contextlib.contextmanager
def nowhere():
    """A port that takes no connections any more, and does not refuse them."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8): # some stand, others fill what there is
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("who", ["client", "router"])
def test_HND_21_gone_while_the_node_is_dialled(make, cluster, agents, who):  # noqa: F811
    """The agent does not go on alone."""
    with nowhere() as port:
        class Slow:
            name = "node1"

            @staticmethod
            def toml():
                return harness.destination_toml("node1", "127.0.0.1", port, "plain", forwarding="none")

        agent = agents(Slow, server='backend_timeout = "60s"\n')
        router = make.router([Slow.toml()], default="node1", listeners={"imap": "implicit"},
                             server='backend_timeout = "60s"\n', extra=cluster.handoff_toml("node1", agent))
        with router.client() as client:
            client.line()
            client.send("a LOGIN alice pw\r\n")
            wait_until(lambda: agent.sessions(identifier="alice")["sessions"])
            if who == "router":
                kill(router)
        wait_until(lambda: not agent.sessions(identifier="alice")["sessions"], PATIENT)
        assert [line["reason"] for line in agent.session_lines() if line["account"] != "-"] == ["client_eof"]


def test_HND_34_idle(make, cluster, agents):  # noqa: F811
    """The router's own limit. The client is told by close_notify."""
    ends = Ends(make, cluster, agents, server='bridge_idle = "1s"\n').start()
    with contextlib.closing(ends):
        start = time.monotonic()
        assert ends.client_end(start) == "end"
        ends.client.close()
        ends.over(start)
        assert ends.router.session_lines()[-1]["reason"] == "idle"
