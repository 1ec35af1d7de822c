// SPDX-License-Identifier: Apache-2.0
/*
 * Redis: GET, SET, DEL with a prefix, pipelined on a pool (MAP-71); changes by client-side caching
 * redirected to a subscriber (MAP-101) or, where the server refuses that, keyspace notifications
 * (MAP-102). Whether they arrive is tried with a key that nobody has and that lives for a second.
 */
#include "base/secret.h"
#include "store/pool.h"
#include "store/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define INVALIDATE "__redis__:invalidate"

struct redis_conn {
	struct store_conn conn;
	struct redis_link link;
};

/* How far the push channel is. */
enum push_step { STEP_ID, STEP_SUBSCRIBE, STEP_TRACK, STEP_PSUBSCRIBE, STEP_DONE };

struct store_redis {
	struct store store;
	struct redis_url url;
	char *prefix;
	void (*warn)(void *arg, const char *text);
	void *warn_arg;
	struct store_thread thread;
	struct store_pool pool;
	struct store_push push;
	struct resolver *resolver;
	struct tls_client *tls;
	struct redis_link subscriber, tracker;
	enum push_step step;
	long long subscriber_id; /* CLIENT ID of the subscriber */
	bool warned;
};

static void set_up_link(
	struct store_redis *store, struct redis_link *link, const struct redis_link_ops *ops)
{
	*link = (struct redis_link){ .ops = ops,
		.url = &store->url,
		.loop = &store->thread.loop,
		.resolver = store->resolver,
		.tls = store->tls };
}

/* ---- pool ---- */

static void on_ready(struct redis_link *link)
{
	store_conn_ready(&container_of(link, struct redis_conn, link)->conn);
}

static void on_lost(struct redis_link *link, const char *error)
{
	store_conn_lost(&container_of(link, struct redis_conn, link)->conn, error);
}

/* Of GET, then of PTTL. */
static void take_ban(struct store_request *request, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_INTEGER) {
		request->ttl_ms = (uint64_t)MAX(reply->integer, 0ll);
		return;
	}
	request->result = STORE_NONE;
	if (reply->type == REDIS_REPLY_STRING)
		store_take_value(request, view_make(reply->str, reply->len));
}

static void take_reply(struct store_request *request, const redisReply *reply)
{
	char word[32];

	if (reply->type == REDIS_REPLY_ERROR) {
		request->result = STORE_ERROR;
		snprintf(request->error, sizeof(request->error), "redis: %s",
			redis_error_word(reply, word));
		/* READONLY: a replica, which does not take the announcement either. */
		request->refused = strcmp(word, "NOPERM") == 0 || strcmp(word, "READONLY") == 0;
		return;
	}
	switch (request->op) {
	case STORE_LOOKUP:
		request->result = STORE_NONE;
		if (reply->type == REDIS_REPLY_STRING)
			store_take_value(request, view_make(reply->str, reply->len));
		break;
	case STORE_BAN_GET:
		take_ban(request, reply);
		break;
	case STORE_DELETE:
		request->result = reply->integer > 0 ? STORE_DONE : STORE_NONE;
		break;
	default:
		request->result = STORE_DONE;
	}
}

static void on_reply(struct redis_link *link, const redisReply *reply)
{
	struct redis_conn *conn = container_of(link, struct redis_conn, link);
	struct store_request *head = store_conn_head(&conn->conn);

	if (!head) {
		store_conn_lost(&conn->conn, "an answer that nobody asked for");
		return;
	}
	if (store_is_list(head->op) && reply->type != REDIS_REPLY_ERROR) {
		struct store_redis *store = conn->conn.pool->owner;

		if (redis_list_reply(head, store->prefix, reply)) {
			store_conn_again(&conn->conn);
			return;
		}
	} else {
		take_reply(head, reply);
	}
	head->half = !head->half && head->op == STORE_BAN_GET;
	if (!head->half)
		store_conn_answered(&conn->conn);
}

static const struct redis_link_ops conn_ops = {
	.ready = on_ready,
	.reply = on_reply,
	.lost = on_lost,
};

static void redis_open(struct store_conn *base)
{
	struct redis_conn *conn = (struct redis_conn *)base;

	set_up_link(base->pool->owner, &conn->link, &conn_ops);
	redis_link_open(&conn->link);
}

