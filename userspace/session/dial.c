// SPDX-License-Identifier: Apache-2.0
/*
 * The node leg of a login as an object: what the breaker hears of it, how it goes. It decides
 * nothing and knows no state.
 */
#include "session/dial.h"
#include "base/clock.h"
#include "base/log.h"

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
	loop_timer_del(dial->session->pool->loop, &dial->timer);
	loop_timer_del(dial->session->pool->loop, &dial->turn);
	leg_close(&dial->leg);
	if (dial->back)
		dial->back_ops->free(dial->back);
	dial->back = NULL;
	dial->secured = false;
}

void session_drop_dial(struct session *session)
{
	struct dial *dial = session->login ? session->login->dial : NULL;

	if (!dial)
		return;
	dial_report(session, HEALTH_NONE); /* whoever had a verdict reported it before */
	connect_stop(&dial->connect);
	dial_close_leg(dial);
	session->login->dial = NULL;
	free(dial);
}

/* ---- the relay's ---- */

void dial_hand_over(struct session *session)
{
	struct dial *dial = session->login->dial;

	dial->over = true;
	session->login->node_leg = (struct node_leg){ &dial->leg, false };
}
