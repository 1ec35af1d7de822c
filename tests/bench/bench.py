#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: Homing, Dovecot's login proxy, HAProxy, nginx and perdition side by side, between
the same load and the same nodes. Prints tables; a complete run also writes docs/benchmarks.md and
its charts. Exits with 1 if work was not done; figures are judged by the reader.

    bench.py [PART ...]     only these parts (PARTS), prints only

BENCH_QUICK=1: one short round of everything, prints only. BENCH_ROUNDS=N: rounds of each.
BENCH_BESIDE=DIR: storm also with the homingd of another build.
BENCH_AWAKE=1: idle CPUs of a virtual machine wait awake for a moment (machine.Awake)."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402
import handoff  # noqa: E402
import harness  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import storm  # noqa: E402
import system_calls  # noqa: E402
import workloads  # noqa: E402

ACCOUNTS = 1000
OPTIONAL = {"perdition"}
# name of the part: what makes its workloads
PARTS = dict(workloads.PARTS, calls=lambda b: [system_calls.SystemCalls(b)], handoff=handoff.parts,
             storm=storm.parts)


class Bench:
    """All that runs: the network, nodes, routers and load generators, made when asked for."""

    def __init__(self, quick, closing):
        self.quick, self.ports, self.load_before = quick, 7000, os.getloadavg()[0]
        self.peers, self.nodes, self.loads, self.missing, self.closing = {}, {}, {}, {}, closing
        self.agent = None # of what handoff.py measures
        self.space = harness.Workspace("homing-bench-")
        self.closing.callback(self.space.close)
        if os.environ.get("BENCH_AWAKE"):
            self.closing.callback(machine.Awake().close)
        self.network = machine.Network()
        self.closing.callback(self.network.close)
        self.cert = self.space.certificate("router", ["router.test", "localhost"])
        self.node_cert = self.space.certificate("node1", ["node1.test"])
        both = "".join(open(path, encoding="ascii").read() for path in self.cert[:2])
        self.pem = self.space.write("both.pem", both)
        self.accounts = self.space.write("accounts", "".join(
            "user%d@example.com node1\n" % i for i in range(ACCOUNTS)), 0o644)

    def node(self, protocol, tls, tickets=True):
        key = (protocol, tls, tickets)
        if key not in self.nodes:
            self.nodes[key] = peers.LightNode(self, *key)
            self.closing.callback(self.nodes[key].close)
        return self.nodes[key]

    def real_node(self):
        """A Dovecot that has the accounts."""
        group = machine.Group("dovecot-node")
        self.closing.callback(group.close)
        users = {"user%d@example.com" % i: "secret" for i in range(ACCOUNTS)}
        with self.network.inside("n"), group.inside(), machine.pinned(machine.LOAD_CPU):
            node = harness.DovecotNode(self.space, "node1", machine.NODE, users, haproxy=False,
                                       certificate=self.node_cert)
        self.closing.callback(node.close)
        node.group, node.port = group, node.tls_port
        return node

    def peer(self, program, legs, label="", tickets=True, real=None, **more):
        """The router, started at the first call; None if it cannot be had."""
        key = (program, legs, label)
        if key not in self.peers:
            tls = legs.endswith("/tls")
            nodes = {protocol: self.node(protocol, tls, tickets)
                     for protocol in ("imap", "submission")}
            if real:
                nodes["imap"] = real
            self.peers[key] = self.start(program, legs, nodes, label, more)
        return self.peers[key]

    def start(self, program, legs, nodes, label, more):
        if program == "direct":
            return peers.Direct(legs, nodes)
        if not shutil.which(peers.PROGRAMS[program][1][0]):
            self.missing[program] = "not installed (`make deps`)"
            return None
        peer = peers.Peer(self, program, legs, nodes, label, **more)
        self.closing.callback(peer.close)
        return peer

    def load(self, peer, protocol="imap", accounts=ACCOUNTS):
        """A load generator that stays, with the TLS sessions it has collected."""
        key = (peer, protocol, accounts)
        if key not in self.loads:
            self.loads[key] = workloads.Load(self, peer, protocol, accounts)
            self.closing.callback(self.loads[key].close)
        return self.loads[key]

    def drop_loads(self):
        """They are in the middle of something; whoever needs one gets another."""
        for load in self.loads.values():
            load.close()
        self.loads.clear()


def try_optional(workload):
    """A router that need not work, and does not, is left out and named in the report."""
    for peer in [peer for peer in workload.peers if peer.program in OPTIONAL]:
        try:
            workload.run(peer)
        except workloads.Failed as e:
            workload.bench.missing[peer.program] = str(e)
            workload.peers.remove(peer)


def measure(workload, rounds):
    """{peer: {figure: values of the rounds}}; in each round another peer begins."""
    workload.begin()
    try_optional(workload)
    rows = {peer: {} for peer in workload.peers}
    for number in range(rounds):
        first = number % len(workload.peers)
        for peer in workload.peers[first:] + workload.peers[:first]:
            for key, value in workload.run(peer).items():
                rows[peer].setdefault(key, []).append(value)
    workload.end()
    workload.derive(rows)
    return rows


def run(bench, parts, rounds):
    """Returns how many workloads failed; then nothing is written."""
    start, results, failed = time.monotonic(), [], 0
    for workload in [w for part in parts for w in PARTS[part](bench)]:
        began = time.monotonic()
        try:
            rows = measure(workload, rounds or workload.rounds)
        except workloads.Failed as e:
            print("FAILED %s: %s" % (workload.title, e), flush=True)
            bench.drop_loads()
            failed += 1
            continue
        results.append((workload, rows))
        report.show(workload, rows)
        print("%.0f s" % (time.monotonic() - began), flush=True)
    if not bench.quick and not failed and parts == list(PARTS):
        report.write(bench, results, parts, time.monotonic() - start)
    print("%d workloads in %.0f s, %d failed" % (len(results), time.monotonic() - start, failed))
    return failed


def main():
    quick = bool(os.environ.get("BENCH_QUICK"))
    only = sys.argv[1:] or list(PARTS)
    unknown = set(only) - set(PARTS)
    if unknown:
        print("unknown: %s; parts: %s" % (" ".join(unknown), " ".join(PARTS)),
              file=sys.stderr)
        return 2
    rounds = 1 if quick else int(os.environ.get("BENCH_ROUNDS", "0"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    try:
        with contextlib.ExitStack() as closing:
            return 1 if run(Bench(quick, closing), only, rounds) else 0
    except workloads.Failed as e:
        print("FAILED " + str(e), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
