# SPDX-License-Identifier: Apache-2.0
"""What the routers are made to do, and what is counted meanwhile. A workload names its peers, runs
one of them for one round, and returns figures; all of them are per unit of work."""

import contextlib
import imaplib
import os
import re
import resource
import ssl
import statistics
import time

import harness
import machine
import peers
import stores
from machine import LOAD_CPU, NODE, Account

TLS, TLS_PLAIN, PLAIN = "tls/tls", "tls/plain", "plain/plain"
AT_ONCE, CROWD = 16, 64
MAIL = 65536


class Failed(Exception):
    """Work was not done."""


class Load:
    """The load generator in its place, talking to one router; fails when a login does."""

    def __init__(self, bench, peer, protocol="imap", accounts=1000):
        node = "%s:%d" % (NODE, peer.nodes[protocol].port)
        with bench.network.inside("c"), machine.pinned(LOAD_CPU):
            self.load = harness.Load(peer.addresses[protocol], protocol,
                                     "tls" if peer.client_tls else "plain", "node=" + node,
                                     "accounts=%d" % accounts, "curve=" + peer.curve)
        self.about, self.close = "%s %s, %s" % (peer.name, peer.legs, protocol), self.load.kill
        self.pid = self.load.process.pid

    def __call__(self, command):
        try:
            answer = self.load(command)
        except AssertionError as e:
            raise Failed("%s: %s" % (self.about, e)) from e
        if answer.get("failed"):
            raise Failed("%s: %s: %d failed: %s" % (self.about, command, answer["failed"],
                                                    answer["failure"]))
        return answer


def spent(account, units, scale=1e6):
    """CPU per unit of work (microseconds), and whether the peer was what limited it."""
    cpu = account.stop()
    return {"own": cpu["own"] * scale / units, "core": cpu["core"] * scale / units,
            "machine": cpu["machine"] * scale / units, "share": cpu["own"] / cpu["wall"]}


# OpenSSL to the end, beside the path that it is compared with.
COPY = {"label": "copy", "mode": "copy"}


# Homing with the other TLS library, beside itself where there is such a build (make TLS=aws-lc).
AWSLC = {"label": "AWS-LC", "homingd": os.path.join(harness.ROOT, "build-aws-lc", "homingd")}


def has_awslc(bench):
    return not bench.quick and os.path.exists(AWSLC["homingd"])


class Workload:
    """rounds: how often each peer has its turn. columns: (figure, heading, decimals). runs_for:
    about how many seconds one measurement takes."""

    name = title = note = ""
    rounds, runs_for = 5, 1.5
    columns = []

    def __init__(self, bench):
        self.bench, self.peers, self.counts = bench, [], {}

    def add(self, program, legs, **more):
        peer = self.bench.peer(program, legs, **more)
        if peer:
            self.peers.append(peer)

    def add_all(self, programs, legs):
        """Homing with TLS also as copy and with the other library, beside itself."""
        for program in programs:
            self.add(program, legs)
            if program == "Homing" and legs != PLAIN:
                self.add(program, legs, **COPY)
                if has_awslc(self.bench):
                    self.add(program, legs, **AWSLC)

    def begin(self):
        """Before the first round."""

    def run(self, peer):
        raise NotImplementedError

    def end(self):
        """After the last round."""

    def derive(self, rows):
        """Puts together what is known when all peers are measured. rows: {peer: {figure: list}}"""

    def more(self):
        """Text to stand below the table."""
        return ""

    def count(self, peer, trial, run):
        """How many units fill the time: found once for a peer, with `trial` units (which also warm
        it up) that run() takes seconds for."""
        if peer not in self.counts:
            seconds = 0.5 if self.bench.quick else self.runs_for
            self.counts[peer] = max(trial, int(trial * seconds / run(trial)))
        return self.counts[peer]


LOGIN_COLUMNS = [("own", "own CPU, us per login", 0), ("machine", "machine CPU, us per login", 0),
                 ("node", "node's CPU, us per login", 0), ("rate", "logins per second", 0),
                 ("p50", "p50, ms", 2), ("p99", "p99, ms", 2), ("share", "share", 2),
                 ("resumed", "clients resumed, %", 0),
                 ("node_resumed", "resumed to the node, %", 0)]


