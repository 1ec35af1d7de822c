// SPDX-License-Identifier: Apache-2.0
/*
 * Structure of a TOML document: tables, arrays, keys, and the rules on what may be defined twice.
 * How a table came to be is kept in its flags, because that decides who may add to it:
 * EXPLICIT by [header], DOTTED by a dotted key, CLOSED inline or static; no flag: made in passing
 * by a longer header. Strings (toml_string.c) and scalars (toml_scalar.c) are read below it, and
 * all of them make the document with toml_document.c.
 */
#include "config/toml_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FLAG_EXPLICIT BIT(0)
#define FLAG_DOTTED BIT(1)
#define FLAG_CLOSED BIT(2)

/* ---- failures ---- */

static bool fail_twice(struct toml_parser *parser, const struct toml_entry *second,
	const char *what, const struct toml_entry *first)
{
	char text[sizeof(parser->error.text)];

	snprintf(text, sizeof(text), "%s is defined twice: first on line %u", what,
		first->value->line ? first->value->line : first->line);
	return toml_fail_at(parser, second->line, second->column, text);
}

/* ---- blanks ---- */

static void skip_blanks(struct toml_parser *parser)
{
	while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\t'))
		parser->at++;
}

static bool skip_comment(struct toml_parser *parser)
{
	if (toml_peek(parser) != '#')
		return true;
	for (parser->at++; parser->at < parser->end; parser->at++) {
		unsigned char c = (unsigned char)*parser->at;

		if (c == '\n' ||
			(c == '\r' && parser->at + 1 < parser->end && parser->at[1] == '\n'))
			return true;
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return toml_fail(parser, "control character in a comment");
	}
	return true;
}

/* True at a line end, which is consumed; false if there is something else. */
static bool take_newline(struct toml_parser *parser)
{
	size_t left = (size_t)(parser->end - parser->at);

	if (left >= 1 && *parser->at == '\n')
		parser->at++;
	else if (left >= 2 && parser->at[0] == '\r' && parser->at[1] == '\n')
		parser->at += 2;
	else
		return false;
	parser->line++;
	parser->line_start = parser->at;
	return true;
}

static bool expect_line_end(struct toml_parser *parser)
{
	skip_blanks(parser);
	if (!skip_comment(parser))
		return false;
	if (parser->at < parser->end && !take_newline(parser))
		return toml_fail(parser, "expected the end of the line");
	return true;
}

/* Blanks, comments and line ends, as between the items of an array. */
static bool skip_space(struct toml_parser *parser)
{
	do {
		skip_blanks(parser);
		if (!skip_comment(parser))
			return false;
	} while (take_newline(parser));
	return true;
}

/* ---- keys ---- */

static bool is_bare(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '-';
}

static bool read_key_part(struct toml_parser *parser, struct toml_entry *ret_part)
{
	const char *start;
	char *copy;
	int c;

	skip_blanks(parser);
	c = toml_peek(parser);
	start = parser->at;
	ret_part->line = parser->line;
	ret_part->column = toml_column(parser);
	if (c == '"' || c == '\'')
		return toml_read_string(parser, false, &ret_part->key);
	while (is_bare(toml_peek(parser)))
		parser->at++;
	if (parser->at == start)
		return toml_fail(parser, "expected a key");
	ret_part->key.len = (size_t)(parser->at - start);
	copy = toml_alloc(parser, ret_part->key.len + 1);
	if (!copy)
		return false;
	memcpy(copy, start, ret_part->key.len);
	ret_part->key.data = copy;
	return true;
}

struct key {
	struct toml_entry parts[TOML_MAX_DEPTH];
	unsigned count;
};

static bool read_key(struct toml_parser *parser, struct key *ret_key)
{
	ret_key->count = 0;
	for (;;) {
		if (ret_key->count == TOML_MAX_DEPTH)
			return toml_fail(parser, "too many parts in a key");
		if (!read_key_part(parser, &ret_key->parts[ret_key->count++]))
			return false;
		skip_blanks(parser);
		if (toml_peek(parser) != '.')
			return true;
		parser->at++;
	}
}

/* ---- values ---- */

static bool read_value(struct toml_parser *parser, struct toml_value *value, unsigned depth);

