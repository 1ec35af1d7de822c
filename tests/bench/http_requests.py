#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a request costs: requests per second and the router's CPU time per request, on path record and
with OpenSSL to the end (copy), beside nginx and HAProxy set up for the same job (TLS 1.3 towards the
client, the Authorization field decides, connections to the node are kept), one thread each. The node is
nginx, the client wrk. Rounds take turns. Needs nginx, haproxy and wrk.

    http_requests.py [SECONDS [ROUNDS]]"""

import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402
from http_nodes import basic  # noqa: E402
from idle import cpu_s  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 4
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
CONNECTIONS = 32
SIZES = {"1 KiB": 1024, "1 MiB": 1 << 20}
# What moves the bytes of TLS legs: name in the table, splice.mode.
HOMING = {"Homing": "auto", "Homing copy": "copy"}
# CPU of Homing to HAProxy's, at most.
AIMS = {("plain node", "1 KiB"): 1.0, ("TLS node", "1 KiB"): 0.95,
        ("plain node", "1 MiB"): 0.47, ("TLS node", "1 MiB"): 0.58}

NGINX = """
daemon off; master_process off; error_log {dir}/error.log; pid {dir}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
  {more}
}}
"""
PROXY = """
  upstream node1 {{ server 127.0.0.1:{node}; keepalive 64; keepalive_requests 100000000; }}
  map $http_authorization $backend {{ default node1; "" nobody; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    location / {{
      proxy_pass {scheme}://$backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name node1.test;
      proxy_ssl_protocols TLSv1.3; proxy_max_temp_file_size 0;
    }}
  }}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 2000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse safe
frontend f
  bind 127.0.0.1:{port} ssl crt {pem}
  http-request deny unless {{ req.hdr(authorization) -m found }}
  default_backend b
backend b
  server node1 127.0.0.1:{node} {tls}
"""


class Bench:
    def __init__(self):
        self.workspace = harness.Workspace("homing-bench-")
        self.cert, self.key, self.pin = self.workspace.certificate("node1", ["node1.test"])
        self.processes, self.routers, self.servers, self.workspaces = [], [], {}, []

    def spawn(self, *command):
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        return self.processes[-1].pid

    def nginx(self, name, more):
        folder = os.path.join(self.workspace.path, name)
        os.makedirs(folder + "/www", exist_ok=True)
        for size in SIZES.values():
            with open("%s/www/%d" % (folder, size), "wb") as f:
                f.write(os.urandom(size))
        conf = self.workspace.write(name + ".conf", NGINX.format(
            dir=folder, cert=self.cert, key=self.key, more=more))
        return self.spawn("nginx", "-c", conf, "-p", folder, "-e", folder + "/error.log")

    def start(self):
        tls, plain = harness.free_port(), harness.free_port()
        root = os.path.join(self.workspace.path, "node", "www")
        self.nginx("node", "server { listen 127.0.0.1:%d ssl; listen 127.0.0.1:%d; root %s; }"
                   % (tls, plain, root))
        for legs, port in (("plain node", plain), ("TLS node", tls)):
            secure = port == tls
            own = harness.free_port()
            pid = self.nginx("proxy%d" % port, PROXY.format(
                node=port, port=own, scheme="https" if secure else "http", ca=self.cert))
            self.servers[legs, "nginx"] = (pid, own)
            own = harness.free_port()
            with open(self.cert, encoding="ascii") as a, open(self.key, encoding="ascii") as b:
                pem = self.workspace.write("haproxy.pem", a.read() + b.read())
            conf = self.workspace.write("haproxy%d.cfg" % port, HAPROXY.format(
                port=own, pem=pem, node=port,
                tls="ssl verify required ca-file %s sni str(node1.test)" % self.cert if secure else ""))
            self.servers[legs, "HAProxy"] = (self.spawn("haproxy", "-db", "-q", "-f", conf), own)
            for name, mode in HOMING.items():
                self.homing(legs, name, mode, port)
        for _, port in self.servers.values():
            harness.wait_until(lambda port=port: self.answers(port))

    def homing(self, legs, name, mode, node_port):
        tls = legs == "TLS node"
        space = harness.Workspace("homing-bench-")
        self.workspaces.append(space)
        router = harness.Router(
            space, [harness.destination_toml(
                "node1", "127.0.0.1", None, {"http": "implicit" if tls else "plain"},
                self.pin if tls else None, "none", "", {"http": node_port})], "node1",
            listeners={"http": ("implicit", "", "http")}, server="threads = 1",
            extra='[splice]\nmode = "%s"\n[http]\nmax_keepalive_requests = 0\n'
                  '[[http.route]]\nmatch = "/**"\nextract = { from = "authorization" }\n'
                  % mode).start()
        self.routers.append(router)
        self.servers[legs, name] = (router.process.pid, router.ports["http"])

    def answers(self, port):
        return b"200" in subprocess.run(
            ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-u", "alice:pw",
             "https://127.0.0.1:%d/1024" % port], stdout=subprocess.PIPE, check=False).stdout

    def round(self, pid, port, size):
        before = cpu_s(pid)
        done = subprocess.run(
            ["wrk", "-t1", "-c%d" % CONNECTIONS, "-d%ds" % SECONDS, "-H", basic("alice").strip(),
             "https://127.0.0.1:%d/%d" % (port, size)], stdout=subprocess.PIPE, check=True, text=True)
        used = cpu_s(pid) - before
        assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
        count = int(re.search(r"(\d+) requests in", done.stdout).group(1))
        return count / SECONDS, used / count

    def close(self):
        for router in self.routers:
            router.close()
        for process in self.processes:
            process.terminate()
            process.wait()
        for space in [*self.workspaces, self.workspace]:
            space.close()


def show(legs, label, middle):
    """middle: {router: (requests a second, CPU seconds of a request)}"""
    for name, (rate, cost) in middle.items():
        ratio, aim = cost / middle["HAProxy"][1], AIMS[legs, label]
        text = "  at most %.2f: %s" % (aim, "met" if ratio <= aim else "missed")
        print("%-12s %-8s %-11s %10.0f %14.1f %16.2f%s" % (
            legs, label, name, rate, cost * 1e6, ratio, text if name == "Homing" else ""), flush=True)


def main():
    bench = Bench()
    try:
        bench.start()
        print("medians of %d rounds of %d s, %d connections, TLS 1.3 towards the client" % (
            ROUNDS, SECONDS, CONNECTIONS))
        print("%-12s %-8s %-11s %10s %14s %16s" % ("legs", "size", "router", "requests/s",
                                                  "CPU/request us", "CPU of HAProxy's"))
        for legs in ("plain node", "TLS node"):
            for label, size in SIZES.items():
                names = ("HAProxy", "nginx", *HOMING)
                seen = {name: [] for name in names}
                for _ in range(ROUNDS):
                    for name in names:
                        seen[name].append(bench.round(*bench.servers[legs, name], size))
                middle = {name: [statistics.median(column) for column in zip(*seen[name])]
                          for name in names}
                show(legs, label, middle)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
