// SPDX-License-Identifier: Apache-2.0
/*
 * Which route a request takes and whose it is (http.md sections 4 and 5). Pure: heads and bytes in,
 * an index or an account out. Immutable once made; any thread. What it decodes on the way may hold
 * a password and is wiped.
 */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include "base/view.h"
#include "identity/identity.h"
#include "proto/http_head.h"

enum route_from { ROUTE_NONE, ROUTE_AUTHORIZATION, ROUTE_QUERY, ROUTE_BODY, ROUTE_HEADER };

/* As configured; the strings outlive the table. */
struct route_spec {
	const char *match;
	enum route_from from;
	const char *param, *regex, *header;
};

#define ROUTE_ERROR_SIZE 256

struct route_table;
/* Returns 0, or -errno with a text in error. */
MUST_USE int route_table_new(const struct route_spec *specs, size_t count,
	struct route_table **ret_table, char error[ROUTE_ERROR_SIZE]);
void route_table_free(struct route_table *table); /* NULL is fine */

/* The first route, by index, that takes the target's path; -1: none (HTTP-40). */
int route_find(const struct route_table *table, struct view target);

/* Whose names are accounts. */
struct route_rules {
	const struct identity_rules *identity;
	const char *jwt_claim; /* first claim tried in a JWT */
};

enum {
	ROUTE_FOUND = 0,
	ROUTE_NOTHING,   /* no identifier: the route's fallback */
	ROUTE_REJECTED,  /* one that no account may have (MAP-14) */
	ROUTE_AMBIGUOUS, /* the field is there twice: 400 */
	ROUTE_LIMITED,   /* nothing, because the regex went over a limit (HTTP-51) */
};

/* body: the first bytes of the decoded body, for ROUTE_BODY. Returns ROUTE_* or -ENOMEM. */
MUST_USE int route_extract(const struct route_table *table, int route,
	const struct route_rules *rules, const struct http_head *head, struct view body,
	struct identity *ret_identity);

#endif
