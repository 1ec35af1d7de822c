#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom: arguments are MODULE=ALLOWED..., as in the Makefile; every file of userspace/
is in a module's directory. Compiles every header alone. And finds circles: files that need each
other, directly or by way of others. Who needs whom is taken from the object files (nm: which file defines
a symbol, which has it undefined), so a call through a function pointer that was handed over is no arrow,
and a declaration that nobody uses is none either.

circles.txt beside this file lists the circles that may stay. A circle that grew or is new is a fault; so
is a file of the list that is in no circle any more. With --shrink such files are taken out of the list."""

import argparse
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "circles.txt")

faults = []


# ---- arrows between modules ----

def module_of(path):
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else None


def check_includes(allowed):
    for path in sorted(glob.glob("userspace/**/*.[ch]", recursive=True)):
        module = module_of(path)
        if path.count("/") != 2:
            faults.append("%s: a file is in a module's directory, and that has none" % path)
        elif module not in allowed:
            faults.append("%s: module %s is not in the table" % (path, module))
        else:
            with open(path, encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    fault = wrong_include(module, line, allowed[module])
                    if fault:
                        faults.append("%s:%d: %s" % (path, number, fault))


def wrong_include(module, line, allowed):
    match = re.match(r'#include "([^"]+)"', line)
    if not match:
        return None
    target, _, name = match.group(1).partition("/")
    if name:
        return None if target in allowed or target == "homing" else \
            "%s must not include %s" % (module, target)
    if module == "bpfctl" and target.endswith(".skel.h"): # generated
        return None
    return "includes must name the module"


# Sources of a build with AWS-LC.
OTHER_LIBRARY = "_awslc.c"


def check_headers():
    headers = sorted(glob.glob("userspace/**/*.h", recursive=True) + glob.glob("include/**/*.h"))
    for header in headers:
        name = os.path.relpath(header, "userspace")
        done = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                               "-Iuserspace", "-Iinclude", "-I/usr/include/libnl3", "-x", "c",
                               "-fsyntax-only", "-"],
                              input='#include "%s"\n' % name, text=True, capture_output=True, check=False)
        if done.returncode:
            faults.append("%s does not compile alone:\n%s" % (header, done.stderr))
    return len(headers)


# ---- circles between files ----

def symbols(build):
    """Of each source the symbols it defines, and those it needs."""
    defined, needed = {}, {}
    for path in sorted(glob.glob("userspace/**/*.c", recursive=True)):
        source = os.path.relpath(path, "userspace")
        if source.endswith(OTHER_LIBRARY):
            continue
        output = subprocess.run(["nm", "-P", os.path.join(build, "obj", source[:-2] + ".o")], check=True,
                                capture_output=True, text=True).stdout
        needed[source] = set()
        for name, kind in (line.split()[:2] for line in output.splitlines()):
            if kind == "U":
                needed[source].add(name)
            elif kind.isupper():
                defined.setdefault(name, []).append(source)
    return defined, needed


def arrows(build):
    """Of each source the others that it needs. homingctl has a few names of its own that the router has,
    too: the file beside the one that asks is meant."""
    defined, needed = symbols(build)
    graph = {}
    for source, names in needed.items():
        directory = os.path.dirname(source)
        graph[source] = set()
        for owners in filter(None, (defined.get(name) for name in names)):
            beside = [o for o in owners if os.path.dirname(o) == directory]
            graph[source] |= set(beside or owners[:1]) - {source}
    return graph


def circles(graph):
    """Sets of files that need each other: strongly connected components of more than one (Tarjan)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            component = set(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)
    for node in sorted(graph):
        if node not in order:
            visit(node)
    return sorted(found, key=sorted)


def allowed_circles():
    """(reason, files) of each circle of the list: a reason begins with #, files follow it, to an empty line."""
    with open(LIST, encoding="utf-8") as f:
        _, *blocks = f.read().split("\n\n")
    found = []
    for block in filter(str.strip, blocks):
        reason = [line for line in block.splitlines() if line.startswith("#")]
        files = " ".join(line for line in block.splitlines() if not line.startswith("#")).split()
        found.append((reason, set(files)))
        if not reason:
            faults.append("circles.txt: no reason for %s" % " ".join(files))
    return found


def check_circles(graph):
    found, listed = circles(graph), allowed_circles()
    for circle in found:
        if not any(circle <= files for _, files in listed):
            faults.append("these files need each other; who does not belong? %s\n    %s" % (
                " ".join(sorted(circle)), "\n    ".join(ways(graph, circle))))
    around = set().union(*found) if found else set()
    for _, files in listed:
        for name in sorted(files - around):
            faults.append("circles.txt: %s is in no circle any more (make circles takes it out)" % name)
    return found


def ways(graph, circle):
    return ["%s -> %s" % (a, " ".join(sorted(graph[a] & circle))) for a in sorted(circle)]


def shrink(graph):
    """Takes out of the list what is in no circle any more. Nothing comes in."""
    with open(LIST, encoding="utf-8") as f:
        head = f.read().split("\n\n")[0]
    found, blocks = circles(graph), [head]
    for reason, files in allowed_circles():
        for circle in (c for c in found if c <= files):
            blocks.append("\n".join(reason + wrapped(circle)))
    with open(LIST, "w", encoding="utf-8") as f:
        f.write("\n\n".join(blocks).rstrip() + "\n")


def wrapped(names):
    lines = [""]
    for name in sorted(names):
        if len(lines[-1]) + len(name) > 98:
            lines.append("")
        lines[-1] += " " * bool(lines[-1]) + name
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build", help="where object files are")
    parser.add_argument("--shrink", action="store_true", help="make circles.txt shorter, check nothing")
    parser.add_argument("modules", nargs="*", metavar="MODULE=ALLOWED...")
    options = parser.parse_args()
    graph = arrows(options.build)
    if options.shrink:
        shrink(graph)
        return 0
    allowed = {}
    for argument in options.modules:
        module, _, others = argument.partition("=")
        allowed[module] = set(others.split()) | {module}
    check_includes(allowed)
    headers = check_headers()
    found = check_circles(graph)
    for fault in faults:
        print(fault)
    print("layers: %d modules, %d files, %d headers, %d circles (%s files), %d faults" % (
        len(allowed), len(graph), headers, len(found), " + ".join(str(len(c)) for c in found) or "no",
        len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
