// SPDX-License-Identifier: Apache-2.0
/* The selected store: urls, statements, the mapping file. No store is asked. */
#include "config/check.h"
#include "store/store.h"

#include <assert.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int account(void *arg, struct view text, char ret[321])
{
	struct loader *loader = arg;
	struct identity identity;
	int r = identity_account(&loader->config->identity_rules, text, &identity);

	if (r < 0)
		return r;
	memcpy(ret, identity.account, identity.len + 1);
	return (int)identity.len;
}

static bool declared(void *arg, struct view destination)
{
	return config_find_destination(((struct loader *)arg)->config, destination) != NULL;
}

static const char *unserved(void *arg, struct view destination)
{
	return config_unserved_protocol(((struct loader *)arg)->config, destination);
}

static void on_file_finding(void *arg, const struct store_file_finding *finding)
{
	struct loader *loader = arg;

	config_find_in(loader, finding->error, loader->config->mapping.file_path, finding->line,
		"mapping.file.path", finding->text);
}

static void check_file(struct loader *loader)
{
	struct store_file_params params = { .path = loader->config->mapping.file_path,
		.account = account,
		.declared = declared,
		.unserved = unserved,
		.arg = loader,
		.report = on_file_finding,
		.report_arg = loader };
	unsigned before = loader->errors;
	int r;

	if (!params.path)
		return;
	r = store_file_check(&params);
	if (r < 0 && loader->errors == before)
		check_find(loader, true, "mapping.file", "path", "cannot read \"%s\": %s",
			params.path, strerror(-r));
}

/* Whether the service user may do `want` (of R_OK, W_OK, X_OK) with a file; ACLs are not looked
 * at. */
static bool user_may(const struct config *config, const char *path, int want)
{
	const struct passwd *pw = getpwnam(config->server.user);
	const struct group *gr = config->server.group ? getgrnam(config->server.group) : NULL;
	struct stat st;
	unsigned bits;

	if (geteuid() != 0)
		return access(path, want) == 0;
	if (!pw || stat(path, &st) < 0 || pw->pw_uid == 0) /* somebody else complains */
		return true;
	if (st.st_uid == pw->pw_uid)
		bits = st.st_mode >> 6;
	else if (st.st_gid == (gr ? gr->gr_gid : pw->pw_gid))
		bits = st.st_mode >> 3;
	else
		bits = st.st_mode;
	return (bits & (unsigned)want) == (unsigned)want;
}

/* Bytes 18 and 19 of the header are 2 (SQLite file format, section 1.3.3). */
static bool in_wal_mode(const char *path)
{
	char header[20] = "";
	FILE *f = fopen(path, "re");
	bool is_wal = f && fread(header, sizeof(header), 1, f) == 1 && header[18] == 2;

	if (f)
		(void)fclose(f); /* was only read */
	return is_wal;
}

/* Readers in WAL mode make files beside the database, writers do so in any mode. */
static void check_sqlite_rights(struct loader *loader)
{
	const struct config *config = loader->config;
	const char *path = config->mapping.sqlite_path;
	bool writes = config->mapping.sql_upsert_query && config->mapping.sql_delete_query &&
		!config->mapping.sqlite_read_only;
	char directory[PATH_MAX];

	if (!path || path[0] != '/' || access(path, F_OK) < 0)
		return;
	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(path, '/') - path) + 1, path);
	if (!user_may(config, path, writes ? R_OK | W_OK : R_OK))
		check_find(loader, false, "mapping.sql", "url", "user \"%s\" may not %s \"%s\"",
			config->server.user, writes ? "read and write" : "read", path);
	if ((writes || in_wal_mode(path)) && !user_may(config, directory, W_OK | X_OK))
		check_find(loader, false, "mapping.sql", "url",
			"user \"%s\" may not write to \"%s\", where SQLite makes files beside the "
			"database",
			config->server.user, directory);
}

/* sqlite:///absolute/path[?mode=ro] */
static void check_sqlite_url(struct loader *loader, struct view rest)
{
	struct config_mapping *mapping = &loader->config->mapping;
	const char *question = rest.len ? memchr(rest.data, '?', rest.len) : NULL;
	struct view path = question ? view_make(rest.data, (size_t)(question - rest.data)) : rest;

	mapping->sql_kind = CONFIG_SQL_SQLITE;
	if (question) {
		if (!view_eq(view_skip(rest, path.len), VIEW_LIT("?mode=ro")))
			check_find(loader, true, "mapping.sql", "url",
				"the only parameter is mode=ro");
		mapping->sqlite_read_only = true;
	}
	if (path.len < 2 || path.data[0] != '/')
		check_find(loader, true, "mapping.sql", "url",
			"needs an absolute path: sqlite:///path");
	mapping->sqlite_path = config_strdup(loader, path);
	if (mapping->sqlite_read_only && mapping->sql_upsert_query && mapping->sql_delete_query)
		check_find(loader, false, "mapping.sql", "url", "mode=ro: the store is read-only");
	check_sqlite_rights(loader);
}

