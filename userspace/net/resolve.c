// SPDX-License-Identifier: Apache-2.0
/*
 * c-ares on our loop: its sockets become watches, its next timeout becomes a timer. What it answers
 * is kept for as long as the records' TTLs allow, and those who ask for a name while it is being
 * asked for wait for the same answer. Answers are always delivered from the loop, by a deferred
 * step, also when they are there at once, so that a caller never sees its callback inside
 * resolve_start().
 */
#include "net/resolve.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define NAMES_MAX 256    /* kept; names that are being asked for come on top */
#define BUCKETS 64       /* a power of two */
#define TTL_MAX_S 3600   /* a mistake in a zone heals within an hour */
#define NEGATIVE_MS 5000 /* how long "no such name" is believed */

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
	struct list_node queries; /* every one that has not been delivered or cancelled */
	struct list_node names;   /* the least recently asked for first */
	struct list_node buckets[BUCKETS];
	unsigned name_count;
	bool closing;
};

/* A name, asked for or known. */
struct resolver_name {
	struct list_node link, in_bucket;
	struct resolver *resolver;
	bool in_ares; /* on_answer() will come */
	int status;
	uint64_t until_ms; /* valid before that, unless in_ares */
	size_t count;
	struct addr addrs[RESOLVE_MAX_ADDRS]; /* port 0 */
	char host[];
};

struct resolve_query {
	struct list_node link;
	struct resolver *resolver;
	struct resolver_name *name; /* waits for it; NULL: its answer is on the way */
	struct timer deliver;
	resolve_done_fn *done;
	void *arg;
	uint16_t port;
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
	ares_socket_t fd = loop_watch_fd(watch);
	bool in = epoll_events & (EPOLLIN | EPOLLERR | EPOLLHUP), out = epoll_events & EPOLLOUT;

	ares_process_fd(resolver->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
	arm_timeout(resolver);
}

static struct resolver_socket *find_socket(struct resolver *resolver, ares_socket_t fd)
{
	list_for_each (node, &resolver->sockets) {
		struct resolver_socket *socket = list_entry(node, struct resolver_socket, link);

		if (loop_watch_fd(&socket->watch) == fd)
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

/* Names are kept here, and not for longer by a cache of the library's own (since c-ares 1.31). */
#ifdef ARES_OPT_QUERY_CACHE
#define NO_CACHE ARES_OPT_QUERY_CACHE
#else
#define NO_CACHE 0
#endif
#define OPTIONS (ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | NO_CACHE)

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
	list_init(&resolver->queries);
	list_init(&resolver->names);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&resolver->buckets[i]);
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
		ares_init_options(&resolver->channel, &options, OPTIONS) != ARES_SUCCESS) {
		free(resolver);
		return -EIO;
	}
	*ret_resolver = resolver;
	return 0;
}

int resolver_use_servers(struct resolver *resolver, const char *servers)
{
	return ares_set_servers_ports_csv(resolver->channel, servers) == ARES_SUCCESS ? 0 : -EINVAL;
}

static void query_free(struct resolve_query *query)
{
	loop_timer_del(query->resolver->loop, &query->deliver);
	list_del(&query->link);
	free(query);
}

static void name_free(struct resolver_name *name)
{
	list_del(&name->link);
	list_del(&name->in_bucket);
	name->resolver->name_count--;
	free(name);
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	resolver->closing = true;
	ares_destroy(resolver->channel); /* ends its queries with ARES_EDESTRUCTION */
	while (!list_empty(&resolver->queries))
		query_free(list_entry(resolver->queries.next, struct resolve_query, link));
	while (!list_empty(&resolver->names))
		name_free(list_entry(resolver->names.next, struct resolver_name, link));
	while (!list_empty(&resolver->sockets))
		forget_socket(list_entry(resolver->sockets.next, struct resolver_socket, link));
	loop_timer_del(resolver->loop, &resolver->timer);
	ares_library_cleanup();
	free(resolver);
}

/* ---- delivery ---- */

static void on_deliver(struct timer *timer)
{
	struct resolve_query *query = container_of(timer, struct resolve_query, deliver);
	struct resolve_query local = *query;

	query_free(query);
	local.done(local.arg, local.status, local.addrs, local.count);
}

static void deliver_soon(struct resolve_query *query)
{
	query->name = NULL;
	loop_timer_set(query->resolver->loop, &query->deliver, 0, on_deliver);
}

static void answer(struct resolve_query *query, const struct resolver_name *name)
{
	query->status = name->status;
	query->count = name->count;
	memcpy(query->addrs, name->addrs, name->count * sizeof(name->addrs[0]));
	for (size_t i = 0; i < query->count; i++)
		addr_set_port(&query->addrs[i], query->port);
	deliver_soon(query);
}

/* ---- answers of c-ares ---- */

/* c-ares does not tell why it could not ask: without a socket it is our own shortage. */
static int why_not_asked(void)
{
	CLEANUP(fd_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 || errno == EAFNOSUPPORT ? -EHOSTUNREACH : -errno;
}

static int map_status(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENODATA:
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
	case ARES_EBADNAME:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	default:
		return why_not_asked();
	}
}

const char *resolve_text(int status)
{
	switch (status) {
	case -ENOENT:
		return "no such name, or it has no address";
	case -EHOSTUNREACH:
		return "no name server gives an answer";
	case -ETIMEDOUT:
		return "the name servers do not answer in time";
	default:
		return strerrordesc_np(-status);
	}
}

static void take_addrs(struct resolver_name *name, const struct ares_addrinfo *result)
{
	const struct ares_addrinfo_node *node;

	name->count = 0;
	for (node = result->nodes; node && name->count < RESOLVE_MAX_ADDRS; node = node->ai_next) {
		struct sockaddr_storage storage = { 0 };

		memcpy(&storage, node->ai_addr, MIN((size_t)node->ai_addrlen, sizeof(storage)));
		if (addr_from_sockaddr(&storage, &name->addrs[name->count]) == 0)
			addr_set_port(&name->addrs[name->count++], 0);
	}
}

