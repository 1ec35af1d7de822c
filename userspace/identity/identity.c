// SPDX-License-Identifier: Apache-2.0
/* Accounts from logins: split at the master separator, normalise, check. */
#include "identity/identity.h"

#include <errno.h>

/* MAP-12. */
static bool characters_ok(struct view v)
{
	while (v.len) {
		uint32_t code;
		size_t n = view_utf8_first(v, &code);

		if (!n || code == ' ' || code == '"' || utf8_is_control(code))
			return false;
		v = view_skip(v, n);
	}
	return true;
}

int identity_account(
	const struct identity_rules *rules, struct view account, struct identity *ret_identity)
{
	if (!account.len || account.len > IDENTITY_ACCOUNT_BYTES || !characters_ok(account))
		return -EINVAL;
	for (size_t i = 0; i < account.len; i++)
		ret_identity->account[i] = rules->normalize == IDENTITY_NORMALIZE_LOWERCASE
			? ascii_lower(account.data[i])
			: account.data[i];
	ret_identity->account[account.len] = '\0';
	ret_identity->len = account.len;
	return 0;
}

/* The cut is at the earliest separator, so where one starts is all that matters. */
struct view identity_split(const struct identity_rules *rules, struct view login)
{
	for (size_t i = 0; i < login.len; i++) {
		for (const char *const *s = rules->separators; s && *s; s++) {
			if (**s && view_starts(view_skip(login, i), view_str(*s)))
				return view_make(login.data, i);
		}
	}
	return login;
}

/* MAP-13. */
static bool login_ok(struct view login)
{
	if (login.len > IDENTITY_LOGIN_BYTES)
		return false;
	for (size_t i = 0; i < login.len; i++) {
		if (login.data[i] == '\0' || login.data[i] == '\r' || login.data[i] == '\n')
			return false;
	}
	return true;
}

int identity_login(
	const struct identity_rules *rules, struct view login, struct identity *ret_identity)
{
	if (!login_ok(login))
		return -EINVAL;
	return identity_account(rules, identity_split(rules, login), ret_identity);
}

int identity_plain(const struct identity_rules *rules, struct view authzid, struct view authcid,
	struct identity *ret_identity)
{
	struct identity named, other;

	if (!authzid.len)
		return identity_login(rules, authcid, ret_identity);
	if (!login_ok(authcid) || identity_login(rules, authzid, &named) < 0)
		return -EINVAL;
	/* Nodes differ in which of two accounts they would open. */
	if (identity_split(rules, authcid).len < authcid.len &&
		(identity_login(rules, authcid, &other) < 0 || other.len != named.len ||
			memcmp(other.account, named.account, named.len) != 0))
		return -EINVAL;
	*ret_identity = named;
	return 0;
}
