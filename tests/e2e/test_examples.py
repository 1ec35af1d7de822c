# SPDX-License-Identifier: Apache-2.0
"""The sample configurations of docs/examples pass --check-config."""

import glob
import os
import re
import subprocess

import pytest

import harness

EXAMPLES = sorted(glob.glob(os.path.join(harness.ROOT, "docs", "examples", "*.toml")))


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_example_passes_the_check(workspace, path):
    """With the files that it names in place, there is no error and no warning but those about this
    machine's clock."""
    cert, key, _ = workspace.certificate("mail", ["mail.example.com"])
    workspace.write("token", "0123456789abcdef0123456789abcdef\n")
    workspace.write("accounts", "alice@example.com next\n")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r'"/etc/\w+/tls/fullchain.pem"', '"%s"' % cert, text)
    text = re.sub(r'"/etc/\w+/tls/privkey.pem"', '"%s"' % key, text)
    text = re.sub(r'"/etc/\w+/admin.token"', '"%s/token"' % workspace.path, text)
    for name in sorted(set(re.findall(r'"/etc/homing/handoff/([\w.]+)\.pem"', text))):
        workspace.certificate(name, [name]) # docs/handoff.md
    text = text.replace('"/etc/homing/handoff/', '"%s/' % workspace.path)
    text = text.replace('"/etc/homing/accounts"', '"%s/accounts"' % workspace.path)
    assert "/etc/" not in text
    user = 'user = "%s"' % workspace.user  # the default need not exist here
    text = re.sub(r'^user = .*$', user, text, flags=re.M) if re.search(r"^user =", text, re.M) \
        else text.replace("[server]\n", "[server]\n%s\n" % user)
    config = workspace.write("example.toml", text)
    done = subprocess.run([os.path.join(harness.BUILD, "homingd"), "--check-config", config],
                          capture_output=True, text=True, timeout=harness.PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.replace("0 error(s)", ""), done.stderr
    assert "warning:" not in done.stderr, done.stderr
