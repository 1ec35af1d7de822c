#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two plain legs through three network namespaces: what the relay adds to small round trips, and what
a gigabyte costs the whole machine. Homing on sockmap, Homing in user space (copy) and HAProxy in TCP
mode with splicing take turns in every round; medians and ratios at the end. Prints, asserts only that
the path was the one meant.

    relay.py [ROUNDS [GIGABYTES]]"""

import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from idle import cpu_s  # noqa: E402

PINGS = 20000
CLIENT, ROUTER, NODE = ("10.213.1.1", "10.213.1.2", "10.213.2.2")


def sh(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Network:
    """client -- router -- node, each in a namespace, veth between them, congestion control reno."""

    def __init__(self):
        self.tag = "hb%d" % os.getpid()
        self.names = {role: "%s-%s" % (self.tag, role) for role in ("c", "r", "n")}
        for name in self.names.values():
            sh("ip", "netns", "add", name)
        self.link("c", CLIENT, "r", ROUTER)
        self.link("r", "10.213.2.1", "n", NODE)
        for role in self.names:
            sh(*self.within(role), "ip", "link", "set", "lo", "up")
            sh(*self.within(role), "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")

    def link(self, a, a_address, b, b_address):
        ends = "%s%s%s" % (self.tag, a, b), "%s%s%s" % (self.tag, b, a)
        sh("ip", "link", "add", ends[0], "netns", self.names[a], "type", "veth", "peer", "name",
           ends[1], "netns", self.names[b])
        for role, end, address in ((a, ends[0], a_address), (b, ends[1], b_address)):
            sh(*self.within(role), "ip", "addr", "add", address + "/24", "dev", end)
            sh(*self.within(role), "ip", "link", "set", end, "up")

    def within(self, role):
        return ["ip", "netns", "exec", self.names[role]]

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


def machine_cpu_s():
    """User, system, interrupts: of all processes and of the kernel's own threads."""
    with open("/proc/stat", encoding="ascii") as f:
        fields = list(map(int, f.readline().split()[1:8]))
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


class Peer:
    def __init__(self, name, address, pid, session):
        self.name, self.address, self.pid, self.session = name, address, pid, session
        self.figures = {}


def homing(space, network, node_port, mode):
    destination = harness.destination_toml("node1", NODE, node_port, "plain", None, "none")
    router = harness.Router(
        space, [destination], "node1", listeners={"imap": "plain"}, server="threads = 1",
        extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n"
              "[splice]\nmode = \"%s\"\n" % mode)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace('bind = ["127.0.0.1:0"]', 'bind = ["%s:0"]' % ROUTER))
    router.wrapper = network.within("r")
    return router.start()


def haproxy(space, network, node_port):
    config = space.write("haproxy.cfg", """global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option splice-auto
listen relay
    bind %s:7143
    server node %s:%d
""" % (ROUTER, NODE, node_port), 0o644)
    return subprocess.Popen(network.within("r") + ["haproxy", "-db", "-q", "-f", config])


def listening(network, address):
    def there():
        done = subprocess.run(network.within("r") + ["ss", "-Hltn"], capture_output=True,
                              text=True, check=True)
        return address in done.stdout
    harness.wait_until(there)


def measure(network, peer, gigabytes):
    with harness.Load(peer.address, "imap", "plain", within=network.within("c")) as load:
        load("open 1 1")
        load("ping 2000")
        for name, command, scale in (
                ("ping", "ping %d" % PINGS, 1),
                ("down", "bulk %d 65536" % (gigabytes * 10**9), gigabytes),
                ("up", "push %d 65536" % (gigabytes * 10**9), gigabytes)):
            machine, own = machine_cpu_s(), cpu_s(peer.pid)
            result = load(command)
            machine, own = machine_cpu_s() - machine, cpu_s(peer.pid) - own
            figures = {"machine_cpu": machine / scale, "own_cpu": own / scale}
            if name == "ping":
                figures.update(p50=result["p50_us"], p99=result["p99_us"])
            else:
                figures["gbps"] = gigabytes / result["seconds"]
            for key, value in figures.items():
                peer.figures.setdefault((name, key), []).append(value)


ROWS = [("ping", "p50", "round trip p50, us"), ("ping", "p99", "round trip p99, us"),
        ("ping", "own_cpu", "CPU s of the relay, %d round trips" % PINGS),
        ("ping", "machine_cpu", "CPU s of the machine, %d round trips" % PINGS),
        ("down", "gbps", "GB/s to the client"), ("up", "gbps", "GB/s to the node"),
        ("down", "own_cpu", "CPU s of the relay per GB down"),
        ("down", "machine_cpu", "CPU s of the machine per GB down"),
        ("up", "machine_cpu", "CPU s of the machine per GB up")]


def report(peers):
    print("%-42s" % "medians" + "".join("%18s" % peer.name for peer in peers) +
          "%12s%12s" % ("to copy", "to HAProxy"))
    for name, key, title in ROWS:
        values = [statistics.median(peer.figures[name, key]) for peer in peers]
        ratios = ["%.2f" % (values[0] / other) if other else "-" for other in values[1:]]
        spread = ["%.3g (%.3g-%.3g)" % (value, min(peer.figures[name, key]),
                                        max(peer.figures[name, key]))
                  for value, peer in zip(values, peers)]
        print("%-42s" % title + "".join("%18s" % text for text in spread) +
              "".join("%12s" % ratio for ratio in ratios))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    gigabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    network, spaces, closing = Network(), [], []
    try:
        node = subprocess.Popen(
            network.within("n") + [harness.BUILD + "/bench/lightnode", NODE + ":0", "imap",
                                   "plain"],
            stdout=subprocess.PIPE, text=True)
        closing.append(lambda: (node.kill(), node.wait()))
        port = int(node.stdout.readline())
        peers = []
        for mode in ("sockmap", "copy"):
            spaces.append(harness.Workspace("homing-bench-"))
            router = homing(spaces[-1], network, port, mode)
            closing.append(router.close)
            peers.append(Peer("homing " + mode, "%s:%d" % (ROUTER, router.ports["imap"]),
                              router.process.pid, router))
        spaces.append(harness.Workspace("homing-bench-"))
        proxy = haproxy(spaces[-1], network, port)
        closing.append(lambda: (proxy.kill(), proxy.wait()))
        listening(network, ROUTER + ":7143")
        peers.append(Peer("haproxy splice", ROUTER + ":7143", proxy.pid, None))
        for number in range(rounds):
            for peer in peers[number % 3:] + peers[:number % 3]:
                measure(network, peer, gigabytes)
        report(peers)
        for peer in peers[:2]:
            wanted = peer.name.split()[1]
            for line in peer.session.wait_sessions(rounds):
                assert (line["path_up"], line["path_down"]) == (wanted, wanted), line
    finally:
        for close in reversed(closing):
            close()
        for space in spaces:
            space.close()
        network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
