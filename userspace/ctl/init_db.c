// SPDX-License-Identifier: Apache-2.0
/* homingctl init-db: the example schema, printed or applied. Asks no router. */
#include "ctl/ctl.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>

/* url: NULL for the PG environment; role: NULL for none. */
static int apply_pg(const char *url, const char *role)
{
	char error[STORE_ERROR_BYTES] = "cannot connect";
	int r = store_pg_create(url, role, error);

	if (r < 0) { /* the url may hold a password */
		ctl_complain("init-db", error);
		return EXIT_REFUSED;
	}
	printf("table account_nodes(identifier, node) and its triggers: %s\n",
		r == STORE_PG_EXISTS ? "there already" : "created");
	if (role)
		printf("role %s: may read and write it\n", role);
	return EXIT_OK;
}

static int apply_sqlite(const char *path)
{
	char error[STORE_ERROR_BYTES] = "";

	if (store_sqlite_create(path, error) < 0) {
		ctl_complain(path, error);
		return EXIT_REFUSED;
	}
	printf("%s: ready, table account_nodes(identifier, node); the router's user must own it "
	       "and its "
	       "directory, where SQLite makes files beside it\n",
		path);
	return EXIT_OK;
}

int ctl_cmd_init_db(struct ctl *ctl, char **args)
{
	const struct ctl_options *options = &ctl->options;
	const char *role = options->texts[CTL_ROLE];

	if (options->print && !args[0] && !options->apply) {
		fputs(store_pg_schema(), stdout);
		fputs(store_pg_bans_schema(), stdout);
		if (role)
			printf("GRANT SELECT, INSERT, UPDATE, DELETE ON account_nodes, "
			       "homing_bans TO \"%s\";\n",
				role);
		return EXIT_OK;
	}
	if (options->print || (!args[0] && !options->apply) || (args[0] && args[1]))
		return EXIT_USAGE;
	if (!args[0] || strncmp(args[0], "postgres://", 11) == 0 ||
		strncmp(args[0], "postgresql://", 13) == 0)
		return apply_pg(args[0], role);
	if (role) {
		ctl_complain("init-db", "--role is for PostgreSQL; an SQLite file has an owner");
		return EXIT_USAGE;
	}
	if (strncmp(args[0], "sqlite://", 9) == 0)
		return apply_sqlite(args[0] + 9);
	return strstr(args[0], "://") ? EXIT_USAGE : apply_sqlite(args[0]);
}
