// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a request head: whole and byte by byte must agree, views must lie inside. */
#include "proto/http_head.h"

#include <stdlib.h>

static int parse_grown(struct http_head *head, const uint8_t *data, size_t size)
{
	static const struct http_limits limits = { 1024, 20, false };
	int r = HTTP_HEAD_MORE;

	for (size_t n = 1; n <= size && r == HTTP_HEAD_MORE; n++) {
		http_head_again(head);
		r = http_head_parse(head, view_make((const char *)data, n), &limits);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http_limits limits = { 1024, 20, false };
	static struct http_head whole, grown;
	int a, b;

	if (!size)
		return 0;
	memset(&whole, 0, sizeof(whole));
	memset(&grown, 0, sizeof(grown));
	a = http_head_parse(&whole, view_make((const char *)data, size), &limits);
	b = parse_grown(&grown, data, size);
	/* A head that is refused may be refused for its first or its last fault. */
	if ((a == HTTP_HEAD_DONE) != (b == HTTP_HEAD_DONE))
		abort();
	if (a != HTTP_HEAD_DONE)
		return 0;
	if (whole.length != grown.length || whole.length > size ||
		whole.field_count != grown.field_count || whole.framing != grown.framing)
		abort();
	for (size_t i = 0; i < whole.field_count; i++) {
		const char *end = whole.fields[i].value.data + whole.fields[i].value.len;

		if (whole.fields[i].name.data < (const char *)data ||
			end > (const char *)data + size)
			abort();
	}
	return 0;
}
