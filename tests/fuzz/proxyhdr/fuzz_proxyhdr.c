// SPDX-License-Identifier: Apache-2.0
/* Any bytes as the start of a connection: a verdict stays when more bytes come, and what is taken
 * lies within what was given. */
#include "net/proxyhdr.h"

#include <stdlib.h>

static int parse(const uint8_t *data, size_t size, struct proxyhdr *ret_header)
{
	char *copy = malloc(size);
	int r;

	memcpy(copy, data, size);
	r = proxyhdr_parse(view_make(copy, size), ret_header);
	if (r == PROXYHDR_DONE &&
		(ret_header->len > size || ret_header->len > PROXYHDR_LONGEST_BYTES ||
			ret_header->id.len > ret_header->len))
		abort();
	free(copy);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxyhdr whole, part;
	int r;

	if (!size)
		return 0;
	r = parse(data, size, &whole);
	for (size_t n = 1; n < size; n++) {
		int before = parse(data, n, &part);

		if (before == PROXYHDR_MORE)
			continue;
		if (before != r || (r == PROXYHDR_DONE && part.len != whole.len))
			abort();
	}
	return 0;
}
