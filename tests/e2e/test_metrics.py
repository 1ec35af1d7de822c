# SPDX-License-Identifier: Apache-2.0
"""admin.md section 6: /metrics parses, is complete, agrees with the log and /stats, names nobody; the
dashboard and the alert rules ask for what there is."""

import json
import os
import re
import subprocess

import harness
import pytest
from handing import Cluster, Nobody
from harness import wait_until
from metrics import fetch, values

NAMES = """homing_build_info homing_start_time_seconds homing_config_generation
homing_config_reload_failures_total homing_connections_active homing_connections_total
homing_connections_rejected_total homing_sessions_active homing_sessions_total
homing_session_end_total homing_bytes_total homing_path_active homing_path_started_total
homing_path_bytes_total homing_auth_total homing_phase_seconds homing_cache_hits_total
homing_cache_misses_total homing_cache_coalesced_total homing_cache_invalidated_total
homing_cache_entries homing_cache_stale_entries homing_stale_served_total
homing_unknown_destination_total homing_store_queries_total homing_store_errors_total homing_store_up
homing_push_up homing_node_down homing_node_failures homing_node_failure_sources
homing_http_requests_total homing_admin_denied_total homing_admin_locked
homing_node_errors_total homing_shortage_total homing_splice_fallbacks_total homing_stuck_total
homing_splice_resumed_total homing_splice_stalls_total
homing_store_seconds homing_bans homing_bans_total homing_bans_withheld_total
homing_guard_checks_total homing_guard_packets_total homing_guard_interface homing_guard_inert
homing_agent_channels homing_agent_errors_total homing_handoffs_total homing_handoff_channels
homing_handoff_tokens_refused_total homing_handoff_refusals_total
homing_agent_streams homing_handoff_seconds homing_handoff_streams homing_handoff_joined_total
homing_handoff_logins_refused_total
homing_login_full_turns_total homing_logins_waiting homing_login_wait_seconds""".split()


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
def test_section_6_metrics(make, mode, path):
    node = make.node("node1", tls="plain")
    router = make.router([node], listeners={"imap": "plain", "imaps": "implicit"},
                         extra='[splice]\nmode = "%s"\n' % mode)
    for user, password, listener in (("alice", "pw", "imaps"), ("bob", "wrong", "imaps"),
                                     ("bad\\x", "pw", "imap")):
        with router.client(listener, tls=listener == "imaps") as client:
            client.line()
            client.command("a LOGIN %s %s" % (user, password))
            if user == "alice":
                client.command("n NOOP")
    with router.client("imaps") as client:
        client.line()
        client.command('a LOGIN "a b" pw')
    router.wait_idle()
    answer, text = fetch(router)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for name in NAMES:
        assert re.search(r"^# HELP %s \S" % name, text, re.M), name
        assert re.search(r"^# TYPE %s (counter|gauge|histogram)$" % name, text, re.M), name
    assert not re.search("alice|bob|127.0.0.1", text)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                             capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    got = values(text)
    assert got['homing_auth_total{protocol="imap",result="ok"}'] == 1
    assert got['homing_auth_total{protocol="imap",result="refused"}'] == 1
    assert got['homing_auth_total{protocol="imap",result="malformed"}'] == 1
    assert got['homing_auth_total{protocol="imap",result="privacy"}'] == 1
    assert got['homing_connections_total{listener="imaps"}'] == 3
    assert got['homing_sessions_total{node="node1",protocol="imap"}'] == 1
    assert got['homing_sessions_active{node="node1",protocol="imap"}'] == 0
    assert got['homing_phase_seconds_count{phase="tls"}'] == 3
    assert got['homing_phase_seconds_bucket{phase="dial",le="+Inf"}'] == \
        got['homing_phase_seconds_count{phase="dial"}'] >= 2
    assert got["homing_store_seconds_count{}"] == got["homing_store_queries_total"] >= 2
    stats, sessions = router.stats(), router.session_lines()
    assert got["homing_cache_misses_total"] == stats["cache_misses"]
    assert sum(value for key, value in got.items() if key.startswith("homing_session_end_total")) \
        == len(sessions) == 4
    up = sum(int(line["bytes_up"]) for line in sessions)
    assert got['homing_bytes_total{node="node1",direction="up"}'] == up == len("n NOOP\r\n")
    assert got['homing_path_bytes_total{path="%s",direction="up"}' % path] == up
    assert sum(got['homing_path_bytes_total{path="%s",direction="%s"}' % (path, d)]
               for d in ("up", "down")) == stats["paths"][path]["bytes"]
    assert fetch(router, None)[0].status == fetch(router, "x" * 40)[0].status == 401
    assert values(fetch(router)[1])["homing_admin_denied_total"] == 2


def test_metrics_of_a_live_session_and_a_lockout(make):
    router = make.router([make.node("node1", tls="plain")], listeners={"imap": "plain"},
                         extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
    with router.client(tls=False) as client:
        client.line()
        client.command("a LOGIN alice pw")
        router.wait_path("sockmap", "alice")
        wait_until(lambda: values(fetch(router)[1]).get('homing_path_active{path="sockmap",direction="up"}') == 1)
        got = values(fetch(router)[1])
        assert got['homing_sessions_active{node="node1",protocol="imap"}'] == 1
        assert got['homing_path_active{path="sockmap",direction="up"}'] == 1
        assert got['homing_path_active{path="sockmap",direction="down"}'] == 1
        assert got["homing_store_up"] == 1 and got["homing_push_up"] == 0
    for _ in range(3):
        assert router.admin("GET", "/stats", token="wrong" * 8, source="127.0.0.9")[0] == 401
    wait_until(lambda: values(fetch(router)[1])["homing_admin_locked"] == 1)


def check_rules(path):
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def labels_of(text):
    """Metric: the labels it has, and those that a scrape adds."""
    found = {}
    for name, labels in re.findall(r"^(homing\w+)(\{.*\})? \S+$", text, re.M):
        found.setdefault(name, {"instance", "job"}).update(re.findall(r'(\w+)="', labels))
    return found


def test_dashboard_and_alerts_ask_for_what_there_is(make, workspace):
    """Their queries are PromQL, and name metrics and labels that a router that has had a login has."""
    packaging = os.path.join(harness.ROOT, "packaging")
    check_rules(packaging + "/alerts.yml")
    with open(packaging + "/grafana.json", encoding="utf-8") as f:
        board = json.load(f)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 12
    queries = [target["expr"].replace("$__rate_interval", "5m")
               for panel in board["panels"] for target in panel["targets"]]
    router = make.router([make.node("node1")], extra="[guard]\nenabled = true\n" +
                         Cluster(workspace).handoff_toml("node1", Nobody()))
    rules = {"groups": [{"name": "board", "rules": [
        {"record": "query%d" % i, "expr": query} for i, query in enumerate(queries)]}]}
    check_rules(router.workspace.write("board.yml", json.dumps(rules))) # JSON is YAML
    with open(packaging + "/alerts.yml", encoding="utf-8") as f:
        queries += [line for line in f.read().splitlines() if "homing_" in line]
    with router.client() as client:
        client.line()
        client.command("a LOGIN alice pw")
    router.wait_idle()
    there = labels_of(fetch(router)[1])
    assert sum(len(re.findall("homing_", query)) for query in queries) > 30
    for query in queries:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query))))
        known = set()
        for name, selector in re.findall(r"(homing_\w+)(\{[^}]*\})?", query):
            assert name in there, name
            known |= there[name]
            wanted = set(re.findall(r"(\w+)=", selector))
            assert wanted <= there[name], (name, wanted)
        assert grouped <= known, (query, grouped - known)
