#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Finds lines of C that are longer than 100 columns. The formatter keeps code within them, but is told to
leave comments alone (ReflowComments), because it would run tables in comments together; so this looks at
them. With --fix it breaks prose: what is too much goes to the line below, which it begins. A comment behind
code goes above it. Lines that it cannot break are reported."""

import argparse
import re

COLUMNS, TAB = 100, 8
STAR = re.compile(r"^(\s*)(/\*+|\*) ?(.*)$")


def width(line):
    return len(line.expandtabs(TAB))


def is_prose(text):
    """Not a table, an example, an empty line."""
    return bool(text) and not text.startswith((" ", "-", "|", "usage:")) and "  " not in text.strip()


def broken(line, prefix, room):
    """(line, rest) of a comment's line whose text begins behind the prefix."""
    words = line[len(prefix):].split(" ")
    kept = words.pop(0)
    while words and width(prefix + kept + " " + words[0]) <= room and words[0] != "*/":
        if words[1:] == ["*/"] and width(prefix + kept + " " + words[0] + " */") > room:
            break
        kept += " " + words.pop(0)
    return prefix + kept, " ".join(words)


def wrap(lines, at):
    """Breaks the comment's line at `at`, and those below as far as that makes them too long."""
    match = STAR.match(lines[at])
    if not match or not is_prose(match.group(3)):
        return False
    indent, opening, _ = match.groups()
    head = lines[at][:match.start(3)]
    line, rest = broken(lines[at], head, COLUMNS)
    if not rest or width(line) > COLUMNS:
        return False
    lines[at] = line
    below = indent + (" * " if opening.startswith("/") else "* ")
    following = STAR.match(lines[at + 1]) if at + 1 < len(lines) else None
    if not rest.endswith("*/") and following and following.group(2) == "*" and \
            following.group(3) != "/" and is_prose(following.group(3)):
        lines[at + 1] = below + rest + " " + following.group(3)
    else:
        lines.insert(at + 1, below + rest)
    return width(lines[at + 1]) <= COLUMNS or wrap(lines, at + 1)


def lift(lines, at):
    """A comment behind code goes above it."""
    match = re.match(r"^(\s*)(\S.*?)\s*(/\* .* \*/)$", lines[at])
    if not match or match.group(2).startswith(("/*", "*", "#", "}")):
        return False
    lines[at:at + 1] = [match.group(1) + match.group(3), match.group(1) + match.group(2)]
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    faults = 0
    for path in options.files:
        with open(path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        before = list(lines)
        at = 0
        while at < len(lines):
            if width(lines[at]) > COLUMNS and not (options.fix and (
                    wrap(lines, at) if STAR.match(lines[at]) else lift(lines, at))):
                print("%s:%d: %d columns" % (path, at + 1, width(lines[at])))
                faults += 1
            at += 1
        if lines != before:
            with open(path, "w", encoding="utf-8") as f:
                f.write("\n".join(lines))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
