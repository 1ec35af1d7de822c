# SPDX-License-Identifier: Apache-2.0
"""TLS peers that say more than Python's: ends whose records a test has in its hands, programs of other
stacks and openssl's two, which change keys, and a wire that keeps what passes."""

import contextlib
import ctypes
import os
import select
import socket
import ssl
import struct
import subprocess
import threading

from harness import PATIENCE


class Records:
    """A TLS end over a socket: what it seals is handed out, what it is given is opened."""

    def __init__(self, sock, context, server=False):
        self.sock, self.into, self.out = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF # an end without close_notify is none
        self.tls = context.wrap_bio(self.into, self.out, server_side=server,
                                    server_hostname=None if server else "localhost")
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        while not self._try(self.tls.do_handshake):
            self._fill()
        self._send()

    def _try(self, what):
        """False: it wants to read."""
        try:
            what()
        except ssl.SSLWantReadError:
            self._send()
            return False
        return True

    def _send(self):
        self.sock.sendall(self.out.read())

    def _fill(self):
        data = self.sock.recv(65536)
        if data:
            self.into.write(data)
        else:
            self.into.write_eof()

    def seal(self, text):
        """The records of a text."""
        self.tls.write(text if isinstance(text, bytes) else text.encode())
        return self.out.read()

    def send(self, text):
        self.sock.sendall(self.seal(text))

    def end(self):
        """close_notify, and nothing after it; reading goes on."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._send()

    def read(self):
        """Some bytes; b"" behind close_notify; ssl.SSLError if it ends otherwise."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._fill()
            except ssl.SSLZeroReturnError:
                return b""

    def line(self):
        while b"\n" not in self.buffer:
            data = self.read()
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Program:
    """A TLS peer that is a program of the command line, to which a test speaks. A line to openssl
    s_client or s_server that is K or k changes its keys, and K asks for the router's as well. With
    -msg in its arguments it tells what messages pass."""

    def __init__(self, *command):
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=dict(os.environ, OPENSSL_CONF="/dev/null"))
        self.heard = bytearray() # behind what was waited for last

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait(self, mark):
        """What it says up to a mark and with it, from where the last wait ended."""
        mark, known = mark.encode(), 0
        while (at := self.heard.find(mark, max(0, known - len(mark)))) < 0:
            known = len(self.heard)
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], self.heard[-2000:]
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.heard[-2000:]
            self.heard += data
        said = self.heard[:at + len(mark)]
        del self.heard[:at + len(mark)]
        return said.decode(errors="replace")

    def change_keys(self, command):
        """A command is one only at the front of what it reads; so the message is waited for."""
        self.say(command + "\n")
        self.wait(">>> TLS 1.3, Handshake [length 0005], KeyUpdate")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Changing:
    """An end of TLS 1.3 on a socket, of OpenSSL by hand: Python's own cannot change its keys. With a
    certificate it is the server's."""

    LIB = ctypes.CDLL("libssl.so.3")
    CALLBACK = ctypes.CFUNCTYPE(None, *[ctypes.c_int] * 3, ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_void_p] * 2)
    HANDSHAKE, KEY_UPDATE = 22, 24

    for name, result in (("TLS_method", ctypes.c_void_p), ("SSL_CTX_new", ctypes.c_void_p),
                         ("SSL_new", ctypes.c_void_p), ("SSL_CTX_ctrl", ctypes.c_long)):
        getattr(LIB, name).restype = result

    def __init__(self, sock, certificate=None):
        self.sock, self.updates = sock, 0 # updates: the peer's so far
        sock.settimeout(None) # SSL_read() waits in the kernel, and not for ever:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(PATIENCE), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heard = self.CALLBACK(self._on_message)
        self.context = ctypes.c_void_p(self.LIB.SSL_CTX_new(ctypes.c_void_p(self.LIB.TLS_method())))
        self.LIB.SSL_CTX_ctrl(self.context, 123, ctypes.c_long(0x304), None) # SSL_CTX_set_min_proto_version()
        self.LIB.SSL_CTX_set_msg_callback(self.context, self._heard)
        for load, path in zip((self.LIB.SSL_CTX_use_certificate_file, self.LIB.SSL_CTX_use_PrivateKey_file),
                              certificate or ()):
            assert load(self.context, str(path).encode(), 1) == 1
        self.tls = ctypes.c_void_p(self.LIB.SSL_new(self.context))
        assert self.LIB.SSL_set_fd(self.tls, sock.fileno()) == 1
        assert (self.LIB.SSL_accept if certificate else self.LIB.SSL_connect)(self.tls) == 1

    def _on_message(self, is_write, _version, kind, data, size, *_):
        if not is_write and kind == self.HANDSHAKE and size and ctypes.string_at(data, 1)[0] == self.KEY_UPDATE:
            self.updates += 1

    def read(self, size=65536):
        """Some bytes; b"" if there are no more, for whatever reason."""
        into = ctypes.create_string_buffer(size)
        count = self.LIB.SSL_read(self.tls, into, size)
        return into.raw[:max(count, 0)]

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        assert self.LIB.SSL_write(self.tls, data, len(data)) == len(data)

    def change_keys(self, ask):
        """The KeyUpdate is sent at once. ask: for the peer's as well."""
        assert self.LIB.SSL_key_update(self.tls, int(ask)) == 1
        assert self.LIB.SSL_do_handshake(self.tls) == 1

    def hear_update(self, so_far):
        """Waits for one more of the peer's, before which no data comes."""
        self.sock.setblocking(False)
        while self.updates <= so_far:
            assert select.select([self.sock], [], [], PATIENCE)[0], "no KeyUpdate"
            count = self.LIB.SSL_peek(self.tls, ctypes.create_string_buffer(1), 1)
            assert (count, self.LIB.SSL_get_error(self.tls, count)) == (-1, 2) # SSL_ERROR_WANT_READ
        self.sock.setblocking(True)

    def close(self):
        self.LIB.SSL_free(self.tls)
        self.LIB.SSL_CTX_free(self.context)
        self.LIB.ERR_clear_error() # the thread's: Python would take it for one of its own connections
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Wire:
    """Takes one connection, passes it on, and keeps what comes back from there."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.to, self.down = self.listener.getsockname()[1], port, b""
        self.socks = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            self.socks.append(self.listener.accept()[0])
            self.socks.append(socket.create_connection(("127.0.0.1", self.to)))
            back = threading.Thread(target=self._pass, args=(1, 0), daemon=True)
            back.start()
            self._pass(0, 1)
            back.join()

    def _pass(self, source, sink):
        with contextlib.suppress(OSError):
            while data := self.socks[source].recv(65536):
                if source == 1:
                    self.down += data
                self.socks[sink].sendall(data)
            self.socks[sink].shutdown(socket.SHUT_WR)

    def records(self):
        """(type, length) of the records that came back so far."""
        found, data = [], self.down
        while len(data) >= 5:
            size = int.from_bytes(data[3:5], "big")
            found.append((data[0], size))
            data = data[5 + size:]
        return found

    def close(self):
        for sock in (self.listener, *self.socks):
            with contextlib.suppress(OSError): # also where a thread waits for more
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
