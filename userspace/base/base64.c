// SPDX-License-Identifier: Apache-2.0
/* Base64, strict on input and canonical on output. */
#include "base/base64.h"

#include <errno.h>

/* extra: the last two characters of the alphabet. */
static int value_of(char c, const char extra[2])
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == extra[0] ? 62 : c == extra[1] ? 63 : -1;
}

/* Drops the padding. Returns false if there is more of it than the length allows. */
static bool strip_padding(struct view *text)
{
	size_t padding = 0;

	while (text->len && text->data[text->len - 1] == '=') {
		text->len--;
		padding++;
	}
	if (text->len % 4 == 1)
		return false;
	return padding == 0 || padding == (4 - text->len % 4) % 4;
}

static int decode(struct view text, const char extra[2], struct buf *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	unsigned char *to;
	size_t n = 0;
	int r;

	r = buf_reserve(out, text.len / 4 * 3 + 3);
	if (r < 0)
		return r;
	to = (unsigned char *)buf_tail(out);
	for (size_t i = 0; i < text.len; i++) {
		int value = value_of(text.data[i], extra);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		count += 6;
		if (count >= 8) {
			count -= 8;
			to[n++] = (unsigned char)(bits >> count);
		}
	}
	if (bits & (BIT(count) - 1))
		return -EINVAL; /* unused bits must be zero */
	buf_commit(out, n);
	return 0;
}

int base64_decode(struct view text, struct buf *out)
{
	return strip_padding(&text) ? decode(text, "+/", out) : -EINVAL;
}

int base64url_decode(struct view text, struct buf *out)
{
	return text.len % 4 == 1 ? -EINVAL : decode(text, "-_", out);
}

int base64_encode(struct view bytes, struct buf *out)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = (const unsigned char *)bytes.data;
	int r = buf_reserve(out, (bytes.len + 2) / 3 * 4);
	char *to = buf_tail(out);

	if (r < 0)
		return r;
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t bits = (uint32_t)in[i] << 16 | (uint32_t)(left > 1 ? in[i + 1] : 0) << 8 |
			(left > 2 ? in[i + 2] : 0);

		*to++ = alphabet[bits >> 18];
		*to++ = alphabet[bits >> 12 & 63];
		*to++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*to++ = left > 2 ? alphabet[bits & 63] : '=';
	}
	buf_commit(out, (bytes.len + 2) / 3 * 4);
	return 0;
}
