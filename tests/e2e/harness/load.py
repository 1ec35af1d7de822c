# SPDX-License-Identifier: Apache-2.0
"""The load generator of the benchmarks and its node (tests/bench)."""

import contextlib
import subprocess

from .nodes import destination_toml
from .places import BUILD


@contextlib.contextmanager
def light_node(certificate=None):
    """The benchmark's node: (destination, its name). certificate: (cert, key, pin) of its TLS."""
    cert, key, pin = certificate or ("plain", None, None)
    with subprocess.Popen([BUILD + "/bench/lightnode", "127.0.0.1:0", "imap", cert] +
                          ([key] if key else []), stdout=subprocess.PIPE, text=True) as node:
        try:
            port = int(node.stdout.readline())
            yield destination_toml("node1", "127.0.0.1", port, "implicit" if pin else "plain", pin,
                                   "none"), "node1"
        finally:
            node.kill()


def paused(microseconds):
    """What a router's environment has so that its waits for events begin so far apart at least
    (tests/bench/pause.c)."""
    if not microseconds:
        return {}
    return {"LD_PRELOAD": BUILD + "/bench/pause.so", "PAUSE_US": str(microseconds)}


class Load:
    """The benchmark's load generator (tests/bench/load.c): call it with a command, get its figures.
    within: a command to start it in a network namespace, for example."""

    def __init__(self, address, *arguments, within=()):
        self.process = subprocess.Popen([*within, BUILD + "/bench/load", address, *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line == "ready\n", line

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line and not line.startswith("error="), "%s: %s" % (command, line)
        pairs = dict(pair.split("=", 1) for pair in line.split())
        return {key: value if key == "failure" else float(value) for key, value in pairs.items()}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0

    def kill(self):
        """In whatever state it is."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.kill() if kind else self.close()
