# SPDX-License-Identifier: Apache-2.0
"""admin.md on the wire: one request per connection, time limits, bodies; the form of answers and errors, and
what is logged."""

import contextlib
import json
import os
import re
import socket
import sqlite3
import ssl
import threading
import time

import harness
import pytest
from admin_wire import AUTH, drain, raw, request, router_socket, sha, tls
from harness import PATIENCE, TOKEN, fast_time, wait_until
from logins import login
from mapping_stores import file_mapping


# ---- the listener ----

@pytest.mark.parametrize("method,target,head,status", [
    ("GET", "/stats", AUTH, 200), ("GET", "/metrics", AUTH, 200), ("HEAD", "/healthz", AUTH, 200),
    ("GET", "/stats", b"Host: x\r\n", 401), ("GET", "/nope", AUTH, 404), ("PUT", "/stats", AUTH, 405),
    ("GET", "/mappings", AUTH, 400), ("GET", "/mappings?identifier=a", AUTH, 200)])
def test_ADM_3_one_request_per_connection(pair, method, target, head, status):
    router = pair[0].router(pair[1])
    line = ("%s %s HTTP/1.1\r\n" % (method, target)).encode() + head + b"\r\n"
    got, text, body = raw(router, line + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") # never answered
    assert got == status and b"HTTP/1.1" not in body
    fields = re.findall(r"^([^:]+): (.*)$", text.replace("\r", ""), re.M)
    assert [v for k, v in fields if k.lower() == "connection"] == ["close"]
    length = [int(v) for k, v in fields if k.lower() == "content-length"]
    assert len(length) == 1 and length[0] > 0
    assert len(body) == (0 if method == "HEAD" else length[0])


def test_ADM_4_time_limits(pair):
    """Five times as fast: handshake, head and body end after two seconds. A drip does not help."""
    router = pair[0].router(pair[1], environment=fast_time(5))
    began = {}

    def before(sock, data):
        sock.sendall(data)
        return sock

    start = time.monotonic()
    began["handshake"] = router_socket(router)
    began["half hello"] = before(router_socket(router), b"\x16\x03\x01\x02\x00\x01")
    began["silent"] = tls(router)
    began["half head"] = before(tls(router), b"GET /healthz HTTP/1.1\r\nHost")
    body = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
    began["half body"] = before(tls(router), body)
    drip = tls(router)
    assert router.admin("GET", "/healthz")[0] == 200 # others are served meanwhile
    ended = {}

    def read(name):
        began[name].settimeout(PATIENCE)
        ended[name] = drain(began[name])[0], time.monotonic() - start
    threads = [threading.Thread(target=read, args=(name,)) for name in began]
    for thread in threads:
        thread.start()
    with pytest.raises((OSError, ssl.SSLError)): # whole head: each byte gains nothing
        for byte in b"GET /healthz HTTP/1.1\r\nX-Long: " + b"y" * 100:
            drip.sendall(bytes([byte]))
            time.sleep(0.15) # the drip itself
    assert time.monotonic() - start < 0.15 * 100
    for thread in threads:
        thread.join()
    for name, (data, seconds) in ended.items():
        assert 1.8 < seconds < 20, (name, seconds)
        if name in ("handshake", "half hello"):
            assert b"HTTP" not in data
        else:
            assert data.startswith(b"HTTP/1.1 408 "), (name, data)
            assert data.endswith(b'{"error": "request timeout"}\n')
    for sock in [*began.values(), drip]:
        sock.close()


def test_ADM_4_an_answer_that_nobody_takes(pair, network):
    """Sending has 30 s (3 s here): buffers of one page cannot hold /metrics."""
    for name in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
        network(name, "4096 4096 4096")
    router = pair[0].router(pair[1], environment=fast_time(10))
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200) # the store's files are open
    counts = []
    wait_until(lambda: counts.append(router.fds()) or len(set(counts[-15:])) == 1 < len(counts) - 14)
    base = counts[-1] # the last request's connection is gone
    with tls(router) as sock:
        start = time.monotonic()
        sock.sendall(b"GET /metrics HTTP/1.1\r\n" + AUTH + b"\r\n")
        wait_until(lambda: router.fds() > base)
        wait_until(lambda: router.fds() == base)
        assert 2.5 < time.monotonic() - start < 20
        data, orderly = drain(sock)
        assert b"\r\n\r\n" not in data[-4:] and not (orderly and data.endswith(b"\n") and
                                                    b"homing_" in data and len(data) > 8192)


