# SPDX-License-Identifier: Apache-2.0
"""Many logins at once: what sessions that are logged in notice of it, and when the crowd is served.
BENCH_BESIDE=DIR: the homingd of another build, in turns with this one."""

import contextlib
import os
import re
import threading
import time

import harness
import machine
import peers
import workloads
from machine import Account
from workloads import TLS, Failed, Load, Workload

UNDER_WAY = 64


class Storm(Workload):
    """Each router, and Homing as another build has it."""

    def __init__(self, bench, label="", **more):
        super().__init__(bench)
        other = os.environ.get("BENCH_BESIDE")
        if other:
            self.add("Homing", TLS, label=" ".join(filter(None, ("beside", label))),
                     homingd=other + "/homingd", **more)
        for program in ("Homing", "HAProxy", "Dovecot"):
            self.add(program, TLS, label=label, **more)


class Told(Storm):
    """Notifications while others log in all the time."""

    name, title = "storm-told", "Storm: notifications while 64 logins are under way all the time"
    rounds, seconds, rate = 3, 4, 1000
    columns = [("calm_p50", "in calm: p50, us", 0), ("calm_p99", "in calm: p99, us", 0),
               ("p50", "p50, us", 0), ("p99", "p99, us", 0),
               ("logins", "logins per second meanwhile", 0), ("login_p99", "their p99, ms", 1)]

    def __init__(self, bench):
        super().__init__(bench)
        self.sessions = 50 if bench.quick else 200
        self.note = ("%d sessions of IMAP in IDLE, %s notifications a second; another process logs in "
                     "and out, %d at a time, by submission, to another node. Who sends and reads "
                     "notifications goes before all others on their CPU (SCHED_FIFO): what is late was "
                     "late in the router." % (self.sessions, format(self.rate, ","), UNDER_WAY))
        if bench.quick:
            self.seconds = 1

    def notify(self, load, peer):
        count = self.rate * self.seconds
        answer = load("notify %d %d" % (count, self.rate))
        if answer["notifications"] != count:
            raise Failed("%s: %d of %d notifications" % (peer.name, answer["notifications"], count))
        return answer["p50_us"], answer["p99_us"]

    def run(self, peer):
        load = self.bench.load(peer)
        with urgent(peer.nodes["imap"].process.pid, load.pid):
            return self.measure(load, peer)

    def measure(self, load, peer):
        load("open %d %d" % (self.sessions, workloads.AT_ONCE))
        calm = self.notify(load, peer)
        with Crowd(self.bench, peer) as crowd:
            told = self.notify(load, peer)
        load("close")
        return dict(zip(("calm_p50", "calm_p99", "p50", "p99"), calm + told),
                    logins=crowd.rate, login_p99=crowd.p99_ms)


@contextlib.contextmanager
def urgent(*pids):
    """They have their CPU whenever they want it."""
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


class Crowd:
    """Logs in and out, UNDER_WAY at a time, from the moment that the first have come through until
    it is left."""

    def __init__(self, bench, peer):
        self.load, self.ended, self.going = Load(bench, peer, "submission"), False, threading.Event()
        self.counts, self.p99s, self.seconds, self.error = 0, [], 0.0, None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self.ended:
                answer = self.load("logins %d %d full" % (4 * UNDER_WAY, UNDER_WAY))
                self.counts += 4 * UNDER_WAY
                self.seconds += answer["seconds"]
                self.p99s.append(answer["p99_us"] / 1e3)
                self.going.set()
        except Failed as e:
            self.error = e
            self.going.set()

    def __enter__(self):
        self.thread.start()
        self.going.wait(60)
        return self

    def __exit__(self, kind, *_):
        self.ended = True
        self.thread.join(60)
        self.load.close()
        if self.error and not kind:
            raise self.error
        self.rate = self.counts / self.seconds if self.seconds else 0
        self.p99_ms = max(self.p99s, default=0)


class Rush(Storm):
    """Everybody comes back at the same moment."""

    name, title = "storm-rush", "Storm: clients that come at once"
    rounds = 2
    columns = [("p50", "median until logged in, s", 2), ("last", "the last, s", 2),
               ("own", "own CPU, us per login", 0), ("calm_own", "64 at a time: own CPU, us", 0),
               ("times", "own CPU to that", 2), ("memory", "user memory at most, MiB", 0)]

    def __init__(self, bench):
        super().__init__(bench, "RSA", **rsa_certificate(bench))
        self.clients = 400 if bench.quick else 4000
        self.title = "Storm: %s clients that come at once" % format(self.clients, ",")
        self.note = ("TLS on both legs, full handshakes of the clients, which log out again. The "
                     "router's key is one of RSA 2048, which costs it more and clients less: "
                     "thousands of clients have as many CPUs, and here they and the node share one, "
                     "which must not be what they wait for. Memory: what the router's processes "
                     "have more at their largest than before, on an instance of its own.")

    def run(self, peer):
        with contextlib.ExitStack() as stack:
            peer = peers.Peer(self.bench, peer.program, peer.legs, peer.nodes, peer.label,
                              **peer.fields)
            stack.callback(peer.close)
            load = Load(self.bench, peer)
            stack.callback(load.close)
            load("logins %d %d full" % (2 * UNDER_WAY, UNDER_WAY))
            calm, _ = self.logins(peer, load, self.clients // 2, UNDER_WAY)
            before = largest_kib(peer.group.pids())
            own, answer = self.logins(peer, load, self.clients, self.clients)
            return {"p50": answer["p50_us"] / 1e6, "last": answer["seconds"], "own": own,
                    "calm_own": calm, "times": own / calm,
                    "memory": (largest_kib(peer.group.pids()) - before) / 1024}

    def logins(self, peer, load, count, at_once):
        account = Account(peer.group)
        answer = load("logins %d %d full" % (count, at_once))
        harness.wait_until(lambda: quiet(peer.group))
        return account.stop()["own"] * 1e6 / count, answer


def rsa_certificate(bench):
    """The fields of a router's configuration."""
    cert, key, _ = bench.space.certificate("rsa", ["router.test", "localhost"], key="rsa")
    both = "".join(open(path, encoding="ascii").read() for path in (cert, key))
    return {"cert": cert, "key": key, "pem": bench.space.write("rsa-both.pem", both)}


def quiet(group):
    """What belongs to the end of sessions is done."""
    before = group.cpu_s()
    time.sleep(0.05)
    return group.cpu_s() - before < 0.002


def largest_kib(pids):
    """The most memory that the processes have had so far, without files."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/status" % pid, encoding="ascii") as f:
            sizes = dict(re.findall(r"^(VmHWM|RssFile):\s+(\d+)", f.read(), re.M))
            total += max(0, int(sizes["VmHWM"]) - int(sizes["RssFile"]))
    return total


def parts(bench):
    return [Told(bench), Rush(bench)]
