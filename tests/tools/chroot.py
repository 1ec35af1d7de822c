# SPDX-License-Identifier: Apache-2.0
"""A minimal system of a Debian release in a directory, and commands in it. All mounts and processes
are in namespaces of their own: when the process that began it ends, however it ends, they are gone."""

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
import subprocess
import time

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 4096, 16384, 1 << 18, 2, 4
PR_SET_PDEATHSIG, MNT_DETACH = 1, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def mount(source, target, kind=None, flags=0, data=None):
    os.makedirs(target, exist_ok=True)
    checked(libc.mount(source.encode(), target.encode(), kind and kind.encode(),
                       ctypes.c_ulong(flags), data and data.encode()))


def in_namespaces(work):
    """Runs work() in a process with its own mounts and processes; returns its exit code, 130 after an
    interrupt. Whatever it started has ended then, and it ends with this process."""
    ignored = [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]
    child = os.fork()
    if not child:
        code = 1
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            checked(libc.unshare(CLONE_NEWNS | CLONE_NEWPID))
            checked(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
            code = begin(work)
        except OSError as e:
            print("releases: namespaces: %s" % e, flush=True)
        finally:
            os._exit(code)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    status = os.waitpid(child, 0)[1]
    for s, handler in zip((signal.SIGINT, signal.SIGTERM), ignored):
        signal.signal(s, handler)
    return os.waitstatus_to_exitcode(status)


def begin(work):
    """Starts the first process of the new ones, and ends them all when it is told to."""
    first = os.fork()
    if not first:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        first_process(work)
    interrupted = []

    def end(*_):
        interrupted.append(True)
        os.kill(first, signal.SIGKILL)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    status = os.waitpid(first, 0)[1]
    return 130 if interrupted else os.waitstatus_to_exitcode(status) & 255


def first_process(work):
    """It adopts orphans and must wait for them, else they look alive."""
    worker = os.fork()
    if not worker:
        code = 1
        try:
            for s in (signal.SIGINT, signal.SIGTERM):
                signal.signal(s, signal.SIG_DFL)
            mount("proc", "/proc", "proc")
            code = work()
        except (OSError, RuntimeError) as e:
            print("releases: %s" % e, flush=True)
        finally:
            os._exit(code)
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def unmount(target):
    checked(libc.umount2(target.encode(), MNT_DETACH))


def mount_system(root):
    """What programs expect of a running system. BPF objects that are pinned there are seen there alone."""
    mount(root, root, None, MS_BIND) # programs that change how mounts spread want a mount as their root
    mount("proc", root + "/proc", "proc")
    mount("/sys", root + "/sys", None, MS_BIND | MS_REC)
    if os.path.isdir("/sys/fs/bpf"):
        mount("bpf", root + "/sys/fs/bpf", "bpf")
    mount("tmpfs", root + "/dev", "tmpfs", MS_NOSUID, "mode=755")
    os.mkdir(root + "/dev/net")
    for name in filter(lambda n: os.path.exists("/dev/" + n), DEVICES):
        open(root + "/dev/" + name, "wb").close()
        checked(libc.mount(b"/dev/" + name.encode(), (root + "/dev/" + name).encode(), None,
                           ctypes.c_ulong(MS_BIND), None))
    mount("devpts", root + "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    os.symlink("pts/ptmx", root + "/dev/ptmx")
    mount("tmpfs", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)
    for i, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink("/proc/self/fd/%d" % i, root + "/dev/" + name)
    os.symlink("/proc/self/fd", root + "/dev/fd")
    mount("tmpfs", root + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(root + "/run/lock", 0o1777)


def loopback_up():
    with socket.socket() as s:
        flags = struct.unpack("16sh", fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def become_root(root):
    """Not chroot(2): who enters this mount namespace (nsenter -m) has to come out there, too."""
    os.chdir(root)
    checked(libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."))
    checked(libc.umount2(b".", MNT_DETACH))


def run(root, command, log, directory="/root", environment=None, network=True, timeout=3600):
    """A shell command in the system; returns its exit code and output. Without network there is nothing
    but a loopback interface."""
    def enter():
        os.setsid()
        checked(libc.unshare(CLONE_NEWNS))
        if not network:
            checked(libc.unshare(CLONE_NEWNET))
            loopback_up()
        become_root(root)
        os.chdir(directory)

    with open(log, "ab+") as f:
        f.write(b"\n$ %s\n" % command.encode())
        f.flush()
        start = f.tell()
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT,
            preexec_fn=enter, env=dict({"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                        "/sbin:/bin", "HOME": "/root"}, **(environment or {})))
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            f.write(b"\nTIMED OUT\n")
        f.seek(start)
        return code, f.read().decode(errors="replace")


def others():
    """What else runs in these namespaces, as (number, command)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                command = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if command and int(pid) not in (1, os.getpid()):
            found.append((int(pid), command))
    return found


def left_running(patience=5.0):
    end = time.monotonic() + patience
    while others() and time.monotonic() < end:
        time.sleep(0.1)
    return others()
