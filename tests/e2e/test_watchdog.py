# SPDX-License-Identifier: Apache-2.0
"""SEC-9: a thread that does not return to its loop. A preloaded recv() makes it busy."""

import signal
import time

import harness
from harness import parse_logfmt, wait_until
from metrics import fetch, values


def start(make, exit_after):
    return make.router([make.node("node1")], server='threads = 1\nstuck_exit = "%s"' % exit_after,
                       listeners={"imap": "plain"}, environment=harness.preloaded("stuck"))


def make_stuck(router, seconds):
    client = router.client(tls=False)
    client.line()
    client.send("stuck%d NOOP\r\n" % seconds)
    return client


def line_of(router, msg):
    return parse_logfmt(wait_until(lambda: [l for l in router.log().splitlines()
                                            if "msg=%s " % msg in l])[0])


def test_a_stuck_worker_is_named_and_counted(make):
    router = start(make, "0s")
    with make_stuck(router, 6) as client:
        line = line_of(router, "stuck")
        assert line["level"] == "error" and line["thread"] == "worker0" and line["seconds"] == "3"
        assert values(fetch(router)[1])["homing_stuck_total"] == 1
        assert client.line() == "stuck6 OK Done." # with 0 it is waited for
    session = router.wait_sessions(1)[-1]
    assert session["id"] == line["session"]
    assert "msg=stuck_exit" not in router.log()


def test_the_process_ends_for_its_supervisor(make):
    router = start(make, "5s")
    with make_stuck(router, 9):
        assert router.process.wait(harness.PATIENCE) == -signal.SIGABRT
    router.stop(expect=-signal.SIGABRT)
    line = line_of(router, "stuck_exit")
    assert line["thread"] == "worker0" and line["seconds"] == "5" and line["session"] != "-"


def test_a_process_that_was_stopped_is_not_stuck(make):
    router = start(make, "3s")
    with make_stuck(router, 1) as client:
        router.process.send_signal(signal.SIGSTOP) # at work, most likely
        end = time.monotonic() + 4.5 # the time that passes is what is tested
        while time.monotonic() < end:
            time.sleep(0.1)
        router.process.send_signal(signal.SIGCONT)
        assert client.line() == "stuck1 OK Done."
    assert "msg=stuck" not in router.log() and router.process.poll() is None
