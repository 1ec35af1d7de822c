# SPDX-License-Identifier: Apache-2.0
"""The guard's programs in the kernel, as the router loads, feeds and leaves them. The router has a network
of its own; its clients come from addresses of the loopback device, which is denied and banned like any
other here, since 127.0.0.0/8 is never banned but for a longer prefix of guard.deny."""

import json
import os
import socket
import struct
import subprocess
import threading
import time

import harness
import pytest
from harness import PATIENCE, wait_until
from plain_legs import pins  # noqa: F401
from reloading import edit, reload_ok

HOMINGD = os.path.join(harness.BUILD, "homingd")
DENIED = "127.0.9.9"
GUARD = "[guard]\nenabled = true\ndeny = [\"%s\"]\n" % DENIED

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads programs")


def guarded(make, extra="", guard=GUARD):
    """With a plain listener, so that a greeting is all there is to a connection."""
    return make.router([make.node("node1")], extra=guard + extra, listeners={"imap": "starttls"})


def pinning(pins, guard):  # noqa: F811
    return "[splice]\npin_path = \"%s\"\n%s" % (pins, guard)


def serving(make, extra):
    """The same on all addresses."""
    router = make.router([make.node("node1")], start=False, extra=extra, listeners={"imap": "starttls"})
    edit(router, ('bind = ["127.0.0.1:0"]\ntls = "starttls"',
                  'bind = ["0.0.0.0:%d"]\ntls = "starttls"' % harness.free_port()))
    return router.start()


def outcome(router, source, to="127.0.0.1"):
    """What becomes of a connection: its greeting, "refused", "reset" or "silent"."""
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        try:
            sock.connect((to, router.ports["imap"]))
            return sock.recv(100)[:4].decode() or "closed"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"


def test_GRD_4_a_denied_client_is_refused_by_the_kernel(make, network):
    router = guarded(make)
    wait_until(lambda: outcome(router, DENIED) == "refused")
    assert outcome(router, "127.0.9.8") == "* OK"
    # the admin API is not the guard's
    assert router.admin("GET", "/stats", source=DENIED)[0] == 200


def test_GRD_4_a_reload_changes_who_is_denied(make, network):
    router = guarded(make)
    wait_until(lambda: outcome(router, DENIED) == "refused")
    edit(router, (DENIED, "127.0.9.7"))
    reload_ok(router)
    wait_until(lambda: outcome(router, "127.0.9.7") == "refused")
    assert outcome(router, DENIED) == "* OK"
    edit(router, ("127.0.9.7", DENIED), ("enabled = true", "enabled = false"))
    reload_ok(router)
    assert outcome(router, "127.0.9.7") == "* OK" == outcome(router, DENIED)
    edit(router, ("enabled = false", "enabled = true"))
    reload_ok(router)
    wait_until(lambda: outcome(router, DENIED) == "refused")


def test_GRD_4_observing_refuses_nobody(make, network):
    router = guarded(make, "observe = true\n")
    for _ in range(3):
        assert outcome(router, DENIED) == "* OK"


def test_GRD_4_new_addresses_of_the_host_are_services(make, network):
    router = serving(make, GUARD)
    wait_until(lambda: outcome(router, DENIED) == "refused")
    subprocess.run(["ip", "addr", "add", "127.0.7.7/8", "dev", "lo"], check=True)
    wait_until(lambda: outcome(router, DENIED, "127.0.7.7") == "refused")


def test_GRD_1_without_the_guard_nothing_is_loaded(make, network, pins):  # noqa: F811
    pinned = pinning(pins, "")
    router = guarded(make, pinned, guard="[guard]\nenabled = false\ninterfaces = [\"lo\"]\n")
    assert not [name for name in os.listdir(pins + "/v2") if "guard" in name]
    assert outcome(router, DENIED) == "* OK"
    assert "guard" not in router.log()
    guarded(make, pinned)
    assert "guard_bans" in os.listdir(pins + "/v2")


def test_GRD_1_a_virtual_device_that_is_named_is_warned_of(make, network):
    subprocess.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"], check=True)
    subprocess.run(["ip", "link", "set", "va", "up"], check=True)
    router = guarded(make, 'interfaces = ["va"]\n')
    line = router.wait_line(lambda line: "msg=guard_interface" in line and "level=warn" in line)
    assert "interface=va" in line and "segmentation offload" in line
    assert any("msg=guard_interface interface=va mode=native" in line for line in router.lines)


