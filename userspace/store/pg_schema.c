// SPDX-License-Identifier: Apache-2.0
/*
 * The documented schema for PostgreSQL with the triggers that announce changes (mapping.md section
 * 6), and its application for homingctl init-db: blocking, one transaction, nothing changed where
 * it is there already. No part of the running router.
 */
#include "store/pool.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

const char *store_pg_schema(void)
{
	return "CREATE TABLE account_nodes (\n"
	       "  identifier text PRIMARY KEY,          -- stored in normalised form\n"
	       "  node       text NOT NULL,\n"
	       "  CHECK (identifier = lower(identifier) AND length(identifier) BETWEEN 1 AND 320)\n"
	       ");\n"
	       "CREATE INDEX account_nodes_node ON account_nodes (node, identifier); -- for drain\n"
	       "CREATE FUNCTION account_nodes_changed() RETURNS trigger LANGUAGE plpgsql AS "
	       "$body$\n"
	       "BEGIN\n"
	       "  IF TG_OP = 'TRUNCATE' THEN\n"
	       "    PERFORM pg_notify('" STORE_PG_CHANNEL "', '');\n"
	       "  ELSE\n"
	       "    IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('" STORE_PG_CHANNEL
	       "', OLD.identifier); END IF;\n"
	       "    IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('" STORE_PG_CHANNEL
	       "', NEW.identifier); END IF;\n"
	       "  END IF;\n"
	       "  RETURN NULL;\n"
	       "END $body$;\n"
	       "CREATE TRIGGER account_nodes_row AFTER INSERT OR UPDATE OR DELETE ON "
	       "account_nodes\n"
	       "  FOR EACH ROW EXECUTE FUNCTION account_nodes_changed();\n"
	       "CREATE TRIGGER account_nodes_all AFTER TRUNCATE ON account_nodes\n"
	       "  FOR EACH STATEMENT EXECUTE FUNCTION account_nodes_changed();\n";
}

const char *store_pg_bans_schema(void)
{
	return "CREATE TABLE IF NOT EXISTS homing_bans ( -- for guard.share\n"
	       "  source text PRIMARY KEY,\n"
	       "  note   text NOT NULL,                 -- \"ban ROUTER WHY\", or \"lift ROUTER\"\n"
	       "  until  timestamptz NOT NULL\n"
	       ");\n"
	       "CREATE OR REPLACE FUNCTION homing_bans_changed() RETURNS trigger LANGUAGE plpgsql "
	       "AS $body$\n"
	       "BEGIN\n"
	       "  PERFORM pg_notify('" STORE_PG_CHANNEL
	       "', 'ban/' || NEW.source || '@homing.invalid');\n"
	       "  RETURN NULL;\n"
	       "END $body$;\n"
	       "CREATE OR REPLACE TRIGGER homing_bans_row AFTER INSERT OR UPDATE ON homing_bans\n"
	       "  FOR EACH ROW EXECUTE FUNCTION homing_bans_changed();\n";
}

static int fail(PGconn *pg, char error[STORE_ERROR_BYTES])
{
	snprintf(error, STORE_ERROR_BYTES, "%.200s", PQerrorMessage(pg));
	error[strcspn(error, "\r\n")] = '\0';
	return -EIO;
}

/* Returns 0 or -EIO; *ret_result, for the caller to clear, only on success. */
static int run(PGconn *pg, const char *sql, PGresult **ret_result, char error[STORE_ERROR_BYTES])
{
	PGresult *result = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
		if (ret_result)
			*ret_result = result;
		else
			PQclear(result);
		return 0;
	}
	PQclear(result);
	return fail(pg, error);
}

/* 0: nothing is there; STORE_PG_EXISTS; -EEXIST: a part of it. */
static int find_schema(PGconn *pg, char error[STORE_ERROR_BYTES])
{
	static const char sql[] =
		"SELECT to_regclass('account_nodes') IS NOT NULL, (SELECT count(*) FROM pg_trigger "
		"WHERE tgrelid = to_regclass('account_nodes') AND tgname IN ('account_nodes_row', "
		"'account_nodes_all'))";
	PGresult *result;
	bool table, triggers;
	int r = run(pg, sql, &result, error);

	if (r < 0)
		return r;
	table = PQgetvalue(result, 0, 0)[0] == 't';
	triggers = PQgetvalue(result, 0, 1)[0] == '2';
	PQclear(result);
	if (!table || triggers)
		return table ? STORE_PG_EXISTS : 0;
	snprintf(error, STORE_ERROR_BYTES,
		"a table account_nodes exists, but without the triggers that announce changes; "
		"nothing was changed (see init-db --print)");
	return -EEXIST;
}

