#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `make vm-bench` runs in its virtual machine, whose clock counts instructions: a nanosecond
is an instruction, and one CPU does all. Homing on path record, with kernel TLS (ktls) and with OpenSSL
to the end (copy), and HAProxy take turns at the same work; then each holds idle sessions. Homing
with handoff does it after them (vm_handoff.py), so that the others find the machine as it is without.
Prints one line `VMBENCH {...}`.

    vm_guest.py ROUNDS IDLE_SESSIONS PEER..."""

import json
import os
import re
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
import machine as host  # noqa: E402
import vm_handoff  # noqa: E402
import vm_peers  # noqa: E402

BULK, RECORD, SMALL, SMALL_RECORD = 16 << 20, 16384, 1500000, 300
BURST, BURSTS = 40 * SMALL_RECORD, 125
LOGINS, ACCOUNTS, PINGS, NOTIFICATIONS, NOTIFIED = 20, 5, 1000, 500, 20
# Which of a peer's ports, what is done first and not counted, what is measured, in how many units.
WORK = {
    "login_full": ("imap", "logins 5 1 full", "logins %d 1 full" % LOGINS, LOGINS),
    # Each brings the ticket for the next.
    "login_resumed": ("imap", "logins 5 1 resumed", "logins %d 1 resumed" % LOGINS, LOGINS),
    "login_submission": ("submission", "logins 5 1 full", "logins %d 1 full" % LOGINS, LOGINS),
    "byte_tls": ("imap", "bulk 1000000 %d" % RECORD, "bulk %d %d" % (BULK, RECORD), BULK),
    "byte_plain": ("imap_plain", "bulk 1000000 %d" % RECORD, "bulk %d %d" % (BULK, RECORD), BULK),
    "record": ("imap", "bulk 30000 %d" % SMALL_RECORD, "bulk %d %d" % (SMALL, SMALL_RECORD),
               SMALL // SMALL_RECORD),
    "burst": ("imap", "bulk %d %d 5" % (BURST, SMALL_RECORD),
              "bulk %d %d %d" % (BURST, SMALL_RECORD, BURSTS), BURSTS * BURST // SMALL_RECORD),
    "round_trip": ("imap", "ping 100", "ping %d" % PINGS, PINGS),
    "notification": ("imap", "notify 100 1000", "notify %d 1000" % NOTIFICATIONS, NOTIFICATIONS),
}

# Work for an instance that begins a wait for events so many microseconds after the one before, or
# later (pause.c): in that time the node has said all that it was asked for.
PINNED = {"burst": 3000}


class Load:
    """The load generator, towards one port, as so many accounts."""

    def __init__(self, port, name, nodes, accounts):
        self.process = subprocess.Popen(
            [harness.BUILD + "/bench/load", "127.0.0.1:%d" % port, name.split("_")[0], "tls",
             "node=127.0.0.1:%d" % nodes.ports[name], "accounts=%d" % accounts],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = dict(pair.split("=", 1) for pair in self.process.stdout.readline().split())
        assert "error" not in answer and answer.get("failed", "0") == "0", (command, answer)
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def own_ns(pid):
    """On the CPU, all threads."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def machine_ns():
    """The only CPU, when it was not idle."""
    with open("/proc/timer_list", encoding="ascii") as f:
        idle = int(re.search(r"\.idle_sleeptime +: (\d+) nsecs", f.read()).group(1))
    return time.monotonic_ns() - idle


class Beside:
    """What others spend on the router's work until stop(): the agent, the node and the kernel's
    threads; and how often the router is woken up."""

    def __init__(self, peer, port, nodes, kernel):
        self.pids = {"node": nodes.pid(port)}
        if hasattr(peer, "agent_pid"):
            self.pids["agent"] = peer.agent_pid()
        self.router = [peer.pid(port)]
        self.wakes, self.kernel = host.wakes(self.router), kernel
        self.before = self.read()

    def read(self):
        return {side: own_ns(pid) for side, pid in self.pids.items()}

    def stop(self):
        return dict({side: value - self.before[side] for side, value in self.read().items()},
                    wakes=host.grown(self.wakes, host.wakes(self.router)),
                    kernel=host.grown(self.kernel, host.kernel_threads()))


def work(peer, name, nodes, port=None):
    """{side: instructions per unit}: of the router's process (own), of the machine, of each of
    those beside the router, and of all but the client (chain). port: another than the work's."""
    usual, warm_up, command, units = WORK[name]
    port = port or usual
    load = Load(peer.ports[port], port, nodes, ACCOUNTS)
    if "logins" not in command:
        load("open %d 1 full" % (NOTIFIED if name == "notification" else 1))
        peer.settle(port, NOTIFIED if name == "notification" else 1)
    load(warm_up)
    kernel = host.kernel_threads() # takes a while; in the second after it nothing is done
    time.sleep(1)
    with peer.quiet(port):
        beside = Beside(peer, port, nodes, kernel)
        own, machine = own_ns(peer.pid(port)), machine_ns()
        answer = load(command)
        own, machine = own_ns(peer.pid(port)) - own, machine_ns() - machine
        found = dict(beside.stop(), own=own, machine=machine)
    if "resumed" in command:
        assert answer["resumed"] == answer["logins"], answer
    load.close()
    found["chain"] = sum(found.get(side, 0) for side in ("own", "agent", "node", "kernel"))
    return {side: value / units for side, value in found.items()}


