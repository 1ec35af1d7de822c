# SPDX-License-Identifier: Apache-2.0
"""admin.md and mapping.md on a running router: HTTPS API, homingctl, stores, cache, outage."""

import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

import harness
from harness import wait_until


def login(router, user, expect="a OK"):
    with router.client() as c:
        c.line()
        c.send("a LOGIN %s pw\r\n" % user)
        line = c.line()
        assert line.startswith(expect), line
    return line


def served(node):
    return [getattr(conn, "user", None) for conn in node.connections]


@pytest.fixture
def pair(make):
    nodes = [make.node("node1"), make.node("node2")]
    return make, nodes


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


def router_socket(router):
    return socket.create_connection(("127.0.0.1", router.ports["admin"]), 10)


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


def test_SES_51_exactly_one_probe(make):
    hang, waiting = threading.Event(), []

    def serve(conn):
        waiting.append(conn)
        hang.wait(harness.PATIENCE)
        harness.node_imap(conn)

    node = make.node("node1", serve)
    router = make.router([node], server='host_down_threshold = 1\nhost_down_cooldown = "500ms"\n'
                         'backend_timeout = "1s"\nbackend_connect_retries = 0')
    login(router, "alice", "a NO [UNAVAILABLE]")  # the dial window: a host failure
    assert router.admin("GET", "/destinations")[1]["destinations"][0]["down"]
    wait_until(lambda: router.admin("GET", "/destinations")[1]["destinations"][0][
        "down_for_s"] == 0)
    before, results = len(waiting), []
    threads = [threading.Thread(target=lambda i=i: results.append(
        login(router, "user%d" % i, "a "))) for i in range(20)]
    for t in threads:
        t.start()
    wait_until(lambda: len(results) >= 19)
    assert len(waiting) == before + 1
    hang.set()
    for t in threads:
        t.join()
    assert sum(line.startswith("a NO [UNAVAILABLE]") for line in results) >= 19


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
    import subprocess
    done = subprocess.run([harness.BUILD + "/homingctl", "--config", router.config, "--url",
                           "https://127.0.0.1:%d" % router.ports["admin"], "stats"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and "certificate" in done.stderr
    done = subprocess.run([harness.BUILD + "/homingctl", "--config", router.config, "--pin",
                           router.pin, "--url",
                           "https://127.0.0.1:%d" % router.ports["admin"], "stats"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


# ---- mapping ----

def test_MAP_10_normalisation(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"user@example.com": "node2"})
    login(router, "USER@EXAMPLE.COM")
    assert served(node2) == ["USER@EXAMPLE.COM"]


def test_MAP_20_master_user_is_routed_by_account(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"user@example.com": "node2"})
    login(router, '"user@example.com%admin"')
    assert served(node2) == ["user@example.com%admin"]


def test_MAP_2_mapped_node_without_the_protocol(make):
    node1 = make.node("node1")
    other = harness.destination_toml("node2", "127.0.0.1", 1, "implicit", "00" * 32).replace(
        "protocol.imap", "protocol.pop3")
    router = make.router([node1, other])
    router.map({"alice": "node2"})
    login(router, "alice", "a NO [UNAVAILABLE]")
    assert router.wait_sessions(1)[-1]["reason"] == "node_no_protocol"
    assert all(d["consecutive_failures"] == 0 for d in
               router.admin("GET", "/destinations")[1]["destinations"])


def test_MAP_53_null_blank_and_unknown_values(make):
    node1, node2 = make.node("node1"), make.node("node2")
    router = make.router([node1, node2])
    router.map({"empty": "", "blank": "  ", "padded": " node2 ", "ghosty": "ghost"})
    for user in ("empty", "blank", "ghosty", "ghosty", "padded"):
        login(router, user)
    assert served(node2) == ["padded"]
    stats = router.stats()
    assert stats["unknown_destination"] == 1  # the second one is a (negative) hit
    router.wait_line(lambda line: "unknown_destination" in line)


def test_MAP_63_change_by_another_process(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2])
    router.map({"alice": "node1"})
    login(router, "alice")
    router.map({"alice": "node2"})
    wait_until(lambda: router.stats()["flushes"] >= 1)
    login(router, "alice")
    assert served(node2) == ["alice"]


def test_MAP_34_store_missing_at_start(pair):
    make, (node1, node2) = pair
    router = make.router([node1, node2], start=False)
    os.unlink(router.db)
    for suffix in ("-wal", "-shm"):
        if os.path.exists(router.db + suffix):
            os.unlink(router.db + suffix)
    router.start()
    status, body, _ = router.admin("GET", "/readyz", token=None)
    assert status == 503 and body["reasons"] == ["store"]
    login(router, "alice")  # served by the default node all the same
    assert served(node1) == ["alice"]
    router.sqlite_toml()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)


