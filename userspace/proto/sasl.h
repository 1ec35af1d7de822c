// SPDX-License-Identifier: Apache-2.0
/* SASL messages: checking them and finding the login name (RFC 4616; SES-33, SES-34). */
#ifndef PROTO_SASL_H
#define PROTO_SASL_H

#include "proto/proto.h"

/* -1 if there is no such mechanism; names match in any case. */
int sasl_mech_find(struct view name);

/* Takes the decoded PLAIN message in credential->message apart. Returns 0 or -EINVAL: not exactly
 * two NULs, empty authcid or password, or a field that is not UTF-8. */
MUST_USE int sasl_parse_plain(struct proto_credential *credential);
/* Makes a PLAIN message of a name and a password (mechanism LOGIN, command LOGIN) and parses it.
 * Returns 0, -EINVAL (empty, NUL, not UTF-8), or -ENOMEM/-ENOBUFS. */
MUST_USE int sasl_make_plain(
	struct proto_credential *credential, struct view user, struct view password);

#endif
