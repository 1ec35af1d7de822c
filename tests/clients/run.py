#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients from the npm registry: of mail against a router with a real Dovecot node, of JMAP and WebSocket against
two small nodes. Needs node and npm; installs
the packages of package.json into the build directory."""

import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import harness  # noqa: E402
import mailnodes  # noqa: E402

ACCOUNT, PASSWORD = "alice@example.com", "secret-a"


def install():
    directory = os.path.join(harness.BUILD, "clients")
    os.makedirs(directory, exist_ok=True)
    for name in ("package.json", "mail.js", "jmapnode.js", "web.mjs"):
        shutil.copy(os.path.join(HERE, name), directory)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"],
                   cwd=directory, check=True, stdin=subprocess.DEVNULL)
    return directory


def mail(directory):
    workspace, sink = harness.Workspace("homing-clients-"), mailnodes.MailSink()
    node = router = None
    try:
        node = harness.DovecotNode(workspace, "node1", "127.0.0.61", {ACCOUNT: PASSWORD},
                                   protocols=mailnodes.PROTOCOLS, relay_port=sink.port)
        router = harness.Router(workspace, [node.toml()], "node1", listeners={
            "imaps": ("implicit", "", "imap"), "imap": ("starttls", "", "imap"),
            "smtps": ("implicit", "", "submission"), "smtp": ("starttls", "", "submission")}).start()
        environment = dict(os.environ, CERT=router.cert, ACCOUNT=ACCOUNT, PASSWORD=PASSWORD,
                           TOKEN=harness.jwt({"email": ACCOUNT}),
                           **{name.upper(): str(router.ports[name])
                              for name in ("imaps", "imap", "smtps", "smtp")})
        done = subprocess.run(["node", "mail.js"], cwd=directory, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                              check=False)
        print(done.stdout)
        wanted = {"imaps": "by-imapflow", "imap": "by-imapflow", "imapToken": "by-imapflow",
                  "smtps": "250", "smtp": "250", "smtpToken": "250"}
        good = done.returncode == 0 and json.loads(done.stdout) == wanted
        good = good and all(b"Subject: by-nodemailer" in mail[2] for mail in sink.wait(3))
        if not good:
            print(router.log(), node.log())
        return good
    finally:
        if router:
            router.close()
        if node:
            node.close()
        sink.close()
        workspace.close()


class JmapNode:
    def __init__(self, directory, workspace, name):
        cert, key, self.pin = workspace.certificate(name, [name + ".test"])
        self.name = name
        self.process = subprocess.Popen(["node", "jmapnode.js", name, cert, key], cwd=directory,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def toml(self):
        return harness.destination_toml(self.name, "127.0.0.1", None, {"http": "implicit"}, self.pin,
                                        "none", "", {"http": self.port})

    def close(self):
        self.process.communicate("", timeout=harness.PATIENCE)


def web(directory):
    workspace, nodes, router = harness.Workspace("homing-clients-"), [], None
    try:
        for name in ("node1", "node2"):
            nodes.append(JmapNode(directory, workspace, name))
        router = harness.Router(workspace, [node.toml() for node in nodes], "node1", listeners={
            "https": ("implicit", "", "http")}, extra='[[http.route]]\nmatch = "/**"\n'
            'extract = { from = "authorization" }\n').start()
        accounts = {"alice@example.com": "node1", "bob@example.com": "node2"}
        router.map(accounts)
        done = subprocess.run(["node", "web.mjs"], cwd=directory, text=True, timeout=120, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(
                                  os.environ, NODE_EXTRA_CA_CERTS=router.cert,
                                  PORT=str(router.ports["https"]), TOKENS=json.dumps(
                                      {a: harness.jwt({"email": a}) for a in accounts})))
        print(done.stdout)
        good = done.returncode == 0 and json.loads(done.stdout) == {
            account: ["Inbox of " + node, node] for account, node in accounts.items()}
        if not good:
            print(router.log())
        return good
    finally:
        if router:
            router.close()
        for node in nodes:
            node.close()
        workspace.close()


def main():
    directory = install()
    results = [mail(directory), web(directory)]
    print("%d passed, %d failed" % (results.count(True), results.count(False)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
