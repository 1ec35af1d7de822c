# SPDX-License-Identifier: Apache-2.0
"""Many logins: on a schedule from a few threads, and at once from one."""

import selectors
import threading
import time


class Logins:
    """Logins of known accounts on a schedule, by a few threads; what failed is kept."""

    def __init__(self, router, users, per_second, threads=8):
        self.router, self.users, self.interval = router, users, threads / per_second
        self.stop, self.failures, self.count, self.began = threading.Event(), [], 0, 0
        self.threads = [threading.Thread(target=self.run, args=(i, threads)) for i in range(threads)]

    def run(self, number, step):
        i, due = number, self.began + self.interval * number / step
        while not self.stop.is_set():
            try:
                with self.router.client(tls=False) as client:
                    client.line()
                    reply = client.command("a LOGIN %s pw" % self.users[i % len(self.users)])[-1]
                    assert reply.startswith("a OK"), reply
            except (OSError, EOFError, AssertionError) as e:
                self.failures.append((time.monotonic() - self.began, e))
            i += step
            self.count += 1
            due += self.interval
            self.stop.wait(max(0, due - time.monotonic()))

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


class Crowd:
    """Plain IMAP connections driven by one thread."""

    def __init__(self, router, count):
        self.selector, self.socks = selectors.DefaultSelector(), []
        for _ in range(count):
            sock = router.connect()
            sock.setblocking(False)
            self.socks.append(sock)
            self.selector.register(sock, selectors.EVENT_READ)

    def lines(self):
        """One line from each; in order of the connections."""
        got, waiting = {sock: b"" for sock in self.socks}, len(self.socks)
        end = time.monotonic() + 60
        while waiting:
            assert time.monotonic() < end, waiting
            for key, _ in self.selector.select(1):
                was = got[key.fileobj]
                data = key.fileobj.recv(4096)
                assert data, was
                got[key.fileobj] += data
                waiting -= b"\n" in data and b"\n" not in was
        return [got[sock] for sock in self.socks]

    def say(self, text):
        for sock in self.socks:
            sock.send(text)

    def close(self):
        self.selector.close()
        for sock in self.socks:
            sock.close()
