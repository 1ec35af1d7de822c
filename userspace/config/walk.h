// SPDX-License-Identifier: Apache-2.0
/* Private to config/: the walk along the schema's rows, for document.c. */
#ifndef CONFIG_WALK_H
#define CONFIG_WALK_H

#include "config/load.h"

/* Fills base from a table (entry NULL: all defaults), with findings on what is unknown or
 * missing. */
void walk_table(struct loader *loader, enum schema_table_id id, const char *path,
	const struct toml_entry *entry, void *base);
/* The entry if it is a table; a finding if it is something else; NULL if it is absent, or parent
 * is NULL. */
const struct toml_entry *walk_find_table(
	struct loader *loader, const struct toml_table *parent, const char *name, const char *path);
/* Only the names in the list (NULL-terminated) may stand in a table that has no keys of its own; in
 * the document's root, only the schema's tables. */
void walk_only_known(struct loader *loader, const struct toml_entry *entry, const char *path,
	const char *const *names);
void walk_only_tables(struct loader *loader, const struct toml_table *root);

typedef void walk_named_fn(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item);
/* Allocates an array with one item per table below entry (NULL: none), which load_one fills; sets
 * *ret_count. NULL without memory. */
void *walk_named(struct loader *loader, const struct toml_entry *entry, const char *prefix,
	size_t item_size, size_t *ret_count, walk_named_fn *load_one);

#endif