def lock_db(router):
    db = sqlite3.connect(router.db, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    return db


def unlock_db(router, db):
    db.execute("ROLLBACK")
    db.close()
    for path in (router.db, router.db + "-wal", router.db + "-shm"):
        if os.path.exists(path):
            router.workspace.own(path)


@pytest.fixture
def rollback_journal():
    """In WAL mode readers do not wait for writers, so the blackhole needs the other mode."""
    def use(router):
        db = sqlite3.connect(router.db)
        db.execute("PRAGMA journal_mode = DELETE")
        db.close()
        router.workspace.own(router.db)
    return use


def test_MAP_90_blackholed_store(pair, rollback_journal):
    """Cached accounts and /healthz go on without delay; others get the default node in time."""
    make, (node1, node2) = pair
    router = make.router([node1, node2], mapping_extra='lookup_timeout = "2s"\n', start=False)
    rollback_journal(router)
    router.map({"alice": "node2"})
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)
    login(router, "alice")
    db = lock_db(router)
    try:
        results = []
        slow = [threading.Thread(target=lambda i=i: results.append(
            (time.monotonic(), login(router, "new%d" % i)))) for i in range(5)]
        start = time.monotonic()
        for t in slow:
            t.start()
        wait_until(lambda: router.stats()["store_queries"] >= 2)
        for _ in range(5):
            login(router, "alice")
            assert router.admin("GET", "/healthz", token=None)[0] == 200
        assert time.monotonic() - start < 10
        for t in slow:
            t.join()
        stats = router.stats()
        assert stats["store_state"] == "down" and stats["store_errors"] == 5
        queries = stats["store_queries"]
        login(router, "new0")  # MAP-90: no query within the transient time
        assert router.stats()["store_queries"] == queries
        assert router.log().count("msg=store_lost") == 1
    finally:
        unlock_db(router, db)
    wait_until(lambda: login(router, "other%f" % time.monotonic()) and
               router.stats()["store_state"] == "up")
    router.wait_line(lambda line: "msg=store_back" in line)


def test_MAP_91_93_stale_entries(pair, rollback_journal):
    make, (node1, node2) = pair
    router = make.router([node1, node2],
                         mapping_extra='positive_ttl = "1s"\nlookup_timeout = "500ms"\n',
                         start=False)
    rollback_journal(router)
    router.map({"alice": "node2", "bob": "node2"})
    router.start()
    login(router, "alice"), login(router, "bob")
    db = lock_db(router)
    try:
        wait_until(lambda: router.stats()["stale_entries"] == 2)
        login(router, "alice")
        assert served(node2)[-1] == "alice"
        assert router.stats()["stale_served"] == 1
        assert router.wait_sessions(3)[-1]["route"] == "stale"
        router.admin("POST", "/cache/invalidate?identifier=bob")
        login(router, "bob")
        assert served(node1) == ["bob"]
    finally:
        unlock_db(router, db)


def test_MAP_82_one_query_for_many_logins(pair, rollback_journal):
    make, (node1, node2) = pair
    router = make.router([node1, node2], mapping_extra='lookup_timeout = "20s"\n', start=False)
    rollback_journal(router)
    router.map({"alice": "node2"})
    router.start()
    wait_until(lambda: router.admin("GET", "/readyz", token=None)[0] == 200)
    db = lock_db(router)
    results = []
    threads = [threading.Thread(target=lambda: results.append(login(router, "alice")))
               for _ in range(60)]
    for t in threads:
        t.start()
    wait_until(lambda: router.stats()["cache_misses"] + router.stats()["cache_coalesced"] == 60)
    unlock_db(router, db)
    for t in threads:
        t.join()
    stats = router.stats()
    assert len(results) == 60 and len(served(node2)) == 60 and not served(node1)
    assert (stats["store_queries"], stats["cache_misses"], stats["cache_coalesced"]) == (1, 1, 59)


# ---- file store ----

def file_mapping(workspace, text):
    workspace.write("accounts", text, 0o640)
    return '[mapping]\nsource = "file"\nnormalize = "lowercase"\n[mapping.file]\npath = "accounts"\n'


def test_MAP_40_43_44_file_store(pair, workspace):
    make, (node1, node2) = pair
    mapping = file_mapping(workspace, "# comment\n\nBob@x \t node2  # two\r\ncarol@x node1\n")
    os.chmod(workspace.path, 0o755)
    router = make.router([node1, node2], mapping=mapping)
    login(router, "bob@x")
    assert served(node2) == ["bob@x"]
    assert router.admin("PUT", "/mappings?identifier=alice@example.com&destination=node2")[0] == 200
    with open(workspace.path + "/accounts", encoding="utf-8") as f:
        assert f.read() == "alice@example.com\tnode2\nbob@x\tnode2\ncarol@x\tnode1\n"
    assert os.stat(workspace.path + "/accounts").st_mode & 0o777 == 0o640
    login(router, "alice@example.com")
    assert router.admin("DELETE", "/mappings?identifier=bob@x")[1] == {"removed": True}
    assert router.admin("DELETE", "/mappings?identifier=bob@x")[1] == {"removed": False}
    file_mapping(workspace, "carol@x node2\n")
    assert router.admin("POST", "/mappings/reload")[1] == {"reloaded": True, "entries": 1}
    login(router, "carol@x")
    assert served(node2)[-1] == "carol@x"
    file_mapping(workspace, "carol@x ghost\n")
    status, body, _ = router.admin("POST", "/mappings/reload")
    assert status == 500 and body["error"] == "reload failed"
    login(router, "carol@x")
    assert served(node2)[-1] == "carol@x"


