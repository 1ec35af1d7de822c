# SPDX-License-Identifier: Apache-2.0
"""admin.md on a running router: HTTPS and unix socket, tokens, parameters, homingctl."""

import os
import re
import shutil
import socket
import stat
import subprocess

import harness
from admin_wire import router_socket
from harness import wait_until
from logins import login, served


# ---- listener, token, lockout ----

def test_ADM_1_plaintext_is_refused(pair):
    router = pair[0].router(pair[1])
    with socket.create_connection(("127.0.0.1", router.ports["admin"]), 10) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        try:
            while piece := sock.recv(100):
                data += piece
        except ConnectionResetError:
            pass
        assert b"200" not in data


def test_ADM_10_11_12_tokens(pair):
    router = pair[0].router(pair[1])
    assert router.admin("GET", "/healthz", token=None)[:2] == (200, {"status": "ok"})
    assert router.admin("GET", "/healthz", token="whatever")[0] == 200
    assert router.admin("POST", "/healthz", token=None)[0] == 405
    assert router.admin("GET", "/stats", token=None)[0] == 401
    assert router.admin("GET", "/nope", token=None)[0] == 401
    assert router.admin("GET", "/stats", headers={"Authorization": "bearer " + harness.TOKEN})[0] \
        == 200
    assert router.admin("GET", "/nope")[0] == 404
    status, body, response = router.admin("GET", "/stats", token="x" * len(harness.TOKEN))
    assert (status, body) == (401, {"error": "unauthorized"})
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Connection"] == "close"


def test_ADM_14_lockout(pair):
    router = pair[0].router(pair[1])
    for _ in range(3):
        assert router.admin("GET", "/stats", token="wrong", source="127.0.3.3")[0] == 401
    status, body, response = router.admin("GET", "/stats", token="wrong", source="127.0.3.3")
    assert status == 429 and 1 <= int(response.headers["Retry-After"]) <= 2
    assert body == {"error": "locked out", "retry_after_s": int(response.headers["Retry-After"])}
    assert router.admin("GET", "/healthz", source="127.0.3.3")[0] == 200
    assert router.admin("GET", "/stats", source="127.0.3.4")[0] == 200
    # ADM-14: the right token on this host is never locked out, and ends it
    assert router.admin("GET", "/stats", source="127.0.3.3")[0] == 200
    assert router.admin("GET", "/stats", token="wrong", source="127.0.3.3")[0] == 401


def test_ADM_5_silent_connections_do_not_stop_it(pair):
    router = pair[0].router(pair[1])
    silent = []
    for i in range(80):
        silent.append(socket.create_connection(("127.0.0.1", router.ports["admin"]), 10,
                                               ("127.0.4.%d" % (1 + i % 3), 0)))
    assert router.admin("GET", "/healthz", source="127.0.4.9")[0] == 200
    # 16 from each of three addresses are held; the others were closed at once, before that answer.
    closed = 0
    for sock in silent:
        sock.setblocking(False)
        try:
            closed += sock.recv(1) == b""
        except (BlockingIOError, ConnectionResetError) as e:
            closed += isinstance(e, ConnectionResetError)
    assert closed == 80 - 48
    for sock in silent:
        sock.close()


