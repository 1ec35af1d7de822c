#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions through the router between peers by other TLS libraries: random sizes, KeyUpdates, padding, small
records, stalls, half closes, hang-ups. Every byte is compared at its end, and what either end has seen of the
other's end is judged.

    run.py [--sessions N] [--seed N] [--at-once N] [--most BITS] [--mode MODE] [PAIR...]

A PAIR is the client's library and the node's (gnutls:nss), or one for both: openssl, gnutls, nss, java. Java is
skipped where there is none."""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402
from plans import LIBRARIES, SUITES, Plan  # noqa: E402

PROGRAMS = os.path.join(harness.BUILD, "tests", "peers")


def is_there(library):
    if library == "java":
        return shutil.which("javac") is not None
    return os.path.exists(os.path.join(PROGRAMS, library))


def command(library, *arguments):
    if library == "java":
        return ["java", "-XX:TieredStopAtLevel=1", os.path.join(HERE, "Peer.java"), *arguments]
    return [os.path.join(PROGRAMS, library), *arguments]


def key_files(library, workspace, cert, key):
    """The certificate and its key as the library reads them."""
    if library in ("openssl", "gnutls"):
        return cert, key
    bundle = os.path.join(workspace.path, "node.p12")
    subprocess.run(["openssl", "pkcs12", "-export", "-in", cert, "-inkey", key, "-name", "node", "-out", bundle,
                    "-passout", "pass:secret"], check=True)
    if library == "java":
        return bundle, "secret"
    database = "sql:" + workspace.mkdir("nss")
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
    subprocess.run(["pk12util", "-i", bundle, "-d", database, "-W", "secret", "-K", ""], check=True,
                   stdout=subprocess.DEVNULL)
    return database, "node"


class Node:
    """The program as a node, with a port and a destination for each suite."""

    def __init__(self, library, workspace):
        cert, key, self.pin = workspace.certificate("node", ["node.test"])
        self.process = subprocess.Popen(command(library, "node", *key_files(library, workspace, cert, key)),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports = {}
        for _ in SUITES:
            name, port = self.process.stdout.readline().split()
            if port != "0":
                self.ports[name] = int(port)
        self.reports = {}
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            report = parse(line)
            self.reports[int(report["n"])] = report

    def toml(self):
        return [harness.destination_toml(name, "127.0.0.1", port, "implicit", self.pin, "none")
                for name, port in self.ports.items()]

    def close(self):
        """It tells of the sessions that it still has, for which it is patient itself."""
        self.process.stdin.close()
        try:
            return self.process.wait(2 * harness.PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()


def parse(line):
    return dict(word.split("=", 1) for word in line.split())


def run_clients(library, port, plans, at_once):
    done = subprocess.run(command(library, "client", str(port), str(at_once)), text=True, check=True,
                          input="".join(plan.text() for plan in plans), stdout=subprocess.PIPE,
                          timeout=120 + len(plans))
    return {int(report["n"]): report for report in map(parse, done.stdout.splitlines())}


def start_router(workspace, node, plans, mode):
    router = harness.Router(workspace, node.toml(), next(iter(node.ports)),
                            server="threads = 2\nlog_accounts = \"full\"\n", listeners={"imaps": "implicit"},
                            extra='[splice]\nmode = "%s"\n' % mode)
    router.map({plan.account: plan.suites["node"] for plan in plans})
    return router.start()


def judge(plans, clients, nodes, router, path):
    lines = {line["account"]: line for line in router.session_lines()}
    bad, log = 0, router.lines
    for plan in plans:
        reports = {side: told[plan.number] for side, told in (("client", clients), ("node", nodes))
                   if plan.number in told}
        line = lines.get(plan.account)
        if plan.ending == "now":
            reports.setdefault("node", {"ended": "never"})
        found = plan.faults(reports, line, path)
        if not found:
            continue
        bad += 1
        if bad <= 5:
            print("FAILED session %d (%s): %s\n  plan: %s  reports: %s\n  router: %s" % (
                plan.number, plan.ending, "; ".join(found), plan.text(), reports,
                [text for text in log if plan.account in text]))
    return bad


def told(plans, clients, nodes):
    """How much of what there was."""
    reports = [*clients.values(), *nodes.values()]
    actions = "".join(event.split(":")[1] for plan in plans for side in plan.plans.values()
                      for event in side.get("do", "").split(",") if event)
    return "%d bytes, %d KeyUpdates asked, %d told, %d answers seen, %d tickets; %d sessions with small records" % (
        sum(int(report.get("received", 0)) for report in reports), actions.count("K"), actions.count("k"),
        sum(max(int(report.get("answers", 0)), 0) for report in reports), actions.count("t"),
        sum("limit" in side for plan in plans for side in plan.plans.values()))


def run(pair, options):
    """Returns how many of the sessions were good, and how many were not."""
    client, node_library = (pair + ":" + pair).split(":")[:2]
    draw, start = random.Random("%d %s" % (options.seed, pair)), time.monotonic()
    with contextlib.ExitStack() as stack:
        workspace = harness.Workspace("homing-peers-")
        stack.callback(workspace.close)
        node = Node(node_library, workspace)
        stack.callback(node.process.kill)
        suites = {"client": SUITES, "node": list(node.ports)}
        plans = [Plan(draw, number, suites, LIBRARIES[client], LIBRARIES[node_library], options.most)
                 for number in range(options.sessions)]
        router = start_router(workspace, node, plans, options.mode)
        stack.callback(router.close)
        clients = run_clients(client, router.ports["imaps"], plans, options.at_once)
        router.wait_sessions(len(plans))
        router.wait_idle()
        code = node.close()
        bad = judge(plans, clients, node.reports, router, "record" if options.mode == "auto" else options.mode)
        if code:
            print("the node's program ended with %d" % code)
            bad += 1
        slowest = max(int(line["ms_total"]) for line in router.session_lines())
        print("%s: %d sessions, %d bad, %.0f s, the slowest %.1f s; %s" % (
            pair, len(plans), bad, time.monotonic() - start, slowest / 1000,
            told(plans, clients, node.reports)), flush=True)
    return len(plans) - bad, bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--most", type=int, default=20, help="a stream's bytes, as a power of two")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("pairs", nargs="*")
    options = parser.parse_args()
    pairs = options.pairs or list(LIBRARIES)
    missing = [pair for pair in pairs if not all(map(is_there, pair.split(":")))]
    for pair in missing:
        print("SKIPPED %s: not installed, or not built (make peer-programs)" % pair)
    results = [run(pair, options) for pair in pairs if pair not in missing]
    print("%d passed, %d failed, %d skipped" % (sum(good for good, _ in results), sum(bad for _, bad in results),
                                                len(missing)))
    return 1 if any(bad for _, bad in results) else 0


if __name__ == "__main__":
    sys.exit(main())
