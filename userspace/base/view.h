// SPDX-License-Identifier: Apache-2.0
/*
 * A view is a borrowed run of bytes: it owns nothing and is not NUL-terminated.
 * Functions here never read outside [data, data + len).
 */
#ifndef BASE_VIEW_H
#define BASE_VIEW_H

#include "base/compiler.h"

#include <stdbool.h>
#include <string.h>

struct view {
	const char *data;
	size_t len;
};

#define VIEW_LIT(s) ((struct view){ "" s, sizeof(s) - 1 })

static inline struct view view_make(const char *data, size_t len)
{
	return (struct view){ data, len };
}

static inline struct view view_str(const char *s)
{
	return (struct view){ s, s ? strlen(s) : 0 };
}

static inline bool view_eq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The part from offset on; empty when the offset is past the end. */
static inline struct view view_skip(struct view v, size_t n)
{
	if (n > v.len)
		n = v.len;
	return view_make(v.len ? v.data + n : v.data, v.len - n);
}

/* ASCII only: no locale. */
static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

bool view_same_nocase(const char *a, const char *b, size_t len);
static inline bool view_eq_nocase(struct view a, struct view b)
{
	return a.len == b.len && view_same_nocase(a.data, b.data, a.len);
}
bool view_starts(struct view v, struct view prefix);
bool view_starts_nocase(struct view v, struct view prefix);

/* Strictly valid UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool view_is_utf8(struct view v);

/*
 * The character at the start of v, which is not empty. Returns its length in bytes, or 0 if the
 * bytes are not UTF-8; *ret_code is then the first of them.
 */
size_t view_utf8_first(struct view v, uint32_t *ret_code);
/* Characters that a terminal or a reader's eye obeys instead of showing them: C0, DEL, C1 (ECMA-48)
 * and those that turn the direction of text (Unicode's bidirectional controls). */
bool utf8_is_control(uint32_t code);
/* Whether it is UTF-8 without such characters. */
bool view_is_plain_text(struct view v);

/* Decimal digits only, no sign, no blanks. Returns 0, -EINVAL or -ERANGE. */
MUST_USE int view_to_u64(struct view v, uint64_t *ret_value);

/* A NUL-terminated heap copy, to be freed with free(); NULL when out of memory. */
char *view_dup(struct view v);

/* 0 to 15, or -1. */
int hex_digit(char c);
/*
 * Takes a byte from the front of v, which is not empty: what "%xx" stands for (RFC 3986 section
 * 2.1, digits of any case), else the first as it is. Returns 0 to 255, or -EINVAL: a "%" without
 * its two digits, which is not taken.
 */
MUST_USE int view_take_percent(struct view *v);

#endif
