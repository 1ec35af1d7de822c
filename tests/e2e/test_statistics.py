# SPDX-License-Identifier: Apache-2.0
"""sessions.md: the line of figures that the log has once a minute."""

import re
import time

import harness
from harness import fast_time
from logins import login
from mail_dialogue import one_protocol
from mailnodes import speak


def test_SES_92_the_line_of_statistics(make):
    """Once a minute: hits, misses, rate, entries, connections."""
    node, router = one_protocol(make, "imap", lambda conn: speak(conn, "imap"))
    line = harness.parse_logfmt(router.wait_line(lambda x: "msg=stats" in x, timeout=90))
    assert line["level"] == "info"
    assert set(line) >= {"hits", "misses", "hit_rate_pct", "cache_entries", "active_connections"}
    assert not node.connections


def test_SES_92_a_line_of_figures_every_minute(pair):
    make, nodes = pair
    router = make.router(nodes, environment=fast_time(30), start=False,
                         mapping_extra='positive_ttl = "1h"\nlookup_timeout = "5m"\n',
                         server='backend_timeout = "5m"\n',
                         listeners={"imap": ("implicit", 'preauth_timeout = "10m"')})
    router.map({"alice": "node1", "bob": "node1"}) # a change later on would drop the cache
    router.start()
    for _ in range(3):
        login(router, "alice")
    login(router, "bob")
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.wait_path("record", "alice")
        start = time.monotonic()
        first = router.wait_line(lambda line: "msg=stats" in line)
        at = len(router.lines)
        router.wait_line(lambda line: "msg=stats" in line, start=at)
        assert time.monotonic() - start < 20
        took = [float(re.search(r"ts=\S+:(\d+\.\d+)Z", x).group(1)) for x in router.lines
                if "msg=stats" in x]
    assert 1.9 < (took[1] - took[0]) % 60 < 10 # 60 s, thirty times as fast
    assert re.search(r"level=info msg=stats hits=3 misses=2 hit_rate_pct=60.00 cache_entries=2 "
                     r"active_connections=1$", first), first
