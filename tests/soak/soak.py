#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A router under mixed load for as long as wanted: a storm of logins, sessions in IDLE that are told things,
bytes that are compared, clients that say a byte a second, and a node that is killed and comes back. Nothing may
be lost or wait for ever, and what is held must not grow.

    soak.py MINUTES     exits with 1 at the first fault; HOMING_BUILD: the build"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
import harness  # noqa: E402

LATEST_US = 10e6     # of a notification
RECOVERY_S = 60      # after a node has come back
GROWTH = 1.5         # of the router's memory, to that after the first minute
SLOW = 30
SOON_S = 30          # between two kills of the node


class Node:
    """A light node with TLS, always at the same port."""

    def __init__(self, space, name):
        self.certificate, self.port, self.process = space.certificate(name, [name + ".test"]), 0, None
        self.name = name
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [harness.BUILD + "/bench/lightnode", "127.0.0.1:%d" % self.port, "imap", *self.certificate[:2]],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def toml(self):
        return harness.destination_toml(self.name, "127.0.0.1", self.port, "implicit", self.certificate[2], "none")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Soak:
    """What goes on side by side, each in a thread; the first fault ends all."""

    def __init__(self, space, minutes):
        self.nodes = [Node(space, name) for name in ("node1", "node2")]
        accounts = "".join("user%d@two.test node2\n" % i for i in range(1000))
        self.router = harness.Router(
            space, [node.toml() for node in self.nodes], default="node1",
            mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "%s"\n' % space.write(
                "accounts", accounts, 0o644),
            listeners={"imap": ("implicit", "max_connections = 8000\npreauth_timeout = \"5m\"\n")},
            server="threads = 1\n")
        self.router.start()
        self.end, self.fault, self.counts = time.monotonic() + 60 * minutes, None, {}

    def goes_on(self):
        return not self.fault and time.monotonic() < self.end

    def load(self, *arguments):
        return harness.Load("127.0.0.1:%d" % self.router.ports["imap"], "imap", "tls",
                            "node=127.0.0.1:%d" % self.nodes[0].port, *arguments)

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    # ---- what goes on ----

    def storm(self):
        with self.load() as load:
            while self.goes_on():
                figures = load("logins 256 64 full")
                assert figures["failed"] == 0, figures
                self.count("logins", 256)

    def crowds(self):
        """Everybody at once, now and then."""
        while self.goes_on():
            with self.load() as load:
                assert load("logins 1000 1000 resumed")["failed"] == 0
            self.count("crowds")
            self.rest(10)

    def idlers(self):
        with self.load() as load:
            load("open 200 16")
            while self.goes_on():
                figures = load("notify 500 100")
                assert figures["notifications"] == 500 and figures["p99_us"] < LATEST_US, figures
                assert load("noop")["answered"] == 200
                self.count("notifications", 500)
            load("close")

    def bulk(self):
        with self.load() as load:
            load("open 4 4")
            while self.goes_on():
                for command in ("check 5000003 999", "fetch 40 300000 4", "push 3000000 1000"):
                    load(command)
                self.count("bulk")
                self.rest(1)
            load("close")

    def slow(self):
        """Their last byte is answered as if it were the first."""
        text = "a LOGIN user1@example.com secret\r\n"
        while self.goes_on():
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(self.router.client()) for _ in range(SLOW)]
                for client in clients:
                    assert client.line().startswith("* OK")
                for letter in text:
                    for client in clients:
                        client.send(letter)
                    self.rest(1)
                for client in clients:
                    while not (line := client.line()).startswith("a "):
                        pass
                    assert line.startswith("a OK"), line
            self.count("slow", SLOW)

    def kills(self):
        """Whoever is there loses the session and no one else does; afterwards all is well soon."""
        node = self.nodes[1]
        while self.goes_on():
            with self.load("domain=two.test") as load:
                assert load("logins 64 16 full")["failed"] == 0
            load = self.load("domain=two.test")
            try:
                load("open 50 16")
                node.kill()
                load("noop")
            finally:
                load.kill()
            self.rest(2)
            node.start()
            back = time.monotonic()
            while self.fails("domain=two.test"):
                assert time.monotonic() < back + RECOVERY_S, "node2 is back and not used"
                time.sleep(0.5)
            self.count("kills")
            self.rest(SOON_S)

    def fails(self, *arguments):
        with self.load(*arguments) as load:
            return load("logins 8 4 full")["failed"]

    def memory(self):
        self.rest(min(60, (self.end - time.monotonic()) / 3))
        first = harness.rss_kib(self.router.process.pid)
        while self.goes_on():
            self.rest(10)
            now = harness.rss_kib(self.router.process.pid)
            assert now < GROWTH * first + 65536, "%d KiB after %d" % (now, first)

    def rest(self, seconds):
        until = time.monotonic() + seconds
        while self.goes_on() and time.monotonic() < until:
            time.sleep(0.1)

    # ---- all of it ----

    def guarded(self, work):
        try:
            work()
        except BaseException as e:  # pylint: disable=broad-except
            self.fault = self.fault or "%s: %r" % (work.__name__, e)

    def run(self):
        works = (self.storm, self.crowds, self.idlers, self.bulk, self.slow, self.kills, self.memory)
        threads = [threading.Thread(target=self.guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        while self.goes_on():
            time.sleep(1)
        for thread in threads:
            thread.join(120)
            if thread.is_alive():
                self.fault = self.fault or "something does not end"
        if not self.fault:
            self.guarded(self.check)
        return self.fault

    def check(self):
        """Nothing is left of it."""
        self.router.wait_idle()
        harness.wait_until(lambda: self.router.stats()["logins"]["waiting"] == 0)
        log = self.router.log()
        bad = re.findall(r"^.*(?:reason=internal|msg=stuck|level=error).*$", log, re.M)
        assert not bad, bad[:5]
        print("turns with more than there was time for: %d" % self.router.stats()["logins"]["full_turns"])

    def close(self):
        self.router.close()
        for node in self.nodes:
            node.kill()


def unusual(log):
    """How often each reason was that is none of a client's, and the last lines of each."""
    lines = [line for line in log.splitlines() if re.search(r"level=(?:warn|error)|reason=(?!client_|node_eof)", line)]
    kinds = {}
    for line in lines:
        found = re.search(r"msg=(\S+)", line), re.search(r"node=(\S+)", line), re.search(r"reason=(\S+)", line)
        kinds.setdefault(" ".join(f.group(0) for f in found if f), []).append(line)
    return "\n".join("%d times %s\n    %s" % (len(rows), kind, "\n    ".join(rows[-3:])) for kind, rows in sorted(kinds.items()))


def main():
    assert len(sys.argv) == 2 and shutil.which("openssl"), __doc__
    space = harness.Workspace("homing-soak-")
    soak = Soak(space, float(sys.argv[1]))
    try:
        fault = soak.run()
    finally:
        soak.log = soak.router.log()
        soak.close()
        space.close()
    print(", ".join("%s %d" % pair for pair in sorted(soak.counts.items())))
    print("FAILED " + fault if fault else "nothing lost")
    if fault:
        print(unusual(soak.log))
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
