// SPDX-License-Identifier: Apache-2.0
/* Opening: bytes as they come, which nothing opens; and, so that what is behind the tag is reached,
 * the same bytes sealed, with whatever they have at their end where the content type is looked for.
 * One byte for version and cipher goes before them. */
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

#define ROOM 64

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void open_raw(const struct record_keys *keys, const struct record_traffic_key *key,
	const unsigned char *data, size_t len)
{
	unsigned char *record = malloc(len + !len);
	struct record_text text;

	memcpy(record, data, len);
	if (record_open(keys, key, 0, record, len, &text) == 0)
		abort();
	free(record);
}

/* TLS 1.3 with type 0: the last byte of data that is not 0 is the type. */
static void open_sealed(const struct record_keys *keys, const struct record_traffic_key *key,
	const unsigned char *data, size_t len)
{
	unsigned char *room = malloc(len + ROOM), *record;
	struct record_text text;
	int n = record_seal(keys, key, 0, 0, data, len, 0, room), r;

	if (n < 0)
		abort();
	record = malloc((size_t)n);
	memcpy(record, room, (size_t)n);
	free(room);
	r = record_open(keys, key, 0, record, (size_t)n, &text);
	for (; keys->version == RECORD_TLS_1_3 && len && !data[len - 1]; len--)
		;
	if (keys->version == RECORD_TLS_1_3 && !len) {
		if (r == 0)
			abort();
	} else if (keys->version == RECORD_TLS_1_3) {
		if (r < 0 || text.type != data[len - 1] || text.len != len - 1 ||
			memcmp(text.data, data, text.len) != 0)
			abort();
	} else if (r < 0 || text.type || text.len != len || memcmp(text.data, data, len) != 0) {
		abort();
	}
	free(record);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct record_keys keys = { .secret_len = 32 };
	struct record_traffic_key key;

	if (!size || size > 4096)
		return 0;
	keys.version = (enum record_version)(data[0] & 1);
	keys.cipher = (enum record_cipher)((data[0] >> 1) % RECORD_CIPHERS);
	if (record_keys_derive(&keys, RECORD_READ, &key) < 0)
		abort();
	open_raw(&keys, &key, data + 1, size - 1);
	open_sealed(&keys, &key, data + 1, size - 1);
	return 0;
}
