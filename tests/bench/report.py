# SPDX-License-Identifier: Apache-2.0
"""What was measured, as text on the terminal, and as docs/benchmarks.md with its charts."""

import os
import statistics
import subprocess

import charts
import handoff
import harness
import machine
import peers
from workloads import AT_ONCE, PLAIN, TLS

DOCS = os.path.join(harness.ROOT, "docs")
PACKAGES = ["haproxy", "nginx", "libnginx-mod-mail", "dovecot-core", "dovecot-imapd",
            "dovecot-submissiond", "dovecot-pgsql", "perdition", "postgresql", "libssl3", "libssl3t64",
            "strace", "gcc"]


def row_name(peer):
    return "%s %s" % (peer.name, peer.legs)


def number(value, decimals):
    return format(value, ",.%df" % decimals)


def cell(values, decimals):
    """The median, and between which values it stands."""
    if not values:
        return "-"
    median, low, high = (number(v, decimals) for v in (
        statistics.median(values), min(values), max(values)))
    return median if low == high else "%s (%s-%s)" % (median, low, high)


def table_of(workload, rows):
    """The heading line and one line for each peer."""
    return [[""] + [heading for _, heading, _ in workload.columns]] + [
        [row_name(peer)] + [cell(figures.get(key), decimals)
                            for key, _, decimals in workload.columns]
        for peer, figures in rows.items()]


def show(workload, rows):
    table = table_of(workload, rows)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    print("\n%s" % workload.title)
    for line in table:
        print("  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(line, widths))).rstrip())
    if workload.more():
        print(workload.more().rstrip())


def markdown_table(table):
    lines = ["| " + " | ".join(line) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0])] + lines[1:]) + "\n"


class Results:
    """Medians by the names of workload, program, legs and figure."""

    def __init__(self, results):
        self.results = results

    def rows(self, workload):
        return next((rows for w, rows in self.results if w.name == workload), {})

    def values(self, workload, program, legs, figure, label=""):
        return next((figures.get(figure) for peer, figures in self.rows(workload).items()
                     if (peer.program, peer.legs, peer.label) == (program, legs, label)), None)

    def median(self, *args):
        values = self.values(*args)
        return statistics.median(values) if values else None


# ---- the aims ----

def over(a, b):
    return a / b if a is not None and b else None


def less(a, b):
    return a - b if a is not None and b is not None else None


