// SPDX-License-Identifier: Apache-2.0
/* Private to the TOML reader: the parser's state. toml.c (structure) needs toml_string.c (strings,
 * keys) and toml_scalar.c (numbers, dates), all need toml_document.c; nothing the other way. */
#ifndef CONFIG_TOML_PARSE_H
#define CONFIG_TOML_PARSE_H

#include "config/toml.h"

struct arena_block;
struct toml_document {
	struct arena_block *blocks;
	struct toml_value root;
};

struct toml_parser {
	struct toml_document *document;
	const char *at, *end;
	const char *line_start;
	unsigned line;
	struct toml_error error;
	int result; /* 0, -EINVAL or -ENOMEM */
};

/* ---- toml_document.c ---- */

/* Zeroed memory of the document; NULL (and result -ENOMEM) when there is none. */
void *toml_alloc(struct toml_parser *parser, size_t size);
/* Sets the error at the current position, once. Returns false. */
bool toml_fail(struct toml_parser *parser, const char *text);
bool toml_fail_at(struct toml_parser *parser, unsigned line, unsigned column, const char *text);
/* Appends a value of the type, at the place and with the key of `where`, which is not in the table
 * yet. NULL without memory. */
struct toml_value *toml_table_add(struct toml_parser *parser, struct toml_table *table,
	const struct toml_entry *where, enum toml_type type);
/* False without memory. */
bool toml_array_add(struct toml_parser *parser, struct toml_array *array, struct toml_value *value);

static inline unsigned toml_column(const struct toml_parser *parser)
{
	return (unsigned)(parser->at - parser->line_start) + 1;
}

static inline int toml_peek(const struct toml_parser *parser)
{
	return parser->at < parser->end ? (unsigned char)*parser->at : -1;
}

/* ---- toml_string.c, toml_scalar.c ---- */

/* A quoted string of any kind at its opening quote; multi-line ones only if allowed. */
bool toml_read_string(struct toml_parser *parser, bool allow_multiline, struct view *ret_string);
/* A number, boolean or date at its first byte. */
bool toml_read_scalar(struct toml_parser *parser, struct toml_value *value);

#endif
