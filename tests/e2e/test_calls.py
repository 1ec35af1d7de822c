# SPDX-License-Identifier: Apache-2.0
"""What a login asks of the kernel (LIB-7): the system calls of a worker, counted by strace."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time

import harness
import pytest
from harness import wait_until

pytestmark = pytest.mark.skipif("-san" in harness.BUILD or "-tsan" in harness.BUILD,
                                reason="counts the program's calls, not the sanitizer's")

STANDS_MOST, WHOLE_MOST = 40, 50
LOGINS = 40


def is_traced(pid):
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(FileNotFoundError), \
                open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
            if "\nTracerPid:\t0\n" in f.read():
                return False
    return True


def calls(router, load, command):
    """{name: how often for each login} while the load does what it is told; all of them as "total"."""
    pid = router.process.pid
    with tempfile.NamedTemporaryFile("r") as out:
        with subprocess.Popen(["strace", "-f", "-qq", "-c", "-o", out.name, "-p", str(pid)]) as tracer:
            try:
                wait_until(lambda: is_traced(pid))
                load(command)
            finally:
                tracer.send_signal(signal.SIGINT)
        table = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", out.read(), re.M)
    return {name: int(count) / LOGINS for count, name in table}


@contextlib.contextmanager
def tls_on_both_legs(make, workspace):
    """(a router with one worker, who drives it)"""
    node = workspace.certificate("lightnode", ["node1.test"])
    with harness.light_node(node) as (destination, default):
        router = make.router([destination], default=default, server="threads = 1")
        with harness.Load("127.0.0.1:%d" % router.ports["imap"], "imap", "tls", "accounts=20") as load:
            load("logins 40 1 full") # all accounts are known then
            yield router, load


def test_LIB_7_calls_of_a_login(make, workspace):
    with tls_on_both_legs(make, workspace) as (router, load):
        stands = calls(router, load, "open %d 1 full" % LOGINS)
        load("close")
        whole = calls(router, load, "logins %d 1 full" % LOGINS)
    assert stands["sendto"] >= 6 and whole["sendto"] >= 9 # those were logins
    assert stands["total"] <= STANDS_MOST, stands
    assert whole["total"] <= WHOLE_MOST, whole
    # each of these is asked once at the most, or never
    for name, most in (("accept4", 1), ("setsockopt", 1), ("getpid", 0), ("getsockname", 0), ("epoll_ctl", 3)):
        assert stands.get(name, 0) <= most + 0.2, (name, stands)


def keepalives(router, node):
    """The timers of the router's sockets towards a node."""
    done = subprocess.run(["ss", "-Htnop", "dst", "%s:%d" % (node.address, node.port)], capture_output=True,
                          text=True, check=True)
    return [re.findall(r"timer:\((\w+)", line) for line in done.stdout.splitlines()
            if "pid=%d," % router.process.pid in line]


@pytest.mark.parametrize("tls", ["implicit", "plain"])
def test_LIB_7_keepalive_of_a_session_that_lasts(make, tls):
    node = make.node("node1", tls=tls)
    router = make.router([node], listeners={"imap": tls},
                         extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    with router.client(tls=tls == "implicit") as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        begun = time.monotonic()
        assert keepalives(router, node) == [[]]
        wait_until(lambda: keepalives(router, node) == [["keepalive"]], 20)
        assert time.monotonic() - begun > 8
        assert client.command("b NOOP")[-1] == "b OK NOOP"
