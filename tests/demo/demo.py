#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main job, live: three real Dovecot nodes, a router in front, accounts pinned to nodes (OPS-5). Then one
node gets an agent, which takes a client's TLS session over.

DEMO_ONCE=1 exits after the table; otherwise everything stays up until Ctrl-C.
DEMO_PROXY=off sends the nodes no PROXY header: they then see the router's address, and the demo
fails, which shows that the addresses in its table are real."""

import imaplib
import os
import pwd
import signal
import ssl
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import handed_over  # noqa: E402
import harness  # noqa: E402

NODES = ["node1", "node2", "node3"]
ACCOUNTS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy",
            "mallory", "niaj"]
PASSWORD = "demo-password"


def service_user():
    """The user that the router and the nodes become; made if it is missing."""
    try:
        pwd.getpwnam("homing")
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--shell",
                        "/usr/sbin/nologin", "homing"], check=True)
    return "homing"


class Demo:
    def __init__(self):
        os.environ["HOMING_TEST_USER"] = service_user()
        self.workspace = harness.Workspace("homing-demo-")
        self.nodes, self.router, self.failed, self.clients = [], None, False, 0
        self.handed = None

    def start(self):
        proxy = os.environ.get("DEMO_PROXY", "on") != "off"
        users = {account + "@example.com": PASSWORD for account in ACCOUNTS}
        for i, name in enumerate(NODES):
            self.nodes.append(harness.DovecotNode(self.workspace, name, "127.0.0.%d" % (11 + i),
                                                  users, haproxy=proxy))
            print("node     %s: Dovecot on %s:%d, certificate pinned" % (
                name, self.nodes[-1].address, self.nodes[-1].tls_port))
        self.router = harness.Router(self.workspace,
                                     [n.toml(forwarding="proxy" if proxy else "none")
                                      for n in self.nodes], "node1", extra=handed_over.SPLICE)
        self.router.map({account + "@example.com": NODES[i % 3]
                         for i, account in enumerate(ACCOUNTS)})
        self.router.start()
        print("router   imaps on 127.0.0.1:%d, user %s, %d accounts in %s\n" % (
            self.router.ports["imap"], self.workspace.user, len(ACCOUNTS), self.router.db))

    def source(self):
        self.clients += 1
        return "127.0.1.%d" % self.clients

    def imaplib_session(self, account, source):
        """Logs in with Python's imaplib, appends a message and fetches it again."""
        context = ssl.create_default_context(cafile=self.router.cert)

        class Imap(imaplib.IMAP4_SSL):
            def _create_socket(self, timeout):
                import socket
                sock = socket.create_connection((self.host, self.port), timeout, (source, 0))
                return context.wrap_socket(sock, server_hostname="localhost")

        imap = Imap("127.0.0.1", self.router.ports["imap"], ssl_context=context, timeout=30)
        imap.login(account, PASSWORD)
        text = b"Subject: hello\r\n\r\nfor %s\r\n" % account.encode()
        assert imap.append("INBOX", None, None, text)[0] == "OK"
        imap.select("INBOX")
        newest = imap.search(None, "ALL")[1][0].split()[-1]
        fetched = imap.fetch(newest, "(BODY[])")[1][0][1]
        assert fetched == text, (fetched, text)
        imap.logout()

    def curl_session(self, account, source):
        subprocess.run(["curl", "--silent", "--show-error", "--fail", "--cacert", self.router.cert,
                        "--connect-to", "localhost::127.0.0.1:", "--interface", source, "--user",
                        account + ":" + PASSWORD,
                        "imaps://localhost:%d/" % self.router.ports["imap"]],
                       check=True, stdout=subprocess.DEVNULL, timeout=60)

    def login(self, account, client):
        """One login; returns the row of the table."""
        name, source = account + "@example.com", self.source()
        before = [len(node.logins()) for node in self.nodes]
        sessions = len(self.router.session_lines())
        (self.imaplib_session if client == "imaplib" else self.curl_session)(name, source)
        line = self.router.wait_sessions(sessions + 1)[sessions]
        served = []
        for node, count in zip(self.nodes, before):
            served += [(node.name, rip) for user, rip in node.logins()[count:] if user == name]
        seen = served[0] if len(served) == 1 else ("?", str(served))
        if seen[1] != source:
            self.failed = True
        return [name, client, seen[0], source, seen[1], line.get("cache", "-"),
                line.get("path_up", "-") + "/" + line.get("path_down", "-")]

    def run(self):
        rows = [self.login(account, client) for account, client in (
            ("alice", "imaplib"), ("bob", "imaplib"), ("carol", "imaplib"), ("alice", "curl"),
            ("bob", "curl"), ("dave", "curl"))]
        moved = self.router.ctl("map", "set", "alice@example.com", "node3")
        assert moved.returncode == 0, moved.stderr
        rows.append(["(homingctl map set alice@example.com node3)"])
        rows.append(self.login("alice", "imaplib"))
        rows.append(self.login("alice", "curl"))
        heads = ["account", "client", "served by", "client is", "node saw", "cache", "path up/down"]
        widths = [max(len(row[i]) for row in rows + [heads] if len(row) > 1)
                  for i in range(len(heads))]
        for row in [heads] + rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                  if len(row) > 1 else row[0])
        expected = ["node1", "node2", "node3", "node1", "node2", "node1", "node3", "node3"]
        served = [row[2] for row in rows if len(row) > 1]
        if served != expected:
            self.failed = True
            print("\nFAILED: expected the nodes " + " ".join(expected))
        elif self.failed:
            print("\nFAILED: a node did not see its client's own address")

    def hand_over(self):
        self.handed = handed_over.HandedOver(self.workspace, self.router, self.nodes[1])
        fault = self.handed.run("erin@example.com", PASSWORD)
        if fault:
            self.failed = True
            print("\nFAILED: " + fault)

    def stay(self):
        ports, ctl = self.router.ports, os.path.relpath(os.path.join(harness.BUILD, "homingctl"))
        print("""
Try it (password of every account: {password}):
  curl --cacert {cert} -u alice@example.com:{password} imaps://localhost:{imap}/
  openssl s_client -quiet -connect 127.0.0.1:{imap}
  {ctl} --url https://localhost:{admin} --cacert {cert} --token-file {token} stats
  {ctl} ... nodes | map get ACCOUNT | map set ACCOUNT NODE | flush
Router's configuration: {config}
Ctrl-C stops everything and removes {dir}.""".format(
            password=PASSWORD, cert=self.router.cert, imap=ports["imap"], ctl=ctl,
            admin=ports["admin"], token=os.path.join(self.workspace.path, "token"),
            config=self.router.config, dir=self.workspace.path), flush=True)
        signal.pause()

    def close(self):
        if self.router:
            self.router.close()
        if self.handed:
            self.handed.close()
        for node in self.nodes:
            node.close()
        self.workspace.close()


def main():
    demo = Demo()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        demo.start()
        demo.run()
        if not demo.failed:
            demo.hand_over()
        if not demo.failed and os.environ.get("DEMO_ONCE") != "1":
            demo.stay()
    except KeyboardInterrupt:
        print()
    finally:
        demo.close()
    return 1 if demo.failed else 0


if __name__ == "__main__":
    sys.exit(main())
