# SPDX-License-Identifier: Apache-2.0
"""TLS clients whose session goes to an agent beside the node once they are logged in
(docs/handoff.md), beside the same clients without that, HAProxy and Dovecot's proxy. The work does
not end at the router here: what it is spared the agent does, so everybody is counted."""

import contextlib
import http.client
import json
import ssl
import statistics
import subprocess

import harness
import machine
import peers
import system_calls
import workloads
from machine import LOAD_CPU, NODE, Account
from workloads import TLS, TLS_PLAIN

TOKEN = "bench-admin-token-0123456789abcdefghij"

AGENT = """[server]
threads = 1
user = "{user}"
group = "{group}"
[tls.certificate.agent]
cert = "{cert}"
key = "{key}"
default = true
[listener.routers]
protocol = "handoff"
bind = ["{node}:{port}"]
tls = "implicit"
client_pins = ["{router_pin}"]
destination = "local"
max_connections = {most}
[destination.local]
host = "{node}"
forwarding = "none"
allow_plaintext_auth = true
[destination.local.protocol.imap]
port = {imap_node}
tls = "plain"
[destination.local.protocol.submission]
port = {submission_node}
tls = "plain"
"""

# What a router's file has besides. Who cannot be handed over is not served: none is overlooked.
ROUTER = """[destination.node1.handoff]
port = {port}
tls_pinned_cert_sha256 = "{agent_pin}"
tls_client_cert = "{router_cert}"
tls_client_key = "{router_key}"
mode = "require"
[admin]
bind = "127.0.0.1:{admin}"
bearer_token_file = "{token}"
"""


