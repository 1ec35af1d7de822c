# SPDX-License-Identifier: Apache-2.0
"""Somebody on the wire: takes connections to a port, passes them on, keeps what passes, and cuts it or holds
it as a test says."""

import contextlib
import select
import socket
import struct
import threading

from harness import wait_until

CHANNEL, DATA = "channel", "data"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def unread(sock):
    """Bytes that the other end of a connection of this host has not read, by /proc/net/tcp."""
    def text(address):
        return "%08X:%04X" % (struct.unpack("<I", socket.inet_aton(address[0]))[0], address[1])
    ends = text(sock.getpeername()), text(sock.getsockname())
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if (words[1], words[2]) == ends:
                return int(words[4].split(":")[1], 16)
    return 0 # it is closed


def send_apart(sock, *pieces):
    """Each only after the one before it has been read."""
    for piece in pieces:
        if piece:
            sock.sendall(piece)
            wait_until(lambda: unread(sock) == 0, interval=0.001)


class Passing:
    """One connection, and what has passed on it either way."""

    def __init__(self, between, near):
        self.between, self.near = between, near
        self.far = socket.create_connection(("127.0.0.1", between.to))
        for sock in (self.near, self.far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.up, self.down = bytearray(), bytearray()
        self.over = threading.Event()

    @property
    def kind(self):
        """Of one to an agent's port, once there is something."""
        return None if not self.up else CHANNEL if self.up[0] == 22 else DATA

    def pump(self, upward):
        source, sink, kept = (self.near, self.far, self.up) if upward else (self.far, self.near, self.down)
        try:
            while data := self.read(source):
                kept += data
                self.between.on_bytes(self, upward, sink, data)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError): # reset, or closed here
            self.cut(reset)

    @staticmethod
    def read(source):
        """A close is none as long as another thread waits in recv(). ValueError: it is closed here."""
        while source.fileno() >= 0:
            poll = select.poll()
            poll.register(source, select.POLLIN)
            if poll.poll(20):
                return source.recv(65536)
        raise ValueError("closed")

    def run(self):
        back = threading.Thread(target=self.pump, args=(False,), daemon=True)
        back.start()
        self.pump(True)
        back.join()
        for sock in (self.near, self.far):
            sock.close()
        self.over.set()

    def cut(self, how=socket.socket.close):
        """Both ends at once, whoever waits for them here."""
        for sock in (self.near, self.far):
            with contextlib.suppress(OSError):
                if how is socket.socket.close:
                    sock.shutdown(socket.SHUT_RDWR)
                how(sock)


class Between:
    """on_bytes(passing, upward, sink, data), if it is given, sends what it likes to sink."""

    def __init__(self, to, on_bytes=None):
        self.to, self.passings, self.lock = to, [], threading.Lock()
        self.on_bytes = on_bytes or (lambda passing, upward, sink, data: sink.sendall(data))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                try:
                    passing = Passing(self, near)
                except OSError: # as if nobody listened
                    reset(near)
                    continue
                with self.lock:
                    self.passings.append(passing)
                threading.Thread(target=passing.run, daemon=True).start()

    def of_kind(self, kind):
        with self.lock:
            return [p for p in self.passings if p.kind == kind]

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            passings = list(self.passings)
        for passing in passings:
            passing.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Instead:
    """An agent as the router's file has it, behind such a port."""
    ports = {}

    def __init__(self, agent, port):
        self.port, self.pin = port, agent.pin
