// SPDX-License-Identifier: Apache-2.0
/*
 * Node legs of an HTTP connection (http.md section 6): at most one idle per node, eight in all. An
 * idle leg that becomes readable is of no use any more, whatever it says.
 */
#include "http/http.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define READ_BYTES 8192
#define BODY_READ_BYTES 65536
#define IN_BYTES 65536

static void leg_free(struct http_leg *leg)
{
	struct http *http = leg->session->login->http;

	if (leg->use == LEG_IDLE) {
		list_del(&leg->link);
		http->idle_count--;
	}
	if (http->leg == leg)
		http->leg = NULL;
	loop_timer_del(leg->session->pool->loop, &leg->timer);
	leg_close(&leg->wire);
	free(leg);
}

void http_leg_drop(struct session *session)
{
	if (session->login->http->leg)
		leg_free(session->login->http->leg);
}

void http_legs_close(struct session *session)
{
	struct http *http = session->login->http;

	http_leg_drop(session);
	list_for_each_safe (node, next, &http->idle)
		leg_free(list_entry(node, struct http_leg, link));
}

static void on_leg(struct loop_watch *watch, uint32_t epoll_events);

void http_leg_update_watch(struct http_leg *leg, bool read, bool write)
{
	struct leg *wire = &leg->wire;
	uint32_t events = leg_events(wire, read, write);

	if (!wire->watch.loop && !events)
		return;
	if (wire->watch.loop ? leg_watch(wire, events)
			     : loop_watch_add(leg->session->pool->loop, &wire->watch,
				       wire->stream.fd, events, on_leg))
		leg->write_failed = true; /* without memory; relay_idle ends it */
}

/* True if the node has neither said anything nor left. */
static bool is_quiet(struct http_leg *leg)
{
	char byte;
	size_t spent = 0;
	ssize_t n = leg_read_bytes(&leg->wire, &byte, 1, &spent);

	if (n > 0)
		log_event_limited(LOGL_WARN, "node_unexpected_bytes", leg->node->name, "node",
			leg->node->name, NULL);
	return n == -EAGAIN;
}

static void on_leg(struct loop_watch *watch, uint32_t epoll_events)
{
	struct http_leg *leg = container_of(watch, struct http_leg, wire.watch);
	struct session *session = leg->session;

	loop_work_on(session->pool->loop, session->number);
	leg->wire.dry = false;
	if (session->login->http->leg == leg) {
		session_progress(session);
		/* Epoll reports a hang-up whatever we ask for: a leg that is not to be read now
		 * must not be left in the set. */
		if (http_drives(session) && session->login->http->leg == leg &&
			epoll_events & (EPOLLHUP | EPOLLERR) && !(leg->wire.watch.events & EPOLLIN))
			loop_watch_del(watch);
	} else if (is_quiet(leg)) /* TLS has messages of its own */
		http_leg_update_watch(leg, true, false);
	else
		leg_free(leg);
}

/* Armed lazily: a leg that is in use takes it along. */
static void on_idle_over(struct timer *timer)
{
	struct http_leg *leg = container_of(timer, struct http_leg, timer);
	struct loop *loop = leg->session->pool->loop;

	if (leg->use != LEG_IDLE)
		return;
	if (leg->idle_until_ms > loop->now_ms)
		loop_timer_set(loop, timer, leg->idle_until_ms - loop->now_ms, on_idle_over);
	else
		leg_free(leg);
}

struct http_leg *http_leg_take(struct session *session, struct node *node)
{
	struct http *http = session->login->http;

	list_for_each_safe (position, next, &http->idle) {
		struct http_leg *leg = list_entry(position, struct http_leg, link);

		if (leg->node != node)
			continue;
		if (!is_quiet(leg)) {
			leg_free(leg);
			return NULL;
		}
		list_del(&leg->link);
		http->idle_count--;
		leg->use = LEG_AGAIN;
		http->leg = leg;
		return leg;
	}
	return NULL;
}

int http_leg_adopt(struct session *session)
{
	struct dial *dial = session->login->reach.dial;
	struct http_leg *leg = calloc(1, sizeof(*leg));
	size_t in_bytes = (size_t)session->snapshot->config->http.max_head_size;

	if (!leg)
		return -ENOMEM;
	leg->session = session;
	leg->node = session->node;
	leg->destination = session->login->destination;
	leg->secured = dial_is_secured(dial);
	leg->addr = *connect_addr(&dial->connect);
	/* One byte too many is seen, not waited for. Out: a head, and what HTTP_HIGH_BYTES lets
	 * through. */
	leg_init(&leg->wire, MAX(in_bytes, (size_t)IN_BYTES) + 1, 0);
	dial_end_talk(dial);
	leg_move(&dial->leg, &leg->wire, on_leg);
	/* Not over for HTTP: each response may repeat a credential (HTTP-53). Mostly OpenSSL sees
	 * the first one only. */
	if (leg->secured)
		tls_stream_wipe_read(&leg->wire.stream, true);
	session->login->http->leg = leg;
	return 0;
}

void http_leg_keep(struct session *session)
{
	struct http *http = session->login->http;
	struct http_leg *leg = http->leg;
	uint64_t limit_ms = session->snapshot->config->http.keepalive_timeout_ms;

	http->leg = NULL;
	leg->use = LEG_IDLE;
	list_add_tail(&http->idle, &leg->link);
	if (++http->idle_count > HTTP_MAX_IDLE)
		leg_free(list_entry(http->idle.next, struct http_leg, link));
	buf_fini(&leg->wire.in);
	leg->idle_until_ms = session->pool->loop->now_ms + limit_ms;
	if (!timer_armed(&leg->timer))
		loop_timer_set(session->pool->loop, &leg->timer, limit_ms, on_idle_over);
	http_leg_update_watch(leg, true, false);
}

static void count(struct http_leg *leg, enum relay_direction direction, ssize_t n)
{
	struct http *http = leg->session->login->http;

	http->request.bytes[direction] += (uint64_t)n;
	http->turn_bytes += (uint64_t)n;
	http_progress(leg->session);
}

ssize_t http_leg_read(struct http_leg *leg, struct buf *to, uint64_t span)
{
	size_t spent = 0;
	ssize_t n;

	if (!to) {
		to = &leg->wire.in;
		span = READ_BYTES;
	}
	if (!span || !buf_room(to) || leg->wire.dry)
		return -EAGAIN;
	n = leg_read(&leg->wire, to, (size_t)MIN(span, (uint64_t)BODY_READ_BYTES), &spent);
	if (n > 0) {
		/* not before: the node's tickets come ahead of its first response, and OpenSSL
		 * keeps them for the next connection (SES-47) */
		http_leave_openssl(leg->session, &leg->wire.stream);
		count(leg, RELAY_DOWN, n);
		leg->session->login->http->turn_bytes += spent - (size_t)n;
	}
	return n;
}

int http_leg_flush(struct http_leg *leg)
{
	uint32_t before = leg->wire.out.len, moved;
	int r = leg_flush(&leg->wire);

	moved = before - leg->wire.out.len;
	if (moved)
		count(leg, RELAY_UP, moved);
	return r < 0 ? r : moved != 0;
}

const struct stream *http_node_stream(const struct session *session)
{
	const struct http *http = session->login->http;

	if (!http)
		return NULL;
	if (http->leg)
		return &http->leg->wire.stream;
	if (list_empty(&http->idle))
		return NULL;
	return &list_entry(http->idle.prev, struct http_leg, link)->wire.stream;
}
