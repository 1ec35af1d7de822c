# SPDX-License-Identifier: Apache-2.0
"""An agent's own `splice.mode` (HND-3): the client's leg comes to it on records, and becomes the kernel's
when it is told so and can be. What a kernel with TLS does then is in vm/e2e/test_handoff_ktls.py."""

import pytest
from bulk import Bulk
from metrics import fetch, values
from test_handoff import agents, cluster, login, route  # noqa: F401


def has_kernel_tls(agent):
    return any(row["name"] == "ktls TLSv1.3 AES-256-GCM" and row["ok"] for row in agent.stats()["probe"])


@pytest.mark.parametrize("tls", ["plain", "implicit"])
@pytest.mark.parametrize("mode", ["auto", "record", "ktls", "copy", "sockmap"])
def test_HND_3_splice_mode(make, cluster, agents, mode, tls):  # noqa: F811
    """Of both legs of the agent's the one that costs most names the path (REC-2)."""
    load = Bulk(1 << 20)
    node = make.node("node1", load.serve, tls=tls, proxy=True)
    agent = agents(node, extra='[splice]\nmode = "%s"\n' % mode)
    router = route(make, cluster, node, agent)
    kernel = mode == "ktls" and has_kernel_tls(agent)
    path = "ktls" if kernel else "record"
    if tls == "implicit" and mode in ("copy", "sockmap") + (() if kernel else ("ktls",)):
        path = "copy" # the node's leg: OpenSSL has that one
    warned = any("msg=path_unavailable path=ktls" in line for line in agent.lines)
    assert warned == (mode == "ktls" and not kernel), agent.log() # SEC-12, as on a router
    with login(router) as client:
        agent.wait_path(path, "alice")
        load.run(client)
    line, other = router.wait_sessions(1)[0], agent.wait_sessions(1)[0]
    assert line["tls_at"] == "agent", line
    assert (other["path_up"], other["path_down"]) == (path, path), other
    assert (other["bytes_up"], other["bytes_down"]) == (str(load.size + len("start\nend\n")), str(load.size)), other
    seen = values(fetch(agent)[1])
    assert seen['homing_path_bytes_total{path="%s",direction="down"}' % path] >= load.size
