// SPDX-License-Identifier: Apache-2.0
/* Views: comparisons and conversions over borrowed bytes. */
#include "base/view.h"

#include <errno.h>
#include <stdlib.h>

bool view_same_nocase(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (a[i] != b[i] && ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	}
	return true;
}

bool view_starts(struct view v, struct view prefix)
{
	return v.len >= prefix.len && view_eq(view_make(v.data, prefix.len), prefix);
}

bool view_starts_nocase(struct view v, struct view prefix)
{
	return v.len >= prefix.len && view_eq_nocase(view_make(v.data, prefix.len), prefix);
}

/* Length of the well-formed sequence at p, 0 when malformed (Unicode table 3-7). */
static size_t utf8_sequence(const unsigned char *p, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		n = 2;
	} else if (p[0] >= 0xe0 && p[0] <= 0xef) {
		n = 3;
		if (p[0] == 0xe0)
			low = 0xa0;
		if (p[0] == 0xed)
			high = 0x9f;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		n = 4;
		if (p[0] == 0xf0)
			low = 0x90;
		if (p[0] == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (len < n || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return n;
}

bool view_is_utf8(struct view v)
{
	const unsigned char *p = (const unsigned char *)v.data;
	size_t left = v.len;

	while (left) {
		size_t n = utf8_sequence(p, left);

		if (!n)
			return false;
		p += n;
		left -= n;
	}
	return true;
}

size_t view_utf8_first(struct view v, uint32_t *ret_code)
{
	const unsigned char *p = (const unsigned char *)v.data;
	size_t n = utf8_sequence(p, v.len);

	*ret_code = n > 1 ? p[0] & (0x7fu >> n) : p[0];
	for (size_t i = 1; i < n; i++)
		*ret_code = *ret_code << 6 | (p[i] & 0x3f);
	return n;
}

bool utf8_is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x061c || code == 0x200e ||
		code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
		(code >= 0x2066 && code <= 0x2069);
}

bool view_is_plain_text(struct view v)
{
	while (v.len) {
		uint32_t code;
		size_t n = view_utf8_first(v, &code);

		if (!n || utf8_is_control(code))
			return false;
		v = view_skip(v, n);
	}
	return true;
}

int view_to_u64(struct view v, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!v.len)
		return -EINVAL;
	for (size_t i = 0; i < v.len; i++) {
		if (v.data[i] < '0' || v.data[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10u, &value) ||
			__builtin_add_overflow(value, (uint64_t)(v.data[i] - '0'), &value))
			return -ERANGE;
	}
	*ret_value = value;
	return 0;
}

char *view_dup(struct view v)
{
	char *copy = malloc(v.len + 1);

	if (!copy)
		return NULL;
	if (v.len)
		memcpy(copy, v.data, v.len);
	copy[v.len] = '\0';
	return copy;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int view_take_percent(struct view *v)
{
	int high, low;

	if (v->data[0] != '%') {
		int c = (unsigned char)v->data[0];

		*v = view_skip(*v, 1);
		return c;
	}
	if (v->len < 3)
		return -EINVAL;
	high = hex_digit(v->data[1]);
	low = hex_digit(v->data[2]);
	if (high < 0 || low < 0)
		return -EINVAL;
	*v = view_skip(*v, 3);
	return high << 4 | low;
}
