// SPDX-License-Identifier: Apache-2.0
/* Sessions as an operator sees them: copies, so that they may cross threads and outlive what they
 * describe (admin.md section 5.3). */
#ifndef SESSION_LIST_H
#define SESSION_LIST_H

#include "identity/identity.h"
#include "mapping/mapping.h"
#include "net/tcpinfo.h"
#include "session/session.h"

struct session_filter {
	const char *account, *node; /* NULL: any */
	uint32_t limit;             /* most rows; the oldest are kept */
	bool net;                   /* with what TCP says of both legs: two calls for each */
};

struct session_row {
	uint64_t number, accepted_ms; /* of the monotonic clock */
	char id[SESSION_ID_SIZE];
	char account[IDENTITY_ACCOUNT_BYTES + 1]; /* "" when not known yet */
	char node[MAPPING_NAME_BYTES + 1];
	char listener[MAPPING_NAME_BYTES + 1];
	char client[ADDR_TEXT_SIZE];
	const char *protocol, *stage; /* static */
	enum relay_path path[2];
	bool tls_at_agent; /* the client's TLS has been handed over */
	uint64_t bytes[2], age_ms, idle_ms;
	bool has_net[2]; /* by enum relay_leg */
	struct tcpinfo_figures net[2];
};

struct session_list {
	uint64_t total; /* sessions that matched */
	uint32_t count;
	struct session_row *rows; /* owned, oldest first */
};

/* Adds the sessions of a pool; on its worker's thread. Returns 0 or -ENOMEM. */
MUST_USE int session_list_collect(
	struct session_pool *pool, const struct session_filter *filter, struct session_list *list);
void session_list_free(struct session_list *list);
/* Moves the rows of from into to, oldest first, at most limit. Returns 0 or -ENOMEM. */
MUST_USE int session_list_merge(struct session_list *to, struct session_list *from, uint32_t limit);

#endif