def user_kib(pid):
    """Private memory: what this process alone has."""
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        return sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", f.read(), re.M)))


def kernel_kib():
    """What the kernel holds for sessions: its objects, page tables, and the pages of sockets."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")
    with open("/proc/meminfo", encoding="ascii") as f:
        fields = {key: int(value) for key, value in re.findall(r"(\w+): +(\d+)", f.read())}
    with open("/proc/net/sockstat", encoding="ascii") as f:
        pages = int(re.search(r"^TCP:.* mem (\d+)", f.read(), re.M).group(1))
    return fields["Slab"] + fields["PageTables"] + fields["KernelStack"] + \
        pages * os.sysconf("SC_PAGE_SIZE") // 1024


def hold(port, pids, nodes, sessions, settle):
    """Idle sessions, TLS to the client: KiB each of user memory (of each of pids) and of the
    kernel's."""
    load = Load(port, "imap", nodes, sessions // 8)
    figures = []
    # The first ones pay for what is needed once, and for what is kept of each account.
    for count in (sessions // 8, sessions):
        load("open %d 8 full" % count)
        settle("imap", count + (sessions // 8 if figures else 0))
        time.sleep(10)
        figures.append((*map(user_kib, pids), kernel_kib()))
    load.close()
    time.sleep(10)
    return [(after - before) / sessions for before, after in zip(*figures)]


def memory(names, sessions):
    """Without a router first: what client and node cost is not the router's."""
    space = harness.Workspace("homing-bench-")
    nodes = vm_peers.Nodes(space)
    try:
        direct, = hold(nodes.ports["imap"], (), nodes, sessions, lambda port, count: None)
        found = {}
        for name in names:
            peer = vm_peers.start(name, nodes)
            user, kernel = hold(peer.ports["imap"], (peer.pid("imap"),), nodes, sessions,
                                peer.settle)
            peer.close()
            found[name] = {"user": user, "kernel": kernel - direct}
            print(name, found[name], flush=True)
        return found
    finally:
        nodes.close()
        space.close()


def instructions(names, rounds):
    """Medians; the peers take turns."""
    space = harness.Workspace("homing-bench-")
    nodes = vm_peers.Nodes(space)
    pauses = {0, *PINNED.values()}
    peers = {(name, pause): vm_peers.start(name, nodes, pause) for name in names for pause in pauses}
    seen = {}
    try:
        for number in range(rounds):
            for name in names[number % len(names):] + names[:number % len(names)]:
                for task in WORK:
                    values = work(peers[name, PINNED.get(task, 0)], task, nodes)
                    seen.setdefault((name, task), []).append(values)
                    show(name, task, values)
    finally:
        for peer in peers.values():
            peer.close()
        nodes.close()
        space.close()
    return {name: {task: by_side(seen[name, task]) for task in WORK} for name in names}


def show(name, task, values):
    print("%-8s %-16s " % (name, task) + " ".join(
        "%s %.3f" % pair for pair in sorted(values.items())), flush=True)


def by_side(rounds):
    return {side: [values[side] for values in rounds] for side in rounds[0]}


def handoff(rounds, sessions):
    """The same of what is handed over: instructions, and then memory on routers of its own."""
    space = harness.Workspace("homing-bench-")
    nodes, found = vm_peers.Nodes(space), {}
    peer, seen = vm_handoff.Handoff(nodes), {}
    for task in [task for _ in range(rounds) for task in vm_handoff.TASKS]:
        values = work(peer, task, nodes, vm_handoff.PORT)
        seen.setdefault(task, []).append(values)
        show("handoff", task, values)
    found["handoff"] = {task: by_side(values) for task, values in seen.items()}
    peer.close()
    memory = held_after_handoff(nodes, sessions) if sessions else None
    nodes.close()
    space.close()
    return {"rounds": found, "memory": memory}


def held_after_handoff(nodes, sessions):
    direct, = hold(nodes.ports["imap"], (), nodes, sessions, lambda port, count: None)
    peer = vm_handoff.Handoff(nodes)
    user, agent, kernel = hold(peer.ports[vm_handoff.PORT],
                               (peer.pid(vm_handoff.PORT), peer.agent_pid()), nodes, sessions,
                               peer.settle)
    peer.close()
    return {"user": user, "agent": agent, "kernel": kernel - direct}


def main():
    rounds, sessions, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    versions = {"kernel": os.uname().version.split("Debian ")[-1].split()[0],
                "OpenSSL": ssl.OPENSSL_VERSION.split()[1]}
    if "haproxy" in names:
        versions["HAProxy"] = subprocess.run(["haproxy", "-v"], capture_output=True, text=True,
                                             check=True).stdout.split()[2]
    others = [name for name in names if name != "handoff"]
    result = {"versions": versions, "sessions": sessions, "rounds": {}}
    if others:
        result["rounds"] = instructions(others, rounds)
        if sessions:
            result["memory"] = memory(others, sessions)
    if "handoff" in names:
        result["handoff"] = handoff(rounds, sessions)
    print("VMBENCH " + json.dumps(result))


if __name__ == "__main__":
    main()
