// SPDX-License-Identifier: Apache-2.0
/* A line as a glob, the rest as a path or a body: globs end in time and agree with a plain reading
 * of their simplest form; identifiers come out whole or not at all. */
#include "route/glob.h"
#include "route/route.h"

#include <stdlib.h>

static const struct identity_rules lower = { IDENTITY_NORMALIZE_LOWERCASE, NULL };
static const struct route_rules rules = { &lower, "email" };

static void try_glob(const char *pattern, struct view text)
{
	struct glob *glob = NULL;
	const char *fault;

	if (glob_new(pattern, &glob, &fault) < 0)
		return;
	if (glob_match(glob, text) != view_eq(text, view_str(pattern)) &&
		!pattern[strcspn(pattern, "?*[{\\")])
		abort();
	glob_free(glob);
}

static void check(int result, const struct identity *identity)
{
	if (result == ROUTE_FOUND && (!identity->len || identity->len != strlen(identity->account)))
		abort();
}

static void try_requests(struct view bytes)
{
	static const struct route_spec specs[] = {
		{ "/a*", ROUTE_AUTHORIZATION, NULL, NULL, NULL },
		{ "/q*", ROUTE_QUERY, "u", NULL, NULL },
		{ "/h*", ROUTE_HEADER, NULL, NULL, "X-User" },
		{ "/**", ROUTE_BODY, NULL, "u=([^&]*)", NULL },
	};
	static const struct http_limits limits = { 4096, HTTP_MAX_FIELDS, false };
	static struct route_table *table;
	static struct http_head head;
	char error[ROUTE_ERROR_SIZE];
	struct identity identity;
	int route;

	if (!table && route_table_new(specs, 4, &table, error) < 0)
		abort();
	memset(&head, 0, sizeof(head));
	if (http_head_parse(&head, bytes, &limits) != HTTP_HEAD_DONE)
		return;
	route = route_find(table, head.target);
	if (route < 0)
		abort(); /* the last takes all */
	check(route_extract(table, route, &rules, &head, view_skip(bytes, head.length), &identity),
		&identity);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct view bytes = view_make((const char *)data, size);
	const char *end = size ? memchr(data, '\n', size) : NULL;
	char *pattern;

	if (end && !memchr(data, '\0', (size_t)(end - bytes.data))) {
		pattern = view_dup(view_make(bytes.data, (size_t)(end - bytes.data)));
		if (pattern)
			try_glob(pattern, view_skip(bytes, (size_t)(end - bytes.data) + 1));
		free(pattern);
	}
	try_requests(bytes);
	return 0;
}
