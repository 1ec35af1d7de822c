// SPDX-License-Identifier: Apache-2.0
/* What the process may still ask of the kernel once it serves (a seccomp filter). */
#ifndef DAEMON_SYSCALLS_H
#define DAEMON_SYSCALLS_H

#include "base/compiler.h"

/*
 * For all threads and for good: only the system calls of the table in syscalls.c; others fail with
 * EPERM. Call it when no_new_privs is set and no program has to be started any more. Returns 0,
 * 1 in a build with sanitizers (nothing done), or -errno when this kernel has no such filters.
 */
MUST_USE int syscalls_restrict(void);

#endif
