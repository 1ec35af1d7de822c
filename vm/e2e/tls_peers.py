# SPDX-License-Identifier: Apache-2.0
"""What tests of TLS after login have in common: routers with a `splice.mode`, logins that wait for a path,
nodes, and how TLS stacks are called as command line tools."""

import hashlib
import ssl

from bulk import Bulk
from harness import node_login
from plain_legs import plain_router


def tls_router(make, nodes, mode, extra="", tls="implicit"):
    """mode None: as it is without a word. tls: of the client's leg."""
    return plain_router(make, nodes, splice=('mode = "%s"\n' % mode if mode else "") + extra,
                        listeners={"imap": tls})


def login(router, path, context=None, tls=True, user="alice"):
    client = router.client(tls=False)
    if tls:
        client.starttls(context or router.tls_context())
    client.line()
    assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK")
    router.wait_path(path, user)
    return client


def version(context, name):
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, name)
    return context


def the_session(router, path, count=1):
    session = router.wait_sessions(count)[-1]
    assert (session["path_up"], session["path_down"]) == (path, path), session
    return session


def bulk(make, size, node_tls="implicit", client_tls=True, path="ktls", context=None, mode="ktls"):
    both_ways = Bulk(size)
    node = make.node("node1", both_ways.serve, tls=node_tls)
    router = tls_router(make, [node], mode, tls="implicit" if client_tls else "plain")
    with login(router, path, tls=client_tls, context=context and context(router)) as client:
        both_ways.run(client)
    session = the_session(router, path)
    assert int(session["bytes_up"]) == size + len("start\nend\n")
    assert int(session["bytes_down"]) == size


def hashing_node(blob):
    """How a node serves that answers a line with hash_of() it, and the word blob with this one."""
    def serve(conn):
        if node_login(conn) is None:
            return
        while True:
            word = conn.line()
            conn.send(blob if word == "blob" else hash_of(word))
    return serve


def hash_of(text):
    return "got %s\n" % hashlib.sha256(text.encode()).hexdigest()


def gnutls(port, name):
    priority = "NORMAL:-VERS-ALL:+VERS-" + {"TLSv1_2": "TLS1.2", "TLSv1_3": "TLS1.3"}[name]
    return ["gnutls-cli", "--insecure", "--crlf", "--priority", priority, "--port", str(port),
            "127.0.0.1"]


def nss(port, name):
    number = {"TLSv1_2": "tls1.2", "TLSv1_3": "tls1.3"}[name]
    return ["tstclnt", "-h", "127.0.0.1", "-p", str(port), "-o", "-D", "-V", number + ":" + number]


def openssl(port, name):
    return ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-crlf", "-quiet",
            "-" + name.lower().replace("v", "")]
