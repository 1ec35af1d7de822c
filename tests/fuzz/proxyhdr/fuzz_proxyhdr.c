// SPDX-License-Identifier: Apache-2.0
/* Any bytes of a trusted peer: decided once, decided for good; a header keeps its promises. */
#include "net/proxyhdr.h"

#include <stdlib.h>

/* In memory of exactly its size. */
static enum proxyhdr_result parse(const uint8_t *data, size_t size, struct proxyhdr *header)
{
	char *copy = malloc(size ? size : 1);
	enum proxyhdr_result result;

	memcpy(copy, data, size);
	result = proxyhdr_parse(view_make(copy, size), header);
	if (result == PROXYHDR_DONE && header->unique_id.len) {
		size_t at = (size_t)(header->unique_id.data - copy);

		if (at < 16 || at + header->unique_id.len > header->length)
			abort();
	}
	free(copy);
	return result;
}

static bool acceptable(const struct addr *addr)
{
	struct addr plain = *addr;

	addr_unmap(&plain);
	return addr_is_set(addr) && plain.sa.sa_family == addr->sa.sa_family;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum proxyhdr_result result = PROXYHDR_MORE;
	struct proxyhdr header = { 0 }, again = { 0 };
	size_t n = 0;

	for (; n <= size && result == PROXYHDR_MORE; n++)
		result = parse(data, n, &header);
	n--;
	if (parse(data, size, &again) != result || (size >= PROXYHDR_V2_BYTES && !result))
		abort();
	if (result != PROXYHDR_DONE)
		return 0;
	if (header.length != n || again.length != n || again.unique_id.len != header.unique_id.len)
		abort();
	if (!addr_is_set(&header.source) && !addr_is_set(&header.destination))
		return header.unique_id.len ? abort(), 0 : 0;
	if (!acceptable(&header.source) || !acceptable(&header.destination))
		abort();
	return 0;
}