def test_MAP_43_failed_write_changes_nothing(pair, workspace):
    make, (node1, node2) = pair
    directory = workspace.mkdir("readonly")
    mapping = file_mapping(workspace, "").replace('"accounts"', '"readonly/accounts"')
    workspace.write("readonly/accounts", "alice node2\n")
    os.chmod(directory, 0o555)
    if os.geteuid() == 0:
        os.chown(directory, 0, 0)
    router = make.router([node1, node2], mapping=mapping)
    status, body, _ = router.admin("PUT", "/mappings?identifier=alice&destination=node1")
    assert (status, body["error"]) == (500, "store write failed")
    assert "Permission denied" in body["store_error"]
    login(router, "alice")
    assert served(node2) == ["alice"]
    os.chmod(directory, 0o755)


# ---- real servers, real clients ----

def test_dovecot_with_mbsync_curl_imaplib(make, workspace):
    """Right node, wrong password refused with the node's words, mail stored and fetched."""
    import imaplib
    import subprocess
    users = {"alice@x.com": "pw-a", "bob@x.com": "pw-b"}
    nodes = [make.dovecot("node%d" % i, "127.0.0.%d" % (20 + i), users) for i in (1, 2)]
    router = make.router(nodes)
    router.map({"alice@x.com": "node1", "bob@x.com": "node2"})
    context = router.tls_context()
    imap = imaplib.IMAP4_SSL("localhost", router.ports["imap"], ssl_context=context)
    with pytest.raises(imaplib.IMAP4.error, match="Authentication failed"):
        imap.login("bob@x.com", "not it")
    imap.login("bob@x.com", "pw-b")
    assert imap.append("INBOX", None, None, b"Subject: x\r\n\r\nbody\r\n")[0] == "OK"
    imap.select("INBOX")
    assert imap.fetch("1", "(BODY[TEXT])")[1][0][1] == b"body\r\n"
    imap.logout()
    starttls = imaplib.IMAP4("localhost", router.ports["imapt"])
    starttls.starttls(context)
    starttls.login("alice@x.com", "pw-a")
    starttls.logout()
    subprocess.run(["curl", "-sSf", "--cacert", router.cert, "-u", "bob@x.com:pw-b",
                    "imaps://localhost:%d/INBOX;MAILINDEX=1" % router.ports["imap"]], check=True,
                   capture_output=True, timeout=60)
    assert [user for user, _ in nodes[1].logins()] == ["bob@x.com", "bob@x.com"]
    assert [user for user, _ in nodes[0].logins()] == ["alice@x.com"]
    mail = os.path.join(workspace.path, "mbsync")
    os.mkdir(mail)
    rc = workspace.write("mbsyncrc", """
IMAPAccount far
Host localhost
Port %d
User bob@x.com
Pass pw-b
SSLType IMAPS
CertificateFile %s
AuthMechs LOGIN PLAIN

IMAPStore far
Account far

MaildirStore near
Path %s/
Inbox %s/INBOX

Channel all
Far :far:
Near :near:
Create Near
SyncState *
""" % (router.ports["imap"], router.cert, mail, mail))
    done = subprocess.run(["mbsync", "-c", rc, "all"], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [f for _, _, files in os.walk(mail + "/INBOX") for f in files if "U=" in f]
    assert len(found) == 1
    assert len(nodes[1].logins()) == 3


def test_certificates_by_sni(make, workspace):
    workspace.certificate("exact", ["a.example.com"])
    workspace.certificate("wild", ["*.example.com"])
    extra = ('[tls.certificate.exact]\ncert = "exact.pem"\nkey = "exact.key"\n'
             '[tls.certificate.wild]\ncert = "wild.pem"\nkey = "wild.key"\n')
    router = make.router([make.node("node1")], extra=extra)

    def subject(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(router.connect(), server_hostname=name) as tls:
            der = tls.getpeercert(True)
        for file in ("exact", "wild", "router"):
            with open("%s/%s.pem" % (workspace.path, file), encoding="ascii") as f:
                if ssl.PEM_cert_to_DER_cert(f.read()) == der:
                    return file
        return "other"

    assert subject("a.example.com") == "exact"
    assert subject("A.Example.Com") == "exact"
    assert subject("b.example.com") == "wild"
    assert subject("b.c.example.com") == "router"
    assert subject("example.com") == "router"
    assert subject(None) == "router"


# ---- the host's own socket ----

def test_ADM_9a_unix_socket(make, workspace):
    import stat
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
    import re

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
