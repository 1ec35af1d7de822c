// SPDX-License-Identifier: Apache-2.0
#include "reach/agent.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

enum link_state {
	LINK_REST, /* no channel, and nobody tries */
	LINK_CONNECT,
	LINK_UP,
	LINK_DRAINING, /* up, and takes no new streams */
};

struct agent_link {
	struct list_node link; /* agents->links */
	struct agents *agents;
	struct node *node;      /* reference */
	struct tls_client *tls; /* reference */
	char *host;
	uint16_t port;
	enum link_state state;
	bool probe;     /* what health_enter() said */
	bool answering; /* those that wait are told */
	bool proven;    /* the channel has brought a frame: the agent takes us for whom we are */
	uint64_t rests_until_ms;
	struct list_node waiting; /* asks */
	struct leg leg;           /* until it is the channel's */
	struct connect connect;
	struct timer window;
	struct addr addr;              /* where the channel goes */
	struct agent_channel *channel; /* LINK_UP, LINK_DRAINING */
};

/* Outlives its link for a moment, or the other way round. */
struct agent_channel {
	struct agent_link *link;
	struct channel channel;
};

static const struct addr nobody; /* the breaker's failures here are the agent's own */

/* ---- which there are ---- */

static struct agent_link *find(struct agents *agents, const struct agent_target *target)
{
	const struct config_handoff *handoff = &target->destination->handoff;

	list_for_each (node, &agents->links) {
		struct agent_link *link = list_entry(node, struct agent_link, link);

		if (link->node == target->node && link->tls == target->tls &&
			link->port == handoff->port && strcmp(link->host, handoff->host) == 0)
			return link;
	}
	return NULL;
}

static struct agent_link *link_of(struct channel *channel)
{
	return container_of(channel, struct agent_channel, channel)->link;
}

static void free_channel(struct channel *channel)
{
	free(container_of(channel, struct agent_channel, channel));
}

static void report(struct agent_link *link, enum health_event event)
{
	enum health_change change =
		health_report(link->node->agent, event, link->probe, &nobody, clock_mono_ms());

	link->probe = false;
	if (change != HEALTH_SAME)
		log_event(change == HEALTH_WENT_DOWN ? LOGL_WARN : LOGL_INFO,
			change == HEALTH_WENT_DOWN ? "agent_down" : "agent_up", "node",
			link->node->name, NULL);
}

/* Its channel takes no new streams. */
static void drain(struct agent_link *link)
{
	if (link->state != LINK_UP)
		return;
	link->state = LINK_DRAINING;
	atomic_fetch_add(&link->node->agent_draining, 1);
}

/* Nobody tries for a while. */
static void rest(struct agent_link *link)
{
	link->rests_until_ms = clock_mono_ms() + AGENT_REST_MS;
	atomic_store(&link->node->agent_rests_until_ms, link->rests_until_ms);
	atomic_fetch_add(&link->node->agent_errors, 1);
	report(link, HEALTH_FAIL_HOST);
}

/* It is over, or closed here. */
static void drop_channel(struct agent_link *link)
{
	struct agent_channel *channel = link->channel;

	if (!channel)
		return;
	atomic_fetch_sub(&link->node->agent_channels, 1);
	if (link->state == LINK_DRAINING)
		atomic_fetch_sub(&link->node->agent_draining, 1);
	if (link->probe && link->state != LINK_UP)
		report(link, HEALTH_NONE);
	link->channel = NULL;
	link->state = LINK_REST;
	channel_close(&channel->channel);
	channel_let_go(&channel->channel, free_channel);
}

/* Nobody waits. */
static void link_free(struct agent_link *link)
{
	if (link->probe)
		report(link, HEALTH_NONE);
	connect_stop(&link->connect);
	loop_timer_del(link->agents->loop, &link->window);
	leg_close(&link->leg);
	list_del(&link->link);
	node_unref(link->node);
	tls_client_unref(link->tls);
	free(link->host);
	free(link);
}

static bool is_wanted(const struct agent_link *link)
{
	const struct snapshot *newest = *link->agents->newest;
	int index = snapshot_find(newest, link->node->name);

	return index >= 0 && newest->legs[index].agent == link->tls &&
		newest->config->destinations[index].handoff.port == link->port;
}

