# SPDX-License-Identifier: Apache-2.0
"""homingctl as people type it on the router's host: what it finds by itself, what it says of a slip,
and what it never prints."""

import contextlib
import grp
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


# The file is where it is looked for; only this process sees that /etc.
OWN_ETC = """
set -e
mount -t tmpfs -o mode=755 tmpfs {dir}/etc
cp -a /etc/. {dir}/etc
mkdir -p {dir}/etc/homing
cp {dir}/homing.toml {dir}/etc/homing/homing.toml
mount --move {dir}/etc /etc
exec "$@"
"""


def on_the_host(router, *args, user=None):
    """homingctl where /etc/homing/homing.toml is the router's configuration."""
    script = OWN_ETC.format(dir=router.workspace.path)
    run = ["unshare", "-m", "sh", "-c", script, "sh", *(user or []), HOMINGCTL, *args]
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOMING_")}
    return subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, env=env)


def with_port(router):
    """The configuration names the port that the kernel has chosen, as an operator's does."""
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    start = text.index("[admin]")
    text = text[:start] + text[start:].replace('"127.0.0.1:0"', '"127.0.0.1:%d"'
                                               % harness.free_port(), 1)
    for name in ("router.pem", "router.key", "token"):
        text = text.replace('"%s"' % name, '"%s/%s"' % (router.workspace.path, name))
    router.workspace.write("homing.toml", text)


def test_OPS_10_no_options_on_the_routers_host(make, workspace):
    nodes = [make.node("node1"), make.node("node2"), make.node("node3")]
    router = make.router(nodes, start=False)
    with_port(router)
    workspace.mkdir("etc")
    router.start()
    # README's lines, as they stand
    with open(os.path.join(harness.ROOT, "README.md"), encoding="utf-8") as f:
        day = f.read().split("## Day to day")[1].split("## Find your way")[0]
    lines = [line.split("#")[0].split()[1:] for line in day.split("\n")
             if line.startswith("    homingctl")]
    assert ["stats"] in lines and ["reload"] in lines and len(lines) > 10, lines
    for args in lines:
        done = on_the_host(router, *args)
        assert done.returncode == 0, (args, done)
    done = on_the_host(router, "health", "--config", "/nowhere/homing.toml")
    assert done.returncode == 2 and "No such file" in done.stderr, done


def test_OPS_10_the_environment_names_the_file(make, workspace):
    router = make.router([make.node("node1")], start=False)
    with_port(router)
    router.start()
    env = {"HOMING_CONFIG": router.config}
    assert ctl("stats", environment=env).returncode == 0
    assert ctl("stats", "--config", router.config).returncode == 0
    # another certificate than the file names is not trusted, nor is the file's with --url
    workspace.certificate("router", ["router.test", "localhost"])
    done = ctl("stats", environment=env)
    assert done.returncode == 3 and b"certificate" in done.stderr, done
    bad = workspace.write("bad.toml", "x = \n")
    done = ctl("stats", "--config", bad)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"bad.toml" in done.stderr
    text = open(router.config, encoding="utf-8").read()
    workspace.write("homing.toml", text.replace("/token\"", "/nothing\""))
    done = ctl("stats", environment=env)
    assert done.returncode == 2 and b"nothing: No such file" in done.stderr, done


def test_OPS_10_the_socket_is_preferred_and_belongs_to_a_group(make, workspace):
    path = os.path.join(workspace.path, "admin.sock")
    router = make.router([make.node("node1")], start=False, admin=False, extra=(
        '[admin]\nbind = "127.0.0.1:0"\nbearer_token_file = "token"\nsocket = "%s"\n'
        'socket_group = "games"\n' % path))
    workspace.write("token", harness.TOKEN)
    router.start()
    assert ctl("stats", "--config", router.config).returncode == 0
    mode = os.stat(path)
    assert mode.st_mode & 0o777 == 0o660 and mode.st_gid == grp.getgrnam("games").gr_gid
    os.chmod(router.config, 0o644)
    # a member of the group who may read neither token nor key; and somebody who is none
    for groups, code in ((["games"], 0), ([], 2)):
        member = [str(grp.getgrnam(name).gr_gid) for name in groups]
        done = subprocess.run(["setpriv", "--reuid", "12345", "--regid", "12345",
                               *(["--groups", ",".join(member)] if member else ["--clear-groups"]),
                               HOMINGCTL, "--config", router.config, "sessions"],
                              capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, done
    assert "Permission denied" in done.stderr
    done = subprocess.run(["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups",
                           HOMINGCTL, "--socket", path, "stats"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 3 and "Permission denied" in done.stderr, done


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
