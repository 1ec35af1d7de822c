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
	const void *base;               /* what the rows' offsets count from */
	unsigned line, column;
};

/* What a file that a key names held when it was read. */
struct config_file {
	const char *table_path; /* of its instance */
	const char *key;        /* the row's */
	unsigned char sha256[TLS_SHA256_SIZE];
};

/* HOMING_ADMIN_TOKEN leaves the environment after the first load; later ones have this. */
struct config_environment_token {
	bool present, is_mask, is_printable;
	size_t len;
	unsigned char sha256[TLS_SHA256_SIZE];
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
	struct config_file *files;
	size_t file_count;
	struct config_environment_token environment_token;
	bool secret_in_file; /* bearer_token or a password in a url */
};

struct loader {
	struct config *config;
	const struct config *before; /* what a reload replaces; NULL at start */
	bool only_check; /* --check-config: what makes a later reload fail is an error */
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

/* As config_load(), for --check-config. */
MUST_USE int config_load_to_check(
	const char *path, config_finding_fn *report, void *arg, struct config **ret_config);

/* Converts one value into its place. Findings say what is wrong. */
void config_convert(struct loader *loader, const struct schema_row *row,
	const struct toml_value *value, void *base, const char *keypath);

/* Where a key stands (or its table's header): for the findings of the cross checks. */
void config_locate(const struct config *config, const char *table_path, const char *key,
	unsigned *ret_line, unsigned *ret_column);
bool config_is_set(const struct config *config, const char *table_path, const char *key);

/* "listener.imap"; a name with a dot is quoted, as in a TOML header. */
void config_table_path(char path[KEYPATH_SIZE], const char *prefix, struct view name);

/* Digests of all files that keys name (diff.c). */
void config_digest_files(struct loader *loader);

/* All cross checks of config.md section 12 and the certificates. */
void config_check(struct loader *loader);

#endif
