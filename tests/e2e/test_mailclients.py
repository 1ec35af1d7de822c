# SPDX-License-Identifier: Apache-2.0
"""Real clients doing their normal work through the router, with TLS: each in a test of its own, which is
skipped with a word where Debian's package is not installed."""

import imaplib
import os
import pty
import re
import shutil
import signal
import smtplib
import subprocess
import threading

import mailnodes
import pytest
from harness import PATIENCE, wait_until
from mailsite import MAIL, PASSWORD, USER, Setup


def program(name):
    return pytest.mark.skipif(shutil.which(name) is None, reason=name + " is not installed")


@pytest.fixture
def setup(make, workspace, sink):
    return Setup(make, workspace, sink)


def test_curl_imaps_pop3s_smtps(setup):
    base = ["curl", "-sS", "--cacert", setup.router.cert, "-u", USER + ":" + PASSWORD]
    mail = setup.file("mail", MAIL % (("by-curl",) * 3))
    setup.run(*base, "-T", mail, "imaps://localhost:%d/INBOX" % setup.ports["imaps"])
    assert "Subject: by-curl" in setup.run(
        *base, "imaps://localhost:%d/INBOX;MAILINDEX=1" % setup.ports["imaps"])
    assert "Subject: by-curl" in setup.run(*base, "pop3s://localhost:%d/1" % setup.ports["pop3s"])
    assert "Subject: by-curl" in setup.run(*base, "--ssl-reqd",
                                           "pop3://localhost:%d/1" % setup.ports["pop3"])
    for url in ("smtps://localhost:%d" % setup.ports["smtps"],
                "smtp://localhost:%d" % setup.ports["smtp"]):
        setup.run(*base, "--ssl-reqd", url, "--mail-from", USER, "--mail-rcpt", "x@remote.test",
                  "-T", mail)
    assert b"Subject: by-curl" in setup.sink.wait(2)[1][2]


@program("mbsync")
def test_mbsync(setup):
    setup.put("one", "two")
    config = setup.file("mbsyncrc", """
IMAPAccount a
Host localhost
Port %d
User %s
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account a

MaildirStore near
Inbox %s/near/

Channel c
Far :far:
Near :near:
Patterns INBOX
Create Near
SyncState *
""" % (setup.ports["imaps"], USER, PASSWORD, setup.router.cert, setup.home))
    setup.run("mbsync", "-c", config, "-a")
    assert Setup.maildir_subjects(setup.home + "/near") == ["one", "two"]


@program("offlineimap")
def test_offlineimap(setup):
    setup.put("one", "two", "three")
    config = setup.file("offlineimaprc", """
[general]
accounts = a
ui = basic
metadata = %s/meta
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = %s/near
[Repository far]
type = IMAP
remotehost = localhost
remoteport = %d
remoteuser = %s
remotepass = %s
ssl = yes
sslcacertfile = %s
""" % (setup.home, setup.home, setup.ports["imaps"], USER, PASSWORD, setup.router.cert))
    setup.run("offlineimap", "-c", config, "-o")
    assert Setup.maildir_subjects(setup.home + "/near/INBOX") == ["one", "three", "two"]


@program("getmail")
def test_getmail(setup):
    setup.put("one")
    for sub in ("", "/new", "/cur", "/tmp"):
        os.mkdir(setup.home + "/got" + sub)
    os.mkdir(setup.home + "/getmail")
    setup.file("getmail/getmailrc", """
[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = %d
username = %s
password = %s
ca_certs = %s
[destination]
type = Maildir
path = %s/got/
[options]
read_all = true
""" % (setup.ports["pop3s"], USER, PASSWORD, setup.router.cert, setup.home))
    # getmail refuses to deliver as root
    if os.geteuid() == 0:
        for root, directories, files in os.walk(setup.home):
            for name in directories + files:
                setup.workspace.own(os.path.join(root, name))
        setup.run("setpriv", "--reuid", setup.workspace.user, "--regid", setup.workspace.group,
                  "--clear-groups", "getmail", "--getmaildir", setup.home + "/getmail")
    else:
        setup.run("getmail", "--getmaildir", setup.home + "/getmail")
    assert Setup.maildir_subjects(setup.home + "/got") == ["one"]


@program("fetchmail")
def test_fetchmail(setup):
    setup.put("one", "two")
    config = setup.file("fetchmailrc", """
poll localhost protocol pop3 service %d auth password
  user "%s" password "%s" is root here ssl sslcertck sslcertfile %s
  mda "cat >> %s/fetched" keep
""" % (setup.ports["pop3s"], USER, PASSWORD, setup.router.cert, setup.home))
    setup.run("fetchmail", "-f", config, "--pidfile", setup.home + "/pid", "--idfile",
              setup.home + "/ids")
    with open(setup.home + "/fetched", encoding="utf-8") as f:
        assert re.findall(r"^Subject: (\w+)", f.read(), re.M) == ["one", "two"]


