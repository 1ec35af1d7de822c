# SPDX-License-Identifier: Apache-2.0
"""What a router that serves may still ask of the kernel (SEC-8, docs/security.md)."""

import contextlib
import errno
import os

import harness
import pytest
from confined import deny
from harness import wait_until

pytestmark = pytest.mark.skipif("-san" in harness.BUILD or "-tsan" in harness.BUILD,
                                reason="builds with sanitizers have no filter")
HARMLESS = {"tcp", "udp", "unix", "route"}
# Depending on the kernel and its settings these end in EPERM before the arguments are looked at.
PRIVILEGED = {"bpf_prog_load", "bpf_map_create", "bpf_obj_get"}


def modes(router):
    """What /proc says of every thread, but those that end meanwhile."""
    found = []
    base = "/proc/%d/task" % router.process.pid
    for task in os.listdir(base):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                open(os.path.join(base, task, "status"), encoding="ascii") as f:
            found += [line.split()[1] for line in f if line.startswith("Seccomp:")]
    return found


def tried(router, path="record"):
    """The errors of tests/e2e/forbidden.c, which a login wakes; the session itself works."""
    with router.client() as client:
        assert client.line().startswith("* OK")
        assert client.command('a LOGIN alice secret')[-1].startswith("a OK")
        router.wait_path(path, "alice")
        assert client.command("b NOOP") == ["b OK NOOP"]
    line = router.wait_line(lambda text: "msg=tried" in text)
    errors = {key: int(value) for key, value in harness.parse_logfmt(line).items() if key != "msg"}
    assert HARMLESS < set(errors)
    return errors


def start(make, server="threads = 2\n", **kwargs):
    return make.router([make.node("node1")], server=server, **kwargs)


@pytest.mark.parametrize("mode, path", [("auto", "record"), ("copy", "copy")])
def test_what_is_not_needed_is_refused(make, mode, path):
    router = start(make, environment=harness.preloaded("forbidden"),
                   extra='[splice]\nmode = "%s"\n' % mode)
    errors = tried(router, path)
    wrong = {name: errno.errorcode.get(error, error) for name, error in errors.items()
             if error != (0 if name in HARMLESS else errno.ENOSYS if name == "clone3"
                          else errno.EPERM)}
    assert wrong == {}, router.log()
    assert len(modes(router)) >= 3 and set(modes(router)) == {"2"}
    assert "no_seccomp" not in router.log()


def test_without_it_the_kernel_answers_otherwise(make):
    """Also that the test before cannot pass by what the kernel refuses anyway."""
    router = start(make, "threads = 2\nseccomp = false\n",
                   environment=harness.preloaded("forbidden"))
    errors = tried(router)
    assert {name for name, error in errors.items() if error == errno.EPERM} <= PRIVILEGED
    assert errors["clone3"] != errno.ENOSYS
    assert set(modes(router)) == {"0"}


def test_threads_that_a_reload_makes_have_it_too(make):
    router = start(make)
    before = set(os.listdir("/proc/%d/task" % router.process.pid))
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace(
        "SELECT node FROM account_nodes WHERE identifier = $1",
        "SELECT node FROM account_nodes WHERE identifier = $1 LIMIT 1"))
    answer = router.admin("POST", "/config/reload")
    assert answer[0] == 200, answer
    wait_until(lambda: set(os.listdir("/proc/%d/task" % router.process.pid)) - before)
    assert set(modes(router)) == {"2"}


def test_a_kernel_without_filters_is_a_warning(make):
    router = start(make)
    router.stop()
    router.lines, router.ports, router.wrapper = [], {}, deny("seccomp", errno.ENOSYS)
    router.start()
    lines = [line for line in router.lines if "msg=no_seccomp" in line]
    assert len(lines) == 1 and "level=warn" in lines[0]
    with router.client() as client:
        assert client.line().startswith("* OK")
        assert client.command('a LOGIN alice secret')[-1].startswith("a OK")
