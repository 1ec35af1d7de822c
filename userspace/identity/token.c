// SPDX-License-Identifier: Apache-2.0
/*
 * Login names from bearer tokens: the footer of "sw1" tokens, the claims of JWTs (RFC 7519). The
 * JSON reader recurses, so nesting is measured before it sees a byte. What is decoded is wiped.
 */
#include "identity/token.h"
#include "base/base64.h"

#include <errno.h>
#include <jansson.h>

#define PARTS 3

/* Splits at the dots. Returns the number of parts, or 0 if there are more than PARTS. */
static size_t split(struct view token, struct view ret_parts[PARTS])
{
	for (size_t n = 1; n <= PARTS; n++) {
		const char *dot = token.len ? memchr(token.data, '.', token.len) : NULL;

		if (!dot) {
			ret_parts[n - 1] = token;
			return n;
		}
		ret_parts[n - 1] = view_make(token.data, (size_t)(dot - token.data));
		token = view_skip(token, ret_parts[n - 1].len + 1);
	}
	return 0;
}

static int from_footer(struct view footer, struct buf *ret_login)
{
	CLEANUP(buf_fini) struct buf text = { .secret = true };
	int r = base64url_decode(footer, &text);

	if (r == -EINVAL)
		return IDENTITY_NO_LOGIN;
	if (r < 0)
		return r;
	if (!text.len || memchr(buf_view(&text).data, 0, text.len) ||
		!view_is_utf8(buf_view(&text)))
		return IDENTITY_NO_LOGIN;
	return buf_append_view(ret_login, buf_view(&text));
}

/* ---- claims ---- */

/* How deep brackets nest outside of strings, for text that may be anything: of well-formed JSON this
 * is the depth, and of other text the reader gets no deeper. */
static size_t json_depth(struct view text)
{
	size_t depth = 0, deepest = 0;
	bool quoted = false;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '"')
			quoted = !quoted;
		else if (quoted && c == '\\')
			i++;
		else if (!quoted && (c == '{' || c == '['))
			deepest = MAX(deepest, ++depth);
		else if (!quoted && (c == '}' || c == ']') && depth)
			depth--;
	}
	return deepest;
}

/* True if the claim is usable. */
static bool take_claim(const json_t *claims, const char *name, struct view *ret_value)
{
	const json_t *value = json_object_get(claims, name);
	struct view text;

	if (!json_is_string(value))
		return false;
	text = view_make(json_string_value(value), json_string_length(value));
	if (!text.len || !memchr(text.data, '@', text.len) || memchr(text.data, 0, text.len))
		return false;
	*ret_value = text;
	return true;
}

static int from_claims(const char *claim, const json_t *claims, struct buf *ret_login)
{
	static const char *const names[] = { "email", "preferred_username", "upn", "unique_name",
		"sub" };
	struct view value;

	if (claim && *claim && take_claim(claims, claim, &value))
		return buf_append_view(ret_login, value);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (take_claim(claims, names[i], &value))
			return buf_append_view(ret_login, value);
	}
	return IDENTITY_NO_LOGIN;
}

/* A name that is there twice makes the claims ambiguous: no login (RFC 7519 section 4). Numbers are
 * of no interest; as reals they may pass 64 bits. NUL is allowed so that it spoils only the claim it
 * is in. */
static int from_json(const char *claim, struct view text, struct buf *ret_login)
{
	json_t *claims;
	int r;

	if (text.len > IDENTITY_JSON_BYTES || json_depth(text) > IDENTITY_JSON_DEPTH)
		return IDENTITY_NO_LOGIN;
	errno = 0;
	claims = json_loadb(text.data, text.len,
		JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
	if (!claims)
		return errno == ENOMEM ? -ENOMEM : IDENTITY_NO_LOGIN;
	r = json_is_object(claims) ? from_claims(claim, claims, ret_login) : IDENTITY_NO_LOGIN;
	json_decref(claims);
	return r;
}

static int from_jwt(const char *claim, struct view part, struct buf *ret_login)
{
	CLEANUP(buf_fini) struct buf text = { .secret = true };
	int r;

	if (part.len > (IDENTITY_JSON_BYTES + 2) / 3 * 4)
		return IDENTITY_NO_LOGIN;
	r = base64url_decode(part, &text);
	if (r == -EINVAL)
		return IDENTITY_NO_LOGIN;
	return r < 0 ? r : from_json(claim, buf_view(&text), ret_login);
}

int identity_token(const char *claim, struct view token, struct buf *ret_login)
{
	struct view parts[PARTS];
	size_t count = split(token, parts);

	if (count < 2)
		return IDENTITY_NO_LOGIN;
	if (view_eq(parts[0], VIEW_LIT("sw1")))
		return count == 3 && parts[1].len ? from_footer(parts[2], ret_login)
						  : IDENTITY_NO_LOGIN;
	return from_jwt(claim, parts[1], ret_login);
}
