#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""TLS 1.3 on both legs: what the router spends per byte, per small record and per round trip, with
kernel TLS and with OpenSSL in user space (copy), in one run. Made for a virtual machine whose clock
counts instructions (`make vm-bench`): there a nanosecond is an instruction, and one CPU does all.

    relay_tls.py [ROUNDS]"""

import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402

BULK, SMALL, SMALL_SIZE, PINGS = 16 << 20, 3000000, 300, 2000


def spent_ns(pid):
    """On a CPU, all threads."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def run(mode, figures):
    space = harness.Workspace("homing-bench-")
    node = router = load = None
    try:
        cert, key, pin = space.certificate("node1", ["node1.test"])
        node = subprocess.Popen([harness.BUILD + "/bench/lightnode", "127.0.0.1:0", "imap", cert,
                                 key], stdout=subprocess.PIPE, text=True)
        port = int(node.stdout.readline())
        router = harness.Router(space, [harness.destination_toml(
            "node1", "127.0.0.1", port, "implicit", pin, "none")], "node1", server="threads = 1",
            extra="[splice]\nmode = \"%s\"\n" % mode).start()
        load = harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "tls")
        load("open 1 1")
        router.wait_path(mode, "user0@example.com")
        load("ping 100")
        for name, text, units in (("bulk", "bulk %d 16384" % BULK, BULK),
                                  ("small", "bulk %d %d" % (SMALL, SMALL_SIZE),
                                   SMALL // SMALL_SIZE), ("ping", "ping %d" % PINGS, PINGS)):
            before = spent_ns(router.process.pid)
            result = load(text)
            figures.setdefault((name, "own"), []).append(
                (spent_ns(router.process.pid) - before) / units)
            figures.setdefault((name, "all"), []).append(result["seconds"] * 1e9 / units)
        load.kill()
        line = router.wait_sessions(1)[0]
        assert (line["path_up"], line["path_down"]) == (mode, mode), line
    finally:
        if load:
            load.kill()
        if node:
            node.kill()
            node.wait()
        if router:
            router.stop()
        space.close()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    figures = {"ktls": {}, "copy": {}}
    for number in range(rounds):
        for mode in ("ktls", "copy") if number % 2 == 0 else ("copy", "ktls"):
            run(mode, figures[mode])
    print("%-44s %26s %26s %6s" % ("instructions (medians)", "ktls", "copy", "ratio"))
    for key, title in ((("bulk", "own"), "router, per byte in 16 KiB records"),
                       (("bulk", "all"), "all, per byte in 16 KiB records"),
                       (("small", "own"), "router, per 300-byte record"),
                       (("small", "all"), "all, per 300-byte record"),
                       (("ping", "own"), "router, per round trip"),
                       (("ping", "all"), "all, per round trip")):
        values = [figures[mode][key] for mode in ("ktls", "copy")]
        medians = [statistics.median(v) for v in values]
        print("%-44s" % title + "".join(" %26s" % ("%.5g (%.5g-%.5g)" % (m, min(v), max(v)))
                                        for m, v in zip(medians, values)) +
              " %6.2f" % (medians[0] / medians[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
