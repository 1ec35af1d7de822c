// SPDX-License-Identifier: Apache-2.0
/* The subscribers of failed logins. */
#include "router/auth_events.h"

void auth_events_subscribe(struct auth_events *events, struct auth_subscriber *subscriber)
{
	pthread_rwlock_wrlock(&events->lock);
	if (!events->subscribers.next)
		list_init(&events->subscribers);
	list_add_tail(&events->subscribers, &subscriber->link);
	atomic_fetch_add(&events->count, 1);
	pthread_rwlock_unlock(&events->lock);
}

void auth_events_unsubscribe(struct auth_events *events, struct auth_subscriber *subscriber)
{
	pthread_rwlock_wrlock(&events->lock);
	list_del(&subscriber->link);
	atomic_fetch_sub(&events->count, 1);
	pthread_rwlock_unlock(&events->lock);
}

void auth_events_announce(struct auth_events *events, const struct auth_failure *failure)
{
	if (!atomic_load(&events->count))
		return;
	pthread_rwlock_rdlock(&events->lock);
	if (atomic_load(&events->count)) {
		list_for_each (node, &events->subscribers) {
			const struct auth_subscriber *subscriber =
				list_entry(node, struct auth_subscriber, link);

			subscriber->fn(subscriber->arg, failure);
		}
	}
	pthread_rwlock_unlock(&events->lock);
}
