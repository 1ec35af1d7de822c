# SPDX-License-Identifier: Apache-2.0
"""Which addresses a listener has: both families, hosts that lack one, the admin address, and what a
second router on the same addresses says."""

import contextlib
import os
import signal
import socket
import subprocess
import threading

import harness
import pytest
from config_check import change, check  # noqa: F401
from harness import PATIENCE, Client, wait_until

CLUSTER = os.path.join(harness.ROOT, "tests", "e2e", "cluster.toml")


def rebind(router, *addresses):
    """The listener's addresses in the file; {} is its port."""
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    start = text.index("bind = [", text.index("[listener.imap]"))
    end = text.index("]\n", start) + 2
    port = router.ports.get("imap") or harness.free_port()
    router.ports["imap"] = port
    binds = ", ".join('"%s:%d"' % (a, port) for a in addresses)
    router.workspace.write("homing.toml", text[:start] + "bind = [%s]\n" % binds + text[end:])
    return port


def greets(router, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError, EOFError), socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, router.ports["imap"]))
        with Client(router.tls_context().wrap_socket(sock, server_hostname="localhost")) as client:
            return client.line().startswith("* OK")
    return False


def test_CFG_26_wildcard_alone_serves_both_families(make, network):
    router = make.router([make.node("node1")], start=False, listeners={"imap": "implicit"})
    rebind(router, "[::]")
    router.start()
    with router.connect() as sock:
        assert greets(router, "127.0.0.1") and greets(router, "::1")
        client = sock.getsockname()
        rows = wait_until(lambda: router.sessions()["sessions"])
    assert ["%s:%d" % client] == [row["client"] for row in rows]  # not v4-mapped
    # taken away and given again by reloads, and the other listener's if that has it
    rebind(router, "[::]", "127.0.0.2")
    assert router.admin("POST", "/config/reload")[0] == 200
    wait_until(lambda: not greets(router, "127.0.0.1"))
    assert greets(router, "127.0.0.2") and greets(router, "::1")
    for addresses in (("[::]",), ("0.0.0.0",), ("[::]",), ("0.0.0.0", "[::]")):
        rebind(router, *addresses)
        status, body, _ = router.admin("POST", "/config/reload")
        assert status == 200, body
        assert greets(router, "127.0.0.1"), addresses
        wait_until(lambda want="[::]" in addresses: greets(router, "::1") == want)


def test_CFG_26_ipv4_taken_by_somebody_else(make, network):
    router = make.router([make.node("node1")], start=False, listeners={"imap": "implicit"})
    port = rebind(router, "[::]")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        router.start()
        assert greets(router, "::1")
        assert any("msg=ipv6_only" in line for line in router.lines), router.log()


def test_CFG_40_25_loop_over_ipv4(check):
    for bind, wanted in (('"[::]:1143"', "loop"), ('"[::1]:1143"', None),
                         ('"[::]:1143", "127.0.0.2:1143"', None)):
        text = change('"127.0.0.1:0"', bind)
        check.errors(text, wanted) if wanted else check.ok(text)


def test_SES_60_loop_over_ipv4_at_run_time(make, network):
    router = make.router([make.node("node1")], start=False, listeners={"imap": "implicit"})
    port = rebind(router, "[::]")
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    # by a name, so that only the dial can see it
    start = text.index("host =", text.index("[destination.node1]"))
    text = text[:start] + 'host = "localhost"' + text[text.index("\n", start):]
    start = text.index("port =", start)
    text = text[:start] + "port = %d" % port + text[text.index("\n", start):]
    router.workspace.write("homing.toml", text)
    router.start()
    with router.client() as client:
        client.line()
        assert "UNAVAILABLE" in client.command("a LOGIN alice pw")[-1]
    assert "loop" in router.wait_sessions(1)[0]["reason"]


def test_a_host_without_ipv6(make, network):
    router = make.router([make.node("node1")], start=False, listeners={"imap": "implicit"},
                         environment=harness.preloaded("noipv6"))
    rebind(router, "0.0.0.0", "[::]")
    router.start()
    assert "is left out: this host has no IPv6" in router.log()
    assert greets(router, "127.0.0.1") and not greets(router, "::1")
    rebind(router, "[::]")  # both families, as far as they are there
    assert router.admin("POST", "/config/reload")[0] == 200
    assert greets(router, "127.0.0.1")
    rebind(router, "[::]", "127.0.0.1")
    assert router.admin("POST", "/config/reload")[0] == 200
    rebind(router, "[::1]")
    assert router.admin("POST", "/config/reload")[0] == 400


