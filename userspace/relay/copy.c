// SPDX-License-Identifier: Apache-2.0
/*
 * The data path that always works: user space reads from one leg and writes to the other, through
 * OpenSSL where a leg is encrypted. Bytes go through one scratch buffer per thread; a direction
 * has a buffer of its own only while its target is blocked, and then its source is not read, so
 * memory is bounded and an idle session holds none. One turn moves a bounded amount, so that a
 * bulk session does not starve others.
 *
 * A direction is OPEN, then ENDING (its source has ended, what is left is being sent), then DONE
 * (the target has our end of stream). The relay is over when both are DONE or a leg breaks.
 */
#include "base/clock.h"
#include "net/sock.h"
#include "relay/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define SCRATCH_BYTES 65536
#define TURN_BYTES (4 * SCRATCH_BYTES)

enum direction_state { DIRECTION_OPEN, DIRECTION_ENDING, DIRECTION_DONE };

struct direction {
	enum direction_state state;
	bool closing;       /* the source has hung up, but not all it sent has been read yet */
	bool truncated;     /* the source ended without close_notify: no clean end for the target */
	struct buf pending; /* read, not yet written; empty and without memory while it flows */
	uint64_t bytes;     /* delivered */
	uint32_t read_want, write_want; /* epoll events a blocked call waits for; 0 = not blocked */
};

struct copy {
	struct relay relay;
	struct loop *loop;
	struct stream legs[2];
	struct loop_watch watches[2];
	struct direction directions[2]; /* RELAY_UP reads the client leg */
	struct timer idle_timer, turn_timer, drain_timer;
	uint64_t idle_ms, drain_ms, last_ms;
	relay_done_fn *done;
	void *arg;
	enum relay_end end;
	bool ended, failing;
	int8_t first_eof; /* leg that ended first, or -1 */
};

static _Thread_local char scratch[SCRATCH_BYTES];

/* ---- the end ---- */

static void on_report(struct timer *timer)
{
	struct copy *copy = container_of(timer, struct copy, turn_timer);

	copy->done(&copy->relay, copy->arg, copy->end);
}

static void close_legs(struct copy *copy)
{
	for (int i = 0; i < 2; i++) {
		loop_watch_del(&copy->watches[i]);
		stream_close(&copy->legs[i]);
		buf_fini(&copy->directions[i].pending);
	}
	loop_timer_del(copy->loop, &copy->idle_timer);
	loop_timer_del(copy->loop, &copy->drain_timer);
	loop_timer_del(copy->loop, &copy->turn_timer);
}

/* Closes both legs and reports from the loop. */
static void finish(struct copy *copy, enum relay_end end)
{
	if (copy->ended)
		return;
	copy->ended = true;
	copy->end = end;
	close_legs(copy);
	loop_timer_set(copy->loop, &copy->turn_timer, 0, on_report);
}

static enum relay_end error_of(enum relay_leg leg, ssize_t error)
{
	if (error == -ETIMEDOUT)
		return RELAY_END_KEEPALIVE;
	return leg == RELAY_CLIENT ? RELAY_END_CLIENT_ERROR : RELAY_END_NODE_ERROR;
}

static enum relay_end clean_end(const struct copy *copy)
{
	if (copy->directions[RELAY_UP].truncated || copy->directions[RELAY_DOWN].truncated)
		return RELAY_END_TRUNCATED;
	return copy->first_eof == RELAY_NODE ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF;
}

/* ---- timers ---- */

static void on_idle(struct timer *timer)
{
	struct copy *copy = container_of(timer, struct copy, idle_timer);
	uint64_t silent = clock_mono_ms() - copy->last_ms;

	if (silent >= copy->idle_ms)
		finish(copy, RELAY_END_IDLE);
	else /* lazily: traffic does not re-arm it */
		loop_timer_set(copy->loop, timer, copy->idle_ms - silent, on_idle);
}

/* A closed side's rest makes no progress: the reader is gone in all but name. */
static void on_drain(struct timer *timer)
{
	struct copy *copy = container_of(timer, struct copy, drain_timer);

	for (int i = 0; i < 2; i++)
		sock_abort_on_close(copy->legs[i].fd);
	finish(copy, clean_end(copy));
}

