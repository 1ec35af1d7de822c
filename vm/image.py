# SPDX-License-Identifier: Apache-2.0
"""The guest's root: an initramfs with busybox, Python, our programs and tests, and every shared
library they need. One archive for all kernels; the modules of one kernel come in a second one."""

import glob
import os
import re
import stat
import subprocess
import sys

import kernels

ROOT = kernels.ROOT
PROGRAMS = ["/usr/bin/openssl", "/usr/sbin/bpftool", "/usr/bin/gnutls-cli", "/usr/bin/gnutls-serv",
            "/usr/bin/tstclnt", "/usr/sbin/haproxy"]
# libxdp's, which it finds by name.
DISPATCHER = "/usr/lib/*/bpf/xdp-dispatcher.o"
# Libraries that programs load by name: those of NSS.
LOADED = ["/usr/lib/*/libsoftokn3.so", "/usr/lib/*/libfreebl*.so", "/usr/lib/*/nss/*.so"]
PYTHON = "/usr/bin/python3"
LEFT_OUT = re.compile(r"/(test|tests|idlelib|tkinter|ensurepip|lib2to3|pydoc_data|turtledemo|"
                      r"distutils|__pycache__|config-3[^/]*|vm-baseline\.json)(/|$)")
PACKAGES = ["pytest", "_pytest", "pluggy", "iniconfig", "packaging", "attr", "attrs", "more_itertools",
            "exceptiongroup", "tomli", "py.py", "py", "wcwidth"]


class Archive:
    """A cpio archive in the format the kernel unpacks (newc)."""

    def __init__(self, path):
        self.file, self.names, self.inode = open(path, "wb"), set(), 1

    def _entry(self, name, mode, data=b"", device=(0, 0)):
        head = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        self.inode += 1
        self.file.write(b"070701" + b"".join(b"%08X" % n for n in head) + name.encode() + b"\0")
        self.file.write(b"\0" * (-self.file.tell() % 4) + data)
        self.file.write(b"\0" * (-self.file.tell() % 4))

    def directory(self, path, mode=0o755):
        path = path.strip("/")
        if path and path not in self.names:
            self.directory(os.path.dirname(path))
            self.names.add(path)
            self._entry(path, stat.S_IFDIR | mode)

    def data(self, path, data, mode=0o644):
        path = path.strip("/")
        if path in self.names:
            return
        self.directory(os.path.dirname(path))
        self.names.add(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.directory(os.path.dirname(path.strip("/")))
        self.names.add(path.strip("/"))
        self._entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def device(self, path, major, minor):
        self._entry(path.strip("/"), stat.S_IFCHR | 0o600, device=(major, minor))

    def copy(self, source, path=None):
        with open(source, "rb") as f:
            self.data(path or source, f.read(), os.stat(source).st_mode & 0o777)

    def tree(self, source, path=None):
        for base, folders, names in os.walk(source):
            folders.sort() # the same tree, the same archive
            for name in sorted(names):
                full = os.path.join(base, name)
                if os.path.isfile(full) and not LEFT_OUT.search(full[len(source):]):
                    self.copy(full, (path or source) + full[len(source):])

    def close(self):
        self._entry("TRAILER!!!", 0)
        self.file.write(b"\0" * (-self.file.tell() % 512))
        self.file.close()


def libraries(path):
    """Shared libraries of a program, as the dynamic linker finds them here."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    if done.returncode and "not a dynamic executable" not in done.stderr:
        raise OSError("ldd %s: %s%s" % (path, done.stdout, done.stderr))
    return re.findall(r"^\t(?:\S+ => )?(/\S+) \(", done.stdout, re.MULTILINE)


def add_program(archive, path, name=None):
    archive.copy(path, name)
    for library in libraries(path):
        archive.copy(os.path.realpath(library), library)


def add_python(archive):
    add_program(archive, os.path.realpath(PYTHON), PYTHON)
    version = "python%d.%d" % sys.version_info[:2]
    archive.tree("/usr/lib/" + version)
    for extension in sorted(glob.glob("/usr/lib/%s/lib-dynload/*.so" % version)):
        for library in libraries(extension):
            archive.copy(os.path.realpath(library), library)
    for package in PACKAGES:
        path = "/usr/lib/python3/dist-packages/" + package
        if os.path.isdir(path):
            archive.tree(path)
        elif os.path.exists(path):
            archive.copy(path)
    for path in sorted(glob.glob("/usr/lib/python3/dist-packages/*.dist-info") +
                       glob.glob("/usr/lib/python3/dist-packages/*.egg-info")):
        if os.path.basename(path).split("-")[0].lower() in PACKAGES and os.path.isdir(path):
            archive.tree(path)


def build_root(path, build=ROOT + "/build"):
    """Everything but the kernel's modules. build: what the guest has as build/."""
    archive = Archive(path)
    for name in ("proc", "sys", "dev", "tmp", "run", "root", "var/tmp", "usr/bin", "usr/sbin"):
        archive.directory(name, 0o1777 if name == "tmp" else 0o755)
    for name in ("bin", "sbin"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.copy("/bin/busybox" if os.path.exists("/bin/busybox") else "/usr/bin/busybox",
                 "bin/busybox")
    archive.link("bin/sh", "busybox")
    archive.copy(os.path.join(kernels.HERE, "guest-init.sh"), "init")
    archive.data("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    archive.data("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    archive.data("etc/hosts", b"127.0.0.1 localhost\n")
    archive.data("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n")
    archive.copy("/etc/ssl/openssl.cnf", "usr/lib/ssl/openssl.cnf")
    add_python(archive)
    for program in PROGRAMS:
        if os.path.exists(program):
            add_program(archive, program)
    for library in [path for pattern in LOADED for path in sorted(glob.glob(pattern))]:
        add_program(archive, library)
    for path in sorted(glob.glob(DISPATCHER)):
        archive.copy(path)
    for program in [path for pattern in ("homing*", "bench/*", "tests/unit/relay/*",
                                         "tests/unit/bpfctl/*", "tests/unit/net/*", "tests/*",
                                         "tests/relay/*")
                    for path in sorted(glob.glob(build + "/" + pattern))]:
        if os.path.isfile(program) and os.access(program, os.X_OK):
            add_program(archive, program, "homing/build" + program[len(build):])
    archive.tree(ROOT + "/tests", "homing/tests")
    archive.tree(ROOT + "/vm", "homing/vm")
    archive.close()


def build(kernel_directory, path, root, script):
    """An initramfs for one kernel: root, its modules, and what to run."""
    with open(path, "wb") as out, open(root, "rb") as f:
        while True:
            piece = f.read(1 << 22)
            if not piece:
                break
            out.write(piece)
    archive = Archive(path + ".modules")
    for name, data in kernels.modules(kernel_directory):
        archive.data("modules/" + name, data)
    with open(script, "rb") as f:
        archive.data("guest-tests", f.read(), 0o755)
    archive.close()
    with open(path, "ab") as out, open(path + ".modules", "rb") as f:
        out.write(f.read())
    os.unlink(path + ".modules")
