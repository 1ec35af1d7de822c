#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that `make test` runs, in order, with one closing line that counts what really ran."""

import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import threading
import time

PYTHON = "/usr/bin/python3"
passed = failed = skipped = 0
lock = threading.Lock()


def count(ok, bad=0, skip=0):
    global passed, failed, skipped
    with lock:
        passed, failed, skipped = passed + ok, failed + bad, skipped + skip


def run(name, command, timeout=900, environment=None, fine=(0,)):
    """Runs a command; returns its exit code and output. Prints the output of a failure. Of pytest, 5
    says that a file has no test of those selected."""
    start = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=timeout, env=dict(os.environ, **(environment or {})))
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        code, output = -1, (e.stdout or b"").decode(errors="replace") + "\nTIMED OUT\n"
    with lock:
        if code != 5:
            print("%-6s %s (%.0f s)" % ("ok" if code in fine else "FAILED", name,
                                        time.monotonic() - start), flush=True)
        if code not in fine:
            print(output[-12000:], flush=True)
    return code, output


def single(name, command, expect_failure=False, **kwargs):
    """A step that is one test."""
    if expect_failure:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=900,
                              env=dict(os.environ, **kwargs.get("environment", {})))
        print("%-6s %s" % ("ok" if done.returncode else "FAILED", name), flush=True)
        count(int(done.returncode != 0), int(done.returncode == 0))
        return
    code, _ = run(name, command, **kwargs)
    count(int(code == 0), int(code != 0))


def closing_line(name, command, **kwargs):
    """A step that ends with `N passed, N failed, N skipped`."""
    code, output = run(name, command, **kwargs)
    found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped", output, re.M)
    if not found:
        count(0, 1)
        return output
    ok, bad, skip = map(int, found[-1])
    count(ok, max(bad, int(code != 0)), skip)
    return output


def cmocka(directory, programs):
    for program in programs:
        name = os.path.relpath(program, directory)
        code, output = run("%s %s" % (os.path.basename(directory), name), [program], timeout=300)
        ok = len(re.findall(r"^\[       OK \]", output, re.M))
        bad = len(set(re.findall(r"^\[  FAILED  \] (test_\w+)", output, re.M)))
        if code and not bad:
            bad = 1
        count(ok, bad)


def programs_below(build):
    found = glob.glob(build + "/tests/unit/*/*") + glob.glob(build + "/tests/dialogue/*/*")
    return sorted(p for p in found if os.access(p, os.X_OK) and not p.endswith(".d"))


# Tests of memory and of many at once: nothing else runs beside them.
ALONE = ("test_paths.py", "test_must_hold.py", "test_floods.py")
SHARDS = 3
FUZZ_SECONDS = 30 # of each target; make fuzz alone takes a minute, make fuzz-long an hour


def pytest(name, build, select="", jobs=SHARDS):
    """The end-to-end tests of one build, a process for each file, some at a time: most of their time is
    spent waiting. What must be alone comes last. A test that failed in company is run once more by itself
    and named, so that a deadline missed on a busy machine is told from a fault."""
    files = sorted(glob.glob("tests/e2e/test_*.py"), key=os.path.getsize, reverse=True)
    together = [f for f in files if os.path.basename(f) not in ALONE]
    again = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for bad in pool.map(lambda f: pytest_run(name, build, f, [f], select), together):
            again += bad
    for file in files:
        if os.path.basename(file) in ALONE:
            again += pytest_run(name, build, file, [file], select)
    for test in again:
        print("       once more, alone: " + test, flush=True)
        count(0, len(pytest_run(name, build, test, [test], "")))