/* What a reload has left behind, once it is at rest. */
static void prune(struct agents *agents)
{
	list_for_each_safe (node, next, &agents->links) {
		struct agent_link *link = list_entry(node, struct agent_link, link);

		if (link->state == LINK_REST && !link->answering && !is_wanted(link))
			link_free(link);
	}
}

/* ---- how it ends ---- */

/* Each may ask somebody else at once. */
static void answer_waiting(struct agent_link *link, int refusal)
{
	link->answering = true;
	while (!list_empty(&link->waiting)) {
		struct agent_ask *ask = list_entry(link->waiting.next, struct agent_ask, link);

		list_del(&ask->link);
		ask->waits = false;
		ask->ops->failed(ask, refusal);
	}
	link->answering = false;
}

/* Its breaker hears it, and nobody tries for a while. */
static void failed(struct agent_link *link, const char *why)
{
	link->state = LINK_REST;
	rest(link);
	log_event_limited(LOGL_WARN, "agent_failed", link->node->name, "node", link->node->name,
		"error", why, NULL);
}

/* Who waits goes another way. */
static void attempt_failed(struct agent_link *link, const char *why)
{
	connect_stop(&link->connect);
	loop_timer_del(link->agents->loop, &link->window);
	failed(link, why); /* it may be a text of the leg's */
	leg_close(&link->leg);
	answer_waiting(link, 0);
}

static void on_window_over(struct timer *timer)
{
	attempt_failed(container_of(timer, struct agent_link, window), "no channel in time");
}

/* Its streams have been told. One that has never brought a frame was refused: a client of TLS 1.3
 * is the last to hear of that. */
static void on_lost(struct channel *channel, const char *why)
{
	struct agent_link *link = link_of(channel);
	bool drained = link->state == LINK_DRAINING;

	drop_channel(link);
	if (!link->proven)
		failed(link, why);
	else if (!drained)
		log_event_limited(LOGL_WARN, "agent_lost", link->node->name, "node",
			link->node->name, "error", why, NULL);
}

static void prove(struct agent_link *link)
{
	if (!link->proven)
		report(link, HEALTH_SUCCESS);
	link->proven = true;
}

static void on_drain(struct channel *channel)
{
	struct agent_link *link = link_of(channel);

	prove(link);
	drain(link);
}

/* One that nobody will ask any more goes with its last stream. */
static void on_empty(struct channel *channel)
{
	struct agent_link *link = link_of(channel);

	if (link->state == LINK_DRAINING || !is_wanted(link))
		drop_channel(link);
}

static const struct channel_ops channel_ops = {
	.drain = on_drain,
	.lost = on_lost,
	.empty = on_empty,
};

/* ---- streams ---- */

static void on_opened(struct channel_stream *stream, const unsigned char token[HANDOFF_TOKEN_BYTES])
{
	struct agent_ask *ask = stream->arg;

	prove(ask->at);
	memcpy(ask->token, token, HANDOFF_TOKEN_BYTES);
	ask->ops->opened(ask);
}

static void on_refused(struct channel_stream *stream, int refusal)
{
	struct agent_ask *ask = stream->arg;

	if (refusal)
		prove(ask->at);
	ask->stream = NULL;
	channel_stream_free(stream, HANDOFF_CLOSE_DONE);
	ask->ops->failed(ask, refusal);
}

static void on_stream_event(struct channel_stream *stream)
{
	struct agent_ask *ask = stream->arg;

	if (ask)
		ask->ops->event(ask);
}

static const struct channel_stream_ops stream_ops = {
	.opened = on_opened,
	.refused = on_refused,
	.event = on_stream_event,
};

static void open_stream(struct agent_link *link, struct agent_ask *ask)
{
	ask->agent = link->addr;
	ask->at = link;
	if (channel_open(&link->channel->channel, &ask->open, &stream_ops, ask, &ask->stream) < 0) {
		ask->stream = NULL;
		ask->ops->failed(ask, 0);
	}
}

/* ---- the connection ---- */

