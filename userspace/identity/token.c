// SPDX-License-Identifier: Apache-2.0
/* Names out of tokens. What a peer sends is bounded before it is parsed: length, depth. */
#include "identity/token.h"
#include "base/base64.h"

#include <errno.h>
#include <jansson.h>

/* The part in front of the next dot; false if there is no dot. */
static bool take_part(struct view *rest, struct view *ret_part)
{
	const char *dot = rest->len ? memchr(rest->data, '.', rest->len) : NULL;

	if (!dot)
		return false;
	*ret_part = view_make(rest->data, (size_t)(dot - rest->data));
	*rest = view_skip(*rest, ret_part->len + 1);
	return true;
}

static int footer_name(struct view footer, struct buf *ret_login)
{
	CLEANUP(buf_fini) struct buf name;
	struct view v;
	int r;

	buf_init(&name, 0, false);
	r = base64url_decode(footer, &name);
	if (r < 0)
		return r == -EINVAL ? IDENTITY_NO_LOGIN : r;
	v = buf_view(&name);
	if (!v.len || !view_is_utf8(v))
		return IDENTITY_NO_LOGIN;
	return buf_append_view(ret_login, v);
}

/* Brackets outside strings: the parser recurses, so they are counted first. */
static bool too_deep(struct view json)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < json.len; i++) {
		char c = json.data[i];

		if (quoted && c == '\\') {
			i++;
		} else if (c == '"') {
			quoted = !quoted;
		} else if (!quoted && (c == '{' || c == '[')) {
			if (++depth > IDENTITY_TOKEN_DEPTH)
				return true;
		} else if (!quoted && (c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return false;
}

/* A string that holds an "@"; jansson refuses NUL in strings. */
static const char *usable(json_t *claims, const char *name)
{
	const char *value = json_string_value(json_object_get(claims, name));

	return value && strchr(value, '@') ? value : NULL;
}

static int claimed_name(const char *claim, json_t *claims, struct buf *ret_login)
{
	const char *const names[] = { claim, "email", "preferred_username", "upn", "unique_name",
		"sub" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = usable(claims, names[i]);

		if (value)
			return buf_append_str(ret_login, value);
	}
	return IDENTITY_NO_LOGIN;
}

static int jwt_name(const char *claim, struct view payload, struct buf *ret_login)
{
	CLEANUP(buf_fini) struct buf json;
	json_t *claims;
	struct view v;
	int r;

	if (payload.len > IDENTITY_TOKEN_JSON_BYTES / 3 * 4 + 4)
		return IDENTITY_NO_LOGIN;
	buf_init(&json, 0, false);
	r = base64url_decode(payload, &json);
	if (r < 0)
		return r == -EINVAL ? IDENTITY_NO_LOGIN : r;
	v = buf_view(&json);
	if (!v.len || v.len > IDENTITY_TOKEN_JSON_BYTES || too_deep(v))
		return IDENTITY_NO_LOGIN;
	claims = json_loadb(v.data, v.len, JSON_REJECT_DUPLICATES, NULL);
	r = json_is_object(claims) ? claimed_name(claim, claims, ret_login) : IDENTITY_NO_LOGIN;
	json_decref(claims);
	return r;
}

int identity_token(const char *claim, struct view token, struct buf *ret_login)
{
	struct view rest = token, first, second;

	if (!take_part(&rest, &first))
		return IDENTITY_NO_LOGIN;
	if (!take_part(&rest, &second)) /* two parts: a token without a signature */
		return jwt_name(claim, rest, ret_login);
	if (rest.len && memchr(rest.data, '.', rest.len))
		return IDENTITY_NO_LOGIN;
	if (view_eq(first, VIEW_LIT("sw1")))
		return footer_name(rest, ret_login);
	return jwt_name(claim, second, ret_login);
}
