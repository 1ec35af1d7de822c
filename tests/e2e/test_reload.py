# SPDX-License-Identifier: Apache-2.0
"""Reload: all or nothing, live (config.md section 14)."""

import re
import signal
import socket
import threading
import time

import harness
import pytest
from harness import PATIENCE, TOKEN, Client, free_port, parse_logfmt, wait_until
from reloading import (DEFAULT1, DEFAULT2, alive, append, edit, frozen, login, metric, node_of,
                       reload, reload_ok, two)


# ---- CFG-50 ----

def test_CFG_50_new_default_destination(make):
    router = two(make)
    assert node_of(router, "nobody@x") == "node1"
    edit(router, (DEFAULT1, DEFAULT2))
    body = reload_ok(router)
    assert body == {"reloaded": True, "changed": ["routing.default_destination"],
                    "restart_required": [], "cache_kept": True, "warnings": 0}
    assert node_of(router, "nobody@x") == "node2"  # the cached "no mapping" as well
    assert node_of(router, "somebody@x") == "node2"
    assert router.admin("GET", "/mappings?identifier=nobody@x")[1]["destination"] == "node2"
    stats = router.stats()
    assert stats["config_generation"] == 2
    assert metric(router, "homing_config_generation") == {"homing_config_generation": 2}


def test_CFG_50_broken_file_changes_nothing(make):
    router = two(make)
    loaded = router.stats()["config_loaded_at"]
    with login(router, "alice@x") as live:
        good = edit(router, (DEFAULT1, 'default_destination = "ghost"'),
                    ('protocol = "imap"', 'protocol = "imapp"'), ("port = ", "poort = "))
        status, body = reload(router)
        assert status == 400 and body["error"] == "invalid configuration"
        assert len(body["errors"]) >= 3
        for wrong, key in (("ghost", "default_destination"), ("imapp", "protocol"),
                           ("poort", "poort")):
            line = next(i for i, text in enumerate(good.split("\n"), 1) if wrong in text)
            assert any(e.startswith("%s:%d:" % (router.config, line)) and ": error: " in e and
                       key in e for e in body["errors"]), body
        assert node_of(router, "bob@x") == "node1"
        alive(live)
        router.workspace.write("homing.toml", "this is no TOML")
        status, body = reload(router)
        assert status == 400 and len(body["errors"]) == 1
        assert node_of(router, "carol@x") == "node1"
    stats = router.stats()
    assert stats["config_generation"] == 1 and stats["config_loaded_at"] == loaded
    assert metric(router, "homing_config_reload_failures_total") == {
        "homing_config_reload_failures_total": 2}


def test_CFG_50_at_most_100_errors(make):
    router = two(make)
    append(router, "[capabilities.imap]\n" + "".join("k%d = 1\n" % i for i in range(150)))
    status, body = reload(router)
    assert status == 400 and len(body["errors"]) == 100


def test_CFG_50_taken_port_changes_nothing(make):
    """#42: the failing listener comes after new certificates, nodes and listeners."""
    router = two(make)
    node3 = make.node("node3")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], free_port()
        edit(router, (DEFAULT1, 'default_destination = "node3"'))
        append(router, node3.toml() + "".join(
            '[listener.more%d]\nprotocol = "imap"\ntls = "implicit"\nbind = ["127.0.0.1:%d"]\n'
            % (i, port) for i, port in enumerate((free, taken))))
        status, body = reload(router)
        assert status == 400, body
        assert len(body["errors"]) == 1
        assert "listener.more1: cannot bind 127.0.0.1:%d" % taken in body["errors"][0]
        assert body["errors"][0].startswith(router.config + ":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free), PATIENCE)
        assert node_of(router, "alice@x") == "node1"
        assert set(router.stats()["nodes"]) == {"node1", "node2"}
        assert set(router.stats()["listeners"]) == {"imap", "imapt"}
    assert set(reload_ok(router)["changed"]) == {
        "destination.node3", "listener.more0", "listener.more1", "routing.default_destination"}
    for port in (free, taken):
        router.ports["more"] = port
        assert node_of(router, "zoe%d@x" % port, "more") == "node3"


def test_CFG_50_failing_certificate_changes_nothing(make, workspace):
    """#42"""
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2))
    with open(router.key, encoding="ascii") as f:
        key = f.read()
    workspace.certificate("other", ["other.test"])
    with open(workspace.path + "/other.key", encoding="ascii") as f:
        workspace.write("router.key", f.read())
    status, body = reload(router)
    assert status == 400 and "tls.certificate.default.key" in body["errors"][0]
    assert node_of(router, "alice@x") == "node1"
    workspace.write("router.key", key)
    reload_ok(router)
    assert node_of(router, "alice@x") == "node2"