static int secure(struct connect *connect)
{
	struct agent_link *link = container_of(connect, struct agent_link, connect);
	struct stream *stream = &link->leg.stream;
	int r;

	if (!stream_is_tls(stream)) {
		if (tls_stream_connect(stream, link->tls) < 0)
			return CONNECT_OURS;
		tls_stream_read_ahead(stream, true);
	}
	r = tls_stream_handshake(stream);
	if (r == 0 && !tls_stream_agreed(stream, HANDOFF_ALPN))
		r = -EPROTO;
	if (r == 0) /* what the node says may repeat a credential */
		tls_stream_wipe_read(stream, true);
	return r;
}

static void on_up(struct connect *connect)
{
	struct agent_link *link = container_of(connect, struct agent_link, connect);
	struct agent_channel *channel = calloc(1, sizeof(*channel));

	if (!channel) {
		attempt_failed(link, "out of memory");
		return;
	}
	loop_timer_del(link->agents->loop, &link->window);
	link->addr = *connect_addr(connect);
	connect_stop(connect);
	channel->link = link;
	channel->channel.ops = &channel_ops;
	channel->channel.loop = link->agents->loop;
	channel->channel.open_streams = &link->node->agent_streams;
	link->channel = channel;
	link->state = LINK_UP;
	link->proven = false;
	atomic_fetch_add(&link->node->agent_channels, 1);
	channel_start(&channel->channel, &link->leg);
	while (!list_empty(&link->waiting)) {
		struct agent_ask *ask = list_entry(link->waiting.next, struct agent_ask, link);

		list_del(&ask->link);
		ask->waits = false;
		open_stream(link, ask);
	}
}

static const char *text_of(const struct agent_link *link, enum connect_phase phase, int outcome)
{
	if (outcome == CONNECT_OURS)
		return "out of memory";
	if (phase == CONNECT_RESOLVE)
		return resolve_text(outcome);
	if (phase == CONNECT_TLS)
		return *tls_stream_error(&link->leg.stream)
			? tls_stream_error(&link->leg.stream)
			: "the agent refused the handshake, or speaks another protocol";
	return outcome < 0 ? strerror(-outcome) : "no answer in time";
}

static void on_failed(struct connect *connect, int outcome)
{
	struct agent_link *link = container_of(connect, struct agent_link, connect);

	if (connect->phase == CONNECT_OPEN && connect_has_next(connect))
		connect_next(connect);
	else
		attempt_failed(link, text_of(link, connect->phase, outcome));
}

/* From where the data connections will come, too. */
static int choose_source(struct connect *connect, const struct addr *addr, struct addr *ret_source,
	uint64_t *ret_limit_ms)
{
	struct agent_link *link = container_of(connect, struct agent_link, connect);
	const struct snapshot *newest = *link->agents->newest;
	int index = snapshot_find(newest, link->node->name);
	const struct config_destination *destination =
		index >= 0 ? &newest->config->destinations[index] : NULL;

	*ret_limit_ms = connect_has_next(connect) ? AGENT_WINDOW_MS / 2 : 0;
	if (!destination)
		return 0;
	return node_source_next(link->node, destination->source_ips, destination->source_ip_count,
		       addr->sa.sa_family, ret_source) < 0
		? -EADDRNOTAVAIL
		: 0;
}

static const struct connect_ops connect_ops = {
	.address = choose_source,
	.secure = secure,
	.up = on_up,
	.failed = on_failed,
};

static void on_leg_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct agent_link *link = container_of(watch, struct agent_link, leg.watch);

	connect_event(&link->connect, epoll_events);
}

static void start(struct agent_link *link)
{
	link->probe = health_enter(link->node->agent, &nobody, clock_mono_ms()) == HEALTH_PROBE;
	link->state = LINK_CONNECT;
	loop_timer_set(link->agents->loop, &link->window, AGENT_WINDOW_MS, on_window_over);
	connect_start(&link->connect, link->host, link->port);
}

static struct agent_link *make(struct agents *agents, const struct agent_target *target)
{
	struct agent_link *link = calloc(1, sizeof(*link));
	char *host = strdup(target->destination->handoff.host);

