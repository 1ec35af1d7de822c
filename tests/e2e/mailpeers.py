# SPDX-License-Identifier: Apache-2.0
"""The node's side of one mail protocol, whose words a test chooses."""

import base64
import contextlib

import harness
from mailnodes import PROTOCOLS, Refused, connect


def protocol_toml(node, protocol, forwarding="none"):
    return harness.destination_toml(node.name, node.address, None, {protocol: "implicit"}, node.pin,
                                    forwarding, "", {protocol: node.port})


def listeners(protocols=PROTOCOLS):
    return {p: ("implicit", "", p) for p in protocols}


class Peer:
    """One protocol's words on the node's side."""

    def __init__(self, conn, protocol, offers, lines):
        self.conn, self.protocol, self.lines = conn, protocol, lines
        self.offers = offers
        self.tag = ""

    def line(self):
        line = self.conn.line()
        self.lines.append(line)
        return line

    def say(self, text):
        self.conn.send(text + "\r\n")

    def prompt(self, text=""):
        self.say({"imap": "+ %s", "pop3": "+ %s", "submission": "334 %s",
                  "managesieve": '"%s"'}[self.protocol] % text)
        return self.string(self.line())

    def string(self, text):
        """A ManageSieve string may be a literal."""
        if self.protocol != "managesieve":
            return text
        if text.endswith("+}"):
            size = int(text[text.rindex("{") + 1:-2])
            while len(self.conn.buffer) < size + 2:
                self.conn.buffer += self.conn.read()
            data, self.conn.buffer = self.conn.buffer[:size], self.conn.buffer[size + 2:]
            return data.decode()
        return text.strip('"')

    def greet(self):
        offers = self.offers
        self.say({"imap": "* OK [CAPABILITY IMAP4rev1%s] hi" % "".join(
                      " " + x for x in offers.split()),
                  "pop3": "+OK hi", "submission": "220 hi",
                  "managesieve": '"SASL" "%s"\r\nOK "hi"' % offers}[self.protocol])

    def done(self, user, password):
        good = password != "wrong"
        self.conn.login = (user, password)
        self.say({"imap": self.tag + (" OK in" if good else " NO out"),
                  "pop3": "+OK in" if good else "-ERR out",
                  "submission": "235 in" if good else "535 out",
                  "managesieve": "OK" if good else "NO"}[self.protocol])
        if good:
            self.conn.read()

    def login_literals(self, words):
        """IMAP LOGIN; returns user and password."""
        out, rest = [], words[2:]
        while True:
            size = int(rest[-1].strip("{+}"))
            if not rest[-1].endswith("+}"):
                self.say("+ go")
            while len(self.conn.buffer) < size:
                self.conn.buffer += self.conn.read()
            out.append(self.conn.buffer[:size].decode())
            self.conn.buffer = self.conn.buffer[size:]
            rest = self.line().split(" ")
            if len(out) == 2:
                return out

    def serve(self):
        self.greet()
        user = None
        while True:
            line = self.line()
            words = line.split(" ")
            if self.protocol == "imap":
                self.tag = words[0]
            verb = words[1 if self.protocol == "imap" else 0].upper()
            if verb == "CAPA":
                self.say("+OK\r\n%s\r\n." % self.offers)
            elif verb == "EHLO":
                self.say("250-node\r\n250 %s" % self.offers)
            elif verb == "USER":
                user = words[1]
                self.say("+OK")
            elif verb == "PASS":
                return self.done(user, line[5:])
            elif verb == "LOGIN":
                return self.done(*self.login_literals(words))
            elif verb in ("AUTH", "AUTHENTICATE"):
                return self.auth(words[2 if self.protocol == "imap" else 1:])

    def auth(self, words):
        mech = words[0].strip('"')
        self.conn.mech = mech
        decode = lambda text: base64.b64decode(text).decode() # noqa: E731
        if mech == "LOGIN":
            assert len(words) == 1
            user = decode(self.prompt("VXNlcm5hbWU6"))
            return self.done(user, decode(self.prompt("UGFzc3dvcmQ6")))
        text = self.string(words[1]) if len(words) > 1 else self.prompt()
        message = decode(text)
        if mech == "PLAIN":
            return self.done(*message.split("\0")[1:])
        return self.done(mech, message.split("Bearer ")[1].rstrip("\1"))


class Nodes:
    """A scripted node and a router for one protocol."""

    def __init__(self, make, protocol, offers, name="node1"):
        self.lines, self.conns, self.offers = [], [], offers

        def serve(conn):
            conn.login = conn.mech = None
            self.conns.append(conn)
            Peer(conn, protocol, self.offers, self.lines).serve()

        self.node = make.node(name, serve)
        self.router = make.router([protocol_toml(self.node, protocol)], default=name,
                                  listeners=listeners((protocol,)))
        self.protocol = protocol

    def attempt(self, mech, user, secret):
        client = connect(self.router, self.protocol, self.protocol, "implicit")
        with contextlib.closing(client):
            try:
                client.login(mech, user, secret)
            except Refused as e:
                return str(e)
        return None
