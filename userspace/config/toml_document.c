// SPDX-License-Identifier: Apache-2.0
/*
 * What a TOML document is made of, below the grammar: its arena, its tables and arrays, and the one
 * error that ends its parsing. Knows no syntax. Tables with more than a few keys have a hash index,
 * so that reading a document stays linear.
 */
#include "config/toml_parse.h"
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BLOCK_BYTES 65536
#define SMALL_TABLE 8

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	max_align_t data[];
};

static const char *const type_names[] = { "string", "integer", "float", "boolean",
	"offset date-time", "local date-time", "local date", "local time", "array", "table" };
static_assert(ARRAY_SIZE(type_names) == TOML_TYPES, "a name for each");

const char *toml_type_name(enum toml_type type)
{
	return type_names[type];
}

/* ---- memory ---- */

void *toml_alloc(struct toml_parser *parser, size_t size)
{
	struct arena_block *block = parser->document->blocks;
	size_t rounded = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	void *p;

	if (!block || block->size - block->used < rounded) {
		size_t wanted = MAX(rounded, (size_t)ARENA_BLOCK_BYTES);

		block = calloc(1, sizeof(*block) + wanted);
		if (!block) {
			parser->result = -ENOMEM;
			return NULL;
		}
		block->size = wanted;
		block->next = parser->document->blocks;
		parser->document->blocks = block;
	}
	p = (char *)block->data + block->used;
	block->used += rounded;
	return p;
}

void toml_free(struct toml_document *document)
{
	struct arena_block *block, *next;

	if (!document)
		return;
	for (block = document->blocks; block; block = next) {
		next = block->next;
		free(block);
	}
	free(document);
}

const struct toml_value *toml_root(const struct toml_document *document)
{
	return &document->root;
}

/* ---- the error ---- */

bool toml_fail_at(struct toml_parser *parser, unsigned line, unsigned column, const char *text)
{
	if (parser->result == 0) {
		parser->error = (struct toml_error){ .line = line, .column = column };
		snprintf(parser->error.text, sizeof(parser->error.text), "%s", text);
		parser->result = -EINVAL;
	}
	return false;
}

bool toml_fail(struct toml_parser *parser, const char *text)
{
	return toml_fail_at(parser, parser->line, toml_column(parser), text);
}

/* ---- tables and arrays ---- */

static uint32_t index_slot(const struct toml_table *table, struct view key)
{
	uint32_t mask = table->index_cap - 1;
	uint32_t slot = (uint32_t)hash_view(key) & mask;

	while (table->index[slot] && !view_eq(table->entries[table->index[slot] - 1].key, key))
		slot = (slot + 1) & mask;
	return slot;
}

const struct toml_entry *toml_find(const struct toml_table *table, struct view key)
{
	if (table->index) {
		uint32_t at = table->index[index_slot(table, key)];

		return at ? &table->entries[at - 1] : NULL;
	}
	for (uint32_t i = 0; i < table->count; i++) {
		if (view_eq(table->entries[i].key, key))
			return &table->entries[i];
	}
	return NULL;
}

static bool table_grow(struct toml_parser *parser, struct toml_table *table)
{
	uint32_t cap = table->cap ? table->cap * 2 : 4;
	struct toml_entry *entries = toml_alloc(parser, cap * sizeof(*entries));

	if (!entries)
		return false;
	if (table->count)
		memcpy(entries, table->entries, table->count * sizeof(*entries));
	table->entries = entries;
	table->cap = cap;
	if (cap <= SMALL_TABLE)
		return true;
	table->index_cap = cap * 2;
	table->index = toml_alloc(parser, table->index_cap * sizeof(*table->index));
	if (!table->index)
		return false;
	for (uint32_t i = 0; i < table->count; i++)
		table->index[index_slot(table, table->entries[i].key)] = i + 1;
	return true;
}

struct toml_value *toml_table_add(struct toml_parser *parser, struct toml_table *table,
	const struct toml_entry *where, enum toml_type type)
{
	struct toml_value *value = toml_alloc(parser, sizeof(*value));

	if (!value || (table->count == table->cap && !table_grow(parser, table)))
		return NULL;
	assert(table->entries);
	value->type = type;
	value->line = where->line;
	value->column = where->column;
	table->entries[table->count] = *where;
	table->entries[table->count++].value = value;
	if (table->index)
		table->index[index_slot(table, where->key)] = table->count;
	return value;
}

bool toml_array_add(struct toml_parser *parser, struct toml_array *array, struct toml_value *value)
{
	if (array->count == array->cap) {
		uint32_t cap = array->cap ? array->cap * 2 : 4;
		struct toml_value **items = toml_alloc(parser, cap * sizeof(struct toml_value *));

		if (!items)
			return false;
		if (array->count)
			memcpy(items, array->items, array->count * sizeof(struct toml_value *));
		array->items = items;
		array->cap = cap;
	}
	array->items[array->count++] = value;
	return true;
}
