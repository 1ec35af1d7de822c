# SPDX-License-Identifier: Apache-2.0
"""Many bytes both ways at once, between a client and its node, after a line each; all compared."""

import hashlib

import harness
from harness import node_login, wait_until

BLOCK = bytes(range(256)) * 1024


class Bulk:
    def __init__(self, size):
        self.size, self.up = size, None
        self.expected = hashlib.sha256(BLOCK * (size // len(BLOCK))).hexdigest()

    def exchange(self, peer):
        """Of either side. What it has read too early belongs to it."""
        early, peer.buffer = peer.buffer, b""
        return harness.exchange(peer.sock, BLOCK, self.size, early)

    def serve(self, conn):
        """The node."""
        if node_login(conn) is None:
            return
        assert conn.line() == "start"
        self.up = self.exchange(conn)
        conn.line()

    def start(self, client):
        """The client, which is logged in; until all is there on both sides."""
        client.send("start\n")
        assert self.exchange(client) == self.expected
        wait_until(lambda: self.up == self.expected)

    def run(self, client):
        """To the end of the session."""
        self.start(client)
        client.send("end\n")
        client.eof()
