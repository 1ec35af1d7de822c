// SPDX-License-Identifier: Apache-2.0
/* Private to config/: the state of one load, and what its files offer each other. They are declared
 * from the lowest to the highest. */
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

/* ---- private.c ---- */

/* Without values, with one reference. Returns 0 or -ENOMEM. */
MUST_USE int config_new(const char *path, struct config **ret_config);
/* Memory that lives as long as the configuration, zeroed; NULL when there is none, which fails the
 * load. */
void *config_alloc(struct loader *loader, size_t size);
char *config_strdup(struct loader *loader, struct view v);
/* "listener.imap"; a name with a dot is quoted, as in a TOML header. */
void config_table_path(char path[KEYPATH_SIZE], const char *prefix, struct view name);
/* entry: the table in the document, or NULL; base: the structure that it fills. */
void config_add_instance(struct loader *loader, enum schema_table_id id, const char *path,
	const struct toml_entry *entry, const void *base);
/* NULL if there is none of this path. */
const struct config_instance *config_find_instance(const struct config *config, const char *path);
/* Where a key stands (or its table's header): for the findings of the cross checks. */
void config_locate(const struct config *config, const char *table_path, const char *key,
	unsigned *ret_line, unsigned *ret_column);
bool config_is_set(const struct config *config, const char *table_path, const char *key);

/* ---- findings.c ---- */

void config_find(struct loader *loader, bool error, unsigned line, unsigned column,
	const char *keypath, const char *format, ...) PRINTF_LIKE(6, 7);
/* The same with another file (the mapping file). */
void config_find_in(struct loader *loader, bool error, const char *file, unsigned line,
	const char *keypath, const char *text);
/* All of them, in file order. */
void config_report(struct loader *loader, config_finding_fn *report, void *arg);

/* ---- convert.c ---- */

/* Converts one value into its place. Findings say what is wrong. */
void config_convert(struct loader *loader, const struct schema_row *row,
	const struct toml_value *value, void *base, const char *keypath);

/* ---- document.c ---- */

/* Fills the configuration from the document's root, defaults included. */
void config_load_document(struct loader *loader, const struct toml_table *root);

/* ---- check.c ---- */

/* All cross checks of config.md section 12 and the certificates. */
void config_check(struct loader *loader);

/* ---- diff.c ---- */

/* Digests of all files that keys name. */
void config_digest_files(struct loader *loader);

#endif
