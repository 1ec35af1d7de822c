// SPDX-License-Identifier: Apache-2.0
/*
 * A worker: accepts, runs its sessions, and stops when the control thread says so. When the
 * process has no descriptor left, accepting pauses for a moment instead of spinning on a
 * listening socket that stays readable (security.md section 6).
 */
#include "worker.h"
#include "base/fd.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ACCEPTS_PER_EVENT 64
#define PAUSE_MS 100

static void set_listening(struct worker *worker, uint32_t events)
{
	for (size_t i = 0; i < worker->socket_count; i++) {
		if (worker->sockets[i].watch.loop &&
			loop_watch_set(&worker->sockets[i].watch, events) < 0)
			log_event(LOGL_ERROR, "listener_lost", "listener",
				worker->sockets[i].listener->name, NULL);
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

static void on_connection(struct loop_watch *watch, uint32_t epoll_events)
{
	struct worker_socket *socket = container_of(watch, struct worker_socket, watch);
	struct worker *worker = socket->worker;
	struct addr peer;

	(void)epoll_events;
	for (int i = 0; i < ACCEPTS_PER_EVENT && !worker->paused; i++) {
		int fd = sock_accept(socket->fd, &peer);

		if (fd == -EAGAIN)
			return;
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
			pause_accepting(worker, fd);
			return;
		}
		if (fd < 0) /* the connection died in the queue */
			continue;
		if (worker->short_of_fds) {
			worker->short_of_fds = false;
			log_event(LOGL_INFO, "accept_resumed", NULL);
		}
		session_accept(&worker->pool, socket->listener, fd, &peer);
	}
}

static void on_pool_empty(struct session_pool *pool)
{
	struct worker *worker = container_of(pool, struct worker, pool);

	if (!pool->draining || worker->reported_empty)
		return;
	worker->reported_empty = true;
	mailbox_send(worker->control, &worker->empty_post, worker->on_empty);
}

static void close_sockets(struct worker *worker)
{
	for (size_t i = 0; i < worker->socket_count; i++) {
		loop_watch_del(&worker->sockets[i].watch);
		fd_closep(&worker->sockets[i].fd);
	}
}

static void on_drain(struct post *post)
{
	struct worker *worker = container_of(post, struct worker, drain_post);

	close_sockets(worker);
	loop_timer_del(&worker->loop, &worker->resume_timer);
	session_pool_drain(&worker->pool);
}

static void on_kill(struct post *post)
{
	struct worker *worker = container_of(post, struct worker, kill_post);

	close_sockets(worker);
	loop_timer_del(&worker->loop, &worker->resume_timer);
	session_pool_kill(&worker->pool);
	loop_stop(&worker->loop);
}

static int listen_all(struct worker *worker)
{
	struct server *server = worker->server;
	size_t count = 0, k = 0;
	int r;

	for (size_t i = 0; i < server->listener_count; i++)
		count += server->listeners[i].bind_count;
	worker->sockets = calloc(count ? count : 1, sizeof(*worker->sockets));
	if (!worker->sockets)
		return -ENOMEM;
	for (size_t i = 0; i < server->listener_count; i++) {
		struct listener *listener = &server->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++, k++) {
			struct worker_socket *socket = &worker->sockets[k];

			socket->worker = worker;
			socket->listener = listener;
			socket->fd = take_fd(&listener->binds[b].fds[worker->index]);
			worker->socket_count++;
			r = loop_watch_add(
				&worker->loop, &socket->watch, socket->fd, EPOLLIN, on_connection);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	char name[16];
	int r = session_pool_init(&worker->pool, worker->server, &worker->loop, worker->index);

	snprintf(name, sizeof(name), "worker%u", worker->index);
	pthread_setname_np(pthread_self(), name);
	worker->pool.on_empty = on_pool_empty;
	if (r == 0)
		r = listen_all(worker);
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

int worker_start(struct worker *worker, struct server *server, unsigned index,
	struct mailbox *control, post_fn *on_empty)
{
	int r;

	*worker = (struct worker){
		.server = server, .index = index, .control = control, .on_empty = on_empty
	};
	r = loop_init(&worker->loop);
	if (r < 0)
		return r;
	r = -pthread_create(&worker->thread, NULL, worker_main, worker);
	if (r < 0)
		loop_fini(&worker->loop);
	worker->started = r == 0;
	return r;
}

void worker_drain(struct worker *worker)
{
	mailbox_send(&worker->loop.mailbox, &worker->drain_post, on_drain);
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
	free(worker->sockets);
	worker->sockets = NULL;
	worker->started = false;
}
