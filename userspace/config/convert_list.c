// SPDX-License-Identifier: Apache-2.0
/* From a TOML value to the field of a row: lists, and kinds of which there are lists. */
#include "config/convert.h"

#include <assert.h>
#include <stdlib.h>

static bool each_string(const struct config_at *at)
{
	const struct toml_array *array = &at->value->array;

	if (!config_expect(at, at->value, TOML_ARRAY, "list (an array of strings)"))
		return false;
	for (uint32_t i = 0; i < array->count; i++) {
		if (!config_expect(at, array->items[i], TOML_STRING, "string"))
			return false;
	}
	return true;
}

static void convert_strings(const struct config_at *at, const char *const **field)
{
	const struct toml_array *array = &at->value->array;
	const char **list;

	if (!each_string(at))
		return;
	list = config_alloc(at->loader, (array->count + 1) * sizeof(*list));
	for (uint32_t i = 0; list && i < array->count; i++) {
		if (memchr(array->items[i]->string.data, 0, array->items[i]->string.len))
			CONFIG_FIND(at, array->items[i], "must not hold NUL");
		list[i] = config_strdup(at->loader, array->items[i]->string);
	}
	*field = list;
}

static bool is_atom(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.data[i];

		if (c <= 0x20 || c >= 0x7f || strchr("(){%*\"\\]", c))
			return false;
	}
	return v.len > 0;
}

/* CFG-34: what the router adds itself must not be in the list. */
static bool is_reserved(struct view v)
{
	static const char *const reserved[] = { "STARTTLS", "LOGINDISABLED", "XCLIENT", "AUTH" };

	if (view_starts_nocase(v, VIEW_LIT("AUTH=")) || view_starts_nocase(v, VIEW_LIT("AUTH ")))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		if (view_eq_nocase(v, view_str(reserved[i])))
			return true;
	}
	return false;
}

static const char *item_fault(const struct schema_row *row, struct view v)
{
	if (row->kind != KIND_WORDS && is_reserved(v))
		return "the router adds this by itself";
	if (row->kind == KIND_ATOMS && !is_atom(v))
		return "not an atom";
	if (!v.len || v.len > 255 || config_has_control(v))
		return "must have 1 to 255 bytes and no control character";
	if (row->kind == KIND_WORDS &&
		(memchr(v.data, '"', v.len) || memchr(v.data, '\\', v.len) ||
			memchr(v.data, ' ', v.len)))
		return "must not hold a blank, a quote or a backslash";
	return NULL;
}

static void convert_joined(const struct config_at *at, const char **field)
{
	const struct toml_array *array = &at->value->array;
	char separator = at->row->kind == KIND_LINES ? '\n' : ' ';
	size_t len = 1, n = 0;
	char *joined;

	if (!each_string(at))
		return;
	for (uint32_t i = 0; i < array->count; i++) {
		const char *fault = item_fault(at->row, array->items[i]->string);

		if (fault) {
			CONFIG_FIND(at, array->items[i], "%s", fault);
			return;
		}
		len += array->items[i]->string.len + 1;
	}
	joined = config_alloc(at->loader, len);
	for (uint32_t i = 0; joined && i < array->count; i++) {
		if (i)
			joined[n++] = separator;
		memcpy(joined + n, array->items[i]->string.data, array->items[i]->string.len);
		n += array->items[i]->string.len;
	}
	*field = joined;
}

/* struct addr * or struct cidr *, followed by the count. */
struct addr_list {
	struct addr *items;
	size_t count;
};
struct cidr_list {
	struct cidr *items;
	size_t count;
};

static bool convert_item(const struct config_at *at, const struct toml_value *item, void *field)
{
	struct cidr *cidr = field;
	struct addr *addr = field;

	switch (at->row->kind) {
	case KIND_CIDRS:
		if (cidr_parse(item->string, cidr) == 0)
			return true;
		CONFIG_FIND(at, item, "not an IP address or range");
		return false;
	case KIND_IPS:
		if (addr_parse_ip(item->string, 0, addr) == 0)
			return true;
		CONFIG_FIND(at, item, "not an IP address");
		return false;
	default:
		if (addr_parse(item->string, addr) == 0)
			return true;
		CONFIG_FIND(at, item, "not an address: A.B.C.D:port or [v6]:port");
		return false;
	}
}

