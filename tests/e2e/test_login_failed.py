# SPDX-License-Identifier: Apache-2.0
"""OPS-22: a line for each refused login, the fail2ban filter that reads it, and why a session ended."""

import imaplib
import os
import poplib
import re
import smtplib
import ssl
import subprocess

import pytest

from harness import wait_until
from http_nodes import Wire, answer, basic, http  # noqa: F401
from mailnodes import PROTOCOLS

USERS = {"alice@example.com": "secret-a"}
FILTER = os.path.join(os.path.dirname(__file__), "../../packaging/fail2ban/filter.d/homing.conf")


@pytest.fixture
def mail(make, sink):
    node = make.dovecot("node1", "127.0.0.21", USERS, protocols=PROTOCOLS, relay_port=sink.port)
    return make.router([node.toml("implicit")], default="node1",
                       listeners={p: ("implicit", "", p) for p in PROTOCOLS})


def context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def clients(router):
    where = {p: router.ports[p] for p in PROTOCOLS}
    imap = lambda: imaplib.IMAP4_SSL("127.0.0.1", where["imap"], ssl_context=context())
    pop3 = lambda: poplib.POP3_SSL("127.0.0.1", where["pop3"], context=context())
    smtp = lambda: smtplib.SMTP_SSL("127.0.0.1", where["submission"], context=context())
    return imap, pop3, smtp


def failures(router):
    return [line for line in router.log().splitlines() if "msg=login_failed" in line]


def fail2ban(router, workspace):
    path = workspace.write("fail2ban.log", "\n".join(failures(router)) + "\n")
    done = subprocess.run(["fail2ban-regex", "-v", path, FILTER], capture_output=True, text=True,
                          timeout=60)
    return int(re.search(r"(\d+) matched", done.stdout).group(1)), done.stdout


def test_OPS_22_refused_logins_have_a_line_that_fail2ban_reads(mail, workspace):
    imap, pop3, smtp = clients(mail)
    client = imap()
    for _ in range(2):
        with pytest.raises(imaplib.IMAP4.error):
            client.login("alice@example.com", "wrong")
    client.login("alice@example.com", "secret-a")
    client.logout()
    client = pop3()
    client.user("alice@example.com")
    with pytest.raises(poplib.error_proto):
        client.pass_('x reason=temporary"')
    client.close()
    client = smtp()
    with pytest.raises(smtplib.SMTPAuthenticationError):
        client.login('a" client=192.0.2.1:1 x', "wrong")
    client.close()
    wait_until(lambda: len(failures(mail)) >= 4)
    lines = failures(mail)
    assert [re.search(r"proto=(\S+)", line).group(1) for line in lines[:3]] == ["imap"] * 2 + ["pop3"]
    assert [re.search(r" attempts=(\d+)", line).group(1) for line in lines[:3]] == ["1", "2", "1"]
    assert all("level=warn" in line and " reason=" in line for line in lines)
    assert "secret-a" not in mail.log() and "wrong" not in "".join(lines)
    matched, text = fail2ban(mail, workspace)
    assert matched == len(lines), text
    assert "127.0.0.1" in text and "192.0.2.1" not in text


def test_OPS_22_sessions_of_pythons_clients_end_with_client_quit(mail):
    imap, pop3, smtp = clients(mail)
    for number in range(4):
        client = imap()
        client.login("alice@example.com", "secret-a")
        client.logout()
        client = pop3()
        client.user("alice@example.com")
        client.pass_("secret-a")
        client.quit()
        client = smtp()
        client.login("alice@example.com", "secret-a")
        client.quit()
        ended = mail.wait_sessions(3 * (number + 1))
    assert {line["reason"] for line in ended} == {"client_quit"}, ended


def test_OPS_22_a_cut_stream_is_truncated(mail):
    imap, _, _ = clients(mail)
    client = imap()
    client.login("alice@example.com", "secret-a")
    client.select()
    client.send(b"x APPEND INBOX {1000}\r\n")
    assert client.readline().startswith(b"+")
    client.send(b"half of it")
    client.sock.shutdown(2) # a FIN without close_notify
    client.sock.close()
    assert mail.wait_sessions(1)[0]["reason"] == "truncated"


def test_OPS_22_401_of_an_http_node(http):
    def refuse(conn):
        wire = Wire(conn.read)
        while wire.head():
            answer(conn, status="401 Unauthorized")
    router = http.router([http.node("node1", refuse)])
    with http.client(router) as c:
        c.send("GET /asks HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.answer().status == 401
        c.send("GET /guesses HTTP/1.1\r\nHost: x\r\n%s\r\n" % basic("alice"))
        assert c.answer().status == 401
        line = router.wait_line(lambda text: "msg=login_failed" in text)
    assert " proto=http " in line and " reason=refused attempts=1" in line
    assert len(failures(router)) == 1
