// SPDX-License-Identifier: Apache-2.0
/*
 * c-ares on our loop: its sockets become watches, its next timeout becomes a timer. Answers are
 * always delivered from the loop, by a deferred step, also when c-ares has them at once, so that
 * a caller never sees its callback inside resolve_start().
 */
#include "net/resolve.h"
#include "base/list.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct resolver_socket {
	struct list_node link;
	struct loop_watch watch;
	struct resolver *resolver;
};

struct resolver {
	struct loop *loop;
	ares_channel channel;
	struct list_node sockets;
	struct timer timer;
	bool closing;
};

/* Lives until both c-ares and the caller are done with it. */
struct resolve_query {
	struct resolver *resolver;
	struct timer deliver;
	resolve_done_fn *done; /* NULL: cancelled */
	void *arg;
	uint16_t port;
	bool in_ares;
	int status;
	size_t count;
	struct addr addrs[RESOLVE_MAX_ADDRS];
};

static void arm_timeout(struct resolver *resolver);

static void on_timeout(struct timer *timer)
{
	struct resolver *resolver = container_of(timer, struct resolver, timer);

	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timeout(resolver);
}

static void arm_timeout(struct resolver *resolver)
{
	struct timeval space, *tv = ares_timeout(resolver->channel, NULL, &space);

	if (!tv)
		loop_timer_del(resolver->loop, &resolver->timer);
	else
		loop_timer_set(resolver->loop, &resolver->timer,
			(uint64_t)tv->tv_sec * 1000 + (uint64_t)tv->tv_usec / 1000 + 1, on_timeout);
}

static void on_socket(struct loop_watch *watch, uint32_t epoll_events)
{
	struct resolver_socket *socket = container_of(watch, struct resolver_socket, watch);
	struct resolver *resolver = socket->resolver;
	ares_socket_t fd = watch->fd;
	bool in = epoll_events & (EPOLLIN | EPOLLERR | EPOLLHUP), out = epoll_events & EPOLLOUT;

	ares_process_fd(resolver->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
	arm_timeout(resolver);
}

static struct resolver_socket *find_socket(struct resolver *resolver, ares_socket_t fd)
{
	list_for_each (node, &resolver->sockets) {
		struct resolver_socket *socket = list_entry(node, struct resolver_socket, link);

		if (socket->watch.fd == fd)
			return socket;
	}
	return NULL;
}

static void forget_socket(struct resolver_socket *socket)
{
	loop_watch_del(&socket->watch);
	list_del(&socket->link);
	free(socket);
}

/* c-ares opens, changes or is about to close a socket. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = arg;
	struct resolver_socket *socket = find_socket(resolver, fd);
	uint32_t events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);

	if (!events) {
		if (socket)
			forget_socket(socket);
		return;
	}
	if (socket) {
		(void)!loop_watch_set(&socket->watch, events);
		return;
	}
	socket = calloc(1, sizeof(*socket));
	if (!socket)
		return; /* the query runs into its timeout */
	socket->resolver = resolver;
	if (loop_watch_add(resolver->loop, &socket->watch, fd, events, on_socket) < 0) {
		free(socket);
		return;
	}
	list_add_tail(&resolver->sockets, &socket->link);
}

int resolver_new(struct loop *loop, struct resolver **ret_resolver)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	struct ares_options options = {
		.timeout = 2000,
		.tries = 2,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};

	if (!resolver)
		return -ENOMEM;
	resolver->loop = loop;
	list_init(&resolver->sockets);
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
		ares_init_options(&resolver->channel, &options,
			ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
			ARES_SUCCESS) {
		free(resolver);
		return -EIO;
	}
	*ret_resolver = resolver;
	return 0;
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	resolver->closing = true;
	ares_destroy(resolver->channel); /* ends its queries with ARES_EDESTRUCTION */
	while (!list_empty(&resolver->sockets))
		forget_socket(list_entry(resolver->sockets.next, struct resolver_socket, link));
	loop_timer_del(resolver->loop, &resolver->timer);
	ares_library_cleanup();
	free(resolver);
}

static void on_deliver(struct timer *timer)
{
	struct resolve_query *query = container_of(timer, struct resolve_query, deliver);
	struct resolve_query local = *query;

	free(query);
	local.done(local.arg, local.status, local.addrs, local.count);
}

static int map_status(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	default:
		return -EHOSTUNREACH;
	}
}

static void take_addrs(struct resolve_query *query, const struct ares_addrinfo *result)
{
	const struct ares_addrinfo_node *node;

	for (node = result->nodes; node && query->count < RESOLVE_MAX_ADDRS; node = node->ai_next) {
		struct sockaddr_storage storage = { 0 };

		memcpy(&storage, node->ai_addr, MIN((size_t)node->ai_addrlen, sizeof(storage)));
		if (addr_from_sockaddr(&storage, &query->addrs[query->count]) == 0)
			addr_set_port(&query->addrs[query->count++], query->port);
	}
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
	struct resolve_query *query = arg;

	(void)timeouts;
	query->in_ares = false;
	if (result && query->done)
		take_addrs(query, result);
	if (result)
		ares_freeaddrinfo(result);
	if (!query->done || query->resolver->closing) {
		free(query);
		return;
	}
	query->status = map_status(status);
	if (query->status == 0 && !query->count)
		query->status = -EHOSTUNREACH;
	loop_timer_set(query->resolver->loop, &query->deliver, 0, on_deliver);
}

int resolve_start(struct resolver *resolver, const char *host, uint16_t port, resolve_done_fn *done,
	void *arg, struct resolve_query **ret_query)
{
	const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM };
	struct resolve_query *query = calloc(1, sizeof(*query));

	if (!query)
		return -ENOMEM;
	*query = (struct resolve_query){
		.resolver = resolver, .done = done, .arg = arg, .port = port
	};
	*ret_query = query;
	if (addr_parse_ip(view_str(host), port, &query->addrs[0]) == 0) {
		query->count = 1;
		loop_timer_set(resolver->loop, &query->deliver, 0, on_deliver);
		return 0;
	}
	query->in_ares = true;
	ares_getaddrinfo(resolver->channel, host, NULL, &hints, on_answer, query);
	arm_timeout(resolver);
	return 0;
}

void resolve_cancel(struct resolve_query *query)
{
	if (!query)
		return;
	query->done = NULL;
	if (query->in_ares)
		return; /* on_answer() frees it */
	loop_timer_del(query->resolver->loop, &query->deliver);
	free(query);
}
