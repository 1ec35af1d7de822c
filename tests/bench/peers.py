# SPDX-License-Identifier: Apache-2.0
"""The routers and proxies that are measured side by side, each with its whole configuration as
text, and the nodes behind them. A peer has one worker, is pinned to the router's CPU, lives in the
router's namespace and in a control group of its own."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess

import dovecot
import harness
import machine
from machine import NODE, ROUTER

SUITE, CURVE = "TLS_AES_128_GCM_SHA256", "X25519"
MOST = 9000  # connections that every peer is told to expect
OTHER_SUITES = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]

HOMING = """[server]
threads = 1
hostname = "router.test"
user = "{user}"
group = "{group}"
[tls.protocols]
min_version = "1.3"
disable_cipher_suites = [{other_suites}]
[tls.certificate.default]
cert = "{cert}"
key = "{key}"
default = true
[mapping]
{mapping}
[routing]
default_destination = "node1"
[destination.node1]
host = "{node}"
forwarding = "none"
{node_trust}
[destination.node1.protocol.imap]
port = {imap_node}
tls = "{node_tls}"
[destination.node1.protocol.submission]
port = {submission_node}
tls = "{node_tls}"
[capabilities.imap]
allow_plain_auth_without_tls = true
[capabilities.submission]
allow_plain_auth_without_tls = true
[splice]
mode = "{mode}"
{splice}[listener.imap]
protocol = "imap"
bind = ["{router}:{imap}"]
tls = "{client_tls}"
max_connections = {most}
[listener.submission]
protocol = "submission"
bind = ["{router}:{submission}"]
tls = "{client_tls}"
max_connections = {most}
"""

MAPPING_SQL = """source = "sql"
[mapping.sql]
url = "{url}"
query = "SELECT node FROM account_nodes WHERE identifier = $1"
"""
MAPPING_FILE = 'source = "file"\n[mapping.file]\npath = "{accounts}"'

HAPROXY = """global
    nbthread 1
    maxconn {most}
    maxpipes 500
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites {suite}
    ssl-default-bind-curves {curve}
    ssl-default-server-ciphersuites {suite}
defaults
    mode tcp
    {splice}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen imap
    bind {router}:{imap}{bind_tls}
    server node {node}:{imap_node}{server_tls}
listen submission
    bind {router}:{submission}{bind_tls}
    server node {node}:{submission_node}{server_tls}
