// SPDX-License-Identifier: Apache-2.0
/*
 * What differs between two loaded configurations, row by row of the schema: values as they are in
 * effect, so "30s" and "30000ms" are the same, and files by what they held. Answers what a reload
 * changes and what it cannot (CFG-52, CFG-56).
 */
#include "base/fd.h"
#include "base/secret.h"
#include "config/load.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define FILE_LIMIT_BYTES ((size_t)1 << 30)

/* ---- files ---- */

static bool digest_file(const char *path, unsigned char ret_sha256[TLS_SHA256_SIZE])
{
	char *text;
	size_t len;

	if (fd_read_file(path, FILE_LIMIT_BYTES, &text, &len) < 0)
		return false;
	tls_sha256(view_make(text, len), ret_sha256);
	secret_wipe(text, len); /* it may be a key */
	free(text);
	return true;
}

static const char *string_at(const void *base, const struct schema_row *row)
{
	return *(const char *const *)((const char *)base + row->offset);
}

static void digest_row(struct config_private *priv, const struct config_instance *instance,
	const struct schema_row *row)
{
	struct config_file file = { .table_path = instance->path, .key = row->key };
	struct config_file *files;
	const char *path = string_at(instance->base, row);

	if (!path || !digest_file(path, file.sha256))
		return; /* the checks have reported it where it matters */
	files = reallocarray(priv->files, priv->file_count + 1, sizeof(*files));
	if (!files)
		return;
	priv->files = files;
	files[priv->file_count++] = file;
}

void config_digest_files(struct loader *loader)
{
	struct config_private *priv = loader->config->priv;

	for (size_t i = 0; i < priv->instance_count; i++) {
		const struct config_instance *instance = &priv->instances[i];

		for (const struct schema_row *row = schema_tables[instance->id].rows; row->key;
			row++) {
			if (row->kind == KIND_PATH)
				digest_row(priv, instance, row);
		}
	}
}

const unsigned char *config_file_digest(
	const struct config *config, const char *table_path, const char *key)
{
	const struct config_private *priv = config->priv;

	for (size_t i = 0; i < priv->file_count; i++) {
		if (strcmp(priv->files[i].table_path, table_path) == 0 &&
			strcmp(priv->files[i].key, key) == 0)
			return priv->files[i].sha256;
	}
	return NULL;
}

static bool same_file(
	const struct config *a, const struct config *b, const char *table_path, const char *key)
{
	const unsigned char *x = config_file_digest(a, table_path, key);
	const unsigned char *y = config_file_digest(b, table_path, key);

	return (!x && !y) || (x && y && memcmp(x, y, TLS_SHA256_SIZE) == 0);
}