	if (!link || !host) {
		free(link);
		free(host);
		return NULL;
	}
	link->agents = agents;
	link->node = node_ref(target->node);
	link->tls = tls_client_ref(target->tls);
	link->host = host;
	link->port = target->destination->handoff.port;
	list_init(&link->waiting);
	leg_init(&link->leg, 0, 0);
	link->connect = (struct connect){ .ops = &connect_ops,
		.loop = agents->loop,
		.resolver = agents->resolver,
		.leg = &link->leg,
		.fn = on_leg_event,
		.tls_first = true };
	list_add_tail(&agents->links, &link->link);
	return link;
}

/* ---- asking ---- */

void agents_init(struct agents *agents, struct router *router, struct loop *loop,
	struct resolver *resolver, struct snapshot *const *newest)
{
	*agents = (struct agents){
		.router = router, .loop = loop, .resolver = resolver, .newest = newest
	};
	list_init(&agents->links);
}

void agents_fini(struct agents *agents)
{
	while (!list_empty(&agents->links)) {
		struct agent_link *link = list_entry(agents->links.next, struct agent_link, link);

		drop_channel(link);
		link_free(link);
	}
}

/* HND-13: the breaker of the agent is closed, or one may try. */
static bool is_up(struct node *node)
{
	struct health_status status;

	health_status(node->agent, clock_mono_ms(), &status);
	return !status.down || (!status.down_for_ms && !status.probing);
}

static enum node_keep deny_start(const struct agent_link *link)
{
	if (!is_up(link->node))
		return NODE_KEEP_DOWN;
	return link->rests_until_ms > clock_mono_ms() ? NODE_KEEP_RESTING : NODE_KEEP_NOTHING;
}

enum node_keep agents_deny(struct agents *agents, const struct agent_target *target)
{
	const struct agent_link *link = find(agents, target);

	if (!link)
		return is_up(target->node) ? NODE_KEEP_NOTHING : NODE_KEEP_DOWN;
	if (link->state == LINK_REST)
		return deny_start(link);
	if (link->state == LINK_UP && channel_is_unsure(&link->channel->channel))
		return NODE_KEEP_SILENT;
	return link->state == LINK_DRAINING ? NODE_KEEP_DRAINING : NODE_KEEP_NOTHING;
}

bool agent_ask_is_unheard(const struct agent_ask *ask)
{
	return ask->waits || (ask->stream && ask->stream->channel && ask->stream->channel->asked);
}

void agent_ask(struct agents *agents, const struct agent_target *target, struct agent_ask *ask)
{
	struct agent_link *link = find(agents, target);

	ask->stream = NULL;
	if (!link) {
		prune(agents);
		link = make(agents, target);
	}
	if (!link || link->state == LINK_DRAINING) {
		ask->ops->failed(ask, link ? HANDOFF_REFUSED_DRAINING : 0);
		return;
	}
	if (link->state == LINK_UP) {
		open_stream(link, ask);
		return;
	}
	if (link->state == LINK_REST && deny_start(link)) {
		ask->ops->failed(ask, 0);
		return;
	}
	ask->waits = true;
	list_add_tail(&link->waiting, &ask->link);
	if (link->state == LINK_REST)
		start(link);
}

void agents_data_failed(struct agents *agents, const struct node *node)
{
	list_for_each (entry, &agents->links) {
		struct agent_link *link = list_entry(entry, struct agent_link, link);

		if (link->node != node || link->state != LINK_UP)
			continue;
		drain(link);
		rest(link);
	}
}

void agents_follow(struct agents *agents)
{
	list_for_each_safe (node, next, &agents->links) {
		struct agent_link *link = list_entry(node, struct agent_link, link);

		if (is_wanted(link))
			continue;
		drain(link);
		if (link->channel && !link->channel->channel.streams)
			drop_channel(link);
	}
}

void agent_ask_stop(struct agent_ask *ask)
{
	if (ask->waits)
		list_del(&ask->link);
	ask->waits = false;
	channel_stream_free(ask->stream, HANDOFF_CLOSE_DONE);
	ask->stream = NULL;
}
