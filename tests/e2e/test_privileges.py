# SPDX-License-Identifier: Apache-2.0
"""security.md: what the process may do once it runs, and what it leaves behind."""

import errno
import os
import re
import socket
import subprocess
import threading

import harness
import pytest
import stores
from confined import deny, read_only_root
from harness import wait_until
from logins import login, served
from mapping_stores import SqlStore, file_mapping
from plain_legs import login as path_login, plain_router
from reloading import edit


def test_SEC_1_3_20_privileges(make):
    if os.geteuid() != 0:
        pytest.skip("needs a start as root")
    router = make.router([make.node("node1")], environment={"HOMING_COREDUMP": "0"}, start=False)
    if "-san" in harness.BUILD:
        # LeakSanitizer cannot trace a process that is not dumpable.
        router.environment["ASAN_OPTIONS"] = "detect_leaks=0"
    router.start()
    with open("/proc/%d/status" % router.process.pid, encoding="ascii") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert status["Uid"].split() == [str(router.workspace.uid)] * 4
    assert status["NoNewPrivs"] == "1"
    bind_service = 1 << 10
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        assert int(status[name], 16) & ~bind_service == 0, name
    with open("/proc/%d/limits" % router.process.pid, encoding="ascii") as f:
        core = next(line for line in f if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # /proc/PID/mem of a process that is not dumpable belongs to root.
    assert os.stat("/proc/%d/mem" % router.process.pid).st_uid == 0
    with open("/proc/%d/task/%d/children" % ((router.process.pid,) * 2), encoding="ascii") as f:
        assert f.read() == ""


def test_SEC_1_missing_user(make):
    if os.geteuid() != 0:
        pytest.skip("needs a start as root")
    router = make.router([make.node("node1")], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read().replace('user = "%s"' % router.workspace.user, 'user = "no-such-user"', 1)
    router.workspace.write("homing.toml", text)
    done = subprocess.run([harness.BUILD + "/homingd", router.config], capture_output=True,
                          text=True, timeout=harness.PATIENCE)
    assert done.returncode == 1 and "no-such-user" in done.stderr


def test_SEC_23_token_leaves_the_environment(make):
    router = make.router([make.node("node1")],
                         environment={"HOMING_ADMIN_TOKEN": "environment-token-0123456789abcdef"})
    with open("/proc/%d/environ" % router.process.pid, "rb") as f:
        assert b"environment-token" not in f.read()
    assert router.admin("GET", "/stats")[0] == 401
    assert router.admin("GET", "/stats", token="environment-token-0123456789abcdef")[0] == 200


def test_bind_conflict_names_listener(make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        router = make.router([make.node("node1")], start=False)
        with open(router.config, encoding="utf-8") as f:
            text = f.read().replace('"127.0.0.1:0"', '"127.0.0.1:%d"' % taken.getsockname()[1], 1)
        router.workspace.write("homing.toml", text)
        done = subprocess.run([harness.BUILD + "/homingd", router.config], capture_output=True,
                              text=True, timeout=harness.PATIENCE)
    assert done.returncode == 1
    assert "listener.imap: cannot bind 127.0.0.1:" in done.stderr


def test_SEC_6_a_read_only_root_with_sql(make, workspace):
    postgres = stores.Postgres()
    try:
        store = SqlStore(postgres)
        node1, node2 = make.node("node1"), make.node("node2")
        router = make.router([node1, node2], mapping=store.toml(), start=False)
        router.wrapper = read_only_root(workspace)
        before = set(os.listdir(workspace.path))
        router.start()
        assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
        login(router, "alice")
        assert served(node2) == ["alice"]
        wait_until(lambda: router.stats()["push_state"] == "up")
        assert router.admin("POST", "/cache/invalidate")[0] == 200
        router.stop()
        assert set(os.listdir(workspace.path)) == before
        assert "level=error" not in router.log()
    finally:
        postgres.close()


@pytest.mark.parametrize("source", ["file", "sqlite"])
def test_SEC_6_only_the_mapping_is_written(make, workspace, source):
    """The directory of the mapping is writable, nothing else is."""
    data = workspace.mkdir("data")
    nodes = [make.node("node1"), make.node("node2")]
    if source == "file":
        mapping = file_mapping(workspace, "").replace('"accounts"', '"data/accounts"')
        workspace.write("data/accounts", "bob node1\n")
        router = make.router(nodes, mapping=mapping, start=False)
    else:
        router = make.router(nodes, start=False)
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(router.db + suffix):
                os.rename(router.db + suffix, data + "/mapping.sqlite" + suffix)
        edit(router, ("sqlite://" + router.db, "sqlite://" + data + "/mapping.sqlite"))
    router.wrapper = read_only_root(workspace, data)
    router.start()
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node2")[0] == 200
    login(router, "alice")
    assert served(nodes[1]) == ["alice"]
    router.stop()
    assert set(os.listdir(data)) <= ({"accounts"} if source == "file" else
                                     {"mapping.sqlite", "mapping.sqlite-wal", "mapping.sqlite-shm"})


def test_SEC_7_umask_and_descriptors(make):
    """Every kind of descriptor is open: listeners, sessions, pipes and maps, SQLite, admin."""
    node = make.node("node1", tls="plain")
    router = plain_router(make, [node], server="threads = 2")
    with path_login(router, path=None), router.client(tls=False) as half, \
            socket.create_connection(("127.0.0.1", router.ports["admin"])):
        half.line()
        router.stats()
        base = "/proc/%d/" % router.process.pid
        with open(base + "status", encoding="ascii") as f:
            assert re.search(r"^Umask:\s*0077$", f.read(), re.M)
        seen = 0
        for fd in os.listdir(base + "fdinfo"):
            if int(fd) <= 2:
                continue
            try:
                with open(base + "fdinfo/" + fd, encoding="ascii") as f:
                    flags = int(re.search(r"^flags:\s*(\d+)", f.read(), re.M).group(1), 8)
                target = os.readlink(base + "fd/" + fd)
            except FileNotFoundError:
                continue
            assert flags & os.O_CLOEXEC, target
            seen += 1
        assert seen > 15


def test_SEC_7_the_temporary_file_is_nobody_else_s(make, workspace):
    """One that was left behind, world-writable and linked to something else, is not written into."""
    directory = workspace.mkdir("data")
    mapping = file_mapping(workspace, "").replace('"accounts"', '"data/accounts"')
    path = workspace.write("data/accounts", "bob node1\n", 0o640)
    other = workspace.write("data/other", "precious\n", 0o666)
    os.link(other, path + ".tmp")
    router = make.router([make.node("node1")], mapping=mapping)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            try:
                info = os.stat(path + ".tmp")
                if info.st_ino != os.stat(other).st_ino:
                    seen.add(info.st_mode & 0o777)
            except FileNotFoundError:
                pass
    watcher = threading.Thread(target=watch)
    watcher.start()
    for i in range(30):
        assert router.admin("PUT", "/mappings?identifier=user%d&destination=node1" % i)[0] == 200
    stop.set()
    watcher.join()
    with open(other, encoding="ascii") as f:
        assert f.read() == "precious\n"
    assert os.stat(other).st_mode & 0o777 == 0o666
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert all(mode & 0o007 == 0 for mode in seen), [oct(mode) for mode in seen]
    assert sorted(os.listdir(directory)) == ["accounts", "other"]


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "E2BIG"])
def test_SEC_12_without_the_kernel_s_path_it_serves(make, error):
    router = plain_router(make, [make.node("node1", tls="plain")], start=False)
    router.wrapper = deny("bpf", getattr(errno, error))
    router.start()
    lines = [x for x in router.lines if "msg=path_unavailable path=sockmap" in x]
    assert len(lines) == 1 and "level=warn" in lines[0]
    assert len(harness.parse_logfmt(lines[0])["reason"]) > 10
    with path_login(router, path="copy") as client:
        assert client.command("b NOOP") == ["b OK NOOP"]
    line = router.wait_sessions(1)[0]
    assert (line["path_up"], line["path_down"]) == ("copy", "copy")
