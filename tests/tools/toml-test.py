#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a decoder over every TOML 1.0 case of the toml-test collection that Debian packages."""

import concurrent.futures
import datetime
import glob
import json
import math
import os
import subprocess
import sys

PLACES = ["/usr/share/gocode/src/github.com/BurntSushi/toml/internal/toml-test/tests",
          "/usr/share/gocode/src/github.com/BurntSushi/toml-test/tests"]
# What version 1.0 of the language does not have, as the collection's version.go lists it.
TOML_1_1 = {"valid/string/escape-esc", "valid/string/hex-escape", "invalid/string/bad-hex-esc",
            "valid/datetime/no-seconds", "valid/inline-table/newline", "valid/key/unicode"}


def when(text):
    text = text.upper().replace(" ", "T").replace("Z", "+00:00")
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = head + "." + (tail[:digits] + "000000")[:6] + tail[digits:]
    for kind in (datetime.datetime, datetime.time, datetime.date):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError(text)


def same(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return False
    tagged = {"type", "value"}
    if set(a) == set(b) == tagged and isinstance(a["type"], str) and isinstance(b["type"], str):
        if a["type"] != b["type"]:
            return False
        if a["type"] == "float":
            x, y = float(a["value"]), float(b["value"])
            return x == y or (math.isnan(x) and math.isnan(y))
        if a["type"].startswith(("date", "time")):
            return when(a["value"]) == when(b["value"])
        return a["value"] == b["value"]
    return set(a) == set(b) and all(same(a[key], b[key]) for key in a)


def run(decoder, root, path):
    name = os.path.relpath(path, root)[:-5]
    with open(path, "rb") as f:
        done = subprocess.run([decoder], stdin=f, capture_output=True, timeout=60)
    if name.startswith("invalid/"):
        return name, done.returncode == 1, "accepted or crashed (exit %d)" % done.returncode
    if done.returncode != 0:
        return name, False, done.stderr.decode()
    with open(path[:-5] + ".json", encoding="utf-8") as f:
        return name, same(json.load(f), json.loads(done.stdout)), done.stdout.decode()


def main():
    decoder = sys.argv[1]
    roots = [p for p in PLACES if os.path.isdir(p)]
    if not roots:
        print("toml-test: not found; apt-get install golang-github-burntsushi-toml-dev")
        return 1
    cases = sorted(glob.glob(roots[0] + "/**/*.toml", recursive=True))
    cases = [c for c in cases if os.path.relpath(c, roots[0])[:-5] not in TOML_1_1]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name, ok, why in pool.map(lambda c: run(decoder, roots[0], c), cases):
            if not ok:
                failed += 1
                print("FAILED %s: %s" % (name, why.strip()))
    print("%d passed, %d failed, 0 skipped" % (len(cases) - failed, failed))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
