// SPDX-License-Identifier: Apache-2.0
/* What the admin API asks of the router (admin/backend.h), answered from the shared counters. */
#ifndef CONTROL_BACKEND_H
#define CONTROL_BACKEND_H

#include "admin/backend.h"
#include "session/server.h"

struct control_backend {
	struct server *server;
	struct store *store;
	uint64_t started_ms, loaded_real_ms; /* monotonic; wall clock */
	bool starting;
};

void control_backend_fill(struct admin_backend *backend, struct control_backend *control);

#endif
