# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, here and in the virtual machines."""
import contextlib
import ctypes
import os
import signal
import subprocess

import pytest

import harness
import mailnodes

CLONE_NEWNET = 0x40000000
HANG_SECONDS = int(os.environ.get("TEST_HANG_SECONDS", "240"))


@pytest.fixture
def workspace():
    space = harness.Workspace("homing-test-")
    yield space
    space.close()


@pytest.fixture
def sink():
    """Where submission nodes leave their mail."""
    mails = mailnodes.MailSink()
    yield mails
    mails.close()


@pytest.fixture
def make(workspace):
    """Starts things and stops them in reverse order, the router's exit checked."""
    started = []

    class Make:
        @staticmethod
        def node(name, serve=harness.node_imap, **kwargs):
            started.append(harness.ScriptedNode(workspace, name, serve, **kwargs))
            return started[-1]

        @staticmethod
        def dovecot(name, address, users, **kwargs):
            started.append(harness.DovecotNode(workspace, name, address, users, **kwargs))
            return started[-1]

        @staticmethod
        def router(nodes, start=True, **kwargs):
            kwargs.setdefault("default", getattr(nodes[0], "name", "node1"))
            router = harness.Router(workspace, [n if isinstance(n, str) else n.toml()
                                                for n in nodes], **kwargs)
            started.append(router)
            return router.start() if start else router

    yield Make
    for thing in reversed(started):
        thing.close()


@pytest.fixture
def pair(make):
    """What starts things, and two nodes."""
    return make, (make.node("node1"), make.node("node2"))


@contextlib.contextmanager
def own_network():
    """This thread and what it starts are in a new network namespace, with nothing but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


@pytest.fixture
def network():
    """A network namespace of the test's own; returns a function that sets a sysctl in it."""
    def sysctl(name, value):
        with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as f:
            f.write(value)

    with own_network():
        yield sysctl


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that hangs fails, and says where, instead of taking the whole run with it."""
    def too_long(*_):
        raise TimeoutError("this test took more than %d s" % HANG_SECONDS)
    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
