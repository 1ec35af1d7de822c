# SPDX-License-Identifier: Apache-2.0
"""The router as a process: its configuration, its log, its admin API, what it is started with."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import select
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import urllib.parse

from .clients import Client
from .places import BUILD, E2E
from .waiting import PATIENCE, wait_until

TOKEN = "e2e-admin-token-0123456789abcdefghij"
LIST_QUERY = ("SELECT identifier FROM account_nodes WHERE node = $1 AND identifier > $2 "
              "ORDER BY identifier LIMIT $3")


class Router:
    """homingd with a configuration made of the given parts."""

    build = BUILD # another one's is run when it is set before start()

    def __init__(self, workspace, destinations, default, mapping=None, listeners=None, server="",
                 extra="", admin=True, environment=None, rlimit_nofile=None, normalize="lowercase",
                 mapping_extra="", routing=""):
        self.workspace = workspace
        self.cert, self.key, self.pin = workspace.certificate("router", ["router.test",
                                                                         "localhost"])
        self.db = os.path.join(workspace.path, "mapping.sqlite")
        if mapping is None:
            mapping = self.sqlite_toml(mapping_extra, normalize)
        if listeners is None:
            listeners = {"imap": "implicit", "imapt": "starttls"}
        parts = ["[server]\nhostname = \"router.test\"\nuser = \"%s\"\ngroup = \"%s\"\n%s\n" % (
            workspace.user, workspace.group, server),
            "[tls.certificate.default]\ncert = \"router.pem\"\nkey = \"router.key\"\n"
            "default = true\n", mapping,
            "[routing]\ndefault_destination = \"%s\"\n%s" % (default, routing)]
        parts += destinations
        for name, tls in listeners.items():
            # NAME: tls, (tls, more lines) or (tls, more lines, protocol); the default is imap
            tls, more, protocol = (tls if isinstance(tls, tuple) else (tls,)) + ("", "imap")[
                len(tls) - 1 if isinstance(tls, tuple) else 0:]
            parts.append("[listener.%s]\nprotocol = \"%s\"\nbind = [\"127.0.0.1:0\"]\n"
                         "tls = \"%s\"\n%s\n" % (name, protocol, tls, more))
        if admin:
            workspace.write("token", TOKEN + "\n")
            parts.append("[admin]\nbind = \"127.0.0.1:0\"\nbearer_token_file = \"token\"\n"
                         "lockout_threshold = 3\nlockout_duration = \"2s\"\n")
        parts.append(extra)
        self.config = workspace.write("homing.toml", "\n".join(parts))
        self.environment = dict(os.environ, **(environment or {}))
        # LeakSanitizer traces the process, which a non-dumpable one forbids.
        if "-san" in BUILD:
            self.environment.setdefault("HOMING_COREDUMP", "1")
        self.rlimit_nofile = rlimit_nofile
        self.wrapper = []  # a command that starts the router under another identity
        self.ports, self._lines, self.process = {}, [], None
        self.lock = threading.Condition()
        self.pipe, self.rest = None, b"" # of its log; what has no end yet

    def sqlite_toml(self, extra="", normalize="lowercase"):
        if not os.path.exists(self.db):
            subprocess.run([os.path.join(BUILD, "homingctl"), "init-db", self.db], check=True,
                           stdout=subprocess.DEVNULL)
        for path in (self.db, self.db + "-wal", self.db + "-shm"):
            if os.path.exists(path):
                self.workspace.own(path)
        return ("[mapping]\nsource = \"sql\"\nnormalize = \"%s\"\n%s\n[mapping.sql]\n"
                "url = \"sqlite://%s\"\n"
                "query = \"SELECT node FROM account_nodes WHERE identifier = $1\"\n"
                "upsert_query = \"INSERT INTO account_nodes (identifier, node) VALUES ($1, $2) "
                "ON CONFLICT (identifier) DO UPDATE SET node = excluded.node\"\n"
                "delete_query = \"DELETE FROM account_nodes WHERE identifier = $1\"\n"
                "list_query = \"%s\"\n" % (normalize, extra, self.db, LIST_QUERY))

    def map(self, assignments):
        """Writes rows behind the router's back."""
        db = sqlite3.connect(self.db, timeout=10)
        with db:
            db.executemany("INSERT OR REPLACE INTO account_nodes VALUES (?, ?)",
                           list(assignments.items()))
        db.close()
        for path in (self.db + "-wal", self.db + "-shm"):
            if os.path.exists(path):
                self.workspace.own(path)

    def start(self):
        import resource

        def limits():
            if self.rlimit_nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.rlimit_nofile,) * 2)

        begin = len(self.lines) # after those of an earlier run
        self.process = subprocess.Popen([*self.wrapper, os.path.join(self.build, "homingd"), "--config",
                                         self.config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=self.environment,
                                        preexec_fn=limits)
        # The router drops lines rather than wait for a reader; let bursts fit.
        fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.pipe, self.rest = self.process.stderr.fileno(), b""
        os.set_blocking(self.pipe, False)
        self.reader = threading.Thread(target=self._read, args=(self.pipe,), daemon=True)
        self.reader.start()
        self.wait_line(lambda line: "msg=ready" in line, start=begin)
        return self

    def restart(self):
        """Stops it and starts it anew; the log begins anew as well."""
        self.stop()
        self.lines, self.ports = [], {}
        return self.start()

    def _read(self, pipe):
        """The reader's thread: the router never waits for a test."""
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while poll.poll():
            with self.lock:
                self._take()
                if self.pipe is None:
                    return

    def _take(self):
        """What the router has written until now becomes lines. The lock is held."""
        while self.pipe is not None:
            try:
                data = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                return
            *whole, self.rest = (self.rest + data).split(b"\n")
            if not data:
                self.pipe = None
                whole = [self.rest, b"END OF LOG"] if self.rest else [b"END OF LOG"]
            for raw in whole:
                self._add(raw.decode(errors="replace"))
            self.lock.notify_all()

    def _add(self, line):
        match = re.search(r"msg=listening listener=(\S+) addr=\S*:(\d+)$", line)
        if match:
            self.ports[match.group(1)] = int(match.group(2))
        self._lines.append(line)

    @property
    def lines(self):
        """The log with all that has been written until now: a line that the router wrote before it
        answered is there when the answer is."""
        with self.lock:
            self._take()
            return self._lines

    @lines.setter
    def lines(self, lines):
        with self.lock:
            self._take()
            self._lines = lines

    def wait_line(self, wanted, timeout=PATIENCE, start=0):
        """The first log line from index start on that wanted() likes."""
        end, seen = time.monotonic() + timeout, start
        with self.lock:
            while True:
                for line in self._lines[seen:]:
                    if wanted(line):
                        return line
                seen = len(self._lines)
                if "END OF LOG" in self._lines[start:]:
                    raise AssertionError("the router ended:\n" + "\n".join(self._lines))
                if not self.lock.wait(max(0.0, end - time.monotonic())):
                    raise AssertionError("no such log line:\n" + "\n".join(self._lines))

    def session_lines(self):
        with self.lock:
            return [parse_logfmt(line) for line in self.lines if " msg=session " in line]

    def wait_sessions(self, count):
        return wait_until(lambda: len(self.session_lines()) >= count and self.session_lines())

    def log(self):
        with self.lock:
            return "\n".join(self.lines)

    # clients

    def connect(self, listener="imap", source=None):
        return socket.create_connection(("127.0.0.1", self.ports[listener]), PATIENCE,
                                        (source, 0) if source else None)

    def client(self, listener="imap", source=None, tls=True):
        return Client(self.connect(listener, source), self.tls_context() if tls else None)

    def tls_context(self):
        context = ssl.create_default_context(cafile=self.cert)
        return context

    def admin(self, method, path, token=TOKEN, source=None, headers=None):
        context = ssl.create_default_context(cafile=self.cert)
        conn = http.client.HTTPSConnection("localhost", self.ports["admin"], timeout=PATIENCE,
                                           context=context,
                                           source_address=(source, 0) if source else None)
        try:
            sent = dict(headers or {})
            if token is not None:
                sent.setdefault("Authorization", "Bearer " + token)
            conn.request(method, path, headers=sent)
            response = conn.getresponse()
            body = response.read()
            return response.status, json.loads(body) if body else None, response
        finally:
            conn.close()

    def stats(self):
        return self.admin("GET", "/stats")[1]

    def sessions(self, **filters):
        query = urllib.parse.urlencode(filters)
        status, body, _ = self.admin("GET", "/sessions" + ("?" + query if query else ""))
        assert status == 200, body
        return body

    def wait_path(self, path, account):
        """The account's sessions are established, and this path carries both directions."""
        def there():
            rows = self.sessions(identifier=account)["sessions"]
            return rows and all((row["stage"], row["path_up"], row["path_down"]) ==
                                ("established", path, path) for row in rows)
        wait_until(there)

    def wait_idle(self):
        """No client connection is left."""
        wait_until(lambda: self.stats()["active_connections"] == 0)

    def ctl(self, *args):
        return subprocess.run([os.path.join(BUILD, "homingctl"), "--url",
                               "https://localhost:%d" % self.ports["admin"], "--cacert", self.cert,
                               "--token-file", os.path.join(self.workspace.path, "token"), *args],
                              capture_output=True, text=True, timeout=PATIENCE)

    def fds(self):
        """Open descriptors, but for those of a WAL, which SQLite opens at its first query."""
        count = 0
        for name in os.listdir("/proc/%d/fd" % self.process.pid):
            with contextlib.suppress(FileNotFoundError): # closed meanwhile
                target = os.readlink("/proc/%d/fd/%s" % (self.process.pid, name))
                count += not target.endswith(("-wal", "-shm"))
        return count

    def stop(self, expect=0, how=signal.SIGTERM):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(PATIENCE * 2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the router did not stop:\n" + self.log())
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        code, self.process = self.process.returncode, None
        log = self.log()
        assert "Sanitizer" not in log and "runtime error:" not in log, log
        assert code == expect, "exit %d\n%s" % (code, log)

    def close(self):
        if self.process is not None:
            self.stop()


def preloaded(name):
    """Environment of a router with tests/e2e/NAME.c in front of the C library."""
    source = os.path.join(E2E, name + ".c")
    library = os.path.join(BUILD, "tests", name + ".so")
    if not os.path.exists(library) or os.path.getmtime(library) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(library), exist_ok=True)
        made = "%s.%d" % (library, os.getpid())
        subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, source], check=True)
        os.rename(made, library)
    return {"LD_PRELOAD": library,
            "ASAN_OPTIONS": ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"),
                                                   "verify_asan_link_order=0")))}


def fast_time(factor):
    """Environment of a router whose timers run so many times as fast (tests/e2e/fasttime.c)."""
    return dict(preloaded("fasttime"), FASTTIME=str(factor))


def parse_logfmt(line):
    return {key: bare or quoted for key, quoted, bare in
            re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line)}
