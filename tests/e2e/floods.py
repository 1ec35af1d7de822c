# SPDX-License-Identifier: Apache-2.0
"""Attackers (tests/floods) at a router, and how long honest clients wait meanwhile."""

import os
import subprocess
import time

from harness import BUILD, Router, destination_toml

FLOOD, TALK = (os.path.join(BUILD, "tests/floods", name) for name in ("flood", "talk"))
ATTACKERS = 4
SERVER = "threads = 1"
LISTENERS = {"imap": "implicit", "plain": ("plain", ""), "http": ("implicit", "", "http")}
# No head of the attackers has a route: the router answers each itself.
ROUTES = '[[http.route]]\nmatch = "/mail/**"\nextract = { from = "authorization" }\n'
# what is flooded, and where the honest client asks
KINDS = {
    "keyupdate": "imap", "keyupdate-paid": "imap", "renegotiation": "imap", "empty": "imap",
    "bytes": "imap", "commands": "imap", "commands-plain": "plain", "head": "http", "heads": "http",
    "admin-keyupdate": "admin", "admin-body": "admin", "admin-head": "admin",
}
# likewise after a login: a node is needed that lets everybody in
SESSION_KINDS = ["session-" + kind for kind in ("keyupdate", "keyupdate-paid", "renegotiation", "empty", "bytes")]


def flooded_router(workspace=None, make=None):
    node = destination_toml("node1", "127.0.0.1", 1, {"imap": "plain", "http": "plain"},
                            ports=dict.fromkeys(("imap", "http"), 1))
    parts = {"default": "node1", "server": SERVER, "listeners": LISTENERS, "extra": ROUTES}
    return make.router([node], **parts) if make else Router(workspace, [node], **parts)


def greeting_ms(router, where):
    """How long an honest client waits; None if it gave up."""
    start = time.monotonic()
    try:
        if where == "admin":
            # From an address of its own: each has a share of the connections.
            assert router.admin("GET", "/healthz", token=None, source="127.0.0.9")[0] == 200
        else:
            with router.client("imap") as client:
                assert client.line().startswith("* OK")
    except (OSError, EOFError):
        return None
    return (time.monotonic() - start) * 1000


def measure(router, kind, seconds, program=FLOOD):
    """Waits of honest clients during a flood, one after the other, and what the attackers say of it."""
    where = KINDS.get(kind, "imap")
    with subprocess.Popen([program, str(router.ports[where]), kind, str(seconds), str(ATTACKERS)],
                          stdout=subprocess.PIPE, text=True) as flood:
        time.sleep(0.2)  # the attackers' handshakes
        end, waits = time.monotonic() + seconds - 0.2, []
        while time.monotonic() < end:
            waits.append(greeting_ms(router, where))
            time.sleep(0.005)
        told = flood.stdout.read()
    return waits, dict(pair.split("=") for pair in told.split())