def test_ADM_2_strict_http(pair):
    router = pair[0].router(pair[1])

    def raw(data):
        context = router.tls_context()
        with context.wrap_socket(router_socket(router), server_hostname="localhost") as sock:
            sock.sendall(data)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        return answer.split(b"\r\n", 1)[0]

    assert raw(b"GET /stats HTTP/1.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 505")
    assert raw(b"GET /stats HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 505")
    assert raw(b"GET /healthz HTTP/1.1\nHost: x\n\n").startswith(b"HTTP/1.1 400")
    assert raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
               ).startswith(b"HTTP/1.1 411")
    assert raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n"
               ).startswith(b"HTTP/1.1 413")
    assert raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n"
               ).startswith(b"HTTP/1.1 431")
    assert raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
               ).startswith(b"HTTP/1.1 200")
    assert raw(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_ADM_20_21_22_25_parameters(pair):
    router = pair[0].router(pair[1])
    get = lambda path: router.admin("GET", path)  # noqa: E731
    assert get("/stats/")[0] == 200
    assert router.admin("POST", "/cache/invalidate/?identifier=a")[1] == {"invalidated": 0}
    assert get("/mappings?identifier=user%40example.com")[1]["normalized"] == "user@example.com"
    assert get("/mappings?identifier=user+tag@example.com")[1]["identifier"] == \
        "user+tag@example.com"
    for path, error in (("/mappings", "identifier required"),
                        ("/mappings?identifier=a&identifier=b", "duplicate parameter"),
                        ("/mappings?x=1", "unknown parameter"),
                        ("/mappings?identifier", "bad request"),
                        ("/mappings?identifier=%zz", "bad request"),
                        ("/mappings?identifier=a%20b", "invalid identifier"),
                        ("/stats?x=1", "unknown parameter")):
        assert get(path)[:2] == (400, {"error": error}), path
    status, _, response = get("/cache/invalidate")
    assert (status, response.headers["Allow"]) == (405, "POST")
    assert router.admin("OPTIONS", "/stats", headers={"Origin": "https://x"})[0] == 405


# ---- stats, destinations, mappings ----

def test_section_5_2_stats(pair):
    router = pair[0].router(pair[1], start=False)
    router.map({"alice": "node2"}) # before the start: a change seen late would be another miss
    router.start()
    for _ in range(4):
        login(router, "alice")
    stats = router.stats()
    assert (stats["cache_hits"], stats["cache_misses"], stats["hit_rate_pct"]) == (3, 1, 75.0)
    assert set(stats["nodes"]) == {"node1", "node2"}
    assert list(stats)[:5] == ["cache_hits", "cache_misses", "hit_rate_pct", "cache_entries",
                               "active_connections"]
    assert stats["store_state"] == "up" and stats["store_queries"] == 1
    raw = router.admin("GET", "/stats")[2]
    assert raw.headers["Content-Type"] == "application/json"


def test_section_5_4_destinations_and_reset(pair):
    make, nodes = pair
    down = harness.destination_toml("node3", "127.0.0.1", harness.free_port(), "implicit",
                                    "00" * 32, "none")
    router = make.router([nodes[0], nodes[1].toml(), down], server="host_down_threshold = 2\n"
                         "backend_connect_retries = 0")
    router.map({"alice": "node3"})
    for _ in range(2):
        login(router, "alice", "a NO [UNAVAILABLE]")
    by_name = {d["destination"]: d for d in
               router.admin("GET", "/destinations")[1]["destinations"]}
    assert by_name["node3"]["down"] and by_name["node3"]["consecutive_failures"] == 2
    assert by_name["node3"]["host_level_failure"] and by_name["node3"]["down_for_s"] > 0
    assert not by_name["node1"]["down"]
    login(router, "alice", "a NO [UNAVAILABLE]")
    assert router.session_lines()[-1]["reason"] in ("node_down", "node_unreachable")
    wait_until(lambda: router.session_lines()[-1]["reason"] == "node_down")
    assert router.admin("POST", "/destinations/reset?destination=node3")[1] == {"reset": "node3"}
    assert router.admin("POST", "/destinations/reset?destination=x")[0] == 404
    assert router.admin("POST", "/destinations/reset")[0] == 400
    assert not {d["destination"]: d for d in router.admin("GET", "/destinations")[1][
        "destinations"]}["node3"]["down"]


def test_section_5_5_mappings(pair):
    router = pair[0].router(pair[1])
    put = router.admin("PUT", "/mappings?identifier=Alice@X.com&destination=node2")
    assert put[:2] == (200, {"identifier": "alice@x.com", "destination": "node2"})
    got = router.admin("GET", "/mappings?identifier=Alice@X.com")[1]
    assert got == {"identifier": "Alice@X.com", "normalized": "alice@x.com",
                   "destination": "node2", "routed_to_default": False, "cached": False,
                   "source": "store", "expires_in_s": None}
    login(router, "ALICE@x.com")
    got = router.admin("GET", "/mappings?identifier=alice@x.com")[1]
    assert got["cached"] and got["source"] == "cache" and got["expires_in_s"] > 500
    assert router.admin("PUT", "/mappings?identifier=a&destination=ghost")[:2] == (
        400, {"error": "unknown destination"})
    assert router.admin("PUT", "/mappings?identifier=a")[1] == {"error": "destination required"}
    assert router.admin("PUT", "/mappings")[1] == {"error": "identifier and destination required"}
    assert router.admin("DELETE", "/mappings?identifier=alice@x.com")[1] == {"removed": True}
    assert router.admin("DELETE", "/mappings?identifier=alice@x.com")[1] == {"removed": False}
    got = router.admin("GET", "/mappings?identifier=alice@x.com")[1]
    assert got["routed_to_default"] and got["source"] == "default"
    router.map({"ghosty": "ghost"})
    got = router.admin("GET", "/mappings?identifier=ghosty")[1]
    assert (got["source"], got["stored"], got["destination"]) == ("undeclared", "ghost", "node1")


def test_move_by_admin_takes_effect_on_the_next_login(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    login(router, "alice")
    assert router.ctl("map", "set", "alice", "node2").stdout == "alice -> node2\n"
    login(router, "alice")
    assert (served(node1), served(node2)) == (["alice"], ["alice"])


def test_section_8_homingctl(pair):
    router = pair[0].router(pair[1])
    assert router.ctl("health").stdout == "ok\n"
    assert router.ctl("ready").stdout == "ok\n"
    assert "hit_rate_pct" in router.ctl("stats").stdout
    assert "node2" in router.ctl("nodes").stdout
    assert router.ctl("map", "get", "bob+x@y").stdout.startswith("bob+x@y -> node1 (default)")
    assert router.ctl("map", "del", "bob").stdout == "bob: had no mapping\n"
    assert router.ctl("flush").stdout == "invalidated: 0\n"
    assert router.ctl("--json", "health").stdout == '{"status":"ok"}\n'
    assert router.ctl("map", "set", "bob", "ghost").returncode == 1
    assert router.ctl("frobnicate").returncode == 2
    assert router.ctl("map").returncode == 2
    assert router.ctl("--timeout", "0", "stats").returncode == 2
    assert router.ctl("--url", "https://127.0.0.1:1", "stats").returncode == 3
    bad = router.workspace.write("bad-token", "x" * 40)
    assert router.ctl("--token-file", bad, "stats").returncode == 1
    # Its certificate is not in the system's store.
    done = subprocess.run([harness.BUILD + "/homingctl", "--config", router.config, "--url",
                           "https://127.0.0.1:%d" % router.ports["admin"], "stats"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and "certificate" in done.stderr
    done = subprocess.run([harness.BUILD + "/homingctl", "--config", router.config, "--pin",
                           router.pin, "--url",
                           "https://127.0.0.1:%d" % router.ports["admin"], "stats"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


# ---- the host's own socket ----

def test_ADM_9a_unix_socket(make, workspace):
    path = os.path.join(workspace.path, "admin.sock")
    os.chmod(workspace.path, 0o755)
    node = make.node("node1")
    router = make.router([node], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    with open(router.config, "w", encoding="utf-8") as f:
        f.write(text.replace("[admin]\n", '[admin]\nsocket = "%s"\n' % path))
    router.start()
    info = os.stat(path)
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
    assert info.st_uid == os.geteuid()
    ctl = [harness.BUILD + "/homingctl", "--socket", path]

    def run(*args, **kwargs):
        return subprocess.run([*ctl, *args], capture_output=True, text=True, timeout=30,
                              check=False, **kwargs)

    done = run("stats")
    assert done.returncode == 0 and "hit_rate_pct" in done.stdout, done.stderr
    assert run("map", "set", "alice", "node1").stdout == "alice -> node1\n"
    assert "client=local" in router.wait_line(lambda line: "op=map_set" in line)
    for _ in range(20): # the limit of one address does not apply
        assert run("health").returncode == 0
    # Somebody else who may open it is not served.
    os.chmod(path, 0o666)
    own = shutil.copy(ctl[0], workspace.path) # where others may go, wherever the build is
    other = run("stats", executable=own, preexec_fn=lambda: os.setuid(12345))
    assert other.returncode == 3
    router.wait_line(lambda line: "msg=admin_denied" in line)
    # What a crash left behind is replaced.
    router.stop(expect=-9, how=9)
    assert os.path.exists(path) and run("health").returncode == 3
    router.start()
    wait_until(lambda: run("ready").stdout == "ok\n")


def test_help_man_and_completion_know_the_same():
    def run(*args):
        done = subprocess.run([harness.BUILD + "/homingctl", *args], capture_output=True, text=True,
                              timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
    usage, man, script = run("--help"), run("--man"), run("--completion")
    commands = re.findall(r"^  ([a-z-]+) ", usage.split("options:")[0], re.M)
    options = re.findall(r"^  (--[a-z-]+)", usage.split("options:")[1], re.M)
    assert "move" in commands and "--socket" in options
    for command in commands:
        assert ".TP\n\\fB%s\\fR" % command.replace("-", "\\-") in man
    for option in options:
        assert "\\fB%s\\fR" % option.replace("-", "\\-") in man

    def complete(*words):
        done = subprocess.run(["bash", "-c", script + '\nCOMP_WORDS=("$@")\n'
                               'COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_homingctl\n'
                               'printf "%s\\n" "${COMPREPLY[@]}"', "bash", "homingctl", *words],
                              capture_output=True, text=True, check=True)
        return done.stdout.split()
    assert complete("") == commands
    assert complete("mo") == ["move"]
    assert complete("--js") == ["--json"]
    assert complete("map", "") == ["get", "set", "del", "reload"]
    assert complete("--") == options
