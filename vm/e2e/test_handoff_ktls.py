# SPDX-License-Identifier: Apache-2.0
"""Sessions whose TLS is at the node's agent, on kernels that have TLS and sockmap (HND-3, HND-31, HND-33,
HND-34): the router's path is sockmap, the agent's ktls, or record, with which tests/e2e/test_handoff.py says
more. Runs inside the virtual machines; every test says which paths must have carried the bytes."""

import collections
import contextlib
import os
import random
import signal
import socket
import ssl
import time

import harness
import pytest
import test_handoff_torture as torture
from bulk import Bulk
from harness import node_login, wait_until
from rawtls import Changing, Program, Records
from test_handoff import agents, cluster, login, route, tls_login  # noqa: F401
from test_handoff_modes import has_kernel_tls
from tls_peers import hash_of, hashing_node, version

paths = pytest.mark.parametrize("path", ["record", "ktls"])
versions = pytest.mark.parametrize("name", ["TLSv1_2", "TLSv1_3"])


@pytest.fixture
def site(make, cluster, agents):  # noqa: F811
    """Starts a node, its agent on a path, and a router."""
    def start(path="ktls", serve=harness.node_imap, **kwargs):
        node = make.node("node1", serve, tls="plain", proxy=True)
        agent = agents(node, extra='[splice]\nmode = "%s"\n' % path, **kwargs)
        assert has_kernel_tls(agent), agent.stats()["probe"]
        return node, agent, route(make, cluster, node, agent, '[splice]\narm_after = "0s"\n')
    return start


def wait_paths(agent, router, path="ktls", user="alice"):
    router.wait_path("sockmap", user)
    agent.wait_path(path, user)


def the_sessions(agent, router, path="ktls", count=1):
    """The last one's lines, of the router and of the agent."""
    line, other = router.wait_sessions(count)[-1], agent.wait_sessions(count)[-1]
    assert (line["tls_at"], line["path_up"], line["path_down"]) == ("agent", "sockmap", "sockmap"), line
    assert (other["path_up"], other["path_down"]) == (path, path), other
    return line, other


def rekeys(agent):
    """Whether this kernel can change keys."""
    return any(row["name"].startswith("ktls key update") and row["ok"] for row in agent.stats()["probe"])


@paths
@versions
def test_HND_3_bulk(site, path, name):
    load = Bulk(8 << 20)
    _, agent, router = site(path, load.serve)
    with tls_login(router, maximum_version=getattr(ssl.TLSVersion, name)) as client:
        wait_paths(agent, router, path)
        load.run(client)
    line, other = the_sessions(agent, router, path)
    assert (other["bytes_up"], other["bytes_down"]) == (str(load.size + len("start\nend\n")), str(load.size))
    assert int(line["bytes_down"]) > load.size and other["tls"] == line["tls"]
    assert line["tls"].startswith(name.replace("_", ".")), line


@versions
def test_HND_31_pipelined(site, name):
    """Much behind the login, cut anywhere: whole records, beginnings of records, text that waits. And a node
    that talks without being asked."""
    count = 1500

    def serve(conn):
        node_login(conn)
        conn.send("* 1 EXISTS\r\n" * 50)
        for _ in range(count):
            conn.send("%s OK\r\n" % conn.line().split(" ")[0])
        conn.line()

    _, agent, router = site(serve=serve)
    rng = random.Random(1)
    for turn in range(4):
        context = version(router.tls_context(), name)
        with Records(router.connect(), context) as client:
            client.line()
            data = client.seal("a LOGIN u%d pw\r\n" % turn)
            for i in range(0, count, 100):
                data += client.seal("".join("t%d NOOP\r\n" % k for k in range(i, i + 100)))
            while data:
                cut = rng.choice([1, 9, 100, 1500, 30000])
                client.sock.sendall(data[:cut])
                data = data[cut:]
                if rng.random() < 0.1:
                    time.sleep(0.005)
            seen = []
            while len(seen) < count:
                line = client.line()
                seen += [line] if line.startswith("t") else []
            assert seen == ["t%d OK" % i for i in range(count)]
            wait_paths(agent, router, user="u%d" % turn)
            client.send("end\r\n")
            assert client.read() == b""
        the_sessions(agent, router, count=turn + 1)


