# SPDX-License-Identifier: Apache-2.0
"""What a client may hold before it has logged in: time, places, memory."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

import harness
from harness import PATIENCE, Client, fast_time, rss_kib, wait_until
from http_nodes import Wire, answer, basic, http, refused  # noqa: F401

FAST = 30
BODY = '[[http.route]]\nmatch = "/body"\nextract = { from = "body", regex = "u=([^&]*)" }\n'
PINNED = '[[http.route]]\nmatch = "/node3"\ndestination = "node3"\n'
ALL = '[[http.route]]\nmatch = "/**"\nextract = { from = "authorization" }\n'


# ---- time ----

def drip(client, data, pause=0.1, step=1):
    """Sends until the router has had enough, or for a while."""
    with contextlib.suppress(OSError):
        for at in range(0, len(data), step):
            client.send(data[at:at + step])
            if client.readable(pause):
                return True
    return False


def together(*cases):
    """Each in a thread of its own; what one fails with is raised."""
    faults = []

    def run(case):
        try:
            case()
        except BaseException as error: # pylint: disable=broad-except
            faults.append(error)
    threads = [threading.Thread(target=run, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def test_HTTP_4_a_head_has_its_time_in_all(http):
    """30 s, thirty times as fast; a byte every 3 s is never silence."""
    router = http.router([http.node("node1")], listener='preauth_timeout = "10m"',
                         environment=fast_time(FAST))

    def first():
        with http.client(router) as c:
            assert drip(c, b"GET / HTTP/1.1\r\nX: " + b"y" * 200)
            refused(c, 408)

    def later():
        with http.client(router) as c:
            assert c.ask("/").status == 200
            assert drip(c, b"GET / HTTP/1.1\r\nX: " + b"y" * 200)
            refused(c, 408)
    start = time.monotonic()
    together(first, later)
    assert 0.8 < time.monotonic() - start < 15
    assert {line["reason"] for line in router.wait_sessions(2)} == {"preauth_timeout", "idle"}


def test_HTTP_4_the_first_head_has_preauth_timeout_too(http):
    router = http.router([http.node("node1")], listener='preauth_timeout = "1s"')
    with http.client(router) as c:
        assert drip(c, b"GET / HTTP/1.1\r\nX: " + b"y" * 200)
        refused(c, 408)


def slow_answers(conn):
    wire = Wire(conn.read)
    head = wire.head()
    if head.path == "/slow": # the node's own pace, below the rate: nobody's fault
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        for _ in range(40):
            conn.send("x")
            time.sleep(0.08)
    elif head.path == "/big":
        with contextlib.suppress(OSError):
            conn.sock.settimeout(PATIENCE)
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
            for _ in range(64):
                conn.send(b"z" * (1 << 20))
    else:
        answer(conn, wire.body(head)[:1])


def test_HTTP_32_a_body_has_a_least_rate(http):
    """100 B/s over 30 s, thirty times as fast: 3000 bytes in a second."""
    router = http.router([http.node("node1", slow_answers)], routes=BODY + ALL,
                         http='relay_idle = "1h"', environment=fast_time(FAST))

    def trickle(path):
        with http.client(router) as c:
            c.send("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" % path)
            assert drip(c, b"y" * 200)
            refused(c, 408)

    def deaf():
        with http.client(router) as c:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: len([x for x in router.session_lines()
                                    if x["reason"] == "slow_client"]) == 3)
            with pytest.raises((ConnectionResetError, EOFError)):
                c.wire.exactly(64 << 20)

    def steady():
        with http.client(router) as c:
            c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
            assert drip(c, b"y" * 60000, 0.05, 1500) or c.readable(PATIENCE)
            assert c.answer().status == 200

    def node_is_slow():
        with http.client(router) as c:
            assert c.ask("/slow").body == b"x" * 40
    together(lambda: trickle("/body"), lambda: trickle("/up"), deaf, steady, node_is_slow)
    reasons = sorted(line["reason"] for line in router.wait_sessions(5))
    assert reasons == ["client_eof"] * 2 + ["slow_client"] * 3
    nodes = router.admin("GET", "/destinations")[1]["destinations"]
    assert nodes[0]["consecutive_failures"] == 0


def test_section_3_the_last_answer_has_its_time_in_all(make, network):
    """60 s, thirty times as fast, for a client that takes what it is owed in sips. Buffers are small,
    so that each sip is progress."""
    network("net.ipv4.tcp_wmem", "4096 4096 4096")
    router = make.router([make.node("node1")], environment=fast_time(FAST), listeners={
        "imap": ("plain", 'preauth_timeout = "20s"')})
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", router.ports["imap"]))
    with sock, contextlib.suppress(ConnectionResetError):
        sock.sendall(b"a CAPABILITY\r\n" * 200) # more answers than there is room for between us
        got, end = b"", time.monotonic() + PATIENCE
        while time.monotonic() < end and (data := sock.recv(256)):
            got += data
            time.sleep(0.15)
        assert b"* BYE" not in got # it was not waited for
    assert router.wait_sessions(1)[0]["reason"] in ("auth_limit", "preauth_timeout")


# ---- places ----

IMAP_TOO = '\n[destination.node1.protocol.imap]\nport = %d\ntls = "implicit"\n'


def waiting(router, count):
    wait_until(lambda: len([x for x in router.sessions(limit=1000)["sessions"]
                            if x["stage"] == "hold"]) == count)


def test_SES_43_waiting_logins_are_limited(http, make):
    """64 of an account, whatever their protocol; another account is not touched."""
    http_node = http.node("node1")
    mail = make.node("node2")
    toml = http_node.toml() + IMAP_TOO % http_node.port
    router = http.router([toml, mail.toml()], default="node1", extra='[listener.imap]\n'
                         'protocol = "imap"\nbind = ["127.0.0.1:0"]\ntls = "plain"\n'
                         '[capabilities.imap]\nallow_plain_auth_without_tls = true\n')
    router.map({"alice": "node2", "bob": "node2", "carol": "node1"})
    assert router.admin("POST", "/connections/delay?identifier=alice&seconds=600")[0] == 200
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(router.client(tls=False)) for _ in range(64)]
        for client in clients:
            client.line()
            client.send("a LOGIN alice pw\r\n")
        waiting(router, 64)
        with router.client(tls=False) as more:
            more.line()
            assert more.command("b LOGIN alice pw") == [
                "b NO [UNAVAILABLE] Service temporarily unavailable."]
            assert more.eof() == b"* BYE Try again later.\r\n"
        assert router.wait_sessions(1)[0]["reason"] == "hold_limit"
        with http.client(router) as c:
            c.send("GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % basic("alice"))
            refused(c, 503)
        assert router.wait_sessions(2)[1]["reason"] == "hold_limit"
        with http.client(router) as c: # nobody else is touched
            assert c.ask("/", basic("carol"))["X-Node"] == "node1"
        clients[0].close() # a place is free
        waiting(router, 63)
        with http.client(router) as c:
            c.send("GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % basic("alice"))
            waiting(router, 64)
        waiting(router, 63)
        assert router.admin("POST", "/connections/delay?identifier=alice&seconds=0")[0] == 200
        for client in clients[1:]:
            assert client.line().startswith("a OK")
    nodes = router.admin("GET", "/destinations")[1]["destinations"]
    assert all(node["consecutive_failures"] == 0 for node in nodes)


# ---- memory ----

COUNT = 40
PIPELINED = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 3000


def fill(client, data):
    """As much as is taken."""
    client.sock.settimeout(0.5)
    with contextlib.suppress(OSError):
        client.sock.sendall(data)
    client.sock.settimeout(PATIENCE)


def settled(pid):
    """RSS once it has stopped growing."""
    last = []

    def still():
        last.append(rss_kib(pid))
        return len(last) > 8 and last[-1] == last[-8]
    wait_until(still, interval=0.03)
    return last[-1]


def head_of(path, fields, size=60000):
    return ("POST %s HTTP/1.1\r\nHost: x\r\n%sX: " % (path, fields)).encode() + b"y" * size + b"\r\n\r\n"


def memory_within(router, states, release=lambda: None, count=COUNT, bound_kib=256):
    """So many clients enter each state, on top of those before. Asserts SES-3's bound; returns the stages."""
    grown = {}
    with contextlib.ExitStack() as stack:
        for name, enter in states.items():
            before = settled(router.process.pid)
            for i in range(count):
                stack.callback(enter(i).close)
            grown[name] = (settled(router.process.pid) - before) // count
        stages = [x["stage"] for x in router.sessions(limit=10000)["sessions"]]
        release()
    assert all(kib < bound_kib for kib in grown.values()), grown
    return stages