def aims(r):
    """(aim, limit, measured, in words)"""
    def own(program):
        return r.median("logins-full", program, TLS, "own")

    def memory(program):
        return r.median("idle", program, TLS, "total")

    def gigabyte(program, figure):
        return r.median("bulk", program, PLAIN, figure)

    def added(program, legs):
        return less(r.median("ping", program, legs, "p99"), r.median("ping", "direct", legs, "p99"))

    def machine_added(program):
        return less(gigabyte(program, "stream_machine"), gigabyte("direct", "stream_machine"))

    def to_copy(workload, figure):
        return over(r.median(workload, "Homing", TLS, figure),
                    r.median(workload, "Homing", TLS, figure, "copy"))

    def burst(program):
        return r.median("burst", program, TLS, "own", "pinned")

    def to_haproxy(workload, figure):
        return over(r.median(workload, "Homing", TLS, figure),
                    r.median(workload, "HAProxy", TLS, figure))

    ratio = "ratio"
    return [
        ("router CPU per login, TLS on both legs, resumed to the node, to Dovecot's proxy", 0.33,
         over(own("Homing"), own("Dovecot")), ratio),
        ("the same to HAProxy (TCP with TLS)", 1.1, over(own("Homing"), own("HAProxy")), ratio),
        ("memory per idle session, user and kernel, TLS on both legs, to HAProxy", 0.25,
         over(memory("Homing"), memory("HAProxy")), ratio),
        ("the same to Dovecot's proxy", 0.08, over(memory("Homing"), memory("Dovecot")), ratio),
        ("own CPU per GB of a stream, TLS on both legs, to HAProxy", 0.6,
         to_haproxy("bulk", "stream_own"), ratio),
        ("the same of FETCH", 0.85, to_haproxy("bulk", "fetch_own"), ratio),
        ("own CPU per small round trip on one session, TLS on both legs, to HAProxy", 0.75,
         to_haproxy("ping", "own"), ratio),
        ("the same over 1,000 sessions", 0.75, to_haproxy("turns-1000", "own"), ratio),
        ("own CPU per notification, TLS on both legs, to HAProxy", 0.7,
         to_haproxy("notify", "own"), ratio),
        ("own CPU per GB, TLS on both legs, record to copy", 0.85, to_copy("bulk", "stream_own"), ratio),
        ("own CPU per small round trip over 1,000 sessions, record to copy", 0.7,
         to_copy("turns-1000", "own"), ratio),
        ("own CPU per record of 300 bytes in bursts, equal wake-ups, record to HAProxy", 0.65,
         over(burst("Homing"), burst("HAProxy")), ratio),
        ("CPU per GB, plain legs, to HAProxy with splicing: machine CPU less that without a router",
         0.6, over(machine_added("Homing"), machine_added("HAProxy")), ratio),
        ("the same, own CPU alone", 0.6, over(gigabyte("Homing", "stream_own"),
                                              gigabyte("HAProxy", "stream_own")), ratio),
        ("added latency, p99 of small round trips, TLS on both legs, to HAProxy", 1.0,
         over(added("Homing", TLS), added("HAProxy", TLS)), ratio),
        ("the same with plain legs", 1.0, over(added("Homing", PLAIN), added("HAProxy", PLAIN)),
         ratio),
        ("system calls per login, TLS on both legs, dial and splice included", 60,
         r.median("calls", "Homing", TLS, "calls"), "calls"), *handoff.aims(r)]


def aims_table(r):
    lines = [["aim", "at most", "measured", ""]]
    for aim, limit, measured, unit in aims(r):
        decimals = {"calls": 1, "each": 4}.get(unit, 2)
        lines.append([aim, str(limit), "not measured" if measured is None else
                      number(measured, decimals), "" if measured is None else
                      "met" if measured <= limit else "**missed**"])
    return lines


# ---- where others do better ----

def better_than_homing(workload, rows):
    """Lines: other routers with the same legs whose median is better by a twentieth or more."""
    lines = []
    if workload.name.startswith("handoff"):
        return lines # those without it do what they do above
    for homing in [peer for peer in rows if peer.program == "Homing"]:
        for peer in [peer for peer in rows if peer.group and peer.program != "Homing" and
                     (peer.legs, peer.label) == (homing.legs, homing.label)]:
            for key, heading, decimals in workload.columns:
                ours, theirs = (statistics.median(rows[p].get(key) or [0]) for p in (homing, peer))
                up = key.endswith("rate")
                alike = theirs < ours * 1.05 if up else theirs > ours * 0.95
                if alike or theirs == ours or key in ("share", "resumed", "node_resumed", "node"):
                    continue
                lines.append("- %s: %s, %s: %s to %s of Homing" % (
                    workload.title, row_name(peer), heading, number(theirs, decimals),
                    number(ours, decimals)))
    return lines


# ---- charts ----

def bars_of(rows, keys, legs):
    bars = []
    for peer, figures in rows.items():
        if peer.legs == legs and all(figures.get(key) for key in keys):
            totals = [sum(values) for values in zip(*(figures[key] for key in keys))]
            bars.append(charts.Bar(peer.name, [statistics.median(figures[key]) for key in keys],
                                   min(totals), max(totals)))
    return bars


def grouped(rows, keys):
    """Bars under the legs they have."""
    legs = dict.fromkeys(peer.legs for peer in rows)
    groups = [(leg, bars_of(rows, keys, leg)) for leg in legs]
    return [(leg, bars) for leg, bars in groups if bars]


