#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that code, tests and pages refer to rules that exist (docs/rules/README.md): ids (SES-33, and
SES_33 in names), rows of threats (#9), sections ("sessions.md section 5.1"), links of pages; and that each rule
is defined once. Then lists the rules that no test names, which is no fault."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join("docs", "rules")
PAGES = ("config", "sessions", "http", "mapping", "admin", "security", "guard", "records", "handoff", "operations")
GROUPS = "SES|MAP|ADM|CFG|SEC|HTTP|OPS|GRD|REC|HND|LIB"
FOREIGN = r"\b(?:LOC|SUR|H2)-\d+\b"  # ids of no page
ID = r"(?:%s)-\d+[a-z]?" % GROUPS
# "SES-35", "SES-35..41", "SES-35 to SES-41"; in names "SES_35_to_41" and "SES_1_3_20"
DASHED = re.compile(r"\b(%s)-(\d+[a-z]?)(?:\.(\d+))?(?:(?:\.\.|,? to )(?:(?:%s)-)?(\d+))?" % (GROUPS, GROUPS))
NAMED = re.compile(r"(?<![A-Z])(%s)_(\d+[a-z]?)(?:_to_(\d+)(?!\d))?((?:_\d+(?=_|\b))*)(?=_|\b)" % GROUPS)
SECTIONS = re.compile(r"(?<![\w/])(%s)\.md\s+(?:\*\s*)?sections?\s+([\d., ]+(?:(?:and|to)\s+[\d.]+)*)" %
                      "|".join(PAGES))
SKIP = ("tests/tools/rules-check.py", "tests/tools/run-tests.py")  # patterns, beginnings of names

faults = []


def fault(path, line, text):
    faults.append("%s:%d: %s" % (path, line, text))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def line_of(text, at):
    return text.count("\n", 0, at) + 1


class Pages:
    """What the pages define: ids, sections, rows of tables."""

    def __init__(self):
        self.ids, self.sections, self.checks, self.threats = {}, {}, set(), set()
        for page in PAGES:
            path = os.path.join(RULES, page + ".md")
            text = read(path)
            self.sections[page] = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, re.M))
            for number, line in enumerate(text.split("\n"), 1):
                self.take(path, number, line)
            if page == "security":
                self.threats = {int(n) for n in re.findall(r"^\| (\d+) \|", text, re.M)}
            if page == "config":
                part = text[text.index("\nCFG-40 "):]
                self.checks = set(re.findall(r"^\| (\d+) \|", part[:part.index("\n## ")], re.M))

    def take(self, path, number, line):
        if line.startswith("- "):  # a scenario
            return
        for rule in re.findall(r"^\| (%s)(?= \|)|(?:^|[.)] )(%s)(?= [A-Z`])" % (ID, ID), line):
            rule = rule[0] or rule[1]
            if rule in self.ids:
                fault(path, number, "%s is defined twice" % rule)
            self.ids[rule] = path


def references(path, text):
    """(line, id, row of CFG-40, sure): not sure are numbers of names that may be no ids."""
    for match in DASHED.finditer(text):
        group, first, row, last = match.groups()
        line = line_of(text, match.start())
        yield line, "%s-%s" % (group, first), row if first == "40" else None, True
        for n in range(int(first), int(last) + 1) if last and first.isdigit() else ():
            yield line, "%s-%d" % (group, n), None, n == int(last)
    for match in NAMED.finditer(text) if not path.endswith(".md") else ():
        group, first, last, more = match.groups()
        line = line_of(text, match.start())
        yield line, "%s-%s" % (group, first), None, True
        for n in range(int(first), int(last) + 1) if last and first.isdigit() else ():
            yield line, "%s-%d" % (group, n), None, n == int(last)
        for n in more.split("_")[1:]:
            yield line, "%s-%s" % (group, n), None, False


def check_ids(pages, path, text):
    """Returns the ids that exist and are named here."""
    found = set()
    for line, rule, row, sure in references(path, text):
        if rule in pages.ids:
            found.add(rule)
        elif sure:
            fault(path, line, "there is no rule %s" % rule)
        if row and row not in pages.checks:
            fault(path, line, "there is no check CFG-40.%s" % row)
    for match in re.finditer(FOREIGN, text):
        fault(path, line_of(text, match.start()), "there is no rule %s" % match.group())
    return found


def check_sections(pages, path, text):
    for match in SECTIONS.finditer(text):
        for number in re.findall(r"\d+(?:\.\d+)?", match.group(2)):
            if number not in pages.sections[match.group(1)]:
                fault(path, line_of(text, match.start()),
                      "%s.md has no section %s" % (match.group(1), number))


def check_code(pages, path, text):
    """Comments: rows of threats, and pages that are named."""
    for match in re.finditer(r"(?:(?<=[\s(])|(?<=^))#(\d+)(?=[\s),.;:\"])", text):
        if int(match.group(1)) not in pages.threats:
            fault(path, line_of(text, match.start()), "security.md has no row #" + match.group(1))
    for match in re.finditer(r"\b(?:[Ii]ssue|[Tt]ask|[Tt]icket) #?\d+", text):
        fault(path, line_of(text, match.start()), "\"%s\" is not in the tree" % match.group())
    for match in re.finditer(r"(?<![\w/.*\"-])(?:docs/)?[\w/-]+\.md\b", text):
        name = match.group()
        if not any(os.path.exists(os.path.join(ROOT, place, name))
                   for place in ("", "docs", RULES, os.path.dirname(path))):
            fault(path, line_of(text, match.start()), "there is no page " + name)


def check_page(pages, path, text):
    """Links, and of the rules "§5.2" and "`http.md` §4"."""
    for match in re.finditer(r"\]\(([^)#\s]+)[^)]*\)", text):
        target = match.group(1)
        if "://" not in target and not os.path.exists(
                os.path.join(ROOT, os.path.dirname(path), target)):
            fault(path, line_of(text, match.start()), "the link's target is not there: " + target)
    if not path.startswith(RULES + "/"):
        return
    own = os.path.basename(path)[:-3]
    for match in re.finditer(
            r"(?:(\w+)\.md[`)\]]*(?:\(\w+\.md\))? |(RFC \d+ )|)§(\d+(?:\.\d+)?)", text):
        page = match.group(1) or own
        if not match.group(2) and page in pages.sections and \
                match.group(3) not in pages.sections[page]:
            fault(path, line_of(text, match.start()), "%s.md has no section %s" % (page, match.group(3)))


def main():
    pages = Pages()
    tested = set()
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "userspace", "include", "bpf", "tests", "vm",
         "docs", "packaging", "README.md", "Makefile"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    for path in files:
        if not re.search(r"(\.(c|h|py|sh|md|mk|toml|yml|conf)|Makefile)$", path) or path in SKIP or \
                "/corpus/" in path or not os.path.exists(os.path.join(ROOT, path)):
            continue
        text = read(path)
        found = check_ids(pages, path, text)
        check_sections(pages, path, text)
        if path.endswith(".md"):
            check_page(pages, path, text)
        else:
            check_code(pages, path, text)
        if path.startswith(("tests/", "vm/")):
            tested |= found
    for text in faults:
        print(text)
    missing = [rule for rule in pages.ids if rule not in tested]
    if missing:
        print("named by no test: " + " ".join(missing))
    print("rules: %d, named by tests: %d, faults: %d" % (
        len(pages.ids), len(pages.ids) - len(missing), len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
