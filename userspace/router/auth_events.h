// SPDX-License-Identifier: Apache-2.0
/*
 * Failed logins, announced inside the program: one event for each that is counted as refused or
 * malformed, with the client it came from. Whoever wants them subscribes; nothing is kept.
 */
#ifndef ROUTER_AUTH_EVENTS_H
#define ROUTER_AUTH_EVENTS_H

#include "base/list.h"
#include "net/addr.h"
#include "router/metrics.h"

#include <pthread.h>

struct auth_failure {
	const struct addr *client; /* valid during the call */
	enum protocol protocol;
	enum session_auth result; /* AUTH_REFUSED (by a node) or AUTH_MALFORMED (by the router) */
};

/* Called on the worker's thread that saw it, maybe on several at once: must not block, and must
 * neither subscribe nor unsubscribe. */
typedef void auth_failed_fn(void *arg, const struct auth_failure *failure);

struct auth_subscriber {
	auth_failed_fn *fn;
	void *arg;
	struct list_node link;
};

struct auth_events {
	pthread_rwlock_t lock;
	struct list_node subscribers; /* zeroed: none yet */
	atomic_uint count;            /* spares those without subscribers the lock */
};

#define AUTH_EVENTS_INIT { .lock = PTHREAD_RWLOCK_INITIALIZER }

/* Any thread. The subscriber is the caller's; it hears of what fails from now on. */
void auth_events_subscribe(struct auth_events *events, struct auth_subscriber *subscriber);
/* Any thread; nothing is called any more once it has returned. */
void auth_events_unsubscribe(struct auth_events *events, struct auth_subscriber *subscriber);
/* Any thread. Tells all subscribers, each once. */
void auth_events_announce(struct auth_events *events, const struct auth_failure *failure);

#endif
