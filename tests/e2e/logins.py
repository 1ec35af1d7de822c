# SPDX-License-Identifier: Apache-2.0
"""IMAP logins whose answer is all that counts, the nodes that they reached, their line in
the log."""

import base64


def login(router, user, expect="a OK"):
    with router.client() as c:
        c.line()
        c.send("a LOGIN %s pw\r\n" % user)
        line = c.line()
        assert line.startswith(expect), line
    return line


def served(node):
    return [getattr(conn, "user", None) for conn in node.connections]


def last_session(router, count=1):
    return router.wait_sessions(count)[-1]


def plain(user, password):
    return base64.b64encode(b"\0%s\0%s" % (user.encode(), password.encode())).decode()


UNAVAILABLE = b"a NO [UNAVAILABLE] Service temporarily unavailable.\r\n* BYE Try again later.\r\n"
