# SPDX-License-Identifier: Apache-2.0
"""A configuration that changes under a router, and what shows it."""

import contextlib
import ctypes
import os
import re
import socket
import ssl
import subprocess

from harness import BUILD, PATIENCE, TOKEN, Client, wait_until


def edit(router, *pairs):
    """Replaces texts in the configuration file; each must be there."""
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    for old, new in pairs:
        assert old in text, (old, text)
        text = text.replace(old, new, 1)
    router.workspace.write("homing.toml", text)
    return text


def append(router, text):
    with open(router.config, encoding="utf-8") as f:
        router.workspace.write("homing.toml", f.read() + "\n" + text)


def reload(router, **query):
    path = "/config/reload" + ("?" + "&".join("%s=%s" % p for p in query.items()) if query else "")
    status, body, _ = router.admin("POST", path)
    return status, body


def reload_ok(router):
    status, body = reload(router)
    assert status == 200, body
    assert body["reloaded"] is True
    return body


def login(router, account, listener="imap", tls=True):
    """An established session."""
    client = router.client(listener, tls=tls)
    client.line()
    reply = client.command("a LOGIN %s pw" % account)[-1]
    assert reply.startswith("a OK"), reply
    return client


def node_of(router, account, listener="imap"):
    before = {row["id"] for row in router.sessions()["sessions"]}
    with login(router, account, listener):
        rows = wait_until(lambda: [r for r in router.sessions(identifier=account)["sessions"]
                                   if r["id"] not in before and r["stage"] == "established"])
        return rows[0]["node"]


def alive(client):
    assert client.command("n NOOP")[-1] == "n OK NOOP"


def two(make, **kwargs):
    nodes = [make.node("node1"), make.node("node2")]
    return make.router(nodes, **kwargs)


DEFAULT1, DEFAULT2 = ('default_destination = "%s"' % n for n in ("node1", "node2"))


def metric(router, name):
    context = ssl.create_default_context(cafile=router.cert)
    with socket.create_connection(("127.0.0.1", router.ports["admin"]), PATIENCE) as raw, \
            context.wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
                  % TOKEN.encode())
        data = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            data += piece
    return {m.group(1): int(float(m.group(2))) for m in re.finditer(
        r"^(%s(?:\{[^}]*\})?) (\S+)$" % name, data.decode(), re.M)}


@contextlib.contextmanager
def frozen(pid, thread_name):
    """One thread of a process stands still (PTRACE_SEIZE and PTRACE_INTERRUPT)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def name(tid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                open("/proc/%d/task/%s/comm" % (pid, tid), encoding="ascii") as f:
            return f.read().strip()
        return None # it has ended

    def find():
        return [int(t) for t in os.listdir("/proc/%d/task" % pid) if name(t) == thread_name]
    tid = wait_until(find)[0]
    for request in (0x4206, 0x4207):
        assert libc.ptrace(request, tid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(tid, 0x40000000)  # __WALL
    try:
        yield
    finally:
        assert libc.ptrace(17, tid, None, None) == 0, os.strerror(ctypes.get_errno())


def certificate_of(router, listener="imap"):
    with Client(router.connect(listener), None) as client:
        context = ssl._create_unverified_context()
        client.starttls(context)
        return client.sock.getpeercert(True)


def ctl_reload(router, *args):
    """homingctl by the old certificate's pin: the file at the path has changed already."""
    done = subprocess.run([os.path.join(BUILD, "homingctl"), "--url",
                           "https://localhost:%d" % router.ports["admin"], "--pin", router.pin,
                           "--token-file", os.path.join(router.workspace.path, "token"), "reload",
                           *args], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def node_of_unverified(router, account):
    count = len([r for r in router.session_lines() if r["node"] != "-"])
    with login(router, account):
        pass
    rows = wait_until(lambda: [r for r in router.session_lines() if r["node"] != "-"][count:])
    return rows[0]["node"]


def settled(router):
    """Descriptors once old stores have been freed."""
    def same():
        first = router.fds()
        threads = os.listdir("/proc/%d/task" % router.process.pid)
        names = []
        for t in threads:
            with contextlib.suppress(OSError), open("/proc/%d/task/%s/comm" % (
                    router.process.pid, t), encoding="ascii") as f:
                names.append(f.read())
        return first if not any("reaper" in n for n in names) and router.fds() == first else 0
    return wait_until(same)