def test_CFG_50_failing_store_changes_nothing(make, workspace):
    """#42: the mapping file is broken, and what else is new does not come."""
    path = workspace.write("map", "alice@x node1\n")
    router = two(make, mapping='[mapping]\nsource = "file"\n[mapping.file]\npath = "map"\n')
    workspace.write("map", "alice@x node1\nbroken\n")
    edit(router, (DEFAULT1, DEFAULT2))
    status, body = reload(router)
    assert status == 400 and body["errors"][0].startswith(path + ":2:"), body
    assert node_of(router, "alice@x") == "node1"
    assert node_of(router, "bob@x") == "node1"


def test_CFG_50_checks_are_those_of_a_start(make):
    """CFG-40.3: no node for this protocol."""
    router = two(make)
    append(router, '[listener.x]\nprotocol = "pop3"\ntls = "implicit"\nbind = ["127.0.0.1:0"]\n')
    status, body = reload(router)
    assert status == 400 and "pop3" in body["errors"][0]


# ---- CFG-56, CFG-57, CFG-58 ----

def test_CFG_56_restart_required(make):
    router = two(make)
    edit(router, ("[server]", "[server]\nthreads = 7"))
    for _ in range(2):  # as long as it differs from what is in force
        body = reload_ok(router)
        assert body["changed"] == [] and body["restart_required"] == ["server.threads"]
    edit(router, ("threads = 7", 'threads = 7\nbridge_idle = "77s"'),
         ('[admin]\nbind = "127.0.0.1:0"', '[admin]\nsocket = "/nowhere/x"\nbind = "127.0.0.1:1"'))
    append(router, '[splice]\npin_path = "/sys/fs/bpf/elsewhere"\n')
    body = reload_ok(router)
    assert body["changed"] == ["server.bridge_idle"]
    assert body["restart_required"] == ["admin.bind", "admin.socket", "server.threads",
                                        "splice.pin_path"]
    text = edit(router)
    edit(router, (re.search(r"\[admin\]\n(?:.+\n)*", text).group(0), ""))
    body = reload_ok(router)
    assert body["changed"] == []
    assert body["restart_required"] == ["admin", "server.threads", "splice.pin_path"]
    assert router.stats()["config_generation"] == 5  # the admin listener is still there


def test_CFG_57_the_second_waits_then_503(make, monkeypatch):
    monkeypatch.setattr(harness.router, "PATIENCE", 120.0)
    router = two(make)
    results = {}

    def ask(name):
        results[name] = (reload(router), time.monotonic())
    first, second, third = (threading.Thread(target=ask, args=(n,)) for n in "abc")
    with frozen(router.process.pid, "worker0"):
        edit(router, (DEFAULT1, DEFAULT2))
        first.start()
        router.wait_line(lambda line: "msg=reload ok=true" in line)
        started = time.monotonic()
        second.start()
        wait_until(lambda: "b" in results, timeout=60)
        assert "a" not in results
        (status, body), ended = results["b"]
        assert (status, body) == (503, {"error": "reload in progress"})
        assert ended - started >= 29
        # one who does not wait for the answer
        gone = Client(router.connect("admin"), router.tls_context())
        gone.send("POST /config/reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
                  % TOKEN)
        wait_until(lambda: router.stats() and True)
        gone.reset()
        third.start()  # in time: waits for the first only
    for thread in (first, second, third):
        thread.join(PATIENCE)
    assert results["a"][0][0] == results["c"][0][0] == 200
    assert results["a"][0][1]["changed"] == ["routing.default_destination"]
    assert results["c"][0][1]["changed"] == []
    wait_until(lambda: router.stats()["config_generation"] == 4)


def test_CFG_58_sighup(make):
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    router.process.send_signal(signal.SIGHUP)
    line = router.wait_line(lambda l: "msg=reload ok=" in l)
    assert parse_logfmt(line)["ok"] == "true"
    assert "msg=reload ok=true changed=1 restart=server.threads" in line
    wait_until(lambda: router.stats()["config_generation"] == 2)
    assert node_of(router, "alice@x") == "node2"
    mark = len(router.lines)
    edit(router, (DEFAULT2, 'default_destination = "ghost"'), ('tls = "implicit"', 'tls = "x"'))
    router.process.send_signal(signal.SIGHUP)
    router.wait_line(lambda l: "msg=reload ok=false" in l, start=mark)
    with router.lock:
        lines = router.lines[mark:]
    last = next(i for i, l in enumerate(lines) if "msg=reload ok=false" in l)
    errors = [l for l in lines[:last] if "level=error" in l]
    assert len(errors) >= 2 and any("ghost" in l for l in errors), lines
    assert node_of(router, "bob@x") == "node2"


