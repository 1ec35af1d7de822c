# SPDX-License-Identifier: Apache-2.0
"""Nodes on the router's host that write to the client's socket themselves: off unless asked for, and
refused where the kernel shows it. What happens where it is not refused is in vm/e2e/test_bypass.py."""

import contextlib
import json
import os
import re
import subprocess

import pytest
from logins import last_session
from plain_legs import login, pins, plain_router, rows  # noqa: F401

SAME_HOST = 'same_host = "auto"\n'
PROGRAMS = {"hm_redirect", "hm_arm", "hm_pass"}


def programs(process):
    """Those that the process holds."""
    ids = set()
    for name in os.listdir("/proc/%d/fdinfo" % process.pid):
        with contextlib.suppress(FileNotFoundError), \
                open("/proc/%d/fdinfo/%s" % (process.pid, name), encoding="ascii") as f:
            ids.update(map(int, re.findall(r"^prog_id:\s*(\d+)", f.read(), re.M)))
    done = subprocess.run(["bpftool", "-j", "prog", "list"], capture_output=True, text=True,
                          check=True)
    return {entry.get("name") for entry in json.loads(done.stdout) if entry["id"] in ids}


def bypass_rows(router):
    return {row["name"]: row for row in router.stats()["probe"] if row["name"].startswith("bypass")}


def test_GRD_20_off_unless_asked_for(make, pins):
    router = plain_router(make, [make.node("node1", tls="plain")], pins)
    assert any("msg=paths" in line and "bypass=off" in line for line in router.lines)
    assert programs(router.process) & (PROGRAMS | {"hm_splice"}) == {"hm_splice"}
    assert bypass_rows(router) == {}
    with login(router) as client:
        client.command("b NOOP")
        assert {row["path"] for row in rows(pins)} == {"HM_SOCKMAP"}
    assert last_session(router)["path_down"] == "sockmap"


def test_GRD_23_refused_with_the_reason(make, pins):
    """On a kernel that fails a trial there is one warning, nothing stays loaded, and the old path
    is taken."""
    router = plain_router(make, [make.node("node1", tls="plain")], pins, splice=SAME_HOST)
    failed = [row for row in bypass_rows(router).values() if not row["ok"]]
    if not failed:
        pytest.skip("this kernel passes")
    warnings = [line for line in router.lines if "msg=path_unavailable path=bypass" in line]
    assert len(warnings) == 1 and "level=warn" in warnings[0] and failed[0]["reason"] in warnings[0]
    assert any("msg=paths" in line and "bypass=no" in line for line in router.lines)
    assert programs(router.process) & (PROGRAMS | {"hm_splice"}) == {"hm_splice"}
    with login(router) as client:
        client.command("b NOOP")
        assert {row["path"] for row in rows(pins)} == {"HM_SOCKMAP"}
    assert last_session(router)["path_down"] == "sockmap"


def test_GRD_23_an_odd_kernel_is_told_apart(make):
    """FIONREAD alone decides here: everything else works, or the path has another fault."""
    router = plain_router(make, [make.node("node1", tls="plain")], splice=SAME_HOST)
    found = bypass_rows(router)
    assert sorted(found) == ["bypass FIONREAD at a node", "bypass leaves a taken socket alone",
                             "bypass slow reader", "bypass two nodes"]
    assert {row["ok"] for name, row in found.items() if "FIONREAD" not in name} == {True}
    fionread = found["bypass FIONREAD at a node"]
    assert fionread["ok"] or fionread["reason"] == "0, although bytes are there"
