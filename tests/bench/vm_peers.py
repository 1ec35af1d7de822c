# SPDX-License-Identifier: Apache-2.0
"""Who does the work in the virtual machine of `make vm-bench`: light nodes, and before them Homing
on each data path and HAProxy, with TLS 1.3 towards the client. Each peer has three ports: imap
and submission with TLS towards the node as well, imap_plain without."""

import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402

# The limit of each router: more than are ever held.
SESSIONS = 500
HAPROXY = """
global
  nbthread 1
  maxconn %d
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  timeout connect 60s
  timeout client 1h
  timeout server 1h
"""
HAPROXY_LISTEN = """
listen {name}
  bind 127.0.0.1:{port} ssl crt {pem}
  server node 127.0.0.1:{node} {tls}
"""


class Nodes:
    """Light nodes: IMAP and submission with TLS, IMAP without."""

    def __init__(self, space):
        self.cert, self.key, self.pin = space.certificate("node1", ["node1.test"])
        self.processes, self.ports = [], {}
        for name, arguments in (("imap", ["imap", self.cert, self.key]),
                                ("submission", ["submission", self.cert, self.key]),
                                ("imap_plain", ["imap", "plain"])):
            process = subprocess.Popen(
                [harness.BUILD + "/bench/lightnode", "127.0.0.1:0", *arguments],
                stdout=subprocess.PIPE, text=True)
            self.processes.append(process)
            self.ports[name] = int(process.stdout.readline())

    def pid(self, name):
        return self.processes[list(self.ports).index(name)].pid

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Homing:
    """Two routers: one with TLS towards the nodes, one without."""

    def __init__(self, mode, nodes, environment):
        self.mode, self.spaces, self.routers = mode, [], []
        self.environment = environment
        self._start(harness.destination_toml(
            "node1", "127.0.0.1", None, {"imap": "implicit", "submission": "implicit"}, nodes.pin,
            "none", "", {p: nodes.ports[p] for p in ("imap", "submission")}),
            ("imap", "submission"))
        self._start(harness.destination_toml(
            "node1", "127.0.0.1", nodes.ports["imap_plain"], "plain", None, "none"), ("imap",))
        self.ports = dict(self.routers[0].ports, imap_plain=self.routers[1].ports["imap"])

    def _start(self, destination, protocols):
        self.spaces.append(harness.Workspace("homing-bench-"))
        self.routers.append(harness.Router(
            self.spaces[-1], [destination], "node1", server="threads = 1",
            environment=self.environment,
            listeners={p: ("implicit", "max_connections = %d" % SESSIONS, p) for p in protocols},
            extra="[splice]\nmode = \"%s\"\n" % self.mode).start())

    def router(self, port):
        return self.routers[port == "imap_plain"]

    def pid(self, port):
        return self.router(port).process.pid

    def settle(self, port, sessions):
        """So many are established, all on the path that is measured."""
        def there():
            stats = self.router(port).stats()
            busy = {name for name, path in stats["paths"].items() if path["active"]}
            return busy == {self.mode} and stats["active_connections"] == sessions
        harness.wait_until(there)

    def quiet(self, port):
        """Within it nobody reads the router's log: the pipe holds it until later."""
        return self.router(port).lock

    def close(self):
        for router in self.routers:
            router.stop()
        for space in self.spaces:
            space.close()


class HAProxy:
    def __init__(self, nodes, environment):
        self.space = harness.Workspace("homing-bench-")
        cert, key, _ = self.space.certificate("router", ["router.test", "localhost"])
        with open(cert, encoding="ascii") as a, open(key, encoding="ascii") as b:
            pem = self.space.write("both.pem", a.read() + b.read())
        self.ports = {name: harness.free_port() for name in nodes.ports}
        config = self.space.write("haproxy.cfg", HAPROXY % SESSIONS + "".join(
            HAPROXY_LISTEN.format(
                name=name, port=port, pem=pem, node=nodes.ports[name],
                tls="" if name == "imap_plain" else "ssl verify required ca-file " + nodes.cert)
            for name, port in self.ports.items()))
        self.process = subprocess.Popen(["haproxy", "-db", "-q", "-f", config],
                                        env=dict(os.environ, **environment))
        harness.wait_until(lambda: all(map(listens, self.ports.values())))

    def pid(self, _port):
        return self.process.pid

    def settle(self, _port, _sessions):
        pass

    def quiet(self, _port):
        return contextlib.nullcontext()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.space.close()


def listens(port):
    with open("/proc/net/tcp", encoding="ascii") as f:
        return ":%04X 00000000:0000 0A" % port in f.read()


def start(name, nodes, pause_us=0):
    """pause_us: how often it may wake up (pause.c); 0: as often as it likes."""
    environment = harness.paused(pause_us)
    return HAProxy(nodes, environment) if name == "haproxy" else Homing(name, nodes, environment)
