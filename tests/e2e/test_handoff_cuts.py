# SPDX-License-Identifier: Apache-2.0
"""What passes between router, agent, client and node, cut at every byte (HND-23, HND-31, HND-32)."""

import base64
import collections
import contextlib
import os
import random
import socket
import ssl
import threading
import time

import harness
import pytest
from between import CHANNEL, DATA, Between, Instead, reset, send_apart, unread
from harness import node_login, wait_until
from rawtls import Records
from test_handoff import agents, cluster, login, route  # noqa: F401
from test_record import VERSIONS, at_once, only

TOKEN_BYTES = 4 + 16
NOOP_RECORD = 5 + len("b NOOP\r\n") + 1 + 16 # of TLS 1.3


def through(make, cluster, agents, on_bytes=None, serve=harness.node_imap, **kwargs):  # noqa: F811
    """A node, its agent, what is between that and a router, and the router."""
    node = make.node("node1", serve, tls="plain", proxy=True)
    agent = agents(node)
    between = Between(agent.port, on_bytes)
    kwargs.setdefault("server", "threads = 1\n")
    router = route(make, cluster, node, Instead(agent, between.port), **kwargs)
    return node, agent, between, router


def stand(router):
    """The channel stands: on a busy machine the first attempt may take too long (HND-10)."""
    def handed():
        count = len(router.session_lines())
        with login(router, "u0"):
            pass
        return router.wait_sessions(count + 1)[count].get("tls_at") == "agent"
    wait_until(handed)
    return len(router.session_lines())


class Knocks:
    """Holds the first bytes of data connections until the client's own are behind them, and sends all in the
    pieces that are wanted. held: the token has come."""

    def __init__(self):
        self.cuts, self.held = [], threading.Event()

    def __call__(self, passing, upward, sink, data):
        if not upward or passing.kind != DATA:
            sink.sendall(data)
        elif len(passing.up) - len(data) > TOKEN_BYTES: # not the first any more
            sink.sendall(data)
        elif len(passing.up) <= TOKEN_BYTES:
            self.held.set()
        else:
            first, places = bytes(passing.up), [0, *self.cuts, len(passing.up)]
            send_apart(sink, *(first[a:b] for a, b in zip(places, places[1:])))


def test_HND_32_first_bytes_cut_everywhere(make, cluster, agents):  # noqa: F811
    """Magic and token in two pieces, and the client's first record right behind them in the second, or with a
    part of it in the first; in one segment with it; and byte by byte."""
    knocks, every = Knocks(), range(TOKEN_BYTES + NOOP_RECORD)
    _, agent, between, router = through(make, cluster, agents)
    with between:
        first = stand(router)
        between.passings, between.on_bytes = between.of_kind(CHANNEL), knocks
        for cuts in [[cut] for cut in every] + [list(every)[1:]]:
            knocks.cuts = cuts
            knocks.held.clear()
            with login(router) as client:
                assert knocks.held.wait(harness.PATIENCE)
                assert client.command("b NOOP")[-1] == "b OK NOOP"
                assert client.command("c LOGOUT")[-1].startswith("c OK")
        assert len(between.of_kind(DATA)) == len(every) + 1
        assert {len(p.up) > TOKEN_BYTES + NOOP_RECORD for p in between.of_kind(DATA)} == {True}
    assert {line["tls_at"] for line in router.wait_sessions(first + len(every) + 1)[first:]} == {"agent"}
    assert "msg=handoff_token" not in agent.log()


