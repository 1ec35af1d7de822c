# SPDX-License-Identifier: Apache-2.0
"""What the router holds: memory of the process, and what is under way between a node that pushes and a
client that does not read."""

import contextlib
import hashlib
import re
import threading

from .nodes import node_login
from .waiting import PATIENCE, wait_until


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


def available_kib():
    """What would be available if no process had memory: others take some and give it back while a test runs,
    the kernel alone makes this smaller."""
    with open("/proc/meminfo", encoding="ascii") as f:
        rows = dict(re.findall(r"^(\w+):\s+(\d+)", f.read(), re.M))
    return sum(int(rows[name]) for name in ("MemAvailable", "AnonPages", "Shmem", "PageTables", "KernelStack"))


def memory_holds(pid, needle):
    """Where a process's writable memory holds some bytes."""
    found = []
    with open("/proc/%d/maps" % pid, encoding="ascii") as maps, \
            open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, mode, *rest = line.split()
            start, end = (int(x, 16) for x in span.split("-"))
            if not mode.startswith("rw") or end - start > 1 << 32:
                continue
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            at = data.find(needle)
            while at >= 0:
                found.append((hex(start + at), rest[-1] if rest else ""))
                at = data.find(needle, at + 1)
    return found


def push_at_a_closed_door(make, sysctl, path, tls, mode, push=400 << 20):
    """A node tries to push at a client that does not read. What was taken of it is held by four
    sockets, the router and the kernel's backlog between them: at most the buffers and 2 MiB. Then
    the client reads, and every byte is there. Returns the figures."""
    buffer = 256 << 10
    for name in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
        sysctl(name, "4096 %d %d" % (buffer // 2, buffer))
    started, taken, stop = threading.Event(), [], threading.Event()
    block = bytes(range(251)) * 1024

    def serve(conn):
        if node_login(conn) is None:
            return
        assert conn.line() == "start"
        conn.sock.settimeout(3)
        total = 0
        with contextlib.suppress(OSError):
            while total < push:
                at = total % len(block) # a record at a time: all that is counted was sent
                total += conn.sock.send(block[at:at + 16384])
        taken.append(total)
        stop.wait(PATIENCE)

    node = make.node("node1", serve, tls=tls)
    router = make.router([node], listeners={"imap": tls}, extra="[capabilities.imap]\n"
                         "allow_plain_auth_without_tls = true\n[splice]\nmode = \"%s\"\n" % mode)
    with router.client(tls=tls == "implicit") as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.wait_path(path, "alice")
        rss, available = rss_kib(router.process.pid), available_kib()
        client.send("start\n")
        wait_until(lambda: taken)
        grown, used = rss_kib(router.process.pid) - rss, []
        # a socket's memory is what it holds with the kernel's overhead: at most twice its buffer
        assert taken[0] < 4 * 2 * buffer + (2 << 20), taken
        assert grown < 2048, grown
        limit = (4 * 2 * buffer + (2 << 20)) // 1024 + 32768

        def settled():
            """Others have sockets and files too, and give back what they take: what is held here stays."""
            used.append(available - available_kib())
            return used[-1] < limit
        wait_until(settled, PATIENCE / 2)
        digest, got = hashlib.sha256(), 0
        while got < taken[0]:
            data = client.sock.recv(1 << 20)
            assert data
            digest.update(data)
            got += len(data)
        expected = hashlib.sha256((block * (taken[0] // len(block) + 1))[:taken[0]])
        assert got == taken[0] and digest.digest() == expected.digest()
        rows = router.sessions()["sessions"]
        assert {rows[0]["path_up"], rows[0]["path_down"]} == {path}
        stop.set()
    return {"taken": taken[0], "rss_kib": grown, "available_kib": used[-1]}
