#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each source has its test: userspace/MODULE/NAME.c has tests/unit/MODULE/NAME.c or
tests/dialogue/MODULE/NAME.c, or a line in tests/tools/tested-elsewhere.txt, in order:

    MODULE/NAME.c: TEST... (why)     files below tests/ or the tree that test it instead
    MODULE/NAME.c: none (why)        nothing does, and the reason

A line for a source that is gone or that has its own test by now, a line that names no test that
exists, a line without a reason where there is no test: all are faults. No file of tests is longer than
600 lines."""

import os
import re
import sys

import checkout

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIST = "tests/tools/tested-elsewhere.txt"
LINE = re.compile(r"(\S+\.c): ([^()]+?)(?: \((.+)\))?")
LONGEST = 600

faults = []


def own_test(source):
    """Where the source's own test is, or would be."""
    places = ["tests/%s/%s" % (kind, source) for kind in ("unit", "dialogue")]
    return next((place for place in places if os.path.exists(os.path.join(ROOT, place))), None)


def check_line(number, line, sources):
    """Returns the source that the line is about."""
    def fault(text):
        faults.append("%s:%d: %s" % (LIST, number, text))
    match = LINE.fullmatch(line)
    if not match:
        fault("is not SOURCE: TEST... (why)")
        return None
    source, tests, why = match.groups()
    if source not in sources:
        fault("userspace/%s is gone" % source)
    elif own_test(source):
        fault("%s has its own test, %s" % (source, own_test(source)))
    if tests == "none":
        if not why:
            fault("%s has no test, and no reason" % source)
        return source
    for test in tests.split():
        if not any(os.path.isfile(os.path.join(ROOT, place, test)) for place in ("tests", "")):
            fault("there is no %s" % test)
    return source


def check_list(sources):
    with open(os.path.join(ROOT, LIST), encoding="utf-8") as f:
        lines = [(n, line.rstrip("\n")) for n, line in enumerate(f, 1) if not line.startswith("#")]
    named = [check_line(number, line, sources) for number, line in lines]
    for before, after, (number, _) in zip(named, named[1:], lines[1:]):
        if before and after and before >= after:
            faults.append("%s:%d: %s belongs before %s" % (LIST, number, after, before))
    for source in sorted(sources - set(named)):
        if not own_test(source):
            faults.append("userspace/%s has no test beside those of its module, and no line in %s" % (source, LIST))


def check_lengths():
    for path in checkout.files("tests/*.py", "tests/*.c", "tests/*.h"):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            length = sum(1 for _ in f)
        if length > LONGEST:
            faults.append("%s: %d lines, more than %d" % (path, length, LONGEST))


def main():
    sources = {path[len("userspace/"):] for path in checkout.files("userspace/*.c")}
    check_list(sources)
    check_lengths()
    for text in faults:
        print(text)
    print("%d sources, %d with a test of their own" % (len(sources), sum(1 for s in sources if own_test(s))))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
