// SPDX-License-Identifier: Apache-2.0
/* A mapping over a file of accounts that takes them as they are. */
#ifndef TESTS_FILE_MAPPING_H
#define TESTS_FILE_MAPPING_H

#include "mapping/mapping.h"
#include "store/store.h"

static int file_account(void *arg, struct view account, char ret[321])
{
	(void)arg;
	memcpy(ret, account.data, account.len);
	return (int)account.len;
}

static bool file_declared(void *arg, struct view destination)
{
	(void)arg;
	return destination.len > 0;
}

/* names: the destinations, the default one first. ttl_ms: of entries, found or not. */
static struct mapping *file_mapping(struct loop *control, const char *path,
	const char *const *names, uint64_t ttl_ms, uint64_t lookup_timeout_ms)
{
	struct store_file_params file = {
		.path = path, .account = file_account, .declared = file_declared
	};
	struct mapping_params params = { .control = control,
		.positive_ttl_ms = ttl_ms,
		.negative_ttl_ms = ttl_ms,
		.lookup_timeout_ms = lookup_timeout_ms,
		.max_entries = 10,
		.default_destination = names[0],
		.destinations = names };
	char error[STORE_ERROR_BYTES];
	struct mapping *mapping;

	assert_int_equal(store_file_new(&file, &params.store, error), 0);
	assert_int_equal(mapping_new(&params, &mapping), 0);
	return mapping;
}

#endif