static void update_drain(struct copy *copy, bool progress)
{
	bool owed = false;

	for (int i = 0; i < 2; i++)
		owed |= copy->directions[i].state == DIRECTION_ENDING ||
			(copy->directions[i].closing && copy->directions[i].pending.len);
	if (!owed)
		loop_timer_del(copy->loop, &copy->drain_timer);
	else if (progress || !timer_armed(&copy->drain_timer))
		loop_timer_set(copy->loop, &copy->drain_timer, copy->drain_ms, on_drain);
}

/* ---- moving bytes ---- */

static struct stream *source_of(struct copy *copy, int d)
{
	return &copy->legs[d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE];
}

static struct stream *target_of(struct copy *copy, int d)
{
	return &copy->legs[d == RELAY_UP ? RELAY_NODE : RELAY_CLIENT];
}

static enum relay_leg source_leg(int d)
{
	return d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE;
}

static enum relay_leg target_leg(int d)
{
	return d == RELAY_UP ? RELAY_NODE : RELAY_CLIENT;
}

/* Writes as much as goes. Returns bytes written, or -errno (not -EAGAIN: that is 0). */
static ssize_t write_some(struct copy *copy, int d, const char *data, size_t len)
{
	struct direction *direction = &copy->directions[d];
	size_t written = 0;

	direction->write_want = 0;
	while (written < len) {
		struct stream *target = target_of(copy, d);
		ssize_t n = stream_write(target, data + written, len - written);

		if (n == -EAGAIN) {
			direction->write_want = target->want;
			break;
		}
		if (n < 0)
			return n;
		written += (size_t)n;
	}
	if (written) {
		direction->bytes += written;
		copy->last_ms = copy->loop->now_ms;
	}
	return (ssize_t)written;
}

static bool pump(struct copy *copy, int d, bool *ret_again);

/* A leg cannot be written to any more; what it had sent before is still delivered. */
static bool write_failed(struct copy *copy, int d, ssize_t error)
{
	bool again = false;

	if (!copy->failing) {
		copy->failing = true;
		if (!pump(copy, !d, &again))
			return false;
	}
	finish(copy, error_of(target_leg(d), error));
	return false;
}

/* What is pending goes first. Returns false when the relay has ended. */
static bool flush_pending(struct copy *copy, int d)
{
	struct direction *direction = &copy->directions[d];
	struct view v = buf_view(&direction->pending);
	ssize_t n;

	if (!v.len)
		return true;
	n = write_some(copy, d, v.data, v.len);
	if (n < 0)
		return write_failed(copy, d, n);
	if (n > 0)
		update_drain(copy, true);
	buf_consume(&direction->pending, (size_t)n);
	if (!direction->pending.len)
		buf_fini(&direction->pending);
	return true;
}

/* Sends the target our end of stream. Returns false when the relay has ended. */
static bool end_target(struct copy *copy, int d)
{
	struct direction *direction = &copy->directions[d];
	struct stream *target = target_of(copy, d);
	int r;

	if (direction->pending.len)
		return true;
	if (direction->truncated) {
		r = shutdown(target->fd, SHUT_WR) < 0 ? -errno : 0; /* FIN, no close_notify */
	} else {
		r = stream_shutdown(target);
		if (r == -EAGAIN) {
			direction->write_want = target->want;
			return true;
		}
	}
	direction->write_want = 0;
	direction->state = DIRECTION_DONE;
	if (r < 0 && r != -ENOTCONN && r != -EPIPE) {
		finish(copy, error_of(target_leg(d), r));
		return false;
	}
	update_drain(copy, true);
	return true;
}

/* The source has ended or broken: what was received is still delivered. */
static bool source_ended(struct copy *copy, int d, ssize_t n)
{
	struct direction *direction = &copy->directions[d];

	if (n != STREAM_EOF && n != -ECONNABORTED) {
		finish(copy, error_of(source_leg(d), n));
		return false;
	}
	if (copy->first_eof < 0)
		copy->first_eof = (int8_t)source_leg(d);
	direction->truncated = n == -ECONNABORTED;
	direction->state = DIRECTION_ENDING;
	direction->read_want = 0;
	return true;
}