def test_ADM_6_a_large_body_does_not_cost_the_client_the_answer(pair):
    """It sends on before it looks."""
    size = 64 << 20
    router = pair[0].router(pair[1])
    with tls(router) as sock:
        sock.sendall(b"POST /cache/invalidate HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % size)
        sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            for _ in range(size >> 16):
                sock.sendall(bytes(1 << 16))
        sock.settimeout(PATIENCE)
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_ADM_6_bodies_are_read_and_ignored(pair):
    router = pair[0].router(pair[1])

    def send(size, body):
        return raw(router, b"POST /cache/invalidate HTTP/1.1\r\n" + AUTH +
                   b"Content-Length: %d\r\n\r\n" % size + body)[::2]

    assert send(65536, b"x" * 65536) == (200, b'{"invalidated":0}\n')
    assert send(0, b"") == (200, b'{"invalidated":0}\n')
    assert send(24, b'GET /nope HTTP/1.1\r\n\r\n..') == (200, b'{"invalidated":0}\n')
    assert send(65537, b"") == (413, b'{"error": "body too large"}\n')
    assert raw(router, b"POST /cache/invalidate HTTP/1.1\r\n" + AUTH +
               b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")[::2] == (
                   411, b'{"error": "length required"}\n')
    with tls(router) as sock: # a body in pieces
        sock.sendall(b"POST /cache/invalidate HTTP/1.1\r\n" + AUTH + b"Content-Length: 300\r\n\r\n")
        for _ in range(300):
            sock.sendall(b"x")
        assert drain(sock)[0].startswith(b"HTTP/1.1 200 ")


def test_ADM_7_a_slow_store_delays_its_request_only(pair):
    """One worker, a database that another process has locked for writing."""
    make, (node1, node2) = pair
    router = make.router((node1, node2), server="threads = 1",
                         mapping_extra='lookup_timeout = "2s"\n')
    router.map({"alice": "node2"})
    login(router, "alice")
    db = sqlite3.connect(router.db, timeout=10, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    answer, start = [], time.monotonic()
    put = threading.Thread(target=lambda: answer.append((router.admin(
        "PUT", "/mappings?identifier=alice&destination=node1")[:2], time.monotonic() - start)))
    put.start()
    served = 0
    while not answer:
        login(router, "alice")
        assert router.admin("GET", "/stats")[0] == 200
        served += not answer
    put.join()
    db.execute("ROLLBACK")
    db.close()
    assert answer[0][0] == (504, {"error": "store timeout"})
    assert served >= 2 and 1.8 < answer[0][1] < 15
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node1")[0] == 200


def test_ADM_8_admin_connections_are_no_clients(pair):
    router = pair[0].router(pair[1])
    held = [tls(router) for _ in range(10)]
    stats = router.stats()
    assert stats["active_connections"] == 0
    assert set(stats["listeners"]) == {"imap", "imapt"}
    assert all(l["accepted"] == 0 for l in stats["listeners"].values())
    with router.client() as client:
        client.line()
        assert router.stats()["active_connections"] == 1
    for sock in held:
        sock.close()


def test_ADM_9_the_listener_stays_while_draining(pair):
    make, nodes = pair
    router = make.router(nodes, server='shutdown_grace = "60s"')
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.process.terminate()
        wait_until(lambda: router.admin("GET", "/readyz", token=None)[1]["ready"] is False)
        assert router.admin("GET", "/readyz", token=None)[::2][0] == 503
        assert router.stats()["active_connections"] == 1
        assert router.sessions(identifier="alice")["total"] == 1
        assert router.admin("PUT", "/mappings?identifier=x&destination=node2")[0] == 200
        assert router.admin("POST", "/connections/kick?identifier=alice")[1] == {"kicked": 1}
        assert client.eof() == b""
    router.stop()


# ---- token and lockout ----

def test_ADM_13_denied_requests(pair):
    router = pair[0].router(pair[1])
    status, head, body = request(router, "GET", "/mappings?identifier=secret-name",
                                 b"Host: x\r\nAuthorization: Bearer not-the-token\r\n")
    assert (status, body) == (401, b'{"error": "unauthorized"}\n')
    assert "\r\nWWW-Authenticate: Bearer\r\n" in head + "\r\n"
    line = router.wait_line(lambda text: "msg=admin_denied" in text)
    assert "level=warn" in line and " path=/mappings" in line and "client=127.0.0.1:" in line
    assert "secret-name" not in router.log() and "not-the-token" not in router.log()
    for authorization in (b"", b"Authorization: Basic " + TOKEN.encode() + b"\r\n"):
        assert request(router, "GET", "/stats", b"Host: x\r\n" + authorization)[0] == 401
    # three failures of one address: all of the above counted (the threshold here is 3)
    status, head, body = request(router, "GET", "/stats",
                                 b"Host: x\r\nAuthorization: Bearer not-the-token\r\n")
    wait_s = int(re.search(r"Retry-After: (\d+)", head).group(1))
    assert (status, body) == (429, b'{"error": "locked out", "retry_after_s": %d}\n' % wait_s)
    assert router.log().count("msg=admin_denied") == 3 # while locked nothing is counted


def test_ADM_15_threshold_zero_is_off(pair):
    router = pair[0].router(pair[1], start=False)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace("lockout_threshold = 3",
                                                       "lockout_threshold = 0"))
    router.start()
    for _ in range(20):
        assert router.admin("GET", "/stats", token="wrong")[0] == 401
    assert router.admin("GET", "/stats")[0] == 200


# ---- answers ----

STATS_ORDER = """cache_hits cache_misses hit_rate_pct cache_entries active_connections version tls_library
uptime_s config_loaded_at config_generation cache_coalesced stale_entries stale_served invalidated flushes
store_state store_down_seconds store_queries store_errors push_state unknown_destination
rejected_limit auth_failed held logins nodes listeners paths""".split()
NODE_ORDER = "active sessions bytes_up bytes_down auth_failed dial_errors unavailable down".split()
SESSION_ORDER = """id account protocol listener client node stage path_up path_down handed_over
bytes_up bytes_down
age_s idle_s""".split()
DESTINATION_ORDER = """destination consecutive_failures failure_sources host_level_failure down
down_for_s probing active""".split()
MAPPING_ORDER = """identifier normalized destination routed_to_default cached source
expires_in_s""".split()


def order(wanted, got):
    """The documented fields in their order; further ones (readers ignore them) come after."""
    assert list(got)[:len(wanted)] == wanted, list(got)


@pytest.fixture
def live(pair):
    """A router with a live session, a hit and a name outside ASCII."""
    make, nodes = pair
    router = make.router(nodes, start=False)
    router.map({"ghosty": "ghost"}) # a change later would empty the cache within a second
    router.start()
    login(router, "alice")
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        yield router


def test_ADM_23_form_of_answers(live):
    quoted = "/mappings?identifier=%C3%84%5C%0Fb".replace("%0F", "%27") # Ä\'b
    seen = {}
    for method, target in (
            ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/stats"), ("GET", "/sessions"),
            ("GET", "/destinations"), ("GET", "/mappings?identifier=alice"), ("GET", quoted),
            ("GET", "/mappings?identifier=ghosty"), ("POST", "/destinations/reset?destination=node1"),
            ("PUT", "/mappings?identifier=bob&destination=node2"), ("DELETE", "/mappings?identifier=bob"),
            ("POST", "/mappings/reload"), ("POST", "/cache/invalidate"),
            ("POST", "/connections/kick?identifier=nobody"),
            ("POST", "/connections/delay?identifier=nobody&seconds=0")):
        status, head, body = request(live, method, target)
        assert status == 200, (target, body)
        assert "\r\nContent-Type: application/json\r\n" in head
        text = body.decode("utf-8")
        assert text.endswith("}\n") and text.count("\n") == 1 and text.startswith("{"), text
        seen[method + target] = json.loads(text)
    order(STATS_ORDER, seen["GET/stats"])
    order(NODE_ORDER, seen["GET/stats"]["nodes"]["node1"])
    order(["active", "accepted", "rejected_limit"], seen["GET/stats"]["listeners"]["imap"])
    order(["active", "started", "bytes"], next(iter(seen["GET/stats"]["paths"].values())))
    order(["total", "shown", "sessions"], seen["GET/sessions"])
    order(SESSION_ORDER, seen["GET/sessions"]["sessions"][0])
    order(DESTINATION_ORDER, seen["GET/destinations"]["destinations"][0])
    order(MAPPING_ORDER, seen["GET/mappings?identifier=alice"])
    order(MAPPING_ORDER + ["stored"], seen["GET/mappings?identifier=ghosty"])
    assert seen["GET" + quoted]["identifier"] == "Ä\\'b"
    order(["identifier", "destination"], seen["PUT/mappings?identifier=bob&destination=node2"])
    order(["reloaded", "note"], seen["POST/mappings/reload"])


@pytest.mark.parametrize("method,target,status,text", [
    ("GET", "/mappings", 400, "identifier required"),
    ("PUT", "/mappings", 400, "identifier and destination required"),
    ("PUT", "/mappings?identifier=a", 400, "destination required"),
    ("PUT", "/mappings?destination=node1", 400, "identifier required"),
    ("PUT", "/mappings?identifier=a&destination=ghost", 400, "unknown destination"),
    ("DELETE", "/mappings", 400, "identifier required"),
    ("GET", "/mappings?identifier=%22", 400, "invalid identifier"),
    ("GET", "/mappings?identifier=" + "x" * 321, 400, "invalid identifier"),
    ("GET", "/mappings?identifier=a&identifier=a", 400, "duplicate parameter"),
    ("GET", "/mappings?identifier=a&x=1", 400, "unknown parameter"),
    ("GET", "/mappings?identifier=%4", 400, "bad request"),
    ("GET", "/mappings?identifier=a&", 400, "bad request"),
    ("POST", "/connections/kick", 400, "identifier required"),
    ("POST", "/connections/delay?identifier=a", 400, "identifier and seconds required"),
    ("POST", "/connections/delay?seconds=1", 400, "identifier and seconds required"),
    ("POST", "/connections/delay?identifier=a&seconds=3601", 400, "invalid seconds"),
    ("POST", "/connections/delay?identifier=a&seconds=-1", 400, "invalid seconds"),
    ("POST", "/connections/delay?identifier=a&seconds=1.5", 400, "invalid seconds"),
    ("GET", "/sessions?limit=0", 400, "invalid limit"),
    ("GET", "/sessions?limit=10001", 400, "invalid limit"),
    ("GET", "/sessions?destination=ghost", 404, "unknown destination"),
    ("POST", "/destinations/reset", 400, "destination required"),
    ("POST", "/destinations/reset?destination=ghost", 404, "unknown destination"),
    ("GET", "/", 404, "not found"), ("GET", "/nope", 404, "not found"),
    ("GET", "/statsx", 404, "not found"), ("POST", "/stats", 405, "method not allowed"),
    ("PATCH", "/mappings", 405, "method not allowed")])
def test_ADM_24_error_texts(shared, method, target, status, text):
    got, head, body = request(shared, method, target)
    assert (got, json.loads(body)) == (status, {"error": text})
    assert "application/json" in head and body.endswith(b"}\n") and body.count(b"\n") == 1
    if status == 405:
        allowed = re.search(r"\r\nAllow: (.*)", head).group(1).strip().split(", ")
        assert allowed == (["GET", "HEAD"] if target == "/stats" else ["GET", "HEAD", "PUT", "DELETE"])


@pytest.fixture(scope="module")
def shared():
    """One router for tests that change nothing."""
    space = harness.Workspace("homing-test-")
    node = harness.ScriptedNode(space, "node1", harness.node_imap)
    router = harness.Router(space, [node.toml()], "node1").start()
    yield router
    router.close()
    node.close()
    space.close()


def test_ADM_24_errors_of_the_store(pair, workspace):
    router = pair[0].router(pair[1], mapping=file_mapping(workspace, "alice node1\n"))
    assert router.admin("GET", "/mappings?identifier=alice")[1]["source"] == "store"
    file_mapping(workspace, "alice ghost\n")
    status, body, _ = router.admin("POST", "/mappings/reload")
    assert status == 500 and body["error"] == "reload failed"
    assert re.search(r"accounts:1\b", body["detail"]) # MAP-44
    router.wait_line(lambda line: "level=error" in line and "line=1 " in line and "ghost" in line)


def test_ADM_26_changing_calls_are_logged(pair):
    make, nodes = pair
    router = make.router(nodes)
    account = "al***#" + sha("alice@x")
    with router.client() as client:
        client.line()
        client.command("a LOGIN Alice@X pw")
        for method, target, op, shown in (
                ("PUT", "/mappings?identifier=Alice@X&destination=node2", "map_set", account),
                ("POST", "/cache/invalidate?identifier=alice@X", "invalidate", account),
                ("POST", "/cache/invalidate", "invalidate", "-"),
                ("POST", "/connections/delay?identifier=alice@x&seconds=1", "delay", account),
                ("POST", "/connections/kick?identifier=alice@x", "kick", account),
                ("DELETE", "/mappings?identifier=alice@x", "map_del", account),
                ("POST", "/destinations/reset?destination=node2", "reset", "-")):
            start = len(router.lines)
            assert router.admin(method, target)[0] == 200
            line = router.wait_line(lambda text: "msg=admin " in text, start=start)
            got = harness.parse_logfmt(line)
            assert (got["level"], got["op"], got["account"], got["outcome"]) == (
                "info", op, shown, "done"), line
            assert got["client"].startswith("127.0.0.1:")
    start = len(router.lines)
    assert router.admin("GET", "/mappings?identifier=alice")[0] == 200 # changes nothing
    db = sqlite3.connect(router.db, timeout=10)
    db.execute("DROP TABLE account_nodes")
    db.commit()
    db.close()
    assert router.admin("PUT", "/mappings?identifier=alice@x&destination=node2")[0] == 500
    got = harness.parse_logfmt(router.wait_line(lambda text: "msg=admin " in text, start=start))
    assert (got["op"], got["account"], got["outcome"]) == ("map_set", account, "failed")
    assert "alice@x" not in router.log().lower()


def test_OPS_22_audit_lines_hold_what_was_changed(pair):
    """Old and new node, seconds, counts; on the host's own socket the user."""
    make, nodes = pair
    router = make.router(nodes, start=False)
    path = os.path.join(router.workspace.path, "admin.sock")
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    router.workspace.write("homing.toml", text.replace("[admin]\n", '[admin]\nsocket = "%s"\n' % path))
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200)

    def audit(method, target):
        start = len(router.lines)
        assert router.admin(method, target)[0] == 200
        got = harness.parse_logfmt(router.wait_line(lambda text: "msg=admin " in text, start=start))
        assert "uid" not in got
        return got

    first = audit("PUT", "/mappings?identifier=alice&destination=node2")
    assert (first["node"], first["was"]) == ("node2", "-")
    second = audit("PUT", "/mappings?identifier=alice&destination=node1")
    assert (second["node"], second["was"]) == ("node1", "node2")
    gone = audit("DELETE", "/mappings?identifier=alice")
    assert (gone["op"], gone["node"], gone["was"]) == ("map_del", "-", "node1")
    assert audit("POST", "/connections/delay?identifier=alice&seconds=1")["seconds"] == "1"
    assert audit("POST", "/connections/kick?identifier=alice")["sessions"] == "0"
    assert audit("POST", "/destinations/reset?destination=node2")["node"] == "node2"
    start = len(router.lines)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(harness.PATIENCE)
        sock.connect(path)
        sock.sendall(b"POST /cache/invalidate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    got = harness.parse_logfmt(router.wait_line(lambda text: "msg=admin " in text, start=start))
    assert (got["client"], got["uid"]) == ("local", str(os.geteuid())) and "entries" in got


def test_ADM_26_a_write_that_is_refused_is_logged(pair):
    router = pair[0].router(pair[1], start=False)
    with open(router.config, encoding="utf-8") as f:
        lines = [line for line in f if not line.startswith(("upsert_query", "delete_query"))]
    router.workspace.write("homing.toml", "".join(lines))
    router.start()
    assert router.admin("PUT", "/mappings?identifier=alice&destination=node1")[0] == 501
    got = harness.parse_logfmt(router.wait_line(lambda text: "msg=admin " in text))
    assert (got["op"], got["outcome"]) == ("map_set", "read_only")


def test_ADM_27_numbers_and_times(live):
    def walk(value, key=""):
        if isinstance(value, dict):
            for name, member in value.items():
                yield from walk(member, name)
        elif isinstance(value, list):
            for member in value:
                yield from walk(member, key)
        else:
            yield key, value

    for target in ("/stats", "/sessions", "/destinations", "/mappings?identifier=alice"):
        _, _, body = request(live, "GET", target)
        for key, value in walk(json.loads(body)):
            if key == "hit_rate_pct":
                continue
            assert not isinstance(value, float), (target, key)
            if key.endswith(("_s", "_ms", "_seconds")):
                assert value is None or isinstance(value, int), (target, key)
            if key.endswith("_at"):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value), value
                age = time.time() - time.mktime(time.strptime(value, "%Y-%m-%dT%H:%M:%SZ")) + \
                    time.timezone
                assert -2 < age < 3600
    assert '"hit_rate_pct":50.00,' in request(live, "GET", "/stats")[2].decode()
    login(live, "alice")
    assert '"hit_rate_pct":66.67,' in request(live, "GET", "/stats")[2].decode()
