#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `make check`, `make test` and `make test-all` run (OPS-6): parts, each of steps. At the end a table of
the slowest steps and one closing line that counts what really ran.

    run-tests.py check    the loop of a developer: static checks, lint, unit and dialogue tests, a smoke test
    run-tests.py test     the optimised build: unit, dialogue, end to end; the relay on one other kernel
    run-tests.py rest     what `make test-all` runs after `make test`, and nothing of that again

TEST_PARTS in the environment chooses parts, of all. With TEST_TALLY, a file, runs one after the other
count together: each adds what it counted, and the last line and the table are of all of them."""

import concurrent.futures
import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import threading
import time

PYTHON = "/usr/bin/python3"
PLAIN, SANITIZED, THREADS = "build", "build-san", "build-tsan"
AWSLC, AWSLC_SANITIZED = "build-aws-lc", "build-aws-lc-san"
CORES = len(os.sched_getaffinity(0))

SETS = {
    "check": "static lint unit smoke",
    "test": "static unit e2e torture-record vm-relay",
    "rest": "lint unit-sanitizers threads aws-lc makefile torture torture-handoff peers fuzz vm bench demo releases",
}

# End-to-end tests that go before the others, the slowest first, so that none of them is alone at the
# end; of the others the largest file goes first.
SLOW = ("test_mail.py", "test_stores_push", "test_stores_outage", "test_statistics", "test_mail_refusals",
        "test_reload", "test_sessions", "test_drain.py", "test_cyrus_courier", "test_http_bodies", "test_mail",
        "test_seed", "test_mapping", "test_list", "test_credentials", "test_slots", "test_http_wire", "test_stores",
        "test_store_check", "test_admin_requests")
# Tests of memory and of many at once: nothing else runs beside them.
ALONE = ("test_paths.py", "test_must_hold.py", "test_floods.py")
# How many at once. They wait most of the time: four of them kept two cores half busy.
SHARDS = CORES + 3
SMOKE = ("test_config.py", "test_seed.py", "test_metrics.py") # of make check
FUZZ_SECONDS = 20 # of each target; make fuzz alone takes a minute, make fuzz-long an hour
VM_RELAY = "bookworm-6.1" # whose relay tests `make test` runs: the oldest kernel, and a required one

# Not with sanitizers: what freed memory still holds can be judged in the optimised build alone (the
# quarantine keeps also what OpenSSL has freed), and what takes long.
OPTIMISED_ONLY = ("SEC_21", "200_moves", "mailclients", "100_mb", "SES_92", "examples", "floods")
SELECT = {
    PLAIN: "",
    SANITIZED: " and ".join("not " + name for name in OPTIMISED_ONLY),
    AWSLC: "not gib and not 200_moves and not 100_mb",
    THREADS: "(150 or MAP or ADM or drain or SES_86 or SES_51 or 100_mib or random or reload or CFG_5 "
             "or matrix_of or HTTP_6 or HTTP_9 or init_db or by_sni) and not gib and not 200_moves "
             "and not must_hold and not floods",
}
# With AWS-LC: what is about TLS, or is what TLS is for; not again what is about stores, accounts, limits and bans.
AWSLC_FILES = re.compile(r"test_(certificates|config|credentials|floods|groups|http|http_(bodies|keys|sessions|wire)|"
                         r"handoff(_(config|ends|keys|modes|seen|servers|volume))?|mail_(login|refusals)|mailclients|"
                         r"metrics|nodes|record|reload_(sessions|trust)|secrets|seccomp|seed|"
                         r"sessions(_\w+)?|tls_library|torture)\.py")
TITLES = {PLAIN: "optimised", SANITIZED: "sanitizers", THREADS: "ThreadSanitizer", AWSLC: "AWS-LC",
          AWSLC_SANITIZED: "AWS-LC, sanitizers"}
# What shows itself in the optimised build alone, beside a run with sanitizers (part `release`).
OPTIMISED_REST = " or ".join((*OPTIMISED_ONLY, "seccomp"))

passed = failed = skipped = 0
steps = [] # [seconds, name]
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
            steps.append([time.monotonic() - start, name])
            print("%-6s %s (%.0f s)" % ("ok" if code in fine else "FAILED", name, steps[-1][0]), flush=True)
        if code not in fine:
            print(output[-12000:], flush=True)
    return code, output


def single(name, command, expect_failure=False, **kwargs):
    """A step that is one test."""
    if expect_failure:
        code, _ = run(name, command, fine=range(1, 256), **kwargs)
        count(int(code > 0), int(code <= 0))
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
        count(ok, bad, len(set(re.findall(r"^\[  SKIPPED \] (test_\w+)", output, re.M))))
        for reason in sorted(set(re.findall(r"^SKIPPED .*", output, re.M))):
            print("       " + reason)


def programs_below(build):
    found = glob.glob(build + "/tests/unit/*/*") + glob.glob(build + "/tests/dialogue/*/*")
    return sorted(p for p in found if os.access(p, os.X_OK) and not p.endswith(".d"))


# ---- end to end ----

def slow_first(path):
    """A key to sort by."""
    name = os.path.basename(path)
    places = [i for i, slow in enumerate(SLOW) if name.startswith(slow)]
    return (places[0] if places else len(SLOW), -os.path.getsize(path))


def pytest(builds):
    """The end-to-end tests of some builds, {build: which of them}, a process for each file, some at a time:
    most of their time is spent waiting. What must be alone comes last. A test that failed in company is run
    once more by itself and named, so that a deadline missed on a busy machine is told from a fault."""
    files = sorted(glob.glob("tests/e2e/test_*.py"), key=slow_first)
    alone = [f for f in files if os.path.basename(f) in ALONE]
    def is_for(build, file):
        return build != AWSLC or AWSLC_FILES.fullmatch(os.path.basename(file))
    jobs = [(build, f, select) for f in files if f not in alone for build, select in builds.items() if is_for(build, f)]
    again = []
    with concurrent.futures.ThreadPoolExecutor(SHARDS) as pool:
        for (build, _, _), bad in zip(jobs, pool.map(lambda job: pytest_run(*job), jobs)):
            again += [(build, test) for test in bad]
    for build, select in builds.items():
        for file in (f for f in alone if is_for(build, f)):
            again += [(build, test) for test in pytest_run(build, file, select)]
    for build, test in again:
        print("       once more, alone: " + test, flush=True)
        count(0, len(pytest_run(build, test, "")))


def pytest_run(build, what, select, more=None):
    """Counts what passed and was skipped; returns the names of tests that failed. more: for the environment."""
    environment = {"HOMING_BUILD": os.path.abspath(build), "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
    if build == AWSLC and os.path.exists(PLAIN + "/homingd"):
        environment["HOMING_OTHER_BUILD"] = os.path.abspath(PLAIN)
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rsfE", "--tb=short", what]
    code, output = run("%s: %s" % (TITLES[build], os.path.basename(what)),
                       command + (["-k", select] if select else []), timeout=1500,
                       environment=environment, fine=(0, 5))
    numbers = {word: int(n) for n, word in re.findall(
        r"(\d+) (passed|failed|skipped|error)", output.splitlines()[-1] if output else "")}
    for line in re.findall(r"^SKIPPED .*", output, re.M):
        print("       " + line)
    count(numbers.get("passed", 0), 0, numbers.get("skipped", 0))
    failed_tests = sorted(set(re.findall(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", output, re.M)))
    if code not in (0, 5) and not failed_tests:
        failed_tests = [what] # it did not come to an end
    return failed_tests


def smoke():
    jobs = ["tests/e2e/" + name for name in SMOKE]
    with concurrent.futures.ThreadPoolExecutor(SHARDS) as pool:
        for bad in pool.map(lambda file: pytest_run(PLAIN, file, ""), jobs):
            count(0, len(bad))


# ---- the other parts ----

def jobs():
    return "-j%s" % os.environ.get("JOBS", CORES)


def build_flavours(make, wanted):
    """Each flavour once, before what needs it. Returns whether all of it could be built."""
    if "aws-lc" in wanted:
        code, output = run("AWS-LC itself", [PYTHON, "tests/tools/aws-lc.py"])
        print("       " + output.strip()[-300:])
        if code:
            count(0, 1)
            return False
    for title, parts, what in (
            ("optimised", {"static", "lint", "unit", "smoke", "e2e", "release", "makefile", "torture",
                           "torture-record", "torture-handoff", "handoff-long", "peers", "vm", "vm-relay", "bench", "demo",
                           "releases"},
             ["test-build"]),
            ("sanitizers", {"unit-sanitizers", "sanitizers"}, ["SAN=1", "test-build"]),
            ("sanitizers, end to end", {"release"}, ["SAN=1", "end-to-end-build"]),
            ("ThreadSanitizer", {"threads"}, ["TSAN=1", "test-build"]),
            ("optimised, beside AWS-LC", {"aws-lc"}, ["all"]),
            ("AWS-LC", {"aws-lc"}, ["TLS=aws-lc", "end-to-end-build", "unit-build", "flood-tests"]),
            ("AWS-LC, sanitizers", {"aws-lc"}, ["TLS=aws-lc", "SAN=1", "unit-build"]),
            ("fuzzers", {"fuzz"}, ["fuzz-build"])):
        if parts & set(wanted):
            code, _ = run("building (%s)" % title, [*make, "-s", jobs(), *what], timeout=1800)
            if code:
                count(0, 1)
                return False
    return True


def static(make):
    single("layers", [*make, "layers"])
    single("rules", [*make, "rules-check"])
    single("tests of all sources", [*make, "tests-check"])
    single("plain data", [*make, "plain-check"])
    single("format", [*make, "format-check"])
    single("docs/config.md is current", [*make, "docs-check"])


def unit(make):
    closing_line("toml-test", [*make, "toml-test"])
    cmocka(PLAIN, programs_below(PLAIN))


# Sessions at random that each byte of is compared: build, path, how many.
TORTURE = ((PLAIN, "sockmap", 20000), (PLAIN, "copy", 3000), (PLAIN, "bypass-anyway", 500),
           (SANITIZED, "bypass-anyway", 300), (SANITIZED, "sockmap", 2000), (SANITIZED, "copy", 1000),
           (SANITIZED, "record", 1000))
TORTURE_RECORD = ((PLAIN, "record", 5000),) # of make test: what TLS takes, in 15 s
TORTURE_AWSLC = ((AWSLC, "record", 3000), (AWSLC, "copy", 1000))

# Of these end-to-end tests more than a `make test` has time for; and what test-all has none for either
# (TEST_PARTS=handoff-long).
HANDOFF = {"torture": "HND_31", "volume": "", "crowds": "HND_13 or HND_22"}
HANDOFF_LONG = {"cuts": "HND_31 or each_step", "keys": "SEC_21"}
HANDOFF_MUCH = {"TORTURE_SESSIONS": "10000", "TORTURE_BULK_MIB": "4096", "TORTURE_AT_ONCE": "9000",
                "TORTURE_KILLS": "50", "TORTURE_LOGINS": "1000", "TORTURE_SILENT": "500", "TORTURE_SPLITS": "1500",
                "TORTURE_STEP_BYTES": "5", "TORTURE_SECRETS": "100", "TEST_HANG_SECONDS": "1400"}


def torture(builds, rows=TORTURE):
    for build, path, sessions in rows:
        if build not in builds:
            continue
        code, output = run("%d random sessions on %s, %s" % (sessions, path, build),
                           ["%s/tests/relay/torture" % build, path, str(sessions)])
        count(int(code == 0), int(code != 0))
        print("       " + output.strip().splitlines()[-1] if output.strip() else "")


def handoff(tests):
    """What the end-to-end tests do a little of."""
    for name, select in tests.items():
        count(0, len(pytest_run(PLAIN, "tests/e2e/test_handoff_%s.py" % name, select, HANDOFF_MUCH)))


def peers(make):
    output = closing_line("peers by other TLS libraries", [*make, "-s", jobs(), "test-peers"])
    print("\n".join("       " + line for line in output.splitlines()[:-1]))


def vm(*arguments, title="virtual machines"):
    output = closing_line(title, [PYTHON, "vm/run.py", *arguments], timeout=2700)
    print("\n".join("       " + line for line in output.splitlines()
                    if re.match(r"(ok|FAILED|skipped) ", line)))


def awslc_in_vm():
    """Kernel TLS with keys and counters of the other library."""
    vm("--kernel", VM_RELAY, "--parts", "relay", "--build", AWSLC, title="AWS-LC in a virtual machine")


def fuzz(make):
    output = closing_line("fuzz", ["nice", "-n", "19", *make, "fuzz", "FUZZ_SECONDS=%d" % FUZZ_SECONDS], timeout=1200)
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


@contextlib.contextmanager
def releases_prepared(wanted):
    """The other release's minimal system is made beside the first parts, which have no deadlines. The
    part that needs it waits for its end, and tells what went wrong."""
    if "releases" not in wanted or len(wanted) == 1:
        yield
        return
    with subprocess.Popen([PYTHON, "tests/tools/releases.py", "--other", "--prepare"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def releases():
    """The other release from nothing: its unit tests (with sanitizers they ran here), its end-to-end tests
    with sanitizers (they ran here without), and its demo, whose table is that of this one."""
    output = closing_line("minimal systems of the releases", [PYTHON, "tests/tools/releases.py", "--other"],
                          timeout=1500)
    print("\n".join("       " + line for line in output.splitlines()[:-1]))


def parts_of(make, wanted):
    """What can be chosen, in order. End-to-end tests of all builds that are wanted share one queue."""
    builds = {}
    for part, build in (("e2e", PLAIN), ("sanitizers", SANITIZED), ("release", SANITIZED), ("threads", THREADS),
                        ("aws-lc", AWSLC)):
        if part in wanted:
            builds[build] = SELECT[build]
    if "release" in wanted:
        builds.setdefault(PLAIN, OPTIMISED_REST)
    last = [part for part in ("e2e", "sanitizers", "release", "threads", "aws-lc") if part in wanted][-1:]

    def aws_lc():
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            there = beside.submit(awslc_in_vm)
            torture((AWSLC,), TORTURE_AWSLC)
            end_to_end("aws-lc", AWSLC, AWSLC_SANITIZED)
            there.result()

    def end_to_end(part, *programs):
        for build in programs:
            cmocka(build, programs_below(build))
        if [part] == last:
            pytest(builds)
    return {
        "static": lambda: static(make),
        "lint": lambda: single("lint", ["nice", "-n", "19", *make, "-s", "-k", jobs(), "lint"],
                               timeout=1500),
        "unit": lambda: unit(make),
        "smoke": smoke,
        "e2e": lambda: end_to_end("e2e"),
        "vm-relay": lambda: vm("--kernel", VM_RELAY, "--parts", "relay"),
        "unit-sanitizers": lambda: cmocka(SANITIZED, programs_below(SANITIZED)),
        "sanitizers": lambda: end_to_end("sanitizers", SANITIZED),
        "release": lambda: end_to_end("release", PLAIN),
        "threads": lambda: end_to_end("threads", THREADS),
        "aws-lc": aws_lc,
        "makefile": lambda: closing_line("Makefile", [PYTHON, "tests/tools/make-check.py"]),
        "torture": lambda: torture((PLAIN, SANITIZED) if {"unit-sanitizers", "sanitizers"} & set(wanted)
                                   else (PLAIN,)),
        "torture-record": lambda: torture((PLAIN,), TORTURE_RECORD),
        "torture-handoff": lambda: handoff(HANDOFF),
        "handoff-long": lambda: handoff(HANDOFF_LONG),
        "peers": lambda: peers(make),
        "fuzz": lambda: fuzz(make),
        "vm": lambda: vm(*(("--done", VM_RELAY + ":relay") if vm_relay_ran(wanted) else ())),
        "bench": lambda: bench(make),
        "demo": demo,
        "releases": releases,
    }


def vm_relay_ran(wanted):
    return "vm-relay" in wanted or any("vm-relay" in run["parts"] for run in tally())


# ---- several runs, one count ----

def tally():
    """What earlier runs have counted."""
    path = os.environ.get("TEST_TALLY")
    if not path or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def finish(which, wanted):
    """Prints the table and the closing line; returns the exit code."""
    runs = tally() + [{"parts": wanted, "counts": [passed, failed, skipped], "steps": steps,
                     "seconds": time.monotonic() - started}]
    if os.environ.get("TEST_TALLY"):
        with open(os.environ["TEST_TALLY"], "a", encoding="utf-8") as f:
            f.write(json.dumps(runs[-1]) + "\n")
    print("the slowest steps; %.0f s in all" % sum(run["seconds"] for run in runs))
    for seconds, name in sorted((step for run in runs for step in run["steps"]), reverse=True)[:25]:
        if seconds >= 1:
            print("%6.0f s  %s" % (seconds, name))
    total = [sum(run["counts"][i] for run in runs) for i in range(3)]
    more = which == "test" and os.environ.get("TEST_TALLY")
    print("%s%d passed, %d failed, %d skipped" % ("so far: " if more else "", *total), flush=True)
    return 1 if total[1] or not total[0] else 0


def run_parts(parts, wanted):
    """One after the other, but for two. The one virtual machine of `make test` keeps one core busy, and runs
    beside what comes before it. The second reader has no deadlines: it shares the machine with fuzzing,
    which takes as long with it, and then has what virtual machines leave."""
    names = [name for name in parts if name in wanted]

    def timed(name):
        start = time.monotonic()
        parts[name]()
        print("------ %s: %.0f s" % (name, time.monotonic() - start), flush=True)

    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        late, pending = "lint" in names and "vm" in names, []
        before = "fuzz" if "fuzz" in names else "vm"
        if "vm-relay" in names:
            pending.append(beside.submit(timed, "vm-relay"))
        for name in names:
            if name == before and late:
                pending.append(beside.submit(timed, "lint"))
            if name != "vm-relay" and not (name == "lint" and late):
                timed(name)
            if name == "vm":
                while pending:
                    pending.pop().result()
        for part in pending:
            part.result()


started = time.monotonic()


def main():
    which = sys.argv[1] if len(sys.argv) == 2 and sys.argv[1] in SETS else "test"
    make = [os.environ.get("MAKE", "make"), "--no-print-directory"]
    chosen = os.environ.get("TEST_PARTS", "").split()
    wanted = chosen or SETS[which].split()
    parts = parts_of(make, wanted)
    unknown = sorted(set(wanted) - set(parts))
    if unknown:
        print("TEST_PARTS: no %s; there are %s" % (" ".join(unknown), " ".join(parts)), file=sys.stderr)
        return 2
    if which == "rest" and os.environ.get("TEST_TALLY") and not tally():
        print("FAILED make test did not come to its end")
        count(0, 1)
    with releases_prepared(wanted):
        if build_flavours(make, wanted):
            run_parts(parts, wanted)
    return finish(which, wanted)


if __name__ == "__main__":
    sys.exit(main())
