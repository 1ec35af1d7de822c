// SPDX-License-Identifier: Apache-2.0
/* The decoder of the toml-test collection's interface: TOML on standard input, tagged JSON on
 * standard output, exit 1 on invalid input. */
#include "config/toml.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *tag_value(const struct toml_value *value);

static json_t *tagged(const char *type, const char *text, size_t len)
{
	return json_pack("{ss ss%}", "type", type, "value", text, len);
}

static json_t *tag_table(const struct toml_table *table)
{
	json_t *object = json_object();

	for (uint32_t i = 0; i < table->count; i++)
		json_object_setn_new_nocheck(object, table->entries[i].key.data,
			table->entries[i].key.len, tag_value(table->entries[i].value));
	return object;
}

static json_t *tag_array(const struct toml_array *array)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < array->count; i++)
		json_array_append_new(list, tag_value(array->items[i]));
	return list;
}

static json_t *tag_float(double real)
{
	char text[64];
	int n = isnan(real)   ? snprintf(text, sizeof(text), "nan")
		: isinf(real) ? snprintf(text, sizeof(text), real < 0 ? "-inf" : "inf")
			      : snprintf(text, sizeof(text), "%.17g", real);

	return tagged("float", text, (size_t)n);
}

static json_t *tag_value(const struct toml_value *value)
{
	static const char *const types[] = { [TOML_STRING] = "string",
		[TOML_DATETIME] = "datetime",
		[TOML_DATETIME_LOCAL] = "datetime-local",
		[TOML_DATE_LOCAL] = "date-local",
		[TOML_TIME_LOCAL] = "time-local" };
	char text[32];
	int n;

	switch (value->type) {
	case TOML_TABLE:
		return tag_table(&value->table);
	case TOML_ARRAY:
		return tag_array(&value->array);
	case TOML_FLOAT:
		return tag_float(value->real);
	case TOML_INTEGER:
		n = snprintf(text, sizeof(text), "%lld", (long long)value->integer);
		return tagged("integer", text, (size_t)n);
	case TOML_BOOL:
		return tagged("bool", value->boolean ? "true" : "false", value->boolean ? 4 : 5);
	default:
		return tagged(types[value->type], value->string.data, value->string.len);
	}
}

static char *read_input(size_t *ret_len)
{
	size_t len = 0, cap = 65536;
	char *text = malloc(cap), *more;

	while (text) {
		size_t n = fread(text + len, 1, cap - len, stdin);

		if (!n)
			break;
		len += n;
		if (len < cap)
			continue;
		more = realloc(text, cap *= 2);
		if (!more)
			free(text);
		text = more;
	}
	*ret_len = len;
	return text;
}

int main(void)
{
	struct toml_document *document;
	struct toml_error error;
	json_t *json;
	size_t len;
	char *text = read_input(&len);
	int r = text ? toml_parse(view_make(text, len), &document, &error) : -1;

	free(text);
	if (r < 0) {
		if (r == -22)
			fprintf(stderr, "%u:%u: %s\n", error.line, error.column, error.text);
		return 1;
	}
	json = tag_table(&toml_root(document)->table);
	json_dumpf(json, stdout, JSON_COMPACT);
	json_decref(json);
	toml_free(document);
	return 0;
}
