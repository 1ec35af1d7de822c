# SPDX-License-Identifier: Apache-2.0
"""Nodes in a configuration, and IMAP nodes whose behaviour a test writes as a function."""

import base64
import contextlib
import socket
import ssl
import struct
import threading

from .waiting import PATIENCE


def destination_toml(name, host, port, tls, pin=None, forwarding="proxy", extra="", ports=None):
    """port and tls are the IMAP leg's; with ports, both are tables by protocol."""
    legs = {p: (ports[p], tls[p]) for p in ports} if ports else {"imap": (port, tls)}
    lines = ["[destination.%s]" % name, 'host = "%s"' % host,
             'tls_server_name = "%s.test"' % name, 'forwarding = "%s"' % forwarding]
    if pin:
        lines.append('tls_pinned_cert_sha256 = "%s"' % pin)
    if any(leg[1] == "plain" for leg in legs.values()):
        lines.append("allow_plaintext_auth = true")
    if extra:
        lines.append(extra)
    for protocol, leg in legs.items():
        lines += ["[destination.%s.protocol.%s]" % (name, protocol), "port = %d" % leg[0],
                  'tls = "%s"' % leg[1]]
    return "\n".join(lines) + "\n"


class ScriptedNode:
    """An IMAP node whose behaviour a test writes as a function. serve(conn) runs in a thread per
    connection; conn has line(), send(), starttls(), and what the PROXY header said."""

    def __init__(self, workspace, name, serve, tls="implicit", proxy=False, address="127.0.0.1"):
        self.name, self.address, self.tls, self.proxy = name, address, tls, proxy
        self.serve = serve
        self.cert, self.key, self.pin = workspace.certificate(name, [name + ".test"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.cert, self.key)
        self.listener = socket.create_server((address, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.connections, self.errors, self.lock = [], [], threading.Lock()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        conn = NodeConnection(self, sock)
        with self.lock:
            self.connections.append(conn)
        try:
            if self.proxy:
                conn.read_proxy()
            if self.tls == "implicit":
                conn.starttls()
            self.serve(conn)
        except (OSError, EOFError, ssl.SSLError) as e:
            conn.error = e
        finally:
            conn.close()

    def toml(self, forwarding=None, extra=""):
        if forwarding is None:
            forwarding = "proxy" if self.proxy else "none"
        return destination_toml(self.name, self.address, self.port, self.tls, self.pin, forwarding,
                                extra)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for conn in self.connections:
                conn.close()


class NodeConnection:
    def __init__(self, node, sock):
        self.node, self.sock = node, sock
        self.buffer, self.received, self.error = b"", b"", None
        self.proxy_source = self.proxy_destination = self.proxy_tlvs = None
        self.closed, self.peer = threading.Event(), None
        with contextlib.suppress(OSError): # reset before it was looked at
            self.peer = sock.getpeername()[0]
        sock.settimeout(PATIENCE)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def read_proxy(self):
        head = self._exactly(15)
        if head == b"PROXY UNKNOWN\r\n":
            self.proxy_source = "unknown"
            return
        head += self._exactly(1)
        assert head[:12] == b"\r\n\r\n\0\r\nQUIT\n" and head[12] == 0x21, head
        body = self._exactly(struct.unpack(">H", head[14:16])[0])
        assert head[13] == 0x11, head
        source, destination = (socket.inet_ntoa(body[i:i + 4]) for i in (0, 4))
        ports = struct.unpack(">HH", body[8:12])
        self.proxy_source = (source, ports[0])
        self.proxy_destination = (destination, ports[1])
        self.proxy_tlvs = body[12:]

    def starttls(self):
        self.sock = self.node.context.wrap_socket(self.sock, server_side=True)

    def read(self, size=65536):
        data = self.sock.recv(size)
        self.received += data
        return data

    def line(self):
        while b"\n" not in self.buffer:
            data = self.read()
            if not data:
                raise EOFError
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()
        self.closed.set()


def node_login(conn, accept=lambda user, password: password != "wrong",
               capabilities="IMAP4rev1 SASL-IR", refusal="NO [AUTHENTICATIONFAILED] No such luck."):
    """Greeting and AUTHENTICATE as a well-behaved node does it. Returns the user or None."""
    conn.send("* OK [CAPABILITY %s] scripted\r\n" % capabilities)
    while True:
        words = conn.line().split(" ")
        tag, command = words[0], words[1].upper()
        if command == "CAPABILITY":
            conn.send("* CAPABILITY %s\r\n%s OK done\r\n" % (capabilities, tag))
        elif command == "ID":
            conn.send("* ID NIL\r\n%s OK done\r\n" % tag)
        elif command == "STARTTLS":
            conn.send("%s OK go\r\n" % tag)
            conn.starttls()
        elif command == "AUTHENTICATE":
            conn.tag = tag
            if len(words) < 4:
                conn.send("+ \r\n")
                words.append(conn.line())
            _, user, password = base64.b64decode(words[3]).decode().split("\0")
            conn.user, conn.password = user, password
            if accept(user, password):
                conn.send("%s OK [CAPABILITY IMAP4rev1] welcome %s\r\n" % (tag, user))
                return user
            conn.send("%s %s\r\n" % (tag, refusal))
            return None
        else:
            conn.send("%s BAD what\r\n" % tag)


def node_imap(conn):
    """A node on which a session can live: NOOP, LOGOUT, and BYTES n for bulk."""
    if node_login(conn) is None:
        conn.read()
        return
    while True:
        words = conn.line().split(" ")
        if words[1].upper() == "LOGOUT":
            conn.send("* BYE\r\n%s OK bye\r\n" % words[0])
            return
        conn.send("%s OK %s\r\n" % (words[0], words[1]))
