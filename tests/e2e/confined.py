# SPDX-License-Identifier: Apache-2.0
"""Starts of the router with less than is usual: a root that cannot be written, a system call that
fails."""

import platform
import sys


def read_only_root(workspace, *writable):
    """A start in a mount namespace where only these directories can be written."""
    script = "mount -o remount,bind,ro /\nmount --bind %s %s\n" % ((workspace.path,) * 2)
    script += "mount -o remount,bind,ro %s\n" % workspace.path
    for path in writable:
        script += "mount --bind %s %s\nmount -o remount,bind,rw %s\n" % ((path,) * 3)
    script += "if touch %s/x 2>/dev/null; then exit 99; fi\nexec \"$@\"\n" % workspace.path
    return ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]


DENY = """
import ctypes, os, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
# load the number; if it is ours, fail; else allow
code = b"".join(struct.pack("HBBI", *op) for op in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7fff0000)))
text = ctypes.create_string_buffer(code)
class Prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
prog = Prog(4, ctypes.addressof(text))
if ctypes.CDLL(None, use_errno=True).prctl(22, 2, ctypes.byref(prog), 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[3], sys.argv[3:])
"""


def deny(call, error):
    """A start under which one system call fails."""
    numbers = {"x86_64": {"bpf": 321, "getrandom": 318, "seccomp": 317},
               "aarch64": {"bpf": 280, "getrandom": 278, "seccomp": 277}}
    return [sys.executable, "-c", DENY, str(numbers[platform.machine()][call]), str(error)]
