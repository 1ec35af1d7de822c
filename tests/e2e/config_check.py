# SPDX-License-Identifier: Apache-2.0
"""--check-config and --print-config on files that a test writes."""

import contextlib
import grp
import os
import pwd
import subprocess

import harness
import pytest

MINIMAL = """[mapping]
source = "file"
[mapping.file]
path = "accounts"
[routing]
default_destination = "node1"
[destination.node1]
host = "127.0.0.1"
allow_plaintext_auth = true
[destination.node1.protocol.imap]
port = 1143
tls = "plain"
[listener.imap]
protocol = "imap"
bind = ["127.0.0.1:0"]
tls = "plain"
"""
SQL = """[mapping]
source = "sql"
[mapping.sql]
%s
""" + MINIMAL[MINIMAL.index("[routing]"):]


class Checker:
    def __init__(self, workspace):
        self.workspace = workspace
        with contextlib.suppress(KeyError):  # the default of server.user, where it is there
            entry = pwd.getpwnam("homing")
            workspace.user, workspace.group = entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name
            workspace.uid, workspace.gid = entry.pw_uid, entry.pw_gid
            workspace.own(workspace.path)
        workspace.write("accounts", "")

    def complete(self, text):
        """With what every file needs to be without a warning, behind the last line."""
        if len(text) < 100000 and "[server]" not in text:
            text += '\n[server]\nuser = "%s"\ngroup = "%s"\n' % (
                self.workspace.user, self.workspace.group)
        if len(text) < 100000 and "[capabilities" not in text:
            text += "\n[capabilities.imap]\nallow_plain_auth_without_tls = true\n"
        return text

    def run(self, text, option="--check-config", environment=None, name="homing.toml", mode=0o600):
        path = self.workspace.write(name, self.complete(text), mode)
        env = {k: v for k, v in os.environ.items() if not k.startswith("HOMING_ADMIN")}
        env.update(environment or {})
        return subprocess.run([os.path.join(harness.BUILD, "homingd"), option, path], text=True,
                              capture_output=True, timeout=60, env=env, cwd="/")

    def ok(self, text, **kwargs):
        done = self.run(text, **kwargs)
        assert done.returncode == 0, done.stderr
        assert "error:" not in done.stderr
        return done

    def errors(self, text, *wanted, **kwargs):
        done = self.run(text, **kwargs)
        assert done.returncode == 1, done.stdout + done.stderr
        for part in wanted:
            assert part in done.stderr, done.stderr
        return done.stderr


@pytest.fixture
def check(workspace):
    return Checker(workspace)


def change(old, new, text=MINIMAL):
    assert old in text
    return text.replace(old, new, 1)


HOMINGD = os.path.join(harness.BUILD, "homingd")


def homingd(*args, env=None):
    return subprocess.run([HOMINGD, *args], capture_output=True, text=True, timeout=60, cwd="/",
                          env=dict(os.environ, **(env or {})), check=False)