static int send_ban(struct redis_link *link, const char *prefix, struct store_request *request)
{
	char key[128 + STORE_BAN_NAME_BYTES], name[STORE_BAN_NAME_BYTES], ttl[24];
	const char *set[] = { "SET", key, request->destination.data, "PX", ttl };
	const char *get[] = { "GET", key }, *left[] = { "PTTL", key };
	size_t lens[] = { 3, 0, request->destination.len, 2, 0 };
	int r;

	store_ban_name(request->identifier, name);
	lens[1] = (size_t)snprintf(key, sizeof(key), "%.128s%s", prefix, name);
	if (request->op == STORE_BAN_SET) {
		lens[4] = (size_t)snprintf(ttl, sizeof(ttl), "%llu",
			(unsigned long long)MAX(request->ttl_ms, (uint64_t)1));
		return redis_link_send(link, 5, set, lens);
	}
	request->half = false;
	r = redis_link_send(link, 2, get, NULL);
	return r < 0 ? r : redis_link_send(link, 2, left, NULL);
}

static int redis_send(struct store_conn *base, struct store_request *request)
{
	static const char *const verbs[] = { [STORE_LOOKUP] = "GET",
		[STORE_UPSERT] = "SET",
		[STORE_DELETE] = "DEL",
		[STORE_PING] = "GET",
		[STORE_ANNOUNCE] = "SET" };
	static const int counts[] = { [STORE_LOOKUP] = 2,
		[STORE_UPSERT] = 3,
		[STORE_DELETE] = 2,
		[STORE_PING] = 2,
		[STORE_ANNOUNCE] = 5 };
	static_assert(ARRAY_SIZE(verbs) == STORE_BAN_SET, "a verb for each but lists and bans");
	static_assert(ARRAY_SIZE(counts) == STORE_BAN_SET, "a number of words for each");
	const struct store_redis *store = base->pool->owner;
	struct redis_link *link = &((struct redis_conn *)base)->link;
	char key[128 + 320 + 1];
	int n = snprintf(key, sizeof(key), "%s%.*s", store->prefix, (int)request->identifier.len,
		request->identifier.data);
	const char *argv[] = { NULL, key, request->destination.data, "PX", "1000" };
	size_t lens[] = { 0, MIN((size_t)n, sizeof(key) - 1), request->destination.len, 2, 4 };

	if (store_is_list(request->op))
		return redis_list_send(link, store->prefix, request);
	if (store_is_ban(request->op))
		return send_ban(link, store->prefix, request);
	argv[0] = verbs[request->op];
	lens[0] = strlen(argv[0]);
	return redis_link_send(link, counts[request->op], argv, lens);
}

static void redis_close(struct store_conn *base)
{
	redis_link_close(&((struct redis_conn *)base)->link);
}

static const struct store_driver driver = {
	.name = "redis",
	.conn_size = sizeof(struct redis_conn),
	.open = redis_open,
	.send = redis_send,
	.close = redis_close,
};

/* ---- push ---- */

static void push_failed(struct store_redis *store)
{
	store_push_lost(&store->push);
}

static int command(struct redis_link *link, int argc, const char *const argv[])
{
	return redis_link_send(link, argc, argv, NULL);
}

static void on_push_lost(struct redis_link *link, const char *error)
{
	(void)error;
	push_failed(container_of(link->url, struct store_redis, url));
}

/* The key of a message, without the prefix; others' keys are none of ours. */
static void changed(struct store_redis *store, struct view key)
{
	struct view prefix = view_str(store->prefix);

	if (view_starts(key, prefix) && key.len > prefix.len &&
		!store_push_take_mark(&store->push, view_skip(key, prefix.len)) &&
		!store_push_take_ban(&store->push, view_skip(key, prefix.len)))
		store->push.fn(store->push.arg, STORE_PUSH_KEY, view_skip(key, prefix.len));
}

/* ["message", channel, keys or nil] */
static void take_invalidation(struct store_redis *store, const redisReply *keys)
{
	if (keys->type != REDIS_REPLY_ARRAY) {
		if (keys->type == REDIS_REPLY_NIL)
			store->push.fn(store->push.arg, STORE_PUSH_ALL, view_make("", 0));
		return;
	}
	for (size_t i = 0; i < keys->elements; i++)
		changed(store, redis_text(keys->element[i]));
}

/* ["pmessage", pattern, "__keyspace@0__:key", event] */
static void take_event(struct store_redis *store, struct view channel)
{
	const char *colon = channel.len ? memchr(channel.data, ':', channel.len) : NULL;

	if (colon)
		changed(store, view_skip(channel, (size_t)(colon + 1 - channel.data)));
}

