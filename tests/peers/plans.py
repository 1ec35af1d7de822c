# SPDX-License-Identifier: Apache-2.0
"""Random plans of sessions: what the client does, what the node does, and what must come of it."""

SUITES = ("12-aes128", "12-aes256", "12-chacha", "13-aes128", "13-aes256", "13-chacha")
STALL_MS = (5, 30, 120)
KEY_MARGIN = 1 << 17 # see Library.key_bytes
# What max_fragment_length can say (RFC 6066 section 4).
FRAGMENTS = (512, 1024, 2048, 4096)

# How sessions end, and how often. client, node: that one says so first, with nothing left to come; -half: the
# other one has more to send; -cut: FIN without close_notify; -gone, -reset: in the middle, with no regard for what
# is under way; now: the client leaves when it has hardly come.
ENDINGS = {"client": 30, "node": 12, "client-half": 12, "node-half": 10, "client-cut": 8, "node-cut": 8,
           "client-gone": 5, "node-gone": 5, "client-reset": 4, "node-reset": 4, "now": 5, "both": 5}
WHOLE = ("client", "node", "client-half", "node-half", "client-cut", "node-cut", "both")


class Library:
    """What one can do."""

    def __init__(self, name, padding=(), limits=FRAGMENTS, node_limits=(), acts=True, halves=True,
                 keeps=True, key_bytes=0):
        self.name, self.padding, self.limits, self.node_limits = name, padding, limits, node_limits
        self.keeps = keeps # it asks by max_fragment_length; OpenSSL's side does not know record_size_limit
        self.acts = acts # KeyUpdates and tickets when they are asked of it
        # All that TLS permits when the other one has ended. Java says nothing more after a FIN without close_notify,
        # nor with TLS 1.2, and its KeyUpdate fails.
        self.halves = halves
        # It changes keys by itself after so many bytes. Java asks again with each record that it reads until the
        # answer is there, behind all that is on its way to it (REC-31).
        self.key_bytes = key_bytes


LIBRARIES = {library.name: library for library in (
    Library("openssl", padding=(16, 256, 4096), node_limits=(512, 1000, 4096)),
    Library("gnutls", padding=(1, 17, 255, 4000, 16000)),
    Library("nss", limits=(64, 512, 3000), keeps=False),
    Library("java", acts=False, halves=False, key_bytes=1 << 19),
)}


def size(random, most):
    """From one byte to most: each power of two as often."""
    return random.randint(1, 2 ** random.randint(1, most))


def events(random, library, is_13, role, total):
    """KeyUpdates and tickets at places of what is sent; not at its end, where nothing would follow."""
    if not library.acts or not is_13 or total < 3 or random.random() < 0.3:
        return []
    kinds = "kKt" if role == "node" else "kK"
    places = sorted(random.randrange(0, total - 1) for _ in range(random.randint(1, 8)))
    return [(place, random.choice(kinds)) for place in places]


