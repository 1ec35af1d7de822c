# SPDX-License-Identifier: Apache-2.0
"""Requests as older clients, proxies and probes write them: HTTP/1.0, fields with underscores, Digest."""

import os
import socket
import ssl
import subprocess
import threading

import pytest

import harness
from harness import PATIENCE, free_port, wait_until
from http_nodes import (HttpClient, Wire, basic, http,  # noqa: F401
                        nothing_reached, refused, two)


def old(client, target="/", fields="", method="GET", body=""):
    """A request of HTTP/1.0 and all that comes back."""
    client.send("%s %s HTTP/1.0\r\n%s\r\n%s" % (method, target, fields, body))
    head = client.wire.head()
    return head, client.rest()


# ---- 1.0 ----

def test_HTTP_22_old_requests_are_served(two, http):
    router, nodes = two
    with http.client(router) as c: # the second is not looked at: there is no other request in 1.0
        head, body = old(c, "/a", "Host: y\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n" +
                         basic("bob"), body="GET /b HTTP/1.0\r\nHost: y\r\n\r\n")
        assert (head.first, head["Connection"], head["X-Node"]) == (
            "HTTP/1.1 200 OK", "close", "node2")
        assert body.decode() == "GET /a HTTP/1.1\r\nHost: y\r\n%s\r\n" % basic("bob")
    with http.client(router) as c:
        head, body = old(c, "/", "Host: y\r\nContent-Length: 2\r\n" + basic("alice"), "POST", "hi")
        assert head["X-Node"] == "node1" and body.endswith(b"\r\n\r\nhi")
    with http.client(router) as c: # a probe: 1.1 wants a host, and the node's own is named
        assert old(c)[1] == b"GET / HTTP/1.1\r\nHost: node1.test\r\n\r\n"
    with http.client(router) as c:
        assert old(c, "/", "Host: y\r\n", "HEAD")[1] == b""
    assert nodes[1].heads() == ["GET /a HTTP/1.1"]


def test_HTTP_22_old_requests_with_a_coding_are_refused(two, http):
    router, nodes = two
    for fields in ("Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n",
                   "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Host: x\r\n"):
        with http.client(router) as c:
            c.send("POST / HTTP/1.0\r\nHost: x\r\n%s\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n"
                   "\r\n" % fields)
            refused(c, 400)
    nothing_reached(nodes)


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"


def in_chunks(conn):
    wire = Wire(conn.read)
    while True:
        try:
            path = wire.head().path
        except EOFError:
            return
        if path == "/early":
            conn.send("HTTP/1.1 103 Early Hints\r\nX-B: c\r\n\r\n")
        if path == "/gzip":
            conn.send(CHUNKED.replace("chunked", "gzip, chunked") + "0\r\n\r\n")
            return
        if path == "/events":
            conn.send(CHUNKED.replace("X-A", "Content-Type: text/event-stream\r\nX-A"))
            for event in ("data: 1\n\n", "data: 2\n\n"):
                conn.send("%x\r\n%s\r\n" % (len(event), event))
                conn.node.next.wait(PATIENCE)
            conn.send("0\r\n\r\n")
            return
        conn.send(CHUNKED + "5;x=y\r\nhello\r\n")
        if path == "/cut":
            conn.close()
            return
        conn.send("10000\r\n%s\r\n0\r\nX-T: u\r\n\r\n" % ("z" * 65536))


def test_HTTP_34_chunks_are_taken_off_for_old_clients(http):
    node = http.node("node1", in_chunks)
    router = http.router([node])
    for path in ("/", "/early"):
        with http.client(router) as c:
            head, body = old(c, path)
            assert head.status == 200 and head["X-A"] == "b" and head["Connection"] == "close"
            assert head["Transfer-Encoding"] is None and head["Content-Length"] is None
            assert body == b"hello" + b"z" * 65536
    with http.client(router) as c:
        c.send("GET /gzip HTTP/1.0\r\n\r\n")
        refused(c, 502)
    node.next = threading.Event()
    with http.client(router) as c: # events come when they are sent
        c.send("GET /events HTTP/1.0\r\n\r\n")
        assert c.wire.head()["Transfer-Encoding"] is None
        assert c.wire.exactly(9) == b"data: 1\n\n" and not c.readable(0.05)
        node.next.set()
        assert c.rest() == b"data: 2\n\n"
    # 1.1 beside it has its chunks and its trailer
    with http.client(router) as c:
        assert c.ask("/").body == b"hello" + b"z" * 65536 and c.wire.trailer == b"X-T: u\r\n"
    nodes = router.admin("GET", "/destinations")[1]["destinations"]
    assert nodes[0]["consecutive_failures"] == 0


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_HTTP_33_a_cut_answer_shows_to_old_clients(http, tls):
    router = http.router([http.node("node1", in_chunks)], tls=tls)
    sock = router.connect("http")
    if tls == "implicit": # without a close_notify
        sock = router.tls_context().wrap_socket(sock, server_hostname="localhost",
                                                suppress_ragged_eofs=False)
    with sock, pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        sock.sendall(b"GET /cut HTTP/1.0\r\n\r\n")
        while sock.recv(65536):
            pass
    assert router.wait_sessions(1)[0]["reason"] == "truncated"


