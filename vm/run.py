#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots the kernels of kernels.txt in QEMU and runs guest-tests.sh in each. Ends with one line
`N passed, N failed, N skipped`."""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import image  # noqa: E402
import kernels  # noqa: E402


# A kernel that patches its own code while it boots may fall over in the emulator, before anything of
# ours runs; what comes after the first process has started is never repeated.
BOOTS = 3
BOOTED = "VMTEST BOOTED"


# With the clock of instructions, two boots of one image do the same, instruction by instruction: one
# CPU, a clock that begins at a fixed date, random numbers from a seed, addresses that stay.
REPEATABLE = ["-icount", "shift=0,sleep=off", "-smp", "1", "-rtc", "base=2026-01-01,clock=vm"]
SAME_ADDRESSES = " nokaslr norandmaps randomize_kstack_offset=off"


# What guest-tests.sh can be told to run.
PARTS = ("relay", "guard", "e2e", "handoff")


def parts_of(row, options):
    """Those that are wanted and have not been run on this kernel."""
    done = [part for name, _, part in (text.partition(":") for text in options.done) if name == row["name"]]
    return [part for part in options.parts if part not in done and part not in row.get("repeats", ())]


def find_twins(rows):
    """Two releases may have one version of the kernel. What tests our program on it, and takes longest,
    says nothing new on the second; what tests the kernel itself runs on all."""
    first = {}
    for row in rows:
        try:
            row["directory"] = kernels.kernel(row)
        except (kernels.Unavailable, OSError, subprocess.CalledProcessError):
            continue # run_one() tells
        version = kernels.version(row["directory"])
        if version in first:
            row["repeats"] = ("e2e", "handoff")
            print("%s is %s like %s: not its end-to-end tests of kernel TLS and handoff" % (row["name"], version, first[version]),
                  flush=True)
        first.setdefault(version, row["name"])


def qemu(row, directory, initrd, options, shell=False):
    append = "console=ttyS0 quiet panic=-1 mitigations=off" + (" homing.shell" if shell else "")
    parts = parts_of(row, options)
    append += " homing.parts=" + ",".join(parts) if len(parts) < len(PARTS) else ""
    if options.icount:
        accel = ["-accel", "tcg,thread=single", *REPEATABLE, "-seed", str(options.seed)]
        append += SAME_ADDRESSES
    else:
        accel = ["-accel", "tcg,thread=multi", "-smp", "2"]
    return ["qemu-system-x86_64", "-M", "q35", *accel, "-cpu", "max", "-m", str(options.memory),
            "-nographic", "-no-reboot", "-nodefaults", "-serial", "mon:stdio" if shell else "stdio",
            "-kernel", kernels.find(directory, r"vmlinuz(-.*)?"), "-initrd", initrd, "-append", append]


def count(text):
    """(passed, failed, skipped) of a guest's output."""
    ok = len(re.findall(r"^VMTEST ok ", text, re.M)) + \
        len(re.findall(r"^\[       OK \]", text, re.M))
    failed = len(re.findall(r"^VMTEST FAILED ", text, re.M)) + \
        len(set(re.findall(r"^\[  FAILED  \] (test_.*)", text, re.M)))
    skipped = len(re.findall(r"^VMTEST skipped ", text, re.M)) + \
        len(set(re.findall(r"^\[  SKIPPED \] (test_.*)", text, re.M)))
    for line in re.findall(r"^[=\s]*(\d+ (?:passed|failed|skipped|error).* in [\d.]+s.*)$", text,
                           re.M):
        found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)",
                                                        line)}
        ok += found.get("passed", 0)
        failed += found.get("failed", 0) + found.get("error", 0)
        skipped += found.get("skipped", 0)
    if "VMTEST END" not in text or re.search(r"Kernel panic|BUG:|Oops:|WARNING: CPU", text):
        failed += 1
    return ok, failed, skipped


