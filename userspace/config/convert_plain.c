// SPDX-License-Identifier: Apache-2.0
/* From a TOML value to the field of a row: kinds of one value, and what all kinds ask for. */
#include "config/convert.h"

#include <errno.h>
#include <stdlib.h>

bool config_expect(const struct config_at *at, const struct toml_value *value, enum toml_type type,
	const char *what)
{
	if (value->type == type)
		return true;
	CONFIG_FIND(at, value, "expected %s, found %s", what, toml_type_name(value->type));
	return false;
}

/* ---- plain kinds ---- */

static void convert_int(const struct config_at *at, void *field)
{
	const struct schema_row *row = at->row;
	int64_t n;

	if (!config_expect(at, at->value, TOML_INTEGER, "integer"))
		return;
	n = at->value->integer;
	if (n < row->min || n > row->max)
		CONFIG_FIND(at, at->value, "%lld is out of range: accepted are %lld to %lld",
			(long long)n, (long long)row->min, (long long)row->max);
	else if (row->kind == KIND_PORT)
		*(uint16_t *)field = (uint16_t)n;
	else
		*(int64_t *)field = n;
}

static struct view trim(struct view v)
{
	while (v.len && (v.data[0] == ' ' || v.data[0] == '\t'))
		v = view_skip(v, 1);
	while (v.len && (v.data[v.len - 1] == ' ' || v.data[v.len - 1] == '\t'))
		v.len--;
	return v;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* "<decimal><unit>", blanks around and between. Returns 0, -EINVAL or -ERANGE. */
static int parse_quantity(struct view text, const struct unit *units, uint64_t *ret_value)
{
	size_t digits = 0;
	struct view unit;
	uint64_t n;
	int r;

	text = trim(text);
	while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
		digits++;
	r = view_to_u64(view_make(text.data, digits), &n);
	if (r < 0)
		return r;
	unit = trim(view_skip(text, digits));
	for (; units->name; units++) {
		if (view_eq(unit, view_str(units->name)))
			return __builtin_mul_overflow(n, units->factor, ret_value) ? -ERANGE : 0;
	}
	return -EINVAL;
}

#define QUANTITY_TEXT_SIZE 32

/* In the largest unit that leaves no fraction. Returns text. */
static const char *quantity_text(
	uint64_t value, const struct unit *units, char text[QUANTITY_TEXT_SIZE])
{
	const struct unit *unit = units;

	for (; units->name && value; units++) {
		if (value % units->factor == 0)
			unit = units;
	}
	snprintf(text, QUANTITY_TEXT_SIZE, "%llu%s", (unsigned long long)(value / unit->factor),
		unit->name);
	return text;
}

static void convert_duration(const struct config_at *at, uint64_t *field)
{
	static const struct unit units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
		{ "h", 3600000 }, { "d", 86400000 }, { NULL, 0 } };
	char low[QUANTITY_TEXT_SIZE], high[QUANTITY_TEXT_SIZE];
	uint64_t ms;
	int r;

	if (!config_expect(at, at->value, TOML_STRING, "duration (a string such as \"30s\")"))
		return;
	r = parse_quantity(at->value->string, units, &ms);
	if (r == -EINVAL)
		CONFIG_FIND(at, at->value,
			"not a duration: a decimal number and one of ms, s, m, h, d");
	else if (r < 0 || ms < (uint64_t)at->row->min || ms > (uint64_t)at->row->max)
		CONFIG_FIND(at, at->value, "duration is out of range: accepted are %s to %s",
			quantity_text((uint64_t)at->row->min, units, low),
			quantity_text((uint64_t)at->row->max, units, high));
	else
		*field = ms;
}

static void convert_bytes(const struct config_at *at, uint64_t *field)
{
	static const struct unit units[] = { { "B", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 },
		{ "GiB", 1 << 30 }, { NULL, 0 } };
	char low[QUANTITY_TEXT_SIZE], high[QUANTITY_TEXT_SIZE];
	uint64_t bytes;
	int r;

	if (!config_expect(at, at->value, TOML_STRING, "size (a string such as \"256KiB\")"))
		return;
	r = parse_quantity(at->value->string, units, &bytes);
	if (r == -EINVAL && view_eq(trim(at->value->string), VIEW_LIT("0"))) {
		bytes = 0;
		r = 0;
	}
	if (r == -EINVAL)
		CONFIG_FIND(at, at->value, "not a size: an integer and one of B, KiB, MiB, GiB");
	else if (r < 0 || bytes < (uint64_t)at->row->min || bytes > (uint64_t)at->row->max)
		CONFIG_FIND(at, at->value, "size is out of range: accepted are %s to %s",
			quantity_text((uint64_t)at->row->min, units, low),
			quantity_text((uint64_t)at->row->max, units, high));
	else
		*field = bytes;
}

int config_pick(
	const struct config_at *at, const struct toml_value *value, const char *const *values)
{
	const char *const *offered = **values ? values : values + 1;
	const char *meant;
	char list[256] = "";
	size_t n = 0;

	if (!config_expect(at, value, TOML_STRING, "string"))
		return -1;
	for (int i = 0; values[i]; i++) {
		if (*values[i] && view_eq(value->string, view_str(values[i])))
			return i;
	}
	for (int i = 0; offered[i] && n < sizeof(list); i++)
		n += (size_t)snprintf(
			list + n, sizeof(list) - n, "%s\"%s\"", i ? ", " : "", offered[i]);
	meant = schema_meant(value->string, offered);
	if (meant)
		CONFIG_FIND(at, value, "unknown value; accepted are %s; probably meant: \"%s\"",
			list, meant);
	else
		CONFIG_FIND(at, value, "unknown value; accepted are %s", list);
	return -1;
}