static bool has_bans(PGconn *pg)
{
	char ignored[STORE_ERROR_BYTES];
	PGresult *result;
	bool there;

	if (run(pg, "SELECT to_regclass('homing_bans') IS NOT NULL", &result, ignored) < 0)
		return false;
	there = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return there;
}

/* ---- a role ---- */

/* As fail(), and says which step it was. */
static int fail_at(const char *what, char error[STORE_ERROR_BYTES])
{
	char text[STORE_ERROR_BYTES];

	snprintf(text, sizeof(text), "%s", error);
	snprintf(error, STORE_ERROR_BYTES, "%.60s: %.180s", what, text);
	return -EACCES;
}

/* What an assignment's life needs, table-, schema- and database-wide; what is missing by name. */
static int check_rights(PGconn *pg, const char *role, char error[STORE_ERROR_BYTES])
{
	static const char sql[] =
		"SELECT concat_ws(', ', (SELECT string_agg(r, ', ') FROM unnest(ARRAY['SELECT', "
		"'INSERT', 'UPDATE', 'DELETE']) r WHERE NOT has_table_privilege($1::name, "
		"'account_nodes', r)), CASE WHEN NOT has_schema_privilege($1::name, relnamespace, "
		"'USAGE') THEN 'USAGE of schema ' || relnamespace::regnamespace END, CASE WHEN NOT "
		"has_database_privilege($1::name, current_database(), 'CONNECT') THEN 'CONNECT to "
		"the database' END) FROM pg_class WHERE oid = 'account_nodes'::regclass";
	const char *values[] = { role };
	PGresult *result = PQexecParams(pg, sql, 1, NULL, values, NULL, NULL, 0);
	int r = PQresultStatus(result) == PGRES_TUPLES_OK ? 0 : fail(pg, error);

	if (r == 0 && *PQgetvalue(result, 0, 0)) {
		snprintf(error, STORE_ERROR_BYTES, "role %.60s still lacks: %.150s", role,
			PQgetvalue(result, 0, 0));
		r = -EACCES;
	}
	PQclear(result);
	return r;
}

/* The statements of the documentation as the role itself, taken back. Who may not become the
 * role has the rights checked above and no more. */
static int try_statements(PGconn *pg, const char *quoted, char error[STORE_ERROR_BYTES])
{
	static const char *const statements[] = {
		"SELECT node FROM account_nodes WHERE identifier = 'init-db@homing.invalid'",
		"INSERT INTO account_nodes (identifier, node) VALUES ('init-db@homing.invalid', "
		"'x') "
		"ON CONFLICT (identifier) DO UPDATE SET node = excluded.node",
		"SELECT identifier FROM account_nodes WHERE node = 'x' AND identifier > '' "
		"ORDER BY identifier LIMIT 1",
		"DELETE FROM account_nodes WHERE identifier = 'init-db@homing.invalid'",
	};
	char sql[200], ignored[STORE_ERROR_BYTES];
	int r = run(pg, "BEGIN", NULL, error);

	snprintf(sql, sizeof(sql), "SET LOCAL ROLE %.150s", quoted);
	if (r < 0)
		return r;
	if (run(pg, sql, NULL, ignored) == 0) {
		for (size_t i = 0; r == 0 && i < ARRAY_SIZE(statements); i++)
			r = run(pg, statements[i], NULL, error);
		if (r < 0)
			r = fail_at("tried as the role", error);
	}
	(void)!run(pg, "ROLLBACK", NULL, ignored);
	return r;
}

