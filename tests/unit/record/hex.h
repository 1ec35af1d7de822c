// SPDX-License-Identifier: Apache-2.0
/* Bytes of test vectors as they are printed. */
#ifndef TESTS_UNIT_RECORD_HEX_H
#define TESTS_UNIT_RECORD_HEX_H

#include "base/view.h"

/* ret has room for them; returns how many there are. */
static inline size_t unhex(const char *text, unsigned char *ret)
{
	size_t n = 0;

	for (; *text; text += 2)
		ret[n++] = (unsigned char)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
	return n;
}

#endif
