#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""AWS-LC for tests: its sources as Debian's newest suite has them, inside a package for Rust, from apt's own
mirror. They are verified and built once for each version, below build/, and never installed; build/aws-lc is
what `make TLS=aws-lc` takes. For a router in use docs/tls-library.md says where to get it."""

import glob
import lzma
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "vm"))
import kernels  # noqa: E402

SUITE, PACKAGE = "sid", "librust-aws-lc-sys-dev"
BUILD = os.path.join(ROOT, "build")
CACHE = os.environ.get("HOMING_AWSLC_CACHE", BUILD)
PLACE = os.path.join(BUILD, "aws-lc")
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DDISABLE_GO=ON", "-DDISABLE_PERL=ON", "-DBUILD_TESTING=OFF",
           "-DBUILD_TOOL=OFF", "-DCMAKE_POSITION_INDEPENDENT_CODE=ON", "-DCMAKE_INSTALL_LIBDIR=lib"]


def find_package(directory):
    """Its stanza of the suite's index, and the mirror's address."""
    base, index = kernels.mirror(), os.path.join(directory, SUITE + "-Packages.xz")
    kernels.fetch("%sdists/%s/main/binary-amd64/Packages.xz" % (base, SUITE), index)
    with lzma.open(index, "rt", encoding="utf-8") as f:
        for stanza in f.read().split("\n\n"):
            if stanza.startswith("Package: %s\n" % PACKAGE):
                return base, stanza
    raise kernels.Unavailable("%s has no %s" % (SUITE, PACKAGE))


def build(package, place):
    """Unpacks the package beside the place, builds and installs there. A place is whole or not there."""
    work = place + ".work"
    shutil.rmtree(work, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", package, work], check=True)
    sources = glob.glob(work + "/usr/share/cargo/registry/*/aws-lc/CMakeLists.txt")
    if len(sources) != 1:
        raise kernels.Unavailable("%s holds no AWS-LC" % os.path.basename(package))
    commands = (["cmake", "-S", os.path.dirname(sources[0]), "-B", work + "/build",
                 "-DCMAKE_INSTALL_PREFIX=" + work + "/made", *OPTIONS],
                ["cmake", "--build", work + "/build", "-j", str(len(os.sched_getaffinity(0)))],
                ["cmake", "--install", work + "/build"])
    for command in commands:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise kernels.Unavailable("AWS-LC cannot be built:\n" + done.stdout[-3000:])
    os.rename(work + "/made", place)
    shutil.rmtree(work)


def newest():
    """The newest that has been built; None: there is none."""
    found = [d for d in glob.glob(os.path.join(CACHE, "aws-lc-*")) if os.path.exists(d + "/lib/libssl.a")]
    return max(found, key=os.path.getmtime, default=None)


def prepare():
    os.makedirs(CACHE, exist_ok=True)
    os.makedirs(BUILD, exist_ok=True)
    try:
        base, stanza = find_package(CACHE)
        version = re.search(r"^Version: (\S+)", stanza, re.M).group(1)
        place = os.path.join(CACHE, "aws-lc-" + version)
        if not os.path.exists(place):
            build(kernels.verified(stanza, base, CACHE), place)
    except kernels.Unavailable as e:
        place = newest()
        if not place:
            raise
        print("aws-lc: %s: taking %s" % (e, os.path.basename(place)))
    if os.path.islink(PLACE):
        os.unlink(PLACE)
    os.symlink(place, PLACE)
    print("aws-lc: %s" % os.path.basename(place))


if __name__ == "__main__":
    try:
        prepare()
    except kernels.Unavailable as e:
        sys.exit("aws-lc: %s" % e)
