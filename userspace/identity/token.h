// SPDX-License-Identifier: Apache-2.0
/*
 * The login name inside a bearer token (sessions.md section 6, last table). Signatures are not
 * checked: the name only chooses a node, and the node judges the credential (security.md #29). Pure;
 * memory and time are bounded by the limits below, whatever the token holds.
 */
#ifndef IDENTITY_TOKEN_H
#define IDENTITY_TOKEN_H

#include "base/buf.h"

#define IDENTITY_JSON_BYTES 65536 /* the claims of a JWT, decoded */
#define IDENTITY_JSON_DEPTH 16    /* objects and arrays inside each other, the outermost counted */

enum { IDENTITY_NO_LOGIN = 1 };

/*
 * "sw1.BODY.FOOTER": the footer. A JWT (two or three parts): the first usable of claim (the
 * configured one; NULL or "" = none), email, preferred_username, upn, unique_name, sub; usable is a
 * string that holds an '@' and no NUL.
 *
 * Returns 0 and appends the login name, not yet checked by the rules of identity.h, to ret_login;
 * IDENTITY_NO_LOGIN, ret_login unchanged, for anything else; -ENOMEM, or -ENOBUFS over the limit of
 * ret_login.
 */
MUST_USE int identity_token(const char *claim, struct view token, struct buf *ret_login);

#endif
