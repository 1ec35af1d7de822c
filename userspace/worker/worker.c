// SPDX-License-Identifier: Apache-2.0
/*
 * A worker: accepts, runs its sessions, and stops when the control thread says so. While many
 * logins have something to do, who comes waits where it costs nearly nothing, in the socket's
 * queue: side by side all of them would be done late (LIB-8). When the process has no descriptor
 * left, accepting pauses for a moment instead of spinning on a listening socket that stays readable
 * (security.md section 6).
 */
#include "worker/worker.h"
#include "worker/kinds.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* So many logins with work are enough, and so many are accepted in one turn. */
#define LOGINS_AT_WORK 64
#define ACCEPTS_AT_LEAVING 65536
#define PAUSE_MS 100

static void set_listening(struct worker *worker, uint32_t events)
{
	list_for_each (node, &worker->sockets) {
		struct worker_socket *socket = list_entry(node, struct worker_socket, link);

		if (socket->staged.watch.loop && loop_watch_set(&socket->staged.watch, events) < 0)
			log_event(LOGL_ERROR, "listener_lost", "listener", socket->listener->name,
				NULL);
	}
}

static void on_resume(struct timer *timer)
{
	struct worker *worker = container_of(timer, struct worker, resume_timer);

	worker->paused = false;
	set_listening(worker, EPOLLIN);
}

static void pause_accepting(struct worker *worker, int error)
{
	if (!worker->short_of_fds)
		log_event(LOGL_WARN, "accept_paused", "error", strerror(-error), NULL);
	worker->short_of_fds = true;
	worker->paused = true;
	set_listening(worker, 0);
	loop_timer_set(&worker->loop, &worker->resume_timer, PAUSE_MS, on_resume);
}

/* Returns whether there may be more. */
static bool accept_one(struct worker_socket *socket)
{
	struct worker *worker = socket->worker;
	struct addr peer;
	int fd = sock_accept(socket->fd, &peer);

	if (fd == -EAGAIN)
		return false;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
		pause_accepting(worker, fd);
		return false;
	}
	if (fd < 0) /* the connection died in the queue */
		return true;
	if (worker->short_of_fds) {
		worker->short_of_fds = false;
		log_event(LOGL_INFO, "accept_resumed", NULL);
	}
	session_accept(&worker->pool, socket->listener, fd, &peer);
	return true;
}

/* Whoever is accepted is taken for one with work: mostly it has spoken already. One is accepted in
 * any case. One is rarely followed by another at once, and epoll would say so: the queue is asked
 * for more than one only while they come in crowds. */
static void on_connection(struct loop_watch *watch, uint32_t epoll_events)
{
	struct worker_socket *socket = container_of(watch, struct worker_socket, staged.watch);
	struct worker *worker = socket->worker;
	uint64_t now_ms = worker->loop.now_ms;
	uint32_t waiting = worker->loop.stages.waiting, before = worker->pool.count;
	bool more = true;
	int asked = 0;

	(void)epoll_events;
	socket->crowded |= socket->accepted_ms == now_ms;
	socket->accepted_ms = now_ms;
	while (more && !worker->paused && (!asked++ || socket->crowded))
		more = accept_one(socket) && loop_has_time(&worker->loop) &&
			waiting + (worker->pool.count - before) < LOGINS_AT_WORK;
	if (worker->pool.count - before < 2 && asked > 1)
		socket->crowded = false;
}

static void on_pool_empty(struct session_pool *pool)
{
	struct worker *worker = container_of(pool, struct worker, pool);

	if (!pool->shutting_down || worker->reported_empty)
		return;
	worker->reported_empty = true;
	mailbox_send(worker->control, &worker->empty_post, worker->on_empty);
}

static void close_socket(struct worker_socket *socket)
{
	loop_watch_del(&socket->staged.watch);
	fd_closep(&socket->fd);
	list_del(&socket->link);
	free(socket);
}

/* Who has connected already is served; whoever comes now tries again or is refused (GRD-32). */
static void leave_socket(struct worker_socket *socket)
{
	sock_stop_listening(socket->fd);
	for (int i = 0; i < ACCEPTS_AT_LEAVING && !socket->worker->paused; i++) {
		if (!accept_one(socket))
			break;
	}
	close_socket(socket);
}

