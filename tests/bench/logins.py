#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a login costs the router: its CPU time per login for each mail protocol, TLS 1.3 on both legs, with and
without session resumption towards the node. Scripted nodes; clients and nodes are in this process, only the
router's time is counted. usage: logins.py [LOGINS [ROUNDS]]"""

import concurrent.futures
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402
import mailnodes  # noqa: E402

LOGINS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
TICK = os.sysconf("SC_CLK_TCK")
VERDICT = {"imap": "TAG OK in\r\n", "pop3": "+OK in\r\n", "submission": "235 in\r\n",
           "managesieve": "OK\r\n"}


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def login(router, protocol, contexts):
    client = mailnodes.MailClient(protocol, router.connect(protocol), contexts, "implicit")
    client.login("PLAIN", "alice", "pw")
    client.close()


def measure(router, protocol):
    context = router.tls_context()
    context.minimum_version = harness.ssl.TLSVersion.TLSv1_3
    before = cpu_seconds(router.process.pid)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(login, router, protocol, context) for _ in range(LOGINS)]:
            future.result()
    router.wait_idle()
    return (cpu_seconds(router.process.pid) - before) / LOGINS


def one(protocol, resumed):
    workspace = harness.Workspace("homing-bench-")
    node = harness.ScriptedNode(workspace, "node1", lambda conn: mailnodes.speak(
        conn, protocol, verdict=VERDICT[protocol]))
    if not resumed:
        node.context.num_tickets = 0
    node.context.minimum_version = harness.ssl.TLSVersion.TLSv1_3
    router = harness.Router(workspace, [harness.destination_toml(
        "node1", node.address, None, {protocol: "implicit"}, node.pin, "none", "",
        {protocol: node.port})], "node1", listeners={protocol: ("implicit", "", protocol)}).start()
    try:
        measure(router, protocol)  # warms up; fills the session cache
        rounds = [measure(router, protocol) for _ in range(ROUNDS)]
        tls = [line["tls"] for line in router.session_lines()]
        assert all(x.startswith("TLSv1.3/") for x in tls)
        return statistics.median(rounds)
    finally:
        router.close()
        node.close()
        workspace.close()


def main():
    print("router CPU per login, ms: median of %d rounds of %d logins" % (ROUNDS, LOGINS))
    print("%-12s %16s %16s %8s" % ("protocol", "resumed to node", "full handshake", "ratio"))
    for protocol in mailnodes.PROTOCOLS:
        resumed, full = one(protocol, True), one(protocol, False)
        print("%-12s %16.2f %16.2f %8.2f" % (protocol, resumed * 1000, full * 1000, resumed / full),
              flush=True)


if __name__ == "__main__":
    main()
