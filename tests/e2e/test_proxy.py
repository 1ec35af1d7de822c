# SPDX-License-Identifier: Apache-2.0
"""Inbound PROXY headers, what trusted peers say, hops and loops (sessions.md sections 2 and 11)."""

import socket
import ssl
import struct
import time

import pytest

import harness
import mailnodes
from harness import node_imap, wait_until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TRUSTED = 'proxy_trusted = ["127.0.4.0/24"]\n'
PEER, STRANGER = "127.0.4.1", "127.0.5.1"


def v2(source="1.2.3.4", destination="5.6.7.8", ports=(1111, 2222), command=1, version=2, tlvs=b""):
    body = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">HH", *ports)
    body += tlvs
    return SIGNATURE + bytes([version << 4 | command, 0x11]) + struct.pack(">H", len(body)) + body


def tlv(kind, data):
    return bytes([kind]) + struct.pack(">H", len(data)) + data


def proxy_router(make, mode, tls="plain", nodes=None, listeners=None, **kwargs):
    nodes = nodes or [make.node("node1", node_imap, proxy=True)]
    return make.router(nodes, listeners=listeners or {
        "imap": (tls, 'proxy_protocol = "%s"\n%s' % (mode, TRUSTED))},
        extra="[capabilities.imap]\nallow_plain_auth_without_tls = true\n", **kwargs)


def talk(router, header, source=PEER, pieces=None):
    """A plain client that sends a header (whole or in pieces) and logs in."""
    client = router.client(source=source, tls=False)
    if pieces:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(header), pieces):
            client.send(header[i:i + pieces])
            time.sleep(0.001)
    else:
        client.send(header)
    return client


def logged_in(client):
    assert client.line().startswith("* OK ")
    assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
    return client


def ends_without_a_word(client):
    try:
        data = client.sock.recv(100)
    except ConnectionResetError:
        data = b""
    assert data == b""
    client.close()


HEADERS = {
    "v1": b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n",
    "v2": v2(),
    "v2-tlvs": v2(tlvs=tlv(0xe0, b"x" * 300) + tlv(1, b"h2") + tlv(0xee, b"")),
}


@pytest.mark.parametrize("mode", ("optional", "required"))
@pytest.mark.parametrize("name", HEADERS)
def test_SES_7_9_a_trusted_peers_header(make, mode, name):
    """SES-7, SES-8, SES-9: the header's addresses replace the socket's, in the log and towards the
    node; the payload behind it is intact; cut at every byte or in one piece."""
    router = proxy_router(make, mode)
    node = router_node(make)
    for pieces in (None, 1):
        with logged_in(talk(router, HEADERS[name], pieces=pieces)) as client:
            assert client.command("b NOOP") == ["b OK NOOP"]
    for line in router.wait_sessions(2):
        assert line["client"] == "1.2.3.4:1111"
    for conn in node.connections:
        assert conn.proxy_source == ("1.2.3.4", 1111)
        assert conn.proxy_destination == ("5.6.7.8", 2222)


def router_node(make):
    return make.last_node


@pytest.fixture(autouse=True)
def remember_nodes(make):
    """make.last_node: the node made last."""
    plain = make.node

    def node(*args, **kwargs):
        make.last_node = plain(*args, **kwargs)
        return make.last_node
    make.node = node
    yield
    make.node = plain


def test_SES_9_payload_in_the_same_packet(make):
    router = proxy_router(make, "required")
    client = talk(router, HEADERS["v1"] + b"a LOGIN alice pw\r\nb NOOP\r\n")
    assert client.line().startswith("* OK ")
    assert client.line().startswith("a OK")
    client.expect("b OK NOOP")
    client.close()
    assert router.wait_sessions(1)[0]["client"] == "1.2.3.4:1111"


def test_SES_9_headers_that_keep_the_socket_address(make):
    """Among them legal ones of families that are of no use here: datagrams and unix sockets."""
    router = proxy_router(make, "required")
    unix = b"/run/client".ljust(108, b"\0") + b"/run/front".ljust(108, b"\0")
    headers = (
        b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", v2(command=0),
        SIGNATURE + b"\x21\x00\x00\x00", SIGNATURE + b"\x20\x00\x00\x04abcd",
        v2().replace(b"\x21\x11", b"\x21\x12"), SIGNATURE + b"\x21\x22\0\x24" + b"a" * 36,
        SIGNATURE + b"\x21\x31\0\xd8" + unix, SIGNATURE + b"\x21\x32\0\xd8" + unix)
    for header in headers:
        logged_in(talk(router, header)).close()
    for line in router.wait_sessions(len(headers)):
        assert line["client"].startswith(PEER + ":")


