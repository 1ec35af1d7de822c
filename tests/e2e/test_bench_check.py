# SPDX-License-Identifier: Apache-2.0
"""The comparison of `make vm-bench` with its baseline, and what benchmarks write, with numbers made up
for it."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import bench  # noqa: E402
import harness  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import vm_check  # noqa: E402
import vm_guest  # noqa: E402
import vm_handoff  # noqa: E402
import vm_report  # noqa: E402
import workloads  # noqa: E402

VERSIONS = {"kernel": "6.1.1", "OpenSSL": "3.0.1", "gcc": "12.2", "clang": "14.0",
            "HAProxy": "2.6.1"}
RESULT = {"rounds": {"record": {"record": {"own": [80], "machine": [280, 270, 290]}},
                     "ktls": {"record": {"own": [104, 100, 90], "machine": [300, 310, 290]}},
                     "copy": {"record": {"own": [200], "machine": [500]}},
                     "haproxy": {"record": {"own": [250], "machine": [600]}}},
          "memory": {"ktls": {"user": 0.5, "kernel": 14.0}, "haproxy": {"user": 70, "kernel": 10}}}
FIGURES = {"record record own": 80, "record record machine": 280, "ktls record own": 100, "ktls record machine": 300, "copy record own": 200,
           "copy record machine": 500, "haproxy record own": 250, "haproxy record machine": 600,
           "ktls memory user": 0.5, "ktls memory kernel": 14.0, "haproxy memory user": 70,
           "haproxy memory kernel": 10}


def check(versions=None, **changed):
    found = dict(FIGURES, **{name.replace("_", " "): value for name, value in changed.items()})
    return vm_check.check(dict(VERSIONS, **(versions or {})), found,
                          {"versions": VERSIONS, "figures": FIGURES})


def test_medians_are_compared():
    assert vm_check.figures(RESULT) == FIGURES


def test_the_same_is_fine():
    assert check() == (True, ["no worse than the baseline: 8 figures"])


def test_up_to_five_percent_is_fine():
    assert check(ktls_record_own=105, copy_record_machine=525)[0]


def test_more_than_five_percent_fails_and_names_the_figure():
    ok, lines = check(ktls_record_own=106)
    assert not ok
    assert lines == ["WORSE ktls record own: 106, the baseline's 100: +6.0 %"]


def test_every_worse_figure_is_named():
    ok, lines = check(ktls_memory_user=0.6, copy_record_own=300, record_record_own=90)
    assert not ok
    assert [line.split(":")[0] for line in lines] == [
        "WORSE record record own", "WORSE copy record own", "WORSE ktls memory user"]


def test_the_rhythm_of_copied_bytes_is_not_judged():
    versions, figures = VERSIONS, {"ktls byte_tls own": 7.0, "copy byte_tls own": 10.0}
    baseline = {"versions": VERSIONS, "figures": figures}
    assert vm_check.check(versions, dict(figures, **{"copy byte_tls own": 12.0}), baseline)[0]
    assert not vm_check.check(versions, dict(figures, **{"ktls byte_tls own": 7.5}), baseline)[0]


def test_better_is_fine():
    assert check(ktls_record_own=10)[0]


def test_other_routers_are_not_judged():
    assert check(haproxy_record_own=1000, haproxy_memory_user=1000)[0]


def test_other_versions_are_not_compared():
    for name in ("kernel", "OpenSSL", "gcc", "clang"):
        ok, lines = check({name: "9.9"}, ktls_record_own=1000)
        assert ok
        assert lines == ["not compared with the baseline: %s is 9.9, the baseline's %s" % (
            name, VERSIONS[name])]


def test_a_version_that_is_not_known_is_not_compared():
    found = {name: version for name, version in VERSIONS.items() if name != "kernel"}
    ok, lines = vm_check.check(found, FIGURES, {"versions": VERSIONS, "figures": FIGURES})
    assert ok
    assert lines == ["not compared with the baseline: kernel is None, the baseline's 6.1.1"]


def test_a_run_without_haproxy_is_compared():
    versions = {name: version for name, version in VERSIONS.items() if name != "HAProxy"}
    found = {"ktls record own": 200}
    ok, lines = vm_check.check(versions, found, {"versions": VERSIONS, "figures": FIGURES})
    assert not ok and lines == ["WORSE ktls record own: 200, the baseline's 100: +100.0 %"]


def test_nothing_in_common_fails():
    ok, lines = vm_check.check(VERSIONS, {"haproxy record own": 1},
                               {"versions": VERSIONS, "figures": FIGURES})
    assert not ok and lines == ["WORSE nothing that the baseline has was measured"]


# ---- what is written ----

PEERS = ("record", "ktls", "copy", "haproxy")


def measured():
    """Every peer at every work of the guest: 1 of everything of the first, 2 of the second, and so on."""
    return {"rounds": {peer: {task: {"own": [n], "machine": [10 * n]} for task in vm_guest.WORK}
                       for n, peer in enumerate(PEERS, 1)},
            "memory": {peer: {"user": n, "kernel": n} for n, peer in enumerate(PEERS, 1)},
            "sessions": 400}


def handed_over():
    """Everybody spends 1 with handoff, 10 on the sides of the routers without it; two rounds of three
    are like that."""
    sides = ("own", "kernel", "agent", "node", "chain", "machine", "wakes")
    result = measured()
    for tasks in result["rounds"].values():
        for found in tasks.values():
            found.update({side: [10, 99, 10] for side in sides if side != "agent"})
    result["handoff"] = {
        "rounds": {"handoff": {task: {side: [1, 1, 0] for side in sides} for task in vm_handoff.TASKS}},
        "memory": {"user": 2, "agent": 3, "kernel": 4}}
    return result


def table_after(text, heading):
    """Rows of the first table behind a heading: {first cell: other cells}."""
    lines = text[text.index("\n## %s\n" % heading):].split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = {}
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    return rows


def test_the_page_compares_the_record_path_with_all_others():
    assert set(vm_report.TITLES) == set(vm_guest.WORK)
    result = measured()
    text = vm_report.page(result, vm_check.figures(result), VERSIONS)
    own = table_after(text, "Instructions of the router")
    assert own["instructions per"] == [
        "Homing, record", "Homing, kernel TLS", "Homing, OpenSSL", "HAProxy",
        "record to kernel TLS", "record to OpenSSL", "record to HAProxy"]
    for title in vm_report.TITLES.values():
        assert own[title] == ["1.00", "2.00", "3.00", "4.00", "0.50", "0.33", "0.25"], title
    memory = table_after(text, "Memory of an idle session")
    assert memory["both"] == ["2.00", "4.00", "6.00", "8.00", "0.50", "0.33", "0.25"]
    aims = table_after(text, "Aims")
    assert aims["memory of an idle session, user and kernel, record to HAProxy"] == [
        "at most 0.25", "0.25", "met"]
    assert aims["instructions per record of 300 bytes, equal wake-ups, record to HAProxy"] == [
        "at most 0.65", "0.25", "met"]
    assert aims["user memory of an idle session on kernel TLS, KiB"] == [
        "at most 1.00", "2.00", "missed"]


def test_the_page_without_handoff_says_nothing_of_it():
    result = measured()
    text = vm_report.page(result, vm_check.figures(result), VERSIONS)
    assert "handoff" not in text and "handoff" not in vm_report.table(result, vm_check.figures(result))


def test_the_page_counts_everybody_with_handoff():
    assert set(vm_handoff.TASKS) <= set(vm_guest.WORK)
    result = handed_over()
    text = vm_report.page(result, vm_check.figures(result), VERSIONS)
    section = text[text.index("\n## Handoff\n"):text.index("\n## Conditions\n")]
    byte = [line.strip("| ").split(" | ")[1:] for line in section.split("\n")
            if line.startswith("| byte to the client, records of 16 KiB |")]
    assert byte[0] == ["Homing, handoff", *["1.00 (0.00-1.00)"] * 5, "1"]
    assert byte[1] == ["Homing, record", "10.00 (10.00-99.00)", "10.00 (10.00-99.00)", "-",
                       "10.00 (10.00-99.00)", "10.00 (10.00-99.00)", "10"]
    assert [row[0] for row in byte[1:]] == [vm_report.NAMES[peer] for peer in PEERS]
    assert "| Homing, handoff | 2.00 | 3.00 | 4.00 |" in section
    aims = table_after(text, "Aims")
    for words, limit, found in (
            ("instructions per byte of the router, handoff to OpenSSL without it", "0.15", "0.10"),
            ("instructions per byte of router, agent and node, handoff to without it", "0.65", "0.10"),
            ("instructions per login of the router, handoff to HAProxy", "0.42", "0.10")):
        assert aims[words] == ["at most " + limit, found, "met"]
    assert aims["wake-ups of the router for each round trip, handoff"] == ["at most 0.01", "1.00", "missed"]
    assert aims["user memory of an idle session on the router, handoff, KiB"] == [
        "at most 1.00", "2.00", "missed"]


def test_a_quick_run_has_no_memory_to_show():
    result = handed_over()
    del result["memory"]
    result["handoff"]["memory"] = None
    figures = vm_check.figures(result)
    assert not [name for name in figures if " memory " in name]
    text = vm_report.table(result, figures)
    assert "| round trip (NOOP) | Homing, handoff | 1.00" in text and "idle session" not in text


def test_handoff_is_compared_with_the_baseline_but_for_what_is_next_to_nothing():
    figures = vm_check.figures(handed_over())
    assert set(vm_check.NOTHING) <= set(figures)
    assert figures["handoff byte_tls chain"] == 1 and figures["handoff memory kernel"] == 4
    baseline = {"versions": VERSIONS, "figures": figures}
    for name, fine in (("handoff round_trip chain", False),
                       ("handoff record chain", True), ("handoff memory user", True),
                       ("handoff round_trip own", True), ("handoff byte_tls own", False), ("handoff memory kernel", False),
                       ("handoff round_trip wakes", True), ("record round_trip kernel", True)):
        ok, lines = vm_check.check(VERSIONS, dict(figures, **{name: 2 * figures[name]}), baseline)
        assert ok == fine, (name, lines)


class Peer:
    def __init__(self, program, label="", legs=workloads.TLS):
        self.program, self.legs, self.label, self.group = program, legs, label, None
        self.name = " ".join(filter(None, (program, label)))


class Rows:
    """A workload that has been measured: its figure is what each peer is given."""

    def __init__(self, name, figure, **values):
        self.name = name
        self.rows = {peer: {figure: [values[name]]} for name, peer in {
            "record": Peer("Homing"), "copy": Peer("Homing", "copy"),
            "pinned": Peer("Homing", "pinned"), "haproxy": Peer("HAProxy"),
            "haproxy_pinned": Peer("HAProxy", "pinned"), "dovecot": Peer("Dovecot"),
            "handoff": Peer("Homing", "handoff", workloads.TLS_PLAIN)}.items() if name in values}


def test_aims_compare_the_record_path_with_copy_and_haproxy():
    found = [Rows("bulk", "stream_own", record=8, copy=10, haproxy=20),
             Rows("turns-1000", "own", record=60, copy=100, haproxy=110),
             Rows("burst", "own", pinned=1, haproxy_pinned=2),
             Rows("idle", "total", record=8, copy=40, haproxy=40)]
    aims = {aim: (limit, measured) for aim, limit, measured, _ in
            report.aims(report.Results([(rows, rows.rows) for rows in found]))}
    assert aims["own CPU per GB, TLS on both legs, record to copy"] == (0.85, 0.8)
    assert aims["own CPU per small round trip over 1,000 sessions, record to copy"] == (0.7, 0.6)
    assert aims["own CPU per record of 300 bytes in bursts, equal wake-ups, record to HAProxy"] == (0.65, 0.5)
    assert aims["memory per idle session, user and kernel, TLS on both legs, to HAProxy"] == (0.25, 0.2)
    assert {"turns", "burst"} <= set(workloads.PARTS)


def test_aims_of_handoff_compare_it_with_everybody():
    found = [Rows("handoff-full", "own", handoff=4, haproxy=10, dovecot=16, record=7),
             Rows("handoff-ping", "wakes", handoff=0.001, record=2),
             Rows("handoff-bulk", "sum", handoff=6, record=10, copy=12),
             Rows("handoff-idle", "user", handoff=0.5, record=1.3)]
    aims = [aim[1:] for aim in report.aims(report.Results([(rows, rows.rows) for rows in found]))
            if aim[2] is not None]
    assert aims == [(0.42, 0.4, "ratio"), (0.22, 0.25, "ratio"), (0.01, 0.001, "each"),
                    (0.65, 0.6, "ratio"), (1.0, 0.5, "KiB")]
    assert "handoff" in bench.PARTS and "handoff" not in workloads.PARTS


def test_of_threads_that_end_nothing_is_counted():
    assert machine.grown({"1": 5, "2": 100}, {"1": 7, "3": 4}) == 6
    assert set(machine.wakes([os.getpid()])) == set(os.listdir("/proc/self/task"))


# ---- how often a router wakes up ----

WAITS = """import select, time
epoll = select.epoll()
start = time.monotonic()
for _ in range(50):
    epoll.poll(0)
print(time.monotonic() - start)
"""


def test_waits_begin_as_far_apart_as_they_are_told_to():
    def took(microseconds):
        done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, check=True,
                              env=dict(os.environ, **harness.paused(microseconds)))
        assert not done.stderr, done.stderr
        return float(done.stdout)
    assert os.path.exists(harness.BUILD + "/bench/pause.so")
    assert harness.paused(0) == harness.paused(None) == {}
    assert 49 * 0.004 <= took(4000)
    assert took(0) < 49 * 0.004
