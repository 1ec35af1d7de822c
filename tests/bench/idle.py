#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Idle logged-in IMAP sessions: do all of them still answer, and how much user-space memory of the
router does each one cost? Figures are printed, not asserted.

    idle.py [COUNT [tls | plain [MODE]]]     MODE: splice.mode, default auto"""

import os
import re
import resource
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
    plain = len(sys.argv) > 2 and sys.argv[2] == "plain"
    mode = sys.argv[3] if len(sys.argv) > 3 else "auto"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    space = harness.Workspace("homing-bench-")
    node = router = None
    load = None
    ok = False
    try:
        cert, key, pin = space.certificate("node1", ["node1.test"])
        node = subprocess.Popen([harness.BUILD + "/bench/lightnode", "127.0.0.31:0", "imap"] +
                                (["plain"] if plain else [cert, key]), stdout=subprocess.PIPE, text=True)
        port = int(node.stdout.readline())
        router = harness.Router(space, [harness.destination_toml(
            "node1", "127.0.0.31", port, "plain" if plain else "implicit", None if plain else pin,
            "none")], "node1", listeners={"imap": ("plain" if plain else "implicit",
                                                   "max_connections = 100000")},
            extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n"
                  "[splice]\nmode = \"%s\"\n" % mode).start()
        pid = router.process.pid

        load = harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap",
                            "plain" if plain else "tls", "accounts=500")

        def connect(sessions):
            result = load("open %d 64" % sessions)
            assert not result["failed"], result
            # Paths settle; what a crowd of logins (512 of a worker) has left free goes back.
            time.sleep(6.5 if sessions >= 512 else 1.2)
            return result

        # The first ones pay for what the process needs once: stacks, scratch, the cache's entries. They
        # are a crowd if the others are one, and for each worker, which counts its own logins.
        workers = len(os.sched_getaffinity(0))
        first = max(count // 8, min(count // 2, 700 * workers))
        connect(first)
        before, cpu_before = memory_kib(pid), cpu_s(pid)
        login_s = connect(count - first)["seconds"]
        login_cpu = cpu_s(pid) - cpu_before
        after = memory_kib(pid)
        cpu_before = cpu_s(pid)
        time.sleep(2)
        idle_cpu = cpu_s(pid) - cpu_before
        stats = router.stats()
        active = stats["active_connections"]
        paths = {name for name, path in stats["paths"].items() if path["active"]}
        noop = load("noop")
        load.close()
        ok = noop["answered"] == active == count
        more = count - first
        rows = [("sessions logged in, idle", active), ("failed", int(noop["failed"])),
                ("answered NOOP", int(noop["answered"])), ("path", "+".join(sorted(paths))),
                ("logins per second", "%.0f" % (more / login_s)),
                ("router CPU per login", "%.2f ms" % (1000 * login_cpu / more)),
                ("router memory per session", "%.2f KiB" % ((after - before) / more)),
                ("router CPU while idle, 2 s", "%.2f s" % idle_cpu),
                ("NOOP on all of them", "%.2f s" % noop["seconds"])]
        for name, value in rows:
            print("%-28s %s" % (name, value))
    finally:
        if load and not ok:
            load.kill()
        if node:
            node.kill()
            node.wait()
        if router:
            router.stop()
        space.close()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
