// SPDX-License-Identifier: Apache-2.0
/* SASL PLAIN, LOGIN, OAUTHBEARER and XOAUTH2. */
#include "proto/sasl.h"

#include "base/base64.h"

#include <assert.h>
#include <errno.h>

static const char *const names[] = { "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2" };
static_assert(ARRAY_SIZE(names) == SASL_MECHS, "a name for each");

const char *sasl_mech_name(enum sasl_mech mech)
{
	return names[mech];
}

int sasl_mech_find(struct view name)
{
	for (int i = 0; i < SASL_MECHS; i++) {
		if (view_eq_nocase(name, view_str(names[i])))
			return i;
	}
	return -1;
}

void proto_credential_wipe(struct proto_credential *credential)
{
	buf_fini(&credential->message);
	buf_fini(&credential->oauth_name);
	credential->authcid_at = credential->authcid_len = 0;
	credential->authzid_at = credential->authzid_len = 0;
	credential->token_at = credential->token_len = 0;
}

struct view proto_credential_login(const struct proto_credential *credential)
{
	if (credential->oauth_name.len)
		return buf_view(&credential->oauth_name);
	return view_make(buf_view(&credential->message).data + credential->authcid_at,
		credential->authcid_len);
}

/* ---- PLAIN ---- */

static int parse_plain(struct proto_credential *credential)
{
	struct view v = buf_view(&credential->message);
	const char *first = v.len ? memchr(v.data, 0, v.len) : NULL, *second;
	struct view authzid, authcid, password;

	if (!first)
		return -EINVAL;
	authzid = view_make(v.data, (size_t)(first - v.data));
	authcid = view_skip(v, authzid.len + 1);
	second = authcid.len ? memchr(authcid.data, 0, authcid.len) : NULL;
	if (!second)
		return -EINVAL;
	password = view_skip(authcid, (size_t)(second - authcid.data) + 1);
	authcid.len = (size_t)(second - authcid.data);
	if (!authcid.len || !password.len || memchr(password.data, 0, password.len))
		return -EINVAL;
	/* Names are looked up; a password may be in any encoding, and the node judges it
	 * (SES-33). */
	if (!view_is_utf8(authzid) || !view_is_utf8(authcid))
		return -EINVAL;
	credential->authzid_at = 0;
	credential->authzid_len = authzid.len;
	credential->authcid_at = authzid.len + 1;
	credential->authcid_len = authcid.len;
	return 0;
}

int sasl_make_plain(struct proto_credential *credential, struct view user, struct view password)
{
	struct buf *message = &credential->message;
	int r;

	if (!user.len || !password.len || memchr(user.data, 0, user.len))
		return -EINVAL;
	buf_clear(message);
	r = buf_reserve(message, user.len + password.len + 2);
	if (r == 0)
		r = buf_append(message, "", 1);
	if (r == 0)
		r = buf_append_view(message, user);
	if (r == 0)
		r = buf_append(message, "", 1);
	if (r == 0)
		r = buf_append_view(message, password);
	return r < 0 ? r : parse_plain(credential);
}

/* ---- OAuth ---- */

#define TOKEN_BYTES 12288
#define SEPARATOR '\x01'

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c && strchr("-._~+/=", c) != NULL);
}

/* "Bearer TOKEN" somewhere in the message: notes where the token is. */
static int take_bearer(struct proto_credential *credential, struct view value)
{
	static const struct view scheme = { "Bearer ", 7 };
	struct view token = view_skip(value, scheme.len);

	if (!view_starts_nocase(value, scheme) || !token.len || token.len > TOKEN_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < token.len; i++) {
		if (!is_token_char(token.data[i]))
			return -EINVAL;
	}
	credential->token_at = (size_t)(token.data - buf_view(&credential->message).data);
	credential->token_len = token.len;
	return 0;
}

/* Up to the separator; false if there is none. Moves rest behind it. */
static bool take_pair(struct view *rest, struct view *ret_pair)
{
	const char *end = rest->len ? memchr(rest->data, SEPARATOR, rest->len) : NULL;

	if (!end)
		return false;
	*ret_pair = view_make(rest->data, (size_t)(end - rest->data));
	*rest = view_skip(*rest, ret_pair->len + 1);
	return true;
}

