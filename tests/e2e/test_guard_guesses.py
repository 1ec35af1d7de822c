# SPDX-License-Identifier: Apache-2.0
"""Brute force over a thousand accounts: from one address, from a /64, from behind a balancer (GRD-2,
GRD-3). The node sees ban_after of the guesses, whoever has nothing to do with it logs in all the while."""

import os
import socket
import subprocess

import harness
import pytest
from guarding import BALANCER, PLAIN_AUTH, guard, no_bans_left, tell  # noqa: F401

ACCOUNTS, BAN_AFTER = 1000, 10

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network")


class Way:
    """How attackers and honest clients reach the router."""

    def __init__(self, router, v6, balanced):
        self.router, self.v6, self.balanced = router, v6, balanced

    def attacker(self, number):
        return "2001:db8:77:0:%x::%x" % (number, number * 7 + 1) if self.v6 else "198.51.100.7"

    def neighbour(self):
        return "2001:db8:77:1::1" if self.v6 else "198.51.100.8"

    def banned(self):
        return "2001:db8:77::/64" if self.v6 else "198.51.100.7/32"

    def connect(self, client):
        listener = "imap6" if self.v6 else "imap"
        if not self.balanced:
            return socket.create_connection(("::1" if self.v6 else "127.0.0.1", self.router.ports[listener]),
                                            harness.PATIENCE, (client, 0))
        sock = self.router.connect("balanced", BALANCER)
        tell(sock, client)
        return sock

    def login(self, client, user, password):
        """Whether it was good; None where the client is not let in."""
        try:
            with harness.Client(self.connect(client)) as talk:
                talk.line()
                return talk.command("a LOGIN %s %s" % (user, password))[-1].startswith("a OK")
        except (ConnectionError, EOFError):
            return None


@pytest.fixture(params=["one-address", "one-64", "one-address-balanced", "one-64-balanced"])
def way(request, make, network, no_bans_left): # noqa: F811
    subprocess.run(["ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo"], check=True)
    subprocess.run(["ip", "-6", "route", "add", "local", "2001:db8:77::/48", "dev", "lo"], check=True)
    network("net.ipv6.ip_nonlocal_bind", "1")
    port = harness.free_port()
    router = make.router(
        [make.node("node1", tls="plain")],
        listeners={"imap": "plain", "balanced": (
            "plain", 'proxy_protocol = "required"\nproxy_trusted = ["127.0.4.0/24"]\n', "imap")},
        extra=PLAIN_AUTH + guard(BAN_AFTER) + '[listener.imap6]\nprotocol = "imap"\nbind = ["[::1]:%d"]\n'
        'tls = "plain"\n' % port)
    router.ports["imap6"] = port
    return Way(router, "64" in request.param, "balanced" in request.param), router


def test_GRD_2_a_thousand_accounts(way):
    way, router = way
    answers, honest = [], []
    for number in range(ACCOUNTS):
        answers.append(way.login(way.attacker(number), "user%d" % number, "wrong"))
        if number % 100 == 50:
            honest.append(way.login(way.neighbour(), "alice", "pw"))
    assert honest == [True] * len(honest)
    assert answers == [False] * BAN_AFTER + [None] * (ACCOUNTS - BAN_AFTER)
    rows = router.admin("GET", "/bans")[1]["bans"]
    assert [(row["net"], row["origin"], row["reason"], row["told"], row["strikes"]) for row in rows] == [
        (way.banned(), "local", "refused", way.balanced, 1)]
    assert way.login(way.attacker(0), "alice", "pw") is None
