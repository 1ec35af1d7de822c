// SPDX-License-Identifier: Apache-2.0
/* Names out of tokens. What a peer sends is bounded before it is parsed: length, depth. What is
 * decoded of a token is wiped. */
#include "identity/token.h"
#include "base/base64.h"
#include "base/secret.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>

/* jansson copies every claim, and frees its buffers as they grow. The same for all threads and for
 * what was allocated before, so when it is called does not matter. */
static void free_wiped(void *data)
{
	secret_wipe(data, data ? malloc_usable_size(data) : 0);
	free(data);
}

/* Before main(): jansson's functions must not change while another thread uses them. */
__attribute__((constructor)) static void wipe_what_jansson_frees(void)
{
	json_set_alloc_funcs(malloc, free_wiped);
}

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

	buf_init(&name, 0, true);
	r = base64url_decode(footer, &name);
	if (r < 0)
		return r == -EINVAL ? IDENTITY_NO_LOGIN : r;
	v = buf_view(&name);
	if (!v.len || memchr(v.data, 0, v.len) || !view_is_utf8(v))
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

/* A string that holds an "@" and no NUL. */
static bool usable(const json_t *claims, const char *name, struct view *ret_value)
{
	const json_t *value = name && *name ? json_object_get(claims, name) : NULL;
	struct view text;

	if (!json_is_string(value))
		return false;
	text = view_make(json_string_value(value), json_string_length(value));
	if (!text.len || !memchr(text.data, '@', text.len) || memchr(text.data, 0, text.len))
		return false;
	*ret_value = text;
	return true;
}

static int claimed_name(const char *claim, const json_t *claims, struct buf *ret_login)
{
	const char *const names[] = { claim, "email", "preferred_username", "upn", "unique_name",
		"sub" };
	struct view value;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (usable(claims, names[i], &value))
			return buf_append_view(ret_login, value);
	}
	return IDENTITY_NO_LOGIN;
}

/* A name that is there twice makes the claims ambiguous: no login (RFC 7519 section 4). Numbers are
 * of no interest; as reals they may pass 64 bits. NUL is allowed so that it spoils only the claim
 * it is in. */
static int json_name(const char *claim, struct view json, struct buf *ret_login)
{
	json_t *claims;
	int r;

	errno = 0;
	claims = json_loadb(json.data, json.len,
		JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
	if (!claims)
		return errno == ENOMEM ? -ENOMEM : IDENTITY_NO_LOGIN;
	r = json_is_object(claims) ? claimed_name(claim, claims, ret_login) : IDENTITY_NO_LOGIN;
	json_decref(claims);
	return r;
}

static int jwt_name(const char *claim, struct view payload, struct buf *ret_login)
{
	CLEANUP(buf_fini) struct buf json;
	struct view v;
	int r;

	buf_init(&json, 0, true);
	if (payload.len > IDENTITY_TOKEN_JSON_BYTES / 3 * 4 + 4)
		return IDENTITY_NO_LOGIN;
	r = base64url_decode(payload, &json);
	if (r < 0)
		return r == -EINVAL ? IDENTITY_NO_LOGIN : r;
	v = buf_view(&json);
	if (!v.len || v.len > IDENTITY_TOKEN_JSON_BYTES || too_deep(v))
		return IDENTITY_NO_LOGIN;
	return json_name(claim, v, ret_login);
}

int identity_token(const char *claim, struct view token, struct buf *ret_login)
{
	struct view rest = token, first, second;

	if (!take_part(&rest, &first))
		return IDENTITY_NO_LOGIN;
	if (!take_part(&rest, &second)) /* two parts: a token without a signature */
		return view_eq(first, VIEW_LIT("sw1")) ? IDENTITY_NO_LOGIN
						       : jwt_name(claim, rest, ret_login);
	if (rest.len && memchr(rest.data, '.', rest.len))
		return IDENTITY_NO_LOGIN;
	if (view_eq(first, VIEW_LIT("sw1")))
		return second.len ? footer_name(rest, ret_login) : IDENTITY_NO_LOGIN;
	return jwt_name(claim, second, ret_login);
}
