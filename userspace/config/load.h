// SPDX-License-Identifier: Apache-2.0
/* Private to config/: the state of one load, shared by load.c (walk), convert.c (values),
 * check.c (cross checks) and print.c. */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/schema.h"
#include "config/toml.h"

#include <stdatomic.h>

#define KEYPATH_SIZE 256
#define TEXT_SIZE 512

struct finding {
	bool error;
	unsigned line, column;
	unsigned order;
	const char *file;
	char *keypath, *text;
};

/* One table of the document next to the structure it fills, for printing. */
struct config_instance {
	enum schema_table_id id;
	char *path;                     /* "listener.imap" */
	const struct toml_table *table; /* NULL: not in the file */
	unsigned line, column;
};

struct config_private {
	atomic_uint references;
	struct toml_document *document;
	char *path, *dir;
	bool log_level_overridden;
	void **blocks; /* everything allocated for the snapshot */
	size_t block_count, block_cap;
	struct config_instance *instances;
	size_t instance_count, instance_cap;
	bool secret_in_file; /* bearer_token or a password in a url */
};

struct loader {
	struct config *config;
	struct finding *findings;
	size_t finding_count, finding_cap;
	unsigned errors, warnings;
	int result; /* -ENOMEM */
};

/* Memory that lives as long as the snapshot, zeroed; NULL when there is none. */
void *config_alloc(struct loader *loader, size_t size);
char *config_strdup(struct loader *loader, struct view v);

void config_find(struct loader *loader, bool error, unsigned line, unsigned column,
	const char *keypath, const char *format, ...) PRINTF_LIKE(6, 7);
/* The same with another file (the mapping file). */
void config_find_in(struct loader *loader, bool error, const char *file, unsigned line,
	const char *keypath, const char *text);

/* Converts one value into its place. Findings say what is wrong. */
void config_convert(struct loader *loader, const struct schema_row *row,
	const struct toml_value *value, void *base, const char *keypath);

/* Where a key stands (or its table's header): for the findings of the cross checks. */
void config_locate(const struct config *config, const char *table_path, const char *key,
	unsigned *ret_line, unsigned *ret_column);
bool config_is_set(const struct config *config, const char *table_path, const char *key);

/* "listener.imap"; a name with a dot is quoted, as in a TOML header. */
void config_table_path(char path[KEYPATH_SIZE], const char *prefix, struct view name);

/* All cross checks of config.md section 12 and the certificates. */
void config_check(struct loader *loader);

#endif
