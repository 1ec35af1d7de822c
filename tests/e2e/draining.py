# SPDX-License-Identifier: Apache-2.0
"""Runs of homingctl drain, and routers that answer it with what they are told."""

import contextlib
import socket
import sqlite3
import subprocess
import threading

import harness
import pytest


@pytest.fixture
def trio(make):
    return make, [make.node("node%d" % i) for i in (1, 2, 3)]


def command(router, *args, urls=None):
    words = [harness.BUILD + "/homingctl"]
    for port in urls or [router.ports["admin"]]:
        words += ["--url", "https://localhost:%d" % port]
    return words + ["--cacert", router.cert, "--token-file", router.workspace.path + "/token", *args]


def drain(router, *args, urls=None, timeout=200):
    return subprocess.run(command(router, "drain", *args, urls=urls), capture_output=True, text=True,
                          timeout=timeout, check=False)


def rows_of(router):
    with contextlib.closing(sqlite3.connect(router.db, timeout=10)) as db:
        return dict(db.execute("SELECT identifier, node FROM account_nodes"))


class FakeRouter:
    """On a unix socket; answers by path, whatever it is told to."""

    def __init__(self, path, answers):
        self.answers, self.asked = answers, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), conn:
                target = conn.recv(65536).split(b" ")[1].decode()
                self.asked.append(target)
                answer = self.answers.get(target.split("?")[0], b"{}")
                if not answer.startswith(b"HTTP"):
                    answer = b"HTTP/1.1 200 OK\r\n\r\n" + answer
                conn.sendall(answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


GOOD = {"/destinations": b'{"destinations":[{"destination":"node1","down":false},'
                         b'{"destination":"node2","down":false}]}',
        "/mappings/list": b'{"identifiers":[],"next":null,"writable":true}',
        "/sessions": b'{"total":0,"sessions":[]}'}
LOUD = 'log_level = "debug"\nlog_accounts = "full"\n'


def audit(router, level=None, **keys):
    """Lines of changes, of a level and with these keys if given."""
    lines = [harness.parse_logfmt(line) for line in router.log().splitlines() if " msg=admin " in line]
    return [line for line in lines if level in (None, line["level"]) and
            all(line.get(key) == value for key, value in keys.items())]


def with_socket(router):
    """Its admin API on a path as well, which a restart keeps."""
    path = router.workspace.path + "/admin.sock"
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace("[admin]\n", '[admin]\nsocket = "%s"\n' % path))
    router.start()
    return path
