// SPDX-License-Identifier: Apache-2.0
#include "session/list.h"
#include "base/clock.h"
#include "session/kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool matches(const struct session *session, const struct session_filter *filter)
{
	if (filter->account &&
		(!session->account || strcmp(session->account, filter->account) != 0))
		return false;
	return !filter->node || (session->node && strcmp(session->node->name, filter->node) == 0);
}

static const struct stream *node_stream(const struct session *session)
{
	const struct reach *reach = &session->login->reach;

	if (reach->phase == REACH_DIAL && stream_is_open(&reach->dial->leg.stream))
		return &reach->dial->leg.stream;
	return session->kind->node_stream ? session->kind->node_stream(session) : NULL;
}

static int leg_fd(const struct session *session, enum relay_leg leg)
{
	const struct stream *stream;

	if (session->relay)
		return relay_fd(session->relay, leg);
	if (!session->login)
		return -1;
	stream = leg == RELAY_CLIENT ? &session->login->leg.stream : node_stream(session);
	return stream && stream_is_open(stream) ? stream->fd : -1;
}

/* GRD-31. A leg that is being connected has figures too. */
static void fill_net(const struct session *session, struct session_row *row)
{
	for (int leg = RELAY_CLIENT; leg <= RELAY_NODE; leg++) {
		int fd = leg_fd(session, (enum relay_leg)leg);

		row->has_net[leg] = fd >= 0 && tcpinfo_figures(fd, &row->net[leg]) == 0;
	}
}

static void fill(struct session *session, struct session_row *row)
{
	uint64_t now = clock_mono_ms();

	*row = (struct session_row){
		.number = session->number,
		.accepted_ms = session->accepted_ms,
		.protocol = protocol_name(session->settings->protocol),
		.stage = session_states[session->state].stage,
		.tls_at_agent = session->tls_at_agent,
		.age_ms = now - session->accepted_ms,
	};
	session_format_id(session, row->id);
	snprintf(
		row->account, sizeof(row->account), "%s", session->account ? session->account : "");
	snprintf(row->node, sizeof(row->node), "%s", session->node ? session->node->name : "");
	snprintf(row->listener, sizeof(row->listener), "%s", session->settings->name);
	addr_format(&session->client, row->client);
	for (int d = 0; d < 2; d++) {
		row->bytes[d] = session->bytes[d];
		if (!session->relay)
			continue;
		row->path[d] = relay_path_of(session->relay, (enum relay_direction)d);
		row->bytes[d] = relay_bytes(session->relay, (enum relay_direction)d);
	}
	if (session->relay)
		row->idle_ms = relay_idle_ms(session->relay);
	else if (session->login && now > session->login->input_ms)
		row->idle_ms = now - session->login->input_ms;
	row->idle_ms = MIN(row->idle_ms, row->age_ms);
}

static int reserve(struct session_list *list, uint32_t count)
{
	struct session_row *rows = reallocarray(list->rows, count, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	list->rows = rows;
	return 0;
}

int session_list_collect(
	struct session_pool *pool, const struct session_filter *filter, struct session_list *list)
{
	uint32_t room = list->count;

	list_for_each (node, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (!matches(session, filter))
			continue;
		list->total++;
		if (list->count == filter->limit)
			continue;
		if (list->count == room) {
			room = MIN(room ? 2 * room : 16, filter->limit);
			if (reserve(list, room) < 0)
				return -ENOMEM;
		}
		fill(session, &list->rows[list->count]);
		if (filter->net)
			fill_net(session, &list->rows[list->count]);
		list->count++;
	}
	return 0;
}

void session_list_free(struct session_list *list)
{
	free(list->rows);
	*list = (struct session_list){ 0 };
}

static int by_age(const void *a, const void *b)
{
	const struct session_row *x = a, *y = b;

	if (x->accepted_ms != y->accepted_ms)
		return x->accepted_ms < y->accepted_ms ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

int session_list_merge(struct session_list *to, struct session_list *from, uint32_t limit)
{
	to->total += from->total;
	if (!from->count)
		return 0;
	if (reserve(to, to->count + from->count) < 0)
		return -ENOMEM;
	memcpy(to->rows + to->count, from->rows, from->count * sizeof(*from->rows));
	to->count += from->count;
	qsort(to->rows, to->count, sizeof(*to->rows), by_age);
	to->count = MIN(to->count, limit);
	return 0;
}
