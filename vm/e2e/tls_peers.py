# SPDX-License-Identifier: Apache-2.0
"""What tests of TLS after login have in common: routers with a `splice.mode`, logins that wait for a path,
and TLS stacks as command line tools."""

import os
import queue
import ssl
import subprocess
import threading
import time

PLAIN_AUTH = "[capabilities.imap]\nallow_plain_auth_without_tls = true\n"


def tls_router(make, nodes, mode, extra="", **kwargs):
    """mode None: as it is without a word."""
    splice = "[splice]\n" + ('mode = "%s"\n' % mode if mode else "")
    return make.router(nodes, extra=PLAIN_AUTH + splice + extra, **kwargs)


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


class Tool:
    """A command line TLS client: lines in, everything it prints out."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, bufsize=0)
        self.data, self.queue = b"", queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            data = os.read(self.process.stdout.fileno(), 65536)
            self.queue.put(data)
            if not data:
                return

    def send(self, text):
        self.process.stdin.write(text.encode())

    def wait_for(self, wanted, seconds=60):
        """Returns what came up to and including it."""
        wanted, end, seen = wanted.encode(), time.monotonic() + seconds, 0
        data = bytearray(self.data)
        while data.find(wanted, max(0, seen - len(wanted))) < 0:
            seen = len(data)
            piece = self.queue.get(timeout=max(0.1, end - time.monotonic()))
            assert piece, "%r is not in %r" % (wanted, data[-2000:])
            data += piece
        before, found, after = bytes(data).partition(wanted)
        self.data = after
        return before + found

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


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