/* ---- values ---- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_strings(const char *const *a, const char *const *b)
{
	while (a && b && *a && *b && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return (!a || !*a) && (!b || !*b);
}

struct addr_list {
	const struct addr *items;
	size_t count;
};

static bool same_addrs(const struct addr_list *a, const struct addr_list *b)
{
	for (size_t i = 0; i < a->count && a->count == b->count; i++) {
		if (!addr_eq(&a->items[i], &b->items[i]))
			return false;
	}
	return a->count == b->count;
}

struct cidr_list {
	const struct cidr *items;
	size_t count;
};

static bool same_cidrs(const struct cidr_list *a, const struct cidr_list *b)
{
	for (size_t i = 0; i < a->count && a->count == b->count; i++) {
		if (!cidr_eq(&a->items[i], &b->items[i]))
			return false;
	}
	return a->count == b->count;
}

static bool same_sasl(const struct config_capabilities *a, const struct config_capabilities *b)
{
	return a->mech_count == b->mech_count &&
		memcmp(a->mechs, b->mechs, a->mech_count * sizeof(a->mechs[0])) == 0;
}

static bool same_pins(const struct config_pins *a, const struct config_pins *b)
{
	return a->count == b->count &&
		(!a->count || memcmp(a->sha256, b->sha256, a->count * sizeof(*a->sha256)) == 0);
}

static bool same_value(const struct schema_row *row, const void *base_a, const void *base_b)
{
	const void *a = (const char *)base_a + row->offset, *b = (const char *)base_b + row->offset;

	switch (row->kind) {
	case KIND_INT:
	case KIND_DURATION:
	case KIND_BYTES:
		return *(const int64_t *)a == *(const int64_t *)b;
	case KIND_PORT:
		return *(const uint16_t *)a == *(const uint16_t *)b;
	case KIND_BOOL:
	case KIND_ENUM_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case KIND_ENUM:
		return *(const int *)a == *(const int *)b;
	case KIND_ADDRESS:
		return addr_eq(a, b);
	case KIND_ADDRESSES:
	case KIND_IPS:
		return same_addrs(a, b);
	case KIND_CIDRS:
		return same_cidrs(a, b);
	case KIND_STRINGS:
		return same_strings(*(const char *const *const *)a, *(const char *const *const *)b);
	case KIND_SASL:
		return same_sasl(a, b);
	case KIND_PIN:
	case KIND_PINS:
		return same_pins(a, b);
	case KIND_LOGINS:
		return memcmp(a, b, PROTOCOLS_INTERACTIVE * sizeof(bool)) == 0;
	case KIND_EXTRACT: /* a table of its own */
		return true;
	default:
		return same_text(*(const char *const *)a, *(const char *const *)b);
	}
}

/* ---- keys ---- */

void config_keys_free(struct config_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		free(keys->keys[i]);
	free(keys->keys);
	*keys = (struct config_keys){ 0 };
}

