# SPDX-License-Identifier: Apache-2.0
"""System calls of a login, counted by strace."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile

import harness
import workloads


class SystemCalls(workloads.Workload):
    """Counted by strace, which stops a process at each: so nothing else is measured meanwhile."""

    name, title = "calls", "System calls per IMAP login, TLS on both legs"
    rounds = 1
    columns = [("calls", "login until the session stands", 1),
               ("whole", "with LOGOUT, the end and the log line", 1),
               ("crowd", "all of it, %d at a time" % workloads.AT_ONCE, 1)]

    def __init__(self, bench):
        super().__init__(bench)
        self.logins = 20 if bench.quick else 200
        self.note = ("strace -f -c over %d logins of known accounts with a full handshake of the "
                     "client, one after the other: accept, both handshakes, dialogue, dial and the "
                     "path after login; then with the end of the session; then many at a time."
                     % self.logins)
        for program in ("Homing", "HAProxy", "Dovecot"):
            self.add(program, workloads.TLS)
        self.detail = {}

    def run(self, peer):
        load = workloads.Load(self.bench, peer, accounts=50)
        try:
            load("logins 100 1 full")
            login, self.detail[peer.name] = self.traced(peer, load, "open %d 1")
            load("close")
            whole, _ = self.traced(peer, load, "logins %d 1 full")
            crowd, _ = self.traced(peer, load, "logins %%d %d full" % workloads.AT_ONCE)
        finally:
            load.close()
        return {"calls": login, "whole": whole, "crowd": crowd}

    def more(self):
        return "".join("%s, until the session stands: %s.\n\n" % (name, ", ".join(
            "%s %.1f" % pair for pair in sorted(calls.items(), key=lambda pair: -pair[1])
            if pair[1] >= 0.1)) for name, calls in self.detail.items())

    def traced(self, peer, load, command):
        pids = peer.group.pids()
        with tempfile.NamedTemporaryFile("r") as out:
            tracer = subprocess.Popen(["strace", "-f", "-qq", "-c", "-o", out.name, *(
                word for pid in pids for word in ("-p", str(pid)))])
            try:
                harness.wait_until(lambda: all(is_traced(pid) for pid in pids))
                load(command % self.logins)
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.wait(30)
            table = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", out.read(), re.M)
        calls = {name: int(count) / self.logins for count, name in table}
        return calls.pop("total"), calls


def is_traced(pid):
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError), \
                open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
            if "\nTracerPid:\t0\n" in f.read():
                return False
    return True
