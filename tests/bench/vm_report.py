# SPDX-License-Identifier: Apache-2.0
"""The table that `make vm-bench` prints, and the text of docs/benchmarks-vm.md, made of its
result."""

NAMES = {"record": "Homing, record", "ktls": "Homing, kernel TLS", "copy": "Homing, OpenSSL",
         "haproxy": "HAProxy", "handoff": "Homing, handoff"}
TITLES = {
    "login_full": "IMAP login, client's handshake full",
    "login_resumed": "IMAP login, client's handshake resumed",
    "login_submission": "submission login, client's handshake full",
    "byte_tls": "byte to the client, records of 16 KiB, TLS/TLS",
    "byte_plain": "byte to the client, records of 16 KiB, TLS/plain",
    "record": "record of 300 bytes, TLS/TLS",
    "burst": "record of 300 bytes in bursts of 40, TLS/TLS, equal wake-ups",
    "round_trip": "round trip (NOOP), TLS/TLS",
    "notification": "notification (IDLE), TLS/TLS",
}
PAGE = """# Benchmarks that count instructions

`make vm-bench` wrote this page. It measures in a virtual machine, because a count of instructions
is the same on any machine, however busy, and because a guest can have a kernel with kernel TLS
where the host's has none. Less is better everywhere.

## Aims

%(aims)s

CPU per byte is the same number as billions of instructions per GB.

Homing has three columns: path `record`, which is what `splice.mode = "auto"` takes for TLS, kernel TLS
(`ktls`) and OpenSSL to the end (`copy`).

## Instructions of the router

What the router itself executes for each login, byte, record and so on, in user space and in the
kernel: all its threads, and what the kernel does on their behalf.

%(own)s

## Instructions of the whole machine

Client, router, node and kernel together.

%(machine)s

## Memory of an idle session

%(sessions)d IMAP sessions with TLS on both sides, eight of each account, logged in and idle. User
memory is what only the router's process has. Kernel memory is slab, page tables, stacks and the
pages of sockets, less what the same sessions take without a router between client and node.

%(memory)s

%(handoff)s## Conditions

%(versions)s

- The guest has one CPU and 2 GiB. QEMU emulates it (`-icount shift=0`): each instruction takes a
  nanosecond of the guest's clock, an instruction of AES or of AVX2 too. It has AES-NI, PCLMUL and
  AVX2, but no AVX-512 and no instructions for SHA. A count says what a program does, not how fast
  a processor does it: caches and the prediction of branches are not in it.
- Client, router and node talk over the guest's loopback, so what the kernel does to receive is
  counted where it was sent.
- TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, P-256 certificates. Handshakes with the node
  are resumed. Homing has one worker and an SQLite mapping with its cache; HAProxy has one thread,
  mode tcp, and knows neither account nor mail protocol. Homing writes its log line for each
  session; HAProxy logs nothing.
- Logins with LOGOUT or QUIT and the end of the session, of accounts that the router has seen
  before, one after the other.
- Equal wake-ups: the next burst is asked for when all of the one before has arrived, and a wait for
  events begins 3 ms after the one before began, or later, in every router alike (tests/bench/pause.c),
  so that each finds a whole burst. In the row above it a router that wakes up for each record pays for
  each what others pay for several.
- %(rounds)d rounds, the routers take turns; medians, with the least and the most where they differ
  by more than 1 %%.
- Random numbers come from a seed, the clock begins at a fixed date, addresses are not randomised:
  two whole runs of the same programs gave the same figures to the last digit. A change of the
  programs moves them a little without a reason of its own; `vm/bench.py --kernel NAME --seed 2`
  shows how much that is. Bytes through OpenSSL (copy) move by a tenth, with the rhythm in which
  client, router and node wake each other, and are not judged.

## Repeat it

    make deps
    make vm-bench                  # KERNEL=NAME: another line of vm/kernels.txt
    make vm-bench QUICK=1          # Homing only, one round, writes nothing
    make vm-bench BASELINE=write   # makes its figures the baseline

It fails when a figure of Homing is more than 5 %% worse than in
[tests/bench/vm-baseline.json](../tests/bench/vm-baseline.json). Kernel, OpenSSL, compilers and
emulator have to be the baseline's for that; otherwise it says which are not, and compares nothing.
"""


