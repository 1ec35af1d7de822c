#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make vm-bench`: boots one kernel with a clock that counts instructions, runs
tests/bench/vm_guest.py in it, compares Homing's figures with tests/bench/vm-baseline.json and
writes docs/benchmarks-vm.md. Exit code 1: the work failed, or a figure is more than 5 % worse
than the baseline's, compared only when kernel, OpenSSL, compilers and emulator are those of the
baseline."""

import argparse
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import image  # noqa: E402
import kernels  # noqa: E402
import run  # noqa: E402

sys.path.insert(0, os.path.join(kernels.ROOT, "tests", "bench"))
import vm_check  # noqa: E402
import vm_report  # noqa: E402

BASELINE = os.path.join(kernels.ROOT, "tests", "bench", "vm-baseline.json")
PAGE = os.path.join(kernels.ROOT, "docs", "benchmarks-vm.md")
# Arguments of vm_guest.py: rounds, idle sessions, peers.
FULL = "3 400 record ktls copy haproxy handoff"
QUICK = "1 0 record ktls copy handoff"
SCRIPT = """export HOMING_BUILD=/homing/build
/usr/bin/python3 tests/bench/vm_guest.py %s
"""


def version(program):
    """In the first line that it prints."""
    line = subprocess.run([program, "--version"], capture_output=True, text=True,
                          check=True).stdout.split("\n")[0]
    return re.search(r"\d[\w.+:-]*", line).group(0)


def in_guest(options):
    """What the guest found."""
    row = next(row for row in kernels.rows() if row["name"] == options.kernel)
    directory = kernels.kernel(row)
    row = dict(row, name=row["name"] + "-bench")
    base = os.path.join(kernels.CACHE, "%s-%d" % (row["name"], os.getpid()))
    files = [base + ".cpio", base + ".sh", base + ".initrd"]
    try:
        image.build_root(files[0])
        with open(files[1], "w", encoding="ascii") as f:
            f.write(SCRIPT % (QUICK if options.quick else FULL))
        image.build(directory, files[2], files[0], files[1])
        text = run.run_in_guest(row, directory, files[2], options)
    finally:
        for path in files:
            if os.path.exists(path):
                os.unlink(path)
    found = re.search(r"^VMBENCH (\{.*\})$", text, re.M)
    if not found:
        sys.exit("the guest failed:\n" + text[-8000:])
    return json.loads(found.group(1))


def write_baseline(versions, figures):
    with open(BASELINE, "w", encoding="ascii") as f:
        json.dump({"versions": versions, "figures": {
            name: float("%.6g" % value) for name, value in figures.items()}}, f, indent=1)
        f.write("\n")
    print("wrote " + os.path.relpath(BASELINE, kernels.ROOT))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--clang", default="clang")
    parser.add_argument("--quick", action="store_true",
                        help="one round, Homing only; writes nothing")
    parser.add_argument("--baseline", choices=["check", "write"], default="check")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers in the guest")
    options = parser.parse_args()
    options.icount, options.memory, options.timeout = True, 2048, 3000
    options.parts, options.done = run.PARTS, []
    print("measuring in a virtual machine: %s" % (
        "two minutes" if options.quick else "about a quarter of an hour"), flush=True)
    start = time.monotonic()
    os.makedirs(kernels.CACHE, exist_ok=True)
    result = in_guest(options)
    versions = dict(result["versions"], gcc=version(options.cc), clang=version(options.clang),
                    QEMU=version("qemu-system-x86_64"))
    figures = vm_check.figures(result)
    print(vm_report.table(result, figures))
    if not options.quick:
        with open(PAGE, "w", encoding="ascii") as f:
            f.write(vm_report.page(result, figures, versions))
    print("%.0f s" % (time.monotonic() - start))
    if options.baseline == "write":
        write_baseline(versions, figures)
        return 0
    with open(BASELINE, encoding="ascii") as f:
        ok, lines = vm_check.check(versions, figures, json.load(f))
    print("\n".join(lines))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
