// SPDX-License-Identifier: Apache-2.0
/*
 * Globs of HTTP routes (http.md section 4): ? * ** [a-z] [!a] {a,b} \x, all of which match '/'
 * too. A pattern becomes a small automaton without back-tracking: the time of a match is bounded by
 * the text's length times the pattern's, whatever either holds. Immutable once made.
 */
#ifndef ROUTE_GLOB_H
#define ROUTE_GLOB_H

#include "base/view.h"

struct glob;
/* Returns 0, -ENOMEM, or -EINVAL with what is wrong in *ret_fault: "ends with a backslash". */
MUST_USE int glob_new(const char *pattern, struct glob **ret_glob, const char **ret_fault);
void glob_free(struct glob *glob); /* NULL is fine */
/* The whole text. */
bool glob_match(const struct glob *glob, struct view text);

#endif