def wait_a_little(sock):
    """Until all has been read, if that is soon: who has no room for it reads later."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: unread(sock) == 0, 0.1, 0.001)


# ---- HND-31: what is under way at the switch ----

PIPELINED = 60 << 10
LINES = b"".join(b"%07d\n" % i for i in range(PIPELINED // 8))
TALK = "".join("* %d EXISTS\r\n" % i for i in range(1, 7)) # of the node, around its OK
RECORD = 16384
SESSIONS = int(os.environ.get("TORTURE_SPLITS", "150"))
STEP_BYTES = int(os.environ.get("TORTURE_STEP_BYTES", "29")) # between two cuts of a channel
HANDSHAKE_CUTS = (1, 240)


def client_cuts(wire, seed):
    """Each byte of the login's record and of what is around it and the borders of the others; others at
    random."""
    borders, at = [], 0
    while at < len(wire):
        borders.append(at)
        at += 5 + int.from_bytes(wire[at + 3:at + 5], "big")
    near = {border + i for border in borders for i in range(-3, 9)} | set(range(0, borders[1] + 20))
    rng = random.Random(seed)
    cuts = sorted(cut for cut in near if 0 <= cut <= len(wire))
    while len(cuts) < SESSIONS:
        cuts.append(rng.randrange(len(wire)))
    return rng.sample(cuts, SESSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_HND_31_all_splits_of_both(make, cluster, agents, version):  # noqa: F811
    """A client with 60 KiB behind its login, cut on the wire; a node that talks around its answer, cut at every
    byte. Every piece is read before the next comes."""
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    heard = {}

    def serve(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] here\r\n")
        tag, _, _, message = conn.line().split(" ")
        user = base64.b64decode(message).split(b"\0")[1].decode()
        said = ("%s%s OK in\r\n%s" % (TALK, tag, TALK)).encode()
        cut = int(user[1:]) % (len(said) + 1)
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send_apart(conn.sock, said[:cut], said[cut:])
        data = conn.buffer
        while len(data) < PIPELINED:
            data += conn.read()
            conn.send("* %d BYTES\r\n" % len(data))
        heard[user] = data
        conn.send("* DONE\r\n")
        conn.read()

    _, agent, between, router = through(make, cluster, agents, serve=serve)
    first = stand(router)
    context = only(router.tls_context(), version)
    with Records(router.connect(), context) as client:
        wire = client.seal("a LOGIN u00000 pw\r\n") + client.seal(LINES)
    cuts, faults = client_cuts(wire, seed), []

    def one(number):
        with Records(router.connect(), context) as client:
            client.line()
            user = "u%05d" % number
            sealed = client.seal("a LOGIN %s pw\r\n" % user) + client.seal(LINES)
            assert len(sealed) == len(wire)
            client.sock.sendall(sealed[:cuts[number]])
            wait_a_little(client.sock)
            client.sock.sendall(sealed[cuts[number]:])
            lines = []
            while not lines or lines[-1] != "* DONE":
                lines.append(client.line())
        talk, counts = lines[:13], [int(line.split(" ")[1]) for line in lines[13:-1]]
        wanted = TALK.splitlines() + ["a OK in"] + TALK.splitlines()
        if talk != wanted or counts != sorted(set(counts)) or heard[user] != LINES:
            faults.append((number, cuts[number], talk, counts))

    with between:
        at_once(8, lambda i: [one(n) for n in range(i, SESSIONS, 8)])
    assert not faults, (seed, faults[:3])
    lines = router.wait_sessions(first + SESSIONS + 1)[first:]
    assert [line.get("tls_at") for line in lines if line["account"] != "-"] == ["agent"] * SESSIONS


# ---- HND-23: the channel ----

class Cutter:
    """Cuts a channel behind a byte of one way; None: never."""

    def __init__(self):
        self.upward, self.at, self.how, self.done = False, None, None, threading.Event()

    def arm(self, upward, at, how):
        self.done.clear()
        self.upward, self.at, self.how = upward, at, how

    def __call__(self, passing, upward, sink, data):
        way = passing.up if upward else passing.down
        if passing.kind != CHANNEL or not self.at or self.upward != upward or len(way) < self.at:
            sink.sendall(data)
            return
        left = data[:max(0, len(data) - (len(way) - self.at))]
        self.at = None
        if left:
            sink.sendall(left)
            wait_a_little(sink)
        passing.cut(self.how)
        self.done.set()


def outcome(router, user):
    """Of a login and a command: served, unavailable, or ended."""
    client = router.client()
    try:
        client.line()
        answer = client.command("a LOGIN %s pw" % user)[-1]
        if answer.startswith("a NO [UNAVAILABLE]"):
            return "unavailable"
        assert answer == "a OK [CAPABILITY IMAP4rev1] welcome " + user, answer
        answer = client.command("b NOOP")[-1]
        assert answer == "b OK NOOP", answer
        return "served"
    except (OSError, EOFError) as e:
        assert not isinstance(e, TimeoutError), "it hangs"
        assert not isinstance(e, ssl.SSLError) or "EOF" in str(e), e
        return "ended"
    finally:
        client.close()


class Steps:
    """Logins, and a cut in each."""

    def __init__(self, make, cluster, agents, mode):  # noqa: F811
        self.asked, self.seen, self.number, self.cutter = collections.Counter(), collections.Counter(), 0, Cutter()
        self.node, self.agent, self.between, self.router = through(
            make, cluster, agents, self.cutter, self.serve, extra='mode = "%s"' % mode,
            server="threads = 1\nhost_down_threshold = 0\n")

    def serve(self, conn):
        user = node_login(conn)
        self.asked[user] += 1
        while user:
            words = conn.line().split(" ")
            conn.send("%s OK %s\r\n" % (words[0], words[1]))

    def one(self):
        """A password goes to the node once, whatever happens."""
        self.number += 1
        user = "u%d" % self.number
        what = outcome(self.router, user)
        assert self.asked[user] <= 1 and (what != "served" or self.asked[user] == 1), (user, what)
        return what

    def stand(self):
        """The channel that there is after a login that was served by it."""
        def served():
            return self.one() == "served" and [p for p in self.between.of_kind(CHANNEL) if not p.over.is_set()]
        return wait_until(served)[-1]

    def until_cut(self):
        end = time.monotonic() + harness.PATIENCE
        while not self.cutter.done.is_set():
            assert time.monotonic() < end
            what = self.one()
        self.seen[what] += 1
        return what

    def sizes(self):
        """Of a login on a channel that stands, both ways."""
        channel = self.stand()
        before = len(channel.up), len(channel.down)
        assert self.stand() is channel
        return {True: len(channel.up) - before[0], False: len(channel.down) - before[1]}

    def closing(self):
        self.router.wait_idle()
        wait_until(lambda: self.agent.stats()["active_connections"] <= 1)
        return self.router.fds(), self.agent.fds()


HOW = (reset, socket.socket.close)


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_HND_23_channel_cut_in_each_step(make, cluster, agents, mode):  # noqa: F811
    """Behind bytes of OPEN, of the dialogue and of HANDOFF, and of what the agent answers. A login is served, or
    is told that there is nobody, or ends; and nothing is left of it."""
    steps = Steps(make, cluster, agents, mode)
    with steps.between:
        sizes = steps.sizes()
        before, outcomes = steps.closing(), {}
        for upward, size in sizes.items():
            for delta in range(1, size + 1, STEP_BYTES):
                channel = steps.stand()
                steps.cutter.arm(upward, len(channel.up if upward else channel.down) + delta, HOW[delta % 2])
                outcomes[upward, delta] = steps.until_cut()
        print(outcomes)
        # Without the credential it is tried again: by ordinary legs, or on another channel, which may take too long.
        assert mode == "require" or outcomes[True, 1] == outcomes[False, 1] == "served", outcomes
        # With it, not; but behind the last byte all is there, and the switch may be quicker than the cut.
        assert "unavailable" in [what for place, what in outcomes.items() if not place[0]][-3:], outcomes
        assert steps.seen["unavailable"] and steps.seen["ended"], steps.seen
        steps.stand()
        wait_until(lambda: all(now <= then + 1 for now, then in zip(steps.closing(), before)))


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_HND_23_handshake_cut(make, cluster, agents, mode):  # noqa: F811
    """Likewise in the handshake of a channel. With ordinary legs every login is served."""
    steps = Steps(make, cluster, agents, mode)
    with steps.between:
        for upward in (True, False):
            for at in HANDSHAKE_CUTS:
                steps.stand().cut()
                steps.cutter.arm(upward, at, HOW[at % 2])
                what = steps.until_cut()
                assert what == "served" if mode == "prefer" else what in ("served", "unavailable"), (at, what)
        print(steps.seen)
        steps.stand()