class Logins(Workload):
    columns = LOGIN_COLUMNS

    def __init__(self, bench, name, title, who, protocol="imap", handshake="full", note=""):
        super().__init__(bench)
        self.name, self.title, self.note = name, title, note
        self.protocol, self.handshake = protocol, handshake
        for program, legs, *more in who:
            more = more[0] if more else {}
            self.add(program, legs, **more)
            if program == "Homing" and has_awslc(bench):
                label = ", ".join(filter(None, (AWSLC["label"], more.get("label"))))
                self.add(program, legs, **{**more, **AWSLC, "label": label})
        self.peers = [peer for peer in self.peers if protocol in peer.addresses]

    def command(self, peer, count):
        return self.bench.load(peer, self.protocol)("logins %d %d %s" % (
            count, AT_ONCE, self.handshake))

    def run(self, peer):
        count = self.count(peer, 50 if self.bench.quick else 200,
                           lambda n: self.command(peer, n)["seconds"])
        node = peer.nodes[self.protocol]
        before = self.handshakes(peer)
        account, node_account = Account(peer.group), Account(node.group)
        answer = self.command(peer, count)
        figures = dict(spent(account, count), node=spent(node_account, count)["own"],
                       rate=count / answer["seconds"], p50=answer["p50_us"] / 1e3,
                       p99=answer["p99_us"] / 1e3, resumed=100 * answer["resumed"] / count)
        if before:
            full, resumed = (b - a for a, b in zip(before, self.handshakes(peer)))
            figures["node_resumed"] = 100 * resumed / (full + resumed)
        return figures

    def handshakes(self, peer):
        """What the node has seen; None if it cannot say, or has no TLS."""
        node = peer.nodes[self.protocol]
        return node.handshakes() if peer.node_tls and hasattr(node, "handshakes") else None


