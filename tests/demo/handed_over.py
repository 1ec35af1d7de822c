# SPDX-License-Identifier: Apache-2.0
"""The same bytes twice over TLS: through an ordinary session, and through one whose TLS an agent beside the
node has taken over. Prints which paths they took and what CPU the router's process spent on them."""

import re
import time

import handing
import harness

PIECE_BYTES = 65536  # as mail programs fetch a large message
LETTER_BYTES, LEAST_BYTES, MOST_BYTES, MOST_SECONDS = 8 << 20, 16 << 20, 64 << 20, 3
NOTHING_SECONDS = 0.001  # timers and the like
# By default user space takes a direction above 8 MiB a second; here the kernel shall keep it.
SPLICE = '[splice]\nbulk_rate = "0"\narm_after = "0s"\n'


def cpu_seconds(process):
    """Of all its threads, in user space and in the kernel (clock_getcpuclockid(3))."""
    return time.clock_gettime((~process.pid << 3) | 2)


class Reader:
    """A session of an IMAP client that downloads one large message."""

    def __init__(self, router, account, password):
        self.client = router.client()
        self.client.line()
        self.do("a LOGIN %s %s" % (account, password))

    def do(self, command):
        assert " OK" in self.client.command(command)[-1], command

    def append(self, letter):
        self.client.send("b APPEND INBOX {%d}\r\n" % len(letter))
        self.client.line()
        self.client.send(letter + b"\r\n")
        assert self.client.line().startswith("b OK")

    def fetch(self, letter, offset):
        """A piece of the newest message, compared."""
        self.client.send("c FETCH * BODY.PEEK[]<%d.%d>\r\n" % (offset, PIECE_BYTES))
        size = int(re.search(r"{(\d+)}$", self.client.line()).group(1))
        data, self.client.buffer = bytearray(self.client.buffer), b""
        while len(data) < size:
            data += self.client.sock.recv(1 << 18)
        assert data[:size] == letter[offset:offset + PIECE_BYTES], "other bytes than were stored"
        self.client.buffer = bytes(data[size:])
        assert self.client.line() == ")" and self.client.line().startswith("c OK")
        return size

    def download(self, letter, bytes_wanted=None):
        """So many bytes, or as many as fit into a few seconds; returns how many."""
        end, done = time.monotonic() + MOST_SECONDS, 0
        while done < (bytes_wanted or LEAST_BYTES) or (
                not bytes_wanted and done < MOST_BYTES and time.monotonic() < end):
            done += self.fetch(letter, done % len(letter))
        return done

    def close(self):
        self.do("d LOGOUT")
        self.client.close()


class Beside:
    """The node as its agent sees it: without TLS, on the same host."""

    def __init__(self, node):
        self.name, self.node = node.name, node

    def toml(self):
        return self.node.toml(tls="plain")


class HandedOver:
    """One node of the demo gets an agent while the router runs."""

    def __init__(self, workspace, router, node):
        self.router, self.node = router, node
        self.issued = handing.Issued(workspace, node.name + ".test")
        self.agent = self.issued.agent(Beside(node), node.name + ".test")
        self.failed = None

    def close(self):
        self.agent.close()

    def tell_the_router(self):
        with open(self.router.config, "a", encoding="utf-8") as f:
            f.write("\n" + self.issued.handoff_toml(self.node.name, self.agent))
        done = self.router.ctl("reload")
        assert done.returncode == 0, done.stdout + done.stderr

    def settle(self, account):
        """The session is where it stays; what it is then its log line says."""
        for _ in range(50):
            row = self.router.sessions(identifier=account)["sessions"][0]
            if row["stage"] == "established" and (row["handed_over"] or not self.agent.process):
                break
            time.sleep(0.1)

    def session(self, account, password, letter, bytes_wanted=None):
        """(bytes, the router's seconds of CPU for them, its log line)"""
        before = len(self.router.session_lines())
        reader = Reader(self.router, account, password)
        if not bytes_wanted:
            reader.append(letter)
        reader.do("s SELECT INBOX")
        self.settle(account)
        start = cpu_seconds(self.router.process)
        done = reader.download(letter, bytes_wanted)
        spent = cpu_seconds(self.router.process) - start
        reader.close()
        return done, spent, self.router.wait_sessions(before + 1)[before]

    def run(self, account, password):
        """Returns what was not as it should be, or None."""
        letter = b"".join(b"%076d\r\n" % i for i in range(LETTER_BYTES // 78))
        done, ordinary, line = self.session(account, password, letter)
        self.agent.start()
        print("\nagent    %s: homingd beside Dovecot on 127.0.0.1:%d, certificates of homingctl handoff-keys\n" % (
            self.node.name, self.agent.port))
        self.tell_the_router()
        _, handed, other = self.session(account, password, letter, done)
        beside = {} if other.get("tls_at") != "agent" else harness.wait_until(lambda: [
            row for row in self.agent.session_lines() if row.get("via") == other["id"]])[0]
        show("download of %d MiB" % (done >> 20), "path on the router", "path on the agent",
             "CPU of the router's process")
        show("ordinary session", paths(line), "-", "%.1f ms" % (ordinary * 1000))
        show("handed over", paths(other), paths(beside), "%.1f ms" % (handed * 1000))
        in_kernel = paths(other) == "sockmap/sockmap"
        print("(the client's own TLS, which the router cannot read, %s)" % (
            "went through its kernel" if in_kernel else
            "was copied by it: this kernel has no sockmap for it, homingd --probe says why"))
        if not beside:
            return "the session was not handed over: " + str(other)
        if handed > max(ordinary / (10 if in_kernel else 1), NOTHING_SECONDS):
            return "the router's CPU did not become less"
        return None


def paths(line):
    return line.get("path_up", "-") + "/" + line.get("path_down", "-")


def show(*cells):
    print("%-18s  %-18s  %-17s  %s" % cells)