@versions
def test_HND_31_records_cut_at_the_switch(site, name):
    """The beginning of a record comes with the login, the rest when the agent has the keys: the router has
    read it and opened nothing of it. Or that record is whole, and the next one begins."""
    _, agent, router = site()
    for turn, cut in enumerate((0, 1, 4, 5, 6, 14, 22, -1, None)):
        user = "u%d" % turn
        with Records(router.connect(), version(router.tls_context(), name)) as client:
            client.line()
            data, first, second = (client.seal(text) for text in
                                   ("a LOGIN %s pw\r\n" % user, "b NOOP\r\n", "c NOOP\r\n"))
            at = len(first) + 7 if cut is None else cut
            client.sock.sendall(data + (first + second)[:at])
            assert client.line().startswith("a OK")
            wait_paths(agent, router, user=user)
            client.sock.sendall((first + second)[at:])
            assert [client.line(), client.line()] == ["b OK NOOP", "c OK NOOP"]


@pytest.mark.parametrize("ask", [False, True])
def test_HND_33_keys_change_at_the_switch(site, ask):
    """Before the client has heard that it is logged in: in the router, on its way, or in the agent."""
    _, agent, router = site()
    for turn in range(8):
        with Changing(router.connect()) as client:
            client.read()
            client.send("a LOGIN u%d pw\r\n" % turn)
            time.sleep(turn % 4 * 0.003)
            with contextlib.suppress(AssertionError): # the session may be over
                for i in range(3):
                    client.change_keys(ask)
                    client.send("b%d NOOP\r\n" % i)
            heard = b""
            while b"b2 OK" not in heard and (data := client.read()):
                heard += data
        reason = agent.wait_sessions(turn + 1)[-1]["reason"]
        if not rekeys(agent):
            assert b"b2 OK" in heard or reason == "key_update", (heard, reason)
        else:
            assert [heard.count(b"b%d OK" % i) for i in range(3)] == [1, 1, 1], (heard, reason)


@pytest.mark.parametrize("asks", ["k", "K"])
def test_HND_33_key_update(site, asks):
    """Followed by kernels that can; else the session ends, and the agent says why."""
    blob = b"".join(b"%07d\n" % i for i in range(8192))
    _, agent, router = site(serve=hashing_node(blob))
    with Program("openssl", "s_client", "-connect", "127.0.0.1:%d" % router.ports["imap"], "-crlf", "-tls1_3",
                 "-msg") as client:
        client.wait("* OK")
        client.say("a LOGIN alice pw\n")
        client.wait("a OK")
        wait_paths(agent, router)
        client.change_keys(asks)
        if not rekeys(agent):
            assert the_sessions(agent, router)[1]["reason"] == "key_update"
            assert agent.stats()["splice"]["key_updates"] == 1
            return
        for i in range(4):
            for line in ("first %d" % i, "second %d" % i):
                client.say(line + "\n")
                client.wait(hash_of(line).strip())
            client.change_keys(asks)
        client.say("blob\n")
        client.wait(blob[-8:].decode().strip())
        wait_paths(agent, router)
    assert the_sessions(agent, router)[1]["reason"] != "key_update"


def test_HND_33_key_updates_without_end(site):
    """32 in a row without data are too many, whoever follows them; the agent's other sessions go on."""
    _, agent, router = site()
    with login(router, "u0") as other:
        wait_paths(agent, router, user="u0")
        with Changing(router.connect()) as client:
            client.read()
            client.send("a LOGIN u1 pw\r\n")
            while b"a OK" not in client.read():
                pass
            wait_paths(agent, router, user="u1")
            with contextlib.suppress(AssertionError): # until nobody listens
                for _ in range(200):
                    client.change_keys(False)
            with contextlib.suppress(AssertionError):
                client.send("b NOOP\r\n")
            assert client.read() == b""
        reasons = ["key_update"] if not rekeys(agent) else ["client_error"]
        assert agent.wait_sessions(1)[0]["reason"] in reasons, agent.session_lines()
        router.wait_sessions(1)
        assert other.command("c NOOP")[-1] == "c OK NOOP"