def login_chart(r):
    groups = []
    for workload, rows in r.results:
        if workload.name.startswith(("logins", "submission")):
            shown = {peer: figures for peer, figures in rows.items() if peer.program != "direct"}
            groups.append((workload.title, [bar for _, bars in grouped(shown, ["own"])
                                            for bar in bars]))
    return charts.draw("Own CPU per login, us", groups)


def make_charts(r):
    """{file name: (words, SVG)}"""
    made = {"logins": login_chart(r)}
    for name, title, workload, keys, decimals, legend in (
            ("idle", "Memory per idle session, KiB", "idle", ["user", "kernel"], 1,
             "dark: user space, light: kernel"),
            ("ping", "Small round trips: p99, us", "ping", ["p99"], 0, ""),
            ("turns", "Small round trips over 1,000 sessions: own CPU, us", "turns-1000", ["own"], 1, ""),
            ("bulk", "CPU of the machine per GB, s (stream)", "bulk", ["stream_machine"], 2, ""),
            ("mixed-cpu", "Mixed load: own CPU, ms per second", "mixed", ["own"], 1, ""),
            ("mixed-latency", "Mixed load: p99, us", "mixed", ["p99"], 0, "")):
        made[name] = charts.draw(title, grouped(r.rows(workload), keys), decimals, legend)
    return made


# In which section of the text a chart stands: the last workload of that name's beginning.
CHARTS = {"logins-full": ["logins"], "idle": ["idle"], "ping": ["ping"], "turns-1000": ["turns"],
          "bulk": ["bulk"],
          "mixed": ["mixed-cpu", "mixed-latency"]}


# ---- the text ----

INTRO = """# Benchmarks

Made by `make bench`; do not edit. Homing beside Dovecot's login proxy, HAProxy, nginx's mail proxy
and perdition: the same load, the same nodes, the same machine, in turns.

HAProxy passes TCP connections on, with TLS on one or both sides: it knows no account, no protocol
and one node. It is the floor of what such a proxy costs, not an alternative. nginx speaks plain
text to nodes. perdition has a process for each connection.

"""

METHOD = """## Conditions

- Client, router and node are in three network namespaces, joined by veth pairs, congestion control
  reno.
- The router that is measured has one CPU with all its processes; load generator and nodes share
  another one. Each router has one worker thread or process. All routers run all the time; only one
  has work.
- In every round the routers take turns, and another one begins. A figure is the median of the
  rounds, in brackets the smallest and the largest.
- TLS 1.3 with {suite}, key exchange {curve}, certificates with P-256 keys, the same for all: the
  load offers nothing else and the light nodes accept nothing else. perdition exchanges keys with
  P-256 alone, so its clients offer that.
- The nodes are light (tests/bench/lightnode.c): they accept every login and hold no mail. One
  workload has a real Dovecot node. Load: tests/bench/load.c, {at_once} logins at a time.
- With handoff the agent has one thread, is beside the nodes and shares their CPU, and the nodes are
  plain. Where the work of agent and nodes is counted as well, only one of the routers has any.
- Homing and Dovecot write their line for each login to /dev/null; the others log nothing.
- Own CPU: time of all processes of the router, also those that ended meanwhile (cpu.stat of its
  control group). It holds what the kernel did in their name, and interrupts that came meanwhile.
  Router's core: busy time of the router's CPU. Machine: busy time of all CPUs, with load generator
  and nodes.
- In a virtual machine waking up a CPU that was given back to the hypervisor costs whoever does it
  some 15 us, whichever router it is, and most of what a small message costs. How long an idle CPU
  waits awake before that is below; `BENCH_AWAKE=1` makes it the kernel's default, 200 us.
- Share: own CPU by time. From 0.95 on the router was the limit; below it the load or the node was,
  and the rate says little about the router while CPU per unit still does.

"""

