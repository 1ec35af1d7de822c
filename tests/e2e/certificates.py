# SPDX-License-Identifier: Apache-2.0
"""Routers with certificates, and which of them a client gets."""

import ssl

from reloading import edit


def presented(router, name, listener="imap"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(router.connect(listener), server_hostname=name) as tls:
        return tls.getpeercert(True)


def with_certificates(make, workspace, tables):
    """A router with these certificates, {table: (subjects of the file, lines)}, and no other; and a
    function that tells which one a name gets."""
    router = make.router([make.node("node1")], start=False)
    text = ""
    for name, (names, lines) in tables.items():
        workspace.certificate("c-" + name, names)
        text += '[tls.certificate.%s]\ncert = "c-%s.pem"\nkey = "c-%s.key"\n%s\n' % (
            name, name, name, lines)
    edit(router, ('[tls.certificate.default]\ncert = "router.pem"\nkey = "router.key"\n'
                  "default = true\n", text))
    router.start()
    ders = {}
    for name in tables:
        with open("%s/c-%s.pem" % (workspace.path, name), encoding="ascii") as f:
            ders[ssl.PEM_cert_to_DER_cert(f.read())] = name
    return router, lambda name: ders.get(presented(router, name), "self-signed")


def presented_to(router, name, kind):
    """What a client gets that can verify one kind of signatures alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2 # there the suite tells it
    context.set_ciphers("ECDHE-%s-AES128-GCM-SHA256" % kind)
    with context.wrap_socket(router.connect(), server_hostname=name) as tls:
        return tls.getpeercert(True)
