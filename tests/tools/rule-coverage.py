#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Which rules of the specification no test names. tests/rules.txt lists the rules as ranges; a test
names a rule in its function's name (test_SES_31_lines), or in its text (SES-31). With arguments, only
these groups: rule-coverage.py SES MAP. Exits 1 if a rule has no test."""

import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GROUPS = "SES|MAP|ADM|CFG|SEC|HTTP"


def rules():
    with open(os.path.join(ROOT, "tests", "rules.txt"), encoding="ascii") as f:
        for line in f:
            words = line.split("#")[0].split()
            for word in words[1:]:
                first, _, last = word.partition("-")
                if not first.isdigit():  # ADM-9a
                    yield words[0] + "-" + first
                    continue
                for number in range(int(first), int(last or first) + 1):
                    yield "%s-%d" % (words[0], number)


def sources():
    for pattern in ("unit/*/*.c", "dialogue/*/*.c", "e2e/test_*.py", "relay/*.c", "stores/*.c"):
        yield from glob.glob(os.path.join(ROOT, "tests", pattern))
    yield from glob.glob(os.path.join(ROOT, "vm", "e2e", "test_*.py"))


def named(text):
    """Rules that a file of tests names; SES_35_to_41 and SES-35..41 are ranges."""
    found = set()
    pattern = r"(%s)[_-](\d+[a-z]?)(?:(?:_to_|\.\.(?:(?:%s)-)?)(\d+))?((?:_\d+(?![a-z]))*)" % (
        GROUPS, GROUPS)
    for group, first, last, more in re.findall(pattern, text):
        if last and first.isdigit():
            found.update("%s-%d" % (group, n) for n in range(int(first), int(last) + 1))
        else:
            found.add("%s-%s" % (group, first))
        found.update("%s-%s" % (group, n) for n in more.split("_") if n)
    return found


def main():
    wanted = sys.argv[1:]
    tested = set()
    for path in sources():
        with open(path, encoding="utf-8") as f:
            tested |= named(f.read())
    every = [r for r in rules() if not wanted or r.split("-")[0] in wanted]
    missing = [r for r in every if r not in tested]
    for rule in missing:
        print("no test: " + rule)
    print("%d of %d rules have a test" % (len(every) - len(missing), len(every)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
