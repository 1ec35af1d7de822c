#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""README's first commands on minimal systems of the Debian releases that are supported, as a new user
types them. Each system is made by debootstrap from apt's own mirror, in a directory that is removed
again. The last line is `N passed, N failed, N skipped`.

What such a system cannot have: a service manager (servers are started by the tests themselves), another
kernel than this machine's (but virtual machines run in it, with this release's programs and libraries).

With --bench these targets run there instead of demo and tests, with the release's compiler, OpenSSL and
other routers; pages that they write come to docs/RELEASE."""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "vm")]
import chroot  # noqa: E402
import kernels  # noqa: E402

RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
CACHE = os.environ.get("HOMING_RELEASES_CACHE", os.path.join(ROOT, "build", "releases"))
BASE_DAYS = 14 # after that a cached base is made anew
# What the other release has to show within `make test-all`; see run-tests.py.
PARTS = "release"
ALL_PARTS = ("static lint unit e2e sanitizers threads aws-lc makefile torture torture-record torture-handoff peers fuzz vm "
             "bench demo")


class Failed(Exception):
    """A step went wrong; the text says why."""


# ---- what README says ----

def blocks(text, heading):
    """The indented blocks below a heading, as lists of commands without their comments."""
    section = re.search(r"^## %s$(.*?)(?=^## |\Z)" % re.escape(heading), text, re.M | re.S)
    if not section:
        raise Failed("README.md has no section %r" % heading)
    found, block = [], []
    for line in section.group(1).splitlines() + [""]:
        if line.startswith("    "):
            block.append(re.sub(r"\s+#.*", "", line.strip()))
        elif block:
            found.append(block)
            block = []
    return found


def readme_commands():
    """The commands of the first minute, and those to build and install."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    first = blocks(text, "See it work")[0]
    install = [c for c in blocks(text, "Build and install")[0]
               if re.fullmatch(r"make( deps| install.*| uninstall.*)?", c)]
    if "make demo" not in first or "make test" not in first or "make" not in install:
        raise Failed("README.md does not say how to begin")
    return first, install


# ---- the minimal system ----

def sources(release, mirror):
    """Lines for apt: the release, its updates and its security updates, as an installer writes them."""
    lines = ["deb %s %s main" % (mirror, release), "deb %s %s-updates main" % (mirror, release)]
    security = ""
    for line in kernels.output("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)",
                               "Created-By: Packages").splitlines():
        if line.endswith(" %s-security" % kernels.own_codename()):
            security = line.split()[0]
    if security:
        lines.append("deb %s %s-security main" % (security, release))
    else:
        print("releases: apt has no archive of security updates here: left out")
    return "\n".join(lines) + "\n"


def write(root, name, text):
    os.makedirs(os.path.dirname(root + name), exist_ok=True)
    with open(root + name, "w", encoding="utf-8") as f:
        f.write(text)


def adapt(root, release, mirror):
    """What an installer would have set up, and speed for a system that is thrown away."""
    write(root, "/etc/apt/sources.list", sources(release, mirror))
    proxies = [line for line in kernels.output("apt-config", "dump").splitlines()
               if re.match(r"Acquire::https?::Proxy", line, re.I)]
    write(root, "/etc/apt/apt.conf.d/80releases", "\n".join(
        [*proxies, 'APT::Sandbox::User "root";', ""]))
    write(root, "/etc/dpkg/dpkg.cfg.d/releases", "force-unsafe-io\n")
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        if os.path.exists(name):
            shutil.copy(name, root + name)


