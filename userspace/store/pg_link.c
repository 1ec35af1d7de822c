// SPDX-License-Identifier: Apache-2.0
/* What the pool's connections and the one that listens have in common: how they are opened, watched
 * while libpq changes their socket, and closed. */
#include "store/pg.h"

#include <errno.h>
#include <libpq-fe.h>

int pg_watch(struct store_pg *store, struct pg_link *link, uint32_t events, loop_watch_fn *fn)
{
	int fd = PQsocket(link->pg);

	if (link->watch.loop && link->fd == fd)
		return loop_watch_set(&link->watch, events);
	loop_watch_del(&link->watch);
	link->fd = fd;
	return fd < 0 ? -EBADF : loop_watch_add(&store->thread.loop, &link->watch, fd, events, fn);
}

void pg_close_link(struct pg_link *link)
{
	loop_watch_del(&link->watch);
	PQfinish(link->pg);
	link->pg = NULL;
}

static void drop_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

PGconn *pg_connect(const struct store_pg *store)
{
	/* The url wins over what comes before it, the environment over the fallback (MAP-51). */
	const char *keys[] = { "fallback_application_name", "client_encoding", "dbname", NULL };
	const char *values[] = { "homingd", "UTF8", store->url ? store->url : "", NULL };
	PGconn *pg = PQconnectStartParams(keys, values, 1);

	if (pg)
		PQsetNoticeReceiver(pg, drop_notice, NULL);
	return pg;
}
