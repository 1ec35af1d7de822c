#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs libFuzzer targets for a time each, some at once, from a copy of the committed corpus."""

import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys
import tempfile


SHORT = 30 # seconds


def run(seconds, target):
    name = os.path.basename(target)[len("fuzz_"):]
    work = tempfile.mkdtemp(prefix="homing-fuzz-")
    try:
        for seed in glob.glob("tests/fuzz/%s/corpus/*" % name):
            shutil.copy(seed, work)
        done = subprocess.run([os.path.abspath(target), "-max_total_time=%d" % seconds,
                               "-rss_limit_mb=2048", "-timeout=10", "-max_len=8192",
                               "-print_final_stats=1", work], cwd=work, capture_output=True,
                              text=True, errors="replace")
        runs = [line.split()[-1] for line in done.stderr.splitlines()
                if "number_of_executed_units" in line]
        return name, done.returncode, runs[0] if runs else "?", done.stderr
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    seconds, targets, failed = int(sys.argv[1]), sys.argv[2:], 0
    # A short run is mostly of the corpus: of more at once each tries less, and all are done sooner. A long
    # one has a core for each.
    cores = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(2 * cores if seconds <= SHORT else cores) as pool:
        for name, code, runs, log in pool.map(lambda t: run(seconds, t), targets):
            print("%s fuzz %s: %s inputs in %d s" % ("ok" if code == 0 else "FAILED", name, runs,
                                                     seconds), flush=True)
            if code:
                failed += 1
                print(log[-6000:])
    print("%d passed, %d failed, 0 skipped" % (len(targets) - failed, failed))
    return 1 if failed or not targets else 0


if __name__ == "__main__":
    sys.exit(main())