# ---- admin settings ----

def test_CFG_50_admin_settings_are_live(make, workspace):
    router = two(make)
    for _ in range(2):
        assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 401
    edit(router, ("lockout_threshold = 3", "lockout_threshold = 4"),
         ('lockout_duration = "2s"', 'lockout_duration = "1h"'))
    workspace.write("token", "n" * 40 + "\n")
    body = reload_ok(router)
    assert body["changed"] == ["admin.bearer_token_file", "admin.lockout_duration",
                               "admin.lockout_threshold"]
    assert router.admin("GET", "/stats", source="127.0.0.8")[0] == 401
    assert router.admin("GET", "/stats", token="n" * 40)[0] == 200
    for _ in range(2):
        assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 401
    assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 429
    # ADM-15: a lockout survives
    edit(router, ("lockout_threshold = 4", "lockout_threshold = 5"))
    assert router.admin("POST", "/config/reload", token="n" * 40)[0] == 200
    assert router.admin("GET", "/stats", token="wrong", source="127.0.0.7")[0] == 429


def test_ADM_21_parameters_of_reload(make):
    router = two(make)
    assert router.admin("POST", "/config/reload?dry_run=yes")[:2] == (400, {"error": "bad request"})
    assert router.admin("POST", "/config/reload?x=1")[0] == 400
    assert router.admin("GET", "/config/reload")[0] == 405
    assert router.admin("POST", "/config/reload", token=None)[0] == 401
    assert router.stats()["config_generation"] == 1


def test_dry_run_changes_nothing(make):
    router = two(make)
    port = free_port()
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    append(router, '[listener.more]\nprotocol = "imap"\ntls = "implicit"\nbind = ["127.0.0.1:%d"]\n'
           % port)
    status, body = reload(router, dry_run="true")
    assert status == 200 and body == {
        "reloaded": False, "changed": ["listener.more", "routing.default_destination"],
        "restart_required": ["server.threads"], "cache_kept": True, "warnings": 0,
        "dry_run": True}
    assert node_of(router, "alice@x") == "node1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)
    assert set(router.stats()["listeners"]) == {"imap", "imapt"}
    with socket.create_server(("127.0.0.1", port)):
        status, body = reload(router, dry_run="true")
        assert status == 400 and "cannot bind" in body["errors"][0]
    stats = router.stats()
    assert stats["config_generation"] == 1
    assert metric(router, "homing_config_reload_failures_total") == {
        "homing_config_reload_failures_total": 0}
    assert reload(router, dry_run="false")[1]["reloaded"] is True
    assert node_of(router, "alice@x") == "node2"


# ---- homingctl ----

def test_homingctl_reload(make):
    router = two(make)
    edit(router, (DEFAULT1, DEFAULT2), ("[server]", "[server]\nthreads = 7"))
    done = router.ctl("reload", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^routing.default_destination +would change$", done.stdout, re.M)
    assert re.search(r"^server.threads +needs a restart$", done.stdout, re.M)
    assert done.stdout.endswith("dry run: 1 changed, 1 needs a restart, the cache stays\n")
    assert node_of(router, "alice@x") == "node1"
    done = router.ctl("reload")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^routing.default_destination +changed$", done.stdout, re.M)
    assert done.stdout.endswith("reloaded: 1 changed, 1 needs a restart, the cache stays\n")
    assert node_of(router, "alice@x") == "node2"
    edit(router, (DEFAULT2, 'default_destination = "ghost"'))
    for args in (["reload"], ["reload", "--dry-run"]):
        done = router.ctl(*args)
        assert done.returncode == 1 and done.stdout == ""
        assert "homingctl: invalid configuration" in done.stderr and "ghost" in done.stderr
    assert router.ctl("reload", "now").returncode == 2
    done = router.ctl("--json", "reload")
    assert done.returncode == 1 and '"errors":' in done.stdout
    assert "reload [--dry-run]" in router.ctl("--help").stdout
    for how in ("--man", "--completion"):
        out = router.ctl(how).stdout
        assert "reload" in out and "dry" in out
    router.stop()
    assert router.ctl("reload").returncode == 3
