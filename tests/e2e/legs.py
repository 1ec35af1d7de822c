# SPDX-License-Identifier: Apache-2.0
"""Sessions of which both legs are plain or both TLS, and the path that must carry their bytes."""

from plain_legs import login, plain_router

# tls of both legs, splice.mode, path
PLAIN_RELAYS = (("plain", "auto", "sockmap"), ("plain", "copy", "copy"))
TLS_RELAYS = (("implicit", "auto", "record"), ("implicit", "copy", "copy"))
RELAYS = PLAIN_RELAYS + TLS_RELAYS


def told_of(path):
    """What lines of such sessions may name: a short one ends before the kernel takes it, or before its
    legs were quiet enough for that."""
    return {"sockmap", "copy"} if path == "sockmap" else {path}


def relay_router(make, nodes, tls, mode, pins=None, **kwargs):
    return plain_router(make, nodes, pins, splice='mode = "%s"\n' % mode,
                        listeners={"imap": tls}, **kwargs)


def relay_login(router, tls, path, user="alice"):
    return login(router, user, tls == "implicit", path)