@pytest.mark.skipif("-san" in harness.BUILD, reason="measures the program, not the sanitizer")
def test_SES_3_memory_before_login_in_every_state(http, make):
    """256 KiB a connection, TLS included: the worst that each state lets a client leave behind."""
    stop = threading.Event()

    def silent(conn):
        stop.wait(PATIENCE)

    def greets(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
        while (line := conn.line()) is not None:
            if " AUTHENTICATE " in line.upper() or " LOGIN " in line.upper():
                stop.wait(PATIENCE)
                return
            conn.send("%s OK done\r\n" % line.split(" ")[0])
    deaf = http.node("node1", silent) # no TLS ever comes of it
    nodes = [deaf, make.node("node2", greets, tls="plain"), http.node("node3", silent)]
    tomls = [node.toml() for node in nodes]
    tomls[0] = tomls[0].replace('tls = "plain"', 'tls = "implicit"') + IMAP_TOO % deaf.port
    router = http.router(tomls, default="node1", routes=PINNED + BODY + ALL,
                         tls="implicit",
                         listener='preauth_timeout = "10m"\n', http='relay_idle = "10m"',
                         server='threads = 1\nbackend_timeout = "5m"',
                         extra='[listener.imap]\nprotocol = "imap"\nbind = ["127.0.0.1:0"]\n'
                         'tls = "implicit"\npreauth_timeout = "10m"\n')
    router.map({"bob": "node2", "dave": "node1"})
    for who in ("held1", "held2"):
        assert router.admin("POST", "/connections/delay?identifier=%s&seconds=3600" % who)[0] == 200
    chunks = b"1\r\nx\r\n" * 65533
    chunked = "Transfer-Encoding: chunked\r\n"

    def mail(login, data):
        def enter(i):
            c = router.client(source="127.0.0.%d" % (i % 50 + 2))
            c.line()
            c.send("a LOGIN %s {8000+}\r\n%s\r\n" % (login % (i % 2 + 1) if "%" in login else login,
                                                      "p" * 8000))
            fill(c, data)
            return c
        return enter

    def web(*parts):
        def enter(i):
            c = http.client(router, "127.0.0.%d" % (i % 50 + 2))
            for part in parts:
                fill(c, part(i) if callable(part) else part)
            return c
        return enter

    def dialogue(_):
        c = router.client()
        c.line()
        fill(c, b"a ID (" + b"y" * 65000)
        return c

    def hello(_):
        c = Client(router.connect("imap"))
        c.send(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + b"y" * 16000)
        return c

    def held(i):
        who = b"u=held%d&" % (i % 2 + 1)
        return b"".join(b"1\r\n%c\r\n" % byte for byte in who) + chunks + PIPELINED
    states = {
        "tls": hello, "dialogue": dialogue,
        "mail hold": mail("held%d", b"b NOOP\r\n" * 9000),
        "mail dial": mail("dave", b"b NOOP\r\n" * 9000),
        "mail replay": mail("bob", b"b NOOP\r\n" * 9000),
        "head": web(head_of("/", "", 65400)[:-4]),
        "extract": web(head_of("/body", chunked), chunks),
        "hold": web(head_of("/body", chunked), held),
        "dial": web(head_of("/body", chunked), chunks + b"1\r\nx\r\n" * 9 + PIPELINED),
        "exchange": web(head_of("/node3", "Content-Length: 50000000\r\n"), b"z" * (1 << 20)),
    }
    stages = memory_within(router, states, stop.set)
    assert stages.count("hold") == 2 * COUNT and stages.count("dial") == 2 * COUNT, stages
    assert stages.count("replay") == COUNT and len(stages) == len(states) * COUNT


def handshake_begun(sock):
    """A hello that is answered, and then the longest record but its end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(outgoing.read())
    assert sock.recv(5)[:3] == b"\x16\x03\x03" # its flight is out
    sock.sendall(b"\x17\x03\x03\x41\x00" + b"y" * 16600)


@pytest.mark.skipif("-san" in harness.BUILD, reason="measures the program, not the sanitizer")
def test_SES_3_memory_before_login_in_lookup_starttls_and_proxy(http):
    """The same where the store, the client's TLS or the PROXY header does not come to an end."""
    proxied = 'preauth_timeout = "10m"\nproxy_protocol = "required"\nproxy_trusted = ["127.0.0.0/8"]\n'
    with socket.create_server(("127.0.0.1", 0), backlog=512) as hangs: # takes connections and never answers
        mail = "".join('[listener.%s]\nprotocol = "imap"\nbind = ["127.0.0.1:0"]\ntls = "%s"\n%s\n' % row
                       for row in (("imap", "implicit", 'preauth_timeout = "10m"\n'),
                                   ("imapt", "starttls", 'preauth_timeout = "10m"\n'),
                                   ("imapp", "implicit", proxied), ("imappt", "starttls", proxied)))
        node = http.node("node1")
        router = http.router([node.toml() + IMAP_TOO % node.port], default="node1", routes=BODY + ALL,
                             tls="implicit", listener='preauth_timeout = "10m"\n', server="threads = 1",
                             extra=mail, mapping='[mapping]\nsource = "redis"\nlookup_timeout = "5m"\n'
                             '[mapping.redis]\nurl = "redis://127.0.0.1:%d"\n' % hangs.getsockname()[1])

        def source(i):
            return "127.0.0.%d" % (i % 50 + 2)

        def mail_lookup(i):
            c = router.client(source=source(i))
            c.line()
            c.send("a LOGIN u%d {8000+}\r\n%s\r\n" % (i, "p" * 8000))
            fill(c, b"b NOOP\r\n" * 9000)
            return c

        def web_lookup(i):
            c = http.client(router, source(i))
            fill(c, head_of("/body", "Transfer-Encoding: chunked\r\n"))
            fill(c, b"".join(b"1\r\n%c\r\n" % byte for byte in b"u=w%d&" % i) +
                 b"1\r\nx\r\n" * 65533 + PIPELINED)
            return c

        def starttls(i, port="imapt"):
            c = Client(router.connect(port, source(i)))
            if port == "imapt":
                c.line()
            fill(c, b"a ID (" + b"y" * 65000 + b"\r\n" + b"b NOOP\r\n" * 60)
            while not c.line().startswith("b "):
                pass
            for _ in range(59):
                c.line()
            assert c.command("c STARTTLS")[-1].startswith("c OK")
            return c

        def starttls_hello(i):
            c = starttls(i)
            c.send(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + b"y" * 16000)
            return c

        def starttls_flight(i):
            c = starttls(i)
            handshake_begun(c.sock)
            return c

        def tls_flight(i):
            c = Client(router.connect("imap", source(i)))
            handshake_begun(c.sock)
            return c

        def proxy(port):
            def enter(i):
                c = Client(router.connect(port, source(i)))
                c.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x03\xf0" + b"y" * 1007) # 1024 bytes but one
                return c
            return enter
        states = {"proxy": proxy("imapp"), "proxy starttls": proxy("imappt"), "tls flight": tls_flight,
                  "starttls flight": starttls_flight, "starttls hello": starttls_hello,
                  "starttls": starttls, "mail lookup": mail_lookup, "web lookup": web_lookup}
        stages = memory_within(router, states)
    assert stages.count("lookup") == 2 * COUNT and stages.count("dialogue") == 6 * COUNT, stages


@pytest.mark.skipif("-san" in harness.BUILD, reason="measures the program, not the sanitizer")
def test_SES_3_memory_with_idle_node_legs(http):
    """An HTTP connection that keeps eight TLS legs and has a body held up on a ninth. It is not before login:
    a leg is kept only when its node has answered a request. So SES-3's 256 KiB are not its bound; it has
    one all the same: measured are 375 KiB, of which an idle leg is 18 to 25."""
    stop = threading.Event()
    names = ["node%d" % i for i in range(1, 10)]
    nodes = [http.node(name, tls="implicit") for name in names[:8]]
    nodes.append(http.node("node9", lambda conn: stop.wait(PATIENCE), tls="implicit"))
    routes = "".join('[[http.route]]\nmatch = "/%s"\ndestination = "%s"\n' % (name, name) for name in names)
    router = http.router(nodes, default="node1", routes=routes + ALL, tls="implicit",
                         listener='preauth_timeout = "10m"\n',
                         http='relay_idle = "10m"\nkeepalive_timeout = "10m"',
                         server='threads = 1\nbackend_timeout = "5m"')

    def enter(i):
        c = http.client(router, "127.0.0.%d" % (i % 50 + 2))
        for name in names[:8]:
            assert c.ask("/" + name)["X-Node"] == name
        fill(c, head_of("/node9", "Content-Length: 50000000\r\n"))
        fill(c, b"z" * (1 << 20))
        return c
    for _ in range(2): # what the first connections cost once
        enter(0).close()
    memory_within(router, {"legs": enter}, stop.set, count=8, bound_kib=512)
    assert all(len(node.connections) >= 8 for node in nodes)