/* The data connections of logins that are under way still come to an agent. */
static bool is_awaited(const struct worker *worker, const struct worker_socket *socket)
{
	const struct config_listener *settings =
		snapshot_listener(worker->pool.snapshot, socket->listener);

	return settings && worker->pool.kinds[settings->protocol].knocks;
}

static void leave_sockets(struct worker *worker)
{
	list_for_each_safe (node, next, &worker->sockets) {
		struct worker_socket *socket = list_entry(node, struct worker_socket, link);

		if (!is_awaited(worker, socket))
			leave_socket(socket);
	}
}

static void close_sockets(struct worker *worker)
{
	while (!list_empty(&worker->sockets))
		close_socket(list_entry(worker->sockets.next, struct worker_socket, link));
}

static void on_shutdown(struct post *post)
{
	struct worker *worker = container_of(post, struct worker, shutdown_post);

	leave_sockets(worker); /* they get the shutdown line, too */
	loop_timer_del(&worker->loop, &worker->resume_timer);
	session_pool_shut_down(&worker->pool);
}

static void on_kill(struct post *post)
{
	struct worker *worker = container_of(post, struct worker, kill_post);

	close_sockets(worker);
	loop_timer_del(&worker->loop, &worker->resume_timer);
	session_pool_kill(&worker->pool);
	loop_stop(&worker->loop);
}

/* ---- another snapshot ---- */

static struct worker_follow_item *find_item(
	struct worker_follow *follow, const struct worker_socket *socket)
{
	for (size_t i = 0; i < follow->count; i++) {
		if (follow->items[i].bound == socket->bound)
			return &follow->items[i];
	}
	return NULL;
}

static void leave_gone_sockets(struct worker *worker, struct worker_follow *follow)
{
	list_for_each_safe (node, next, &worker->sockets) {
		struct worker_socket *socket = list_entry(node, struct worker_socket, link);

		if (!find_item(follow, socket))
			leave_socket(socket);
	}
}

static void keep_sockets(struct worker *worker, struct worker_follow *follow)
{
	list_for_each (node, &worker->sockets) {
		struct worker_socket *socket = list_entry(node, struct worker_socket, link);

		socket->listener = find_item(follow, socket)->listener;
	}
}

static void enter_socket(struct worker *worker, struct worker_socket *socket)
{
	int r;

	socket->worker = worker;
	list_add_tail(&worker->sockets, &socket->link);
	loop_watch_set_stage(&socket->staged, LOOP_ACCEPT);
	r = loop_watch_add(&worker->loop, &socket->staged.watch, socket->fd,
		worker->paused ? 0 : EPOLLIN, on_connection);
	if (r < 0)
		log_event(LOGL_ERROR, "listener_lost", "listener", socket->listener->name, "error",
			strerror(-r), NULL);
}

static void on_follow(struct worker_call *call, struct session_pool *pool)
{
	struct worker_follow *follow = container_of(call, struct worker_follow, call);
	struct worker *worker;

	if (!pool) /* stopped */
		return;
	worker = container_of(pool, struct worker, pool);
	leave_gone_sockets(worker, follow);
	session_pool_follow(pool, follow->snapshot);
	keep_sockets(worker, follow);
	for (size_t i = 0; i < follow->count && !pool->shutting_down; i++) {
		if (follow->items[i].fresh)
			enter_socket(worker, follow->items[i].fresh);
		follow->items[i].fresh = NULL;
	}
}

struct worker_follow *worker_follow_new(
	unsigned worker, struct snapshot *snapshot, const struct listen_plan *plan)
{
	struct worker_follow *follow =
		calloc(1, sizeof(*follow) + plan->count * sizeof(follow->items[0]));

	if (!follow)
		return NULL;
	follow->call.run = on_follow;
	follow->snapshot = snapshot_ref(snapshot);
	for (size_t i = 0; i < plan->count; i++) {
		struct worker_follow_item *item = &follow->items[follow->count++];
		struct worker_socket *fresh;

		item->bound = plan->items[i].bound;
		item->listener = plan->items[i].listener;
		if (!plan->items[i].fresh)
			continue;
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh) {
			worker_follow_free(follow);
			return NULL;
		}
		fresh->bound = item->bound;
		fresh->listener = item->listener;
		fresh->fd = take_fd(&plan->items[i].bound->fds[worker]);
		item->fresh = fresh;
	}
	return follow;
}

