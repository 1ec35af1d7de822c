#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that what is known of a session is plain data: the structures below, and those in them, have
members of a fixed width only. No pointer, no long or size_t, no object of a library, nothing that would
mean something else in another process."""

import glob
import re
import sys

ROOTS = ("record_connection", "tls_records_state", "relay_state", "relay_flow")
PLAIN = {"bool", "unsigned char", *("%sint%d_t" % (sign, bits) for sign in ("", "u") for bits in (8, 16, 32, 64))}
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# A type, names with their dimensions or widths, and nothing else: no "*", no "("
MEMBER = re.compile(r"((?:struct |unsigned )?\w+) ((?:\w+(?: ?\[\w+\])*(?: : \d+)?(?:, )?)+)")

faults = []


def structures():
    found = {}
    for path in sorted(glob.glob("userspace/*/*.h")):
        with open(path, encoding="utf-8") as f:
            for name, body in STRUCT.findall(COMMENT.sub("", f.read())):
                found[name] = (path, body)
    return found


def check(name, known, done):
    if name in done:
        return
    done.add(name)
    if name not in known:
        faults.append("struct %s is in no header of userspace/" % name)
        return
    path, body = known[name]
    for text in (" ".join(member.split()) for member in body.split(";")):
        match = MEMBER.fullmatch(text)
        kind = match.group(1) if match else ""
        if kind.startswith("struct "):
            check(kind.removeprefix("struct "), known, done)
        elif text and kind not in PLAIN:
            faults.append("%s: struct %s: \"%s\" is not of a fixed width" % (path, name, text))


def main():
    known, done = structures(), set()
    for name in ROOTS:
        check(name, known, done)
    for fault in faults:
        print(fault, file=sys.stderr)
    print("plain data: %d structures" % len(done))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
