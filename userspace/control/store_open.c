// SPDX-License-Identifier: Apache-2.0
/* From configuration to a store; findings of the mapping file go to the log. */
#include "control/store_open.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int account(void *arg, struct view text, char ret[321])
{
	struct config *config = arg;
	struct identity identity;
	int r = identity_account(&config->identity_rules, text, &identity);

	if (r < 0)
		return r;
	memcpy(ret, identity.account, identity.len + 1);
	return (int)identity.len;
}

static bool declared(void *arg, struct view destination)
{
	const struct config *config = arg;

	for (size_t i = 0; i < config->destination_count; i++) {
		if (view_eq(destination, view_str(config->destinations[i].name)))
			return true;
	}
	return false;
}

static const char *unserved(void *arg, struct view destination)
{
	return config_unserved_protocol(arg, destination);
}

static void report(void *arg, const struct store_file_finding *finding)
{
	const struct config *config = arg;
	struct log_line line;

	log_start(&line, finding->error ? LOGL_ERROR : LOGL_WARN, "mapping_file");
	log_str(&line, "file", config->mapping.file_path);
	log_int(&line, "line", finding->line);
	log_str(&line, "text", finding->text);
	log_end(&line);
}

static int open_file(struct config *config, struct store **ret_store, char error[STORE_ERROR_BYTES])
{
	struct store_file_params params = {
		.path = config->mapping.file_path,
		.account = account,
		.declared = declared,
		.unserved = unserved,
		.arg = config,
		.report = report,
		.report_arg = config,
	};

	return store_file_new(&params, ret_store, error);
}

static int open_sqlite(struct config *config, store_push_fn *push, void *push_arg,
	struct store **ret_store, char error[STORE_ERROR_BYTES])
{
	struct store_sqlite_params params = {
		.path = config->mapping.sqlite_path,
		.read_only = config->mapping.sqlite_read_only,
		.query = config->mapping.sql_query,
		.upsert_query = config->mapping.sql_upsert_query,
		.delete_query = config->mapping.sql_delete_query,
		.list_query = config->mapping.sql_list_query,
		.busy_ms = config->mapping.lookup_timeout_ms,
		.push = push,
		.push_arg = push_arg,
	};

	return store_sqlite_new(&params, ret_store, error);
}

static void warn(void *arg, const char *text)
{
	(void)arg;
	log_event(LOGL_WARN, "push", "text", text, NULL);
}

static struct store_net_params net_params(
	const struct config *config, unsigned pool_size, store_push_fn *push, void *push_arg)
{
	return (struct store_net_params){ .pool_size = pool_size,
		.timeout_ms = config->mapping.lookup_timeout_ms,
		.push = push,
		.push_arg = push_arg,
		.warn = warn };
}

static int open_pg(struct config *config, store_push_fn *push, void *push_arg,
	struct store **ret_store, char error[STORE_ERROR_BYTES])
{
	struct store_pg_params params = {
		.url = config->mapping.sql_url,
		.query = config->mapping.sql_query,
		.upsert_query = config->mapping.sql_upsert_query,
		.delete_query = config->mapping.sql_delete_query,
		.list_query = config->mapping.sql_list_query,
		.net = net_params(config, (unsigned)config->mapping.sql_pool_size, push, push_arg),
	};

	return store_pg_new(&params, ret_store, error);
}

static int open_redis(struct config *config, store_push_fn *push, void *push_arg,
	struct store **ret_store, char error[STORE_ERROR_BYTES])
{
	struct store_redis_params params = {
		.url = config->mapping.redis_url,
		.key_prefix = config->mapping.redis_key_prefix,
		.net = net_params(
			config, (unsigned)config->mapping.redis_pool_size, push, push_arg),
	};

	return store_redis_new(&params, ret_store, error);
}

bool store_has_push(const struct config *config)
{
	return config->mapping.source == CONFIG_SOURCE_REDIS ||
		(config->mapping.source == CONFIG_SOURCE_SQL &&
			config->mapping.sql_kind != CONFIG_SQL_SQLITE);
}

int store_open(struct config *config, store_push_fn *push, void *push_arg, struct store **ret_store,
	char *error, size_t error_size)
{
	char text[STORE_ERROR_BYTES] = "cannot open the store";
	int r;

	static_assert(CONFIG_SOURCES == 3, "each is opened; the last are SQL's two");
	if (config->mapping.source == CONFIG_SOURCE_FILE)
		r = open_file(config, ret_store, text);
	else if (config->mapping.source == CONFIG_SOURCE_REDIS)
		r = open_redis(config, push, push_arg, ret_store, text);
	else if (config->mapping.sql_kind != CONFIG_SQL_SQLITE)
		r = open_pg(config, push, push_arg, ret_store, text);
	else
		r = open_sqlite(config, push, push_arg, ret_store, text);
	if (r < 0)
		snprintf(error, error_size, "mapping: %s", text);
	return r;
}
