// SPDX-License-Identifier: Apache-2.0
/* Dropping what the process does not need (security.md sections 2 and 4). */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include "base/compiler.h"

#include <stddef.h>
#include <sys/types.h>

/* Whom privileges_drop() will become. Returns 0, or -ENOENT with error = text for the operator. */
MUST_USE int privileges_find(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid,
	char *error, size_t error_size);

/*
 * Started as uid 0: becomes user (group: its primary one unless given), keeping only
 * CAP_NET_BIND_SERVICE, bounding set included. Otherwise keeps the identity and of the
 * capabilities it was given that one. In both cases
 * sets no_new_privs, umask 0077, and, unless HOMING_COREDUMP=1, no core dumps and not dumpable.
 * Call before any thread exists. Returns 0 or -errno with error = text for the operator.
 */
MUST_USE int privileges_drop(const char *user, const char *group, char *error, size_t error_size);

/* Raises RLIMIT_NOFILE to the hard limit; returns the limit in force. */
size_t privileges_raise_nofile(void);

#endif
