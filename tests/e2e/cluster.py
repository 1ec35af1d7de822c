# SPDX-License-Identifier: Apache-2.0
"""The cluster that tests/e2e/cluster.toml is of: namespaces with the addresses in the file, nodes,
a router."""

import collections
import contextlib
import os
import re
import socket
import subprocess

import harness
import stores
from fixtures import own_network
from harness import PATIENCE, wait_until
from http_nodes import HttpClient, NginxNode, basic
from mailnodes import MailClient, PostfixNode

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cluster.toml")
NODES = {"node1": "10.0.1.11", "node2": "10.0.1.12", "node3": "10.0.1.13"}
ROUTER = "10.0.1.5"  # as the nodes would see it without a PROXY header
SERVICE, SERVICE6 = "203.0.113.5", "2001:db8::5"
CLIENT, CLIENT6 = "203.0.113.7", "2001:db8::7"
ACCOUNTS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
USERS = {name + "@example.com": "pw" for name in ACCOUNTS}
# The router alone sees it. As update-ca-certificates does it, an authority is added to the system's;
# the user that the file names is there, as a package would have made it.
OWN_ETC = """
mount -t tmpfs -o mode=755 tmpfs {dir}
cp -a /etc/. {dir}
mkdir -p {dir}/proxy/tls
cp {cert} {dir}/proxy/tls/fullchain.pem
cp {key} {dir}/proxy/tls/privkey.pem
cp {token} {dir}/proxy/admin.token
cat {trusted} >> {dir}/ssl/certs/ca-certificates.crt
grep -q ^homing: {dir}/passwd || echo homing:x:64990:64990::/nonexistent:/usr/sbin/nologin >> {dir}/passwd
grep -q ^homing: {dir}/group || echo homing:x:64990: >> {dir}/group
mount --move {dir} /etc
exec "$@"
"""


def sh(*command, **kwargs):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE,
                          **kwargs).stdout


class Node:
    def __init__(self, workspace, name, address, authority):
        server = workspace.certificate(name + "-server", [name + ".example.com"], issuer=authority)
        self.parts = []
        try:
            self.imap = harness.DovecotNode(
                workspace, name + "-imap", address, USERS, ports={"imap": (143, 993)},
                certificate=server, trusted=ROUTER + "/32")
            self.parts.append(self.imap)
            self.submission = PostfixNode(
                workspace, name + "-smtp", address, self.imap, "discard:", certificate=server,
                ports={"smtp": (25, 10025), "submission": (587, 465)})
            self.parts.append(self.submission)
            self.http = NginxNode(workspace, name, address, ports=(80, 443), certificate=server,
                                  users=USERS)
            self.parts.append(self.http)
        except BaseException:
            self.close()
            raise

    def logins(self):
        """(protocol, user, client address) of each login that it accepted."""
        http = re.findall(r"^\S+ (\S+) GET \S+ HTTP/1\.1 404 (\S+) (\S+)$", self.http.log(), re.M)
        assert all(address == forwarded for address, forwarded, _ in http), http
        return [("imap", *login) for login in self.imap.logins()] + [
            ("submission", *login) for login in self.submission.logins()] + [
            ("http", user, address) for address, _, user in http]

    def close(self):
        while self.parts:
            self.parts.pop().close()


class ClusterRouter(harness.Router):
    """The router with the user's file, its mount namespace around it."""

    def __init__(self, workspace, authority, environment):
        super().__init__(workspace, [], "node1", mapping="", listeners={}, environment=environment)
        self.config = CONFIG
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            self.environment.pop(name, None)
        # localhost: what the clients here ask for
        chain = workspace.certificate("fullchain", ["mail.example.com", "localhost"],
                                      issuer=authority)
        self.cert = authority[0]
        self.files = {"dir": workspace.mkdir("etc"), "cert": chain[0], "key": chain[1],
                      "token": os.path.join(workspace.path, "token")}
        self.trust(authority[0])

    def trust(self, path):
        script = OWN_ETC.format(trusted=path, **self.files)
        self.wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh"]

    def connect(self, listener="imap", source=CLIENT):
        return socket.create_connection((SERVICE6 if ":" in source else SERVICE, self.ports[listener]),
                                        PATIENCE, (source, 0))

    def ctl(self, *args):
        """homingctl as on the router's host: all it needs is the configuration."""
        return sh("nsenter", "-m", "-t", str(self.process.pid),
                  os.path.join(harness.BUILD, "homingctl"), "--config", CONFIG, "--insecure", *args)