def test_SES_9_long_headers_and_mixed_families(make):
    """A certificate in a TLV, up to 8 KiB in all; nginx behind another proxy mixes families."""
    router = proxy_router(make, "optional")
    most = 8192 - len(v2()) - 3
    for count, (header, client) in enumerate((
            (v2(tlvs=tlv(0x20, b"C" * 1500)), "1.2.3.4:1111"),
            (v2(tlvs=tlv(4, b"\0" * most)), "1.2.3.4:1111"),
            (b"PROXY TCP6 2603:c020:57fd::a1:1 192.168.203.4 48874 143\r\n",
             "[2603:c020:57fd::a1:1]:48874")), 1):
        with logged_in(talk(router, header)) as talker:
            assert talker.command("b NOOP") == ["b OK NOOP"]
        assert router.wait_sessions(count)[-1]["client"] == client
    ends_without_a_word(talk(router, v2(tlvs=tlv(4, b"\0" * (most + 1)))))


@pytest.mark.parametrize("mode", ("optional", "required"))
@pytest.mark.parametrize("header", (
    v2(version=3), SIGNATURE + b"\x22\x11\x00\x0c" + b"x" * 12, b"PROXY TCP4 1.2.3.4 5.6.7.8 1111\r\n",
    b"PROXY TCP4 1.2.3.999 5.6.7.8 1111 2222\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 01111 2222\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 99999\r\n", b"PROXY " + b"x" * 200,
    SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 2000))
def test_SES_10_a_header_that_starts_right_and_is_invalid(make, mode, header):
    router = proxy_router(make, mode)
    ends_without_a_word(talk(router, header))
    assert router.wait_sessions(1)[0]["reason"] == "proxy_header"


