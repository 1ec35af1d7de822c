# SPDX-License-Identifier: Apache-2.0
"""HTTP for the end-to-end tests: nodes that keep every byte they were sent, a client that sees every
byte, real nginx nodes."""

import asyncio
import base64
import contextlib
import os
import socket
import subprocess
import threading

import harness
import pytest
from harness import PATIENCE, ScriptedNode, free_port, wait_until


def basic(login, password="pw"):
    return "Authorization: Basic %s\r\n" % base64.b64encode(
        ("%s:%s" % (login, password)).encode()).decode()


class Head:
    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0]
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:] if line]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def path(self):
        return self.first.split(" ")[1]

    @property
    def method(self):
        return self.first.split(" ")[0]

    @property
    def status(self):
        return int(self.first.split(" ")[1])


class Wire:
    """Reads HTTP from recv(), strictly enough for tests: what the router sends is canonical."""

    def __init__(self, recv, buffer=b""):
        self.recv, self.buffer = recv, buffer

    def until(self, mark):
        while mark not in self.buffer:
            data = self.recv(65536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def exactly(self, count):
        while len(self.buffer) < count:
            data = self.recv(65536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def head(self):
        return Head(self.until(b"\r\n\r\n"))

    def chunks(self):
        """The decoded body and the trailer's raw lines."""
        body = b""
        while True:
            size = int(self.until(b"\r\n"), 16)
            if not size:
                break
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        trailer = b""
        while not trailer.endswith(b"\r\n\r\n") and trailer != b"\r\n":
            trailer += self.until(b"\r\n")
        return body, trailer[:-2]

    def body(self, head):
        self.trailer = b""
        if head["Transfer-Encoding"]:
            body, self.trailer = self.chunks()
            return body
        return self.exactly(int(head["Content-Length"] or 0))


class Response:
    def __init__(self, head, body):
        self.head, self.body, self.status = head, body, head.status

    def __getitem__(self, name):
        return self.head[name]


class HttpClient(harness.Client):
    def __init__(self, sock, context=None, alpn=("http/1.1",)):
        if context and alpn:
            context.set_alpn_protocols(list(alpn))
        super().__init__(sock, context)
        self.wire = Wire(lambda n: self.sock.recv(n))

    def ask(self, target="/", fields="", method="GET", body=b""):
        if body:
            fields += "Content-Length: %d\r\n" % len(body)
        self.sock.sendall(("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (method, target, fields)
                           ).encode("latin-1") + body)
        return self.answer(method)

    def answer(self, method="GET"):
        head = self.wire.head()
        if method == "HEAD" or head.status in (204, 205, 304) or head.status < 200:
            return Response(head, b"")
        if not head["Transfer-Encoding"] and head["Content-Length"] is None:
            return Response(head, self.rest())
        return Response(head, self.wire.body(head))

    def rest(self):
        """To the end; what the wire holds first."""
        data, self.wire.buffer = self.wire.buffer, b""
        return data + self.eof()


def answer(conn, body=b"", status="200 OK", fields=""):
    conn.send(("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), fields)
               ).encode() + body)


def serve_http(conn):
    """Answers every request with what it was; the node's name and the connection's number."""
    conn.wire = Wire(conn.read)
    while True:
        try:
            head = conn.wire.head()
        except EOFError:
            return
        body = conn.wire.body(head)
        with conn.node.lock:
            conn.node.requests.append((head, body))
        answer(conn, b"" if head.method == "HEAD" else head.raw + body, fields="X-Node: %s\r\n"
               "X-Conn: %d\r\n" % (conn.node.name, conn.node.connections.index(conn)))


class HttpNode(ScriptedNode):
    def __init__(self, workspace, name, serve=serve_http, tls="plain", forwarded=False, extra="",
                 **kwargs):
        self.requests, self.more = [], extra + "\nforwarded = %s" % ("true" if forwarded else "false")
        super().__init__(workspace, name, serve, tls=tls, **kwargs)

    def toml(self, forwarding=None, extra=""):
        return super().toml(forwarding, self.more + "\n" + extra).replace(".imap]", ".http]")

    def heads(self):
        with self.lock:
            return [head.first for head, _ in self.requests]

    def everything(self):
        """All bytes that reached it, by connection."""
        with self.lock:
            return [bytes(conn.received) for conn in self.connections]


ROUTE = '[[http.route]]\nmatch = "/**"\nextract = { from = "authorization" }\n'


class HttpMake:
    """Adds nodes, nginx and routers to a test's make; all are stopped by it."""

    def __init__(self, make, workspace):
        self.make, self.workspace, self.started = make, workspace, []

    def node(self, name, serve=serve_http, **kwargs):
        self.started.append(HttpNode(self.workspace, name, serve, **kwargs))
        return self.started[-1]

    def nginx(self, name, address, **kwargs):
        self.started.append(NginxNode(self.workspace, name, address, **kwargs))
        return self.started[-1]

    def router(self, nodes, routes=ROUTE, http="", listener="", tls="plain", extra="", **kwargs):
        text = '[listener.http]\nprotocol = "http"\nbind = ["127.0.0.1:0"]\ntls = "%s"\n%s\n' % (
            tls, listener)
        text += "[http]\n%s\n%s\n%s" % (http, routes, extra)
        router = self.make.router(nodes, listeners={}, extra=text, **kwargs)
        router.http_tls = tls
        return router

    @staticmethod
    def client(router, source=None, tls=None, **kwargs):
        secure = tls if tls is not None else router.http_tls == "implicit"
        return HttpClient(router.connect("http", source),
                          router.tls_context() if secure else None, **kwargs)

    def close(self):
        for thing in reversed(self.started):
            thing.close()


NGINX_CONF = """
daemon off;
worker_processes 1;
error_log {dir}/error.log info;
pid {dir}/pid;
{user}
events {{ worker_connections 512; }}
http {{
  log_format all '$http_host $proxy_protocol_addr $request $status $http_x_forwarded_for $remote_user';
  access_log {dir}/access.log all;
  client_body_temp_path {dir}/tmp;
  client_max_body_size 0;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  sendfile on;
  server {{
    listen {address}:{tls_port} ssl {proxy};
    listen {address}:{plain_port} {proxy};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    root {dir}/www;
    {auth}
    add_header X-Node {name} always;
    location / {{
      dav_methods PUT DELETE MKCOL COPY MOVE;
      create_full_put_path on;
      dav_access user:rw group:r all:r;
    }}
  }}
}}
"""


class NginxNode:
    """A real nginx with WebDAV, on an address of its own. ports: (plain, TLS); certificate: what
    certificate() returned; users: with passwords, who may log in; without, nobody has to."""

    def __init__(self, workspace, name, address, proxy=True, ports=None, certificate=None,
                 users=None):
        self.name, self.address, self.proxy = name, address, proxy
        self.dir = workspace.mkdir(name)
        for sub in ("www", "tmp"):
            os.mkdir(os.path.join(self.dir, sub))
            workspace.own(os.path.join(self.dir, sub))
        self.cert, self.key, self.pin = certificate or workspace.certificate(name, [name + ".test"])
        self.plain_port, self.tls_port = ports or (free_port(address), free_port(address))
        auth = ""
        if users:
            auth = 'auth_basic "mail";\n    auth_basic_user_file %s;' % workspace.write(
                name + "/htpasswd", "".join("%s:{PLAIN}%s\n" % pair for pair in users.items()))
        conf = workspace.write(name + "/nginx.conf", NGINX_CONF.format(
            dir=self.dir, address=address, name=name, cert=self.cert, key=self.key, auth=auth,
            plain_port=self.plain_port, tls_port=self.tls_port,
            proxy="proxy_protocol" if proxy else "",
            user="user %s %s;" % (workspace.user, workspace.group) if os.geteuid() == 0 else ""))
        self.log_path = os.path.join(self.dir, "access.log")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-p", self.dir, "-e",
                                         self.dir + "/error.log"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(self._listening)

    def _listening(self):
        if self.process.poll() is not None:
            raise RuntimeError("nginx: " + self.process.stderr.read().decode())
        with contextlib.suppress(OSError), socket.create_connection(
                (self.address, self.tls_port), 1):
            return True
        return False

    def put(self, path, data):
        full = os.path.join(self.dir, "www", path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
        os.chmod(full, 0o644)

    def log(self):
        with contextlib.suppress(OSError), open(self.log_path, encoding="utf-8") as f:
            return f.read()
        return ""

    def toml(self, tls="implicit", extra=""):
        return harness.destination_toml(
            self.name, self.address, self.tls_port if tls == "implicit" else self.plain_port, tls,
            self.pin, "proxy" if self.proxy else "none", extra).replace(".imap]", ".http]")

    def close(self):
        harness.end_process(self.process)


@pytest.fixture
def http(make, workspace):
    things = HttpMake(make, workspace)
    yield things
    things.close()


@pytest.fixture
def two(http):
    """alice on node1, bob on node2."""
    nodes = [http.node("node1"), http.node("node2")]
    router = http.router(nodes)
    router.map({"alice": "node1", "bob": "node2"})
    return router, nodes


def refused(client, status):
    """The router's own answer, to the byte, and the end."""
    data = client.rest()
    reason = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
              405: "Method Not Allowed", 408: "Request Timeout", 417: "Expectation Failed",
              431: "Request Header Fields Too Large", 502: "Bad Gateway",
              503: "Service Unavailable", 504: "Gateway Timeout",
              505: "HTTP Version Not Supported"}[status]
    body = "%d %s" % (status, reason)
    more = {401: "WWW-Authenticate: Basic realm=\"Homing\", charset=\"UTF-8\"\r\n"
                 "WWW-Authenticate: Bearer\r\n", 503: "Retry-After: 5\r\n"}.get(status, "")
    wanted = ("HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
              "%sConnection: close\r\n\r\n%s" % (body, len(body), more, body)).encode()
    assert data == wanted, data


def nothing_reached(nodes):
    assert [node.everything() for node in nodes] == [[] for _ in nodes]


class AiohttpNode(threading.Thread):
    """A server written with another HTTP implementation: WebSocket echo, events, JSON."""

    def __init__(self, name):
        from aiohttp import web
        super().__init__(daemon=True)
        self.name_, self.web, self.port, self.ready = name, web, None, threading.Event()
        self.loop, self.stopped = asyncio.new_event_loop(), None

    async def echo(self, request):
        socket_ = self.web.WebSocketResponse()
        await socket_.prepare(request)
        await socket_.send_str(self.name_)
        async for message in socket_:
            if message.type.name == "TEXT":
                await socket_.send_str(message.data)
            elif message.type.name == "BINARY":
                await socket_.send_bytes(message.data)
        return socket_

    async def events(self, request):
        response = self.web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for i in range(5):
            await response.write(b"data: %s %d\n\n" % (self.name_.encode(), i))
            await asyncio.sleep(0.05)
        return response

    async def json(self, request):
        data = await request.json() if request.method == "POST" else None
        return self.web.json_response({"node": self.name_, "got": data})

    async def main(self):
        app = self.web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self.echo)
        app.router.add_get("/events", self.events)
        app.router.add_route("*", "/api", self.json)
        runner = self.web.AppRunner(app)
        await runner.setup()
        site = self.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self.stopped = asyncio.Event()
        self.ready.set()
        await self.stopped.wait()
        await runner.cleanup()

    def run(self):
        self.loop.run_until_complete(self.main())
        self.loop.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.join(PATIENCE)
