// SPDX-License-Identifier: Apache-2.0
/* From configuration to a store; findings of the mapping file go to the log. */
#include "store_open.h"
#include "base/log.h"

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
		.arg = config,
		.report = report,
		.report_arg = config,
	};

	return store_file_new(&params, ret_store, error);
}

static int open_sqlite(struct config *config, store_changed_fn *changed, void *changed_arg,
	struct store **ret_store, char error[STORE_ERROR_BYTES])
{
	struct store_sqlite_params params = {
		.path = config->mapping.sqlite_path,
		.read_only = config->mapping.sqlite_read_only,
		.query = config->mapping.sql_query,
		.upsert_query = config->mapping.sql_upsert_query,
		.delete_query = config->mapping.sql_delete_query,
		.busy_ms = config->mapping.lookup_timeout_ms,
		.changed = changed,
		.changed_arg = changed_arg,
	};

	return store_sqlite_new(&params, ret_store, error);
}

int store_open(struct config *config, store_changed_fn *changed, void *changed_arg,
	struct store **ret_store, char *error, size_t error_size)
{
	char text[STORE_ERROR_BYTES] = "cannot open the store";
	int r;

	if (config->mapping.source == CONFIG_SOURCE_FILE)
		r = open_file(config, ret_store, text);
	else
		r = open_sqlite(config, changed, changed_arg, ret_store, text);
	if (r < 0)
		snprintf(error, error_size, "mapping: %s", text);
	return r;
}