class Plan:
    """One session. text() is what the client program reads; wanted() judges what both ends report."""

    def __init__(self, random, number, suites, client, node, most):
        self.number = number
        self.suites = {"client": random.choice(suites["client"]), "node": random.choice(suites["node"])}
        self.libraries = {"client": client, "node": node}
        self.account = "n%d@example.com" % number
        self.ending = random.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        if self.ending.endswith("-half") and not self._may_halve():
            self.ending = self.ending.split("-")[0]
        if self.ending.endswith("-half") and not (client.halves and node.halves):
            most = 13
        self.sizes = {"client": self._size(random, client, node, most), "node": self._size(random, node, client, most)}
        if random.random() < 0.1:
            self.sizes[random.choice(("client", "node"))] = 0
        for side in ("client", "node"):
            if self._changes_keys(side): # its last byte says that it has been answered: else an end is unexpected to it
                self.sizes[side] = max(self.sizes[side], 1)
        if self.ending.endswith("-cut"): # what is sent last waits for all of the other's: that is whole
            self.sizes[self.ending.split("-")[0]] += 1
        self.rest = {"client": 0, "node": 0}
        if self.ending.endswith("-half"):
            self.rest["node" if self.ending.startswith("client") else "client"] = size(random, most)
        self.seed = random.getrandbits(31)
        self.plans = {side: self._side(random, side) for side in ("client", "node")}

    @staticmethod
    def _size(random, library, reader, most):
        """Of what one sends."""
        if not reader.key_bytes and not library.key_bytes:
            return size(random, most)
        key_bytes = max(reader.key_bytes, library.key_bytes)
        if most == 13 or random.random() < 0.93:
            return min(size(random, most), key_bytes - KEY_MARGIN - 1)
        return random.randint(key_bytes, 1 << 23 if reader.key_bytes else key_bytes + KEY_MARGIN)

    def _changes_keys(self, side):
        """Of its own accord, as it reads."""
        other = "node" if side == "client" else "client"
        key_bytes = self.libraries[side].key_bytes
        return key_bytes and key_bytes - KEY_MARGIN <= self.sizes[other]

    def _may_halve(self):
        return all(self.libraries[side].halves or self.suites[side].startswith("13") for side in self.suites)

    def _side(self, random, side):
        other = "node" if side == "client" else "client"
        library, total = self.libraries[side], self.sizes[side]
        is_13 = self.suites[side].startswith("13")
        plan = {"n": self.number, "seed": self.seed, "send": total, "receive": self.sizes[other],
                "rest_send": self.rest[side], "rest_receive": self.rest[other],
                "chunk": max(size(random, 16), (total + self.rest[side]) // 1000)}
        does = events(random, library, is_13, side, total)
        if library.padding and is_13 and random.random() < 0.4:
            plan["padding"] = random.choice(library.padding)
        limits = library.limits if side == "client" else library.node_limits
        if limits and random.random() < 0.3:
            plan["limit"] = random.choice(limits)
        if random.random() < 0.3:
            # below 4 KiB the kernel gets 20 KB/s through
            few = self.sizes[other] + self.rest[other] < 20000
            plan["buffer"] = random.choice((2048, 16384, 65536) if few else (16384, 65536))
        if random.random() < 0.3 and self.sizes[other]:
            places = sorted(random.randrange(self.sizes[other]) for _ in range(random.randint(1, 3)))
            plan["stall"] = ",".join("%d:%d" % (place, random.choice(STALL_MS)) for place in places)
        if self._changes_keys(side) or self._changes_keys(other): # few records at a time
            for key in ("limit", "buffer", "stall"):
                plan.pop(key, None)
            plan["chunk"] = 65536
        if side == "client":
            plan["account"], plan["suite"] = self.account, self.suites[side]
            if random.random() < 0.3:
                plan["early"] = min(max(total - 1, 0), size(random, 13))
        plan["ends"] = int(self.ending in (side, side + "-half", side + "-cut", "both"))
        does += self._abrupt(random, side, total)
        plan["do"] = ",".join("%d:%s" % event for event in sorted(does, key=lambda event: event[0]))
        return {key: value for key, value in plan.items() if value != ""}

    def _abrupt(self, random, side, total):
        if self.ending == "now" and side == "client":
            return [(0, random.choice("gr"))]
        if self.ending == side + "-cut":
            return [(total, "c")]
        for how in ("gone", "reset"):
            if self.ending == "%s-%s" % (side, how):
                return [(random.randint(0, total), how[0])]
        return []

    def text(self):
        client, node = (" ".join("%s=%s" % pair for pair in self.plans[side].items()) for side in ("client", "node"))
        return client + "\t" + node + "\n"

    def faults(self, reports, line, path):
        """What is not as it must be: of both ends' reports, and of the router's line about the session."""
        found = []
        for side in ("client", "node"):
            if side not in reports:
                found.append("no report of the " + side)
            else:
                found += ["%s: %s" % (side, fault) for fault in self._end_faults(side, reports[side])]
        if not line:
            return found + ["no line of the router's"]
        return found + list(self._line_faults(line, path))

    def _is_broken_off(self, side):
        """It has cut its own direction, and the other one then says no more."""
        return self.ending == side + "-cut" and not self.libraries["node" if side == "client" else "client"].halves

    def _end_faults(self, side, report):
        other = "node" if side == "client" else "client"
        wanted = self.sizes[other] + self.rest[other]
        limit = self.plans[side].get("limit")
        if report.get("ended") == "stuck":
            yield "stuck"
        if report.get("error", "").startswith(("other", "more")): # bytes that nobody has sent
            yield report["error"]
        if self.ending not in WHOLE or self._is_broken_off(side):
            return
        if report["error"]:
            yield report["error"]
        if int(report["received"]) != wanted:
            yield "received %s of %d bytes" % (report["received"], wanted)
        ended = "cut" if self.ending == other + "-cut" else "clean"
        if report["ended"] != ended:
            yield "ended %s, not %s" % (report["ended"], ended)
        asked, answers = int(report["asked"]), int(report["answers"])
        least = min(asked, self.sizes[other], 1) # with no data of the other's, none need come before its end
        if answers >= 0 and not least <= answers <= asked:
            yield "%d answers to %d KeyUpdates" % (answers, asked)
        if side == "client" and limit and self.libraries[side].keeps and int(report["biggest"]) > limit:
            yield "a record of %s bytes, asked for at most %d" % (report["biggest"], limit)

    def _line_faults(self, line, path):
        for name in ("path_up", "path_down"):
            if line[name] != path and not (self.ending not in WHOLE and line[name] == "-"):
                yield "%s is %s" % (name, line[name])
        if self.ending not in WHOLE:
            return
        for name, side, to in (("bytes_up", "client", "node"), ("bytes_down", "node", "client")):
            if not self._is_broken_off(to) and int(line[name]) != self.sizes[side] + self.rest[side]:
                yield "%s is %s" % (name, line[name])
