# SPDX-License-Identifier: Apache-2.0
"""Sessions without TLS on either side, which the kernel may carry."""

import contextlib
import json
import os
import subprocess

import pytest

PLAIN_AUTH = "[capabilities.imap]\nallow_plain_auth_without_tls = true\n"


@contextlib.contextmanager
def bpf_file_system(path, how_to_leave=()):
    """A new one, at a directory that is made and removed. Nobody has it open any more when it goes, unless
    umount is told otherwise."""
    os.mkdir(path)
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0700", "bpf", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", *how_to_leave, path], check=True)
        os.rmdir(path)


@pytest.fixture
def pins(workspace):
    """A BPF file system of the test's own."""
    with bpf_file_system(os.path.join(workspace.path, "bpf")) as path:
        yield path + "/homing"


def plain_router(make, nodes, pins=None, splice="", server="", **kwargs):
    """Sessions are the kernel's from the beginning, if the caller does not say otherwise."""
    pin = 'pin_path = "%s"\n' % pins if pins else ""
    if "arm_after" not in splice:
        splice += 'arm_after = "0s"\n'
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
    done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", "%s/v2/%s" % (pins, name)],
                          capture_output=True, text=True, check=True)
    return [entry["formatted"]["value"] for entry in json.loads(done.stdout)]