class Agent(peers.Process):
    """homingd beside the plain nodes, on their CPU."""

    def __init__(self, bench, nodes):
        bench.ports += 10
        self.bench, self.port, space = bench, bench.ports, bench.space
        cert, key, pin = space.certificate("agent-%d" % self.port, ["agent.test"])
        router = space.certificate("router-of-%d" % self.port, ["router.test"])
        self.trust = {"port": self.port, "agent_pin": pin, "router_cert": router[0],
                      "router_key": router[1]}
        self.config = AGENT.format(
            user=space.user, group=space.group, cert=cert, key=key, node=NODE, port=self.port,
            router_pin=router[2], most=2 * peers.MOST, imap_node=nodes["imap"].port,
            submission_node=nodes["submission"].port)
        path = space.write("agent-%d.toml" % self.port, self.config, 0o644)
        super().__init__(bench, "n", LOAD_CPU, [harness.BUILD + "/homingd", "--config", path],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        with bench.network.inside("n"):
            harness.wait_until(lambda: self.ended() or peers.listening(
                "%s:%d" % (NODE, self.port)))
        if self.ended():
            raise workloads.Failed("the agent ended when it was started with:\n" + self.config)

    def router(self):
        """Fields of peers.Peer: what another router's file says of this agent, and where it can be
        asked how far its sessions are."""
        self.bench.ports += 10
        admin, space = self.bench.ports, self.bench.space
        token = space.write("token-%d" % admin, TOKEN + "\n")
        return {"handoff": ROUTER.format(**self.trust, admin=admin, token=token), "admin": admin}


def add_chain(workload, label="handoff", **more):
    """The router with its agent, which are the same for all workloads."""
    bench = workload.bench
    if not bench.agent:
        bench.agent = Agent(bench, {name: bench.node(name, False)
                                    for name in ("imap", "submission")})
        bench.closing.callback(bench.agent.close)
    workload.add("Homing", TLS_PLAIN, label=label, **more, **bench.agent.router())
    workload.peers[-1].agent = bench.agent


def stats(bench, peer):
    """What the router says of itself."""
    context = ssl.create_default_context(cafile=bench.cert[0])
    with bench.network.inside("r"):
        conn = http.client.HTTPSConnection("localhost", peer.fields["admin"], timeout=10,
                                           context=context)
        try:
            conn.request("GET", "/stats", headers={"Authorization": "Bearer " + TOKEN})
            return json.loads(conn.getresponse().read())
        finally:
            conn.close()


def settle(bench, peer, sessions):
    """So many sessions are where they stay: handed over, and the router's program has them."""
    if not getattr(peer, "agent", None):
        return

    def there():
        found = stats(bench, peer)
        busy = {name for name, path in found["paths"].items() if path["active"]}
        return busy == {"sockmap"} and found["active_connections"] == sessions
    try:
        harness.wait_until(there, 30)
    except AssertionError as e:
        raise workloads.Failed("%s: %s" % (peer.name, stats(bench, peer)["paths"])) from e


class Chain:
    """What everybody between the client and the mail spends until stop(): the router, the agent and
    the node. The kernel's threads move what the router's program has accepted, and serve all else
    that the machine does meanwhile: so they are not in the sum."""

    def __init__(self, peer, protocol="imap"):
        self.pids = peer.group.pids() if peer.group else []
        agent = getattr(peer, "agent", None)
        self.wakes, self.kernel = machine.wakes(self.pids), machine.kernel_threads()
        self.parts = {"agent": Account(agent.group if agent else None),
                      "node": Account(peer.nodes[protocol].group), "own": Account(peer.group)}

    def stop(self, units, scale=1e6):
        own = self.parts["own"].stop()
        parts = {name: account.stop()["own"] for name, account in self.parts.items()}
        parts["kernel"] = machine.grown(self.kernel, machine.kernel_threads()) / 1e9
        figures = {name: seconds * scale / units for name, seconds in parts.items()}
        figures.update({name: own[name] * scale / units for name in ("own", "core", "machine")})
        figures["sum"] = sum(figures[name] for name in ("own", "agent", "node"))
        figures["wakes"] = machine.grown(self.wakes, machine.wakes(self.pids)) / units
        return figures


def spent_by(unit, decimals, *more):
    return [(name, "%s, %s" % (heading, unit), decimals) for name, heading in (
        ("own", "router's own CPU"), ("agent", "agent's"), ("node", "node's"),
        ("sum", "sum"), ("kernel", "kernel threads'"), ("machine", "machine CPU"))] + list(more)


WAKES = ("wakes", "wake-ups of the router, each", 3)


class Login(workloads.Logins):
    """One login after the other on each of some connections, LOGOUT and end included."""

    columns = spent_by("us per login", 0, ("rate", "logins per second", 0), ("p50", "p50, ms", 2),
                      ("p99", "p99, ms", 2), WAKES)

    def __init__(self, bench, name, title, handshake):
        super().__init__(bench, name, title, [("direct", TLS), *workloads.THREE],
                         handshake=handshake)
        add_chain(self)
        if workloads.has_awslc(bench):
            add_chain(self, label="handoff, AWS-LC", homingd=workloads.AWSLC["homingd"])

    def run(self, peer):
        count = self.count(peer, 50 if self.bench.quick else 200,
                           lambda n: self.command(peer, n)["seconds"])
        chain = Chain(peer, self.protocol)
        answer = self.command(peer, count)
        return dict(chain.stop(count), rate=count / answer["seconds"], p50=answer["p50_us"] / 1e3,
                    p99=answer["p99_us"] / 1e3)


class Messages(workloads.Workload):
    """Something that is done again and again on sessions that are there."""

    sessions, trial, scale = 1, 2000, 1e6

    def __init__(self, bench):
        super().__init__(bench)
        for program in ("direct", "Homing", "HAProxy", "Dovecot"):
            self.add(program, TLS)
        add_chain(self)

    def command(self, count):
        raise NotImplementedError

    def units(self, count):
        return count

    def run(self, peer):
        load = self.bench.load(peer)
        load("open %d %d" % (self.sessions, min(self.sessions, workloads.AT_ONCE)))
        settle(self.bench, peer, self.sessions)
        count = self.count(peer, self.trial, lambda n: load(self.command(n))["seconds"])
        chain = Chain(peer)
        answer = load(self.command(count))
        figures = chain.stop(self.units(count), self.scale)
        load("close")
        return dict(figures, **{name: answer[name + "_us"] for name in ("p50", "p99")
                                if name + "_us" in answer})


class Trips(Messages):
    name, title = "handoff-ping", "Handoff: small round trips on one session"
    columns = spent_by("us", 1, ("p50", "p50, us", 1), ("p99", "p99, us", 1), WAKES)

    def command(self, count):
        return "ping %d %d" % (count, self.sessions)


class Notify(Messages):
    name, title = "handoff-notify", "Handoff: one small notification in IDLE"
    columns = spent_by("us", 1, ("p50", "p50, us", 0), ("p99", "p99, us", 0), WAKES)
    rounds, rate = 3, 2000

    def __init__(self, bench):
        super().__init__(bench)
        self.sessions, self.trial = (50, self.rate // 2) if bench.quick else (500, 2 * self.rate)
        self.note = "%d sessions in IDLE, %s notifications a second." % (
            self.sessions, format(self.rate, ","))

    def count(self, peer, trial, run):
        return trial

    def command(self, count):
        return "notify %d %d" % (count, self.rate)


class Stream(Messages):
    """One long answer."""

    name, title = "handoff-bulk", "Handoff: a stream to the client"
    columns = spent_by("s per GB", 3, ("wakes", "wake-ups of the router, for each MB", 1))
    rounds, runs_for, scale = 3, 2, 1e3

    def __init__(self, bench):
        super().__init__(bench)
        self.add("Homing", TLS, **workloads.COPY)
        self.trial = (10 if bench.quick else 50) << 20
        self.note = ("The router's process takes a direction whose reader does not keep up, and moves "
                     "what it cannot read in large pieces.")

    def command(self, count):
        return "bulk %d %d" % (count, workloads.MAIL)

    def units(self, count):
        return count / 1e6


class Idle(workloads.Idle):
    """Sessions that are logged in, handed over, and silent."""

    name, title = "handoff-idle", "Handoff: memory per idle session"
    columns = [("user", "router, user, KiB", 2), ("agent", "agent, user, KiB", 2),
               ("kernel", "kernel, all, KiB", 2), ("total", "all of it, KiB", 2)]

    def __init__(self, bench):
        workloads.Workload.__init__(self, bench)
        self.sessions, self.first = (200, 200) if bench.quick else (4000, 1000)
        for program in ("direct", "Homing", "HAProxy", "Dovecot"):
            self.add(program, TLS)
        add_chain(self)
        self.title += ", %s sessions" % format(self.sessions, ",")
        self.note = ("User: anonymous and shared memory. Kernel: of the whole machine, less what "
                     "the sessions take straight from client to node; that is two sockets each, "
                     "and with an agent four.")

    def fresh(self, peer, stack):
        """As new as the router is its agent."""
        more, agent = dict(peer.fields), None
        if getattr(peer, "agent", None):
            agent = Agent(self.bench, peer.nodes)
            stack.callback(agent.close)
            more.update(agent.router())
        other = peers.Peer(self.bench, peer.program, peer.legs, peer.nodes, peer.label, **more)
        stack.callback(other.close)
        other.agent = agent
        return other

    def settled(self, peer, sessions):
        """(router's user memory, agent's, kernel's)"""
        settle(self.bench, peer, sessions)
        user, kernel = self.held(peer, 6.5 if peer.program == "Homing" else 1.5)
        agent = getattr(peer, "agent", None)
        return user, machine.user_kib(agent.group.pids()) if agent else 0, kernel

    def run(self, peer):
        with contextlib.ExitStack() as stack:
            if peer.group:
                peer = self.fresh(peer, stack)
            load = workloads.Load(self.bench, peer)
            stack.callback(load.close)
            load("open %d %d" % (self.first, workloads.CROWD))
            before = self.settled(peer, self.first)
            load("open %d %d" % (self.sessions, workloads.CROWD))
            after = self.settled(peer, self.first + self.sessions)
            answered = load("noop")["answered"]
            if answered != self.sessions + self.first:
                raise workloads.Failed("%s: %d sessions answered" % (peer.name, answered))
            load("close")
        return dict(zip(("user", "agent", "kernel"),
                        ((b - a) / self.sessions for a, b in zip(before, after))))

    def derive(self, rows):
        direct = statistics.median(next(
            figures["kernel"] for peer, figures in rows.items() if peer.program == "direct"))
        for peer, figures in rows.items():
            if peer.program != "direct":
                figures["kernel"] = [value - direct for value in figures["kernel"]]
            figures["total"] = [sum(values) for values in zip(*(
                figures[name] for name in ("user", "agent", "kernel")))]


class Calls(system_calls.SystemCalls):
    name, title = "handoff-calls", "Handoff: the router's system calls per IMAP login"

    def __init__(self, bench):
        super().__init__(bench)
        self.peers = [peer for peer in self.peers if peer.program == "Homing"]
        self.note = "As above; the switch that follows a login included."
        add_chain(self)


def parts(bench):
    return [Login(bench, "handoff-full", "Handoff: IMAP logins, full handshake of the client",
                  "full"),
            Login(bench, "handoff-resumed", "Handoff: IMAP logins, resumed handshake of the client",
                  "resumed"),
            Trips(bench), Notify(bench), Stream(bench), Idle(bench), Calls(bench)]


# ---- aims ----

def aims(r):
    """(aim, limit, measured, unit) of report.aims()."""
    def ours(workload, figure, label="handoff"):
        return r.median(workload, "Homing", TLS_PLAIN, figure, label)

    def ratio(workload, figure, program, label="", ours_label="handoff"):
        a, b = ours(workload, figure, ours_label), r.median(workload, program, TLS, figure, label)
        return a / b if a is not None and b else None

    return [
        ("handoff: router CPU per login to HAProxy", 0.42,
         ratio("handoff-full", "own", "HAProxy"), "ratio"),
        ("the same to Dovecot's proxy", 0.22, ratio("handoff-full", "own", "Dovecot"), "ratio"),
        ("handoff with AWS-LC: router CPU per login to HAProxy", 0.42,
         ratio("handoff-full", "own", "HAProxy", ours_label="handoff, AWS-LC"), "ratio"),
        ("the same to Dovecot's proxy", 0.22,
         ratio("handoff-full", "own", "Dovecot", ours_label="handoff, AWS-LC"), "ratio"),
        ("handoff: wake-ups of the router for each small round trip", 0.01,
         ours("handoff-ping", "wakes"), "each"),
        ("the same for each notification", 0.01, ours("handoff-notify", "wakes"), "each"),
        ("handoff: CPU of router, agent and node per GB to that without handoff", 0.65,
         ratio("handoff-bulk", "sum", "Homing"), "ratio"),
        ("handoff: user memory of an idle session on the router, KiB", 1.0,
         ours("handoff-idle", "user"), "KiB")]
