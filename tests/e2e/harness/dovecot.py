# SPDX-License-Identifier: Apache-2.0
"""Real Dovecot nodes, and the tokens that they accept."""

import base64
import contextlib
import hmac
import json
import os
import socket
import subprocess
import time

import release

from .nodes import destination_toml
from .places import free_port
from .waiting import wait_until

# The protocol in the router's configuration -> Dovecot's names for it and its listener.
DOVECOT_NAMES = {"imap": ("imap", "imap"), "pop3": ("pop3", "pop3"),
                 "managesieve": ("managesieve", "sieve"), "submission": ("submission", "submission")}
# Signs the tokens that Dovecot nodes accept (HS256).
OAUTH_KEY = b"a key that only tests know, of 256 bits or so"


def jwt(claims, key=OAUTH_KEY):
    """A signed JSON Web Token (RFC 7519)."""
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    now = int(time.time())
    claims = dict({"iat": now - 10, "nbf": now - 10, "exp": now + 3600, "sub": "subject"}, **claims)
    signed = b".".join(part(json.dumps(p).encode()) for p in (
        {"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + part(hmac.new(key, signed, "sha256").digest())).decode()


def end_process(process):
    """Asks it to end, then makes it; closes its stderr."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process.stderr.close()


def read_log(path):
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
        return f.read()
    return ""


class DovecotNode:
    """A real Dovecot on a loopback address of its own, with its own data and log. protocols are
    names of the router's configuration; relay_port: where submission sends mails; ports: (plain, TLS)
    of each protocol, certificate: what certificate() returned, trusted: who may send PROXY headers.
    masters: passwords of those who may act for others, as NAME and authzid or USER%NAME."""

    def __init__(self, workspace, name, address, users, haproxy=True, protocols=("imap",),
                 relay_port=25, ports=None, certificate=None, trusted="127.0.0.0/8",
                 masters=None,
                 mechanisms="plain login oauthbearer xoauth2", extra=""):
        self.name, self.address, self.protocols = name, address, protocols
        self.dir = workspace.mkdir(name)
        for sub in ("run", "state", "mail"):
            os.mkdir(os.path.join(self.dir, sub))
            workspace.own(os.path.join(self.dir, sub))
        self.cert, self.key, self.pin = certificate or workspace.certificate(name, [name + ".test"])
        self.ports = ports or {p: (free_port(address), free_port(address)) for p in protocols}
        proxied = "yes" if haproxy else "no"
        services = "".join(release.dovecot_service(
            login=DOVECOT_NAMES[p][0], listener=DOVECOT_NAMES[p][1], plain_port=self.ports[p][0],
            tls_port=self.ports[p][1], ready=1 if p == "imap" else 0,
            haproxy=proxied) for p in protocols if p != "lmtp")
        if "lmtp" in protocols:
            services += release.LMTP.format(port=self.ports["lmtp"][0], haproxy=proxied)
        self.plain_port, self.tls_port = self.ports[protocols[0]]
        self._write_oauth(workspace)
        workspace.write(name + "/users",
                        "".join("%s:{PLAIN}%s\n" % pair for pair in users.items()))
        if masters:
            workspace.write(name + "/masters",
                            "".join("%s:{PLAIN}%s\n" % pair for pair in masters.items()))
        conf = workspace.write(name + "/dovecot.conf", release.dovecot_conf(
            services, masters, dir=self.dir, address=address, user=workspace.user,
            group=workspace.group, uid=workspace.uid, gid=workspace.gid, cert=self.cert,
            key=self.key, protocols=" ".join("sieve" if p == "managesieve" else p for p in protocols),
            relay_port=relay_port, trusted=trusted, mechanisms=mechanisms, extra=extra))
        self.log_path = os.path.join(self.dir, "dovecot.log")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(self._listening)

    def _write_oauth(self, workspace):
        keys = self.dir + "/keys/default/HS256"
        os.makedirs(keys)
        for path in (self.dir + "/keys", self.dir + "/keys/default", keys):
            workspace.own(path)
        workspace.write(keys[len(workspace.path) + 1:] + "/default",
                        base64.b64encode(OAUTH_KEY).decode())
        workspace.write(self.name + "/oauth2.conf",
                        "introspection_mode = local\nusername_attribute = email\n"
                        "local_validation_key_dict = fs:posix:prefix=%s/keys/\n" % self.dir)

    def _listening(self):
        if self.process.poll() is not None:
            raise RuntimeError("dovecot: " + self.process.stderr.read().decode() + self.log())
        with contextlib.suppress(OSError), socket.create_connection(
                (self.address, self.tls_port), 1):
            return True
        return False

    def log(self):
        return read_log(self.log_path)

    def logins(self, protocol="imap"):
        """(user, client address) of each successful login, oldest first."""
        return release.dovecot_logins(self.log(), DOVECOT_NAMES[protocol][0])

    def toml(self, tls="implicit", forwarding="proxy", extra=""):
        """tls: of all legs, or a table by protocol."""
        table = tls if isinstance(tls, dict) else {p: tls for p in self.protocols}
        return destination_toml(self.name, self.address, None, table, self.pin, forwarding, extra, {
            p: self.ports[p][table[p] == "implicit"] for p in table})

    def close(self):
        end_process(self.process)
