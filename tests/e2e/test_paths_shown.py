# SPDX-License-Identifier: Apache-2.0
"""Where an operator sees the path of a session with TLS, every place: log, /sessions, /stats, /metrics,
homingctl and bpftool."""

import re

import harness
import pytest
from harness import wait_until
from legs import relay_login, relay_router
from logins import last_session
from metrics import fetch, values
from plain_legs import pins, rows  # noqa: F401


def counted(router, path):
    """What /metrics says of the path: directions now, directions ever, bytes."""
    got = values(fetch(router)[1])
    return [sum(got['homing_path_%s{path="%s",direction="%s"}' % (name, path, direction)]
                for direction in ("up", "down"))
            for name in ("active", "started_total", "bytes_total")]


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("record", "record"), ("copy", "copy")])
def test_REC_1_the_path_is_named_wherever_it_is_shown(make, pins, mode, path):  # noqa: F811
    router = relay_router(make, [make.node("node1")], "implicit", mode, pins)
    said, heard = len("n NOOP\r\n"), len("n OK NOOP\r\n")
    with relay_login(router, "implicit", path) as client:
        assert client.command("n NOOP") == ["n OK NOOP"]
        wait_until(lambda: router.stats()["paths"][path]["bytes"] == said + heard)
        assert list(router.stats()["paths"]) == [path]
        assert router.stats()["paths"][path]["active"] == 2
        assert counted(router, path) == [2, 2, said + heard]
        row = router.sessions()["sessions"][0]
        assert (row["path_up"], row["path_down"]) == (path, path)
        assert re.search(r"established +%s/%s " % (path, path), router.ctl("sessions").stdout)
        assert re.search(r"^%s +2 +2 +%d$" % (path, said + heard), router.ctl("stats").stdout, re.M)
        assert re.search(r"^%s +2 " % path, router.ctl("top").stdout, re.M)
        wait_until(lambda: sorted(flow["passed"] for flow in rows(pins)) == [said, heard])
        assert {(flow["path"], flow["state"], flow["tls"]) for flow in rows(pins)} == \
            {("HM_" + path.upper(), "HM_USERSPACE", "HM_TLS_ENDS")}
    session = last_session(router)
    assert (session["path_up"], session["path_down"]) == (path, path)
    assert rows(pins) == [] and counted(router, path) == [0, 2, said + heard]


def test_REC_2_what_a_start_has_tried_is_shown(make):
    router = relay_router(make, [make.node("node1")], "implicit", "auto")
    shown = router.ctl("probe").stdout
    for cipher in ("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"):
        assert re.search(r"^record %s +yes" % cipher, shown, re.M), shown
    tried = [line for line in router.lines if "msg=paths " in line]
    assert len(tried) == 1 and harness.parse_logfmt(tried[0])["record"] == "yes"


@pytest.mark.parametrize("mode", ["auto", "record", "copy", "ktls"])
def test_SEC_12_kernel_tls_is_missed_only_where_it_is_wanted(make, mode):
    router = relay_router(make, [make.node("node1")], "implicit", mode)
    has_it = harness.parse_logfmt(next(line for line in router.lines if "msg=paths " in line))["ktls"]
    missed = [line for line in router.lines if "msg=path_unavailable path=ktls " in line]
    assert len(missed) == (mode == "ktls" and has_it == "no")
    assert not any("path=record" in line for line in router.lines)
