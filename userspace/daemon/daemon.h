// SPDX-License-Identifier: Apache-2.0
/* From a checked configuration to a serving process and back. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "router/router.h"

/* Runs until a stop signal. Returns the exit code (CFG-7): 0 clean stop, 1 start-up failure;
 * messages go to stderr. */
int daemon_run(const char *config_path);

/* Tries the data paths and prints what works, one line for each thing. Returns 0. */
int daemon_probe(void);

/* Removes what guards have left on network devices, of whatever process (GRD-6). Returns the exit
 * code: 0, or 1 with the reason on stderr. */
int daemon_guard_detach(void);

#endif
