# SPDX-License-Identifier: Apache-2.0
"""Rules of the mapping that a reload of the configuration has to show."""

import harness
import pytest
from harness import wait_until
from test_admin_mapping import lock_db, login, rollback_journal, served, unlock_db  # noqa: F401


@pytest.mark.parametrize("removed", [True, False])
def test_MAP_94_a_stale_entry_of_a_node_that_is_gone(make, rollback_journal, removed):  # noqa: F811
    """The store is away and the entry's node is no longer declared: the default node. With the node
    still declared, the same entry is served."""
    nodes = [make.node("node%d" % i) for i in (1, 2, 3)]
    router = make.router(nodes, start=False, mapping_extra='positive_ttl = "1s"\n'
                         'lookup_timeout = "1s"\n')
    rollback_journal(router)
    router.map({"alice": "node2", "bob": "node3"})
    router.start()
    login(router, "alice"), login(router, "bob")
    wait_until(lambda: router.stats()["stale_entries"] == 2)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    gone = nodes[1].toml()
    assert gone in text
    if removed:
        text = text.replace(gone, "")
    else:
        text += "# read again\n"
    router.workspace.write("homing.toml", text)
    assert router.admin("POST", "/config/reload")[0] == 200
    db = lock_db(router)
    try:
        login(router, "alice"), login(router, "bob")
        assert served(nodes[2]) == ["bob", "bob"] # its node is declared: stale
        assert served(nodes[0]) == (["alice"] if removed else [])
        assert served(nodes[1]) == (["alice"] if removed else ["alice", "alice"])
        assert router.stats()["stale_served"] == (1 if removed else 2)
        routes = [line["route"] for line in router.wait_sessions(4)[2:]]
        assert routes == (["default", "stale"] if removed else ["stale", "stale"])
    finally:
        unlock_db(router, db)