@versions
def test_HND_34_kick(site, name):
    """The client gets close_notify, which only the agent can say; the node's side is closed."""
    node, agent, router = site()
    with Records(router.connect(), version(router.tls_context(), name)) as client:
        client.line()
        client.send("a LOGIN alice pw\r\n")
        assert client.line().startswith("a OK")
        wait_paths(agent, router)
        assert router.ctl("kick", "alice").returncode == 0
        assert client.read() == b""
    assert the_sessions(agent, router)[0]["reason"] == "kicked"
    assert node.connections[0].closed.wait(harness.PATIENCE)


@versions
def test_HND_34_the_client_ends_first(site, name):
    """Its close_notify reaches the node as an end; what that still says arrives, and its end with it."""
    text, heard = b"the last word\r\n" * 5000, []

    def serve(conn):
        node_login(conn)
        said = conn.buffer
        while data := conn.read():
            said += data
        heard.append(said)
        conn.send(text)

    _, agent, router = site(serve=serve)
    with Records(router.connect(), version(router.tls_context(), name)) as client:
        client.line()
        client.send("a LOGIN alice pw\r\n")
        assert client.line().startswith("a OK")
        wait_paths(agent, router)
        client.send(b"y" * 100000)
        client.end()
        got = b""
        while data := client.read():
            got += data
        assert got == text
    assert heard == [b"y" * 100000]
    assert the_sessions(agent, router)[1]["reason"] in ("client_eof", "client_quit")


@versions
def test_HND_34_the_node_ends_first(site, name):
    text, heard = b"z" * 200000, []

    def serve(conn):
        node_login(conn)
        conn.send(text)
        conn.sock.shutdown(socket.SHUT_WR)
        said = conn.buffer
        while data := conn.read():
            said += data
        heard.append(said)

    _, agent, router = site(serve=serve)
    with Records(router.connect(), version(router.tls_context(), name)) as client:
        client.line()
        client.send("a LOGIN alice pw\r\n")
        assert client.line().startswith("a OK")
        got = client.buffer
        while data := client.read():
            got += data
        assert got == text
        wait_paths(agent, router)
        client.send(b"y" * 100000)
        client.end()
        wait_until(lambda: heard)
    assert heard == [b"y" * 100000]
    the_sessions(agent, router)


def test_HND_33_truncation(site):
    """A client's FIN without close_notify is not a clean end to anybody."""
    node, agent, router = site()
    client = login(router)
    wait_paths(agent, router)
    client.sock.shutdown(socket.SHUT_RDWR)
    client.sock.close()
    assert node.connections[0].closed.wait(harness.PATIENCE)
    assert the_sessions(agent, router)[1]["reason"] == "truncated"


@pytest.mark.parametrize("who", ["agent", "router"])
def test_HND_34_killed(site, who):
    node, agent, router = site()
    client = login(router)
    wait_paths(agent, router)
    gone, left = (agent, router) if who == "agent" else (router, agent)
    gone.stop(expect=-9, how=signal.SIGKILL)
    with contextlib.suppress(OSError, ssl.SSLError):
        client.sock.settimeout(10)
        assert client.sock.recv(100) == b""
    client.close()
    assert node.connections[0].closed.wait(harness.PATIENCE)
    left.wait_sessions(1)


@paths
@versions
def test_HND_31_random_sessions(site, path, name):
    """Logins with everything behind them at once or in pieces; ends at once, on either side. Every byte of each
    is compared."""
    seed = int(os.environ.get("TORTURE_SEED", str(random.randrange(1 << 30))))
    print("seed", seed)
    counting = torture.Counting()
    _, agent, router = site(path, counting.serve)
    context, faults, done = router.tls_context(), [], [0] * 6
    context.maximum_version = getattr(ssl.TLSVersion, name)
    end = time.monotonic() + torture.SECONDS

    def work(number):
        rng = random.Random(seed + number)
        while time.monotonic() < end:
            done[number] += 1
            torture.one_session(router, context, number * 100000 + done[number], rng, faults, counting)
    torture.run_threads(len(done), work)
    assert not faults, (seed, faults[:5])
    assert sum(done) > 30
    lines, others = router.wait_sessions(sum(done)), agent.wait_sessions(sum(done))
    assert {line.get("tls_at") for line in lines} == {"agent"}
    assert len(others) == sum(done)
    seen = collections.Counter(line["path_up"] for line in others)
    # who has said close_notify before the agent has the keys stays on records
    assert set(seen) <= {path, "record"} and seen[path] > 0.7 * len(others), seen
    print("%d sessions" % sum(done), seen)
