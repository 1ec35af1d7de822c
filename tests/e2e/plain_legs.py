# SPDX-License-Identifier: Apache-2.0
"""Sessions without TLS on either side, which the kernel may carry."""

import json
import subprocess

import pytest

PLAIN_AUTH = "[capabilities.imap]\nallow_plain_auth_without_tls = true\n"


@pytest.fixture
def pins(workspace):
    """A BPF file system of the test's own."""
    path = workspace.mkdir("bpf")
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    yield path + "/homing"
    subprocess.run(["umount", path], check=True)


def plain_router(make, nodes, pins=None, splice="", server="", **kwargs):
    pin = 'pin_path = "%s"\n' % pins if pins else ""
    kwargs.setdefault("listeners", {"imap": "plain"})
    return make.router(nodes, server=server, extra=PLAIN_AUTH + "[splice]\n" + pin + splice,
                       **kwargs)


def login(router, user="alice", tls=False, path="sockmap"):
    """A client whose session is carried by the given path; None: whatever it is."""
    client = router.client(tls=tls)
    client.line()
    assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
    if path:
        router.wait_path(path, user)
    return client


def rows(pins, name="flows"):
    done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", "%s/v1/%s" % (pins, name)],
                          capture_output=True, text=True, check=True)
    return [entry["formatted"]["value"] for entry in json.loads(done.stdout)]
