# SPDX-License-Identifier: Apache-2.0
"""Many IMAP clients that append mail, and nodes that keep it, in one asyncio loop: every message has a
number, every acknowledgement says which node gave it."""

import asyncio
import base64
import contextlib
import random

import harness


class MailNode:
    """A plain IMAP node that knows LOGIN, AUTHENTICATE PLAIN, APPEND, NOOP and LOGOUT."""

    def __init__(self, name):
        self.name, self.port, self.server = name, None, None
        self.mail, self.logins, self.live = {}, [], 0 # account: set of message numbers

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        self.port = self.server.sockets[0].getsockname()[1]

    def toml(self):
        return harness.destination_toml(self.name, "127.0.0.1", self.port, "plain", None, "none")

    async def stop(self):
        self.server.close()

    async def serve(self, reader, writer):
        self.live += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await self.session(reader, writer)
        finally:
            self.live -= 1
            writer.close()

    async def session(self, reader, writer):
        writer.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready\r\n")
        account = None
        while True:
            words = (await reader.readuntil(b"\n")).decode().split()
            tag, command = words[0], words[1].upper()
            if command == "AUTHENTICATE":
                account = base64.b64decode(words[3]).split(b"\0")[1].decode()
                self.logins.append(account)
            elif command == "APPEND":
                size = int(words[-1].strip("{}"))
                writer.write(b"+ go\r\n")
                text = await reader.readexactly(size + 2)
                number = int(text.split(b"\r\n", 1)[0].split(b" ")[1])
                # Kept first, then acknowledged, as a node does it.
                self.mail.setdefault(account, set()).add(number)
                await asyncio.sleep(random.random() * 0.01)
            writer.write(("%s OK by %s\r\n" % (tag, self.name)).encode())
            await writer.drain()
            if command == "LOGOUT":
                return


class MailClient:
    """Appends one message after the other until told to stop; comes again when it is cut."""

    def __init__(self, account, port):
        self.account, self.port = account, port
        self.number = 0
        self.acked = []     # (number, node), in order
        self.unknown = []   # numbers that were under way when the connection ended
        self.cuts = self.refused = 0
        self.late_ok = []   # what came after the cut that looks like an acknowledgement
        self.stop = False

    async def run(self):
        while not self.stop:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                await self.session(reader, writer)
            except (OSError, EOFError):
                self.cuts += 1
            finally:
                writer.close()

    async def reply(self, reader, tag):
        while True:
            try:
                line = (await reader.readuntil(b"\n")).decode()
            except asyncio.IncompleteReadError as e:
                raise EOFError(e.partial) from e
            if line.startswith((tag + " ", "+")):
                return line

    async def session(self, reader, writer):
        await self.reply(reader, "*")
        writer.write(("l LOGIN %s pw\r\n" % self.account).encode())
        if not (await self.reply(reader, "l")).startswith("l OK"):
            self.refused += 1
            await asyncio.sleep(0.05)
            return
        while not self.stop:
            await self.append(reader, writer)
            await asyncio.sleep(random.random() * 0.2)
        writer.write(b"z LOGOUT\r\n")
        await self.reply(reader, "z")

    async def append(self, reader, writer):
        self.number += 1
        number = self.number
        body = b"Number: %d\r\n" % number + b"x" * random.randrange(2000)
        try:
            writer.write(b"m APPEND INBOX {%d}\r\n" % len(body))
            line = await self.reply(reader, "m")
            if not line.startswith("+"):
                raise EOFError(line)
            writer.write(body + b"\r\n")
            line = await self.reply(reader, "m")
        except (OSError, EOFError) as e:
            self.unknown.append(number)
            if b"m OK" in (e.args[0] if e.args and isinstance(e.args[0], bytes) else b""):
                self.late_ok.append(number)
            raise
        assert line.startswith("m OK by "), line
        self.acked.append((number, line.split()[3]))
