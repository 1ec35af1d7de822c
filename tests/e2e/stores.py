# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL and Redis servers of the tests' own, and a proxy that makes networks fail."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import harness
from harness import PATIENCE, wait_until

SCHEMA_OWNER = "postgres"


def as_service_user():
    uid, gid = harness.service_user()[2:]

    def drop():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    return drop if os.geteuid() == 0 else None


class Postgres:
    """A cluster in a directory of its own; trust on loopback, so every user may do everything."""

    def __init__(self, settings=(), server=None):
        """settings: name=value each. server: a certificate (see Workspace.certificate()) to speak TLS with."""
        self.settings = [word for setting in settings for word in ("-c", setting)]
        self.server = server
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.space = harness.Workspace("homing-pg-")
        self.space.own(self.space.path)
        self.data, self.port, self.process = self.space.path + "/data", harness.free_port(), None
        self.run("initdb", "-D", self.data, "-U", SCHEMA_OWNER, "-A", "trust", "-N",
                 "--locale=C.UTF-8", "-E", "UTF8")
        if server:
            self.speak_tls()
        self.databases = 0
        self.start()

    def run(self, program, *args):
        subprocess.run([os.path.join(self.bin, program), *args], check=True, cwd="/",
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       preexec_fn=as_service_user())

    def speak_tls(self):
        for path, name in zip(self.server, ("server.crt", "server.key")):
            shutil.copy(path, os.path.join(self.data, name))
            self.space.own(os.path.join(self.data, name))
            os.chmod(os.path.join(self.data, name), 0o600)
        self.settings += ["-c", "ssl=on", "-c", "ssl_cert_file=server.crt", "-c", "ssl_key_file=server.key"]

    def start(self):
        self.process = subprocess.Popen(
            [self.bin + "/postgres", "-D", self.data, "-p", str(self.port), "-k", self.space.path,
             "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200", *self.settings],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=as_service_user())
        wait_until(lambda: self.try_sql("postgres", "SELECT 1"))

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT) # fast shutdown
            self.process.wait(PATIENCE)
            self.process = None

    def try_sql(self, database, text):
        done = subprocess.run(
            ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U",
             SCHEMA_OWNER, "-d", database, "-c", text], capture_output=True, text=True, check=False,
            env=dict(os.environ, PGCONNECT_TIMEOUT="5"))
        return done.stdout.strip() or "ok" if done.returncode == 0 else None

    def database(self, schema=True):
        """A new one; its name."""
        self.databases += 1
        name = "mail%d" % self.databases
        assert self.try_sql("postgres", "CREATE DATABASE %s" % name)
        if schema:
            text = subprocess.run([harness.BUILD + "/homingctl", "init-db", "--print"],
                                  capture_output=True, text=True, check=True).stdout
            assert self.try_sql(name, text), text
        return name

    def close(self):
        self.stop()
        self.space.close()


class Pgbouncer:
    """A pooler before a Postgres; at most two server connections."""

    def __init__(self, postgres, database, mode):
        self.space = harness.Workspace("homing-pgbouncer-")
        self.port = harness.free_port()
        self.space.write("ini", "[databases]\n%s = host=127.0.0.1 port=%d user=%s\n[pgbouncer]\n"
                         "listen_addr = 127.0.0.1\nlisten_port = %d\nauth_type = any\npool_mode = %s\n"
                         "default_pool_size = 2\nunix_socket_dir =\nlogfile = %s\npidfile = %s\n" %
                         (database, postgres.port, SCHEMA_OWNER, self.port, mode,
                          self.space.path + "/log", self.space.path + "/pid"), 0o644)
        self.space.own(self.space.path)
        self.process = subprocess.Popen(
            ["/usr/sbin/pgbouncer", "-q", self.space.path + "/ini"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=as_service_user())
        wait_until(self.accepts)

    def accepts(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def close(self):
        self.process.kill() # since 1.23 it waits for its clients when it is asked to end
        self.process.wait()
        self.space.close()


class Redis:
    def __init__(self, *args):
        self.space = harness.Workspace("homing-redis-")
        self.space.own(self.space.path)
        self.port, self.args, self.process = harness.free_port(), args, None
        self.cli_args = []
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
             self.space.path, "--unixsocket", self.space.path + "/socket", "--unixsocketperm", "777",
             "--save", "", *self.args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=as_service_user())
        wait_until(self.accepts)

    def accepts(self):
        """The path is there a moment before anybody listens on it."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.space.path + "/socket")
            return True
        return False

    def cli(self, *args):
        return subprocess.run(["redis-cli", "-s", self.space.path + "/socket", *self.cli_args, *args],
                              capture_output=True, text=True, check=True).stdout.strip()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.space.path + "/socket")

    def close(self):
        self.stop()
        self.space.close()


class FaultProxy:
    """Between the router and a server: delay, cut, refuse, swallow. Counts connections."""

    def __init__(self, target):
        self.target = target
        self.port = harness.free_port()
        self.delay, self.blackhole, self.cut_after = 0.0, False, None
        self.pairs, self.lock, self.listener = [], threading.Lock(), None
        self.most = self.total = 0
        self.accept()

    def accept(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def refuse(self):
        """Also cuts what is connected."""
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self.cut()

    def cut(self):
        with self.lock:
            for pair in self.pairs:
                for sock in pair:
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self.lock:
                self.pairs.append(pair)
                self.total += 1
                self.most = max(self.most, len(self.pairs))
            threading.Thread(target=self._pump, args=(client, server, pair, False),
                             daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, pair, True),
                             daemon=True).start()

    def _pump(self, source, target, pair, is_reply):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if is_reply and self.delay:
                    time.sleep(self.delay)
                if self.blackhole:
                    continue
                with self.lock: # one reply, whatever else is on its way
                    cut = self.cut_after if is_reply else None
                    if cut is not None:
                        self.cut_after = None
                if cut is not None:
                    target.sendall(data[:cut]) # in the middle of it
                    break
                target.sendall(data)
        for sock in pair:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with self.lock:
            if pair in self.pairs:
                self.pairs.remove(pair)

    def close(self):
        self.refuse()


class Balancer(FaultProxy):
    """Each connection goes to the other one of two servers."""

    @property
    def target(self):
        self.targets.reverse()
        return self.targets[0]

    @target.setter
    def target(self, targets):
        self.targets = list(targets)
