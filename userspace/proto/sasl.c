// SPDX-License-Identifier: Apache-2.0
/* SASL PLAIN and LOGIN. */
#include "proto/sasl.h"

#include <errno.h>

static const char *const names[SASL_MECHS] = { "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2" };

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
	credential->authcid_at = credential->authcid_len = 0;
	credential->authzid_at = credential->authzid_len = 0;
}

int sasl_parse_plain(struct proto_credential *credential)
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
	if (!view_is_utf8(authzid) || !view_is_utf8(authcid) || !view_is_utf8(password))
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
	r = buf_reserve(message, user.len + password.len + 2);
	if (r == 0)
		r = buf_append(message, "", 1);
	if (r == 0)
		r = buf_append_view(message, user);
	if (r == 0)
		r = buf_append(message, "", 1);
	if (r == 0)
		r = buf_append_view(message, password);
	return r < 0 ? r : sasl_parse_plain(credential);
}