class RealNode(Logins):
    """Logins to a real Dovecot, and its messages read by Python's imaplib."""

    rounds = 3
    columns = LOGIN_COLUMNS[:7] + [("fetch_own", "own CPU, ms per MB fetched", 2),
                                   ("fetch_machine", "machine CPU, ms per MB fetched", 2)]

    def __init__(self, bench):
        node = bench.real_node()
        super().__init__(bench, "real", "IMAP logins and FETCH with a real Dovecot node, TLS on "
                         "both legs", [(program, TLS, {"label": "to Dovecot", "real": node})
                          for program in ("Homing", "HAProxy", "Dovecot")],
                         note="The node does most of the work here.")
        self.messages, self.times = (20, 1) if bench.quick else (200, 5)

    def client(self, peer):
        host, port = peer.addresses["imap"].rsplit(":", 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self.bench.network.inside("c"):
            client = imaplib.IMAP4_SSL(host, int(port), ssl_context=context, timeout=30)
        client.login("user0@example.com", "secret")
        return client

    def begin(self):
        client = self.client(self.peers[0])
        line = b"0123456789" * 7 + b"\r\n"
        message = b"Subject: bench\r\n\r\n" + line * (MAIL // len(line))
        for _ in range(self.messages):
            client.append("INBOX", None, None, message)
        client.logout()

    def run(self, peer):
        figures, client = super().run(peer), self.client(peer)
        client.select("INBOX", readonly=True)
        account, size = Account(peer.group), 0
        with machine.pinned(LOAD_CPU):
            for _ in range(self.times):
                parts = [part for part in client.uid("FETCH", "1:*", "BODY.PEEK[]")[1]
                         if isinstance(part, tuple)]
                size += sum(len(part[1]) for part in parts)
                if len(parts) != self.messages:
                    raise Failed("%s: %d of %d messages" % (peer.name, len(parts), self.messages))
        fetched = spent(account, size / 1e6, 1e3)
        client.logout()
        return dict(figures, fetch_own=fetched["own"], fetch_machine=fetched["machine"])


class Idle(Workload):
    """Many sessions that are logged in and silent."""

    name, title = "idle", "Memory per idle session"
    rounds = 2
    columns = [("user", "user, KiB", 2), ("kernel", "kernel, KiB", 2), ("total", "both, KiB", 2)]

    def __init__(self, bench):
        super().__init__(bench)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.sessions = 200 if bench.quick else min(8000, hard // 2 - 1000)
        self.first = 200 if bench.quick else 1000 # of each account one; peers.MOST expects no more
        for legs in (TLS, PLAIN):
            self.add_all(("direct", "Homing", "HAProxy", "Dovecot"), legs)
        self.add("nginx", TLS_PLAIN)
        self.title += ", %s sessions" % format(self.sessions, ",")
        self.note = ("User: anonymous and shared memory of all processes of the router. Kernel: by "
                     "how much the kernel of the whole machine grew, less what it grew with the "
                     "same sessions straight from client to node; so it is what the router's two "
                     "sockets and all that belongs to them cost.")

    def held(self, peer, wait_s):
        time.sleep(0.2 if self.bench.quick else wait_s)
        return (machine.user_kib(peer.group.pids()) if peer.group else 0), machine.kernel_kib()

    def run(self, peer):
        """On an instance of its own: a process that once had sessions has their memory still."""
        with contextlib.ExitStack() as stack:
            if peer.group:
                peer = peers.Peer(self.bench, peer.program, peer.legs, peer.nodes, peer.label,
                                  **peer.fields)
                stack.callback(peer.close)
            load = Load(self.bench, peer)
            stack.callback(load.close)
            # What the process needs once, and what is kept of each account. As large a crowd as the
            # one that counts: what that has left free goes back, but not at once, and not all of it.
            load("open %d %d" % (self.first, CROWD))
            settle = 6.5 if peer.program == "Homing" else 1.5
            before = self.held(peer, settle)
            load("open %d %d" % (self.sessions, CROWD))
            user, kernel = ((b - a) / self.sessions
                            for a, b in zip(before, self.held(peer, settle)))
            answered = load("noop")["answered"]
            if answered != self.sessions + self.first:
                raise Failed("%s: %d sessions answered" % (peer.name, answered))
            load("close")
        return {"user": user, "kernel": kernel}

    def derive(self, rows):
        direct = {peer.node_tls: statistics.median(figures["kernel"])
                  for peer, figures in rows.items() if peer.program == "direct"}
        for peer, figures in rows.items():
            if peer.program != "direct":
                figures["kernel"] = [value - direct[peer.node_tls] for value in figures["kernel"]]
            figures["total"] = [a + b for a, b in zip(figures["user"], figures["kernel"])]


class Notify(Workload):
    """Sessions in IDLE, to which the node says something small now and then."""

    name, title = "notify", "IDLE: one small notification"
    rounds = 3
    columns = [("own", "own CPU, us", 1), ("core", "router's core, us", 1),
               ("machine", "machine CPU, us", 1), ("p50", "p50, us", 0), ("p99", "p99, us", 0)]
    rate = 2000

    def __init__(self, bench):
        super().__init__(bench)
        for legs in (TLS, PLAIN):
            self.add_all(("direct", "Homing", "HAProxy", "Dovecot"), legs)
        self.sessions = 50 if bench.quick else 500
        self.note = "%d sessions in IDLE, %s notifications a second." % (
            self.sessions, format(self.rate, ","))

    def run(self, peer):
        load = self.bench.load(peer)
        load("open %d %d" % (self.sessions, AT_ONCE))
        count = self.rate // 2 if self.bench.quick else 2 * self.rate
        account = Account(peer.group)
        answer = load("notify %d %d" % (count, self.rate))
        figures = spent(account, count)
        load("close")
        if answer["notifications"] != count:
            raise Failed("%s: %d of %d notifications" % (peer.name, answer["notifications"], count))
        return dict(figures, p50=answer["p50_us"], p99=answer["p99_us"])


class Ping(Workload):
    """One session, one small command after the other."""

    name, title = "ping", "Small round trips on one session"
    columns = [("p50", "p50, us", 1), ("p99", "p99, us", 1), ("p999", "p99.9, us", 1),
               ("own", "own CPU, us", 1), ("core", "router's core, us", 1),
               ("machine", "machine CPU, us", 1)]
    note = "`direct` has no router; the added latency of a router is its figure less that one."
    sessions, trial = 1, 2000

    def __init__(self, bench, all_legs=(TLS, PLAIN)):
        super().__init__(bench)
        for legs in all_legs:
            self.add_all(("direct", "Homing", "HAProxy", "Dovecot"), legs)

    def run(self, peer):
        load = self.bench.load(peer)
        load("open %d %d" % (self.sessions, min(self.sessions, CROWD)))
        count = self.count(peer, self.trial, lambda n: load(self.command(n))["seconds"])
        account = Account(peer.group)
        answer = load(self.command(count))
        figures = spent(account, count)
        load("close")
        return dict(figures, p50=answer["p50_us"], p99=answer["p99_us"], p999=answer["p999_us"])

    def command(self, count):
        return "ping %d %d" % (count, self.sessions)


class Turns(Ping):
    """Many sessions, one small command at a time: each on another session than the one before, whose
    state is in no cache any more."""

    note = ""
    columns = [("own", "own CPU, us", 1), ("core", "router's core, us", 1),
               ("machine", "machine CPU, us", 1), ("p50", "p50, us", 1), ("p99", "p99, us", 1)]

    def __init__(self, bench, sessions):
        super().__init__(bench, (TLS,))
        self.name = "turns-%d" % sessions
        self.rounds = 3 if sessions < 5000 else 2  # to open them takes most of the time
        self.sessions = self.trial = sessions // 10 if bench.quick else sessions
        self.title = "Small round trips in turns over %s sessions" % format(self.sessions, ",")


class Burst(Workload):
    """One session, to which the node says many small things at once, when it is asked."""

    name, title = "burst", "Bursts of 40 records of 300 bytes, every router awake as often as the others"
    rounds = 5
    columns = [("own", "own CPU, us per record", 2), ("core", "router's core, us per record", 2),
               ("machine", "machine CPU, us per record", 2)]
    size, records, pause_us = 300, 40, 1000

    def __init__(self, bench):
        super().__init__(bench)
        # in other workloads nothing is pinned, so these are instances of their own
        for program, label, more in (("Homing", "pinned", {}), ("Homing", "copy, pinned", COPY),
                                     ("HAProxy", "pinned", {})):
            self.add(program, TLS, **dict(more, label=label, pause_us=self.pause_us))
        self.note = (
            "A router that wakes up more often finds fewer records each time, and pays for each of them "
            "what others pay for many. So the next burst is asked for when all of the one before has "
            "arrived, and a wait for events begins %d us after the one before, in all routers alike "
            "(tests/bench/pause.c): each finds a whole burst when it wakes up." % self.pause_us)

    def run(self, peer):
        load = self.bench.load(peer)
        load("open 1 1")
        bursts = self.count(peer, 100, lambda n: load(self.command(n))["seconds"])
        account = Account(peer.group)
        load(self.command(bursts))
        figures = spent(account, bursts * self.records)
        load("close")
        return figures

    def command(self, bursts):
        return "bulk %d %d %d" % (self.records * self.size, self.size, bursts)


class Bulk(Workload):
    """Messages of 64 KiB over some sessions, and one long stream."""

    name, title = "bulk", "Bulk: FETCH of 64 KiB messages on 8 sessions, and streams"
    rounds, runs_for = 3, 2
    columns = [("fetch_rate", "FETCH: GB/s", 2), ("fetch_own", "FETCH: own CPU, s per GB", 3),
               ("fetch_machine", "FETCH: machine CPU, s per GB", 3),
               ("stream_rate", "stream: GB/s", 2), ("stream_own", "stream: own CPU, s per GB", 3),
               ("stream_machine", "stream: machine CPU, s per GB", 3)]

    def __init__(self, bench):
        super().__init__(bench)
        for legs in (TLS, PLAIN):
            self.add_all(("direct", "Homing", "HAProxy", "Dovecot"), legs)
        self.add_all(("Homing", "HAProxy", "nginx"), TLS_PLAIN)
        self.trial = (10 if bench.quick else 50) << 20
        self.note = "Each for 2 seconds or so, and with %d MiB at least." % (self.trial >> 20)

    def run(self, peer):
        load, figures = self.bench.load(peer), {}
        load("open 8 8")
        for name, command in (("fetch", lambda size: "fetch %d %d 8" % (size // MAIL, MAIL)),
                              ("stream", lambda size: "bulk %d %d" % (size, MAIL))):
            size = self.count((peer, name), self.trial, lambda n: load(command(n))["seconds"])
            account = Account(peer.group)
            answer = load(command(size))
            cpu = spent(account, answer["bytes"] / 1e9, 1)
            figures.update({name + "_" + key: cpu[key] for key in ("own", "core", "machine")})
            figures[name + "_rate"] = answer["bytes"] / 1e9 / answer["seconds"]
        load("close")
        return figures


class Misses(Workload):
    """Logins of accounts in PostgreSQL that the router has never seen, and of known ones."""

    name, title = "misses", "IMAP logins, TLS on both legs, accounts in PostgreSQL"
    rounds = 3
    columns = [("new_own", "new accounts: own CPU, us", 0), ("new_rate", "new: logins per second", 0),
               ("new_p99", "new: p99, ms", 2), ("known_own", "known accounts: own CPU, us", 0),
               ("known_rate", "known: logins per second", 0), ("known_p99", "known: p99, ms", 2),
               ("miss", "miss, us more than a known account", 0),
               ("miss_wakes", "miss: times that a thread got a CPU", 1)]
    note = ("PostgreSQL is on the load's CPU and not counted; own CPU is that of the router alone. The "
            "last two columns are what new accounts cost more than known ones in the same round. "
            "HAProxy and nginx have no lookup in a database to compare.")
    accounts = 500000

    def __init__(self, bench):
        super().__init__(bench)
        self.known = 100 if bench.quick else 1000
        with bench.network.inside("r"), machine.pinned(LOAD_CPU):
            server = stores.Postgres()
            bench.closing.callback(server.close)
            name = server.database()
            rows = self.accounts // 50 if bench.quick else self.accounts
            done = server.try_sql(name, "INSERT INTO account_nodes SELECT 'user' || i || "
                                  "'@example.com', 'node1' FROM generate_series(0, %d) i" % rows)
            if not done or not server.try_sql(name, "VACUUM ANALYZE account_nodes"):
                raise Failed("PostgreSQL did not take the accounts")
        url = "postgres://postgres@127.0.0.1:%d/%s" % (server.port, name)
        self.add("Homing", TLS, label="PostgreSQL", mapping=peers.MAPPING_SQL, url=url)
        self.add("Dovecot", TLS, label="PostgreSQL",
                 sql="host=127.0.0.1 port=%d user=postgres dbname=%s" % (server.port, name))

    def run(self, peer):
        figures, turns = {}, {}
        for name, accounts in (("new", self.accounts), ("known", self.known)):
            load = self.bench.load(peer, "imap", accounts)

            def logins(count):
                return load("logins %d %d full" % (count, AT_ONCE))
            if name == "known" and (peer, name) not in self.counts:
                logins(self.known)
            count = self.count((peer, name), 200, lambda n: logins(n)["seconds"])
            wakes, account = machine.wakes(peer.group.pids()), Account(peer.group)
            answer = logins(count)
            figures.update({name + "_own": spent(account, count)["own"],
                            name + "_rate": count / answer["seconds"],
                            name + "_p99": answer["p99_us"] / 1e3})
            turns[name] = machine.grown(wakes, machine.wakes(peer.group.pids())) / count
        return dict(figures, miss=figures["new_own"] - figures["known_own"],
                    miss_wakes=turns["new"] - turns["known"])


class Mixed(Workload):
    """Many sessions for minutes: most of them idle with a notification now and then, some that
    talk, a few that fetch. All routers hold their sessions always; one at a time has traffic."""

    name, title = "mixed", "Mixed load"
    rounds, seconds = 6, 20
    columns = [("own", "own CPU, ms per second", 1), ("core", "router's core, ms per second", 0),
               ("machine", "machine CPU, ms per second", 0), ("p50", "p50, us", 0),
               ("p99", "p99, us", 0), ("p999", "p99.9, us", 0), ("behind", "late operations", 0)]

    def __init__(self, bench):
        super().__init__(bench)
        for legs, programs in ((TLS, ("Homing", "HAProxy", "Dovecot")),
                               (PLAIN, ("Homing", "HAProxy"))):
            for program in programs:
                self.add(program, legs)
        self.sessions, self.chatty, self.bulk = (100, 100, 10) if bench.quick else (1000, 1000, 100)
        if bench.quick:
            self.seconds = 1
        self.note = (
            "Each router holds %s sessions all the time: 95 %% are in IDLE and get a notification "
            "every 30 s, 4 %% talk (together %s small operations a second), 1 %% fetch (together "
            "%d messages of 64 KiB a second). The traffic goes through one router for %d s, then "
            "through the next."
            % (format(self.sessions, ","), format(self.chatty, ","), self.bulk, self.seconds))

    def begin(self):
        for peer in self.peers:
            self.bench.load(peer)("open %d %d" % (self.sessions, CROWD))

    def run(self, peer):
        load, account = self.bench.load(peer), Account(peer.group)
        answer = load("mixed %d %d %d" % (self.seconds, self.chatty, self.bulk))
        return dict(spent(account, answer["seconds"], 1e3), p50=answer["p50_us"],
                    p99=answer["p99_us"], p999=answer["p999_us"], behind=answer["behind"])

    def end(self):
        for peer in self.peers:
            load = self.bench.load(peer)
            answered = load("noop")["answered"]
            load("close")
            if answered != self.sessions:
                raise Failed("%s: %d sessions are left" % (load.about, answered))


THREE = [("Homing", TLS), ("HAProxy", TLS), ("Dovecot", TLS)]
NODE_TICKETS = "The node gives tickets: the last column says who used them."
NGINX_WAITS = ("nginx's mail proxy leaves Nagle's algorithm on and writes TLS tickets and greeting "
               "one after the other: the greeting waits for the client's delayed acknowledgement, "
               "about 40 ms. This is its latency, not CPU time.")
# name of the part: what makes its workloads
PARTS = {
    "logins": lambda b: [
        Logins(b, "logins-full", "IMAP logins, TLS on both legs, full handshake of the client",
               [("direct", TLS), *THREE, ("perdition", TLS)], note=NODE_TICKETS),
        Logins(b, "logins-resumed", "IMAP logins, TLS on both legs, resumed handshake of the "
               "client", [("direct", TLS), *THREE], handshake="resumed"),
        Logins(b, "logins-no-tickets", "IMAP logins, TLS on both legs, full handshakes on both: "
               "the node gives no tickets", [(*peer, {"label": "no tickets", "tickets": False})
                                         for peer in THREE]),
        Logins(b, "logins-plain-node", "IMAP logins, TLS to the client, plain to the node",
               [("Homing", TLS_PLAIN), ("HAProxy", TLS_PLAIN), ("nginx", TLS_PLAIN)],
               note=NGINX_WAITS),
        Logins(b, "submission", "Submission logins, TLS on both legs, full handshake of the client",
               THREE, "submission"),
        Logins(b, "submission-plain-node", "Submission logins, TLS to the client, plain to the "
               "node", [(program, TLS_PLAIN) for program in ("Homing", "HAProxy", "nginx")],
               "submission")],
    "real": lambda b: [RealNode(b)],
    "ping": lambda b: [Ping(b)],
    "turns": lambda b: [Turns(b, 1000), Turns(b, 5000)],
    "burst": lambda b: [Burst(b)],
    "notify": lambda b: [Notify(b)],
    "bulk": lambda b: [Bulk(b)],
    "misses": lambda b: [Misses(b)],
    "idle": lambda b: [Idle(b)],
    "mixed": lambda b: [Mixed(b)],
}
