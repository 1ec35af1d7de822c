# SPDX-License-Identifier: Apache-2.0
"""Clients: line by line, and of many bytes both ways."""

import contextlib
import hashlib
import select
import socket
import ssl
import struct
import time

from .waiting import PATIENCE


class Client:
    """A line client that sees every byte."""

    def __init__(self, sock, context=None):
        self.sock, self.context, self.buffer = sock, context, b""
        sock.settimeout(PATIENCE)
        if context:
            self.starttls()

    def starttls(self, context=None):
        self.sock = (context or self.context).wrap_socket(self.sock, server_hostname="localhost")

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def expect(self, text):
        line = self.line()
        assert line == text, "%r is not %r" % (line, text)

    def command(self, text):
        """Sends a tagged command; returns the lines up to its tagged reply."""
        self.send(text + "\r\n")
        tag, lines = text.split(" ", 1)[0], []
        while True:
            lines.append(self.line())
            if lines[-1].startswith(tag + " "):
                return lines

    def eof(self):
        """Reads to the end; returns what came."""
        data = self.buffer
        self.buffer = b""
        while True:
            try:
                piece = self.sock.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                return data
            if not piece:
                return data
            data += piece

    def readable(self, seconds):
        return bool(select.select([self.sock], [], [], seconds)[0])

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def exchange(sock, block, size, received=b""):
    """Sends size bytes of repeated block and receives size bytes at the same time, in one thread
    (an SSLSocket must not be used by two). Returns the digest of what came, received included."""
    digest, got, sent = hashlib.sha256(received), len(received), 0
    view, end = memoryview(block), time.monotonic() + 10 * PATIENCE
    sock.setblocking(False)
    while (got < size or sent < size) and time.monotonic() < end:
        moved = False
        if sent < size:
            at = sent % len(block)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent += sock.send(view[at:at + min(len(block) - at, size - sent)])
                moved = True
        if got < size:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                data = sock.recv(1 << 18)
                assert data, "end after %d of %d bytes, %d sent" % (got, size, sent)
                digest.update(data)
                got += len(data)
                moved = True
        if not moved:
            select.select([sock] if got < size else [], [sock] if sent < size else [], [], 1)
    sock.settimeout(PATIENCE)
    assert got == sent == size, (got, sent)
    return digest.hexdigest()