def test_section_13_cluster_fixture_without_ipv6(check):
    with open(CLUSTER, encoding="utf-8") as f:
        text = f.read()
    space = check.workspace
    cert, key, _ = space.certificate("c", ["mail.example.com"])
    space.write("admin.token", harness.TOKEN)
    text = text.replace("/etc/proxy/tls/fullchain.pem", cert).replace(
        "/etc/proxy/tls/privkey.pem", key).replace("/etc/proxy/", space.path + "/")
    for path in (cert, key, space.path + "/admin.token"):
        os.chmod(path, 0o644)
    done = check.ok(text, environment=harness.preloaded("noipv6"), mode=0o644)
    assert done.stderr.count("is left out: this host has no IPv6") == 3, done.stderr
    nothing = change('"127.0.0.1:0"', '"[::]:5", "127.0.0.1:5"')
    check.ok(nothing, environment=harness.preloaded("noipv6"))
    nothing = nothing.replace('"[::]:5", "127.0.0.1:5"', '"[::]:5"') + (
        '[admin]\nbind = "127.0.0.1:5"\nbearer_token = "%s"\n' % harness.TOKEN)
    check.errors(nothing, "is left out", environment=harness.preloaded("noipv6"))


def test_section_7_a_complete_name_and_an_underscore(make, workspace):
    """The dot is for resolvers; neither SNI nor certificates have it."""
    cert, key, _ = workspace.certificate("real", ["mail_1.test"])
    seen = []
    node = make.node("node1")
    node.context.load_cert_chain(cert, key)
    node.context.sni_callback = lambda sock, name, context: seen.append(name)
    text = "\n".join(line for line in node.toml().splitlines() if "pinned" not in line and
                     "tls_server_name" not in line)
    text = text.replace('"127.0.0.1"', '"127.0.0.1"\ntls_server_name = "mail_1.test."')
    router = make.router([text], default="node1", environment={"SSL_CERT_FILE": cert})
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK"), router.log()
    assert seen == ["mail_1.test"]


def test_section_7_host_in_brackets(make, network):
    node = make.node("node1", tls="plain")
    node.listener.close()
    node.listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = node.listener.getsockname()[1]
    threading.Thread(target=node._accept, daemon=True).start()
    text = node.toml().replace(node.address, "[::1]").replace(str(node.port), str(port))
    router = make.router([text], default="node1")
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK"), router.log()


def is_free(router):
    """Whether the listener's port can be had. Each of the router's threads has a socket on it, so a
    client that is refused by one of them says nothing of the others."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", router.ports["imap"])):
        return True
    return False


def second(router):
    """What another start with the same file says."""
    done = subprocess.run([os.path.join(harness.BUILD, "homingd"), "--config", router.config],
                          capture_output=True, text=True, timeout=PATIENCE, env=router.environment)
    assert done.returncode == 1, done
    return next(line for line in done.stderr.splitlines() if line.startswith("homingd: "))


def test_OPS_17_a_second_router_with_the_same_configuration(make, network):
    node = make.node("node1")
    router = make.router([node], start=False, listeners={"imap": "implicit"},
                         server='shutdown_grace = "60s"')
    rebind(router, "127.0.0.1")
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    start = text.index("[admin]")
    text = text[:start] + text[start:].replace("127.0.0.1:0", "127.0.0.1:%d"
                                               % harness.free_port(), 1)
    router.workspace.write("homing.toml", text)
    router.start()
    pid = router.process.pid
    line = second(router)
    assert "listener.imap" in line and "serves there already" in line and "reload" in line, line
    assert "(pid %d)" % pid in line or os.geteuid() != 0, line
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN alice pw")[-1].startswith("a OK")
        router.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_free(router))
        line = second(router)
        assert "(pid %d) still drains" % pid in line and "kill %d" % pid in line, line
    router.stop()
    with socket.create_server(("127.0.0.1", router.ports["imap"])):
        line = second(router)
    assert "Address already in use by python" in line or "by pytest" in line, line


@pytest.mark.parametrize("both", [True, False])
def test_CFG_26_the_admin_address_alike(make, network, both):
    environment = {} if both else harness.preloaded("noipv6")
    router = make.router([make.node("node1")], start=False, environment=environment)
    with open(router.config, encoding="utf-8") as f:
        text = f.read()
    start = text.index("[admin]")
    port = harness.free_port()
    text = text[:start] + text[start:].replace("127.0.0.1:0", "[::]:%d" % port, 1)
    router.workspace.write("homing.toml", text)
    router.start()
    for address in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError):
            with socket.create_connection((address, port), PATIENCE):
                continue
        assert not both and ":" in address, address
    done = subprocess.run([os.path.join(harness.BUILD, "homingctl"), "--config", router.config,
                           "stats"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done
