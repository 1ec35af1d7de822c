# SPDX-License-Identifier: Apache-2.0
"""The client's keys: what is sealed with them on both wires, who has them when, and clients of other TLS
libraries that change them (HND-31, HND-33, section 5)."""

import base64
import contextlib
import os
import shutil
import socket
import threading
import time

import harness
import pytest
import tlswire
from between import DATA, Between, Instead
from harness import node_login, wait_until
from rawtls import Program
from test_handoff import agents, cluster, route  # noqa: F401
from test_record import SUITES, only

TOKEN_BYTES = 4 + 16
SESSIONS = int(os.environ.get("TORTURE_SECRETS", "20"))
# Python does not choose among those of TLS 1.3.
WIRE_SUITES = [("1.2", suite) for suite in SUITES["1.2"]] + [("1.3", "TLS_AES_256_GCM_SHA384")]


def stand(router, agent):
    """The channel stands, and a session was handed over. Returns how many have ended."""
    def handed():
        with router.client() as client:
            client.line()
            client.command("a LOGIN first pw")
            client.send("end\r\n")
            client.line()
        return agent.session_lines()
    wait_until(handed)
    return len(router.wait_sessions(1))


def talking(conn):
    """Says something all the time until it is told to end."""
    over = threading.Event()
    conn.sock.setsockopt(6, 1, 1) # TCP_NODELAY
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR] here\r\n")
    tag = conn.line().split(" ")[0]

    def talk():
        with contextlib.suppress(OSError):
            for number in range(400):
                conn.send("* %d EXISTS\r\n" % number)
                if number % 8 == 0:
                    time.sleep(0.001) # it is still talking when the switch is over
                if number == 3:
                    conn.send("%s OK in\r\n" % tag)
        over.set()
    thread = threading.Thread(target=talk)
    thread.start()
    said = b""
    while b"end\r\n" not in said:
        said += conn.buffer or conn.read()
        conn.buffer = b""
    over.wait(harness.PATIENCE)
    thread.join()
    conn.said = said
    conn.send("* BYE\r\n")


def says(count):
    return "".join("b%d NOOP\r\n" % i for i in range(count)) + "end\r\n"


@pytest.mark.parametrize("version, suite", WIRE_SUITES)
def test_HND_31_no_number_twice(make, cluster, agents, workspace, version, suite):  # noqa: F811
    """Both wires are recorded, between client and router and between router and agent, while both ends talk
    around the switch. Every record opens with the number behind the one before it, and what the agent's wire
    has is how the client's goes on."""
    node = make.node("node1", talking, tls="plain", proxy=True)
    agent, sessions = agents(node), 10
    with Between(agent.port) as inner:
        router = route(make, cluster, node, Instead(agent, inner.port), server="threads = 1\n")
        first = stand(router, agent)
        inner.passings.clear()
        with Between(router.ports["imap"]) as outer:
            context = only(router.tls_context(), version)
            if version == "1.2":
                context.set_ciphers(suite)
            context.keylog_filename = os.path.join(workspace.path, "keys")
            heard = [a_session(outer, context) for _ in range(sessions)]
            wait_until(lambda: all(p.over.is_set() for p in outer.passings + inner.of_kind(DATA)))
            check_wires(outer, inner, heard, tlswire.key_log(context.keylog_filename), version)
    assert {line["tls_at"] for line in router.wait_sessions(first + sessions)[first:]} == {"agent"}
    assert [conn.said.decode() for conn in node.connections[-sessions:]] == [says(50)] * sessions


def a_session(outer, context):
    """Says its lines a record each; what it hears."""
    sock = socket.create_connection(("127.0.0.1", outer.port), harness.PATIENCE)
    with harness.Client(sock, context) as client:
        client.send("a LOGIN alice pw\r\n")
        for line in says(50).splitlines(True):
            client.send(line)
        heard = client.eof()
        with contextlib.suppress(OSError):
            client.sock.unwrap()
        return heard


def check_wires(outer, inner, heard, log, version):
    ups, downs = [], []
    for passing, got in zip(outer.passings, heard):
        session = tlswire.Session(passing.up, passing.down, log)
        assert session.is_13 == (version == "1.3")
        texts = session.texts(passing.down, True)
        assert b"".join(text for kind, text in texts if kind == tlswire.APPLICATION) == got
        assert len(texts) > 3
        session.texts(passing.up, False)
        ups.append(bytes(passing.up))
        downs.append(bytes(passing.down))
    for data in inner.of_kind(DATA):
        assert any(up.endswith(bytes(data.up[TOKEN_BYTES:])) for up in ups)
        assert any(down.endswith(bytes(data.down)) for down in downs) and data.down
    assert len(inner.of_kind(DATA)) == len(ups)


# ---- who has them ----

def memory(pid):
    """All that a process can write, in pieces."""
    with open("/proc/%d/maps" % pid, encoding="ascii") as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            span, mode, *_ = line.split()
            start, end = (int(x, 16) for x in span.split("-"))
            if mode.startswith("rw") and end - start <= 1 << 32:
                with contextlib.suppress(OSError, OverflowError, ValueError):
                    mem.seek(start)
                    yield mem.read(end - start)


def held(process, needles):
    """Which of them a process has: {name: secret}."""
    pieces = list(memory(process.process.pid))
    return {name for name, needle in needles.items() if any(needle in piece for piece in pieces)}


