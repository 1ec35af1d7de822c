# SPDX-License-Identifier: Apache-2.0
"""What the guard's layers cost and save, for docs/performance.md: CPU per banned SYN at each hook beside an
nftables set (part syn), what each attachment costs ordinary traffic (ordinary), and what honest clients see of a
flood of SYNs (honest) and of guesses (guesses), with the guard and without. As root; three network namespaces of
its own. nft(8) is left out where there is none. Beside node and router: `synflood` sends, `guard_hooks` holds a
hook with the banned sources, `guesser` guesses."""

import contextlib
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

import machine
from machine import CLIENT, LOAD_CPU, ROUTER, ROUTER_CPU, harness

BENCH = os.path.join(os.environ.get("HOMING_BUILD", "build"), "bench")
FIRST, SOURCES, LAST = "198.18.1.0", 50000, "198.18.196.79"
PORT, BULK_PORT = 1993, 1994
RATE = 200000
HOOKS = ("lookup", "generic", "native")
ROUNDS, SECONDS, FLOOD_SECONDS = 3, 3, 6
LOGINS, CONNECTIONS = 500, 64
GUESSER, BALANCER = "10.213.1.66", "10.213.1.67"
ROUTER6, CLIENT6, NETWORK6 = "2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::"
NFT = shutil.which("nft") or ""


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


