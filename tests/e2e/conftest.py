# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402


@pytest.fixture
def workspace():
    space = harness.Workspace("homing-test-")
    yield space
    space.close()


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