static void convert_list(const struct config_at *at, void *field)
{
	const struct toml_array *array = &at->value->array;
	size_t size = at->row->kind == KIND_CIDRS ? sizeof(struct cidr) : sizeof(struct addr);
	char *items;

	if (!each_string(at))
		return;
	if (at->row->kind == KIND_ADDRESSES && !array->count) {
		CONFIG_FIND(at, at->value, "needs at least one address");
		return;
	}
	items = config_alloc(at->loader, (array->count + 1) * size);
	if (!items)
		return;
	for (uint32_t i = 0; i < array->count; i++) {
		if (!convert_item(at, array->items[i], items + i * size))
			return;
	}
	if (at->row->kind == KIND_CIDRS)
		*(struct cidr_list *)field =
			(struct cidr_list){ (struct cidr *)items, array->count };
	else
		*(struct addr_list *)field =
			(struct addr_list){ (struct addr *)items, array->count };
}

static void convert_sasl(const struct config_at *at, struct config_capabilities *caps)
{
	static const char *const names[] = { "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", NULL };
	static_assert(ARRAY_SIZE(names) == CONFIG_SASL_MECHS + 1, "a name for each");
	const struct toml_array *array = &at->value->array;
	unsigned seen = 0;

	if (!each_string(at))
		return;
	caps->mech_count = 0;
	for (uint32_t i = 0; i < array->count; i++) {
		struct view v = array->items[i]->string;
		int mech = 0;

		while (names[mech] && !view_eq_nocase(v, view_str(names[mech])))
			mech++;
		if (!names[mech]) {
			CONFIG_FIND(at, array->items[i],
				"unknown mechanism; accepted are PLAIN, LOGIN, OAUTHBEARER, "
				"XOAUTH2");
		} else if (seen & BIT(mech)) {
			CONFIG_FIND(at, array->items[i], "%s is listed twice", names[mech]);
		} else {
			seen |= BIT(mech);
			caps->mechs[caps->mech_count++] = (enum config_sasl)mech;
		}
	}
}

static void convert_pins(const struct config_at *at, struct config_pins *pins)
{
	const struct toml_array *array = &at->value->array;

	if (!config_expect(at, at->value, TOML_ARRAY, "array"))
		return;
	pins->sha256 = config_alloc(at->loader, (array->count + 1) * sizeof(*pins->sha256));
	for (uint32_t i = 0; pins->sha256 && i < array->count; i++) {
		if (!config_expect(at, array->items[i], TOML_STRING, "string"))
			continue;
		if (tls_parse_sha256(array->items[i]->string, pins->sha256[pins->count]) < 0)
			CONFIG_FIND(at, array->items[i], "not 64 hexadecimal digits");
		else
			pins->count++;
	}
}

static void convert_pin(const struct config_at *at, struct config_pins *pins)
{
	if (!config_expect(at, at->value, TOML_STRING, "string"))
		return;
	pins->sha256 = config_alloc(at->loader, sizeof(*pins->sha256));
	if (!pins->sha256)
		return;
	if (tls_parse_sha256(at->value->string, *pins->sha256) < 0)
		CONFIG_FIND(at, at->value, "not 64 hexadecimal digits");
	else
		pins->count = 1;
}

/* Names of protocols that have a login. */
static void convert_logins(const struct config_at *at, bool logins[PROTOCOLS_INTERACTIVE])
{
	const struct toml_array *array = &at->value->array;

	if (!config_expect(at, at->value, TOML_ARRAY, "array"))
		return;
	memset(logins, 0, PROTOCOLS_INTERACTIVE * sizeof(*logins));
	for (uint32_t i = 0; i < array->count; i++) {
		int p = 0;

		if (!config_expect(at, array->items[i], TOML_STRING, "string"))
			continue;
		while (p < PROTOCOLS_INTERACTIVE &&
			!view_eq(array->items[i]->string, view_str(schema_protocols[p])))
			p++;
		if (p == PROTOCOLS_INTERACTIVE)
			CONFIG_FIND(at, array->items[i],
				"expected imap, pop3, managesieve or submission");
		else
			logins[p] = true;
	}
}

void config_convert_list(const struct config_at *at, void *field)
{
	switch (at->row->kind) {
	case KIND_ADDRESS:
		if (config_expect(at, at->value, TOML_STRING, "string"))
			(void)!convert_item(at, at->value, field);
		break;
	case KIND_STRINGS:
		convert_strings(at, field);
		break;
	case KIND_ATOMS:
	case KIND_LINES:
	case KIND_WORDS:
		convert_joined(at, field);
		break;
	case KIND_SASL:
		convert_sasl(at, field);
		break;
	case KIND_PIN:
		convert_pin(at, field);
		break;
	case KIND_PINS:
		convert_pins(at, field);
		break;
	case KIND_LOGINS:
		convert_logins(at, field);
		break;
	default: /* addresses, networks */
		convert_list(at, field);
	}
}
