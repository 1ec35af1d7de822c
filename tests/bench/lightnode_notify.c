// SPDX-License-Identifier: Apache-2.0
/*
 * The light node's notifications: who idles, and the NOTIFY commands that are running. Owns the
 * list of the first; a struct notify belongs to the connection that asked for it, which gets its
 * answer when all are sent, or at once when nobody idles any more.
 */
#include "lightnode.h"

#include <errno.h>
#include <stdlib.h>

#define NS_PER_MS 1000000u

struct notify {
	struct conn *conn;
	struct timer timer;
	uint64_t count, sent, start_ns;
	double rate;
};

static struct conn **idle;
static uint32_t idle_count, idle_cap, idle_next;

void idle_enter(struct conn *conn)
{
	if (idle_count == idle_cap) {
		idle_cap = idle_cap ? idle_cap * 2 : 1024;
		idle = realloc(idle, idle_cap * sizeof(struct conn *));
		if (!idle)
			abort();
	}
	idle[idle_count++] = conn;
	conn->idle_place = idle_count;
}

void idle_leave(struct conn *conn)
{
	struct conn *last;

	if (!conn->idle_place)
		return;
	last = idle[--idle_count];
	idle[conn->idle_place - 1] = last;
	last->idle_place = conn->idle_place;
	conn->idle_place = 0;
}

static bool tell(struct conn *conn, uint64_t number)
{
	return conn_sayf(conn, "* %llu EXISTS\r\n* OK [HIGHESTMODSEQ %llu] now\r\n",
		(unsigned long long)number, (unsigned long long)peer_now_ns());
}

static void notify_tick(struct timer *timer);

static void notify_end(struct notify *notify)
{
	struct conn *conn = notify->conn;
	bool ok = notify->sent == notify->count;

	conn->notify = NULL;
	if (!conn_sayf(conn, "%s %s NOTIFY %llu\r\n", conn->tag, ok ? "OK" : "NO",
		    (unsigned long long)notify->sent))
		conn_close(conn);
	free(notify);
}

/* Sends what is due; once a millisecond. */
static void notify_tick(struct timer *timer)
{
	struct notify *notify = container_of(timer, struct notify, timer);
	double elapsed = (double)(peer_now_ns() - notify->start_ns) / 1e9;
	uint64_t due = MIN(notify->count, 1 + (uint64_t)(elapsed * notify->rate));

	while (notify->sent < due && idle_count) {
		struct conn *conn = idle[idle_next++ % idle_count];

		notify->sent++;
		if (!tell(conn, notify->sent))
			conn_close(conn);
	}
	if (notify->sent == notify->count || !idle_count)
		notify_end(notify);
	else
		loop_timer_set(&node_loop, &notify->timer, 1, notify_tick);
}

bool notify_start(struct conn *conn, uint64_t count, double rate)
{
	struct notify *notify = conn->notify ? NULL : calloc(1, sizeof(*notify));

	if (!notify)
		return false;
	*notify = (struct notify){ .conn = conn, .count = count, .rate = rate };
	notify->start_ns = peer_now_ns();
	conn->notify = notify;
	loop_timer_set(&node_loop, &notify->timer, 0, notify_tick);
	return true;
}

void notify_free(struct conn *conn)
{
	if (!conn->notify)
		return;
	loop_timer_del(&node_loop, &conn->notify->timer);
	free(conn->notify);
	conn->notify = NULL;
}