@program("mpop")
def test_mpop(setup):
    setup.put("one")
    config = setup.file("mpoprc", """
account default
host localhost
port %d
user %s
password %s
auth plain
tls on
tls_starttls on
tls_trust_file %s
keep on
delivery mbox %s/got
uidls_file %s/uidls
""" % (setup.ports["pop3"], USER, PASSWORD, setup.router.cert, setup.home, setup.home))
    setup.run("mpop", "-C", config)
    with open(setup.home + "/got", encoding="utf-8") as f:
        assert "Subject: one" in f.read()


@program("msmtp")
def test_msmtp(setup):
    config = setup.file("msmtprc", """
account default
host localhost
port %d
from %s
user %s
password %s
auth plain
tls on
tls_starttls on
tls_trust_file %s
""" % (setup.ports["smtp"], USER, USER, PASSWORD, setup.router.cert))
    setup.run("msmtp", "-C", config, "x@remote.test", stdin=MAIL % (("by-msmtp",) * 3))
    assert b"Subject: by-msmtp" in setup.sink.wait(1)[0][2]


@program("swaks")
def test_swaks(setup):
    for auth in ("PLAIN", "LOGIN"):
        for port, tls in (("smtp", "--tls"), ("smtps", "--tls-on-connect")):
            setup.run("swaks", "--server", "localhost", "--port", str(setup.ports[port]), tls,
                      "--tls-verify", "--tls-ca-path", setup.router.cert, "--auth", auth,
                      "--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to",
                      "x@remote.test", "--header", "Subject: by-swaks")
    assert len(setup.sink.wait(4)) == 4
    assert "535" in setup.run("swaks", "--server", "localhost", "--port",
                              str(setup.ports["smtp"]), "--tls", "--auth", "PLAIN", "--auth-user",
                              USER, "--auth-password", "wrong", "--from", USER, "--to",
                              "x@remote.test", check=False)


@program("sieve-connect")
def test_sieve_connect(setup):
    script = setup.file("vacation.sieve", "keep;\r\n")
    password = setup.file("password", PASSWORD + "\n")
    with open(password, encoding="utf-8") as f:
        done = subprocess.run(
            ["sieve-connect", "--server", "localhost", "--port", str(setup.ports["sieve"]),
             "--user", USER, "--passwordfd", str(f.fileno()), "--tlscafile", setup.router.cert,
             "--localsieve", script, "--remotesieve", "vacation", "--upload"],
            env=setup.environment, stdin=subprocess.DEVNULL, pass_fds=(f.fileno(),), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    client = mailnodes.connect(setup.router, "sieve", "managesieve", "starttls")
    client.login("PLAIN", USER, PASSWORD)
    assert '"vacation"' in "".join(client.works())
    client.quit()


@program("neomutt")
def test_neomutt(setup):
    """On a terminal: the index shows the mails that are there."""
    setup.put("seen-in-neomutt")
    config = setup.file("muttrc", """
set folder = "imaps://localhost:%d"
set spoolfile = "+INBOX"
set imap_user = "%s"
set imap_pass = "%s"
set ssl_ca_certificates_file = "%s"
set wait_key = no
set quit = yes
""" % (setup.ports["imaps"], USER, PASSWORD, setup.router.cert))
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(setup.environment, LINES="24", COLUMNS="100")
        os.execvp("neomutt", ["neomutt", "-n", "-F", config])
    screen, lock = bytearray(), threading.Event()

    def read():
        try:
            while True:
                data = os.read(fd, 4096)
                if not data:
                    break
                screen.extend(data)
        except OSError:
            pass
        lock.set()
    threading.Thread(target=read, daemon=True).start()
    try:
        wait_until(lambda: b"seen-in-neomutt" in screen or b"Press any key" in screen)
        assert b"seen-in-neomutt" in screen, bytes(screen)
        os.write(fd, b"q")
        assert lock.wait(PATIENCE)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(fd)
        os.waitpid(pid, 0)
    setup.logged_in("imap", 2)


def test_pythons_own_clients(setup):
    """imaplib, poplib and smtplib with STARTTLS."""
    import poplib
    context = mailnodes.context(setup.router)
    imap = imaplib.IMAP4("localhost", setup.ports["imap"])
    imap.starttls(context)
    imap.login(USER, PASSWORD)
    assert imap.append("INBOX", None, None, (MAIL % (("py",) * 3)).encode())[0] == "OK"
    imap.logout()
    pop = poplib.POP3("localhost", setup.ports["pop3"])
    pop.stls(context)
    pop.user(USER)
    pop.pass_(PASSWORD)
    assert any(b"Subject: py" in line for line in pop.retr(1)[1])
    pop.quit()
    smtp = smtplib.SMTP("localhost", setup.ports["smtp"])
    smtp.starttls(context=context)
    smtp.login(USER, PASSWORD)
    assert smtp.sendmail(USER, ["x@remote.test"], MAIL % (("py",) * 3)) == {}
    smtp.quit()
    assert b"Subject: py" in setup.sink.wait(1)[0][2]
