# SPDX-License-Identifier: Apache-2.0
"""homingctl as people type it on the router's host: what it finds by itself, what it says of a slip,
and what it never prints."""

import contextlib
import json
import os
import socket
import subprocess
import threading

import harness
from harness import PATIENCE

HOMINGCTL = os.path.join(harness.BUILD, "homingctl")
# an operating system command, a colour, a name that reads backwards
EVIL = "a\u009d0;OWNED\u009c\u009b31m\u202emoc.knab\u2066\u200f\u061c"


def ctl(*args, environment=None, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOMING_")}
    env.update(environment or {})
    return subprocess.run([HOMINGCTL, *args], capture_output=True, timeout=PATIENCE, env=env,
                          stdin=subprocess.DEVNULL, **kwargs)


def printable(data):
    """Nothing that a terminal obeys, and nothing that is not UTF-8."""
    return all(c in "\n\t" or (ord(c) >= 0x20 and not 0x7f <= ord(c) <= 0x9f and c not in
                               "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068"
                               "\u2069") for c in data.decode())


def answers(make, body):
    """An admin API that says what it likes, on a unix socket."""
    path = os.path.join(make, "fake.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                conn, _ = server.accept()
                with conn:
                    conn.recv(65536)
                    conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    threading.Thread(target=serve, daemon=True).start()
    return path, server


def test_MAP_12_no_controls_in_an_account(make):
    node = make.node("node1")
    router = make.router([node])
    for name in (EVIL, "al\u202eice", "al\u009bice", "al\u200eice"):
        with router.client() as client:
            client.line()
            client.send(b"a LOGIN {%d+}\r\n%s pw\r\n" % (len(name.encode()), name.encode()))
            assert client.line().startswith("a NO")
    with router.client() as client:
        client.line()
        name = "zo\u00eb\u4f60@example.com"
        client.send(b"a LOGIN {%d+}\r\n%s pw\r\n" % (len(name.encode()), name.encode()))
        assert client.line().startswith("a OK")
        assert router.sessions()["sessions"][0]["account"] == name


def test_no_command_prints_what_a_terminal_obeys(workspace):
    evil = EVIL + "\n\r\x1b]0;x\x07\x7f"
    row = {"id": evil, "account": evil, "protocol": evil, "client": evil, "node": evil,
           "stage": evil, "path_up": evil, "path_down": evil}
    body = {"sessions": [row], "shown": 1, "total": 1, "destinations": [{"destination": evil}],
            "identifier": evil, "destination": evil, "normalized": evil, "source": evil,
            "reasons": [evil], "error": evil, "errors": [evil], "note": evil, "version": evil,
            "store_state": evil, "push_state": evil, "changed": [evil], "nodes": {evil: {evil: 1}},
            "listeners": {evil: {evil: evil}}, "paths": {evil: {"active": 1}},
            "probe": [{"name": evil, "ok": True, "reason": evil}]}
    path, server = answers(workspace.path, json.dumps(body, ensure_ascii=False).encode())
    with server:
        for args in (["sessions"], ["top"], ["stats"], ["nodes"], ["map", "get", "a"], ["probe"],
                     ["map", "set", "a", "b"], ["map", "reload"], ["ready"], ["reload"],
                     ["delay", evil, "3"], ["nodes", "reset", evil], ["map", "del", evil],
                     ["move", "a", "b"], ["stats", "--json"], ["sessions", "--json"],
                     ["drain", "a"], [evil], ["--" + evil]):
            done = ctl("--socket", path, *args)
            assert printable(done.stdout) and printable(done.stderr), (args, done)
            if "--json" in args:
                assert json.loads(done.stdout) == body
    assert "\\u009b" in ctl(evil).stderr.decode()


def test_not_even_of_something_that_is_no_admin_api(workspace):
    for body in (b'{"error": "\xff\xfe\x9b\x1b[31m"}', b"\x1b]0;x\x07" * 100, b""):
        path, server = answers(workspace.mkdir("d%d" % len(body)), body)
        with server:
            for args in (["stats"], ["stats", "--json"], ["sessions"]):
                done = ctl("--socket", path, *args)
                assert printable(done.stdout) and printable(done.stderr), (args, done)


def test_OPS_11_a_slip_is_one_line():
    for args, wanted in ((["sesions"], '"sessions"'), (["--jsno", "stats"], '"--json"'),
                         (["--cacrt=x", "stats"], '"--cacert"'), (["xyzzy"], "unknown command"),
                         (["--quux"], "unknown option"), (["--url"], "needs a value"),
                         (["--json=1"], "takes no value"), (["health", "a", "b"], "health"),
                         (["stats", "--timeout", "x"], "--timeout"), (["init-db"], "init-db"),
                         (["Reload", "now"], '"reload"')):
        done = ctl(*args)
        assert done.returncode == 2 and not done.stdout, (args, done)
        text = done.stderr.decode()
        assert text.count("\n") == 1 and wanted in text, (args, text)
    assert "did you mean" not in ctl("xyzzy").stderr.decode()
    assert ctl().returncode == 2
