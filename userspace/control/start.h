// SPDX-License-Identifier: Apache-2.0
/*
 * The control thread (the process's first one): signals, the mapping's flights, the admin API,
 * start and stop of the workers, the statistics line. Nothing on it blocks.
 */
#ifndef CONTROL_START_H
#define CONTROL_START_H

#include "worker/listen.h"
#include "worker/worker.h"

struct control;
struct guard_kernel;

struct control_params {
	struct router *router;   /* snapshot in place; control adds the rest */
	struct listen_plan plan; /* what is bound, taken over */
	int admin_fd;            /* listening socket, taken over; -1 = no admin listener */
	int admin_local_fd;      /* the same for the unix socket */
	struct guard_kernel *guard_kernel; /* borrowed; NULL: nothing in the kernel */
};

/* Builds mapping, admin server and workers, and serves until a stop signal has been carried out.
 * SIGTERM, SIGINT and SIGHUP must be blocked in every thread before. error: text for the operator
 * when the start fails. Returns 0 after a clean stop, or -errno. */
MUST_USE int control_run(struct control_params *params, char *error, size_t error_size);

#endif