/* saslname (RFC 5801 section 4): "=2C" is a comma, "=3D" an equals sign, no other escape. */
static int take_saslname(struct proto_credential *credential, struct view name)
{
	struct buf *out = &credential->oauth_name;

	if (memchr(name.data, 0, name.len) || !view_is_utf8(name))
		return -EINVAL;
	for (size_t i = 0; i < name.len; i++) {
		struct view rest = view_skip(name, i);
		char c = name.data[i];
		int r;

		if (c == '=') {
			if (view_starts(rest, VIEW_LIT("=2C")))
				c = ',';
			else if (!view_starts(rest, VIEW_LIT("=3D")))
				return -EINVAL;
			i += 2;
		}
		r = buf_append(out, &c, 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* RFC 7628 section 3.1: gs2 header, then pairs. */
static int parse_oauthbearer(struct proto_credential *credential)
{
	struct view v = buf_view(&credential->message), header, pair;
	const char *comma;
	bool seen = false;

	buf_fini(&credential->oauth_name);
	buf_init(&credential->oauth_name, PROTO_SASL_BASE64_BYTES, false);
	if (!take_pair(&v, &header))
		return -EINVAL;
	if (!view_starts(header, VIEW_LIT("n,")) && !view_starts(header, VIEW_LIT("y,")))
		return -EINVAL;
	header = view_skip(header, 2);
	comma = header.len ? memchr(header.data, ',', header.len) : NULL;
	if (!comma || (size_t)(comma - header.data) != header.len - 1)
		return -EINVAL;
	header.len--;
	if (header.len) {
		int r = -EINVAL;

		if (view_starts(header, VIEW_LIT("a=")))
			r = take_saslname(credential, view_skip(header, 2));
		if (r < 0)
			return r;
	}
	while (take_pair(&v, &pair)) {
		if (!pair.len) /* the final separator ends it */
			return seen && !v.len ? 0 : -EINVAL;
		if (pair.data[0] == '=' || !memchr(pair.data, '=', pair.len))
			return -EINVAL;
		if (!view_starts(pair, VIEW_LIT("auth=")))
			continue;
		if (seen || take_bearer(credential, view_skip(pair, 5)) < 0)
			return -EINVAL;
		seen = true;
	}
	return seen && !v.len ? 0 : -EINVAL;
}

/* user=NAME ^A auth=Bearer TOKEN ^A ^A; the last one or two may be missing. */
static int parse_xoauth2(struct proto_credential *credential)
{
	struct view v = buf_view(&credential->message), user, auth;

	if (!take_pair(&v, &user) || !view_starts(user, VIEW_LIT("user=")))
		return -EINVAL;
	user = view_skip(user, 5);
	if (memchr(user.data, 0, user.len) || !view_is_utf8(user))
		return -EINVAL;
	if (!take_pair(&v, &auth)) {
		auth = v;
		v.len = 0;
	}
	if (v.len > 1 || (v.len && v.data[0] != SEPARATOR) ||
		!view_starts(auth, VIEW_LIT("auth=")) ||
		take_bearer(credential, view_skip(auth, 5)) < 0)
		return -EINVAL;
	credential->authcid_at = 5;
	credential->authcid_len = user.len;
	return 0;
}

int sasl_parse(struct proto_credential *credential)
{
	switch (credential->mech) {
	case SASL_OAUTHBEARER:
		return parse_oauthbearer(credential);
	case SASL_XOAUTH2:
		return parse_xoauth2(credential);
	default:
		return parse_plain(credential);
	}
}

/* ---- the exchange ---- */

void sasl_exchange_init(struct sasl_exchange *exchange)
{
	*exchange = (struct sasl_exchange){ 0 };
	buf_init(&exchange->credential.message, PROTO_SASL_BASE64_BYTES * 2 + 16, true);
	buf_init(&exchange->user, PROTO_SASL_BASE64_BYTES, true);
}

void sasl_exchange_reset(struct sasl_exchange *exchange)
{
	proto_credential_wipe(&exchange->credential);
	buf_fini(&exchange->user);
}

enum sasl_step sasl_exchange_start(struct sasl_exchange *exchange, enum sasl_mech mech)
{
	sasl_exchange_reset(exchange);
	exchange->credential.mech = mech;
	return mech == SASL_LOGIN ? SASL_PROMPT_USER : SASL_PROMPT_EMPTY;
}

/* One decoded response of the mechanism LOGIN: the name first, then the password (SES-19). */
static int login_response(struct sasl_exchange *exchange)
{
	struct proto_credential *credential = &exchange->credential;
	struct buf password = credential->message;
	int r;

	if (!exchange->user.len) {
		if (!password.len)
			return SASL_FAIL_AUTH;
		r = buf_append_view(&exchange->user, buf_view(&credential->message));
		buf_clear(&credential->message);
		return r < 0 ? r : SASL_PROMPT_PASSWORD;
	}
	buf_init(&credential->message, password.limit, true);
	r = sasl_make_plain(credential, buf_view(&exchange->user), buf_view(&password));
	buf_fini(&password);
	buf_fini(&exchange->user);
	return r;
}

static int take_response(struct sasl_exchange *exchange, struct view base64)
{
	struct proto_credential *credential = &exchange->credential;
	int r;

	if (base64.len > PROTO_SASL_BASE64_BYTES)
		return SASL_FAIL_TOO_LONG;
	if (view_eq(base64, VIEW_LIT("*")))
		return SASL_FAIL_CANCELLED;
	buf_clear(&credential->message);
	r = base64_decode(base64, &credential->message);
	if (r == -EINVAL)
		return SASL_FAIL_BASE64;
	if (r == 0)
		r = credential->mech == SASL_LOGIN ? login_response(exchange)
						   : sasl_parse(credential);
	return r == -EINVAL ? SASL_FAIL_AUTH : r;
}

int sasl_exchange_response(struct sasl_exchange *exchange, struct view base64)
{
	int step;

	/* Clients leave blanks at the line's end; servers do not mind (SES-32). */
	while (base64.len &&
		(base64.data[base64.len - 1] == ' ' || base64.data[base64.len - 1] == '\t'))
		base64.len--;
	step = take_response(exchange, base64);

	if (step < 0 || step >= SASL_FAIL_AUTH) /* SES-38 */
		sasl_exchange_reset(exchange);
	return step;
}

void sasl_exchange_take(struct sasl_exchange *exchange, struct proto_credential *ret_credential)
{
	*ret_credential = exchange->credential;
	sasl_exchange_init(exchange);
}