/* MAP-102 */
static int psubscribe(struct store_redis *store)
{
	char pattern[400];
	const char *argv[] = { "PSUBSCRIBE", pattern };
	const char *ask[] = { "CONFIG", "GET", "notify-keyspace-events" };
	size_t n = (size_t)snprintf(pattern, sizeof(pattern), "__keyspace@%u__:", store->url.db);

	n += redis_escape_pattern(store->prefix, pattern + n, sizeof(pattern) - n - 1);
	pattern[n] = '*';
	pattern[n + 1] = '\0';
	store->step = STEP_PSUBSCRIBE;
	return command(&store->subscriber, 2, argv) < 0 ? -EIO : command(&store->tracker, 3, ask);
}

static int track(struct store_redis *store, long long id)
{
	char number[24];
	const char *argv[] = { "CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST", "PREFIX",
		store->prefix };

	snprintf(number, sizeof(number), "%lld", id);
	store->step = STEP_TRACK;
	return command(&store->tracker, store->prefix[0] ? 8 : 6, argv);
}

static void on_subscriber_ready(struct redis_link *link)
{
	static const char *const id[] = { "CLIENT", "ID" };
	struct store_redis *store = container_of(link, struct store_redis, subscriber);

	store->step = STEP_ID;
	if (command(link, 2, id) < 0)
		push_failed(store);
}

static void on_tracker_ready(struct redis_link *link)
{
	/* Its turn comes when the subscriber's number is known. */
	redis_link_open(&container_of(link, struct store_redis, tracker)->subscriber);
}

static void subscriber_message(struct store_redis *store, const redisReply *reply)
{
	struct view kind = reply->elements ? redis_text(reply->element[0]) : view_make("", 0);
	int r = 0;

	store_push_heard(&store->push);
	if (view_eq(kind, VIEW_LIT("message")) && reply->elements == 3)
		take_invalidation(store, reply->element[2]);
	else if (view_eq(kind, VIEW_LIT("pmessage")) && reply->elements == 4)
		take_event(store, redis_text(reply->element[2]));
	else if (view_eq(kind, VIEW_LIT("subscribe")) && store->step == STEP_SUBSCRIBE)
		r = track(store, store->subscriber_id);
	else if (view_eq(kind, VIEW_LIT("psubscribe")) && store->step == STEP_PSUBSCRIBE) {
		store->step = STEP_DONE;
		store_push_prove(&store->push);
	}
	if (r < 0)
		push_failed(store);
}

static void on_subscriber_reply(struct redis_link *link, const redisReply *reply)
{
	static const char *const subscribe[] = { "SUBSCRIBE", INVALIDATE };
	struct store_redis *store = container_of(link, struct store_redis, subscriber);
	int r = 0;

	if (reply->type == REDIS_REPLY_ARRAY) {
		subscriber_message(store, reply);
		return;
	}
	if (store->step == STEP_ID && reply->type == REDIS_REPLY_INTEGER) {
		store->subscriber_id = reply->integer;
		store->step = STEP_SUBSCRIBE;
		r = command(link, 2, subscribe);
	} else if (reply->type == REDIS_REPLY_ERROR &&
		(store->step == STEP_ID || store->step == STEP_SUBSCRIBE)) {
		r = psubscribe(store);
	} else if (reply->type == REDIS_REPLY_ERROR) {
		r = -EIO;
	}
	if (r < 0)
		push_failed(store);
}

static void check_events(struct store_redis *store, const redisReply *reply)
{
	struct view flags = reply->elements == 2 ? redis_text(reply->element[1]) : view_make("", 0);
	bool all = flags.len && memchr(flags.data, 'A', flags.len);

	if (reply->elements != 2 || store->warned)
		return;
	if (flags.len && memchr(flags.data, 'K', flags.len) &&
		(all || (memchr(flags.data, '$', flags.len) && memchr(flags.data, 'g', flags.len))))
		return;
	store->warned = true;
	if (store->warn)
		store->warn(store->warn_arg,
			"notify-keyspace-events lacks K, $ or g: changes will not be seen");
}

static void on_tracker_reply(struct redis_link *link, const redisReply *reply)
{
	struct store_redis *store = container_of(link, struct store_redis, tracker);

	if (store->step == STEP_TRACK && reply->type == REDIS_REPLY_ERROR) {
		if (psubscribe(store) < 0)
			push_failed(store);
	} else if (store->step == STEP_TRACK) {
		store->step = STEP_DONE;
		store_push_prove(&store->push);
	} else if (reply->type == REDIS_REPLY_ARRAY) {
		check_events(store, reply);
	}
}

static const struct redis_link_ops subscriber_ops = {
	.ready = on_subscriber_ready,
	.reply = on_subscriber_reply,
	.lost = on_push_lost,
};

