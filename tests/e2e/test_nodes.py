# SPDX-License-Identifier: Apache-2.0
"""What the breaker hears of a node (sessions.md section 8.1) and what is said when a node is not
reached (operations.md OPS-13): step, address, cause, hint; in the log, in /destinations, in homingctl."""

import socket
import threading

import harness
from harness import wait_until

UNAVAILABLE = "a NO [UNAVAILABLE]"
PASSWORD = "p" * 9000
FAST = 'backend_connect_retries = 0\nbackend_timeout = "3s"\n'


def state(router, name="node1"):
    rows = router.admin("GET", "/destinations")[1]["destinations"]
    return next(row for row in rows if row["destination"] == name)


def login(router, source=None, user="alice", password="pw", listener="imap"):
    with router.client(listener, source) as client:
        client.line()
        return client.command("a LOGIN %s %s" % (user, password))[-1]


def at_once(functions):
    threads = [threading.Thread(target=f) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hear_login(conn):
    """A node's part up to the credential, which comes in two steps where it is long: (tag, base64)."""
    conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello\r\n")
    tag, _, _, *secret = conn.line().split()
    if not secret:
        conn.send("+ \r\n")
        secret = [conn.line()]
    return tag, secret[0]


# ---- the breaker ----

def test_SES_50_a_node_that_closes_after_the_credential_stays_up(make):
    """Six logins with long passwords from two addresses, and the node hangs up on each."""
    def serve(conn):
        tag, secret = hear_login(conn)
        if len(secret) < 9000:
            conn.send(tag + " OK in\r\n")
            conn.read()

    router = make.router([make.node("node1", serve)], server=FAST)
    for i in range(6):
        assert login(router, "127.0.9.%d" % (1 + i % 2), password=PASSWORD).startswith(UNAVAILABLE)
    row = state(router)
    assert not row["down"] and row["consecutive_failures"] == 0 == row["failure_sources"]
    assert row["errors"]["login"] == 6 and row["last_error"]["step"] == "login"
    assert row["last_error"]["cause"] == "the node closed the connection"
    assert "msg=node_down" not in router.log()
    assert login(router, "127.0.9.3").startswith("a OK")


def test_SES_50_dovecot_and_its_command_limit(make):
    """The same with a Dovecot, whose login process hangs up where a command is too long for it."""
    node = make.dovecot("node1", "127.0.0.31", {"alice": "pw"})
    router = make.router([node], server="backend_connect_retries = 0\n")
    for i in range(6):
        login(router, "127.0.9.%d" % (1 + i % 2), password=PASSWORD)
    assert not state(router)["down"]
    assert login(router, "127.0.9.3").startswith("a OK")


def test_SES_50_a_slow_mailbox_is_not_a_slow_node(make):
    """Five clients of one slow mailbox: the window is over behind the greeting, before and after the
    credential."""
    def serve(conn):
        conn.send("* OK hello\r\n")
        tag = conn.line().split()[0]
        if len(node.connections) > 5:
            conn.read() # not even its capabilities
        conn.send("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n%s OK\r\n" % tag)
        conn.read()
        conn.read()

    node = make.node("node1", serve)
    router = make.router([node], server='backend_timeout = "1s"\nhost_down_threshold = 3\n')
    for _ in range(2):
        at_once([lambda i=i: login(router, "127.0.9.%d" % (10 + i)) for i in range(5)])
    row = state(router)
    assert not row["down"] and row["consecutive_failures"] == 0
    assert row["errors"]["login"] == 5 and row["errors"]["dialogue"] == 5
    assert router.stats()["nodes"]["node1"]["dial_errors"] == 10


def test_SES_50_up_to_the_greeting_failures_count(make):
    """Nothing is sent by the client before the greeting: a silent node is down for everybody; but one that
    was told the client's address by a PROXY header may be slow for that client alone."""
    def silent(conn):
        conn.read()

    plain = make.node("node1", silent)
    told = make.node("node2", silent, proxy=True)
    router = make.router([plain, told], server='backend_timeout = "500ms"\nhost_down_threshold = 3\n'
                         "backend_connect_retries = 0\n")
    router.map({"bob": "node2"})
    at_once([lambda: login(router) for _ in range(3)] +
            [lambda: login(router, user="bob") for _ in range(3)])
    assert state(router)["down"] and state(router)["host_level_failure"]
    row = state(router, "node2")
    assert (row["down"], row["consecutive_failures"], row["failure_sources"]) == (False, 3, 1)
    login(router, "127.0.9.9", "bob")
    assert state(router, "node2")["down"]
    assert state(router, "node2")["last_error"]["step"] == "greeting"


def test_SES_51_a_probe_ends_with_the_greeting(make):
    """The node is well again, and its first client is one whose login hangs: others get in meanwhile."""
    broken = threading.Event()
    broken.set()

    def serve(conn):
        if broken.is_set():
            return
        tag, secret = hear_login(conn)
        if len(secret) < 1000:
            conn.send(tag + " OK in\r\n")
        conn.read()

    router = make.router([make.node("node1", serve)],
                         server='backend_connect_retries = 0\nhost_down_threshold = 1\n'
                         'host_down_min_clients = 0\nhost_down_cooldown = "200ms"\n')
    assert login(router).startswith(UNAVAILABLE)
    assert state(router)["down"]
    broken.clear()
    wait_until(lambda: state(router)["down_for_s"] == 0)
    with router.client(source="127.0.9.1") as hanging:
        hanging.line()
        hanging.send("a LOGIN alice %s\r\n" % PASSWORD)
        wait_until(lambda: not state(router)["down"])
        assert login(router, "127.0.9.2").startswith("a OK")
        assert not hanging.readable(0)


def test_SES_50_slow_http_does_not_touch_imap(make):
    """Requests that the node never answers, or hangs up on, from many addresses."""
    def http(conn):
        if b"hangup" not in conn.read():
            conn.read()

    imap = make.node("node1")
    other = make.node("other", http, tls="plain")
    leg = '[destination.node1.protocol.http]\nport = %d\ntls = "plain"\n' % other.port
    router = make.router(
        [imap.toml(extra="allow_plaintext_auth = true") + leg], server=FAST +
        "host_down_threshold = 2\n", extra='[listener.web]\nprotocol = "http"\n'
        'bind = ["127.0.0.1:0"]\ntls = "plain"\n[http]\nrelay_idle = "1s"\n[[http.route]]\n'
        'match = "/**"\nextract = { from = "authorization" }\n')

    def ask(path, source):
        with router.client("web", source, tls=False) as client:
            client.send("GET %s HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\n\r\n" % path)
            return client.line()

    for i in range(4):
        assert " 502 " in ask("/hangup", "127.0.9.%d" % (1 + i))
    answers = []
    at_once([lambda i=i: answers.append(ask("/slow", "127.0.9.%d" % (1 + i))) for i in range(4)])
    assert all(" 504 " in answer for answer in answers)
    row = state(router)
    assert not row["down"] and row["consecutive_failures"] == 0
    assert row["errors"]["response"] == 8 and row["last_error"]["cause"] == "no answer in time"
    assert login(router).startswith("a OK")


def test_SES_50_own_ports_running_out_is_not_the_nodes_fault(make, network):
    """Sixteen ports to dial from, and more logins than that."""
    node = make.node("node1")
    router = make.router([node.toml(extra='source_ips = ["127.0.7.7"]')],
                         server=FAST + "host_down_threshold = 2\n")
    held, refused = [], 0
    network("net.ipv4.ip_local_port_range", "40000 40015")
    try:
        for i in range(24):
            client = router.client(source="127.0.9.%d" % (1 + i))
            held.append(client)
            client.line()
            refused += client.command("a LOGIN alice pw")[-1].startswith(UNAVAILABLE)
        network("net.ipv4.ip_local_port_range", "32768 60999")
        assert refused >= 8
        row = state(router)
        assert not row["down"] and row["consecutive_failures"] == 0
        assert row["errors"]["connect"] == 0 and row["last_error"] is None
    finally:
        for client in held:
            client.close()
    lines = [x for x in map(harness.parse_logfmt, router.log().splitlines())
             if x.get("msg") == "out_of_resource"]
    assert len(lines) == 1 and lines[0]["what"] == "ports" and lines[0]["hint"]
    wait_until(lambda: login(router, "127.0.9.99").startswith("a OK"))


def test_SES_50_no_descriptors_is_not_the_nodes_fault(make):
    """More clients than the router has descriptors for both legs of."""
    router = make.router([make.node("node1")], rlimit_nofile=80,
                         server=FAST + "host_down_threshold = 2\nthreads = 1\n")
    held = [router.client(source="127.0.9.%d" % (1 + i)) for i in range(30)]
    for client in held:
        client.line()
    refused = [client for client in held
               if client.command("a LOGIN alice pw")[-1].startswith(UNAVAILABLE)]
    assert len(refused) >= 3
    for client in held:
        client.close()
    router.wait_idle()
    assert not state(router)["down"] and state(router)["last_error"] is None
    lines = [x for x in map(harness.parse_logfmt, router.log().splitlines())
             if x.get("msg") == "out_of_resource"]
    assert len(lines) == 1 and lines[0]["what"] == "descriptors"
    assert login(router, "127.0.9.99").startswith("a OK")


def test_SES_50_an_address_that_is_missing(make, network):
    """A source address that the host does not have is the router's own mistake; a node that can only be
    reached by a family that the host does not have is not reached."""
    network("net.ipv6.conf.lo.disable_ipv6", "1")
    router, errors = failures_of(make, {
        "source": toml("source", 9, extra='source_ips = ["192.0.2.55"]'),
        "family": toml("family", 9, host="::1")})
    assert errors["source"] is None and state(router, "source")["consecutive_failures"] == 0
    assert state(router, "family")["host_level_failure"]
    check(errors, {"family": ("connect", "", "no address of that family")})
    lines = [x for x in map(harness.parse_logfmt, router.log().splitlines())
             if x.get("msg") == "out_of_resource"]
    assert [(x["what"], x["node"]) for x in lines] == [("addresses", "source")]


# ---- OPS-13 ----

def failures_of(make, nodes, server='backend_timeout = "2s"\n'):
    """Logs in at each of the nodes (name: TOML), all at once. Returns the router and what /destinations
    has as each one's last error."""
    names = sorted(nodes)
    router = make.router([nodes[name] for name in names], default=names[0], normalize="none",
                         server="backend_connect_retries = 0\nhost_down_threshold = 0\n" + server)
    router.map({name: name for name in names})
    at_once([lambda name=name: login(router, user=name) for name in names])
    return router, {name: state(router, name)["last_error"] for name in names}


def toml(name, port, tls="implicit", host="127.0.0.1", **kwargs):
    return harness.destination_toml(name, host, port, tls, kwargs.pop("pin", "00" * 32),
                                    kwargs.pop("forwarding", "none"), **kwargs)


def check(errors, wanted):
    """wanted: node: (step, words of the cause, words of the hint or None)."""
    for name, (step, cause, hint) in wanted.items():
        error = errors[name]
        assert (error["step"], cause in error["cause"]) == (step, True), (name, error)
        assert hint in error["hint"] if hint else error["hint"] is None, (name, error)


def test_OPS_13_each_step_against_dovecot(make):
    """The usual mistakes of somebody who writes a first configuration."""
    wants = make.dovecot("wants", "127.0.0.33", {"wants": "pw"})
    bare = make.dovecot("bare", "127.0.0.34", {"bare": "pw"}, haproxy=False,
                        protocols=("imap", "pop3"))
    port = harness.free_port()
    router, errors = failures_of(make, {
        "connect": toml("connect", port),
        "missing": toml("missing", wants.tls_port, host=wants.address, pin=wants.pin),
        "missingplain": toml("missingplain", wants.plain_port, "plain", wants.address, pin=wants.pin),
        "unexpected": toml("unexpected", bare.tls_port, host=bare.address, pin=bare.pin,
                           forwarding="proxy"),
        "unexpectedplain": toml("unexpectedplain", bare.plain_port, "starttls", bare.address,
                                forwarding="proxy"),
        "clear": toml("clear", bare.plain_port, host=bare.address),
        "stalls": toml("stalls", bare.tls_port, "plain", bare.address),
        "pop3": toml("pop3", bare.ports["pop3"][1], host=bare.address, pin=bare.pin),
        "pin": toml("pin", bare.tls_port, host=bare.address),
        "issuer": toml("issuer", bare.tls_port, host=bare.address, pin=None),
    })
    proxy = 'forwarding = "proxy"'
    check(errors, {
        "connect": ("connect", "Connection refused", "nothing listens there"),
        "missing": ("tls", "", proxy),
        "missingplain": ("greeting", "no answer in time", proxy),
        "unexpected": ("tls", "", "does not expect one"),
        "unexpectedplain": ("starttls", "the node said: \"* B", "does not expect a PROXY header"),
        "clear": ("tls", "wrong version number", "answers in clear"),
        "stalls": ("greeting", "no answer in time", 'tls = "implicit"'),
        "pop3": ("greeting", 'the node said: "+OK Dovecot', "the wrong port"),
        "pin": ("tls", "not the pinned one", "tls_pinned_cert_sha256"),
        "issuer": ("tls", "certificate refused: self-signed", "tls_server_name"),
    })
    assert errors["connect"]["address"] == "127.0.0.1:%d" % port
    lines = {x["node"]: x for x in map(harness.parse_logfmt, router.log().replace(
        '\\"', "'").splitlines()) if x.get("msg") == "node_failed"}
    for name, error in errors.items():
        for key in ("step", "address", "cause", "hint"):
            assert lines[name][key] == error[key].replace('"', "'")
    shown = router.ctl("nodes").stdout
    for error in errors.values():
        assert "  last error %(at)s: %(step)s %(address)s: %(cause)s\n    hint: %(hint)s\n" % error \
            in shown


def test_OPS_13_a_connect_that_nobody_answers(make):
    """What a firewall that drops packets looks like."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port, waiting = full.getsockname()[1], []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(("127.0.0.1", port))
    errors = failures_of(make, {"drops": toml("drops", port)},
                         'backend_timeout = "1s"\n')[1]
    check(errors, {"drops": ("connect", "Connection timed out", "firewall")})
    for sock in waiting + [full]:
        sock.close()


def test_OPS_13_a_certificate_of_another_name(make, workspace):
    authority = workspace.certificate("authority", ["authority.test"], authority=True)
    node = make.node("node1", lambda conn: conn.read())
    node.context.load_cert_chain(*workspace.certificate("other", ["other.test"], issuer=authority)[:2])
    router = make.router([toml("node1", node.port, pin=None)], default="node1", server=FAST,
                         environment={"SSL_CERT_FILE": authority[0]})
    login(router)
    check({"node1": state(router)["last_error"]}, {
        "node1": ("tls", "certificate refused: hostname mismatch", "tls_server_name")})


def test_OPS_13_a_name_that_does_not_resolve(make, network):
    router, errors = failures_of(make, {
        "gone": toml("gone", 993, host="no.such.name.invalid"),
        "local": toml("local", 1, host="localhost")})
    check(errors, {"gone": ("resolve", "name", "can resolve"),
                   "local": ("connect", "refused", "nothing listens")})
    assert errors["gone"]["address"] == "no.such.name.invalid:993"
    assert state(router, "gone")["errors"]["resolve"] == 1
    assert router.admin("POST", "/destinations/reset?destination=gone")[0] == 200
    assert state(router, "gone")["last_error"] is None


def test_OPS_13_what_nodes_say(make):
    """120 printable bytes of it; and nothing of what is said after the credential, which may be an echo."""
    def says(text):
        return lambda conn: (conn.send(text), conn.read())

    def echoes(conn):
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello\r\n")
        line = conn.line()
        conn.send("+ %s\r\n" % line)
        conn.read()

    nodes = {
        "expects": make.node("expects", says("* BYE Proxy protocol required\r\n")),
        "full": make.node("full", says("* BYE too many \x01\xff" + "x" * 4000 + "\r\n")),
        "cut": make.node("cut", lambda conn: conn.send("* BYE half a li")),
        "nostarttls": make.node("nostarttls", says("* OK [CAPABILITY IMAP4rev1] hello\r\n"),
                                tls="plain"),
        "echoes": make.node("echoes", echoes),
        "local": make.node("local", says("421 4.3.0 a Server local error\r\n"), tls="plain"),
    }
    texts = {name: node.toml() for name, node in nodes.items()}
    texts["nostarttls"] = toml("nostarttls", nodes["nostarttls"].port, "starttls")
    texts["local"] = toml("local", nodes["local"].port) # as Postfix without its PROXY header
    router, errors = failures_of(make, texts)
    check(errors, {
        "local": ("tls", "wrong version number", 'forwarding = "proxy"'),
        "expects": ("greeting", 'the node said: "* BYE Proxy protocol required"',
                    'forwarding = "proxy"'),
        "full": ("greeting", '"* BYE too many ?', None),
        "cut": ("greeting", 'the node closed the connection: "* BYE half a li"', None),
        "nostarttls": ("starttls", "does not offer STARTTLS", 'tls = "implicit"'),
        "echoes": ("login", "", None),
    })
    assert len(errors["full"]["cause"].split('"')[1]) == 120
    assert "AUTHENTICATE" not in router.log() and "ZWNob2Vz" not in router.log()