HANDOFF = """## Handoff

With handoff a client's TLS session goes to an agent beside the node once it is logged in
([handoff.md](handoff.md)); the router passes on what it cannot read, and the node has no TLS. What
the router is spared the agent does, so these tables have everybody but the client. Without handoff
the node has TLS. Threads of the kernel move what the router's program has accepted; their work is
the router's. Its process takes a direction whose reader does not keep up. A wake-up: a thread of the
router is given the CPU.

%(instructions)s

%(memory)s

"""


def number(value):
    return "%.2f" % value if abs(value) < 100 else format(round(value), ",")


def ratio(figures, over, under):
    return "%.2f" % (figures[over] / figures[under]) if under in figures and figures[under] else "-"


def markdown(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values):
    """The median, and the range if there is one to speak of."""
    middle = number(sorted(values)[len(values) // 2])
    if max(values) <= 1.01 * min(values) or number(min(values)) == number(max(values)):
        return middle
    return "%s (%s-%s)" % (middle, number(min(values)), number(max(values)))


def heads(peers):
    """All of them, and then the first one to each of the others."""
    short = [NAMES[peer].split(", ")[-1] for peer in peers]
    return [NAMES[peer] for peer in peers] + ["%s to %s" % (short[0], other) for other in short[1:]]


def instructions(result, figures, side):
    peers = list(result["rounds"])
    rows = [[TITLES[task]] + [spread(result["rounds"][peer][task][side]) for peer in peers] +
            [ratio(figures, "%s %s %s" % (peers[0], task, side), "%s %s %s" % (peer, task, side))
             for peer in peers[1:]] for task in TITLES]
    return markdown(["instructions per"] + heads(peers), rows)


def memory(result):
    rows = []
    for kind, value in (("user", lambda m: m["user"]), ("kernel", lambda m: m["kernel"]),
                        ("both", lambda m: m["user"] + m["kernel"])):
        found = {peer: value(m) for peer, m in result["memory"].items()}
        rows.append([kind] + [number(v) for v in found.values()] +
                    ["%.2f" % (list(found.values())[0] / v) for v in list(found.values())[1:]])
    return markdown(["KiB per session"] + heads(list(result["memory"])), rows)


# Sides of the handoff's tables; and that of a session's memory.
SIDES = {"own": "router's process", "kernel": "kernel's threads", "agent": "agent", "node": "node",
         "chain": "all of them"}
HELD = {"user": "router, user", "agent": "agent, user", "kernel": "kernel"}


def everybody(result):
    """A row for each work and for each who can do it."""
    ours, rows = result["handoff"]["rounds"], []
    for task in ours["handoff"]:
        for peer, tasks in {**ours, **result["rounds"]}.items():
            sides = tasks.get(task, {})
            if "chain" in sides:
                wakes = sorted(sides["wakes"])[len(sides["wakes"]) // 2]
                rows.append([TITLES[task].replace(", TLS/TLS", ""), NAMES[peer]] + [
                    spread(sides[side]) if side in sides else "-" for side in SIDES] +
                    ["%.2g" % wakes])
    return markdown(["instructions per", "", *SIDES.values(), "wake-ups of the router"], rows)


def handoff(result):
    """The section, or nothing."""
    if "handoff" not in result:
        return ""
    held = result["handoff"]["memory"] or {}
    return HANDOFF % {
        "instructions": everybody(result),
        "memory": markdown(["KiB per idle session", *HELD.values()], [
            [NAMES["handoff"]] + [number(held[kind]) if kind in held else "-" for kind in HELD]])}


def handoff_aims(figures):
    """(aim, measured, limit)"""
    def router(peer):
        return figures[peer + " byte_tls own"] + figures[peer + " byte_tls kernel"]

    found = [("instructions per login of the router, handoff to HAProxy",
              figures["handoff login_full own"] / figures["haproxy login_full own"], 0.42),
             ("instructions per byte of the router, handoff to OpenSSL without it",
              router("handoff") / router("copy"), 0.15),
             ("instructions per byte of router, agent and node, handoff to without it",
              figures["handoff byte_tls chain"] / figures["record byte_tls chain"], 0.65)]
    found += [("wake-ups of the router for each %s, handoff" % words,
               figures["handoff %s wakes" % task], 0.01)
              for task, words in (("round_trip", "round trip"), ("notification", "notification"))]
    return found + [("user memory of an idle session on the router, handoff, KiB",
                     figures["handoff memory user"], 1)]


def aims(figures):
    def both(peer):
        return figures[peer + " memory user"] + figures[peer + " memory kernel"]

    rows = []
    for text, value, limit in (
            ("instructions per round trip of the router, record, thousands",
             figures["record round_trip own"] / 1000, 45),
            ("instructions per byte TLS/TLS of the router, record", figures["record byte_tls own"],
             8.5),
            ("instructions per record of 300 bytes, equal wake-ups, record to HAProxy",
             figures["record burst own"] / figures["haproxy burst own"], 0.65),
            ("memory of an idle session, user and kernel, record to HAProxy",
             both("record") / both("haproxy"), 0.25),
            ("user memory of an idle session, record, KiB", figures["record memory user"], 1.2),
            ("CPU per byte TLS/TLS of the router, kernel TLS to HAProxy",
             figures["ktls byte_tls own"] / figures["haproxy byte_tls own"], 0.85),
            ("memory of an idle session, user and kernel, kernel TLS to HAProxy",
             both("ktls") / both("haproxy"), 0.5),
            ("user memory of an idle session on kernel TLS, KiB", figures["ktls memory user"], 1),
            *(handoff_aims(figures) if "handoff memory user" in figures else ())):
        rows.append([text, "at most %.2f" % limit, "%.2f" % value,
                     "met" if value <= limit else "missed"])
    return markdown(["aim", "wanted", "measured", ""], rows)


def table(result, figures):
    """For the terminal."""
    lines = []
    if "handoff" in result:
        lines += [everybody(result), ""]
    if result["rounds"]:
        lines += table_of_routers(result, figures)
    for kind, value in (result.get("handoff", {}).get("memory") or {}).items():
        lines.append("handoff, KiB per idle session, %s: %s" % (HELD[kind], number(value)))
    return "\n".join(lines)


def table_of_routers(result, figures):
    width = max(map(len, TITLES.values()))
    lines = ["%-*s %-8s" % (width, "instructions per", "of") +
             "".join("%20s" % NAMES[peer] for peer in result["rounds"])]
    for task, title in TITLES.items():
        lines += ["%-*s %-8s" % (width, title, side) + "".join(
            "%20s" % number(figures["%s %s %s" % (peer, task, side)]) for peer in result["rounds"])
            for side in ("own", "machine")]
    for kind in ("user", "kernel"):
        if "memory" in result:
            lines.append("%-*s" % (width + 9, "KiB of %s memory per idle session" % kind) + "".join(
                "%20s" % number(found[kind]) for found in result["memory"].values()))
    return lines


def page(result, figures, versions):
    rounds = next(iter(result["rounds"].values()))["record"]["own"]
    return PAGE % {
        "aims": aims(figures), "own": instructions(result, figures, "own"),
        "machine": instructions(result, figures, "machine"), "memory": memory(result),
        "handoff": handoff(result), "sessions": result["sessions"], "rounds": len(rounds),
        "versions": markdown(["program", "version"], [list(pair) for pair in versions.items()])}
