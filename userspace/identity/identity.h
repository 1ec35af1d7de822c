// SPDX-License-Identifier: Apache-2.0
/*
 * From a login name to an account identifier: one function for every protocol and caller
 * (mapping.md sections 2 and 3). Pure.
 */
#ifndef IDENTITY_IDENTITY_H
#define IDENTITY_IDENTITY_H

#include "base/view.h"

#define IDENTITY_ACCOUNT_BYTES 320
#define IDENTITY_LOGIN_BYTES 1024

enum identity_normalize {
	IDENTITY_NORMALIZE_NONE,
	IDENTITY_NORMALIZE_LOWERCASE,
	IDENTITY_NORMALIZES
};

struct identity_rules {
	enum identity_normalize normalize;
	const char *const *separators; /* master user separators, NULL-terminated; may be NULL */
};

struct identity {
	char account[IDENTITY_ACCOUNT_BYTES + 1]; /* normalised, NUL-terminated */
	size_t len;
};

/* Normalises and checks an account (MAP-10..12), no master split: admin parameters, file keys,
 * invalidation payloads. Returns 0 or -EINVAL (rejected). */
MUST_USE int identity_account(
	const struct identity_rules *rules, struct view account, struct identity *ret_identity);
/* A login name: MAP-13 on the whole, master split (MAP-20..22), then as identity_account(). */
MUST_USE int identity_login(
	const struct identity_rules *rules, struct view login, struct identity *ret_identity);
/* The account part of a login, unchecked (MAP-20). */
struct view identity_split(const struct identity_rules *rules, struct view login);
/* SES-33: the account of SASL PLAIN is the authzid's, or without one the authcid's, each as
 * identity_login(). An authcid that holds a separator names an account as well: both must be the
 * same. Returns 0 or -EINVAL (rejected). */
MUST_USE int identity_plain(const struct identity_rules *rules, struct view authzid,
	struct view authcid, struct identity *ret_identity);

#endif