static int grant_to(PGconn *pg, const char *role, char error[STORE_ERROR_BYTES])
{
	char *quoted = PQescapeIdentifier(pg, role, strlen(role));
	char sql[300], ignored[STORE_ERROR_BYTES];
	int r;

	if (!quoted || strlen(quoted) > 150 || strchr(quoted, '$')) {
		PQfreemem(quoted);
		snprintf(error, STORE_ERROR_BYTES, "not the name of a role");
		return -EINVAL;
	}
	snprintf(sql, sizeof(sql),
		"GRANT SELECT, INSERT, UPDATE, DELETE ON account_nodes, homing_bans TO %s", quoted);
	r = run(pg, sql, NULL, error);
	/* Whether that was needed, and possible, the check finds out. */
	snprintf(sql, sizeof(sql),
		"DO $do$ BEGIN EXECUTE 'GRANT USAGE ON SCHEMA ' || current_schema() || ' TO ' || "
		"$role$%s$role$; END $do$",
		quoted);
	if (r == 0)
		(void)!run(pg, sql, NULL, ignored);
	if (r == 0)
		r = check_rights(pg, role, error);
	if (r == 0)
		r = try_statements(pg, quoted, error);
	PQfreemem(quoted);
	return r;
}

/* ---- all of it ---- */

static int create(PGconn *pg, char error[STORE_ERROR_BYTES])
{
	/* Two who do this at once: the second finds it done. */
	int r = run(pg, "BEGIN; SELECT pg_advisory_xact_lock(4803117)", NULL, error);

	if (r == 0)
		r = find_schema(pg, error);
	if (r == 0)
		r = run(pg, store_pg_schema(), NULL, error);
	if (r >= 0 && !has_bans(pg)) {
		int made = run(pg, store_pg_bans_schema(), NULL, error);

		r = made < 0 ? made : r;
	}
	if (r >= 0 && run(pg, "COMMIT", NULL, error) < 0)
		return -EIO;
	return r;
}

static void drop_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

/* ---- urls ---- */

/* libpq's texts quote the url, and with it the password, but for those about a parameter's name. */
static const char *url_error(const char *text)
{
	if (text && strstr(text, "query parameter"))
		return text;
	return "not a valid url: postgres://[user[:password]@][host[:port][,...]][/database]"
	       "[?parameter=value&...], special characters percent-encoded";
}

/* Ports are looked at when connecting only: "5432", or one for each host, which may be empty. */
static bool ports_ok(const char *ports)
{
	while (*ports) {
		char *end;
		unsigned long port = strtoul(ports, &end, 10);

		if (end != ports && (!port || port > 65535))
			return false;
		if (*end && *end != ',')
			return false;
		ports = *end ? end + 1 : end;
	}
	return true;
}

int store_pg_check_url(const char *url, char error[STORE_ERROR_BYTES])
{
	char *text = NULL;
	PQconninfoOption *options = PQconninfoParse(url, &text);
	int r = options ? 0 : -EINVAL;

	if (r < 0) {
		snprintf(error, STORE_ERROR_BYTES, "%.200s", url_error(text));
		error[strcspn(error, "\r\n")] = '\0';
	}
	for (PQconninfoOption *option = options; option && option->keyword; option++) {
		if (strcmp(option->keyword, "port") != 0 || !option->val || ports_ok(option->val))
			continue;
		snprintf(error, STORE_ERROR_BYTES, "the port is not a number from 1 to 65535");
		r = -EINVAL;
	}
	PQfreemem(text);
	PQconninfoFree(options);
	return r;
}

/* ---- the schema ---- */

int store_pg_create(const char *url, const char *role, char error[STORE_ERROR_BYTES])
{
	/* As store_pg_new(): the url wins over the limit, the environment over the name. */
	const char *keys[] = { "fallback_application_name", "connect_timeout", "dbname", NULL };
	const char *values[] = { "homingctl", "10", url ? url : "", NULL };
	PGconn *pg = PQconnectdbParams(keys, values, 1);
	int r;

	if (!pg)
		return -ENOMEM;
	PQsetNoticeReceiver(pg, drop_notice, NULL);
	r = PQstatus(pg) == CONNECTION_OK ? create(pg, error) : fail(pg, error);
	if (r >= 0 && role) {
		int granted = grant_to(pg, role, error);

		r = granted < 0 ? granted : r;
	}
	PQfinish(pg); /* what was not committed is rolled back */
	return r;
}