static bool keep_rest(struct copy *copy, int d, const char *data, size_t len)
{
	if (!len)
		return true;
	if (buf_append(&copy->directions[d].pending, data, len) == 0)
		return true;
	finish(copy, error_of(target_leg(d), -ENOMEM));
	return false;
}

/* Reads and writes until one side blocks or the turn is over. *ret_again: more is there. */
static bool pump(struct copy *copy, int d, bool *ret_again)
{
	struct direction *direction = &copy->directions[d];
	size_t moved = 0;

	while (direction->state == DIRECTION_OPEN && !direction->pending.len) {
		struct stream *source = source_of(copy, d);
		ssize_t n, written;

		if (moved >= TURN_BYTES) {
			*ret_again = true;
			break;
		}
		n = stream_read(source, scratch, sizeof(scratch));
		direction->read_want = n == -EAGAIN ? source->want : 0;
		if (n == -EAGAIN)
			break;
		if (n <= 0)
			return source_ended(copy, d, n);
		written = write_some(copy, d, scratch, (size_t)n);
		if (written < 0)
			return write_failed(copy, d, written);
		if (!keep_rest(copy, d, scratch + written, (size_t)(n - written)))
			return false;
		moved += (size_t)n;
		copy->last_ms = copy->loop->now_ms;
	}
	return true;
}

static void update_watches(struct copy *copy)
{
	uint32_t events[2] = { 0, 0 };

	for (int d = 0; d < 2; d++) {
		struct direction *direction = &copy->directions[d];

		if (direction->state == DIRECTION_OPEN && !direction->pending.len)
			events[source_leg(d)] |=
				direction->read_want ? direction->read_want : EPOLLIN;
		else if (direction->state == DIRECTION_OPEN && !direction->closing)
			events[source_leg(d)] |= EPOLLRDHUP; /* starts the drain's clock */
		if (direction->pending.len || direction->state == DIRECTION_ENDING)
			events[target_leg(d)] |=
				direction->write_want ? direction->write_want : EPOLLOUT;
	}
	for (int i = 0; i < 2; i++) {
		if (copy->watches[i].loop && loop_watch_set(&copy->watches[i], events[i]) < 0) {
			finish(copy, error_of((enum relay_leg)i, -EBADF));
			return;
		}
	}
}

static void on_turn(struct timer *timer);

/* Both directions once. */
static void run(struct copy *copy)
{
	bool again = false;

	for (int d = 0; d < 2; d++) {
		struct direction *direction = &copy->directions[d];

		if (!flush_pending(copy, d) || !pump(copy, d, &again))
			return;
		if (direction->state == DIRECTION_ENDING) {
			update_drain(copy, false);
			if (!end_target(copy, d))
				return;
		}
	}
	if (copy->directions[0].state == DIRECTION_DONE &&
		copy->directions[1].state == DIRECTION_DONE) {
		finish(copy, clean_end(copy));
		return;
	}
	if (again)
		loop_timer_set(copy->loop, &copy->turn_timer, 0, on_turn);
	update_watches(copy);
}

static void on_turn(struct timer *timer)
{
	run(container_of(timer, struct copy, turn_timer));
}

/* The leg hung up in both directions. Epoll reports that whatever we ask for, so a leg that we do
 * not want to read now must not be left in the set, or the loop would spin. */
static void on_hangup(struct copy *copy, int leg)
{
	struct direction *from = &copy->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];
	struct direction *to = &copy->directions[leg == RELAY_CLIENT ? RELAY_DOWN : RELAY_UP];
	int error = sock_error(copy->legs[leg].fd);

	run(copy);
	if (copy->ended)
		return;
	/* Nobody can be written to there any more. */
	if (to->state != DIRECTION_DONE &&
		(to->pending.len || to->state == DIRECTION_ENDING || error)) {
		finish(copy, error_of((enum relay_leg)leg, error ? error : -EPIPE));
		return;
	}
	if (from->state != DIRECTION_OPEN || from->pending.len)
		loop_watch_del(&copy->watches[leg]);
}