static bool read_array(struct toml_parser *parser, struct toml_value *value, unsigned depth)
{
	value->type = TOML_ARRAY;
	value->flags = FLAG_CLOSED;
	for (parser->at++;;) {
		struct toml_value *item;

		if (!skip_space(parser))
			return false;
		if (toml_peek(parser) == ']')
			break;
		item = toml_alloc(parser, sizeof(*item));
		if (!item || !read_value(parser, item, depth + 1) ||
			!toml_array_add(parser, &value->array, item) || !skip_space(parser))
			return false;
		if (toml_peek(parser) == ']')
			break;
		if (toml_peek(parser) != ',')
			return toml_fail(parser, "expected \",\" or \"]\" in an array");
		parser->at++;
	}
	parser->at++;
	return true;
}

static bool read_pair(struct toml_parser *parser, struct toml_table *table, unsigned depth);

static bool read_inline_table(struct toml_parser *parser, struct toml_value *value, unsigned depth)
{
	value->type = TOML_TABLE;
	parser->at++;
	skip_blanks(parser);
	if (toml_peek(parser) == '}') {
		parser->at++;
		value->flags = FLAG_CLOSED;
		return true;
	}
	for (;;) {
		if (!read_pair(parser, &value->table, depth + 1))
			return false;
		skip_blanks(parser);
		if (toml_peek(parser) == '}')
			break;
		if (toml_peek(parser) != ',')
			return toml_fail(parser, "expected \",\" or \"}\" in an inline table");
		parser->at++;
	}
	parser->at++;
	value->flags = FLAG_CLOSED;
	return true;
}

static bool read_value(struct toml_parser *parser, struct toml_value *value, unsigned depth)
{
	value->line = parser->line;
	value->column = toml_column(parser);
	if (depth > TOML_MAX_DEPTH)
		return toml_fail(parser, "nested too deeply");
	switch (toml_peek(parser)) {
	case '"':
	case '\'':
		value->type = TOML_STRING;
		return toml_read_string(parser, true, &value->string);
	case '[':
		return read_array(parser, value, depth);
	case '{':
		return read_inline_table(parser, value, depth);
	default:
		return toml_read_scalar(parser, value);
	}
}

/* The table that the leading parts of a dotted key name. */
static struct toml_table *walk_dotted(
	struct toml_parser *parser, struct toml_table *table, const struct key *key)
{
	for (unsigned i = 0; i + 1 < key->count; i++) {
		const struct toml_entry *part = &key->parts[i],
					*found = toml_find(table, part->key);
		struct toml_value *value = found ? found->value : NULL;

		if (!value) {
			value = toml_table_add(parser, table, part, TOML_TABLE);
			if (!value)
				return NULL;
			value->flags = FLAG_DOTTED;
		} else if (value->type != TOML_TABLE || value->flags != FLAG_DOTTED) {
			toml_fail_at(parser, part->line, part->column,
				"a dotted key cannot add to what is defined elsewhere");
			return NULL;
		}
		table = &value->table;
	}
	return table;
}

static bool read_pair(struct toml_parser *parser, struct toml_table *table, unsigned depth)
{
	struct key key = { 0 };
	const struct toml_entry *last, *found;
	struct toml_value *value;

	if (!read_key(parser, &key))
		return false;
	if (depth + key.count > TOML_MAX_DEPTH)
		return toml_fail(parser, "nested too deeply");
	if (toml_peek(parser) != '=')
		return toml_fail(parser, "expected \"=\" after a key");
	parser->at++;
	skip_blanks(parser);
	table = walk_dotted(parser, table, &key);
	if (!table)
		return false;
	last = &key.parts[key.count - 1];
	found = toml_find(table, last->key);
	if (found)
		return fail_twice(parser, last, "key", found);
	value = toml_table_add(parser, table, last, TOML_STRING);
	return value && read_value(parser, value, depth + key.count);
}

/* ---- headers ---- */

/* The table of a header's leading parts: through arrays of tables by their last one. */
static struct toml_table *walk_header(
	struct toml_parser *parser, struct toml_table *table, const struct key *key)
{
	for (unsigned i = 0; i + 1 < key->count; i++) {
		const struct toml_entry *part = &key->parts[i],
					*found = toml_find(table, part->key);
		struct toml_value *value = found ? found->value : NULL;

		if (!value)
			value = toml_table_add(parser, table, part, TOML_TABLE);
		if (!value)
			return NULL;
		if (value->type == TOML_ARRAY && !(value->flags & FLAG_CLOSED))
			value = value->array.items[value->array.count - 1];
		if (value->type != TOML_TABLE || value->flags & FLAG_CLOSED) {
			toml_fail_at(parser, part->line, part->column,
				"not a table that can be added to");
			return NULL;
		}
		table = &value->table;
	}
	return table;
}

