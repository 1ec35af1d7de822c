# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark runs and what it costs: three network namespaces, one CPU for the router and
one for the rest, a control group for each router, and the accounts of CPU time and memory."""

import contextlib
import ctypes
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402

CLIENT, ROUTER, NODE = ("10.213.1.1", "10.213.1.2", "10.213.2.2")
ROUTER_NODE_SIDE = "10.213.2.1"
ROUTER_CPU, LOAD_CPU = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def sh(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Network:
    """client -- router -- node, each in a namespace, veth between them, congestion control reno.
    The router's namespace forwards packets, for what is measured without a router."""

    def __init__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.tag = "hb%d" % os.getpid()
        self.names = {role: "%s-%s" % (self.tag, role) for role in ("c", "r", "n")}
        for name in self.names.values():
            sh("ip", "netns", "add", name)
        self.link("c", CLIENT, "r", ROUTER)
        self.link("r", ROUTER_NODE_SIDE, "n", NODE)
        for role in self.names:
            self.run(role, "ip", "link", "set", "lo", "up")
            self.run(role, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno",
                     "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
        self.run("c", "ip", "route", "add", NODE, "via", ROUTER)
        self.run("n", "ip", "route", "add", CLIENT, "via", ROUTER_NODE_SIDE)
        self.run("r", "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def link(self, a, a_address, b, b_address):
        ends = "%s%s%s" % (self.tag, a, b), "%s%s%s" % (self.tag, b, a)
        sh("ip", "link", "add", ends[0], "netns", self.names[a], "type", "veth", "peer", "name",
           ends[1], "netns", self.names[b])
        for role, end, address in ((a, ends[0], a_address), (b, ends[1], b_address)):
            self.run(role, "ip", "addr", "add", address + "/24", "dev", end)
            self.run(role, "ip", "link", "set", end, "up")

    def run(self, role, *command):
        sh("ip", "netns", "exec", self.names[role], *command)

    @contextlib.contextmanager
    def inside(self, role):
        """What is started or connected meanwhile by this thread is in that namespace."""
        fd = os.open("/run/netns/" + self.names[role], os.O_RDONLY)
        try:
            enter_namespace(fd)
            yield
        finally:
            enter_namespace(self.home)
            os.close(fd)

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)
        os.close(self.home)


def enter_namespace(fd):
    if libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


class Awake:
    """In a virtual machine a CPU that has nothing to do is given back to the hypervisor, and waking it up is
    an exit, which costs whoever wakes it several times what a router does for a small message. By the
    kernel's default it waits awake for 200 us before that; here it does for as long as this is open."""

    WAIT = "/sys/module/haltpoll/parameters/guest_halt_poll_ns"
    NANOSECONDS = 200000

    def __init__(self):
        self.before = self.read()
        if self.before is not None and self.before < self.NANOSECONDS:
            self.write(self.NANOSECONDS)

    @classmethod
    def read(cls):
        """None: CPUs wait in another way."""
        try:
            with open(cls.WAIT, encoding="ascii") as f:
                return int(f.read())
        except OSError:
            return None

    @classmethod
    def write(cls, nanoseconds):
        with contextlib.suppress(OSError), open(cls.WAIT, "w", encoding="ascii") as f:
            f.write("%d\n" % nanoseconds)

    def close(self):
        if self.before is not None:
            self.write(self.before)


class Group:
    """A control group: the CPU time of all processes that were ever in it, and their numbers."""

    def __init__(self, name):
        with open("/proc/mounts", encoding="ascii") as f:
            root = re.search(r"^\S+ (\S+) cgroup2 ", f.read(), re.M).group(1)
        self.parent = root
        self.path = "%s/homing-bench-%d-%s" % (root, os.getpid(), name)
        os.mkdir(self.path)

    @contextlib.contextmanager
    def inside(self):
        """What is started meanwhile belongs to the group."""
        with open("/proc/self/cgroup", encoding="ascii") as f:
            before = re.search(r"^0::(.*)$", f.read(), re.M).group(1)
        self._move(self.path)
        try:
            yield
        finally:
            self._move(self.parent + before)

    @staticmethod
    def _move(path):
        with open(path + "/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))

    def cpu_s(self):
        with open(self.path + "/cpu.stat", encoding="ascii") as f:
            return int(f.readline().split()[1]) / 1e6

    def pids(self):
        with open(self.path + "/cgroup.procs", encoding="ascii") as f:
            return [int(line) for line in f]

    def close(self):
        """Its processes have been asked to end."""
        def removed():
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            return not os.path.exists(self.path)
        harness.wait_until(removed)


@contextlib.contextmanager
def pinned(cpu):
    """What is started meanwhile runs on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_s():
    """Seconds that the router's CPU, and all of them, have spent on anything."""
    with open("/proc/stat", encoding="ascii") as f:
        text = f.read()

    def busy(name):
        fields = list(map(int, re.search(r"^%s +(.*)$" % name, text, re.M).group(1).split()))
        user, nice, system, _, _, irq, softirq = fields[:7]
        return (user + nice + system + irq + softirq) / TICK
    return busy("cpu%d" % ROUTER_CPU), busy("cpu")


class Account:
    """CPU seconds between its beginning and stop(): own of the group (0 without one), core of the
    router's CPU, machine of all CPUs; wall is the time that passed."""

    def __init__(self, group):
        self.group = group
        self.start = self._now()

    def _now(self):
        return (self.group.cpu_s() if self.group else 0.0, *busy_s(), time.monotonic())

    def stop(self):
        names = ("own", "core", "machine", "wall")
        return dict(zip(names, (b - a for a, b in zip(self.start, self._now()))))


def wakes(pids):
    """{thread: how often it has been given a CPU}: each time that it was woken up, and whenever it
    went on after another had its turn."""
    found = {}
    for pid in pids:
        for task in os.listdir("/proc/%d/task" % pid):
            with contextlib.suppress(OSError), \
                    open("/proc/%d/task/%s/schedstat" % (pid, task), encoding="ascii") as f:
                found[task] = int(f.read().split()[2])
    return found


def kernel_threads():
    """{thread: ns on a CPU} of those that do for sockets what no process does for itself."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/comm" % pid, encoding="ascii") as comm, \
                open("/proc/%s/schedstat" % pid, encoding="ascii") as f:
            if comm.read().startswith(("kworker/", "ksoftirqd/")):
                found[pid] = int(f.read().split()[0])
    return found


def grown(before, after):
    """The sum of what threads have more than before; one that has ended meanwhile is left out."""
    return sum(value - before.get(thread, 0) for thread, value in after.items())


def user_kib(pids):
    """Anonymous and shared memory of the processes, a page that some share counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), \
                open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            total += sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+)", f.read(), re.M)))
    return total


