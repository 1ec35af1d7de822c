# SPDX-License-Identifier: Apache-2.0
"""Is a run of `make vm-bench` worse than the baseline? Figures count instructions or memory, so
less is better, and they depend on nothing but the programs and the versions of what they are built
with."""

LIMIT = 1.05
OURS = ("record", "ktls", "copy", "handoff")
# What is next to nothing may double without meaning anything: on these sides, and these.
SMALL = ("wakes", "kernel")
NOTHING = ("handoff round_trip own", "handoff notification own", "handoff memory user")
# Between client and node the copy loop falls into one of two rhythms (a record at each wake-up, or
# several), a tenth apart; which one depends on anything. So does how many small records an agent finds
# at once, and makes one of, and how much a node can write to it at once.
RHYTHM = ("copy byte_", "handoff record ", "handoff byte_tls node")


def judged(name, baseline):
    return name.split()[0] in OURS and not name.startswith(RHYTHM) and name in baseline and \
        name not in NOTHING and (" memory " in name or name.split()[-1] not in SMALL)


def figures(result):
    """{"PEER WORK SIDE": value} of what the guest printed; of several rounds the median."""
    flat, handoff = {}, result.get("handoff", {})
    for peer, tasks in {**result["rounds"], **handoff.get("rounds", {})}.items():
        for task, sides in tasks.items():
            for side, values in sides.items():
                flat["%s %s %s" % (peer, task, side)] = sorted(values)[len(values) // 2]
    held = {"handoff": handoff["memory"]} if handoff.get("memory") else {}
    for peer, kinds in {**result.get("memory", {}), **held}.items():
        for kind, value in kinds.items():
            flat["%s memory %s" % (peer, kind)] = value
    return flat


def differences(versions, baseline):
    """Why the two cannot be compared, one text each."""
    return ["%s is %s, the baseline's %s" % (name, versions.get(name), wanted)
            for name, wanted in baseline.items()
            if name != "HAProxy" and versions.get(name) != wanted]


def worse(found, baseline):
    """Of Homing's figures those that are worse than the baseline's by more than the limit."""
    return ["%s: %.6g, the baseline's %.6g: %+.1f %%" % (
        name, value, baseline[name], 100 * (value / baseline[name] - 1))
        for name, value in found.items()
        if judged(name, baseline) and value > LIMIT * baseline[name]]


def check(versions, found, baseline):
    """(ok, lines to print). Other versions are no failure, but no comparison either."""
    reasons = differences(versions, baseline["versions"])
    if reasons:
        return True, ["not compared with the baseline: " + reason for reason in reasons]
    compared = sum(judged(name, baseline["figures"]) for name in found)
    if not compared:
        return False, ["WORSE nothing that the baseline has was measured"]
    lines = ["WORSE " + text for text in worse(found, baseline["figures"])]
    return not lines, lines or ["no worse than the baseline: %d figures" % compared]