REPEAT = """## How to repeat

    make bench          # as root, two CPUs, half an hour; installs the Debian packages that are
                        # missing, writes this file
    make bench ONLY=logins          # one part, prints only; several: ONLY="ping bulk"
    BENCH_QUICK=1 make bench        # one short round of everything, prints only
    BENCH_ROUNDS=9 make bench       # more rounds
    BENCH_AWAKE=1 make bench        # idle CPUs of a virtual machine wait awake for 200 us

Parts: {parts}. The machine should have nothing else to do.
"""


def configurations(bench):
    """One for each program, with TLS on both legs if it can."""
    text, chosen = "## Configurations\n\n", {}
    for (program, legs, label), peer in bench.peers.items():
        if peer and peer.config and not label:
            chosen.setdefault(program, (legs, peer.config))
    for program, (legs, config) in chosen.items():
        config = config.replace(bench.space.path, "/tmp/bench")
        text += "### %s, %s\n\n```\n%s```\n\n" % (program, legs, config.rstrip("\n") + "\n")
    text += "With other legs the lines of TLS are left out.\n\n"
    if bench.agent:
        for name, config in (
                ("Homing with handoff, besides", bench.agent.router()["handoff"]),
                ("Its agent", bench.agent.config)):
            config = config.replace(bench.space.path, "/tmp/bench")
            text += "### %s\n\n```\n%s```\n\n" % (name, config)
    return text


def versions(bench):
    commit = subprocess.run(["git", "-C", harness.ROOT, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=False).stdout.strip()
    rows = [["", ""], ["Homing", commit or "unknown"], *map(list, machine.conditions()),
            ["load average before the run", "%.1f" % bench.load_before],
            *map(list, machine.packages(PACKAGES))]
    return "## Versions\n\n" + markdown_table(rows) + "\n"


def section(workload, rows):
    text = "### %s\n\n" % workload.title
    if workload.note:
        text += workload.note + "\n\n"
    text += markdown_table(table_of(workload, rows)) + "\n"
    text += workload.more()
    for name in CHARTS.get(workload.name, []):
        text += "![%s](benchmarks/%s.svg)\n\n" % (workload.title, name)
    return text


def write(bench, results, parts, seconds):
    r = Results(results)
    text = INTRO + "## Aims\n\n" + markdown_table(aims_table(r)) + "\n"
    text += ("With TLS, `Homing` is on path `record`, which is what `splice.mode = \"auto\"` takes; "
             "`Homing copy` leaves records to OpenSSL. What both and kernel TLS need in instructions "
             "and bytes is in [benchmarks-vm.md](benchmarks-vm.md).\n\n")
    text += METHOD.format(suite=peers.SUITE, curve=peers.CURVE, at_once=AT_ONCE)
    text += "## Results\n\n" + "".join(section(workload, rows) for workload, rows in results)
    better = [line for result in results for line in better_than_homing(*result)]
    text += "## Where another router does better\n\nMedians that differ by a twentieth or more.\n\n"
    text += ("\n".join(better) or "Nowhere.") + "\n\n"
    for program, reason in bench.missing.items():
        text += "%s was not measured: %s.\n\n" % (program, reason)
    text += versions(bench) + configurations(bench) + REPEAT.format(parts=", ".join(parts))
    text += "This run took %.0f minutes.\n" % (seconds / 60)
    os.makedirs(DOCS + "/benchmarks", exist_ok=True)
    with open(DOCS + "/benchmarks.md", "w", encoding="utf-8") as f:
        f.write("<!-- SPDX-License-Identifier: Apache-2.0 -->\n" + text)
    for name, svg in make_charts(r).items():
        with open("%s/benchmarks/%s.svg" % (DOCS, name), "w", encoding="utf-8") as f:
            f.write(svg)
    print("\n" + "\n".join("%-90s %8s %14s %s" % tuple(line) for line in aims_table(r)))