def pytest_run(name, build, title, what, select):
    """Counts what passed and was skipped; returns the names of tests that failed."""
    environment = {"HOMING_BUILD": os.path.abspath(build), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rsfE", "--tb=short", *what]
    code, output = run("%s: %s" % (name, os.path.basename(title)),
                       command + (["-k", select] if select else []), timeout=1500,
                       environment=environment, fine=(0, 5))
    numbers = {word: int(n) for n, word in re.findall(
        r"(\d+) (passed|failed|skipped|error)", output.splitlines()[-1] if output else "")}
    for line in re.findall(r"^SKIPPED .*", output, re.M):
        print("       " + line)
    count(numbers.get("passed", 0), 0, numbers.get("skipped", 0))
    failed_tests = sorted(set(re.findall(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", output, re.M)))
    if code not in (0, 5) and not failed_tests:
        failed_tests = list(what) # it did not come to an end
    return failed_tests


PLAIN, SANITIZED, THREADS = "build", "build-san", "build-tsan"
# Not with sanitizers: what freed memory still holds can be judged in the optimised build alone (the
# quarantine keeps also what OpenSSL has freed), and what takes long.
OPTIMISED_ONLY = ("SEC_21", "200_moves", "mailclients", "100_mb", "SES_92", "examples", "floods")


def static(make):
    single("layers", [*make, "layers"])
    single("rules", [*make, "rules-check"])
    single("format", [*make, "format-check"])
    single("docs/config.md is current", [*make, "docs-check"])
    closing_line("Makefile", [PYTHON, "tests/tools/make-check.py"])

def unit(make, build):
    closing_line("toml-test", [*make, "toml-test"])
    cmocka(build, programs_below(build))


def sanitizers():
    pytest("sanitizers", SANITIZED, " and ".join("not " + name for name in OPTIMISED_ONLY))


def threads():
    cmocka(THREADS, programs_below(THREADS))
    pytest("ThreadSanitizer", THREADS,
           "(150 or MAP or ADM or drain or SES_86 or SES_51 or 100_mib or random or reload or CFG_5 "
           "or matrix_of or HTTP_6 or HTTP_9) and not gib and not 200_moves and not must_hold "
           "and not floods")


def torture(builds):
    for build, path, sessions in ((PLAIN, "sockmap", 20000), (PLAIN, "copy", 3000),
                                  (SANITIZED, "sockmap", 2000), (SANITIZED, "copy", 1000)):
        if build not in builds:
            continue
        code, output = run("%d random sessions on %s, %s" % (sessions, path, build),
                           ["%s/tests/relay/torture" % build, path, str(sessions)])
        count(int(code == 0), int(code != 0))
        print("       " + output.strip().splitlines()[-1] if output.strip() else "")


def vm():
    output = closing_line("virtual machines", [PYTHON, "vm/run.py"], timeout=1800)
    print("\n".join("       " + line for line in output.splitlines()
                    if re.match(r"(ok|FAILED|skipped) ", line)))


def fuzz(make):
    output = closing_line("fuzz", [*make, "fuzz", "FUZZ_SECONDS=%d" % FUZZ_SECONDS], timeout=1200)
    print("\n".join("       " + line for line in output.splitlines() if " fuzz " in line))


def bench(make):
    code, output = run("benchmark, one short round", [*make, "bench"], timeout=900,
                       environment={"BENCH_QUICK": "1"})
    count(int(code == 0), int(code != 0))
    print("\n".join("       " + line for line in output.splitlines() if "  " in line))


def demo():
    single("demo", [PYTHON, "tests/demo/demo.py"], environment={"DEMO_ONCE": "1"})
    single("demo fails without the PROXY header", [PYTHON, "tests/demo/demo.py"],
           expect_failure=True, environment={"DEMO_ONCE": "1", "DEMO_PROXY": "off"})


def releases():
    """The other release from nothing: its tests and its demo, whose table is that of this one."""
    output = closing_line("minimal systems of the releases", [PYTHON, "tests/tools/releases.py", "--other"],
                          timeout=1500)
    print("\n".join("       " + line for line in output.splitlines()[:-1]))


def main():
    make = [os.environ.get("MAKE", "make"), "--no-print-directory"]
    wanted = os.environ.get("TEST_PARTS", "").split()
    full = not wanted or "sanitizers" in wanted
    parts = {
        "static": lambda: static(make),
        "unit": lambda: unit(make, SANITIZED if full else PLAIN),
        "sanitizers": sanitizers,
        "threads": threads,
        # The rest of them run in the optimised build, too: that of the other release.
        "e2e": lambda: pytest("optimised", PLAIN, " or ".join(OPTIMISED_ONLY) if full else ""),
        "torture": lambda: torture((PLAIN, SANITIZED) if full else (PLAIN,)),
        "vm": vm, "fuzz": lambda: fuzz(make), "bench": lambda: bench(make), "demo": demo,
        "releases": releases,
    }
    unknown = sorted(set(wanted) - set(parts))
    if unknown:
        print("TEST_PARTS: no %s; there are %s" % (" ".join(unknown), " ".join(parts)), file=sys.stderr)
        return 2
    for name, part in parts.items():
        if not wanted or name in wanted:
            part()
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
