#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Mail clients from the npm registry against a router with a real Dovecot node. Needs node and npm; installs
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
    for name in ("package.json", "mail.js"):
        shutil.copy(os.path.join(HERE, name), directory)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"],
                   cwd=directory, check=True, stdin=subprocess.DEVNULL)
    return directory


def main():
    directory = install()
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
        print("%d passed, %d failed" % (good, not good))
        return 0 if good else 1
    finally:
        if router:
            router.close()
        if node:
            node.close()
        sink.close()
        workspace.close()


if __name__ == "__main__":
    sys.exit(main())