def kernel_kib():
    """What the kernel of the machine holds that grows with sockets and processes. Names and inodes
    that are kept for the next who asks are dropped first: whoever lists /proc/PID/fd meanwhile
    leaves 0.9 KiB for each socket there."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("2")
    with open("/proc/meminfo", encoding="ascii") as f:
        total = sum(map(int, re.findall(r"^(?:Slab|KernelStack|PageTables):\s+(\d+)", f.read(),
                                        re.M)))
    with open("/proc/net/sockstat", encoding="ascii") as f:
        return total + PAGE_KIB * int(re.search(r"^TCP: .* mem (\d+)", f.read(), re.M).group(1))


def conditions():
    """(name, value) of what the figures depend on."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(re.search(r"^MemTotal:\s+(\d+)", f.read()).group(1)) / 2**20
    return [("CPU", "%d x %s" % (os.cpu_count(), model.group(1) if model else os.uname().machine)),
            ("memory", "%.0f GiB" % memory), ("kernel", "Linux " + os.uname().release),
            ("idle CPUs wait awake for", "no time that is known" if Awake.read() is None
             else "%.0f us (guest_halt_poll_ns)" % (Awake.read() / 1000)),
            ("kernel TLS", "yes" if os.path.exists("/proc/net/tls_stat") else "no"),
            ("TLS legs of Homing", "record; where it says so, copy (OpenSSL to the end)"),
            ("Python", sys.version.split()[0])]


def packages(names):
    """(package, version) of those that are installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n",
                           *names], capture_output=True, text=True, check=False)
    return [tuple(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("ii")]