static int add_key(struct config_keys *keys, const char *path, const char *key)
{
	char *text;

	if (keys->count == keys->cap) {
		size_t cap = keys->cap ? keys->cap * 2 : 16;
		char **grown = reallocarray(keys->keys, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		keys->keys = grown;
		keys->cap = cap;
	}
	if (asprintf(&text, "%s%s%s", path, key ? "." : "", key ? key : "") < 0)
		return -ENOMEM;
	keys->keys[keys->count++] = text;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- tables ---- */

/* Whether its presence says something by itself; other tables that are absent have defaults. */
static bool presence_counts(enum schema_table_id id)
{
	switch (id) {
	case TABLE_CERTIFICATE:
	case TABLE_LISTENER:
	case TABLE_DESTINATION:
	case TABLE_LEG:
	case TABLE_HANDOFF:
	case TABLE_MAPPING_FILE:
	case TABLE_MAPPING_REDIS:
	case TABLE_MAPPING_SQL:
	case TABLE_ROUTE:
	case TABLE_EXTRACT:
	case TABLE_ADMIN:
		return true;
	default:
		return false;
	}
}

static bool is_present(const struct config_instance *instance)
{
	return instance && (instance->table || !presence_counts(instance->id));
}

static bool row_differs(const struct config *before, const struct config *after,
	const struct config_instance *a, const struct config_instance *b,
	const struct schema_row *row)
{
	struct view key = view_str(row->key);
	const struct toml_entry *x = a->table ? toml_find(a->table, key) : NULL;
	const struct toml_entry *y = b->table ? toml_find(b->table, key) : NULL;

	if (row->kind == KIND_SECRET) /* the value was wiped; the document has it */
		return !x != !y || (x && !view_eq(x->value->string, y->value->string));
	/* Their own words; what they take over from their destination is reported there. */
	if ((a->id == TABLE_LEG || a->id == TABLE_HANDOFF) && !x && !y)
		return false;
	return !same_value(row, a->base, b->base) ||
		(row->kind == KIND_PATH && !same_file(before, after, a->path, row->key));
}

/* Of one table that both have. */
static int diff_rows(const struct config *before, const struct config *after,
	const struct config_instance *a, const struct config_instance *b, enum config_diff_set set,
	struct config_keys *keys)
{
	for (const struct schema_row *row = schema_tables[a->id].rows; row->key; row++) {
		bool restart = row->flags & ROW_RESTART;

		if (restart == (set == CONFIG_DIFF_RESTART) &&
			row_differs(before, after, a, b, row) && add_key(keys, a->path, row->key))
			return -ENOMEM;
	}
	return 0;
}

/* A table is the parent's matter if the parent itself came or went. */
static bool parent_reported(const struct config_keys *keys, const char *path)
{
	for (size_t i = 0; i < keys->count; i++) {
		size_t len = strlen(keys->keys[i]);

		if (strncmp(path, keys->keys[i], len) == 0 && path[len] == '.')
			return true;
	}
	return false;
}

/* Tables of x that y lacks; with both set, also the rows of those that y has. */
static int diff_tables(const struct config *x, const struct config *y, bool rows,
	enum config_diff_set set, struct config_keys *keys)
{
	for (size_t i = 0; i < x->priv->instance_count; i++) {
		const struct config_instance *a = &x->priv->instances[i];
		const struct config_instance *b = config_find_instance(y, a->path);
		bool admin = a->id == TABLE_ADMIN;
		int r = 0;

		if (is_present(a) && is_present(b)) {
			if (rows)
				r = diff_rows(x, y, a, b, set, keys);
		} else if (is_present(a) && admin == (set == CONFIG_DIFF_RESTART) &&
			!parent_reported(keys, a->path)) {
			r = add_key(keys, a->path, NULL);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int config_diff(const struct config *before, const struct config *after, enum config_diff_set set,
	struct config_keys *ret_keys)
{
	struct config_keys keys = { 0 };
	int r = diff_tables(before, after, true, set, &keys);

	if (r == 0)
		r = diff_tables(after, before, false, set, &keys);
	if (r < 0) {
		config_keys_free(&keys);
		return r;
	}
	if (keys.count)
		qsort(keys.keys, keys.count, sizeof(*keys.keys), compare_keys);
	*ret_keys = keys;
	return 0;
}

/* ---- the store ---- */

bool config_answers_differ(const struct config *before, const struct config *after)
{
	const struct config_mapping *a = &before->mapping, *b = &after->mapping;

	if (a->source != b->source ||
		before->identity_rules.normalize != after->identity_rules.normalize)
		return true;
	static_assert(CONFIG_SOURCES == 3, "each has its case; the last is SQL's");
	switch (a->source) {
	case CONFIG_SOURCE_FILE:
		return !same_text(a->file_path, b->file_path) ||
			!same_file(before, after, "mapping.file", "path");
	case CONFIG_SOURCE_REDIS:
		return !same_text(a->redis_url, b->redis_url) ||
			!same_text(a->redis_key_prefix, b->redis_key_prefix);
	default:
		return !same_text(a->sql_url, b->sql_url) || !same_text(a->sql_query, b->sql_query);
	}
}

bool config_store_differs(const struct config *before, const struct config *after)
{
	const struct config_mapping *a = &before->mapping, *b = &after->mapping;

	if (config_answers_differ(before, after) || a->lookup_timeout_ms != b->lookup_timeout_ms)
		return true;
	static_assert(CONFIG_SOURCES == 3, "each has its case; the last is SQL's");
	switch (a->source) {
	case CONFIG_SOURCE_FILE: /* knows the declared destinations, and is read again (CFG-53) */
		return true;
	case CONFIG_SOURCE_REDIS:
		return a->redis_pool_size != b->redis_pool_size;
	default:
		return a->sql_pool_size != b->sql_pool_size ||
			!same_text(a->sql_upsert_query, b->sql_upsert_query) ||
			!same_text(a->sql_delete_query, b->sql_delete_query) ||
			!same_text(a->sql_list_query, b->sql_list_query);
	}
}