static void convert_enum(const struct config_at *at, void *field)
{
	int i = config_pick(at, at->value, at->row->values);

	if (i >= 0 && at->row->kind == KIND_ENUM_BOOL)
		*(bool *)field = i == 1;
	else if (i >= 0)
		*(int *)field = i;
}

/* ---- strings ---- */

bool config_has_control(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		if ((unsigned char)v.data[i] < 0x20 || v.data[i] == 0x7f)
			return true;
	}
	return false;
}

/* For a resolver also with "_", which names of containers have, and the dot of a complete name. */
static bool hostname_ok(struct view v, bool resolved)
{
	size_t label = 0;

	if (resolved && v.len > 1 && v.data[v.len - 1] == '.')
		v.len--;
	if (!v.len || v.len > 253)
		return false;
	for (size_t i = 0; i <= v.len; i++) {
		char c = i < v.len ? v.data[i] : '.';

		if (c == '.') {
			if (!label || label > 63 || v.data[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    (resolved && c == '_') || (c == '-' && label)))
			return false;
		label++;
	}
	return true;
}

static bool name_ok(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		char c = v.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return v.len >= 1 && v.len <= 64;
}

/* What is wrong with a string of this kind, or NULL. */
static const char *string_fault(const struct schema_row *row, struct view v)
{
	struct addr addr;

	switch (row->kind) {
	case KIND_TEXT:
	case KIND_SIEVE_TEXT:
		if (!v.len || v.len > 255 || config_has_control(v))
			return "text must have 1 to 255 bytes and no control character";
		if (row->kind == KIND_SIEVE_TEXT &&
			(memchr(v.data, '"', v.len) || memchr(v.data, '\\', v.len)))
			return "text must not hold a quote or a backslash";
		return NULL;
	case KIND_HOSTNAME:
		return hostname_ok(v, false) ? NULL : "not a hostname";
	case KIND_HOST:
		return hostname_ok(v, true) || addr_parse_ip(v, 0, &addr) == 0
			? NULL
			: "not a hostname or IP address";
	case KIND_NAME:
		return name_ok(v) ? NULL : "not a name: 1 to 64 of A-Z a-z 0-9 . _ -";
	case KIND_ABSOLUTE:
		return v.len && v.data[0] == '/' && !memchr(v.data, 0, v.len)
			? NULL
			: "not an absolute path";
	default:
		return memchr(v.data ? v.data : "", 0, v.len) ? "must not hold NUL" : NULL;
	}
}

static const char *resolve_path(struct loader *loader, struct view v)
{
	const char *dir = loader->config->priv->dir;
	char *path;

	if (v.len && v.data[0] == '/')
		return config_strdup(loader, v);
	path = config_alloc(loader, strlen(dir) + v.len + 2);
	if (path)
		sprintf(path, "%s/%.*s", dir, (int)v.len, v.data);
	return path;
}

/* "[::1]", as it stands in a URL, is "::1". */
static struct view without_brackets(struct view v)
{
	struct addr addr;

	if (v.len > 2 && v.data[0] == '[' && v.data[v.len - 1] == ']') {
		struct view inner = view_make(v.data + 1, v.len - 2);

		if (memchr(inner.data, ':', inner.len) && addr_parse_ip(inner, 0, &addr) == 0)
			return inner;
	}
	return v;
}

static void convert_string(const struct config_at *at, const char **field)
{
	struct view v = at->value->string;
	const char *fault;

	if (!config_expect(at, at->value, TOML_STRING, "string"))
		return;
	if (at->row->kind == KIND_HOST)
		v = without_brackets(v);
	fault = string_fault(at->row, v);
	if (fault) {
		CONFIG_FIND(at, at->value, "%s", fault);
		return;
	}
	if (at->row->max && at->row->kind == KIND_STRING &&
		(v.len < (size_t)at->row->min || v.len > (size_t)at->row->max)) {
		CONFIG_FIND(at, at->value, "must have %lld to %lld bytes", (long long)at->row->min,
			(long long)at->row->max);
		return;
	}
	if (at->row->kind == KIND_PATH && !v.len) {
		CONFIG_FIND(at, at->value, "path is empty");
		return;
	}
	*field = at->row->kind == KIND_PATH ? resolve_path(at->loader, v)
					    : config_strdup(at->loader, v);
}

void config_convert_plain(const struct config_at *at, void *field)
{
	switch (at->row->kind) {
	case KIND_INT:
	case KIND_PORT:
		convert_int(at, field);
		break;
	case KIND_BOOL:
		if (config_expect(at, at->value, TOML_BOOL, "boolean"))
			*(bool *)field = at->value->boolean;
		break;
	case KIND_DURATION:
		convert_duration(at, field);
		break;
	case KIND_BYTES:
		convert_bytes(at, field);
		break;
	case KIND_ENUM:
	case KIND_ENUM_BOOL:
		convert_enum(at, field);
		break;
	default:
		convert_string(at, field);
	}
}