class Site:
    """client -- router, the router's end with a NAPI thread of its own, so that its CPU can be told."""

    def __init__(self):
        self.network = machine.Network()
        network = self.network
        self.near, self.device = "%scr" % network.tag, "%src" % network.tag
        with network.inside("r"):
            self.mac = json.loads(subprocess.run(
                ["ip", "-j", "link", "show", self.device], check=True, capture_output=True,
                text=True).stdout)[0]["address"]
            gro_on(self.device)
            # Answers to forged sources leave by a device that drops them: a veth would have the
            # other side's work done by the thread that is measured.
            machine.sh("ip", "link", "add", "name", "away", "type", "ifb")
            machine.sh("ip", "link", "set", "away", "up")
            machine.sh("ip", "route", "add", "198.18.0.0/15", "dev", "away")
            machine.sh("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0",
                       "net.ipv4.conf.%s.rp_filter=0" % self.device, "net.ipv4.tcp_syncookies=1")
        self.more_addresses()

    def more_addresses(self):
        """Of those who guess: another host's, a balancer's, a whole /64."""
        with self.network.inside("c"):
            for address in (GUESSER, BALANCER):
                machine.sh("ip", "addr", "add", address + "/24", "dev", self.near)
            machine.sh("ip", "-6", "addr", "add", CLIENT6 + "/64", "dev", self.near, "nodad")
            machine.sh("ip", "-6", "route", "add", "local", NETWORK6 + "/64", "dev", "lo")
            machine.sh("sysctl", "-qw", "net.ipv6.ip_nonlocal_bind=1")
        with self.network.inside("r"):
            machine.sh("ip", "-6", "addr", "add", ROUTER6 + "/64", "dev", self.device, "nodad")
            machine.sh("ip", "-6", "route", "add", NETWORK6 + "/64", "via", CLIENT6)

    def close(self):
        self.network.close()

    def started(self, role, *command, **kwargs):
        with self.network.inside(role):
            return subprocess.Popen(command, **kwargs)

    @contextlib.contextmanager
    def hook(self, name, port=PORT):
        """One of ours with the sources banned, an nftables set, or nothing."""
        if name in HOOKS:
            process = self.started("r", BENCH + "/guard_hooks", "%s:%d" % (ROUTER, port), FIRST,
                                   str(SOURCES), name, self.device, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
            assert process.stdout.readline() == "ready\n", name
            counts = {}
            try:
                yield counts
            finally:
                out, _ = process.communicate()
                counts.update((k, int(v)) for k, v in (p.split("=") for p in out.split()))
                assert process.returncode == 0
        elif name.startswith("nftables"):
            self.nft(RULES[name] % {"device": self.device, "elements": elements()})
            try:
                yield {}
            finally:
                self.nft("flush ruleset\n")
        else:
            yield {}

    def nft(self, text):
        with self.network.inside("r"):
            subprocess.run([NFT, "-f", "-"], input=text, text=True, check=True)

    def flood(self, seconds, rate, port=PORT):
        with machine.pinned(LOAD_CPU):
            return self.started("c", BENCH + "/synflood", self.near, self.mac,
                                "%s:%d" % (ROUTER, port), FIRST, str(SOURCES), str(rate),
                                str(seconds), stdout=subprocess.PIPE, text=True)

    def received(self):
        with self.network.inside("r"):
            stats = json.loads(subprocess.run(
                ["ip", "-j", "-s", "link", "show", self.device], check=True, capture_output=True,
                text=True).stdout)
        return stats[0]["stats64"]["rx"]["packets"]


CLOSED = "none: a closed port"
RULES = {
    "nftables set at ingress": """table netdev t {
 set b { type ipv4_addr; elements = { %(elements)s } }
 chain c { type filter hook ingress device %(device)s priority -500; ip saddr @b counter drop; }
}
""",
    "nftables set at input": """table inet t {
 set b { type ipv4_addr; elements = { %(elements)s } }
 chain c { type filter hook input priority 0; ip saddr @b counter drop; }
}
"""}


def elements():
    first = struct.unpack("!I", socket.inet_aton(FIRST))[0]
    return ", ".join(socket.inet_ntoa(struct.pack("!I", first + i)) for i in range(SOURCES))


def gro_on(device):
    """SIOCETHTOOL, ETHTOOL_SGRO: a veth has NAPI with GRO only."""
    import array
    import fcntl
    value = array.array("B", struct.pack("II", 0x2c, 1))
    request = struct.pack("16sP", device.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8946, request)


def napi_thread(site):
    """The device's packets are worked on by a kernel thread on the router's CPU; its number."""
    with site.network.inside("r"), tempfile.TemporaryDirectory() as place:
        # sysfs shows the devices of the namespace it was mounted in
        script = "mount -t sysfs none %s && echo 1 > %s/class/net/%s/threaded" % (
            place, place, site.device)
        subprocess.run(["unshare", "-m", "sh", "-ec", script], check=True)
    for _ in range(50):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if read("/proc/%s/comm" % pid).startswith("napi/" + site.device[:8]):
                    os.sched_setaffinity(int(pid), {ROUTER_CPU})
                    return int(pid)
        time.sleep(0.02)
    raise RuntimeError("no NAPI thread")


def ran_ns(pid):
    return int(read("/proc/%d/schedstat" % pid).split()[0])


def used_ns(pid):
    """CPU time of all threads of a process."""
    return sum(int(read("/proc/%d/task/%s/schedstat" % (pid, task)).split()[0])
               for task in os.listdir("/proc/%d/task" % pid))


# ---- CPU per banned SYN ----

def per_syn(site, thread, name):
    with site.hook(name) as counts:
        before, cpu = site.received(), ran_ns(thread)
        flood = site.flood(SECONDS, 0, PORT + 5 if name == CLOSED else PORT)
        flood.communicate()
        time.sleep(0.3)
        got, spent = site.received() - before, ran_ns(thread) - cpu
    return spent / max(got, 1), got, counts


def cost_of_a_syn(site):
    thread = napi_thread(site)
    names = [CLOSED, "none: a listener"] + list(RULES if NFT else ()) + list(HOOKS)
    figures = {name: [] for name in names}
    with site.network.inside("r"), socket.create_server((ROUTER, PORT), backlog=1024):
        for _ in range(ROUNDS):
            for name in names:
                ns, got, counts = per_syn(site, thread, name)
                assert got > 1000, (name, got)
                if name in HOOKS:
                    assert counts["banned"] > 0.9 * got, (name, got, counts)
                figures[name].append(ns)
    print("\nCPU of the receiving side per SYN of a banned source, ns (%d sources)" % SOURCES)
    for name in names:
        print("| %s | %d (%d-%d) |" % (name, statistics.median(figures[name]),
                                       min(figures[name]), max(figures[name])))


# ---- ordinary traffic ----

def drain(listener):
    buffer = bytearray(1 << 20)
    while True:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock:
                if sock.recv(1) == b"p":
                    while sock.recv(64):
                        sock.sendall(b"x" * 64)
                while sock.recv_into(buffer):
                    pass
            continue
        return


def bulk(site, seconds=1.5):
    block, sent = b"\0" * (1 << 20), 0
    with site.network.inside("c"):
        sock = socket.create_connection((ROUTER, BULK_PORT))
    with sock:
        sock.sendall(b"b")
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            sent += sock.send(block)
        return sent * 8 / (time.monotonic() - start) / 1e9


def ping(site, count=4000):
    with site.network.inside("c"):
        sock = socket.create_connection((ROUTER, BULK_PORT))
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"p")
        times = []
        for _ in range(count):
            start = time.perf_counter()
            sock.sendall(b"x" * 64)
            sock.recv(64)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def cost_of_attachments(site):
    names = ["none"] + list(HOOKS)
    rates, trips = {n: [] for n in names}, {n: [] for n in names}
    with site.network.inside("r"):
        listener = socket.create_server((ROUTER, BULK_PORT), backlog=64)
    threading.Thread(target=drain, args=(listener,), daemon=True).start()
    for _ in range(ROUNDS):
        for name in names:
            with site.hook(name, BULK_PORT):
                rates[name].append(bulk(site))
                trips[name].append(ping(site))
    print("\nOrdinary traffic through a device with the hook: bulk received, Gbit/s; round trip, us")
    for name in names:
        print("| %s | %.1f (%.1f-%.1f) | %.1f (%.1f-%.1f) |" % (
            name, statistics.median(rates[name]), min(rates[name]), max(rates[name]),
            statistics.median(trips[name]), min(trips[name]), max(trips[name])))


