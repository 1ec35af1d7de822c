#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom: arguments are MODULE=ALLOWED..., as in the Makefile. Also compiles
every header alone."""

import glob
import os
import re
import subprocess
import sys


def main():
    allowed = {}
    for argument in sys.argv[1:]:
        module, _, others = argument.partition("=")
        allowed[module] = set(others.split()) | {module}
    bad = 0
    for path in sorted(glob.glob("userspace/*/*.[ch]")):
        module = path.split("/")[1]
        if module not in allowed:
            print("%s: module %s is not in the table" % (path, module))
            bad += 1
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                match = re.match(r'#include "([^"/]+)/', line)
                if not match:
                    if module == "bpfctl" and line.endswith('.skel.h"\n'):
                        continue  # generated
                    if re.match(r'#include "', line):
                        print("%s:%d: includes must name the module" % (path, number))
                        bad += 1
                    continue
                target = match.group(1)
                if target not in allowed[module] and target != "homing":
                    print("%s:%d: %s must not include %s" % (path, number, module, target))
                    bad += 1
    headers = sorted(glob.glob("userspace/**/*.h", recursive=True) + glob.glob("include/**/*.h"))
    for header in headers:
        name = os.path.relpath(header, "userspace")
        done = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                               "-Iuserspace", "-Iinclude", "-I/usr/include/libnl3", "-x", "c",
                               "-fsyntax-only", "-"],
                              input='#include "%s"\n' % name, text=True, capture_output=True)
        if done.returncode:
            print("%s does not compile alone:\n%s" % (header, done.stderr))
            bad += 1
    print("layers: %d modules, %d headers, %d faults" % (len(allowed), len(headers), bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