def test_GRD_1_auto_takes_no_virtual_device(make, network):
    subprocess.run(["ip", "link", "add", "va", "type", "veth", "peer", "name", "vb"], check=True)
    subprocess.run(["ip", "link", "set", "va", "up"], check=True)
    router = guarded(make, 'interfaces = ["auto"]\n')
    wait_until(lambda: outcome(router, DENIED) == "refused")
    assert "guard_interface" not in router.log()


def test_GRD_6_a_device_without_native_mode_is_left_out_with_the_reason(make, network):
    router = guarded(make, 'interfaces = ["lo"]\n')
    line = router.wait_line(lambda line: "msg=guard_interface" in line)
    assert "level=warn" in line and "interface=lo" in line and "reason=" in line
    wait_until(lambda: outcome(router, DENIED) == "refused")  # the socket lookup is there


def test_GRD_6_auto_mode_falls_back_to_generic(make, network):
    router = guarded(make, 'interfaces = ["lo"]\nxdp_mode = "auto"\n')
    line = router.wait_line(lambda line: "msg=guard_interface interface=lo" in line)
    assert "mode=generic" in line and "native: " in line


def test_GRD_7_a_device_that_comes_later_gets_a_link(make, network):
    router = guarded(make, 'interfaces = ["late"]\n')
    assert any("no such device yet" in line for line in router.lines)
    for _ in range(2):
        begin = len(router.lines)
        subprocess.run(["ip", "link", "add", "late", "type", "veth", "peer", "name", "other"], check=True)
        router.wait_line(lambda line: "interface=late mode=native by=link" in line, start=begin)
        subprocess.run(["ip", "link", "del", "late"], check=True)
        router.wait_line(lambda line: "interface=late gone=true" in line, start=begin)


