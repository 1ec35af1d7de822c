// SPDX-License-Identifier: Apache-2.0
/*
 * --print-config and docs/config.md. What the file sets is printed from the document, what it
 * does not from the row's default; keys without either stand as comments. Secrets are masked.
 */
#include "config/load.h"

#include <math.h>
#include <stdlib.h>

#define MASK "********"

static void print_escaped(FILE *out, struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.data[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", out);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\u%04X", c);
		else
			fputc(c, out);
	}
}

static void print_string(FILE *out, struct view v)
{
	fputc('"', out);
	print_escaped(out, v);
	fputc('"', out);
}

static void print_value(FILE *out, const struct toml_value *value)
{
	switch (value->type) {
	case TOML_INTEGER:
		fprintf(out, "%lld", (long long)value->integer);
		break;
	case TOML_BOOL:
		fputs(value->boolean ? "true" : "false", out);
		break;
	case TOML_STRING:
		print_string(out, value->string);
		break;
	case TOML_ARRAY:
		fputc('[', out);
		for (uint32_t i = 0; i < value->array.count; i++) {
			fputs(i ? ", " : "", out);
			print_value(out, value->array.items[i]);
		}
		fputc(']', out);
		break;
	case TOML_TABLE:
		fputs("{ ", out);
		for (uint32_t i = 0; i < value->table.count; i++) {
			fprintf(out, "%s%s = ", i ? ", " : "", value->table.entries[i].key.data);
			print_value(out, value->table.entries[i].value);
		}
		fputs(" }", out);
		break;
	default: /* no key of ours takes floats or dates */
		break;
	}
}

/* Where the password of scheme://user:PASSWORD@host begins; its length, 0 for none. "@", "/" and
 * "?" may stand in it unescaped: in doubt, more is masked. */
static size_t find_userinfo_password(const char *text, const char **ret_start)
{
	const char *scheme = strstr(text, "://"), *at = NULL;
	const char *colon = scheme ? strchr(scheme + 3, ':') : NULL;
	bool path = false, query = false;

	for (const char *p = scheme ? scheme + 3 : ""; *p; p++) {
		path |= *p == '/';
		query |= *p == '?';
		if (*p == '@' && (!query || (!path && !at)))
			at = p;
	}
	if (!colon || !at || colon > at)
		return 0;
	*ret_start = colon + 1;
	return (size_t)(at - colon - 1);
}

/* The value of a parameter password= or sslpassword= that begins at or after text. */
static size_t find_parameter_password(const char *text, const char **ret_start)
{
	const char *found = strstr(text, "password=");

	if (!found)
		return 0;
	*ret_start = found + strlen("password=");
	return strcspn(*ret_start, "& ");
}

/* A url with its passwords masked (CFG-5). */
static void print_url(FILE *out, struct view url)
{
	const char *start, *rest;
	char *text = view_dup(url);
	size_t len;

	if (!text)
		return;
	rest = text;
	len = find_userinfo_password(text, &start);
	fputc('"', out);
	if (len) {
		print_escaped(out, view_make(rest, (size_t)(start - rest)));
		fputs(MASK, out);
		rest = start + len;
	}
	while ((len = find_parameter_password(rest, &start))) {
		print_escaped(out, view_make(rest, (size_t)(start - rest)));
		fputs(MASK, out);
		rest = start + len;
	}
	print_escaped(out, view_str(rest));
	fputc('"', out);
	free(text);
}

static int compare_rows(const void *a, const void *b)
{
	return strcmp((*(const struct schema_row *const *)a)->key,
		(*(const struct schema_row *const *)b)->key);
}

static void print_row(FILE *out, const struct config *config,
	const struct config_instance *instance, const struct schema_row *row)
{
	const struct toml_entry *entry =
		instance->table ? toml_find(instance->table, view_str(row->key)) : NULL;

	if (instance->id == TABLE_SERVER && strcmp(row->key, "log_level") == 0) {
		fprintf(out, "log_level = \"%s\"\n", row->values[config->server.log_level]);
	} else if (!entry && !row->fallback) {
		fprintf(out, "# %s =\n", row->key);
	} else if (!entry) {
		fprintf(out, "%s = %s\n", row->key, row->fallback);
	} else {
		fprintf(out, "%s = ", row->key);
		if (row->kind == KIND_SECRET)
			fputs("\"" MASK "\"", out);
		else if (row->kind == KIND_URL)
			print_url(out, entry->value->string);
		else
			print_value(out, entry->value);
		fputc('\n', out);
	}
}

static int compare_instances(const void *a, const void *b)
{
	const struct config_instance *x = *(const struct config_instance *const *)a;
	const struct config_instance *y = *(const struct config_instance *const *)b;

	/* Routes keep their order, which has a meaning: lower numbers come first. */
	if (x->id == TABLE_ROUTE && y->id == TABLE_ROUTE)
		return x < y ? -1 : 1;
	return strcmp(x->path, y->path);
}

static void print_instance(
	FILE *out, const struct config *config, const struct config_instance *instance)
{
	const struct schema_row *rows[32];
	const char *comment = instance->table ? "" : "# ";
	size_t count = 0;

	if (instance->id == TABLE_EXTRACT)
		return; /* printed inside its route */
	/* Absent tables whose presence means something stay absent. */
	if (!instance->table && instance->id >= TABLE_MAPPING_FILE &&
		instance->id <= TABLE_MAPPING_SQL)
		return;
	if (!instance->table && instance->id == TABLE_ADMIN) {
		fprintf(out, "\n%s[admin]\n", comment);
		return;
	}
	if (instance->id == TABLE_ROUTE)
		fputs("\n[[http.route]]\n", out);
	else
		fprintf(out, "\n[%s]\n", instance->path);
	for (const struct schema_row *row = schema_tables[instance->id].rows; row->key; row++)
		rows[count++] = row;
	qsort(rows, count, sizeof(rows[0]), compare_rows);
	for (size_t i = 0; i < count; i++)
		print_row(out, config, instance, rows[i]);
}

void config_print(const struct config *config, FILE *out)
{
	const struct config_private *priv = config->priv;
	const struct config_instance **sorted =
		calloc(priv->instance_count + 1, sizeof(struct config_instance *));

	if (!sorted)
		return;
	for (size_t i = 0; i < priv->instance_count; i++)
		sorted[i] = &priv->instances[i];
	qsort(sorted, priv->instance_count, sizeof(*sorted), compare_instances);
	for (size_t i = 0; i < priv->instance_count; i++)
		print_instance(out, config, sorted[i]);
	free(sorted);
}

void config_print_schema(FILE *out)
{
	fputs("# Configuration keys\n\n"
	      "Made from the rows of the schema (`make docs`); do not edit.\n"
	      "R: **L** = a change is live after a reload, **S** = it needs a restart.\n",
		out);
	for (int i = 0; i < TABLES; i++) {
		fprintf(out, "\n## [%s]\n\n| key | default | R | meaning |\n|---|---|---|---|\n",
			schema_tables[i].path);
		for (const struct schema_row *row = schema_tables[i].rows; row->key; row++)
			fprintf(out, "| `%s` | %s%s%s | %s | %s |\n", row->key,
				row->fallback ? "`" : "",
				row->fallback                       ? row->fallback
					: row->flags & ROW_REQUIRED ? "required"
								    : "unset",
				row->fallback ? "`" : "", row->flags & ROW_RESTART ? "S" : "L",
				row->help);
	}
}
