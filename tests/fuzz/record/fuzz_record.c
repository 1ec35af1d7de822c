// SPDX-License-Identifier: Apache-2.0
/* Opening: bytes as they come, which nothing opens; and, so that what is behind the tag is reached,
 * the same bytes sealed, with whatever they have at their end where the content type is looked for.
 * One byte for version and cipher goes before them. */
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void open_raw(struct record_state *state, const unsigned char *data, size_t len)
{
	unsigned char *record = malloc(len + !len), *text = malloc(len + !len);
	struct record_text got;

	memcpy(record, data, len);
	if (record_open(state, record, len, text, &got) == 0)
		abort();
	free(record);
	free(text);
}

static void check_13(int r, const struct record_text *got, const unsigned char *text,
	const unsigned char *data, size_t len)
{
	for (; len && !data[len - 1]; len--)
		;
	if (!len) {
		if (r == 0)
			abort();
	} else if (r < 0 || got->type != data[len - 1] || got->len != len - 1 ||
		memcmp(text, data, got->len) != 0) {
		abort();
	}
}

/* TLS 1.3 with type 0: the last byte of data that is not 0 is the type. TLS 1.2 has it outside, and
 * 0 is none. */
static void open_sealed(struct record_state states[2], const unsigned char *data, size_t len)
{
	bool is_13 = states[0].version == RECORD_TLS_1_3;
	unsigned char *room = malloc(len + RECORD_OVERHEAD_MAX), *record, *text;
	struct record_text got = { 0 };
	int n = record_seal(&states[RECORD_WRITE], is_13 ? 0 : RECORD_DATA, data, len, 0, room), r;

	if (n < 0)
		abort();
	record = malloc((size_t)n);
	memcpy(record, room, (size_t)n);
	free(room);
	text = malloc((size_t)n - RECORD_HEADER_BYTES);
	r = record_open(&states[RECORD_READ], record, (size_t)n, text, &got);
	if (is_13)
		check_13(r, &got, text, data, len);
	else if (r < 0 || got.type != RECORD_DATA || got.len != len || memcmp(text, data, len) != 0)
		abort();
	free(record);
	free(text);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct record_keys keys = { .secret_len = 32 };
	struct record_state states[2], ends[2];

	if (!size || size > 4096)
		return 0;
	keys.version = (enum record_version)(data[0] & 1);
	keys.cipher = (enum record_cipher)((data[0] >> 1) % RECORD_CIPHERS);
	if (record_states_init(states, &keys) < 0)
		abort();
	keys.is_server = true;
	if (record_states_init(ends, &keys) < 0)
		abort();
	ends[RECORD_WRITE] = states[RECORD_WRITE];
	open_raw(&ends[RECORD_READ], data + 1, size - 1);
	open_sealed(ends, data + 1, size - 1);
	for (int d = 0; d < 2; d++)
		record_state_wipe(&ends[d]);
	return 0;
}
