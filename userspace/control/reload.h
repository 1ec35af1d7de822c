// SPDX-License-Identifier: Apache-2.0
/*
 * Reload (config.md section 14): everything new is built beside what serves, then the control
 * thread and all workers switch; whatever fails before that leaves things as they were. One at a
 * time, the others wait (CFG-57). Control thread only.
 */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "control/status.h"

struct control_reload;

/* The configuration that serves now is the one whose restart settings are in force. */
MUST_USE int control_reload_new(struct control_state *state, struct control_reload **ret_reload);
/* After the workers have stopped: those who still wait are told that the router stops. NULL is
 * fine. */
void control_reload_free(struct control_reload *reload);

/* Reads the file again and switches to it, or says what would change (dry_run). Another store
 * has to answer one query first, unless it is taken by force; without its answer nothing
 * changes. done (may be NULL) is called once, maybe before this returns, with an HTTP status and
 * an object to drop (NULL without memory); the result is logged either way (CFG-58). */
void control_reload_start(struct control_reload *reload, bool dry_run, bool force,
	void (*done)(void *arg, int status, json_t *answer), void *arg);

#endif