def make_base(release, directory, archive, log):
    """A minimal system, up to date, as a tar archive."""
    mirror = kernels.mirror()
    with open(log, "ab") as f:
        if subprocess.run(["debootstrap", "--variant=minbase", release, directory, mirror],
                          stdin=subprocess.DEVNULL, stdout=f, stderr=f, check=False).returncode:
            raise Failed("debootstrap cannot make %s from apt's mirror (no network?); see %s:\n%s" % (
                release, log, tail(log, 5)))
    adapt(directory, release, mirror)
    chroot.mount(directory, directory, None, chroot.MS_BIND)
    code, output = chroot.run(directory, "apt-get update -qq && apt-get upgrade -y -qq && apt-get clean",
                              log, environment={"DEBIAN_FRONTEND": "noninteractive"})
    if code:
        raise Failed("%s: updates: %s" % (release, output[-1000:]))
    shutil.rmtree(directory + "/var/lib/apt/lists")
    subprocess.run(["tar", "-C", directory, "--one-file-system", "-cf", archive + ".tmp", "."], check=True)
    os.rename(archive + ".tmp", archive)


def fresh(path):
    return os.path.exists(path) and time.time() - os.path.getmtime(path) < BASE_DAYS * 86400


def tail(path, lines):
    with open(path, encoding="utf-8", errors="replace") as f:
        return "".join(f.readlines()[-lines:])


