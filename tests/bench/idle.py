#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Idle logged-in IMAP sessions, TLS on both legs: do all of them still answer, and how much
user-space memory of the router does each one cost? Figures are printed, not asserted."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402


def memory_kib(pid):
    """Private memory: what this process alone costs."""
    total = 0
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        for line in f:
            match = re.match(r"Private_(?:Clean|Dirty):\s+(\d+) kB", line)
            total += int(match.group(1)) if match else 0
    return total


def cpu_s(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    space = harness.Workspace("homing-bench-")
    node = load = router = None
    ok = False
    try:
        cert, key, pin = space.certificate("node1", ["node1.test"])
        node = subprocess.Popen([harness.BUILD + "/bench/lightnode", "127.0.0.31:0", cert, key],
                                stdout=subprocess.PIPE, text=True)
        port = int(node.stdout.readline())
        router = harness.Router(space, [harness.destination_toml(
            "node1", "127.0.0.31", port, "implicit", pin, "none")], "node1",
            listeners={"imap": ("implicit", "max_connections = 100000")}).start()
        pid = router.process.pid
        before, start = memory_kib(pid), time.monotonic()
        load = subprocess.Popen([harness.BUILD + "/bench/idleload",
                                 "127.0.0.1:%d" % router.ports["imap"], str(count)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = load.stdout.readline().split()
        login_s = time.monotonic() - start
        login_cpu = cpu_s(pid)
        after = memory_kib(pid)
        time.sleep(2)
        idle_cpu = cpu_s(pid) - login_cpu
        active = router.stats()["active_connections"]
        start = time.monotonic()
        load.stdin.write("go\n")
        load.stdin.flush()
        answered = load.stdout.readline().split()
        noop_s = time.monotonic() - start
        ok = load.wait(60) == 0 and ready[1] == answered[1] == str(count) == str(active)
        rows = [("sessions logged in, idle", ready[1]), ("failed", answered[3]),
                ("answered NOOP", answered[1]), ("path", "copy (OpenSSL in user space)"),
                ("logins per second", "%.0f" % (count / login_s)),
                ("router CPU per login", "%.2f ms" % (1000 * login_cpu / count)),
                ("router memory per session", "%.1f KiB" % ((after - before) / count)),
                ("router CPU while idle, 2 s", "%.2f s" % idle_cpu),
                ("NOOP on all of them", "%.2f s" % noop_s)]
        for name, value in rows:
            print("%-28s %s" % (name, value))
    finally:
        for process in (load, node):
            if process:
                process.kill()
                process.wait()
        if router:
            router.stop()
        space.close()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