# ---- honest clients ----

@contextlib.contextmanager
def serving(site, directory, guard=False):
    """A router with a node; the port of its listener, after which comes that of the one behind a balancer."""
    port, node_port, log = PORT + 10, PORT + 20, os.path.join(directory, "log")
    with site.network.inside("n"):
        node = subprocess.Popen([BENCH + "/lightnode", "%s:%d" % (machine.NODE, node_port), "imap",
                                 "plain"], stdout=subprocess.PIPE)
    config = os.path.join(directory, "homing.toml")
    for path, text in ((os.path.join(directory, "map"), ""), (config, CONFIG % {
            "directory": directory, "node": machine.NODE, "node_port": node_port, "router": ROUTER,
            "router6": ROUTER6, "port": port, "behind": port + 1, "trusted": BALANCER,
            "guard": "true" if guard else "false"})):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    with machine.pinned(ROUTER_CPU), open(log, "wb") as f:
        router = site.started("r", os.path.join(harness.BUILD, "homingd"), "--config", config,
                              stderr=f)
    try:
        harness.wait_until(lambda: "msg=ready" in read(log) or router.poll() is not None)
        assert router.poll() is None, read(log)
        yield port, router.pid
    finally:
        for process in (router, node):
            process.terminate()
            process.wait()


def logins(site, port):
    """Median and 99 % in ms, and how many failed."""
    with machine.pinned(LOAD_CPU):
        load = site.started("c", BENCH + "/load", "%s:%d" % (ROUTER, port), "imap", "plain",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout.readline() == "ready\n"
    load.stdin.write("logins %d 1 full\n" % LOGINS)
    load.stdin.flush()
    answer = dict(pair.split("=") for pair in load.stdout.readline().split())
    load.communicate("quit\n")
    return float(answer["p50_us"]) / 1e3, float(answer["p99_us"]) / 1e3, answer["failed"]


def honest(site, directory):
    print("\nIMAP logins (plain, one at a time) while %d SYNs a second come from %d banned "
          "sources\n| hook | SYNs received a second | login, median, ms | 99 %% | failed |" %
          (RATE, SOURCES))
    with serving(site, directory) as (port, _):
        for name, flooded in (("none", False), ("none", True)) + tuple((h, True) for h in HOOKS):
            with site.hook(name, port):
                before = site.received()
                flood = site.flood(FLOOD_SECONDS, RATE, port) if flooded else None
                if flooded:
                    time.sleep(0.5)
                figures = logins(site, port)
                if flooded:
                    flood.communicate()
                got = site.received() - before
            print("| %s | %d | %.2f | %.2f | %s |" % (
                name, got / FLOOD_SECONDS if flooded else 0, *figures))


GUESSERS = (("one address", "one", GUESSER), ("a /64", "network", NETWORK6),
            ("one client behind a balancer", "balancer", BALANCER))


def guesses(site, directory):
    print("\nIMAP logins (plain, one at a time) while %d connections guess as fast as they can"
          "\n| from | guard | guesses answered a second | refused a second | "
          "router's CPU for each of both, us | login, median, ms | 99 %% | failed |" % CONNECTIONS)
    for name, way, source in GUESSERS:
        for guard in (False, True):
            with serving(site, directory, guard) as (port, pid):
                at = "[%s]:%d" % (ROUTER6, port) if way == "network" else "%s:%d" % (
                    ROUTER, port + (way == "balancer"))
                with machine.pinned(LOAD_CPU):
                    guesser = site.started("c", BENCH + "/guesser", at, way, source,
                                           str(CONNECTIONS), str(FLOOD_SECONDS),
                                           stdout=subprocess.PIPE, text=True)
                time.sleep(1)
                figures = logins(site, port)
                out, _ = guesser.communicate()
                cpu_us = used_ns(pid) / 1e3
                counts = {k: int(v) for k, v in (p.split("=") for p in out.split())}
            print("| %s | %s | %d | %d | %.1f | %.2f | %.2f | %s |" % (
                name, "on" if guard else "off", counts["answered"] / FLOOD_SECONDS,
                counts["refused"] / FLOOD_SECONDS, cpu_us / sum(counts.values()), *figures),
                  flush=True)


CONFIG = """[server]
threads = 1
hostname = "router.test"
[mapping]
source = "file"
[mapping.file]
path = "%(directory)s/map"
[routing]
default_destination = "node1"
[destination.node1]
host = "%(node)s"
forwarding = "none"
allow_plaintext_auth = true
[destination.node1.protocol.imap]
port = %(node_port)d
tls = "plain"
[capabilities.imap]
allow_plain_auth_without_tls = true
[listener.imap]
protocol = "imap"
bind = ["%(router)s:%(port)d", "[%(router6)s]:%(port)d"]
tls = "plain"
[listener.behind]
protocol = "imap"
bind = ["%(router)s:%(behind)d"]
tls = "plain"
proxy_protocol = "required"
proxy_trusted = ["%(trusted)s"]
[guard]
enabled = %(guard)s
"""


def main():
    only = sys.argv[1:]
    site = Site()
    try:
        for name, run in (("syn", cost_of_a_syn), ("ordinary", cost_of_attachments)):
            if not only or name in only:
                run(site)
        for name, run in (("honest", honest), ("guesses", guesses)):
            with tempfile.TemporaryDirectory() as directory:
                os.chmod(directory, 0o755)
                if not only or name in only:
                    run(site, directory)
    finally:
        site.close()


if __name__ == "__main__":
    main()
