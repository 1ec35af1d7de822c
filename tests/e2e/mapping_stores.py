# SPDX-License-Identifier: Apache-2.0
"""Mappings of accounts in every kind of store: what a router's configuration says of them, and rows
that are put there behind its back."""

import os
import sqlite3

import harness
import pytest
import stores
from harness import wait_until

SQL = ('[mapping]\nsource = "sql"\nnormalize = "lowercase"\npositive_ttl = "%s"\nnegative_ttl = "30s"\n'
       'lookup_timeout = "%s"\n%s\n[mapping.sql]\n%s\npool_size = %d\n'
       'query = "SELECT node FROM account_nodes WHERE identifier = $1"\n'
       'upsert_query = "INSERT INTO account_nodes (identifier, node) VALUES ($1, $2) ON CONFLICT '
       '(identifier) DO UPDATE SET node = excluded.node"\n'
       'delete_query = "DELETE FROM account_nodes WHERE identifier = $1"\n'
       'list_query = "' + harness.LIST_QUERY + '"\n')
REDIS = ('[mapping]\nsource = "redis"\nnormalize = "lowercase"\npositive_ttl = "%s"\nnegative_ttl = "30s"\n'
         'lookup_timeout = "%s"\n%s\n[mapping.redis]\n%s\npool_size = %d\n')
NO_TRACKING = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|tracking"]


@pytest.fixture(scope="module")
def postgres():
    server = stores.Postgres()
    yield server
    server.close()


class SqlStore:
    kind = "postgresql"

    def __init__(self, server, own=False):
        self.server, self.own = server, own
        self.name = server.database()
        self.target = ("127.0.0.1", server.port)

    def toml(self, port=None, ttl="10m", timeout="5s", extra="", pool=4):
        url = 'url = "postgres://postgres@127.0.0.1:%d/%s"' % (port or self.server.port, self.name)
        return SQL % (ttl, timeout, extra, url, pool)

    def put(self, account, node):
        assert self.server.try_sql(self.name, "INSERT INTO account_nodes VALUES ('%s', '%s') ON "
                                   "CONFLICT (identifier) DO UPDATE SET node = excluded.node" %
                                   (account, node))

    def remove(self, account):
        assert self.server.try_sql(self.name, "DELETE FROM account_nodes WHERE identifier = '%s'" %
                                   account)

    def get(self, account):
        value = self.server.try_sql(self.name, "SELECT node FROM account_nodes WHERE "
                                    "identifier = '%s'" % account)
        return None if value == "ok" else value

    def remove_all(self):
        assert self.server.try_sql(self.name, "TRUNCATE account_nodes")

    def close(self):
        if self.own:
            self.server.close()


class RedisStore:
    kind = "redis"

    def __init__(self, *args):
        self.server = stores.Redis(*args)
        self.target = ("127.0.0.1", self.server.port)

    def toml(self, port=None, ttl="10m", timeout="5s", extra="", pool=4, url=None):
        url = 'url = "%s"' % (url or "redis://127.0.0.1:%d" % (port or self.server.port))
        return REDIS % (ttl, timeout, extra, url, pool)

    def put(self, account, node):
        self.server.cli("set", "route:" + account, node)

    def remove(self, account):
        self.server.cli("del", "route:" + account)

    def get(self, account):
        return self.server.cli("get", "route:" + account) or None

    def remove_all(self):
        self.server.cli("flushall")

    def close(self):
        self.server.close()


@pytest.fixture(params=["postgresql", "redis"])
def store(request):
    made = SqlStore(request.getfixturevalue("postgres")) if request.param == "postgresql" \
        else RedisStore()
    yield made
    made.close()


@pytest.fixture(params=["postgresql", "redis"])
def own_store(request):
    """One whose server may be stopped."""
    made = SqlStore(stores.Postgres(), own=True) if request.param == "postgresql" else RedisStore()
    yield made
    made.close()


class FileStore:
    def __init__(self, space):
        self.space = space
        self.path = space.write("mapping.txt", "")

    def toml(self):
        return ('[mapping]\nsource = "file"\nnormalize = "lowercase"\n[mapping.file]\npath = "%s"\n' %
                self.path)

    def put_all(self, rows):
        self.space.write("mapping.txt", "".join("%s %s\n" % row for row in rows.items()))

    def close(self):
        pass


class SqliteStore:
    def __init__(self, space):
        self.space = space

    def toml(self):
        return None # the harness's own

    def put_all(self, rows):
        with sqlite3.connect(self.space.path + "/mapping.sqlite") as db:
            db.executemany("INSERT INTO account_nodes VALUES (?, ?)", list(rows.items()))

    def close(self):
        pass


def put_all_sql(store, rows):
    values = ", ".join("('%s', '%s')" % row for row in rows.items())
    assert store.server.try_sql(store.name, "INSERT INTO account_nodes VALUES " + values)


def put_all_redis(store, rows):
    store.server.cli("mset", *[word for name, node in rows.items()
                               for word in ("route:" + name, node)])


def lock_db(router):
    db = sqlite3.connect(router.db, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    return db


def unlock_db(router, db):
    db.execute("ROLLBACK")
    db.close()
    for path in (router.db, router.db + "-wal", router.db + "-shm"):
        if os.path.exists(path):
            router.workspace.own(path)


@pytest.fixture
def rollback_journal():
    """In WAL mode readers do not wait for writers, so the blackhole needs the other mode."""
    def use(router):
        db = sqlite3.connect(router.db)
        db.execute("PRAGMA journal_mode = DELETE")
        db.close()
        router.workspace.own(router.db)
    return use


def file_mapping(workspace, text):
    workspace.write("accounts", text, 0o640)
    return '[mapping]\nsource = "file"\nnormalize = "lowercase"\n[mapping.file]\npath = "accounts"\n'


def get_mapping(router, identifier):
    status, body, _ = router.admin("GET", "/mappings?identifier=" + identifier)
    assert status == 200, body
    return body


def login(router, user):
    """Returns the client's address as the log has it."""
    with router.client() as client:
        client.line()
        assert client.command("a LOGIN %s pw" % user)[-1].startswith("a OK"), user
        return "%s:%d" % client.sock.getsockname()[:2]


def where(router, user):
    """The node of a login, from the router's log. Only what is logged from now on counts: Linux
    draws its ports for clients anew every ten seconds, so an earlier session may have had the same."""
    before = len(router.session_lines())
    client = login(router, user)
    return wait_until(lambda: [line for line in router.session_lines()[before:]
                               if line["client"] == client])[-1]["node"]


def wait_push(router, state="up"):
    wait_until(lambda: router.stats()["push_state"] == state)
