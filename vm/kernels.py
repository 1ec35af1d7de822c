# SPDX-License-Identifier: Apache-2.0
"""Debian kernel packages: found through apt's own configured mirrors, verified, unpacked, cached."""

import hashlib
import lzma
import os
import re
import subprocess
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CACHE = os.environ.get("HOMING_VM_CACHE", os.path.join(ROOT, "build", "vm"))
TIMEOUT = 120
# In this order; what they need comes with them.
MODULES = ["tls", "gcm", "ghash-clmulni-intel", "aesni-intel", "chacha-x86_64", "poly1305-x86_64",
           "chacha", "chacha20poly1305", "ctr", "ghash-generic", "tcp_diag", "veth",
           "8021q", "bonding", "bridge"]


class Unavailable(Exception):
    """The kernel cannot be had; the text says why."""


def rows():
    with open(os.path.join(HERE, "kernels.txt"), encoding="ascii") as f:
        for line in f:
            words = line.split("#")[0].split()
            if words:
                yield {"name": words[0], "suite": words[1], "meta": words[2],
                       "required": words[3] == "yes"}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def own_codename():
    with open("/etc/os-release", encoding="utf-8") as f:
        match = re.search(r"^VERSION_CODENAME=(\S+)", f.read(), re.M)
    return match.group(1) if match else ""


def mirror():
    """Base address of the configured archive that has this release itself."""
    for line in output("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
                       "Created-By: Packages").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == own_codename() and words[2] == "main":
            return words[0].rstrip("/") + "/"
    raise Unavailable("apt has no archive of this release")


def fetch(url, path):
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(path + ".tmp", "wb") as f:
            while True:
                piece = answer.read(1 << 20)
                if not piece:
                    break
                f.write(piece)
    except OSError as e:
        raise Unavailable("cannot fetch %s: %s" % (url.rsplit("/", 1)[1], e)) from e
    os.rename(path + ".tmp", path)


def depends(text, meta):
    match = re.search(r"^Depends:.*?\b(linux-image-[^\s,]+)", text, re.M)
    if not match:
        raise Unavailable("%s names no kernel" % meta)
    return match.group(1)


def own_package(meta, directory):
    """A package of this release, through apt itself."""
    for attempt in range(2):
        try:
            package = depends(output("apt-cache", "show", "--no-all-versions", meta), meta)
            path = [p for p in os.listdir(directory) if p.startswith(package + "_")]
            if not path:
                subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root",
                                package], check=True, cwd=directory, capture_output=True)
                path = [p for p in os.listdir(directory) if p.startswith(package + "_")]
            return os.path.join(directory, path[0])
        except (subprocess.CalledProcessError, IndexError) as e:
            if attempt:
                raise Unavailable("apt cannot get %s: %s" % (
                    meta, (getattr(e, "stderr", "") or str(e)).strip())) from e
            subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)


def verified(stanza, base, directory):
    fields = dict(re.findall(r"^(\S+): (.*)$", stanza, re.M))
    path = os.path.join(directory, os.path.basename(fields["Filename"]))
    if not os.path.exists(path):
        fetch(base + fields["Filename"], path)
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    if digest != fields["SHA256"]:
        os.unlink(path)
        raise Unavailable("%s is damaged" % os.path.basename(path))
    return path


def other_packages(suite, meta, directory):
    """Packages of another release from the same mirror, SHA-256 from its index. Newer releases
    split the kernel: linux-image-X needs linux-binary-X and linux-modules-X."""
    base, index = mirror(), os.path.join(directory, suite + "-Packages.xz")
    fetch("%sdists/%s/main/binary-amd64/Packages.xz" % (base, suite), index)
    with lzma.open(index, "rt", encoding="utf-8") as f:
        stanzas = {m.group(1): s for s in f.read().split("\n\n")
                   for m in [re.match(r"Package: (\S+)", s)] if m}
    if meta not in stanzas:
        raise Unavailable("%s has no %s" % (suite, meta))
    package = depends(stanzas[meta], meta)
    if package not in stanzas:
        raise Unavailable("%s has no %s" % (suite, package))
    needed = re.findall(r"\b(linux-(?:binary|modules)-[^\s,]+)", re.search(
        r"^Depends:.*$", stanzas[package], re.M).group(0))
    return [verified(stanzas[name], base, directory) for name in [package, *needed]]


def kernel(row):
    """Unpacks a row's kernel; returns its directory (boot/vmlinuz-*, lib/modules/*)."""
    packages = os.path.join(CACHE, "packages")
    os.makedirs(packages, exist_ok=True)
    if row["suite"] == own_codename():
        found = [own_package(row["meta"], packages)]
    else:
        found = other_packages(row["suite"], row["meta"], packages)
    directory = os.path.join(CACHE, os.path.basename(found[0])[:-4])
    if not os.path.exists(directory):
        for package in found:
            subprocess.run(["dpkg-deb", "-x", package, directory + ".tmp"], check=True)
        os.rename(directory + ".tmp", directory)
    return directory


def version(directory):
    """Of the kernel in a directory of kernel(): without what a release adds, 6.12.117 for example."""
    return re.match(r"[0-9.]+[0-9]", os.path.basename(directory).split("_")[1]).group(0)


def find(directory, pattern):
    for base, _, names in os.walk(directory):
        for name in names:
            if re.fullmatch(pattern, name):
                return os.path.join(base, name)
    raise Unavailable("no %s in the package" % pattern)


def modules(directory):
    """(name in the guest, content) of the modules to be loaded, dependencies first."""
    tree = os.path.join(directory, "lib", "modules")
    if not os.path.isdir(tree):
        tree = os.path.join(directory, "usr", "lib", "modules")
    release = os.listdir(tree)[0]
    if not os.path.exists(os.path.join(tree, release, "modules.dep")):
        subprocess.run(["depmod", "-b", tree.rsplit("/lib/modules", 1)[0], release], check=True)
    with open(os.path.join(tree, release, "modules.dep"), encoding="ascii") as f:
        needs = {}
        for line in f:
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
    by_name = {re.sub(r"\.ko.*", "", os.path.basename(p)).replace("_", "-"): p for p in needs}
    order = []
    for name in MODULES:
        path = by_name.get(name.replace("_", "-"))
        if path: # others are built in
            order += [p for p in reversed(needs[path]) if p not in order] + [path]
    for number, path in enumerate(dict.fromkeys(order)):
        with open(os.path.join(tree, release, path), "rb") as f:
            data = f.read()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        yield "%02d-%s" % (number, re.sub(r"\.xz$", "", os.path.basename(path))), data