def copy_deeper(path, place):
    """A page or a picture, to one directory below: links out of docs/ have a step more."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(place, "w", encoding="utf-8") as f:
        f.write(text.replace("](../", "](../../"))


def written_since(directory, since):
    """Paths below it of the files that were written after that time."""
    found = [os.path.join(base, name) for base, _, names in os.walk(directory) for name in names]
    return sorted(os.path.relpath(path, directory) for path in found if os.path.getmtime(path) >= since)


# ---- one release ----

class Run:
    def __init__(self, release, options):
        self.release, self.options, self.name = release, options, RELEASES[release]
        self.log = os.path.join(CACHE, release + ".log")
        self.root = os.path.join(CACHE, release + ".run")
        self.archive = os.path.join(CACHE, release + ".tar")
        self.directory, self.counts = "/root", [0, 0, 0]

    def __call__(self):
        """All steps; within namespaces of its own. Returns 0 when all that was to be tried was tried."""
        try:
            os.mkdir(self.root)
            self.base()
            if not self.options.prepare:
                self.system()
                self.commands()
        except (Failed, kernels.Unavailable) as e:
            print("FAILED %s: %s" % (self.name, e), flush=True)
            self.counts[1] += 1
        with open(self.log + ".counts", "w", encoding="ascii") as f:
            f.write("%d %d %d" % tuple(self.counts))
        return 0

    def timed(self, title, what):
        start = time.monotonic()
        result = what()
        print("ok     %s: %s (%.0f s)" % (self.name, title, time.monotonic() - start), flush=True)
        return result

    def base(self):
        if not fresh(self.archive):
            base = self.root + "/base"
            self.timed("debootstrap", lambda: make_base(self.release, base, self.archive, self.log))
            chroot.unmount(base)
            shutil.rmtree(base)

    def system(self):
        self.timed("minimal system", lambda: subprocess.run(
            ["tar", "-C", self.root, "-xf", self.archive], check=True))
        chroot.mount_system(self.root)
        for name, place in (("debs-" + self.release, "/var/cache/apt/archives"),
                            ("lists-" + self.release, "/var/lib/apt/lists")):
            os.makedirs(os.path.join(CACHE, name), exist_ok=True)
            chroot.mount(os.path.join(CACHE, name), self.root + place, None, chroot.MS_BIND)
        os.makedirs(kernels.CACHE, exist_ok=True)
        chroot.mount(kernels.CACHE, self.root + "/var/cache/homing-kernels", None, chroot.MS_BIND)
        # The commit that is checked out; what is not committed is not in it.
        subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "bundle", "create", "-q",
                        self.root + "/root/source", "HEAD"], check=True)

    def step(self, command, **kwargs):
        environment = {"SOURCE": "/root/source", "DEMO_ONCE": "1", "TEST_PARTS": self.options.parts,
                       "HOMING_VM_CACHE": "/var/cache/homing-kernels"}
        start = time.monotonic()
        code, output = chroot.run(self.root, command, self.log, self.directory, environment, **kwargs)
        print("%-6s %s: %s (%.0f s)" % ("FAILED" if code else "ok", self.name, command,
                                        time.monotonic() - start), flush=True)
        return code, output

    def one(self, command, **kwargs):
        """A step that is one test, and without which the next ones make no sense."""
        code, output = self.step(command, **kwargs)
        if code:
            raise Failed("%s\n%s" % (command, output[-6000:]))
        self.counts[0] += 1
        return output

    def check(self, title, fault):
        print("%-6s %s: %s" % ("FAILED" if fault else "ok", self.name, title + (
            ": " + fault if fault else "")), flush=True)
        self.counts[1 if fault else 0] += 1

    def commands(self):
        first, install = readme_commands()
        for command in first:
            if command.startswith("cd "):
                self.directory = os.path.join(self.directory, command[3:])
            elif command == "make test":
                if not self.options.only_demo:
                    self.build(install)
                    if self.options.bench:
                        self.bench(self.options.bench.split())
                    else:
                        self.test(command)
            elif command == "make demo":
                if not self.options.bench:
                    self.demo(command)
            else:
                self.one(command)

    def services(self):
        """Which services the system would start."""
        code, output = chroot.run(self.root, "cd /etc && ls -d systemd/system/*.wants/* rc[S2345].d/S* "
                                  "systemd/system/*.service systemd/system/*.socket 2>/dev/null; true",
                                  self.log)
        return set(output.split())

    def left(self, before, command):
        new = sorted(self.services() - before)
        self.check("%s enables no service" % command, ", ".join(new))
        self.check("%s leaves nothing running" % command, ", ".join(
            "%d %s" % p for p in chroot.left_running()))

    def demo(self, command):
        before = self.services()
        output = self.one(command)
        rows = write_table(self.release, output)
        self.check("the demo's table has rows", "" if len(rows) > 8 else output[-2000:])
        self.check("the demo hands a session over", "" if re.search(
            r"^handed over +(sockmap/sockmap|copy/copy) +record/record +[\d.]+ ms$", output, re.M) else
            output[-2000:])
        self.left(before, command)
        packages = chroot.run(self.root, "dpkg-query -W -f '${Package}\\n'", self.log)[1].split()
        self.check("the demo installs no server but its own", ", ".join(
            p for p in packages if re.match(
                r"postgresql|redis-server|prometheus|nginx|postfix|haproxy|qemu-system|pgbouncer", p)))

    def build(self, install):
        """Once all packages are there, no network is needed."""
        before = self.services()
        for command in install:
            self.one(command, network=command == "make deps")
            if command == "make deps":
                self.left(before, command)

    def bench(self, targets):
        """What each of them prints is in the log as well."""
        pages = os.path.join(ROOT, "docs", self.release)
        for target in targets:
            began = time.time()
            print(self.one("make " + target))
            for path in written_since(self.root + self.directory + "/docs", began):
                place = os.path.join(pages, path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                copy_deeper(os.path.join(self.root + self.directory, "docs", path), place)
                print("wrote " + os.path.relpath(place, ROOT), flush=True)

    def test(self, command):
        # With network: packages of other servers and kernels are fetched and unpacked, not installed.
        code, output = self.step(command)
        for line in output.splitlines():
            if re.match(r"FAILED|       (SKIPPED|skipped|once more)|\d+ passed", line):
                print("       " + line.strip())
        found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped", output, re.M)
        if not found:
            raise Failed("%s\n%s" % (command, output[-6000:]))
        ok, bad, skip = map(int, found[-1])
        if code or bad:
            print(output[-12000:])
        self.counts = [self.counts[0] + ok, self.counts[1] + max(bad, int(code != 0)),
                       self.counts[2] + skip]


# ---- all ----

def begin(release, options):
    """Returns (passed, failed, skipped)."""
    os.makedirs(CACHE, exist_ok=True)
    run = Run(release, options)
    with open(run.archive + ".lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("releases: %s waits for another run in %s" % (release, CACHE), flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        remove(run.root) # of a run that was killed
        open(run.log, "w", encoding="ascii").close()
        try:
            if os.path.exists(run.log + ".counts"):
                os.unlink(run.log + ".counts")
            code = chroot.in_namespaces(run)
        finally:
            remove(run.root)
        if code == 130:
            raise KeyboardInterrupt
        try:
            with open(run.log + ".counts", encoding="ascii") as f:
                return [int(n) for n in f.read().split()]
        except OSError:
            print("FAILED %s: did not come to an end; see %s" % (run.name, run.log), flush=True)
            return [0, 1, 0]


def remove(directory):
    """Never across a mount: all mounts were in namespaces that are gone."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        if any(line.split()[1].startswith(directory + "/") for line in f):
            raise SystemExit("releases: something is mounted below " + directory)
    if os.path.isdir(directory):
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


