# SPDX-License-Identifier: Apache-2.0
"""A user's configuration, cluster.toml, exactly as it is written: its addresses, ports and paths, the
trust of the system, PostgreSQL by the environment. Namespaces give it what it names: one network for
the router and the clients, one for the three nodes, and an /etc of the router's own. Each node is a
Dovecot, a Postfix and an nginx; what is asserted stands in their logs."""

import contextlib
import re

import pytest
from cluster import CLIENT6, Cluster
from http_nodes import basic
from mailnodes import MailClient


@pytest.fixture(scope="module")
def cluster():
    with contextlib.ExitStack() as stack:
        yield Cluster(stack)


def test_three_protocols_one_node(cluster):
    """Also from an IPv6 client, and whatever letters the name is written in."""
    homes = {"alice@example.com": "node2", "bob@example.com": "node3", "carol@example.com": "node1"}
    for user, node in homes.items():
        cluster.assign(user, node)
    for user, node in homes.items():
        with cluster.lookups(hits=2, misses=1): # one question for the three
            cluster.visit(node, user)
        with cluster.lookups(hits=3, misses=0):
            cluster.visit(node, user, CLIENT6)
    with cluster.lookups(hits=1, misses=0), \
            cluster.expect("node3", "bob@example.com", protocols=["imap"]):
        cluster.imap("BOB@Example.com").quit()


def test_unmapped_accounts_go_to_the_default_node(cluster):
    with cluster.lookups(hits=2, misses=1):
        cluster.visit("node1", "dave@example.com")
    with cluster.http() as client: # no account at all
        response = client.ask("/none")
        assert (response.status, response["X-Node"]) == (401, "node1")
    with cluster.told(): # a row comes
        cluster.assign("dave@example.com", "node3", silent=False)
    with cluster.lookups(hits=2, misses=1):
        cluster.visit("node3", "dave@example.com")


def test_an_updated_row_counts_after_invalidation(cluster):
    """The positive lifetime, 30 minutes, keeps the old node until somebody says that it is over: for one
    account or for all."""
    users = ("erin@example.com", "frank@example.com")
    for user in users:
        cluster.assign(user, "node2")
        cluster.visit("node2", user)
        status, entry, _ = cluster.router.admin("GET", "/mappings?identifier=" + user)
        assert status == 200 and 29 * 60 < entry["expires_in_s"] <= 30 * 60, entry
    with cluster.imap(users[0]) as kept, cluster.http() as open_:
        assert open_.ask("/none", basic(users[0]))["X-Node"] == "node2"
        for user in users:
            cluster.update(user, "node3", silent=True)
            with cluster.lookups(hits=3, misses=0):
                cluster.visit("node2", user)
        cluster.router.ctl("flush", users[0])
        with cluster.lookups(hits=2, misses=1):
            cluster.visit("node3", users[0])
        cluster.visit("node2", users[1])
        assert open_.ask("/none", basic(users[0]))["X-Node"] == "node3"
        kept.works() # a session stays where it began
        cluster.router.ctl("flush")
        for user in users:
            with cluster.lookups(hits=2, misses=1):
                cluster.visit("node3", user)


def test_an_updated_row_counts_at_once_where_the_table_tells(cluster):
    user = "grace@example.com"
    cluster.assign(user, "node2")
    cluster.visit("node2", user)
    for node in ("node3", "node1"):
        with cluster.told():
            cluster.update(user, node)
        with cluster.lookups(hits=2, misses=1):
            cluster.visit(node, user)


def test_stats_show_the_hit_rate(cluster):
    """And homingctl says the same."""
    user = "heidi@example.com"
    cluster.assign(user, "node2")
    with cluster.lookups(hits=19, misses=1), cluster.http() as client:
        for _ in range(20):
            assert client.ask("/none", basic(user))["X-Node"] == "node2"
    stats = cluster.router.stats()
    hits, misses = stats["cache_hits"], stats["cache_misses"]
    assert stats["hit_rate_pct"] == round(100 * hits / (hits + misses), 2)
    assert 0 < stats["hit_rate_pct"] < 100
    assert re.search(r"hit_rate_pct\W+%.2f\b" % stats["hit_rate_pct"], cluster.router.ctl("stats"))
    assert stats["store_state"] == "up" and stats["unknown_destination"] == 0


def test_the_nodes_are_verified_by_the_system_s_trust(cluster):
    """The same without the authority among the system's: nobody gets in, no password leaves."""
    user, router = "alice@example.com", cluster.router
    router.trust("/dev/null")
    router.restart()
    try:
        before = cluster.logins()
        client = MailClient("imap", router.connect(), router.tls_context(), "implicit")
        client.send("a LOGIN %s pw\r\n" % user)
        assert client.line().startswith("a NO [UNAVAILABLE]")
        client.close()
        with cluster.http() as client:
            assert client.ask("/none", basic(user)).status in (502, 503)
        assert cluster.logins() == before
        assert {line["reason"] for line in router.wait_sessions(1)} == {"tls_node"}
    finally:
        router.trust(cluster.authority[0])
        router.restart()
    cluster.visit("node2", user)