static void on_leg(struct loop_watch *watch, uint32_t epoll_events, struct copy *copy, int leg)
{
	struct direction *from = &copy->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

	(void)watch;
	if (epoll_events & EPOLLRDHUP) {
		from->closing = true;
		update_drain(copy, false);
	}
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		on_hangup(copy, leg);
	else
		run(copy);
}

static void on_client(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, epoll_events, container_of(watch, struct copy, watches[RELAY_CLIENT]),
		RELAY_CLIENT);
}

static void on_node(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, epoll_events, container_of(watch, struct copy, watches[RELAY_NODE]),
		RELAY_NODE);
}

/* ---- the interface ---- */

static void copy_stop(struct relay *relay, bool gracefully)
{
	struct copy *copy = (struct copy *)relay;

	if (copy->ended)
		return;
	for (int d = 0; d < 2 && gracefully; d++) {
		struct view v = buf_view(&copy->directions[d].pending);

		if (v.len && write_some(copy, d, v.data, v.len) != (ssize_t)v.len)
			continue; /* cut: no clean end for what is not whole */
		if (copy->directions[d].state != DIRECTION_DONE &&
			stream_shutdown(target_of(copy, d)) < 0)
			continue;
	}
	copy->ended = true;
	close_legs(copy);
}

static void copy_free(struct relay *relay)
{
	struct copy *copy = (struct copy *)relay;

	copy_stop(relay, false);
	loop_timer_del(copy->loop, &copy->turn_timer);
	free(copy);
}

static void copy_set_idle(struct relay *relay, uint64_t idle_ms)
{
	struct copy *copy = (struct copy *)relay;

	copy->idle_ms = idle_ms;
	if (!copy->ended)
		loop_timer_set(copy->loop, &copy->idle_timer, idle_ms, on_idle);
}

static uint64_t copy_bytes(const struct relay *relay, enum relay_direction direction)
{
	return ((const struct copy *)relay)->directions[direction].bytes;
}

static uint64_t copy_idle_ms(const struct relay *relay)
{
	return clock_mono_ms() - ((const struct copy *)relay)->last_ms;
}

static const struct relay_ops copy_ops = {
	.path = RELAY_PATH_COPY,
	.stop = copy_stop,
	.free = copy_free,
	.set_idle = copy_set_idle,
	.bytes = copy_bytes,
	.idle_ms = copy_idle_ms,
};

static int watch_legs(struct copy *copy, struct stream legs[2])
{
	int r = loop_watch_add(
		copy->loop, &copy->watches[RELAY_CLIENT], legs[RELAY_CLIENT].fd, 0, on_client);

	if (r == 0)
		r = loop_watch_add(
			copy->loop, &copy->watches[RELAY_NODE], legs[RELAY_NODE].fd, 0, on_node);
	if (r < 0)
		loop_watch_del(&copy->watches[RELAY_CLIENT]);
	return r;
}

int relay_copy_start(const struct relay_params *params, struct stream legs[2], struct buf early[2],
	struct relay **ret_relay)
{
	struct copy *copy = calloc(1, sizeof(*copy));
	int r;

	if (!copy)
		return -ENOMEM;
	copy->relay.ops = &copy_ops;
	copy->loop = params->loop;
	copy->idle_ms = params->idle_ms;
	copy->drain_ms = params->drain_ms;
	copy->done = params->done;
	copy->arg = params->arg;
	copy->first_eof = -1;
	copy->last_ms = clock_mono_ms();
	r = watch_legs(copy, legs);
	if (r < 0) {
		free(copy);
		return r;
	}
	for (int d = 0; d < 2; d++) {
		copy->legs[d] = legs[d];
		legs[d] = (struct stream){ 0 };
		buf_init(&copy->directions[d].pending, 0, true);
	}
	for (int leg = 0; leg < 2; leg++) {
		struct direction *direction =
			&copy->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

		direction->pending = early[leg];
		direction->pending.limit = 0;
		early[leg] = (struct buf){ 0 };
		if (!direction->pending.len)
			buf_fini(&direction->pending);
	}
	loop_timer_set(copy->loop, &copy->idle_timer, copy->idle_ms, on_idle);
	loop_timer_set(copy->loop, &copy->turn_timer, 0, on_turn); /* TLS may hold bytes already */
	*ret_relay = &copy->relay;
	return 0;
}
