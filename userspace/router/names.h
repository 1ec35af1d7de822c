// SPDX-License-Identifier: Apache-2.0
/* What reasons and sessions are called in logs, answers and metrics (names.c). */
#ifndef ROUTER_NAMES_H
#define ROUTER_NAMES_H

#include "router/metrics.h"

#include <stdint.h>

#define SESSION_ID_SIZE 24

const char *session_reason_name(enum session_reason reason);
/* The id of a session of which only the number is known; instance: the server's. */
void session_format_number(
	const unsigned char *instance, uint64_t number, char ret_id[SESSION_ID_SIZE]);

#endif
