# SPDX-License-Identifier: Apache-2.0
"""Interfaces and addresses that change under a router with a guard. It has a network of its own."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads programs")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def test_GRD_30_a_device_that_gets_the_name(make, network):
    router = make.router([make.node("node1")], extra='[guard]\nenabled = true\ninterfaces = ["wanted"]\n')
    begin = len(router.lines)
    ip("link", "add", "first", "type", "veth", "peer", "name", "second")
    ip("link", "set", "second", "name", "wanted")
    line = router.wait_line(lambda line: "msg=guard_interface" in line and "by=link" in line, start=begin)
    assert "interface=wanted" in line
    begin = len(router.lines)
    ip("link", "add", "bridge0", "type", "bridge")
    ip("link", "set", "wanted", "master", "bridge0")
    ip("link", "set", "wanted", "nomaster")  # leaves a bridge, which is not its end
    ip("link", "del", "first")
    line = router.wait_line(lambda line: "gone=true" in line, start=begin)
    assert "interface=wanted" in line
    assert sum("gone=true" in line for line in router.lines[begin:]) == 1
