// SPDX-License-Identifier: Apache-2.0
/* Lists of names of a drain, accounts and nodes: each an own copy, sorted before it is searched. */
#include "ctl/drain.h"

#include <errno.h>
#include <stdlib.h>

int drain_names_add(struct drain_names *names, const char *name)
{
	char *copy = strdup(name);

	if (names->count == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 64;
		char **longer = realloc(names->names, cap * sizeof(*longer));

		if (longer) {
			names->names = longer;
			names->cap = cap;
		}
	}
	if (!copy || names->count == names->cap) {
		free(copy);
		return -ENOMEM;
	}
	names->names[names->count++] = copy;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void drain_names_sort(struct drain_names *names)
{
	size_t kept = 0;

	if (names->count)
		qsort(names->names, names->count, sizeof(*names->names), compare);
	for (size_t i = 0; i < names->count; i++) {
		if (kept && strcmp(names->names[kept - 1], names->names[i]) == 0)
			free(names->names[i]);
		else
			names->names[kept++] = names->names[i];
	}
	names->count = kept;
}

bool drain_names_has(const struct drain_names *names, const char *name)
{
	return names->count &&
		bsearch(&name, names->names, names->count, sizeof(*names->names), compare);
}

void drain_names_free(struct drain_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct drain_names){ 0 };
}