class Cluster:
    def __init__(self, stack):
        self.workspace = harness.Workspace("homing-cluster-")
        stack.callback(self.workspace.close)
        self.authority = self.workspace.certificate("authority", ["ca.example.com"], authority=True)
        stack.enter_context(own_network())
        for address in (SERVICE, CLIENT, SERVICE6, CLIENT6):
            sh("ip", "addr", "add", address, "dev", "lo")
        self.nodes = {}
        self._start_nodes(stack)
        self.postgres = stores.Postgres()
        stack.callback(self.postgres.close)
        self.database = self.postgres.database(schema=False)
        environment = {"PGHOST": "127.0.0.1", "PGPORT": str(self.postgres.port),
                       "PGDATABASE": self.database, "PGUSER": "homing"}
        sh(os.path.join(harness.BUILD, "homingctl"), "init-db", "--apply",
           env=dict(os.environ, **dict(environment, PGUSER=stores.SCHEMA_OWNER)))
        self.sql("CREATE ROLE homing LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON account_nodes "
                 "TO homing")
        self.router = ClusterRouter(self.workspace, self.authority, environment)
        stack.callback(self.router.close)
        self.router.start()
        self.wait_push()

    def _start_nodes(self, stack):
        """In a network of their own: the router listens on every address of its own, on their ports."""
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        stack.callback(os.close, here)
        outside = ["nsenter", "--net=/proc/self/fd/%d" % here, "ip"]
        with own_network():
            sh(*outside, "link", "add", "nodes", "type", "veth", "peer", "name", "routers", "netns",
               str(os.getpid()), pass_fds=[here])
            sh(*outside, "addr", "add", ROUTER + "/24", "dev", "nodes", pass_fds=[here])
            sh(*outside, "link", "set", "nodes", "up", pass_fds=[here])
            for address in NODES.values():
                sh("ip", "addr", "add", address + "/24", "dev", "routers")
            sh("ip", "link", "set", "routers", "up")
            for name, address in NODES.items():
                self.nodes[name] = Node(self.workspace, name, address, self.authority)
                stack.callback(self.nodes[name].close)

    def wait_push(self):
        wait_until(lambda: self.router.stats()["push_state"] == "up")

    def sql(self, text, silent=False):
        """silent: the table's triggers tell nobody of it."""
        if silent:
            text = "SET session_replication_role = replica; " + text
        assert self.postgres.try_sql(self.database, text), text

    def assign(self, user, node, silent=True):
        """A row for an account that has none. Silent, or a first login might be in the cache before the
        router hears of the row, and be looked up again."""
        self.sql("INSERT INTO account_nodes VALUES ('%s', '%s')" % (user, node), silent)

    def update(self, user, node, silent=False):
        self.sql("UPDATE account_nodes SET node = '%s' WHERE identifier = '%s'" % (node, user),
                 silent)

    @contextlib.contextmanager
    def told(self):
        """What is written within, of an account in the cache, the router hears from the table."""
        before = self.router.stats()["invalidated"]
        yield
        wait_until(lambda: self.router.stats()["invalidated"] > before, timeout=5)

    def imap(self, user, source=CLIENT):
        client = MailClient("imap", self.router.connect("imap", source), self.router.tls_context(),
                            "implicit")
        client.login("PLAIN", user, "pw")
        client.works()
        return client

    def submit(self, user, source=CLIENT):
        client = MailClient("submission", self.router.connect("submission", source),
                            self.router.tls_context(), "starttls")
        client.login("PLAIN", user, "pw")
        for command in ("MAIL FROM:<%s>" % user, "RCPT TO:<anna@example.com>", "DATA",
                        "Subject: x\r\n\r\nx\r\n."):
            client.ask(command)
        client.quit()

    def http(self, source=CLIENT):
        return HttpClient(self.router.connect("https", source), self.router.tls_context())

    def get(self, user, source=CLIENT):
        with self.http(source) as client: # what a client says of its address does not count
            response = client.ask("/none", basic(user) + "X-Forwarded-For: 192.0.2.66\r\n")
            assert response.status == 404, response.status # 401 without a login

    def logins(self):
        return collections.Counter((name, *login) for name, node in self.nodes.items()
                                   for login in node.logins())

    @contextlib.contextmanager
    def expect(self, node, user, source=CLIENT, protocols=("http", "imap", "submission")):
        """The logins within reach this node and no other, under the client's address."""
        before, wanted = self.logins(), sorted((node, p, user, source) for p in protocols)
        yield
        wait_until(lambda: sum((self.logins() - before).values()) >= len(wanted))
        assert sorted((self.logins() - before).elements()) == wanted

    def visit(self, node, user, source=CLIENT):
        """A login by each protocol reaches this node."""
        with self.expect(node, user, source):
            self.imap(user, source).quit()
            self.submit(user, source)
            self.get(user, source)

    @contextlib.contextmanager
    def lookups(self, hits, misses):
        """The cache's part in what is done within, by /stats."""
        before = self.router.stats()
        yield
        after = self.router.stats()
        assert [after[key] - before[key] for key in ("cache_hits", "cache_misses")] == [hits, misses]
