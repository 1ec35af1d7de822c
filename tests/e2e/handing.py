# SPDX-License-Identifier: Apache-2.0
"""A router, an agent and the node beside it: certificates, the agent as a process, its node."""

import os
import subprocess
import threading

import harness
from harness.router import TOKEN


class Cluster:
    """An authority, and who has certificates of it."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.authority = workspace.certificate("ca", ["authority.test"], authority=True)
        self.router = workspace.certificate("router-client", ["router.test"], issuer=self.authority)
        self.stranger = workspace.certificate("stranger", ["router.test"])

    def handoff_toml(self, node, agent, certificate=None, extra=""):
        """What the router's file says of the agent beside a node."""
        cert, key, _ = certificate or self.router
        return ('[destination.%s.handoff]\nport = %d\nhost = "127.0.0.1"\n'
                'tls_pinned_cert_sha256 = "%s"\ntls_client_cert = "%s"\ntls_client_key = "%s"\n%s\n' % (
                    node, agent.ports["routers"] if agent.ports else agent.port, agent.pin, cert, key,
                    extra))


class Nobody:
    """An agent that is not there."""

    def __init__(self):
        self.ports, self.port, self.pin = {}, harness.free_port(), "00" * 32


class Agent(harness.Router):
    """homingd beside a node."""

    def __init__(self, cluster, node, listener="", more="", server="", place="agent", extra="",
                 environment=None):
        workspace = harness.Workspace("homing-agent-")
        self.own, self.port = workspace, harness.free_port()
        self.workspace, self.db = workspace, ""
        self.cert, self.key, self.pin = workspace.certificate("agent", ["agent.test", "localhost"])
        workspace.write("ca.pem", open(cluster.authority[0], encoding="ascii").read(), 0o644)
        workspace.write("token", TOKEN + "\n")
        self.config = workspace.write("homing.toml", "\n".join([
            '[server]\nuser = "%s"\ngroup = "%s"\n%s' % (workspace.user, workspace.group, server),
            '[tls.certificate.default]\ncert = "agent.pem"\nkey = "agent.key"\ndefault = true',
            '[listener.routers]\nprotocol = "handoff"\nbind = ["127.0.0.1:%d"]\ntls = "implicit"\n'
            'client_ca = "ca.pem"\ndestination = "%s"\n%s' % (self.port, node.name, listener),
            node.toml(),
            '[admin]\nbind = "127.0.0.1:0"\nbearer_token_file = "token"', extra]))
        self.environment = dict(os.environ, **(environment or {}))
        if "-san" in harness.BUILD:
            self.environment.setdefault("HOMING_COREDUMP", "1")
        self.rlimit_nofile, self.wrapper = None, []
        self.ports, self._lines, self.process = {}, [], None
        self.lock = threading.Condition()
        self.pipe, self.rest = None, b""

    def close(self):
        super().close()
        self.own.close()


class Issued(Cluster):
    """The same with certificates of `homingctl handoff-keys`: an authority that routers and agents trust, one
    for routers, one for each agent by its name."""

    def __init__(self, workspace, *names):
        self.workspace = workspace
        self.directory = os.path.join(workspace.path, "keys")
        subprocess.run([os.path.join(harness.BUILD, "homingctl"), "handoff-keys", self.directory, *names],
                       check=True, stdout=subprocess.DEVNULL)
        workspace.own(self.directory)
        for name in os.listdir(self.directory):
            workspace.own(os.path.join(self.directory, name))
        self.authority, self.router = self.pair("ca"), self.pair("router")

    def pair(self, name):
        return tuple("%s/%s.%s" % (self.directory, name, s) for s in ("pem", "key"))

    def agent(self, node, name, **kwargs):
        """An agent with the certificate of that name, not started. Its admin API keeps that for "localhost"."""
        agent = Agent(self, node, **kwargs)
        for source, target in zip(self.pair(name), ("issued.pem", "issued.key")):
            with open(source, encoding="ascii") as f:
                agent.own.write(target, f.read())
        with open(agent.config, encoding="utf-8") as f:
            text = f.read()
        agent.own.write("homing.toml", text.replace("default = true\n", "").replace(
            "[tls.certificate.default]", '[tls.certificate.issued]\ncert = "issued.pem"\nkey = "issued.key"\n'
            "default = true\n[tls.certificate.default]"))
        return agent

    def handoff_toml(self, node, agent, extra="", authority=None):
        return ('[destination.%s.handoff]\nport = %d\nhost = "127.0.0.1"\ntls_ca = "%s"\n'
                'tls_client_cert = "%s"\ntls_client_key = "%s"\n%s\n' % (
                    node, agent.port, authority or self.authority[0], *self.router, extra))