/* The shortest TTL of all that the answer was made from, in seconds. The hosts file has none: it is
 * read again each time. */
static uint64_t ttl_of(const struct ares_addrinfo *result)
{
	int ttl = TTL_MAX_S;

	for (const struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next)
		ttl = MIN(ttl, node->ai_ttl);
	for (const struct ares_addrinfo_cname *cname = result->cnames; cname; cname = cname->next)
		ttl = MIN(ttl, cname->ttl);
	return ttl > 0 ? (uint64_t)ttl : 0;
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
	struct resolver_name *name = arg;
	struct resolver *resolver = name->resolver;
	uint64_t valid_ms = 0;

	(void)timeouts;
	name->in_ares = false;
	if (resolver->closing) {
		if (result)
			ares_freeaddrinfo(result);
		return;
	}
	name->count = 0;
	name->status = map_status(status);
	if (result) {
		take_addrs(name, result);
		valid_ms = ttl_of(result) * 1000;
		ares_freeaddrinfo(result);
	}
	if (name->status == 0 && !name->count)
		name->status = -ENOENT;
	if (name->status < 0)
		name->count = 0;
	if (name->status < 0) /* a server in trouble is asked again by whoever comes next */
		valid_ms = name->status == -ENOENT ? NEGATIVE_MS : 0;
	name->until_ms = clock_mono_ms() + valid_ms;
	list_for_each (node, &resolver->queries) {
		struct resolve_query *query = list_entry(node, struct resolve_query, link);

		if (query->name == name)
			answer(query, name);
	}
}

/* ---- names ---- */

static struct list_node *bucket_of(struct resolver *resolver, const char *host)
{
	uint64_t hash = 5381;

	for (; *host; host++)
		hash = hash * 33 + (unsigned char)(*host | 0x20); /* any case */
	return &resolver->buckets[hash % BUCKETS];
}

static struct resolver_name *find_name(struct resolver *resolver, const char *host)
{
	list_for_each (node, bucket_of(resolver, host)) {
		struct resolver_name *name = list_entry(node, struct resolver_name, in_bucket);

		if (strcasecmp(name->host, host) == 0)
			return name;
	}
	return NULL;
}

/* The oldest that nobody waits for. */
static void make_room(struct resolver *resolver)
{
	if (resolver->name_count < NAMES_MAX)
		return;
	list_for_each (node, &resolver->names) {
		struct resolver_name *name = list_entry(node, struct resolver_name, link);

		if (!name->in_ares) {
			name_free(name);
			return;
		}
	}
}

static struct resolver_name *add_name(struct resolver *resolver, const char *host)
{
	size_t size = strlen(host) + 1;
	struct resolver_name *name;

	make_room(resolver);
	name = calloc(1, sizeof(*name) + size);
	if (!name)
		return NULL;
	name->resolver = resolver;
	memcpy(name->host, host, size);
	list_add_tail(&resolver->names, &name->link);
	list_add_tail(bucket_of(resolver, host), &name->in_bucket);
	resolver->name_count++;
	return name;
}

/* Somebody has asked for it. */
static void touch(struct resolver_name *name)
{
	list_del(&name->link);
	list_add_tail(&name->resolver->names, &name->link);
}

/* A name that is known, or is being asked for: the query gets its answer. */
static int ask(struct resolver *resolver, struct resolve_query *query, const char *host)
{
	const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM };
	struct resolver_name *name = find_name(resolver, host);

	if (!name)
		name = add_name(resolver, host);
	if (!name)
		return -ENOMEM;
	touch(name);
	if (!name->in_ares && clock_mono_ms() < name->until_ms) {
		answer(query, name);
		return 0;
	}
	query->name = name;
	if (name->in_ares)
		return 0;
	name->in_ares = true;
	ares_getaddrinfo(resolver->channel, host, NULL, &hints, on_answer, name);
	arm_timeout(resolver);
	return 0;
}

/* ---- the interface ---- */

bool resolve_known(struct resolver *resolver, const char *host, uint16_t port,
	struct addr ret_addrs[RESOLVE_MAX_ADDRS], size_t *ret_count)
{
	struct resolver_name *name;

	if (addr_parse_ip(view_str(host), port, &ret_addrs[0]) == 0) {
		*ret_count = 1;
		return true;
	}
	name = find_name(resolver, host);
	if (!name || name->in_ares || !name->count || clock_mono_ms() >= name->until_ms)
		return false;
	touch(name);
	*ret_count = name->count;
	for (size_t i = 0; i < name->count; i++) {
		ret_addrs[i] = name->addrs[i];
		addr_set_port(&ret_addrs[i], port);
	}
	return true;
}

int resolve_start(struct resolver *resolver, const char *host, uint16_t port, resolve_done_fn *done,
	void *arg, struct resolve_query **ret_query)
{
	struct resolve_query *query = calloc(1, sizeof(*query));
	int r = 0;

	if (!query)
		return -ENOMEM;
	*query = (struct resolve_query){
		.resolver = resolver, .done = done, .arg = arg, .port = port
	};
	list_add_tail(&resolver->queries, &query->link);
	if (addr_parse_ip(view_str(host), port, &query->addrs[0]) == 0) {
		query->count = 1;
		deliver_soon(query);
	} else {
		r = ask(resolver, query, host);
	}
	if (r < 0)
		query_free(query);
	else
		*ret_query = query;
	return r;
}

void resolve_cancel(struct resolve_query *query)
{
	if (query)
		query_free(query);
}
