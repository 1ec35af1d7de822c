# SPDX-License-Identifier: Apache-2.0
"""http.md with HTTP that others wrote: nginx, curl, aiohttp, websockets."""

import asyncio
import base64
import hashlib
import http.client as http_client
import subprocess

import harness
import pytest
import release
from harness import PATIENCE, wait_until
from http_bodies import BLOCK, GROWTH_KIB, MEASURED, Watch
from http_nodes import AiohttpNode, basic, http  # noqa: F401


def curl(router, *args, tls=True, expect=0):
    scheme = "https" if tls else "http"
    done = subprocess.run(["curl", "-sS", "--http1.1", "--cacert", router.cert, "-D", "-",
                           *(a.replace("URL", "%s://localhost:%d" % (scheme, router.ports["http"]))
                             for a in args)], capture_output=True, timeout=PATIENCE * 4)
    assert done.returncode == expect, done.stderr
    return done.stdout


@pytest.fixture
def nginx(http):
    nodes = [http.nginx("node1", "127.0.0.21"), http.nginx("node2", "127.0.0.22")]
    router = http.router(nodes, tls="implicit", environment=MEASURED)
    router.map({"alice": "node1", "bob": "node2"})
    return router, nodes


def test_nginx_get_put_delete(nginx):
    router, nodes = nginx
    nodes[0].put("a/file", b"of alice")
    nodes[1].put("a/file", b"of bob")
    conn = http_client.HTTPSConnection("localhost", router.ports["http"], timeout=PATIENCE,
                                       context=router.tls_context())
    for who, node in (("alice", nodes[0]), ("bob", nodes[1])) * 3:
        headers = {"Authorization": basic(who).split(": ")[1].strip()}

        def ask(method, path, body=None, **more):
            conn.request(method, path, body, {**headers, **more})
            response = conn.getresponse()
            assert response.getheader("X-Node") == node.name
            return response.status, response.read()
        assert ask("GET", "/a/file") == (200, b"of " + who.encode())
        assert ask("HEAD", "/a/file") == (200, b"")
        assert ask("GET", "/a/file", Range="bytes=3-4") == (206, who.encode()[:2])
        assert ask("GET", "/none")[0] == 404
        assert ask("MKCOL", "/dir/")[0] == 201
        assert ask("PUT", "/dir/new", b"x" * 100000)[0] == 201
        assert ask("MOVE", "/dir/new", Destination="https://localhost/dir/moved")[0] == 204
        assert ask("GET", "/dir/moved") == (200, b"x" * 100000)
        assert ask("DELETE", "/dir/")[0] == 204
    conn.close()
    for node in nodes:
        assert node.log().count("127.0.0.1 GET /a/file") == 6 # the client's, by the PROXY header


def test_nginx_large_files_by_curl(nginx, workspace):
    router, nodes = nginx
    size = 64 << 20
    path = workspace.write("big", "")
    with open(path, "wb") as f:
        for _ in range(size // len(BLOCK) + 1):
            f.write(BLOCK)
    with open(path, "rb") as f:
        wanted = hashlib.sha256(f.read()).digest()
    watch = Watch(router)
    for upload in (["-T", path], ["-T", path, "-H", "Transfer-Encoding: chunked"]):
        out = curl(router, *upload, "-u", "bob:pw", "URL/up")
        assert b"HTTP/1.1 100 Continue" in out and b" 20" in out
        got = path + ".down"
        curl(router, "-u", "bob:pw", "-o", got, "URL/up")
        with open(got, "rb") as f:
            assert hashlib.sha256(f.read()).digest() == wanted
    assert watch.grown() < GROWTH_KIB
    assert not nodes[0].log()


def test_nginx_refuses_a_large_upload(nginx, workspace):
    """Whether it reads the body or not: curl gets its answer, and no byte of the body is a request."""
    router, nodes = nginx
    nodes[0].put("up", b"file")
    path = workspace.write("big", "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" * 1000000)
    out = curl(router, "-X", "POST", "-T", path, "-u", "alice:pw", "-H", "Expect:", "URL/up",
               "-o", "/dev/null")
    assert b"HTTP/1.1 405" in out
    wait_until(lambda: "POST /up" in nodes[0].log())
    assert "evil" not in nodes[0].log() and not nodes[1].log()


@pytest.mark.parametrize("tls", ["plain", "implicit"])
def test_section_8_client_libraries_on_two_nodes(http, tls):
    import aiohttp
    import websockets
    nodes = [AiohttpNode("node1"), AiohttpNode("node2")]
    for node in nodes:
        node.start()
        assert node.ready.wait(PATIENCE)
    tomls = [harness.destination_toml(n.name_, "127.0.0.1", n.port, "plain", None, "none").replace(
        ".imap]", ".http]") for n in nodes]
    router = http.router(tomls, default="node1", tls=tls, http='relay_idle = "1s"')
    router.map({"alice": "node1", "bob": "node2"})
    context = router.tls_context() if tls == "implicit" else None
    base = "localhost:%d" % router.ports["http"]

    async def one(who, node):
        auth = {"Authorization": "Basic " + base64.b64encode(b"%s:pw" % who.encode()).decode()}
        async with websockets.connect("%s://%s/ws" % ("wss" if context else "ws", base),
                                      ssl=context, **release.websocket_headers(auth)) as ws:
            assert await ws.recv() == node
            for size in (1, 125, 126, 65536, 500000):
                await ws.send(b"x" * size)
                assert await ws.recv() == b"x" * size
        async with aiohttp.ClientSession(headers=auth) as session:
            url = "%s://%s" % ("https" if context else "http", base)
            async with session.get(url + "/events", ssl=context) as response:
                lines = [line async for line in response.content if line.strip()]
                assert lines == [b"data: %s %d\n" % (node.encode(), i) for i in range(5)]
            for i in range(20):
                async with session.post(url + "/api", json={"i": i}, ssl=context) as response:
                    assert await response.json() == {"node": node, "got": {"i": i}}
            async with session.ws_connect(url + "/ws", ssl=context) as ws:
                assert await ws.receive_str() == node
                await ws.send_str("hi")
                assert await ws.receive_str() == "hi"

    async def both():
        await asyncio.wait_for(asyncio.gather(*(one(*p) for p in (("alice", "node1"),
                                                                  ("bob", "node2")) * 3)), PATIENCE)
    asyncio.run(both())
    for node in nodes:
        node.close()
