// SPDX-License-Identifier: Apache-2.0
/*
 * The walk along the schema's rows: one table of the document into the structure that it fills,
 * with defaults, unknown and missing keys. Which tables there are, and where they belong,
 * document.c knows.
 */
#include "config/walk.h"

#include <assert.h>
#include <errno.h>

/* ---- keys ---- */

static void unknown_key(struct loader *loader, const struct schema_table *schema,
	const struct toml_entry *entry, const char *keypath)
{
	const char *nearest = schema ? schema_nearest_key(schema, entry->key)
				     : schema_nearest(entry->key, schema_root_tables);
	const char *home = schema_other_home(schema, entry->key);
	const char *what = entry->value->type == TOML_TABLE ? "table" : "key";

	/* CFG-12: where it belongs first, the nearest known key last. */
	if (home)
		config_find(loader, true, entry->line, entry->column, keypath,
			"unknown %s \"%.*s\"; nearest known key: \"%s\"; it belongs to [%s]", what,
			(int)MIN(entry->key.len, (size_t)64), entry->key.data, nearest, home);
	else
		config_find(loader, true, entry->line, entry->column, keypath,
			"unknown %s \"%.*s\"; nearest known key: \"%s\"", what,
			(int)MIN(entry->key.len, (size_t)64), entry->key.data, nearest);
}

static void join(char keypath[KEYPATH_SIZE], const char *path, struct view key)
{
	snprintf(keypath, KEYPATH_SIZE, "%s%s%.*s", path, *path ? "." : "",
		(int)MIN(key.len, (size_t)64), key.data);
}

/* names: NULL-terminated; NULL: none. */
static bool is_listed(const char *const *names, struct view key)
{
	for (; names && *names; names++) {
		if (view_eq(key, view_str(*names)))
			return true;
	}
	return false;
}

static void apply_default(struct loader *loader, const struct schema_row *row, void *base)
{
	struct toml_document *document;
	struct toml_error error;
	char text[2048];
	int n = snprintf(text, sizeof(text), "v = %s", row->fallback);

	if (toml_parse(view_make(text, (size_t)n), &document, &error) < 0) {
		loader->result = -ENOMEM;
		return;
	}
	config_convert(loader, row, toml_root(document)->table.entries[0].value, base, row->key);
	toml_free(document);
}

/* CFG-31: sources that are not selected need no key. */
static bool is_needed(const struct loader *loader, enum schema_table_id id)
{
	enum config_source source = loader->config->mapping.source;

	static_assert(CONFIG_SOURCES == 3, "a line for each");
	return (id != TABLE_MAPPING_FILE || source == CONFIG_SOURCE_FILE) &&
		(id != TABLE_MAPPING_REDIS || source == CONFIG_SOURCE_REDIS) &&
		(id != TABLE_MAPPING_SQL || source == CONFIG_SOURCE_SQL);
}

/* ---- tables ---- */

void walk_table(struct loader *loader, enum schema_table_id id, const char *path,
	const struct toml_entry *entry, void *base)
{
	const struct schema_table *schema = &schema_tables[id];
	const struct toml_table *table = entry ? &entry->value->table : NULL;
	char keypath[KEYPATH_SIZE];

	config_add_instance(loader, id, path, entry, base);
	for (const struct schema_row *row = schema->rows; row->key; row++) {
		if (row->fallback)
			apply_default(loader, row, base);
	}
	for (uint32_t i = 0; table && i < table->count; i++) {
		const struct toml_entry *e = &table->entries[i];
		const struct schema_row *row = schema_find(schema, e->key);

		join(keypath, path, e->key);
		if (row)
			config_convert(loader, row, e->value, base, keypath);
		else if (!is_listed(schema->subtables, e->key))
			unknown_key(loader, schema, e, keypath);
	}
	if (!is_needed(loader, id))
		return;
	for (const struct schema_row *row = schema->rows; table && row->key; row++) {
		if (!(row->flags & ROW_REQUIRED) || toml_find(table, view_str(row->key)))
			continue;
		join(keypath, path, view_str(row->key));
		config_find(loader, true, entry->value->line, entry->value->column, keypath,
			"required key is missing");
	}
}

const struct toml_entry *walk_find_table(
	struct loader *loader, const struct toml_table *parent, const char *name, const char *path)
{
	const struct toml_entry *entry = parent ? toml_find(parent, view_str(name)) : NULL;

	if (!entry || entry->value->type == TOML_TABLE)
		return entry;
	config_find(loader, true, entry->value->line, entry->value->column, path,
		"expected table, found %s", toml_type_name(entry->value->type));
	return NULL;
}

void walk_only_known(struct loader *loader, const struct toml_entry *entry, const char *path,
	const char *const *names)
{
	char keypath[KEYPATH_SIZE];

	for (uint32_t i = 0; entry && i < entry->value->table.count; i++) {
		const struct toml_entry *e = &entry->value->table.entries[i];

		join(keypath, path, e->key);
		if (!is_listed(names, e->key))
			config_find(loader, true, e->line, e->column, keypath,
				"unknown key \"%.*s\"; nearest known key: \"%s\"",
				(int)MIN(e->key.len, (size_t)64), e->key.data,
				schema_nearest(e->key, names));
	}
}

void walk_only_tables(struct loader *loader, const struct toml_table *root)
{
	char keypath[KEYPATH_SIZE];

	for (uint32_t i = 0; i < root->count; i++) {
		const struct toml_entry *e = &root->entries[i];

		join(keypath, "", e->key);
		if (!is_listed(schema_root_tables, e->key))
			unknown_key(loader, NULL, e, keypath);
	}
}

/* ---- tables with names ---- */

static bool table_name_ok(struct loader *loader, const struct toml_entry *entry, const char *path)
{
	static const struct schema_row row = { .key = "name", .kind = KIND_NAME };
	struct toml_value name = { .type = TOML_STRING,
		.line = entry->line,
		.column = entry->column,
		.string = entry->key };
	const char *copy = NULL;

	config_convert(loader, &row, &name, &copy, path);
	if (!copy)
		return false;
	if (entry->value->type == TOML_TABLE)
		return true;
	config_find(loader, true, entry->line, entry->column, path, "expected table, found %s",
		toml_type_name(entry->value->type));
	return false;
}

void *walk_named(struct loader *loader, const struct toml_entry *entry, const char *prefix,
	size_t item_size, size_t *ret_count, walk_named_fn *load_one)
{
	uint32_t count = entry ? entry->value->table.count : 0;
	char *items = config_alloc(loader, (count + 1) * item_size), path[KEYPATH_SIZE];

	*ret_count = 0;
	for (uint32_t i = 0; items && i < count; i++) {
		const struct toml_entry *e = &entry->value->table.entries[i];

		config_table_path(path, prefix, e->key);
		if (table_name_ok(loader, e, path))
			load_one(loader, e, path, items + (*ret_count)++ * item_size);
	}
	return items;
}
