// SPDX-License-Identifier: Apache-2.0
/* What reasons, shortages and sessions are called in logs, answers and metrics. */
#include "router/names.h"

#include <assert.h>
#include <stdio.h>

static const char *const reasons[] = {
#define X(name, text) [REASON_##name] = text,
	SESSION_REASONS(X)
#undef X
};

const char *session_reason_name(enum session_reason reason)
{
	return reasons[reason];
}

void session_format_number(
	const unsigned char *instance, uint64_t number, char ret_id[SESSION_ID_SIZE])
{
	snprintf(ret_id, SESSION_ID_SIZE, "H%02x%02x-%llx", instance[0], instance[1],
		(unsigned long long)number);
}

const char *session_shortage_name(enum session_shortage shortage)
{
	static const char *const names[] = { "ports", "addresses", "descriptors", "memory" };

	static_assert(ARRAY_SIZE(names) == SHORTAGES, "a name for each");
	return names[shortage];
}
