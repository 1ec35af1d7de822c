# SPDX-License-Identifier: Apache-2.0
"""The comparison of `make vm-bench` with its baseline, with numbers made up for it."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import vm_check  # noqa: E402

VERSIONS = {"kernel": "6.1.1", "OpenSSL": "3.0.1", "gcc": "12.2", "clang": "14.0",
            "HAProxy": "2.6.1"}
RESULT = {"rounds": {"ktls": {"record": {"own": [104, 100, 90], "machine": [300, 310, 290]}},
                     "copy": {"record": {"own": [200], "machine": [500]}},
                     "haproxy": {"record": {"own": [250], "machine": [600]}}},
          "memory": {"ktls": {"user": 0.5, "kernel": 14.0}, "haproxy": {"user": 70, "kernel": 10}}}
FIGURES = {"ktls record own": 100, "ktls record machine": 300, "copy record own": 200,
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
    assert check() == (True, ["no worse than the baseline: 6 figures"])


def test_up_to_five_percent_is_fine():
    assert check(ktls_record_own=105, copy_record_machine=525)[0]


def test_more_than_five_percent_fails_and_names_the_figure():
    ok, lines = check(ktls_record_own=106)
    assert not ok
    assert lines == ["WORSE ktls record own: 106, the baseline's 100: +6.0 %"]


def test_every_worse_figure_is_named():
    ok, lines = check(ktls_memory_user=0.6, copy_record_own=300)
    assert not ok
    assert [line.split(":")[0] for line in lines] == [
        "WORSE copy record own", "WORSE ktls memory user"]


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