def test_GRD_6_nothing_is_left_on_devices(make, network):
    router = guarded(make, 'interfaces = ["lo"]\nxdp_mode = "generic"\n')
    assert "xdp" in subprocess.run(["ip", "link", "show", "lo"], capture_output=True, text=True, check=True).stdout
    router.stop()
    done = subprocess.run([HOMINGD, "--guard-detach"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(["ip", "link", "show", "lo"], capture_output=True, text=True, check=True).stdout
    assert "xdp" not in shown


# ---- another host ----

CLIENT, SERVER = "198.18.0.1", "198.18.0.2"
CONNECT = """
import socket, sys
s = socket.socket()
s.settimeout(float(sys.argv[3]))
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print(s.recv(4).decode())
except ConnectionRefusedError:
    print("refused")
except ConnectionResetError:
    print("reset")
except TimeoutError:
    print("silent")
"""


@pytest.fixture
def other(network):
    """A host that is reached by a veth device; returns a function that connects from there."""
    host = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    own = os.readlink("/proc/self/task/%d/ns/net" % threading.get_native_id())
    wait_until(lambda: os.readlink("/proc/%d/ns/net" % host.pid) != own)
    for words in (["link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", str(host.pid)],
                  ["addr", "add", SERVER + "/24", "dev", "va"], ["link", "set", "va", "up"]):
        subprocess.run(["ip", *words], check=True)
    inside = ["nsenter", "--net=/proc/%d/ns/net" % host.pid]
    for words in (["addr", "add", CLIENT + "/24", "dev", "vb"], ["link", "set", "vb", "up"]):
        subprocess.run([*inside, "ip", *words], check=True)

    def connect(port, wait_s=PATIENCE):
        done = subprocess.run([*inside, "/usr/bin/python3", "-c", CONNECT, SERVER, str(port), str(wait_s)],
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()
    connect.inside = inside
    yield connect
    host.kill()
    host.wait()


def hexes(data):
    return ["%02x" % byte for byte in data]


def ban_key(address):
    return hexes(bytes(10) + b"\xff\xff" + socket.inet_aton(address))


def write_ban(pins, address, for_s):  # noqa: F811
    """As a router that has died would have left it."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    row = struct.pack("<QQQQII48s", now + for_s * 10 ** 9, now, 5, now, 1, 2, address.encode())
    subprocess.run(["bpftool", "map", "update", "pinned", pins + "/v2/guard_bans", "key", "hex", *ban_key(address),
                    "value", "hex", *hexes(row)], check=True)


def kernel_ban(pins, address):  # noqa: F811
    done = subprocess.run(["bpftool", "-j", "map", "lookup", "pinned", pins + "/v2/guard_bans", "key", "hex",
                           *ban_key(address)], capture_output=True, text=True, check=False)
    return json.loads(done.stdout).get("formatted", {}).get("value") if done.returncode == 0 else None


def test_GRD_8_bans_are_there_after_a_restart(make, other, pins):  # noqa: F811
    router = serving(make, pinning(pins, "[guard]\nenabled = true\n"))
    assert other(router.ports["imap"]) == "* OK"
    router.stop(expect=-9, how=9)
    write_ban(pins, CLIENT, 3600)
    write_ban(pins, "198.18.0.77", 3600)
    write_ban(pins, "127.0.0.8", 3600)
    router.lines = []
    router.start()
    wait_until(lambda: other(router.ports["imap"]) == "refused")
    row = kernel_ban(pins, CLIENT)
    assert row["strikes"] == 2 and row["dropped"] > 5
    assert kernel_ban(pins, "198.18.0.77") and not kernel_ban(pins, "127.0.0.8")  # never banned (GRD-3)
    router.restart()
    wait_until(lambda: other(router.ports["imap"]) == "refused")


def test_GRD_8_what_is_not_banned_any_more_stays_so(make, other, pins):  # noqa: F811
    router = serving(make, pinning(pins, "[guard]\nenabled = true\n"))
    router.stop()
    write_ban(pins, CLIENT, -1)
    router.lines = []
    router.start()
    assert kernel_ban(pins, CLIENT) is None
    assert other(router.ports["imap"]) == "* OK"


def open_session(inside, port):
    """A process over there with an open connection, which says what it is answered."""
    script = ("import socket, sys\ns = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\n"
              "f = s.makefile('rwb')\nprint(f.readline()[:4].decode(), flush=True)\n"
              "for line in sys.stdin:\n    f.write(line.encode())\n    f.flush()\n"
              "    print(f.readline()[:9].decode(), flush=True)\n")
    return subprocess.Popen([*inside, "/usr/bin/python3", "-c", script, SERVER, str(port)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def ask(session, line):
    session.stdin.write(line + "\n")
    session.stdin.flush()
    return session.stdout.readline().strip()


@pytest.mark.parametrize("interfaces, banned", (("", "refused"), ('interfaces = ["va"]\n', "silent")))
def test_GRD_4_a_ban_refuses_until_it_ends_and_spares_what_is_open(make, other, pins, interfaces, banned):  # noqa: F811
    """By the socket lookup, and by XDP."""
    router = serving(make, pinning(pins, "[guard]\nenabled = true\n" + interfaces))
    port = router.ports["imap"]
    session = open_session(other.inside, port)
    try:
        assert session.stdout.readline() == "* OK\n"
        assert router.ctl("ban", CLIENT, "--for", "4s").returncode == 0
        end = time.monotonic() + 4
        assert kernel_ban(pins, CLIENT)["client"].startswith(CLIENT)
        assert other(port, 0.3 if banned == "silent" else PATIENCE) == banned
        assert ask(session, "a NOOP\r").startswith("a OK")
        wait_until(lambda: other(port) == "* OK")
        assert time.monotonic() >= end - 0.1
        assert ask(session, "b NOOP\r").startswith("b OK")
    finally:
        session.kill()
        session.wait()
    assert router.ctl("ban", "198.18.0.0/24").returncode == 0
    wait_until(lambda: other(port, 0.3) == banned)  # a prefix, with the next heartbeat
    assert router.ctl("unban", "198.18.0.0/24").returncode == 0
    wait_until(lambda: other(port, 0.3) == "* OK")


def test_GRD_4_xdp_drops_what_is_denied(make, other, pins):  # noqa: F811
    deny = "[guard]\nenabled = true\ninterfaces = [\"va\"]\ndeny = [\"%s\"]\n" % CLIENT
    router = serving(make, pinning(pins, deny))
    wait_until(lambda: other(router.ports["imap"], 0.3) == "silent")
    router.stop()
    router.lines = []
    edit(router, ("deny", "allow"))
    router.start()
    assert other(router.ports["imap"]) == "* OK"


def test_GRD_4_a_dead_router_refuses_nobody(make, other, pins):  # noqa: F811
    """What it had by links is gone with it."""
    deny = "[guard]\nenabled = true\ninterfaces = [\"va\"]\ndeny = [\"%s\"]\n" % CLIENT
    router = serving(make, pinning(pins, deny))
    port = router.ports["imap"]
    wait_until(lambda: other(port, 0.3) == "silent")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        router.stop(expect=-9, how=9)
        subprocess.run([HOMINGD, "--guard-detach"], check=True, timeout=PATIENCE)
        sock.bind((SERVER, port))
        sock.listen()
        threading.Thread(target=lambda: sock.accept()[0].send(b"mine"), daemon=True).start()
        assert other(port) == "mine"