static void check_pg_url(struct loader *loader)
{
	char error[STORE_ERROR_BYTES];

	if (store_pg_check_url(loader->config->mapping.sql_url, error) < 0)
		check_find(loader, true, "mapping.sql", "url", "%s", error);
}

static void check_sql_url(struct loader *loader)
{
	struct view url = view_str(loader->config->mapping.sql_url);

	if (!url.data)
		return;
	if (view_starts(url, VIEW_LIT("sqlite://")))
		check_sqlite_url(loader, view_skip(url, 9));
	else if (view_starts(url, VIEW_LIT("mysql://")))
		check_find(loader, true, "mapping.sql", "url",
			"MySQL is not supported; use postgres://, postgresql:// or sqlite://");
	else if (view_starts(url, VIEW_LIT("postgres://")) ||
		view_starts(url, VIEW_LIT("postgresql://")))
		check_pg_url(loader);
	else
		check_find(loader, true, "mapping.sql", "url",
			"unknown scheme; accepted are postgres://, postgresql:// and sqlite://");
}

/* 31: $n present, "?" counting as the next parameter on SQLite. */
static bool has_parameter(const char *query, int n, bool sqlite)
{
	char name[4] = { '$', (char)('0' + n), 0 };
	int marks = 0;

	for (const char *at = strstr(query, name); at; at = strstr(at + 1, name)) {
		if (at[2] < '0' || at[2] > '9')
			return true;
	}
	if (!sqlite)
		return false;
	for (const char *prefix = "?:@"; *prefix; prefix++) {
		name[0] = *prefix;
		if (strstr(query, name))
			return true;
	}
	for (const char *p = query; *p; p++)
		marks += *p == '?';
	return marks >= n;
}

static void check_query(struct loader *loader, const char *key, const char *query, int parameters)
{
	bool sqlite = loader->config->mapping.sql_kind == CONFIG_SQL_SQLITE;

	for (int n = 1; query && n <= parameters; n++) {
		if (!has_parameter(query, n, sqlite))
			check_find(loader, true, "mapping.sql", key,
				"the statement has no parameter $%d", n);
	}
}

static void check_sql(struct loader *loader)
{
	const struct config_mapping *mapping = &loader->config->mapping;

	check_sql_url(loader);
	check_query(loader, "query", mapping->sql_query, 1);
	check_query(loader, "upsert_query", mapping->sql_upsert_query, 2);
	check_query(loader, "delete_query", mapping->sql_delete_query, 1);
	check_query(loader, "list_query", mapping->sql_list_query, 3);
	if (!mapping->sql_upsert_query != !mapping->sql_delete_query) /* 20 */
		check_find(loader, false, "mapping.sql",
			mapping->sql_upsert_query ? "upsert_query" : "delete_query",
			"without the other write query the store is read-only");
}

static void check_redis(struct loader *loader)
{
	const char *url = loader->config->mapping.redis_url;
	char error[STORE_ERROR_BYTES];

	if (url && store_redis_check_url(url, error) < 0)
		check_find(loader, true, "mapping.redis", "url", "%s", error);
}

void check_mapping(struct loader *loader)
{
	static const char *const tables[] = { "mapping.file", "mapping.redis", "mapping.sql" };
	static_assert(ARRAY_SIZE(tables) == CONFIG_SOURCES, "a table for each");
	const struct config *config = loader->config;
	const char *table = tables[config->mapping.source];
	const struct config_instance *instance = config_find_instance(config, table);

	if (!config_is_set(config, "mapping", "source"))
		return;
	if (!instance || !instance->table) { /* 13 */
		check_find(loader, true, "mapping", "source", "the table [%s] is missing", table);
		return;
	}
	static_assert(CONFIG_SOURCES == 3, "each has its check");
	if (config->mapping.source == CONFIG_SOURCE_FILE)
		check_file(loader);
	else if (config->mapping.source == CONFIG_SOURCE_SQL)
		check_sql(loader);
	else
		check_redis(loader);
}
