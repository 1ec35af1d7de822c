#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the Makefile (OPS-4): `make help` names every target; what a user sets counts; a build in
another directory, without network and without the BTF of this machine's kernel, gives the same bytes; a
tarball of the source is whole; and what is installed can be taken away. And that make test and what follows
it in make test-all run every part of the tests, none twice (OPS-6). As root."""

import filecmp
import glob
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import checkout  # noqa: E402
import chroot  # noqa: E402
import releases  # noqa: E402

MAKE = os.environ.get("MAKE", "make").split()[0]
ENVIRONMENT = dict({k: v for k, v in os.environ.items() if not k.startswith("MAKE")}, CCACHE_DISABLE="1")
JOBS = "-j%d" % len(os.sched_getaffinity(0))
BTF = "/sys/kernel/btf"


def make(*arguments, directory=ROOT):
    done = subprocess.run([MAKE, "--no-print-directory", *arguments], cwd=directory, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode:
        raise SystemExit("make %s:\n%s" % (" ".join(arguments), done.stdout[-4000:]))
    return done.stdout


def unnamed():
    """Targets that help does not name."""
    named = set(re.findall(r"^([a-z-]+) ", make("help"), re.M))
    targets = set()
    for path in [ROOT + "/Makefile"] + glob.glob(ROOT + "/tests/*.mk"):
        with open(path, encoding="utf-8") as f:
            for line in re.findall(r"^\.PHONY: (.*)", f.read().replace("\\\n", " "), re.M):
                targets |= set(line.split())
    return sorted(targets - named)


def ignored():
    """Flags of the user that reach no compiler."""
    text = make("-n", "BUILD=/nowhere", "CFLAGS=-O1", "CPPFLAGS=-DHOMING_ONE", "LDFLAGS=-Wl,-O1", "all")
    compiled = [line for line in text.splitlines() if " -c userspace/" in line]
    linked = [line for line in text.splitlines() if " -o /nowhere/homingd " in line]
    return [flag for flag, lines in (("-O1", compiled), ("-DHOMING_ONE", compiled), ("-Wl,-O1", linked))
            if not lines or any(flag not in line.split() for line in lines)]


def build_apart(directory):
    """A build with no network but loopback, and with no BTF to be seen."""
    chroot.checked(chroot.libc.unshare(chroot.CLONE_NEWNET))
    if os.path.isdir(BTF):
        chroot.mount("tmpfs", BTF, "tmpfs")
        assert not os.listdir(BTF)
    make("-s", JOBS, "all", directory=directory)
    return 0


def different():
    """Outputs that differ from those of this directory."""
    make("-s", JOBS, "all")
    with tempfile.TemporaryDirectory(prefix="homing-elsewhere-") as parent:
        directory = os.path.join(parent, "a longer name than usual".replace(" ", "-"))
        checkout.copy(checkout.files(others=False), directory)
        if chroot.in_namespaces(lambda: build_apart(directory)):
            raise SystemExit("no build without network and BTF")
        outputs = ["build/homingd", "build/homingctl"] + [
            os.path.relpath(p, ROOT) for p in glob.glob(ROOT + "/build/bpf/*.o")]
        found = [o for o in outputs if not filecmp.cmp(
            os.path.join(ROOT, o), os.path.join(directory, o), shallow=False)]
        for output in outputs:
            with open(os.path.join(directory, output), "rb") as f:
                if parent.encode() in f.read():
                    found.append(output + " holds the path of its build")
        return found


def built_twice():
    """Commands of a second `make test-build` right after one: it would replace programs that others run."""
    with tempfile.TemporaryDirectory(prefix="homing-twice-") as parent:
        directory = os.path.join(parent, "tree")
        checkout.copy(checkout.files(others=False), directory)
        make("-s", JOBS, "test-build", directory=directory)
        return [line for line in make("-n", "test-build", "layers", directory=directory).splitlines()
                if line.strip() and "layers.py" not in line and not line.startswith("make")][:3]


def left_behind():
    """What make uninstall leaves of make install, or does not take away of its own alone."""
    with tempfile.TemporaryDirectory(prefix="homing-install-") as place:
        other = place + "/opt/x/sbin/other"
        os.makedirs(os.path.dirname(other))
        open(other, "wb").close()
        make("-s", "install", "DESTDIR=" + place, "PREFIX=/opt/x")
        installed = [n for _, _, names in os.walk(place) for n in names]
        make("-s", "uninstall", "DESTDIR=" + place, "PREFIX=/opt/x")
        left = [n for _, _, names in os.walk(place) for n in names]
        if not {"homingd", "homingctl", "homingctl.8"} <= set(installed):
            return ["nothing was installed"]
        return [n for n in left if n != "other"] if os.path.exists(other) else ["it took another's file"]


def wrong_in_dist():
    """What `make dist` lacks of the last commit, or makes otherwise the second time."""
    with tempfile.TemporaryDirectory(prefix="homing-dist-") as place:
        contents = []
        for name in ("one", "two"):
            made = make("dist", "BUILD=%s/%s" % (place, name)).split()[-1]
            with open(made, "rb") as f:
                contents.append(f.read())
        with tarfile.open(made) as archive:
            held = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    committed = set(filter(None, subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-tree", "-rz", "--name-only", "HEAD"], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout.split("\0")))
    found = sorted(committed ^ held)
    return found if contents[0] == contents[1] else found + ["two of one commit differ"]


def run_tests():
    """tests/tools/run-tests.py as a module."""
    spec = importlib.util.spec_from_file_location("run_tests", os.path.join(HERE, "run-tests.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def misplaced():
    """Parts of the tests that make test-all does not run once, or that make releases does not run."""
    module = run_tests()
    parts = set(module.parts_of([MAKE], [])) - {"smoke"} # of make check; its files are in e2e
    once = module.SETS["test"].split() + module.SETS["rest"].split() + releases.PARTS.split()
    parts -= {"handoff-long"} # only when asked for: it takes long
    # Its unit tests are a part there, its end-to-end tests are in the other release's.
    here = parts - {"sanitizers"}
    # vm has all of its parts there, and release is what test-all has for that.
    there = parts - {"releases", "vm-relay", "unit-sanitizers", "release"}
    return sorted({p for p in once if once.count(p) > 1} | (here ^ set(once)) |
                  (there ^ set(releases.ALL_PARTS.split())))


def main():
    if os.geteuid() != 0:
        print("make-check: only root can hide the network and the kernel's BTF", file=sys.stderr)
        return 2
    checks = (("make help names every target", unnamed),
              ("CFLAGS, CPPFLAGS and LDFLAGS count", ignored),
              ("equal bytes from two directories, without network and BTF", different),
              ("a second make builds nothing", built_twice),
              ("make dist holds the last commit, in the same bytes each time", wrong_in_dist),
              ("make test-all runs every part once", misplaced),
              ("make uninstall takes away what make install made", left_behind))
    failed = 0
    for title, check in checks:
        fault = check()
        failed += bool(fault)
        print("%-6s %s%s" % ("FAILED" if fault else "ok", title, fault and ": " + ", ".join(fault) or ""),
              flush=True)
    print("%d passed, %d failed, 0 skipped" % (len(checks) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