def test_SES_11_mapped_addresses_and_one_header_only(make):
    """A v4-mapped source counts as IPv4; a second header is ordinary (bad) input (#15)."""
    router = proxy_router(make, "required")
    body = (socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.1") +
            socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.2") + struct.pack(">HH", 7, 8))
    header = SIGNATURE + b"\x21\x21" + struct.pack(">H", len(body)) + body
    logged_in(talk(router, header)).close()
    assert router.wait_sessions(1)[0]["client"] == "10.0.0.1:7"
    assert router_node(make).connections[0].proxy_source == ("10.0.0.1", 7)
    with talk(router, HEADERS["v1"] + HEADERS["v1"].replace(b"1.2.3.4", b"9.9.9.9")) as client:
        assert client.line().startswith("* OK ")
        assert " BAD " in client.line()
    assert router.wait_sessions(2)[1]["client"] == "1.2.3.4:1111"


def test_SES_5_off_looks_for_no_header(make):
    router = proxy_router(make, "off")
    with talk(router, HEADERS["v1"]) as client:
        assert client.line().startswith("* OK ")
        assert " BAD " in client.line()
    assert router.wait_sessions(1)[0]["client"].startswith(PEER + ":")


def test_SES_6_strangers(make):
    """required closes an untrusted peer also with a valid header; optional serves it with its own
    address and takes a header for bad input (#13)."""
    router = proxy_router(make, "required", listeners={
        "imap": ("plain", 'proxy_protocol = "required"\n' + TRUSTED),
        "opt": ("plain", 'proxy_protocol = "optional"\n' + TRUSTED)})
    ends_without_a_word(talk(router, HEADERS["v2"], source=STRANGER))
    router.wait_sessions(1)
    client = router.client("opt", source=STRANGER, tls=False)
    logged_in(client).close()
    client = router.client("opt", source=STRANGER, tls=False)
    client.send(HEADERS["v1"])
    assert client.line().startswith("* OK ")
    assert " BAD " in client.line()
    client.close()
    lines = router.wait_sessions(3)
    assert lines[0]["reason"] == "proxy_header"
    assert all(x["client"].startswith(STRANGER + ":") for x in lines)


def test_SES_7_required_without_a_header(make):
    router = proxy_router(make, "required", listeners={
        "imap": ("plain", 'proxy_protocol = "required"\npreauth_timeout = "1s"\n' + TRUSTED)})
    ends_without_a_word(talk(router, b"a LOGIN alice pw\r\n"))
    start = time.monotonic()
    silent = router.client(source=PEER, tls=False)
    ends_without_a_word(silent)
    assert time.monotonic() - start > 0.9
    half = talk(router, HEADERS["v2"][:20])
    ends_without_a_word(half)
    assert [x["reason"] for x in router.wait_sessions(3)] == ["proxy_header"] * 3


def test_SES_8_optional_waits_and_goes_on(make):
    """A server-first leg waits about 200 ms for a header, then greets; a header that comes later is
    not one any more. A client-first leg decides by the first bytes."""
    router = proxy_router(make, "optional", listeners={
        "imap": ("plain", 'proxy_protocol = "optional"\n' + TRUSTED),
        "imaps": ("implicit", 'proxy_protocol = "optional"\n' + TRUSTED)})
    start = time.monotonic()
    with router.client(source=PEER, tls=False) as client:
        assert client.line().startswith("* OK ")
        assert 0.15 <= time.monotonic() - start < 5
        client.send(HEADERS["v1"])
        assert " BAD " in client.line()
    with router.client(source=PEER, tls=False) as client: # the first byte decides: no header
        client.send("x NOOP\r\n")
        assert client.line().startswith("* OK ")
        client.expect("x OK Done.")
    router.wait_sessions(2)
    logged_in(router.client("imaps", source=PEER)).close()
    router.wait_sessions(3)
    sock = router.connect("imaps", PEER)
    sock.sendall(HEADERS["v2"])
    logged_in(harness.Client(sock, router.tls_context())).close()
    lines = router.wait_sessions(4)
    assert lines[2]["client"].startswith(PEER + ":")
    assert lines[3]["client"] == "1.2.3.4:1111"


def test_SES_8_header_and_hello_in_one_packet(make):
    """The bytes behind the header are TLS's."""
    router = proxy_router(make, "required", tls="implicit")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = router.tls_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock = router.connect("imap", PEER)
    sock.settimeout(harness.PATIENCE)
    sock.sendall(HEADERS["v2"] + outgoing.read())
    done = False
    while not done:
        incoming.write(sock.recv(65536))
        try:
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        sock.sendall(outgoing.read())
    sock.close()
    assert router.wait_sessions(1)[0]["client"] == "1.2.3.4:1111"


def test_SES_64_own_instance_in_the_header(make):
    """A header that this router wrote itself ends the session as a loop (#16)."""
    node = make.node("node1", node_imap, proxy=True)
    router = proxy_router(make, "required", nodes=[node])
    logged_in(talk(router, HEADERS["v1"])).close()
    tlvs = wait_until(lambda: node.connections[0].proxy_tlvs)
    assert tlvs[:3] == b"\x05\x00\x1c" and tlvs[3:7] == b"HMG1"
    ends_without_a_word(talk(router, v2(tlvs=tlvs)))
    other = tlvs[:7] + bytes(b ^ 1 for b in tlvs[7:23]) + tlvs[23:]
    logged_in(talk(router, v2(tlvs=other))).close()
    assert [x["reason"] for x in router.wait_sessions(3)].count("loop") == 1


# ---- metadata of trusted peers ----

def id_fields(**fields):
    return " ".join('"x-%s" "%s"' % (k.replace("_", "-"), v) for k, v in fields.items())


def id_router(make, forwarding="xclient", nodes=None, capabilities="IMAP4rev1 SASL-IR ID", **kwargs):
    seen = []

    def serve(conn):
        conn.ids = []
        conn.send("* OK [CAPABILITY %s] hi\r\n" % capabilities)
        while True:
            line = conn.line()
            tag, command = line.split(" ")[:2]
            if command == "ID":
                seen.append(line.partition(" ID ")[2])
            if command == "AUTHENTICATE":
                conn.send("%s OK in\r\n" % tag)
                conn.read()
                return
            conn.send("%s OK done\r\n" % tag)

    node = make.node("node1", serve)
    router = make.router([node.toml(forwarding=forwarding)], default="node1",
                         listeners={"imap": ("implicit", TRUSTED)}, **kwargs)
    return router, seen


def test_SES_61_id_of_a_trusted_peer(make):
    """Address, ports, session and hops are taken from a trusted peer's ID and passed on, the hops
    less one; CLIENT-TRANSPORT and LOGIN change nothing."""
    router, seen = id_router(make)
    with router.client(source=PEER) as client:
        client.line()
        client.command('i ID (%s)' % id_fields(
            originating_ip="198.51.100.7", originating_port="4711", connected_ip="198.51.100.1",
            connected_port="993", proxy_ttl="5", session_id="Hfront-1", client_transport="TLS",
            login="mallory"))
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
    line = router.wait_sessions(1)[0]
    assert line["client"] == "198.51.100.7:4711" and line["via"] == "Hfront-1"
    assert len(seen) == 1
    assert '"x-originating-ip" "198.51.100.7"' in seen[0]
    assert '"x-connected-ip" "198.51.100.1" "x-connected-port" "993"' in seen[0]
    assert '"x-proxy-ttl" "4"' in seen[0] and "mallory" not in seen[0]


def test_SES_62_id_of_a_stranger(make):
    router, seen = id_router(make)
    with router.client(source=STRANGER) as client:
        client.line()
        client.command('i ID (%s)' % id_fields(originating_ip="198.51.100.7", proxy_ttl="1",
                                               session_id="Hforged"))
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
    line = router.wait_sessions(1)[0]
    assert line["client"].startswith(STRANGER + ":") and "via" not in line
    assert '"x-originating-ip" "%s"' % STRANGER in seen[0] and '"x-proxy-ttl" "6"' in seen[0]


@pytest.mark.parametrize("forwarding,ttl", (("xclient", 1), ("xclient", 0), ("none", 1)))
def test_SES_63_no_hop_left(make, forwarding, ttl):
    router, seen = id_router(make, forwarding)
    with router.client(source=PEER) as client:
        client.line()
        client.command('i ID (%s)' % id_fields(proxy_ttl=ttl))
        assert client.command("a LOGIN alice pw")[-1].startswith("a NO [UNAVAILABLE]")
    assert router.wait_sessions(1)[0]["reason"] == "loop" and not seen


def test_SES_60_64_a_ring_of_two_routers(workspace, make):
    """Two routers that name each other as node: by ID the hops run out, by PROXY the second visit is
    seen; the client is told in time and no session is left (#16)."""
    for forwarding in ("xclient", "proxy"):
        routers, ports = [], [harness.free_port() for _ in range(2)]
        for i in range(2):
            space = harness.Workspace("homing-ring-")
            trust = 'proxy_trusted = ["127.0.0.1/32"]\n'
            if forwarding == "proxy":
                trust += 'proxy_protocol = "optional"\n'
            other = harness.destination_toml("node1", "127.0.0.1", ports[1 - i], "plain", None,
                                             forwarding)
            router = harness.Router(space, [other], "node1", listeners={"imap": ("plain", trust)},
                                    extra="[capabilities.imap]\n"
                                    "allow_plain_auth_without_tls = true\n")
            with open(router.config, encoding="utf-8") as f:
                text = f.read()
            with open(router.config, "w", encoding="utf-8") as f:
                f.write(text.replace('bind = ["127.0.0.1:0"]\ntls = "plain"',
                                     'bind = ["127.0.0.1:%d"]\ntls = "plain"' % ports[i]))
            routers.append(router.start())
        try:
            with routers[0].client(tls=False) as client:
                client.line()
                reply = client.command("a LOGIN alice pw")[-1]
                assert reply.startswith("a NO"), reply
            wait_until(lambda: any(x["reason"] == "loop" for r in routers
                                   for x in r.session_lines()))
            for router in routers:
                router.wait_idle()
            assert sum(len(r.session_lines()) for r in routers) <= 9
        finally:
            for router in routers:
                router.close()
                router.workspace.close()


def test_SES_61_62_xclient_on_the_line_protocols(make, sink):
    """XCLIENT of POP3, ManageSieve and submission: offered to trusted peers and obeyed, unknown to
    others; a bad value is refused; LOGIN is ignored (#14)."""
    users = {"alice@example.com": "secret-a"}
    node = make.dovecot("node1", "127.0.0.31", users,
                        protocols=("imap", "pop3", "managesieve", "submission"),
                        relay_port=sink.port)
    router = make.router([node.toml()], default="node1", listeners={
        p: ("implicit", TRUSTED, p) for p in ("pop3", "managesieve", "submission")})
    good = "ADDR=198.51.100.9 PORT=77 TTL=5 SESSION=Hfront-2 LOGIN=mallory"
    for protocol in ("pop3", "managesieve", "submission"):
        words = good if protocol != "managesieve" else " ".join(
            '"%s"' % w for w in good.split(" "))
        client = mailnodes.connect(router, protocol, protocol, "implicit", source=PEER)
        client.ask("XCLIENT " + words)
        if protocol == "submission":
            assert "198.51.100.9" in client.ask("EHLO again.test")[0]
        bad = client.ask("XCLIENT ADDR=nonsense" if protocol != "managesieve"
                         else 'XCLIENT "ADDR=nonsense"', good=False)[-1]
        assert not client.is_good(bad), bad
        if protocol == "submission":
            client.ask("EHLO again.test")
        client.login("PLAIN", "alice@example.com", "secret-a")
        client.works()
        client.quit()
        stranger = mailnodes.connect(router, protocol, protocol, "implicit", source=STRANGER)
        assert "XCLIENT" not in "".join(stranger.greeting)
        assert not stranger.is_good(stranger.ask("XCLIENT " + words, good=False)[-1])
        stranger.login("PLAIN", "alice@example.com", "secret-a")
        stranger.quit()
        wait_until(lambda p=protocol: len(node.logins(p)) == 2)
        assert [a for _, a in node.logins(protocol)] == ["198.51.100.9", STRANGER]
    vias = [x.get("via") for x in router.wait_sessions(6)]
    assert sorted(v or "" for v in vias) == [""] * 3 + ["Hfront-2"] * 3
