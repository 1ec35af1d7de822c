# SPDX-License-Identifier: Apache-2.0
"""Many clients that append mail by IMAP or submit it, and nodes that keep it, in one asyncio loop: every
message has a number, every acknowledgement says which node gave it."""

import asyncio
import base64
import contextlib
import random
import ssl

import harness


class MailNode:
    """A node of IMAP (LOGIN, AUTHENTICATE PLAIN, APPEND, NOOP, LOGOUT) and submission; secure: a node
    of TLS, whose certificate and key it has."""

    def __init__(self, name, secure=None):
        self.name, self.ports, self.servers, self.secure = name, {}, [], secure
        self.context = None
        if secure:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*secure[:2])
        self.mail, self.logins, self.live = {}, [], 0 # account: set of message numbers

    async def start(self):
        for protocol, session in (("imap", self.imap), ("submission", self.submission)):
            server = await asyncio.start_server(
                lambda reader, writer, session=session: self.serve(session, reader, writer),
                "127.0.0.1", 0, backlog=2048, ssl=self.context)
            self.servers.append(server)
            self.ports[protocol] = server.sockets[0].getsockname()[1]

    def toml(self):
        tls = dict.fromkeys(self.ports, "implicit" if self.secure else "plain")
        return harness.destination_toml(self.name, "127.0.0.1", None, tls,
                                        self.secure[2] if self.secure else None, "none", "", self.ports)

    async def stop(self):
        for server in self.servers:
            server.close()

    async def serve(self, session, reader, writer):
        self.live += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await session(reader, writer)
        finally:
            self.live -= 1
            writer.close()

    async def keep(self, account, text):
        """Kept first, then acknowledged, as a node does it."""
        number = int(text.split(b"\r\n", 1)[0].split(b" ")[1])
        self.mail.setdefault(account, set()).add(number)
        await asyncio.sleep(random.random() * 0.01)

    async def submission(self, reader, writer):
        writer.write(b"220 ready\r\n")
        account = None
        while True:
            words = (await reader.readuntil(b"\n")).decode().split()
            answer = "250 OK"
            if words[0] == "EHLO":
                answer = "250-hello\r\n250 AUTH PLAIN"
            elif words[0] == "AUTH":
                account = base64.b64decode(words[2]).split(b"\0")[1].decode()
                self.logins.append(account)
                answer = "235 in"
            elif words[0] == "DATA":
                writer.write(b"354 go\r\n")
                await self.keep(account, await reader.readuntil(b"\r\n.\r\n"))
                answer = "250 OK by " + self.name
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()
            if words[0] == "QUIT":
                return

    async def imap(self, reader, writer):
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
                await self.keep(account, await reader.readexactly(size + 2))
            writer.write(("%s OK by %s\r\n" % (tag, self.name)).encode())
            await writer.drain()
            if command == "LOGOUT":
                return


class MailClient:
    """Appends one message after the other until told to stop; comes again when it is cut."""

    def __init__(self, account, port, context=None):
        self.account, self.port, self.context = account, port, context
        self.number = 0
        self.acked = []     # (number, node), in order
        self.unknown = []   # numbers that were under way when the connection ended
        self.cuts = self.refused = 0
        self.late_ok = []   # what came after the cut that looks like an acknowledgement
        self.stop = False

    async def run(self):
        while not self.stop:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.context,
                    server_hostname="localhost" if self.context else None)
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
        if not await self.log_in(reader, writer):
            self.refused += 1
            await asyncio.sleep(0.05)
            return
        while not self.stop:
            await self.append(reader, writer)
            await asyncio.sleep(random.random() * 0.2)
        await self.log_out(reader, writer)

    async def log_in(self, reader, writer):
        await self.reply(reader, "*")
        writer.write(("l LOGIN %s pw\r\n" % self.account).encode())
        return (await self.reply(reader, "l")).startswith("l OK")

    async def log_out(self, reader, writer):
        writer.write(b"z LOGOUT\r\n")
        await self.reply(reader, "z")

    async def append(self, reader, writer):
        self.number += 1
        number = self.number
        body = b"Number: %d\r\n" % number + b"x" * random.randrange(2000)
        try:
            line = await self.hand_over(reader, writer, body)
        except (OSError, EOFError) as e:
            self.unknown.append(number)
            if self.done.encode() in (e.args[0] if e.args and isinstance(e.args[0], bytes) else b""):
                self.late_ok.append(number)
            raise
        assert line.startswith(self.done + " by "), line
        self.acked.append((number, line.split()[3]))

    done = "m OK"

    async def hand_over(self, reader, writer, body):
        writer.write(b"m APPEND INBOX {%d}\r\n" % len(body))
        line = await self.reply(reader, "m")
        if not line.startswith("+"):
            raise EOFError(line)
        writer.write(body + b"\r\n")
        return await self.reply(reader, "m")


class SubmitClient(MailClient):
    """Submits one message after the other."""

    done = "250 OK"

    async def say(self, reader, writer, text):
        """The last line of the answer; of a cut one, what there is of it."""
        if text:
            writer.write(text + b"\r\n")
        while True:
            try:
                line = (await reader.readuntil(b"\n")).decode()
            except asyncio.IncompleteReadError as e:
                raise EOFError(e.partial) from e
            if line[3] == " ":
                return line

    async def log_in(self, reader, writer):
        await self.say(reader, writer, b"")
        await self.say(reader, writer, b"EHLO client.test")
        secret = base64.b64encode(b"\0%s\0pw" % self.account.encode())
        return (await self.say(reader, writer, b"AUTH PLAIN " + secret)).startswith("235")

    async def log_out(self, reader, writer):
        await self.say(reader, writer, b"QUIT")

    async def hand_over(self, reader, writer, body):
        for text in (b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>", b"DATA"):
            line = await self.say(reader, writer, text)
            if line[0] not in "23" or line.startswith(self.done + " by"):
                raise EOFError(line)
        return await self.say(reader, writer, body + b"\r\n.")
