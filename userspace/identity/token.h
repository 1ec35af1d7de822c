// SPDX-License-Identifier: Apache-2.0
/*
 * The login name inside a bearer token (sessions.md section 6): the footer of "sw1.BODY.FOOTER", or
 * a claim of a JSON Web Token (RFC 7519). Signatures are not looked at: the name only chooses a
 * node, and the node judges the token. Pure.
 */
#ifndef IDENTITY_TOKEN_H
#define IDENTITY_TOKEN_H

#include "base/buf.h"

#define IDENTITY_TOKEN_JSON_BYTES 65536
#define IDENTITY_TOKEN_DEPTH 16

enum { IDENTITY_NO_LOGIN = 1 };

/* claim: the first one tried (NULL or "": none); then email, preferred_username, upn, unique_name,
 * sub; one that is no string with an "@", or holds a NUL, is passed over. Appends the name
 * to ret_login. Returns 0, IDENTITY_NO_LOGIN (the token tells none), -ENOBUFS (longer than
 * ret_login takes) or -ENOMEM. */
MUST_USE int identity_token(const char *claim, struct view token, struct buf *ret_login);

#endif