def run_one(row, root, options):
    """Returns (passed, failed, skipped, text for the user)."""
    start = time.monotonic()
    try:
        directory = row.get("directory") or kernels.kernel(row)
        initrd = os.path.join(kernels.CACHE, row["name"] + ".initrd")
        image.build(directory, initrd, root, options.script)
    except (kernels.Unavailable, OSError, subprocess.CalledProcessError) as e:
        if row["required"]:
            return 0, 1, 0, "FAILED %s: %s" % (row["name"], e)
        return 0, 0, 1, "skipped %s: %s" % (row["name"], e)
    text = run_in_guest(row, directory, initrd, options)
    ok, failed, skipped = count(text)
    if failed:
        print("%s: %d failed; all of it once more, because an emulator on a busy machine misses "
              "deadlines:\n%s" % (row["name"], failed, text[-options.tail:]), flush=True)
        text = run_in_guest(row, directory, initrd, options)
        ok, failed, skipped = count(text)
    os.unlink(initrd)
    words = "%s %s: %d passed, %d failed, %d skipped (%.0f s)" % (
        "FAILED" if failed or not ok else "ok    ", row["name"], ok, failed, skipped,
        time.monotonic() - start)
    if failed or not ok:
        words += "\n" + text[-options.tail:]
    elif options.verbose:
        words += "\n" + text
    return ok, failed or int(not ok), skipped, words


def run_in_guest(row, directory, initrd, options):
    for attempt in range(BOOTS):
        text = boot(row, directory, initrd, options)
        if BOOTED in text:
            break
        print("%s did not get as far as its first process%s" % (
            row["name"], ", again" if attempt + 1 < BOOTS else ""), flush=True)
    return text


def boot(row, directory, initrd, options):
    """What the guest printed."""
    log = os.path.join(kernels.CACHE, row["name"] + ".log")
    with open(log, "wb") as f:
        process = subprocess.Popen(qemu(row, directory, initrd, options), stdin=subprocess.DEVNULL,
                                   stdout=f, stderr=subprocess.STDOUT)
        try:
            process.wait(options.timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with open(log, encoding="utf-8", errors="replace") as f:
        return f.read().replace("\r", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", action="append", help="only this one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    parser.add_argument("--done", action="append", default=[], metavar="KERNEL:PART",
                        help="not this part on this kernel")
    parser.add_argument("--script", default=os.path.join(kernels.HERE, "guest-tests.sh"))
    parser.add_argument("--build", default=os.path.join(kernels.ROOT, "build"),
                        help="whose programs")
    parser.add_argument("--shell", action="store_true", help="a shell after the script")
    parser.add_argument("--icount", action="store_true", help="the guest's clock counts instructions")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers, with --icount")
    parser.add_argument("--timeout", type=int, default=1200)
    parser.add_argument("--memory", type=int, default=2048)
    parser.add_argument("--tail", type=int, default=12000)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    rows = [r for r in kernels.rows() if not options.kernel or r["name"] in options.kernel]
    os.makedirs(kernels.CACHE, exist_ok=True)
    root = os.path.join(kernels.CACHE, "root-%d.cpio" % os.getpid())
    image.build_root(root, os.path.abspath(options.build))
    total = [0, 0, 0]
    try:
        if options.shell:
            directory = kernels.kernel(rows[0])
            initrd = root + ".initrd"
            image.build(directory, initrd, root, "/dev/null")
            code = subprocess.run(qemu(rows[0], directory, initrd, options, True), check=False).returncode
            os.unlink(initrd)
            return code
        find_twins(rows)
        rows.sort(key=lambda row: -len(parts_of(row, options))) # who has most to do begins first
        with concurrent.futures.ThreadPoolExecutor(1 if options.icount else 2) as pool:
            for ok, failed, skipped, words in pool.map(
                    lambda row: run_one(row, root, options), rows):
                print(words, flush=True)
                total = [a + b for a, b in zip(total, (ok, failed, skipped))]
    finally:
        os.unlink(root)
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
