// SPDX-License-Identifier: Apache-2.0
/* The line about a refused login (OPS-22). */
#ifndef SESSION_LOGIN_FAILED_H
#define SESSION_LOGIN_FAILED_H

#include "config/config.h"
#include "net/addr.h"

struct login_failed {
	const struct addr *client;
	enum protocol protocol;
	const char *account; /* as the log may show it; NULL: none is known */
	/* "refused" or "temporary" (what the node said), "malformed" (the router could not read
	 * it) */
	const char *reason;
	unsigned attempts; /* of its connection, this one included */
};

/* Any thread. Writes the line, unless the address had too many. */
void login_failed_log(const struct login_failed *failed);

#endif