def table_of(output):
    """The demo's table; paths and ports around it are another each time."""
    return [line.rstrip() for line in output.splitlines()
            if re.match(r"account |\w+@example|\(homingctl", line)]


def write_table(release, output):
    rows = table_of(output)
    with open(os.path.join(CACHE, release + ".demo"), "w", encoding="utf-8") as f:
        f.write("\n".join(rows) + "\n")
    return rows


def own_demo():
    """Runs it on this machine itself, as it is built here; returns this release's name."""
    release = kernels.own_codename()
    done = subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tests/demo/demo.py")], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=dict(os.environ, DEMO_ONCE="1"))
    write_table(release, done.stdout)
    return release


def same_tables(releases):
    texts = []
    for release in releases:
        try:
            with open(os.path.join(CACHE, release + ".demo"), encoding="utf-8") as f:
                texts.append(f.read())
        except OSError:
            return []
    print(texts[0], end="")
    return [int(texts[0] == texts[1]), int(texts[0] != texts[1]), 0]


def missing():
    if os.geteuid() != 0:
        return "only root can make a system in a directory: sudo make releases"
    if not shutil.which("debootstrap"):
        return "debootstrap is missing: make deps"
    if not kernels.own_codename() in RELEASES:
        return "this machine's apt knows no mirror of Debian (%s)" % (kernels.own_codename() or "no release")
    if subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "rev-parse", "-q", "--verify", "HEAD"],
                      capture_output=True, check=False).returncode:
        return "%s is no git checkout, and what is committed is what is tried" % ROOT
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("releases", nargs="*", help="default: " + " ".join(RELEASES))
    parser.add_argument("--other", action="store_true", help="as `make test-all` does it: the other release's "
                        "unit and end-to-end tests with sanitizers, and its demo beside this one's")
    parser.add_argument("--prepare", action="store_true", help="only the minimal systems, for a later run")
    parser.add_argument("--only-demo", action="store_true", help="not `make test`")
    parser.add_argument("--parts", default="", help="of `make test`; default: " + ALL_PARTS)
    parser.add_argument("--bench", default="", help="instead of all this: these targets of the Makefile")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    fault = missing()
    if fault or not set(options.releases) <= set(RELEASES):
        print("releases: " + (fault or "known are " + ", ".join(RELEASES)), file=sys.stderr)
        return 2
    names = options.releases or list(RELEASES)
    if options.other:
        names = [r for r in RELEASES if r != kernels.own_codename()]
    print("releases: commit %s; what is not committed is not in it" % kernels.output(
        "git", "-c", "safe.directory=*", "-C", ROOT, "rev-parse", "--short", "HEAD").strip())
    total = [0, 0, 0]
    try:
        for release in names:
            options.parts = PARTS if options.other else options.parts or ALL_PARTS
            total = [a + b for a, b in zip(total, begin(release, options))]
        if options.prepare:
            return 1 if total[1] else 0
        if options.other:
            names.append(own_demo())
        tables = same_tables(names) if len(names) == 2 and not options.bench else []
        if tables:
            print("%-6s the demo's table is the same on both" % ("FAILED" if tables[1] else "ok"))
            total = [a + b for a, b in zip(total, tables)]
    except KeyboardInterrupt:
        print("releases: interrupted")
        return 130
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
