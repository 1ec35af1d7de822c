# SPDX-License-Identifier: Apache-2.0
"""homingctl init-db."""

import contextlib
import os
import sqlite3
import subprocess
import threading

import harness
from mapping_stores import postgres  # noqa: F401


def init_db(*args, **environment):
    return subprocess.run([harness.BUILD + "/homingctl", "init-db", *args], capture_output=True,
                          text=True, timeout=60, check=False, env=dict(os.environ, **environment))


def test_init_db_applies_to_postgresql(postgres, make): # noqa: F811
    name = postgres.database(schema=False)
    url = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, name)
    done = init_db(url)
    assert (done.returncode, done.stdout) == (
        0, "table account_nodes(identifier, node) and its triggers: created\n"), done.stderr
    again = init_db(url.replace("postgres://", "postgresql://"))
    assert (again.returncode, again.stdout) == (
        0, "table account_nodes(identifier, node) and its triggers: there already\n")
    assert postgres.try_sql(name, "INSERT INTO account_nodes VALUES ('alice', 'node1')")
    assert postgres.try_sql(name, "INSERT INTO account_nodes VALUES ('Alice', 'node1')") is None
    assert postgres.try_sql(name, "SELECT count(*) FROM pg_trigger WHERE tgrelid = "
                            "'account_nodes'::regclass AND NOT tgisinternal") == "2"


def test_GRD_8_init_db_adds_the_table_of_bans(postgres): # noqa: F811
    """To a database of before, too; whoever may only use it hears of changes."""
    name = postgres.database(schema=False)
    url = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, name)
    assert init_db(url).returncode == 0
    assert postgres.try_sql(name, "DROP TABLE homing_bans")
    assert postgres.try_sql(name, 'CREATE ROLE "b-%s" LOGIN' % name)
    done = init_db(url, "--role", "b-" + name)
    assert done.returncode == 0 and "there already" in done.stdout, done.stderr
    told = subprocess.run(
        ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url.replace("postgres@", "b-%s@" % name), "-c",
         "LISTEN homing_invalidate", "-c", "INSERT INTO homing_bans VALUES ('192.0.2.1/32', 'ban -', "
         "now() + interval '1 hour')"], capture_output=True, text=True, check=True).stdout
    assert 'payload "ban/192.0.2.1/32@homing.invalid"' in told
    printed = init_db("--print", "--role", "x").stdout
    assert "CREATE TABLE IF NOT EXISTS homing_bans" in printed and "homing_bans TO \"x\"" in printed


def test_init_db_by_the_environment(postgres): # noqa: F811
    name = postgres.database(schema=False)
    environment = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres",
                   "PGDATABASE": name}
    # Many at once: one creates it, the others find it.
    results, threads = [], []
    for _ in range(6):
        threads.append(threading.Thread(
            target=lambda: results.append(init_db("--apply", **environment))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0] * 6, [done.stderr for done in results]
    assert sum("created" in done.stdout for done in results) == 1


def test_init_db_failures(postgres, workspace): # noqa: F811
    name = postgres.database(schema=False)
    url = "postgres://postgres@127.0.0.1:%d/%s" % (postgres.port, name)
    assert postgres.try_sql(name, "CREATE TABLE account_nodes (identifier text, node text)")
    done = init_db(url)
    assert done.returncode == 1 and "without the triggers" in done.stderr
    assert postgres.try_sql(name, "DROP TABLE account_nodes")
    # A conflict in the middle: nothing stays of what came before it.
    assert postgres.try_sql(name, "CREATE FUNCTION account_nodes_changed() RETURNS int LANGUAGE sql "
                            "AS 'SELECT 1'")
    done = init_db(url)
    assert done.returncode == 1 and "account_nodes_changed" in done.stderr
    assert postgres.try_sql(name, "SELECT to_regclass('account_nodes') IS NULL") == "t"
    done = init_db("postgres://homing:s3cret@127.0.0.1:%d/x" % harness.free_port())
    assert done.returncode == 1 and "s3cret" not in done.stdout + done.stderr
    for args in ((), ("a", "b"), ("mysql://h/d",), ("--print", "--apply"), ("--print", "x")):
        assert init_db(*args).returncode == 2, args
    path = workspace.path + "/new.db"
    for form in (path, "sqlite://" + path): # twice: it may be there
        assert init_db(form).returncode == 0
    with contextlib.closing(sqlite3.connect(path)) as db:
        plan = " ".join(row[3] for row in db.execute(
            "EXPLAIN QUERY PLAN " + harness.LIST_QUERY.replace("$", "?"), ("n", "a", "10")))
        assert "account_nodes_node" in plan, plan


def test_OPS_14_init_db_gives_a_role_its_rights(postgres): # noqa: F811
    name = postgres.database(schema=False)
    role = "homing-%s" % name # to be quoted
    url = "postgres://%%s@127.0.0.1:%d/%s" % (postgres.port, name)
    as_owner = url % "postgres"
    assert postgres.try_sql(name, 'CREATE ROLE "%s" LOGIN' % role)
    done = init_db(as_owner, "--role", "no-such-role")
    assert done.returncode == 1 and 'role "no-such-role" does not exist' in done.stderr
    done = init_db(as_owner, "--role", role)
    assert done.returncode == 0 and "there already" in done.stdout and role in done.stdout, done.stderr
    as_role = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url % role, "-c"]
    for statement in ("INSERT INTO account_nodes VALUES ('a', 'n')", "SELECT * FROM account_nodes",
                      "UPDATE account_nodes SET node = 'm'", "DELETE FROM account_nodes"):
        subprocess.run(as_role + [statement], check=True, capture_output=True)
    # An owner who may not become the role, in a schema that the role may not use until then.
    assert postgres.try_sql(name, 'CREATE ROLE "o-%s" LOGIN; CREATE SCHEMA mail AUTHORIZATION "o-%s"; '
                            'ALTER ROLE "o-%s" IN DATABASE %s SET search_path = mail' %
                            (name, name, name, name))
    done = init_db(url % ("o-" + name), "--role", role)
    assert done.returncode == 0, done.stderr
    assert postgres.try_sql(name, "SELECT has_schema_privilege('%s', 'mail', 'USAGE')" % role) == "t"
    # What cannot be given is named.
    assert postgres.try_sql(name, "REVOKE CONNECT ON DATABASE %s FROM PUBLIC; GRANT CONNECT ON DATABASE %s "
                            'TO "o-%s"' % (name, name, name))
    done = init_db(url % ("o-" + name), "--role", role)
    assert done.returncode == 1 and "still lacks: CONNECT" in done.stderr, done.stderr
    assert "TO \"x\"" in init_db("--print", "--role", "x").stdout
    assert init_db("/nowhere/x.db", "--role", "x").returncode == 2
