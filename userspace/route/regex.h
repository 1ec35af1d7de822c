// SPDX-License-Identifier: Apache-2.0
/*
 * Regular expressions of body routes (HTTP-51): PCRE2 on bytes, compiled once, with JIT where there
 * is one. A match has limits: what exceeds them ends there. Immutable once made; any thread.
 */
#ifndef ROUTE_REGEX_H
#define ROUTE_REGEX_H

#include "base/view.h"

#define REGEX_ERROR_SIZE 192

struct regex;
/* Returns 0, -ENOMEM, or -EINVAL with a text: "does not compile at offset 1: ...", "has no capture
 * group". */
MUST_USE int regex_new(const char *pattern, struct regex **ret_regex, char error[REGEX_ERROR_SIZE]);
void regex_free(struct regex *regex); /* NULL is fine */

enum { REGEX_MATCH = 0, REGEX_NO_MATCH, REGEX_LIMITED };
/* The first group of the leftmost match; a view into text, empty if the group took no part. */
MUST_USE int regex_match(const struct regex *regex, struct view text, struct view *ret_group);

#endif
