# SPDX-License-Identifier: Apache-2.0
"""What the interactive protocols say, each in its own words, and a router with one of them."""

import base64

import harness
from mailnodes import connect

CREDENTIAL = base64.b64encode(b"\0alice\0pw").decode()
UNAVAILABLE = {
    "imap": ["a NO [UNAVAILABLE] Service temporarily unavailable.", "* BYE Try again later."],
    "pop3": ["-ERR [SYS/TEMP] Service temporarily unavailable."],
    "submission": ["421 4.3.0 router.test Service temporarily unavailable"],
    "managesieve": ['NO (TRYLATER) "Service temporarily unavailable."',
                    'BYE (TRYLATER) "Try again later."'],
}
VIOLATION = {"imap": "* BYE Protocol violation.", "pop3": "-ERR Protocol violation.",
             "submission": "421 4.7.0 router.test Protocol violation",
             "managesieve": 'BYE "Protocol violation."'}
TLS_COMMAND = {"imap": "a STARTTLS", "pop3": "STLS", "submission": "STARTTLS",
               "managesieve": "STARTTLS"}
NEXT_COMMAND = {"imap": "z NOOP", "pop3": "NOOP", "submission": "NOOP", "managesieve": "NOOP"}
LOGIN = {"imap": "a AUTHENTICATE PLAIN ", "pop3": "AUTH PLAIN ", "submission": "AUTH PLAIN ",
         "managesieve": 'AUTHENTICATE "PLAIN" '}


def login_line(protocol):
    credential = '"%s"' % CREDENTIAL if protocol == "managesieve" else CREDENTIAL
    return LOGIN[protocol] + credential


def node_toml(node, protocol, tls, name="node1", extra=""):
    return harness.destination_toml(name, node.address, None, {protocol: tls}, node.pin, "none", extra,
                                    {protocol: node.port})


def one_protocol(make, protocol, serve, tls="implicit", leg="implicit", more="", extra="",
                 destination=""):
    """A router with one listener of the protocol in front of one scripted node."""
    node = make.node("node1", serve, tls="implicit" if tls == "implicit" else "starttls")
    router = make.router([node_toml(node, protocol, tls, extra=destination)], default="node1",
                         listeners={"l": (leg, more, protocol)}, extra=extra)
    return node, router


def attempt(router, protocol, leg="implicit"):
    """Sends a login; returns the lines up to the end of the connection, greeting left out."""
    client = connect(router, "l", protocol, leg)
    client.send(login_line(protocol) + "\r\n")
    lines = client.eof().decode().split("\r\n")[:-1]
    client.close()
    return lines
