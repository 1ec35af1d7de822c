// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a ManageSieve node. Behind a prompt of LOGIN nothing may stand. */
#include <strings.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

static bool names_login(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 5 <= size; i++) {
		if (strncasecmp((const char *)data + i, "LOGIN", 5) == 0)
			return true;
	}
	return false;
}

#define SAME_IN_PIECES(flags) (!((flags) & (STARTTLS | FORWARD)) && !names_login(data, size))
#define OPS sieve_back_ops
#include "../back.h"
