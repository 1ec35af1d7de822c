# SPDX-License-Identifier: Apache-2.0
"""What the guard leaves behind libxdp's dispatcher, and who removes it (GRD-6). Runs inside the virtual
machines: not every kernel takes the dispatcher's programs."""

import glob
import json
import os
import signal
import subprocess

import harness
import pytest

PINS = "/sys/fs/bpf/guard"
GUARD = "[splice]\npin_path = \"%s\"\n[guard]\nenabled = true\ninterfaces = [\"lo\"]\nxdp_mode = \"generic\"\n" % PINS


def bpftool(*args):
    return json.loads(subprocess.run(["bpftool", "-j", *args], capture_output=True, text=True, check=True).stdout)


def guards():
    """Ids of the programs that the device's dispatcher calls."""
    return sorted(bpftool("prog", "show", "pinned", path)["id"]
                  for path in glob.glob("/sys/fs/bpf/xdp/dispatch-1-*/prog*-prog"))


def only_guard():
    one, = guards()
    return one


def on_loopback():
    return [row for row in bpftool("net", "show")[0]["xdp"] if row["devname"] == "lo"]


def detach():
    done = subprocess.run([os.path.join(harness.BUILD, "homingd"), "--guard-detach"], capture_output=True, text=True,
                          timeout=harness.PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def router(make):
    yield make.router([make.node("node1")], start=False, extra=GUARD, listeners={"imap": "starttls"})
    detach()


def start(router):
    router.lines, router.ports = [], {}
    router.start()
    line = router.wait_line(lambda line: "msg=guard_interface" in line)
    assert "interface=lo mode=generic by=dispatcher" in line, line
    return only_guard()


def greeted(router):
    with router.connect() as sock:
        return sock.recv(4) == b"* OK"


def test_GRD_6_the_next_start_replaces_what_a_killed_router_left(router):
    first = start(router)
    router.stop(expect=-signal.SIGKILL, how=signal.SIGKILL)
    assert only_guard() == first
    second = start(router)
    assert second != first and greeted(router)
    router.stop()
    assert only_guard() == second
    third = start(router)
    assert third != second and greeted(router)


def test_GRD_6_what_is_left_is_removed(router):
    start(router)
    router.stop()
    assert only_guard() and on_loopback()
    assert detach() == "guard: 1 removed\n"
    assert guards() == [] and not on_loopback()
    assert detach() == ""