"""

NGINX = """load_module modules/ngx_mail_module.so;
user {user} {group};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log /dev/null;
pid {dir}/nginx.pid;
events {{
    worker_connections 20000;
}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{auth_port};
        location = /imap {{
            add_header Auth-Status OK;
            add_header Auth-Server {node};
            add_header Auth-Port {imap_node};
            return 204;
        }}
        location = /submission {{
            add_header Auth-Status OK;
            add_header Auth-Server {node};
            add_header Auth-Port {submission_node};
            return 204;
        }}
    }}
}}
mail {{
    server_name router.test;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_ecdh_curve {curve};
    ssl_conf_command Ciphersuites {suite};
    ssl_session_cache shared:mail:10m;
    proxy_timeout 1h;
    server {{
        listen {router}:{imap}{listen_ssl};
        protocol imap;
        imap_auth plain login;
        auth_http 127.0.0.1:{auth_port}/imap;
    }}
    server {{
        listen {router}:{submission}{listen_ssl};
        protocol smtp;
        smtp_auth plain login;
        xclient off;
        proxy_smtp_auth on;
        auth_http 127.0.0.1:{auth_port}/submission;
    }}
}}
"""


PERDITION = """protocol IMAP4S
bind_address {router}
listen_port {imap}
outgoing_server {node}
outgoing_port {imap_node}
no_lookup
no_daemon
quiet
pid_file {dir}/perdition.pid
username {user}
group {group}
ssl_mode ssl_all
ssl_cert_file {cert}
ssl_key_file {key}
ssl_no_cert_verify
ssl_no_cn_verify
ssl_no_client_cert_verify
"""


class Process:
    """A program in its place, that is ended with everything in its group."""

    numbers = itertools.count()

    def __init__(self, bench, role, cpu, command, **options):
        self.group = machine.Group("%d-%s" % (next(self.numbers), os.path.basename(command[0])))
        try:
            with bench.network.inside(role), self.group.inside(), machine.pinned(cpu):
                self.process = subprocess.Popen(command, **options)
        except OSError:
            self.group.close()
            raise

    def ended(self):
        return self.process.poll() is not None

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        for pid in self.group.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.group.close()


class LightNode(Process):
    """A light node of one protocol; port is where it listens."""

    def __init__(self, bench, protocol, tls, tickets=True):
        leg = [*bench.node_cert[:2], *([] if tickets else ["tickets=0"])] if tls else ["plain"]
        self.bench, self.tls = bench, tls
        self.question = b"h HANDSHAKES\r\n" if protocol == "imap" else b"HANDSHAKES\r\n"
        super().__init__(bench, "n", machine.LOAD_CPU,
                         [harness.BUILD + "/bench/lightnode", NODE + ":0", protocol, *leg],
                         stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def handshakes(self):
        """(full, resumed) until now. Whoever asks a TLS node in plain text is not greeted."""
        with self.bench.network.inside("n"), socket.create_connection((NODE, self.port), 10) as s:
            s.sendall(self.question)
            return tuple(map(int, s.makefile().readline().split()[2:]))


def toml_node(tls, pin):
    if tls:
        return 'tls_server_name = "node1.test"\ntls_pinned_cert_sha256 = "%s"' % pin
    return "allow_plaintext_auth = true"


class Peer(Process):
    """One router between the load and the nodes. legs: "tls/plain" is TLS to clients, plain to
    nodes. label tells instances of one program and legs apart; more: configuration fields,
    pause_us: how often it may wake up (pause.c), and homingd: another one."""

    def __init__(self, bench, program, legs, nodes, label="", **more):
        self.program, self.legs, self.label, self.nodes = program, legs, label, nodes
        self.fields = more
        self.name = " ".join(filter(None, (program, label)))
        self.client_tls, self.node_tls = (leg == "tls" for leg in legs.split("/"))
        bench.ports += 10
        self.dir = bench.space.mkdir("%s-%d" % (program.lower(), bench.ports))
        self.addresses = {"imap": "%s:%d" % (ROUTER, bench.ports),
                          "submission": "%s:%d" % (ROUTER, bench.ports + 1)}
        self.curve = CURVE
        if program == "perdition":
            self.curve = "P-256"  # it knows no other
            del self.addresses["submission"]
        self.config = PROGRAMS[program][0](self._fields(bench, nodes, more))
        path = bench.space.write(os.path.basename(self.dir) + "/configuration", self.config, 0o644)
        super().__init__(bench, "r", machine.ROUTER_CPU,
                         command(program, more) + [path], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         env=dict(os.environ, **harness.paused(more.get("pause_us"))))
        self._wait(bench)

    def _fields(self, bench, nodes, more):
        return {"dir": self.dir, "user": bench.space.user, "group": bench.space.group,
                "cert": bench.cert[0], "key": bench.cert[1], "pem": bench.pem,
                "node_pin": bench.node_cert[2], "router": ROUTER, "node": NODE,
                "suite": SUITE, "curve": CURVE, "most": MOST, "accounts": bench.accounts,
                "client_tls": self.client_tls, "node_tls": self.node_tls, "imap": bench.ports,
                "submission": bench.ports + 1, "spare": bench.ports + 2,
                "imap_node": nodes["imap"].port, "submission_node": nodes["submission"].port,
                **more}

    def _wait(self, bench):
        def there():
            if self.ended():
                raise RuntimeError("%s ended when it was started with:\n%s" % (
                    self.name, self.config))
            return all(listening(address) for address in self.addresses.values())
        try:
            with bench.network.inside("r"):
                harness.wait_until(there)
        except BaseException:
            self.close()
            raise


class Direct:
    """No router: the load talks to the nodes. legs: as of a router, both the same."""

    program = name = "direct"
    label, group, config, curve = "", None, "", CURVE

    def __init__(self, legs, nodes):
        self.legs, self.nodes = legs, nodes
        self.client_tls = self.node_tls = legs == "tls/tls"
        self.addresses = {protocol: "%s:%d" % (NODE, node.port) for protocol, node in nodes.items()}


def command(program, more):
    """homingd: that of another build."""
    return [more["homingd"], "--config"] if "homingd" in more else PROGRAMS[program][1]


def listening(address):
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def homing(f):
    mapping = f.get("mapping", MAPPING_FILE).format(**f)
    return HOMING.format(**dict(
        f, mapping=mapping, mode=f.get("mode", "auto"), splice=f.get("splice", ""),
        client_tls="implicit" if f["client_tls"] else "plain",
        node_trust=toml_node(f["node_tls"], f["node_pin"]),
        node_tls="implicit" if f["node_tls"] else "plain",
        other_suites=", ".join('"%s"' % name for name in OTHER_SUITES))) + f.get("handoff", "")


def haproxy(f):
    return HAPROXY.format(**dict(
        f, bind_tls=" ssl crt " + f["pem"] if f["client_tls"] else "",
        server_tls=" ssl verify none" if f["node_tls"] else "",
        splice="no option splice-auto" if f["client_tls"] else "option splice-auto"))


def nginx(f):
    return NGINX.format(**f, auth_port=f["spare"], listen_ssl=" ssl" if f["client_tls"] else "")


# name: (configuration from the fields, command before the configuration's path)
PROGRAMS = {
    "Homing": (homing, [harness.BUILD + "/homingd", "--config"]),
    "HAProxy": (haproxy, ["haproxy", "-db", "-q", "-f"]),
    "Dovecot": (dovecot.proxy, ["dovecot", "-F", "-c"]),
    "nginx": (nginx, ["nginx", "-c"]),
    "perdition": (lambda f: PERDITION.format(**f), ["perdition", "--config_file"]),
}
