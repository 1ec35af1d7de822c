// SPDX-License-Identifier: Apache-2.0
/*
 * The node leg of a login as an object: what the breaker hears of it, what is sent, how it goes. It
 * decides nothing and knows no state.
 */
#include "session/dial.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* ---- breaker ---- */

void dial_report(struct session *session, enum health_event event)
{
	struct dial *dial = session->login->dial;
	enum health_change change;

	if (!dial || !dial->entered)
		return;
	dial->entered = false;
	change = health_report(
		session->node->health, event, dial->probe, &session->client, clock_mono_ms());
	if (change != HEALTH_SAME)
		log_event(change == HEALTH_WENT_DOWN ? LOGL_WARN : LOGL_INFO,
			change == HEALTH_WENT_DOWN ? "node_down" : "node_up", "node",
			session->node->name, NULL);
}

/* ---- leaving ---- */

void dial_close_leg(struct dial *dial)
{
	loop_watch_forget(&dial->watch);
	loop_timer_del(dial->session->pool->loop, &dial->timer);
	loop_timer_del(dial->session->pool->loop, &dial->turn);
	stream_close(&dial->stream);
	if (dial->back)
		dial->back_ops->free(dial->back);
	dial->back = NULL;
	buf_fini(&dial->in);
	buf_fini(&dial->out);
	dial->secured = false;
	dial->read_want = 0;
}

void session_drop_dial(struct session *session)
{
	struct dial *dial = session->login ? session->login->dial : NULL;

	if (!dial)
		return;
	dial_report(session, HEALTH_NONE); /* whoever had a verdict reported it before */
	resolve_cancel(dial->query);
	dial_close_leg(dial);
	session->login->dial = NULL;
	free(dial);
}

/* ---- sending ---- */

int dial_flush(struct dial *dial)
{
	while (dial->out.len) {
		struct view v = buf_view(&dial->out);
		ssize_t n = stream_write(&dial->stream, v.data, v.len);

		dial->write_want = n == -EAGAIN ? dial->stream.want : 0;
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		buf_consume(&dial->out, (size_t)n);
	}
	buf_fini(&dial->out); /* wiped: it may have held the credential */
	return 0;
}

/* ---- the relay's ---- */

void dial_hand_over(struct session *session)
{
	struct dial *dial = session->login->dial;

	dial->phase = DIAL_OVER;
	session->login->node_leg =
		(struct node_leg){ &dial->stream, &dial->watch, &dial->in, false };
}
