// SPDX-License-Identifier: Apache-2.0
/* A test program in a network namespace of its own, and ip(8) for what it changes there. */
#ifndef TESTS_UNIT_OWN_NETWORK_H
#define TESTS_UNIT_OWN_NETWORK_H

#include "unit.h"

#include "loop/loop.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#define TURNS 16
#define LATE_MS 50

/* As root without more; else with a user namespace, in which we are. */
static inline int enter_own_network(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) == 0)
		return 0;
	fprintf(stderr, "no network namespace: %s\n", strerror(errno));
	return -1;
}

static inline void ip(const char *arguments)
{
	char command[512];

	snprintf(command, sizeof(command), "ip %s", arguments);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* Runs the loop over what has happened. The kernel has told of most of it when ip(8) ends; of an
 * IPv6 address after some work of its own. */
static inline void settle(struct loop *loop)
{
	for (int i = 0; i < TURNS; i++)
		assert_int_equal(loop_run_once(loop, 0), 0);
	for (int i = 0; i < TURNS; i++)
		assert_int_equal(loop_run_once(loop, i ? 0 : LATE_MS), 0);
}

#endif