static const struct redis_link_ops tracker_ops = {
	.ready = on_tracker_ready,
	.reply = on_tracker_reply,
	.lost = on_push_lost,
};

static struct store_redis *of_push(struct store_push *push)
{
	return container_of(push, struct store_redis, push);
}

static void push_open(struct store_push *push)
{
	struct store_redis *store = of_push(push);

	set_up_link(store, &store->subscriber, &subscriber_ops);
	set_up_link(store, &store->tracker, &tracker_ops);
	redis_link_open(&store->tracker);
}

static void push_ping(struct store_push *push)
{
	static const char *const ping[] = { "PING" };
	struct store_redis *store = of_push(push);

	if (command(&store->tracker, 1, ping) < 0 || command(&store->subscriber, 1, ping) < 0)
		push_failed(store);
}

static void push_close(struct store_push *push)
{
	redis_link_close(&of_push(push)->subscriber);
	redis_link_close(&of_push(push)->tracker);
}

static const struct store_push_driver push_driver = {
	.open = push_open,
	.ping = push_ping,
	.close = push_close,
};

/* ---- operations ---- */

static void on_submit(struct post *post)
{
	struct store_request *request = container_of(post, struct store_request, post);

	store_pool_add(&((struct store_redis *)request->store)->pool, request);
}

static void redis_submit(struct store *base, struct store_request *request)
{
	struct store_redis *store = (struct store_redis *)base;

	store_thread_submit(&store->thread, base, &store->pool, request, on_submit);
}

static bool redis_writable(const struct store *base)
{
	(void)base;
	return true;
}

static void finish(void *arg)
{
	struct store_redis *store = arg;

	store_push_stop(&store->push);
	store_pool_fini(&store->pool);
	resolver_free(store->resolver);
	store->resolver = NULL;
}

static void release(struct store_redis *store)
{
	redis_url_fini(&store->url);
	tls_client_unref(store->tls);
	free(store->prefix);
	free(store);
}

static void redis_free(struct store *base)
{
	struct store_redis *store = (struct store_redis *)base;

	store_thread_stop(&store->thread);
	release(store);
}

static const struct store_ops redis_ops = {
	.name = "redis",
	.submit = redis_submit,
	.any_thread = true,
	.writable = redis_writable,
	.can_list = redis_writable, /* both always */
	.reload = store_no_reload,
	.free = redis_free,
};

static int set_up(struct store_redis *store, const struct store_redis_params *params,
	char error[STORE_ERROR_BYTES])
{
	struct tls_client_params tls = { .server_name = store->url.host };
	int r;

	store->prefix = strdup(params->key_prefix ? params->key_prefix : "");
	if (!store->prefix)
		return -ENOMEM;
	if (store->url.tls) {
		r = tls_client_new(&tls, &store->tls, error);
		if (r < 0)
			return r;
	}
	return resolver_new(&store->thread.loop, &store->resolver);
}

int store_redis_new(const struct store_redis_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES])
{
	struct store_redis *store = calloc(1, sizeof(*store));
	int r;

	snprintf(error, STORE_ERROR_BYTES, "redis: cannot start");
	if (!store)
		return -ENOMEM;
	store->store.ops = &redis_ops;
	store->warn = params->net.warn;
	store->warn_arg = params->net.push_arg;
	r = redis_url_parse(params->url, &store->url, error);
	if (r == 0)
		r = store_thread_init(&store->thread);
	if (r < 0) {
		release(store);
		return r;
	}
	r = set_up(store, params, error);
	store_push_init(&store->push, &push_driver, &store->thread.loop, &store->pool, &params->net,
		"Redis accepts the subscription, but a change of our own is not told: "
		"no push, "
		"entries live as long as positive_ttl and negative_ttl say");
	if (r == 0)
		r = store_pool_init(&store->pool, &driver, store, &store->thread.loop,
			params->net.pool_size, params->net.timeout_ms);
	if (r == 0) {
		store_push_start(&store->push);
		r = store_thread_run(&store->thread, "redis", finish, store);
	}
	if (r < 0) {
		store_pool_fini(&store->pool);
		resolver_free(store->resolver);
		loop_fini(&store->thread.loop);
		release(store);
		return r;
	}
	*ret_store = &store->store;
	return 0;
}

int store_redis_check_url(const char *text, char error[STORE_ERROR_BYTES])
{
	struct redis_url url;
	int r = redis_url_parse(text, &url, error);

	redis_url_fini(&url);
	return r;
}
