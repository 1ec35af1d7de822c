#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Lookups per second through PostgreSQL and Redis, beside pgbench and redis-benchmark that ask the same
of the same server, one after the other in turns; the median of each and their ratio. Own servers on
loopback."""

import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
import stores  # noqa: E402

ACCOUNTS, POOL, SECONDS, ROUNDS = 100000, 16, int(os.environ.get("SECONDS", "5")), 3
IN_FLIGHT = int(os.environ.get("IN_FLIGHT", "16")) # as many as the others have connections


def lookups(url, in_flight):
    done = subprocess.run([harness.BUILD + "/bench/lookups", url, str(POOL), str(ACCOUNTS),
                           str(in_flight), str(SECONDS)], capture_output=True, text=True, check=True)
    per_second, errors, _ = done.stdout.split()
    assert errors == "0", done.stdout
    return float(per_second)


def compare(name, other_name, other, url):
    """Both programs have POOL connections and as many queries out."""
    ours, theirs, deep = [], [], []
    for _ in range(ROUNDS):
        ours.append(lookups(url, IN_FLIGHT))
        theirs.append(other())
        deep.append(lookups(url, 1000))
    mine, reference, crowd = map(statistics.median, (ours, theirs, deep))
    print("%-11s %7.0f lookups per second with %d out, %7.0f with 1000 out; %s %7.0f; ratio %.2f, %.2f"
          % (name, mine, IN_FLIGHT, crowd, other_name, reference, mine / reference,
             crowd / reference), flush=True)


def postgresql():
    server = stores.Postgres()
    try:
        name = server.database()
        assert server.try_sql(name, "INSERT INTO account_nodes SELECT 'user' || lpad(i::text, 12, '0'), "
                              "'node1' FROM generate_series(0, %d) i" % (ACCOUNTS - 1))
        assert server.try_sql(name, "VACUUM ANALYZE account_nodes")
        script = server.space.write("lookup.sql", "\\set i random(0, %d)\nSELECT node FROM account_nodes "
                                    "WHERE identifier = 'user' || lpad(:i::text, 12, '0');\n" %
                                    (ACCOUNTS - 1), 0o644)

        def pgbench():
            done = subprocess.run(
                ["pgbench", "-n", "-M", "prepared", "-c", str(POOL), "-j", "1", "-T", str(SECONDS), "-f",
                 script, "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", name],
                capture_output=True, text=True, check=True)
            return float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))

        compare("PostgreSQL", "pgbench", pgbench,
                "postgres://postgres@127.0.0.1:%d/%s" % (server.port, name))
    finally:
        server.close()


def redis():
    server = stores.Redis()
    try:
        with subprocess.Popen(["redis-cli", "-s", server.space.path + "/socket", "--pipe"],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as pipe:
            for i in range(ACCOUNTS):
                pipe.stdin.write("SET route:user%012d node1\r\n" % i)
        assert server.cli("dbsize") == str(ACCOUNTS)

        def benchmark():
            per_second = 50000
            for _ in range(2): # first to see how many fill the time
                done = subprocess.run(
                    ["redis-benchmark", "-p", str(server.port), "-c", str(POOL), "-n",
                     str(int(per_second * SECONDS)), "-r", str(ACCOUNTS), "--csv", "GET",
                     "route:user__rand_int__"], capture_output=True, text=True, check=True)
                per_second = float(done.stdout.splitlines()[-1].split('","')[1].strip('"'))
            return per_second

        compare("Redis", "redis-benchmark", benchmark, "redis://127.0.0.1:%d" % server.port)
    finally:
        server.close()


if __name__ == "__main__":
    postgresql()
    redis()
