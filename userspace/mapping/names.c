// SPDX-License-Identifier: Apache-2.0
/*
 * The names of destinations, in a table that only grows: the cache holds places in it. New names
 * make a longer table, and the old one stays for who looks at it just now. Which of them are in the
 * configuration is known to the control thread alone.
 */
#include "mapping/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int find(const struct mapping_names *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strncmp(names->names[i], name, MAPPING_NAME_BYTES) == 0)
			return (int)i;
	}
	return -1;
}

size_t mapping_names_missing(const struct mapping_names *names, const char *const *destinations)
{
	size_t count = 0;

	for (; *destinations; destinations++)
		count += !names || find(names, names->count, *destinations) < 0;
	return count;
}

/* NULL without memory. */
static struct mapping_names *longer(
	struct mapping_names *names, const char *const *destinations, size_t more)
{
	size_t count = names ? names->count : 0;
	struct mapping_names *grown =
		calloc(1, sizeof(*grown) + (count + more) * sizeof(grown->names[0]));

	if (!grown)
		return NULL;
	grown->older = names;
	if (count)
		memcpy(grown->names, names->names, count * sizeof(grown->names[0]));
	for (; *destinations; destinations++) {
		if (find(grown, count, *destinations) < 0)
			snprintf(grown->names[count++], sizeof(grown->names[0]), "%.64s",
				*destinations);
	}
	grown->count = count;
	return grown;
}

int mapping_set_names(struct mapping *mapping, const struct mapping_params *params)
{
	struct mapping_names *names = atomic_load(&mapping->names);
	size_t more = mapping_names_missing(names, params->destinations);
	struct mapping_names *next = more ? longer(names, params->destinations, more) : names;
	bool *declared = next ? calloc(next->count + 1, sizeof(*declared)) : NULL;
	int index = declared ? find(next, next->count, params->default_destination) : -1;

	if (index < 0 || next->count > UINT16_MAX) {
		free(declared);
		if (next != names)
			free(next);
		return index < 0 && declared ? -EINVAL : -ENOMEM;
	}
	for (const char *const *name = params->destinations; *name; name++)
		declared[find(next, next->count, *name)] = true;
	free(mapping->declared);
	mapping->declared = declared;
	atomic_store(&mapping->names, next);
	atomic_store(&mapping->default_index, (unsigned)index);
	return 0;
}

void mapping_names_free(struct mapping *mapping)
{
	struct mapping_names *names = atomic_load(&mapping->names), *older;

	for (; names; names = older) {
		older = names->older;
		free(names);
	}
	free(mapping->declared);
}

/* ---- looking ---- */

int mapping_find_name(const struct mapping *mapping, struct view name)
{
	const struct mapping_names *names = atomic_load(&mapping->names);

	for (size_t i = 0; i < names->count; i++) {
		if (mapping->declared[i] && view_eq(name, view_str(names->names[i])))
			return (int)i;
	}
	return -1;
}

const char *mapping_name(const struct mapping *mapping, unsigned index)
{
	return atomic_load(&mapping->names)->names[index];
}

bool mapping_declared(const struct mapping *mapping, struct view destination)
{
	return mapping_find_name(mapping, destination) >= 0;
}