def secrets_of(outer, log):
    """Of all sessions: (of traffic, others), each {(number, what): bytes}. A key of traffic is of one direction."""
    traffic, others = {}, {}
    for number, passing in enumerate(outer.passings):
        session = tlswire.Session(passing.up, passing.down, log)
        for is_server in (False, True):
            secret, key, iv = session.keys(is_server)
            side = "server" if is_server else "client"
            traffic[number, side + " key"] = key
            if session.is_13:
                traffic[number, side + " secret"] = secret
            if len(iv) >= 12:
                traffic[number, side + " iv"] = iv
        others.update({(number, label): secret for label, secret in session.secrets.items()
                       if secret not in traffic.values()})
    return traffic, others


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_SEC_21_keys_are_where_their_sessions_are(make, cluster, agents, workspace, version):  # noqa: F811
    """handoff.md section 5. Before the switch the router has them; after it none of any session, and the agent
    those of traffic as long as the session lives. Nothing is in a log."""
    if os.geteuid() != 0:
        pytest.skip("needs root to read another process's memory")
    asked, go = threading.Semaphore(0), threading.Event()

    def serve(conn):
        def accept(user, _):
            if user != "first": # its router waits for the answer, and has the keys
                asked.release()
                go.wait(200)
            return True
        if node_login(conn, accept) is None:
            return
        while line := conn.line():
            conn.send("%s OK\r\n" % line.split(" ")[0])

    node, count = make.node("node1", serve, tls="plain", proxy=True), SESSIONS
    settings = {"server": 'threads = 1\nbackend_timeout = "200s"\n', "environment": {"HOMING_LOG": "trace"}}
    agent = agents(node, **settings)
    router = route(make, cluster, node, agent, **settings)
    with contextlib.ExitStack() as stack:
        outer = stack.enter_context(Between(router.ports["imap"]))
        first = stand(router, agent)
        context = only(router.tls_context(), version)
        context.keylog_filename = os.path.join(workspace.path, "keys")
        clients = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", outer.port), harness.PATIENCE)
            clients.append(stack.enter_context(harness.Client(sock, context)))
            clients[-1].line()
            clients[-1].send("a LOGIN alice pw\r\n")
            assert asked.acquire(timeout=harness.PATIENCE)
        traffic, others = secrets_of(outer, tlswire.key_log(context.keylog_filename))
        assert len(traffic) >= 2 * count and others
        # the search does find things; OpenSSL has made keys into other things
        assert len(held(router, {**traffic, **others})) >= count
        assert not held(agent, {**traffic, **others})
        go.set()
        for client in clients:
            assert client.line().startswith("a OK")
            assert client.command("b NOOP")[-1] == "b OK"
        agent.wait_path("record", "alice")
        gone = {**traffic, **others}
        assert not held(router, gone)
        assert not held(agent, others)
        assert {number for number, _ in held(agent, traffic)} == set(range(count))
        for client in clients:
            client.close()
        lines = router.wait_sessions(first + count)
        agent.wait_sessions(first + count)
    assert {line.get("tls_at") for line in lines[first:]} == {"agent"}
    assert not held(router, gone) and not held(agent, {**traffic, **others})
    for process in (router, agent):
        log = process.log().lower()
        for secret in [*traffic.values(), *others.values()]:
            assert secret.hex() not in log and base64.b64encode(secret).decode().lower() not in log


# ---- clients that change their keys ----

def changes(make, cluster, agents):  # noqa: F811
    node = make.node("node1", tls="plain", proxy=True)
    agent = agents(node)
    return agent, route(make, cluster, node, agent)


def enters(client, agent):
    client.wait("* OK")
    client.say("a LOGIN alice pw\r\n")
    client.wait("a OK")
    agent.wait_path("record", "alice")


@pytest.mark.skipif(not shutil.which("gnutls-cli"), reason="no gnutls-cli")
def test_HND_33_key_update_of_gnutls(make, cluster, agents):  # noqa: F811
    """It changes its own keys, and asks for ours."""
    agent, router = changes(make, cluster, agents)
    with Program("gnutls-cli", "--inline-commands", "--no-ca-verification", "--priority",
                 "NORMAL:-VERS-ALL:+VERS-TLS1.3", "--port", router.ports["imap"], "127.0.0.1") as client:
        enters(client, agent)
        for i in range(6):
            client.say("^%s^\n" % ("rekey", "rekey1")[i % 2])
            client.wait("Rekey was completed")
            client.say("t%d NOOP\r\n" % i)
            client.wait("t%d OK" % i)
    assert router.wait_sessions(1)[0]["tls_at"] == "agent"


@pytest.mark.skipif(not shutil.which("javac"), reason="no Java")
def test_HND_33_key_update_of_java(make, cluster, agents):  # noqa: F811
    """Of its own accord, for what it says and for what it hears."""
    agent, router = changes(make, cluster, agents)
    source = os.path.join(harness.ROOT, "tests", "peers", "Lines.java")
    with Program("java", "-XX:TieredStopAtLevel=1", "-Djavax.net.debug=ssl:handshake", source,
                 router.ports["imap"]) as client:
        enters(client, agent)
        said = ""
        for i in range(6):
            client.say("t%d NOOP%s\r\n" % (i, " " * 9000))
            said += client.wait("t%d OK" % i)
        for what in ("Produced KeyUpdate", "write key updated", "read key updated"):
            assert said.count(what) >= 3, (what, said)
    assert router.wait_sessions(1)[0]["tls_at"] == "agent"
