# SPDX-License-Identifier: Apache-2.0
"""docs/handoff.md as it stands: its pieces of configuration, put in place as it says, make sessions that are
handed over, with Dovecot and Postfix beside the agent."""

import imaplib
import os
import poplib
import re
import shutil
import smtplib
import subprocess

import harness
import mailnodes
import pytest
import release
from harness import PATIENCE, wait_until
from mailsite import PASSWORD, USER, postfix  # noqa: F401

PAGE = os.path.join(harness.ROOT, "docs", "handoff.md")
PORTS = ("10143", "10110", "14190", "10588")


def read(*names):
    with open(os.path.join(harness.ROOT, "docs", *names), encoding="utf-8") as f:
        return f.read()


def blocks():
    """(language, text) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", read("handoff.md"), re.M | re.S)


def block(beginning):
    found = [text for _, text in blocks() if text.startswith(beginning)]
    assert len(found) == 1, beginning
    return found[0]


def test_its_toml_is_that_of_the_examples():
    parts = [text for language, text in blocks() if language == "toml"]
    assert len(parts) == 2
    for part, name in zip(parts, ("handoff-agent.toml", "handoff-router.toml")):
        assert part in read("examples", name), part


def test_both_dovecots_are_told_the_same():
    """But for the setting that 2.4 calls otherwise."""
    old, new = (block("# /etc/dovecot/conf.d/90-homing.conf for " + v) for v in ("2.3", "2.4"))
    assert old.replace("for 2.3", "for 2.4").replace("address =", "listen =") == new


class Agent(harness.Router):
    """homingd with docs/examples/handoff-agent.toml; change: what is otherwise here."""

    def __init__(self, keys, change):
        self.workspace = harness.Workspace("homing-agent-")
        directory = self.workspace.mkdir("handoff")
        for name in ("ca.pem", "node1.example.com.pem", "node1.example.com.key"):
            self.workspace.own(shutil.copy(os.path.join(keys, name), directory))
        self.workspace.write("admin.token", harness.TOKEN + "\n")
        text = read("examples", "handoff-agent.toml").replace('user = "homing"', 'user = "%s"\ngroup = "%s"' % (
            self.workspace.user, self.workspace.group)).replace("/etc/homing", self.workspace.path).replace(
                "/run/homing", self.workspace.path).replace("127.0.0.1:9443", "127.0.0.1:0")
        self.config = self.workspace.write("homing.toml", change(text))
        self.cert = os.path.join(keys, "ca.pem")
        self.environment, self.rlimit_nofile, self.wrapper = dict(os.environ), None, []
        if "-san" in harness.BUILD:
            self.environment.setdefault("HOMING_COREDUMP", "1")
        self.ports, self._lines, self.process = {}, [], None
        self.lock = harness.router.threading.Condition()
        self.pipe, self.rest = None, b""

    def close(self):
        super().close()
        self.workspace.close()


@pytest.fixture
def site(make, workspace, postfix, sink, monkeypatch): # noqa: F811
    """(router, agent, Dovecot, Postfix), all set up with the page's pieces on free ports."""
    given = {port: str(harness.free_port()) for port in PORTS}

    def here(text):
        for port, free in given.items():
            text = re.sub(r"\b%s\b" % port, free, text)
        return text

    keys = os.path.join(workspace.path, "handoff")
    subprocess.run([os.path.join(harness.BUILD, "homingctl"), "handoff-keys", keys, "node1.example.com"],
                   check=True, stdout=subprocess.DEVNULL)
    workspace.own(keys)
    for name in os.listdir(keys):
        workspace.own(os.path.join(keys, name))
    old = release.dovecot() < (2, 4)
    node = make.dovecot("node1", "127.0.0.71", {USER: PASSWORD}, protocols=("imap", "pop3", "managesieve"), extra=(
        "disable_plaintext_auth = yes\n" if old else "auth_allow_cleartext = no\n") + here(block(
            "# /etc/dovecot/conf.d/90-homing.conf for " + ("2.3" if old else "2.4"))))
    # Debian's smtpd is in its queue's directory, where the other Dovecot's socket is not.
    monkeypatch.setattr(mailnodes, "POSTFIX_MASTER", mailnodes.POSTFIX_MASTER + here(block(
        "# /etc/postfix/master.cf")).replace("n - y", "n - n"))
    smtp = postfix("node1", "127.0.0.72", node, "smtp:[127.0.0.1]:%d" % sink.port, proxy=False)
    port = harness.free_port()
    agent = Agent(keys, lambda text: here(text).replace("10.0.1.11:4191", "127.0.0.1:%d" % port))
    try:
        agent.start()
        table = [text for language, text in blocks() if language == "toml"][1]
        legs = node.toml() + "[destination.node1.protocol.submission]\nport = 1\ntls = \"implicit\"\n"
        router = make.router([legs], default="node1",
                             listeners={p: ("implicit", "", p) for p in mailnodes.PROTOCOLS},
                             extra=table.replace("4191", str(port)).replace("/etc/homing", workspace.path) +
                             'host = "127.0.0.1"\ntls_server_name = "node1.example.com"\nmode = "require"\n')
        yield router, agent, node, smtp
    finally:
        agent.close()


def test_it_works(site, sink):
    router, agent, node, smtp = site
    context = router.tls_context()
    with imaplib.IMAP4_SSL("localhost", router.ports["imap"], ssl_context=context) as imap:
        imap.login(USER, PASSWORD)
        assert imap.select()[0] == "OK"
    pop = poplib.POP3_SSL("localhost", router.ports["pop3"], context=context)
    pop.user(USER)
    pop.pass_(PASSWORD)
    pop.quit()
    sieve = mailnodes.connect(router, "managesieve", "managesieve", "implicit")
    sieve.login("PLAIN", USER, PASSWORD)
    sieve.quit()
    with smtplib.SMTP_SSL("localhost", router.ports["submission"], source_address=("127.0.0.9", 0),
                          context=context, timeout=PATIENCE) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["x@remote.test"], "Subject: x\r\n\r\ny\r\n")
    with router.client(source="127.0.0.9") as client:
        client.line()
        assert " OK" in client.command("a LOGIN %s %s" % (USER, PASSWORD))[-1]
        listed = router.ctl("sessions").stdout
        assert re.search(r"(sockmap/sockmap|copy/copy)\*", listed), listed
    lines = router.wait_sessions(5)
    assert {line["tls_at"] for line in lines} == {"agent"}, lines
    wait_until(lambda: {line["id"] for line in lines} == {
        line["via"] for line in agent.session_lines() if line["proto"] != "handoff"})
    assert re.search(r"rip=127\.0\.0\.9,.*(secured|TLS)", node.log()), node.log()
    assert smtp.logins() == [(USER, "127.0.0.9")], smtp.log()
    assert re.search(rb"with ESMTPA\b", sink.wait(1)[0][2])


def test_a_program_without_privileges_is_enough(site):
    """As the page's unit starts it."""
    router, agent, _, _ = site
    agent.stop()
    os.unlink(agent.workspace.path + "/admin.sock") # root's, which another user cannot tell from one in use
    agent.wrapper = ["setpriv", "--reuid", str(agent.workspace.uid), "--regid", str(agent.workspace.gid),
                     "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    agent.start()
    with router.client() as client:
        client.line()
        assert " OK" in client.command("a LOGIN %s %s" % (USER, PASSWORD))[-1]
    assert router.wait_sessions(1)[0]["tls_at"] == "agent"
