# SPDX-License-Identifier: Apache-2.0
"""Where things are and may be: the tree and the build, directories with certificates, ports."""

import grp
import hashlib
import os
import pwd
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

import release

E2E = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(E2E))
BUILD = os.path.abspath(os.environ.get("HOMING_BUILD", os.path.join(ROOT, "build")))
# What Python 3.13 wants of an authority (RFC 5280 section 4.2.1.3).
AUTHORITY = ["-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign"]


GIVEN = set()
LOW_PORT = 10240
LIBRARY = ""

# Certificates of workspaces that are closed, for those to come, {how they were asked for: [(certificate, key)]}:
# half of a file's time was spent on making them. Two that are open at the same time have no pair in common.
SPARE = {}


def tls_library():
    """The name and version of the TLS library that the build under test has: "OpenSSL 3.0.19", "AWS-LC 5.1.0"."""
    global LIBRARY
    if not LIBRARY:
        said = subprocess.run([os.path.join(BUILD, "homingd"), "--version"], check=True, capture_output=True,
                              text=True).stdout
        LIBRARY = re.search(r"\((.*)\)", said).group(1)
    return LIBRARY


def needs_openssl(why):
    """Marks a test of what AWS-LC does not have (docs/tls-library.md says what that is)."""
    import pytest # which demo and benchmarks do without

    return pytest.mark.skipif(tls_library().startswith("AWS-LC"), reason="AWS-LC: " + why)


def free_port(host="127.0.0.1"):
    """A port that nobody listens on, and that it has not given before in this process. None of those that the
    kernel gives to connections: another test's may take one of these at any time."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        first = int(f.read().split()[0])
    while True:
        port = random.randrange(LOW_PORT, first) if first > 2 * LOW_PORT else 0
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                continue
            port = s.getsockname()[1]
        if port not in GIVEN:
            GIVEN.add(port)
            return port


def service_user():
    """An unprivileged user for the processes under test, and its group."""
    name = os.environ.get("HOMING_TEST_USER", "nobody")
    entry = pwd.getpwnam(name)
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name, entry.pw_uid, entry.pw_gid


class Workspace:
    """A temporary directory that the service user owns."""

    def __init__(self, prefix="homing-"):
        self.user, self.group, self.uid, self.gid = service_user()
        self.path = tempfile.mkdtemp(prefix=prefix)
        os.chmod(self.path, 0o755)
        self.own(self.path)
        self.pairs = [] # for SPARE

    def own(self, path):
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        self.own(path)
        return path

    def mkdir(self, name):
        path = os.path.join(self.path, name)
        os.mkdir(path)
        self.own(path)
        return path

    def certificate(self, name, names, days=30, key="ec", issuer=None, authority=False):
        """A certificate (negative days: expired), self-signed or by an issuer that this returned, made
        with authority; returns (cert path, key path, SHA-256 of the DER)."""
        cert, keyfile = (os.path.join(self.path, name + s) for s in (".pem", ".key"))
        asked = (tuple(names), days, key if isinstance(key, str) else tuple(key))
        own = not issuer and not authority # another may use it
        if own and SPARE.get(asked):
            pair = SPARE[asked].pop()
            for path, text in zip((cert, keyfile), pair):
                with open(path, "w", encoding="ascii") as f:
                    f.write(text)
        else:
            self._make_certificate(cert, keyfile, asked, issuer, authority)
            pair = []
            for path in (cert, keyfile):
                with open(path, encoding="ascii") as f:
                    pair.append(f.read())
        if own:
            self.pairs.append((asked, tuple(pair)))
        for path in (cert, keyfile):
            os.chmod(path, 0o600)
            self.own(path)
        return cert, keyfile, hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair[0])).hexdigest()

    @staticmethod
    def _make_certificate(cert, keyfile, asked, issuer, authority):
        names, days, key = asked
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        if key == "rsa":
            algorithm = ["-newkey", "rsa:2048"]
        elif key != "ec":
            algorithm = key # options of "openssl req"
        request = cert + ".csr"
        subprocess.run(["openssl", "req", "-new", *algorithm, "-nodes", "-keyout", keyfile, "-out",
                        request, "-subj", "/CN=" + names[0], "-addext",
                        "subjectAltName=" + ",".join("DNS:" + n for n in names),
                        *(AUTHORITY if authority else [])],
                       check=True, capture_output=True)
        signer = ["-signkey", keyfile]
        if issuer:
            signer = ["-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial"]
        subprocess.run(["openssl", "x509", "-req", "-in", request, *signer,
                        *release.validity(days), "-copy_extensions", "copy", "-out", cert],
                       check=True, capture_output=True)

    def close(self):
        for asked, pair in self.pairs:
            SPARE.setdefault(asked, []).append(pair)
        self.pairs = []
        shutil.rmtree(self.path, ignore_errors=True)