FRONT = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{router}; }} }}
}}
"""


def test_nginx_in_front_with_its_default_version(http, workspace):
    """proxy_http_version 1.0, which nginx has had as its default since there is one."""
    nodes = [http.node("node1"), http.node("node2", in_chunks)]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    folder, port = workspace.mkdir("front"), free_port()
    conf = workspace.write("front/nginx.conf", FRONT.format(
        dir=folder, port=port, router=router.ports["http"],
        user="user %s %s;" % (workspace.user, workspace.group) if os.geteuid() == 0 else ""))
    front = subprocess.Popen(["nginx", "-c", conf, "-p", folder, "-e", folder + "/error.log"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    try:
        def listening():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_until(listening)
        with HttpClient(socket.create_connection(("127.0.0.1", port), PATIENCE)) as c:
            got = c.ask("/x", basic("alice"), "POST", b"b" * 100000)
            assert got.status == 200 and got.body.endswith(b"b" * 100000)
            assert c.ask("/early", basic("bob")).body == b"hello" + b"z" * 65536
            assert c.ask("/y", basic("alice"), "HEAD").status == 200
        sent = nodes[0].requests[0][0]
        assert sent.first == "POST /x HTTP/1.1" and sent["Connection"] is None
        assert sent["Host"] == "127.0.0.1:%d" % router.ports["http"]
    finally:
        harness.end_process(front)


# ---- spellings ----

def test_HTTP_23_70_forwarded_fields_in_other_spellings(http):
    """Nodes that hand fields on as variables read X_Forwarded_For as X-Forwarded-For."""
    node = http.node("node1", forwarded=True)
    for forwarded in ("off", "trust"):
        router = http.router([node], listener='forwarded = "%s"' % forwarded)
        with http.client(router) as c:
            c.ask("/", "X_Forwarded_For: 1.1.1.1\r\nX-Forwarded_For: 1.1.1.2\r\nx_real-ip: 1.1.1.3\r\n"
                  "X_Forwarded_Proto: https\r\nProxy_Connection: close\r\nX_Mine: kept\r\n")
        sent = node.requests[-1][0]
        assert sent.fields == [("Host", "x"), ("X_Mine", "kept"), ("Forwarded", "for=127.0.0.1"),
                               ("X-Forwarded-For", "127.0.0.1")]
        router.stop()


def test_section_5_digest_names_the_account(two, http):
    router, nodes = two
    digest = 'Authorization: Digest username="%s", realm="r", nonce="n", uri="/", response="0"\r\n'
    with http.client(router) as c:
        assert [c.ask("/", digest % who)["X-Node"] for who in ("alice", "bob", "Alice")] == [
            "node1", "node2", "node1"]
        assert c.ask("/", "Authorization: Digest username*=UTF-8''b%6fb, nc=1\r\n")["X-Node"] == "node2"
    assert 'username="bob"' in nodes[1].requests[0][0]["Authorization"] # unchanged
    with http.client(router) as c:
        c.send("GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % (digest % 'a\\"b'))
        refused(c, 401)
    with http.client(router) as c:
        c.send("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Digest username=a, username=b\r\n\r\n")
        refused(c, 400)


# ---- the admin port ----

def test_ADM_10_health_for_probes(http):
    router = http.router([http.node("node1")])

    def raw(text):
        with router.tls_context().wrap_socket(router.connect("admin"),
                                              server_hostname="localhost") as sock:
            sock.sendall(text.encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
        return data

    for path in ("/healthz", "/readyz", "/healthz/"):
        for request in ("GET %s HTTP/1.0\r\n\r\n", "GET %s HTTP/1.0\r\nHost: x\r\n\r\n",
                        "GET %s HTTP/1.1\r\n\r\n", "HEAD %s HTTP/1.0\r\nUser-Agent: probe\r\n\r\n"):
            assert raw(request % path).startswith(b"HTTP/1.1 200 OK\r\n"), (path, request)
    # what needs the token is for 1.1 with a host, as it was
    token = "Authorization: Bearer %s\r\n\r\n" % harness.TOKEN
    assert raw("GET /stats HTTP/1.0\r\nHost: x\r\n" + token).startswith(b"HTTP/1.1 505")
    assert raw("GET /stats HTTP/1.1\r\n" + token).startswith(b"HTTP/1.1 400")
    assert raw("GET /stats HTTP/1.1\r\nHost: x\r\nHost: x\r\n" + token).startswith(b"HTTP/1.1 400")
    assert raw("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw("POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").startswith(
        b"HTTP/1.1 400")


def test_ADM_23_every_answer_is_json(http):
    router = http.router([http.node("node1")])
    wait_until(lambda: router.admin("GET", "/readyz")[0] == 200) # the store may not have answered yet
    for method, path in (
            ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/stats"), ("GET", "/sessions"),
            ("GET", "/destinations"), ("POST", "/destinations/reset?destination=node1"),
            ("PUT", "/mappings?identifier=alice&destination=node1"),
            ("GET", "/mappings?identifier=alice"), ("DELETE", "/mappings?identifier=alice"),
            ("DELETE", "/mappings?identifier=alice"), ("GET", "/mappings/list?destination=node1"),
            ("POST", "/mappings/reload"), ("POST", "/cache/invalidate"),
            ("POST", "/connections/kick?identifier=alice"),
            ("POST", "/connections/delay?identifier=alice&seconds=0"), ("POST", "/config/reload"),
            ("DELETE", "/nope"), ("DELETE", "/stats"), ("POST", "/connections/kick"),
            ("DELETE", "/mappings")):
        status, body, response = router.admin(method, path)
        assert status in (200, 400, 404, 405) and isinstance(body, dict), (method, path, status)
        assert response.getheader("Content-Type") == "application/json", (method, path)
        assert (status == 200) != ("error" in body), (method, path, body)
    response = router.admin("DELETE", "/mappings?identifier=alice", token="wrong" * 10)[2]
    assert (response.status, response.getheader("Content-Type")) == (401, "application/json")