static struct toml_table *open_table(
	struct toml_parser *parser, struct toml_table *table, const struct toml_entry *part)
{
	const struct toml_entry *found = toml_find(table, part->key);
	struct toml_value *value = found ? found->value : NULL;

	if (!value) {
		value = toml_table_add(parser, table, part, TOML_TABLE);
		if (!value)
			return NULL;
	} else if (value->type != TOML_TABLE || value->flags) {
		fail_twice(parser, part, "table", found);
		return NULL;
	}
	value->flags = FLAG_EXPLICIT;
	value->line = part->line;
	value->column = part->column;
	return &value->table;
}

static struct toml_table *open_array_item(
	struct toml_parser *parser, struct toml_table *table, const struct toml_entry *part)
{
	const struct toml_entry *found = toml_find(table, part->key);
	struct toml_value *array = found ? found->value : NULL, *item;

	if (!array)
		array = toml_table_add(parser, table, part, TOML_ARRAY);
	if (!array)
		return NULL;
	if (array->type != TOML_ARRAY || array->flags & FLAG_CLOSED) {
		toml_fail_at(parser, part->line, part->column, "not an array of tables");
		return NULL;
	}
	item = toml_alloc(parser, sizeof(*item));
	if (!item || !toml_array_add(parser, &array->array, item))
		return NULL;
	*item = (struct toml_value){ .type = TOML_TABLE,
		.flags = FLAG_EXPLICIT,
		.line = part->line,
		.column = part->column };
	return &item->table;
}

/* [key] or [[key]]; the table that follows is *current. */
static bool read_header(struct toml_parser *parser, struct toml_table **current)
{
	struct toml_table *table = &parser->document->root.table;
	struct key key = { 0 };
	bool array;

	parser->at++;
	array = toml_peek(parser) == '[';
	if (array)
		parser->at++;
	if (!read_key(parser, &key))
		return false;
	for (int i = 0; i < (array ? 2 : 1); i++) {
		if (toml_peek(parser) != ']')
			return toml_fail(parser, "expected \"]\" after a table name");
		parser->at++;
	}
	table = walk_header(parser, table, &key);
	if (!table)
		return false;
	*current = array ? open_array_item(parser, table, &key.parts[key.count - 1])
			 : open_table(parser, table, &key.parts[key.count - 1]);
	return *current != NULL;
}

static bool read_document(struct toml_parser *parser)
{
	struct toml_table *current = &parser->document->root.table;

	while (parser->at < parser->end) {
		int c;

		skip_blanks(parser);
		c = toml_peek(parser);
		if (c == '[') {
			if (!read_header(parser, &current))
				return false;
		} else if (c >= 0 && c != '#' && c != '\r' && c != '\n') {
			if (!read_pair(parser, current, 0))
				return false;
		}
		if (!expect_line_end(parser))
			return false;
	}
	return true;
}

static bool check_encoding(struct toml_parser *parser)
{
	const char *p, *line = parser->at;
	unsigned number = 1;

	if (view_is_utf8(view_make(parser->at, (size_t)(parser->end - parser->at))))
		return true;
	for (p = line; p < parser->end; p = line, number++) {
		const char *newline = memchr(p, '\n', (size_t)(parser->end - p));

		line = newline ? newline + 1 : parser->end;
		if (!view_is_utf8(view_make(p, (size_t)(line - p))))
			break;
	}
	return toml_fail_at(parser, number, 1, "line is not valid UTF-8");
}

int toml_parse(struct view text, struct toml_document **ret_document, struct toml_error *ret_error)
{
	struct toml_parser parser = { .line = 1 };

	parser.document = calloc(1, sizeof(*parser.document));
	if (!parser.document)
		return -ENOMEM;
	parser.document->root = (struct toml_value){
		.type = TOML_TABLE, .flags = FLAG_EXPLICIT, .line = 1, .column = 1
	};
	if (view_starts(text, VIEW_LIT("\xef\xbb\xbf")))
		text = view_skip(text, 3);
	parser.at = parser.line_start = text.data;
	parser.end = text.data + text.len;
	if (check_encoding(&parser) && read_document(&parser)) {
		*ret_document = parser.document;
		return 0;
	}
	if (parser.result == -EINVAL)
		*ret_error = parser.error;
	toml_free(parser.document);
	return parser.result ? parser.result : -ENOMEM;
}
