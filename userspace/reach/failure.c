// SPDX-License-Identifier: Apache-2.0
#include "reach/failure.h"
#include "net/stream.h"

#include <assert.h>
#include <errno.h>

const struct reach_failure_row reach_failures[] = {
#define X(name, reason, event, again, blame) \
	[UNREACHED_##name] = { #name, REASON_##reason, HEALTH_##event, again, BLAME_##blame },
	REACH_FAILURES(X)
#undef X
};

static_assert(ARRAY_SIZE(reach_failures) == REACH_FAILURE_COUNT, "a row for each");

enum reach_failure reach_lost(ssize_t error)
{
	if (error == STREAM_EOF || error == -ECONNABORTED)
		return UNREACHED_CLOSED;
	return error == -EPROTO ? UNREACHED_TLS_BROKEN : UNREACHED_BROKEN;
}
