# SPDX-License-Identifier: Apache-2.0
"""The admin API byte by byte."""

import hashlib
import socket
import ssl

from harness import PATIENCE, TOKEN


def router_socket(router):
    return socket.create_connection(("127.0.0.1", router.ports["admin"]), 10)


AUTH = b"Host: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"


def tls(router, sock=None):
    sock = sock or router_socket(router)
    sock.settimeout(PATIENCE)
    return router.tls_context().wrap_socket(sock, server_hostname="localhost")


def drain(sock):
    """All bytes up to the end of the connection, however it ends; (bytes, ended orderly)."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except (ConnectionResetError, ssl.SSLError):
        return data, False
    return data, True


def raw(router, data):
    """One connection, these bytes, the whole answer: (status, head as text, body)."""
    with tls(router) as sock:
        sock.sendall(data)
        answer, orderly = drain(sock)
    assert orderly
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head.decode(), body


def request(router, method, target, head=AUTH):
    return raw(router, ("%s %s HTTP/1.1\r\n" % (method, target)).encode() + head + b"\r\n")


def sha(account):
    return hashlib.sha256(account.encode()).hexdigest()[:8]
