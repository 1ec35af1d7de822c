#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what can be counted of the sources: lengths of files and functions (Universal Ctags), and the
circles between files (layers.py, from the object files of a build)."""

import argparse
import re
import statistics
import subprocess

import layers

LONG_FILE, LONG_FUNCTION, NARROW = 600, 60, 25


def tracked(*patterns):
    return subprocess.run(["git", "ls-files", *patterns], check=True, capture_output=True,
                          text=True).stdout.split()


def lengths(files):
    found = {}
    for path in files:
        with open(path, encoding="utf-8") as f:
            found[path] = sum(1 for _ in f)
    return found


def functions(files):
    """(lines, name, file) of each function's definition."""
    output = subprocess.run(["ctags", "--languages=C", "--kinds-C=f", "--fields=+ne", "-f", "-", *files],
                            check=True, capture_output=True, text=True).stdout
    found = []
    for line in output.splitlines():
        place = re.search(r"\tline:(\d+).*\tend:(\d+)", line)
        if place and not line.startswith("!"):
            name, path = line.split("\t")[:2]
            found.append((int(place.group(2)) - int(place.group(1)) + 1, name, path))
    return sorted(found, reverse=True)


def show(title, files):
    long = sorted(((n, path) for path, n in lengths(files).items()), reverse=True)
    print("%-12s %d files, %d lines; median %d, longest %d (%s), over %d: %d" % (
        title, len(long), sum(n for n, _ in long), statistics.median(n for n, _ in long), *long[0], LONG_FILE,
        sum(n > LONG_FILE for n, _ in long)))
    for n, path in long:
        if n > LONG_FILE:
            print("%16d %s" % (n, path))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    options = parser.parse_args()
    sources = tracked("userspace/*.c")
    show("sources", sources)
    show("headers", tracked("userspace/*.h", "include/*.h"))
    show("bpf", tracked("bpf/*.c", "bpf/*.h"))
    show("tests in C", tracked("tests/*.c", "tests/*.h"))
    show("tests", tracked("tests/e2e/test_*.py"))
    found = functions(sources)
    print("%-12s %d; median %d lines, longest %d (%s, %s), over %d: %d, over %d: %d" % (
        "functions", len(found), statistics.median(n for n, _, _ in found), *found[0], LONG_FUNCTION,
        sum(n > LONG_FUNCTION for n, _, _ in found), NARROW, sum(n > NARROW for n, _, _ in found)))
    for n, name, path in found:
        if n > LONG_FUNCTION:
            print("%16d %s, %s" % (n, name, path))
    graph = layers.arrows(options.build)
    around = layers.circles(graph)
    print("%-12s %d between files (%s files), of %d arrows" % (
        "circles", len(around), " + ".join(str(len(c)) for c in around) or "no",
        sum(len(others) for others in graph.values())))


if __name__ == "__main__":
    main()
