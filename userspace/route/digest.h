// SPDX-License-Identifier: Apache-2.0
/* The user name in the credentials of HTTP Digest access authentication (RFC 7616 section 3.4). */
#ifndef ROUTE_DIGEST_H
#define ROUTE_DIGEST_H

#include "base/buf.h"

enum {
	DIGEST_FOUND = 0,
	DIGEST_NOTHING,   /* none, a hash of one (userhash), or not well-formed */
	DIGEST_AMBIGUOUS, /* named more than once */
};

/* params: what follows the scheme. Appends the name, decoded but not checked, to name; that may
 * hold part of one on any other return. Returns DIGEST_*, -ENOBUFS or -ENOMEM. */
MUST_USE int digest_username(struct view params, struct buf *name);

#endif
