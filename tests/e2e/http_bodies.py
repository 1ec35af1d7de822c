# SPDX-License-Identifier: Apache-2.0
"""Bodies of HTTP messages of any length, and the memory that a router has while they pass."""

import hashlib
import os
import threading

import harness
from harness import rss_kib

LONG = os.environ.get("HOMING_LONG") == "1"
BULK = 10 << 30 if LONG else 256 << 20
BLOCK = bytes(range(251)) * 1044  # 262044 bytes
GROWTH_KIB = 8192 if "-san" not in harness.BUILD else 65536
# AddressSanitizer keeps freed memory for a while, which would be all that is measured.
MEASURED = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


def digest_of(size):
    digest, whole = hashlib.sha256(), size // len(BLOCK)
    for _ in range(whole):
        digest.update(BLOCK)
    digest.update(BLOCK[:size - whole * len(BLOCK)])
    return digest.hexdigest()


def send_body(send, size, chunked):
    sent = 0
    while sent < size:
        piece = BLOCK[:size - sent]
        send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        sent += len(piece)
    if chunked:
        send(b"0\r\n\r\n")


class Watch:
    """The most memory the router had while it was watched."""

    def __init__(self, router):
        self.pid, self.most, self.stop = router.process.pid, 0, threading.Event()
        self.first = rss_kib(self.pid)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.05):
            self.most = max(self.most, rss_kib(self.pid))

    def grown(self):
        self.stop.set()
        self.thread.join()
        return max(self.most, rss_kib(self.pid)) - self.first


def take_plain(wire, head):
    digest, left = hashlib.sha256(wire.buffer), int(head["Content-Length"]) - len(wire.buffer)
    wire.buffer = b""
    while left:
        data = wire.recv(min(left, 1 << 20))
        assert data
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def take_chunked(wire, head):
    assert head["Transfer-Encoding"] == "chunked"
    digest = hashlib.sha256()
    while True:
        left = int(wire.until(b"\r\n"), 16)
        if not left:
            assert wire.until(b"\r\n") == b"\r\n"
            return digest.hexdigest()
        while left:
            data = wire.buffer[:left] or wire.recv(min(left, 1 << 20))
            assert data
            wire.buffer = wire.buffer[len(data):]
            digest.update(data)
            left -= len(data)
        assert wire.exactly(2) == b"\r\n"


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
