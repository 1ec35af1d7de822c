// SPDX-License-Identifier: Apache-2.0
/*
 * A complete TOML 1.0 reader. Every key and value keeps its line and column for messages. All
 * memory of a document is in one arena, freed at once. Nesting (arrays, inline tables, key parts)
 * is bounded by TOML_MAX_DEPTH, so a walk over a document may recurse. Linear in the input size.
 */
#ifndef CONFIG_TOML_H
#define CONFIG_TOML_H

#include "base/view.h"

#define TOML_MAX_DEPTH 100

enum toml_type {
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_DATETIME,
	TOML_DATETIME_LOCAL,
	TOML_DATE_LOCAL,
	TOML_TIME_LOCAL,
	TOML_ARRAY,
	TOML_TABLE,
	TOML_TYPES
};
const char *toml_type_name(enum toml_type type); /* "string", "integer", ... as in messages */

struct toml_value;

struct toml_entry {
	struct view key; /* NUL-terminated; may hold NUL escapes */
	unsigned line, column;
	struct toml_value *value;
};

struct toml_table {
	struct toml_entry *entries; /* in file order */
	uint32_t count, cap;
	uint32_t *index; /* hash index, for tables that are not small */
	uint32_t index_cap;
};

struct toml_array {
	struct toml_value **items;
	uint32_t count, cap;
};

struct toml_value {
	enum toml_type type;
	uint8_t flags; /* the parser's: how it was defined */
	unsigned line, column;
	union {
		struct view string; /* also dates and times: RFC 3339 text with T and Z */
		int64_t integer;
		double real;
		bool boolean;
		struct toml_array array;
		struct toml_table table;
	};
};

struct toml_error {
	unsigned line, column; /* 1-based; columns count bytes */
	char text[96];
};

struct toml_document;

/* Parses UTF-8 text, a leading BOM tolerated. Strings are copied: text may go. Returns 0,
 * -EINVAL with *ret_error filled, or -ENOMEM. */
MUST_USE int toml_parse(
	struct view text, struct toml_document **ret_document, struct toml_error *ret_error);
void toml_free(struct toml_document *document);                           /* NULL is fine */
const struct toml_value *toml_root(const struct toml_document *document); /* a table */
/* NULL if the table has no such key. */
const struct toml_entry *toml_find(const struct toml_table *table, struct view key);

#endif
