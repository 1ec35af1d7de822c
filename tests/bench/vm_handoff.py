# SPDX-License-Identifier: Apache-2.0
"""Handoff in the virtual machine of `make vm-bench`: a router, the agent that its clients' TLS goes
to, and the plain light node beside that."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import handing  # noqa: E402
import harness  # noqa: E402
import vm_peers  # noqa: E402

# What is done with it: the names of vm_guest.WORK, with clients that speak TLS, to this port.
TASKS = ("login_full", "login_resumed", "byte_tls", "record", "round_trip", "notification")
PORT = "imap_plain"


class Node:
    """The light node, as the agent knows it."""

    name = "local"

    def __init__(self, port):
        self.port = port

    def toml(self):
        return harness.destination_toml(self.name, "127.0.0.1", self.port, "plain", None, "none")


class Handoff:
    """Who cannot be handed over is not served, so none is overlooked. splice: more of its table."""

    def __init__(self, nodes, splice=""):
        self.space = harness.Workspace("homing-bench-")
        limit = "max_connections = %d" % (2 * vm_peers.SESSIONS)
        cluster = handing.Cluster(self.space)
        self.agent = handing.Agent(cluster, Node(nodes.ports[PORT]), listener=limit,
                                   server="threads = 1").start()
        self.router = harness.Router(
            self.space, [harness.destination_toml("node1", "127.0.0.1", nodes.ports[PORT], "plain",
                                                  None, "none")],
            "node1", server="threads = 1", listeners={"imap": ("implicit", limit, "imap")},
            extra=cluster.handoff_toml("node1", self.agent, extra="mode = \"require\"") +
            "[splice]\nmode = \"auto\"\n" + splice).start()
        self.ports = {PORT: self.router.ports["imap"]}

    def pid(self, _port):
        return self.router.process.pid

    def agent_pid(self):
        return self.agent.process.pid

    def settle(self, _port, sessions):
        """So many have been handed over, and the router's program has them."""
        def there():
            stats = self.router.stats()
            busy = {name for name, path in stats["paths"].items() if path["active"]}
            return busy == {"sockmap"} and stats["active_connections"] == sessions
        harness.wait_until(there)

    def quiet(self, _port):
        return self.router.lock

    def close(self):
        self.router.stop()
        self.agent.close()
        self.space.close()