void worker_follow_free(struct worker_follow *follow)
{
	if (!follow)
		return;
	for (size_t i = 0; i < follow->count; i++) {
		if (follow->items[i].fresh)
			close_socket(follow->items[i].fresh);
	}
	snapshot_unref(follow->snapshot);
	free(follow);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	char name[16];
	int r = session_pool_init(
		&worker->pool, session_kinds, worker->router, &worker->loop, worker->index);

	snprintf(name, sizeof(name), "worker%u", worker->index);
	pthread_setname_np(pthread_self(), name);
	worker->pool.on_empty = on_pool_empty;
	if (r < 0)
		log_event(LOGL_ERROR, "worker_failed", "error", strerror(-r), NULL);
	r = loop_run(&worker->loop); /* also when failed: waits for the kill */
	if (r < 0)
		log_event(LOGL_ERROR, "worker_failed", "error", strerror(-r), NULL);
	close_sockets(worker);
	session_pool_fini(&worker->pool);
	/* Answers to lookups that were under way free themselves here; then deferred frees. */
	mailbox_close(&worker->loop.mailbox);
	if (loop_run_once(&worker->loop, 0) < 0)
		log_event(LOGL_ERROR, "worker_failed", NULL);
	return NULL;
}

int worker_start(struct worker *worker, struct router *router, unsigned index,
	struct mailbox *control, post_fn *on_empty)
{
	int r;

	*worker = (struct worker){
		.router = router, .index = index, .control = control, .on_empty = on_empty
	};
	list_init(&worker->sockets);
	r = loop_init(&worker->loop);
	if (r < 0)
		return r;
	router->mailboxes[index] = &worker->loop.mailbox;
	r = -pthread_create(&worker->thread, NULL, worker_main, worker);
	if (r < 0)
		loop_fini(&worker->loop);
	worker->started = r == 0;
	return r;
}

void worker_shut_down(struct worker *worker)
{
	mailbox_send(&worker->loop.mailbox, &worker->shutdown_post, on_shutdown);
}

void worker_kill(struct worker *worker)
{
	mailbox_send(&worker->loop.mailbox, &worker->kill_post, on_kill);
}

static void on_call_done(struct post *post)
{
	struct worker_call *call = container_of(post, struct worker_call, post);

	call->done(call);
}

static void on_call(struct post *post)
{
	struct worker_call *call = container_of(post, struct worker_call, post);

	call->run(call, session_pool_current());
	mailbox_send(call->reply_to, &call->post, on_call_done); /* control outlives us */
}

bool worker_call(struct worker *worker, struct worker_call *call)
{
	call->reply_to = worker->control;
	return mailbox_send(&worker->loop.mailbox, &call->post, on_call);
}

struct worker_load workers_load(const struct worker *workers, unsigned count)
{
	struct worker_load load = { 0 };
	uint64_t now_ms = clock_mono_ms();

	for (unsigned i = 0; i < count; i++) {
		const struct loop_stages *stages = &workers[i].loop.stages;
		uint64_t oldest_ms = atomic_load_explicit(&stages->oldest_ms, memory_order_relaxed);

		load.full_turns += atomic_load_explicit(&stages->full_turns, memory_order_relaxed);
		load.waiting += atomic_load_explicit(&stages->left, memory_order_relaxed);
		if (oldest_ms && oldest_ms < now_ms)
			load.oldest_ms = MAX(load.oldest_ms, now_ms - oldest_ms);
	}
	return load;
}

void worker_join(struct worker *worker)
{
	if (!worker->started || worker->joined)
		return;
	pthread_join(worker->thread, NULL);
	worker->joined = true;
}

void worker_fini(struct worker *worker)
{
	if (!worker->started)
		return;
	loop_fini(&worker->loop);
	worker->started = false;
}
