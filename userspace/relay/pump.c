// SPDX-License-Identifier: Apache-2.0
/*
 * The data paths that user space serves: it reads from one leg and writes to the other, through
 * OpenSSL where a leg is encrypted (copy) or with the kernel doing the cryptography (ktls). A leg
 * starts with OpenSSL and is switched to kernel TLS at the first record boundary. Bytes go through
 * one scratch buffer per thread; a direction has a buffer of its own only while its target is
 * blocked, and then its source is not read, so memory is bounded and an idle session holds none.
 * One turn moves a bounded amount, so that a bulk session does not starve others.
 *
 * A direction is OPEN, then ENDING (its source has ended, what is left is being sent), then DONE
 * (the target has our end of stream). The relay is over when both are DONE or a leg breaks.
 */
#include "base/clock.h"
#include "net/sock.h"
#include "net/tcpinfo.h"
#include "relay/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* How soon to ask again when no event tells. */
#define RETRY_MS 2
/* How much later than its client a node may end a session that both agreed to end. */
#define QUIT_MS 100
#define SHORT_BYTES 4096
/* Short messages that are there already are put together up to this. */
#define GATHER_BYTES (RELAY_CHUNK_BYTES / 2)
/* Short reads of one direction within a millisecond from which on more is asked for, and how many
 * it takes until the next attempt when there was nothing. */
#define BURST_EVENTS 4
#define BURST_PAUSE 64

enum direction_state { DIRECTION_OPEN, DIRECTION_ENDING, DIRECTION_DONE };

struct direction {
	enum direction_state state;
	bool closing;       /* the source has hung up, but not all it sent has been read yet */
	uint8_t chunk;      /* doublings of what one read takes */
	int8_t streak;      /* short reads within read_ms; below 0: a pause in asking for more */
	bool truncated;     /* the source ended without close_notify: no clean end for the target */
	struct buf pending; /* read, not yet written; empty and without memory while it flows */
	uint64_t bytes;     /* delivered */
	uint64_t read_ms;   /* of the last short read */
	uint32_t read_want, write_want; /* epoll events a blocked call waits for; 0 = not blocked */
};

struct pump {
	struct relay relay;
	struct stream legs[2];
	struct loop_watch watches[2];
	struct direction directions[2]; /* RELAY_UP reads the client leg */
	struct timer turn_timer;
	struct timer limit_timer; /* idle, and while a closed side's rest is sent: no progress */
	uint64_t last_ms;
	uint64_t drain_at_ms; /* 0: nothing is owed to a closed side's reader */
	uint64_t row_bytes;   /* both directions, as the rows have them */
	uint64_t session;     /* for the rows: number, name, the sources' cookies by direction */
	const char *protocol;
	__u64 cookies[2];
	uint32_t idle_ms, drain_ms;
	relay_done_fn *done;
	void *arg;
	enum relay_end end;
	enum relay_path path;
	bool ended, failing;
	bool one_way;       /* what the client says is dropped */
	bool broken;        /* a leg is gone: end says how; the rest is being delivered */
	bool switchable[2]; /* the leg is OpenSSL's and may become the kernel's */
	bool retry;         /* something is due that no event announces */
	bool key_update;
	bool has_rows;
	int8_t first_eof; /* leg that ended first, or -1 */
	bool quit;        /* the client's end without close_notify came when the node had ended */
	uint64_t quit_at_ms; /* until then the node may end what the client has hung up on; or 0 */
};

static struct loop *loop_of(const struct pump *pump)
{
	return pump->relay.engine->loop;
}

static struct stream *source_of(struct pump *pump, int d)
{
	return &pump->legs[d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE];
}

static struct stream *target_of(struct pump *pump, int d)
{
	return &pump->legs[d == RELAY_UP ? RELAY_NODE : RELAY_CLIENT];
}

static enum relay_leg source_leg(int d)
{
	return d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE;
}

static enum relay_leg target_leg(int d)
{
	return d == RELAY_UP ? RELAY_NODE : RELAY_CLIENT;
}

/* ---- rows: what bpftool shows of a direction that user space moves ---- */

static enum relay_path path_of(const struct pump *pump)
{
	bool kernel = false;

	for (int i = 0; i < 2; i++) {
		if (!stream_is_tls(&pump->legs[i]))
			continue;
		if (!ktls_is_on(&pump->legs[i]))
			return RELAY_PATH_COPY;
		kernel = true;
	}
	return kernel ? RELAY_PATH_KTLS : RELAY_PATH_COPY;
}

static uint64_t bytes_of_both(const struct pump *pump)
{
	return pump->directions[0].bytes + pump->directions[1].bytes;
}

static void put_row(struct pump *pump, int d)
{
	struct hm_flow flow;

	relay_fill_row(&pump->relay, pump->session, pump->protocol, (enum relay_direction)d, &flow);
	flow.path = pump->path == RELAY_PATH_KTLS ? HM_KTLS : HM_COPY;
	flow.state = HM_USERSPACE;
	flow.passed = pump->directions[d].bytes;
	flow.last_ns = pump->last_ms * 1000000;
	relay_put_row(pump->relay.engine, pump->cookies[d], &flow);
}

static void remove_rows(struct pump *pump)
{
	for (int d = 0; d < 2 && pump->has_rows; d++)
		bpfctl_flow_remove(pump->relay.engine->kernel->bpfctl, pump->cookies[d]);
	pump->has_rows = false;
}

/* A session has its rows from its first scan on, so a short one costs none. */
static void pump_scan(struct relay *relay)
{
	struct pump *pump = (struct pump *)relay;

	if (pump->has_rows && bytes_of_both(pump) == pump->row_bytes)
		return;
	for (int d = 0; d < 2; d++) {
		if (!pump->has_rows)
			pump->cookies[d] = bpfctl_cookie(source_of(pump, d)->fd);
		put_row(pump, d);
	}
	pump->has_rows = true;
	pump->row_bytes = bytes_of_both(pump);
}

/* ---- the end ---- */

static void on_report(struct timer *timer)
{
	struct pump *pump = container_of(timer, struct pump, turn_timer);

	pump->done(&pump->relay, pump->arg, pump->end);
}

static void close_legs(struct pump *pump)
{
	remove_rows(pump);
	relay_unregister(&pump->relay);
	for (int i = 0; i < 2; i++) {
		loop_watch_forget(&pump->watches[i]);
		stream_close(&pump->legs[i]);
		relay_drop_pending(&pump->directions[i].pending);
	}
	relay_scratch_wipe();
	loop_timer_del(loop_of(pump), &pump->limit_timer);
	loop_timer_del(loop_of(pump), &pump->turn_timer);
}

/* Closes both legs and reports from the loop. */
static void finish(struct pump *pump, enum relay_end end)
{
	if (pump->ended)
		return;
	pump->ended = true;
	pump->end = end;
	close_legs(pump);
	loop_timer_set(loop_of(pump), &pump->turn_timer, 0, on_report);
}

static enum relay_end error_of(enum relay_leg leg, ssize_t error)
{
	if (error == -ETIMEDOUT)
		return RELAY_END_KEEPALIVE;
	return leg == RELAY_CLIENT ? RELAY_END_CLIENT_ERROR : RELAY_END_NODE_ERROR;
}

static enum relay_end clean_end(const struct pump *pump)
{
	if (pump->broken)
		return pump->end;
	if (pump->key_update)
		return RELAY_END_KEY_UPDATE;
	if ((pump->directions[RELAY_UP].truncated && !pump->quit) ||
		pump->directions[RELAY_DOWN].truncated)
		return RELAY_END_TRUNCATED;
	return pump->first_eof == RELAY_NODE ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF;
}

/* ---- timers ---- */

static void on_limit(struct timer *timer);

/* Armed lazily: traffic does not touch it. */
static void arm_limit(struct pump *pump)
{
	uint64_t at = pump->last_ms + pump->idle_ms, now = clock_mono_ms();

	if (pump->drain_at_ms)
		at = MIN(at, pump->drain_at_ms);
	loop_timer_set(loop_of(pump), &pump->limit_timer, at > now ? at - now : 0, on_limit);
}

static void on_limit(struct timer *timer)
{
	struct pump *pump = container_of(timer, struct pump, limit_timer);
	uint64_t now = clock_mono_ms();

	if (pump->drain_at_ms && now >= pump->drain_at_ms) {
		/* A closed side's rest makes no progress: the reader is gone in all but name. */
		for (int i = 0; i < 2; i++)
			sock_abort_on_close(pump->legs[i].fd);
		finish(pump, clean_end(pump));
	} else if (now - pump->last_ms >= pump->idle_ms) {
		finish(pump, RELAY_END_IDLE);
	} else {
		arm_limit(pump);
	}
}

static void update_drain(struct pump *pump, bool progress)
{
	bool owed = pump->key_update || pump->broken ||
		(pump->one_way && pump->directions[RELAY_DOWN].state == DIRECTION_DONE);

	for (int i = 0; i < 2; i++)
		owed |= pump->directions[i].state == DIRECTION_ENDING ||
			(pump->directions[i].closing && pump->directions[i].pending.len);
	if (!owed) {
		pump->drain_at_ms = 0;
	} else if (progress || !pump->drain_at_ms) {
		bool armed = pump->drain_at_ms != 0;

		pump->drain_at_ms = clock_mono_ms() + pump->drain_ms;
		if (!armed)
			arm_limit(pump);
	}
}

/* ---- moving bytes ---- */

/* Writes as much as goes. Returns bytes written, or -errno (not -EAGAIN: that is 0). */
static ssize_t write_some(struct pump *pump, int d, const char *data, size_t len)
{
	struct direction *direction = &pump->directions[d];
	size_t written = 0;

	direction->write_want = 0;
	while (written < len) {
		struct stream *target = target_of(pump, d);
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
		pump->last_ms = loop_of(pump)->now_ms;
	}
	return (ssize_t)written;
}

static bool move(struct pump *pump, int d, bool *ret_again);

static void on_turn(struct timer *timer);

/* A leg is gone. Nothing can be written to it any more; what had arrived from it is still
 * delivered, without a clean end. Returns true: the relay goes on for that. */
static bool leg_broken(struct pump *pump, enum relay_leg leg, ssize_t error)
{
	struct direction *from = &pump->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];
	struct direction *to = &pump->directions[leg == RELAY_CLIENT ? RELAY_DOWN : RELAY_UP];

	if (!pump->broken) {
		pump->broken = true;
		pump->end = error_of(leg, error);
	}
	to->state = DIRECTION_DONE;
	relay_drop_pending(&to->pending);
	if (from->state == DIRECTION_OPEN) {
		from->state = DIRECTION_ENDING;
		from->truncated = true;
	}
	loop_watch_del(&pump->watches[leg]);
	/* The other direction may have had its turn. */
	loop_timer_set(loop_of(pump), &pump->turn_timer, 0, on_turn);
	update_drain(pump, false);
	return true;
}

/* The leg cannot be written to: first read what it has sent. */
static bool write_failed(struct pump *pump, int d, ssize_t error)
{
	bool again = false;

	if (!pump->failing) {
		pump->failing = true;
		if (!move(pump, !d, &again))
			return false;
	}
	return leg_broken(pump, target_leg(d), error);
}

/* What is pending goes first. Returns false when the relay has ended. */
static bool flush_pending(struct pump *pump, int d)
{
	struct direction *direction = &pump->directions[d];
	struct view v = buf_view(&direction->pending);
	ssize_t n;

	if (!v.len)
		return true;
	n = write_some(pump, d, v.data, v.len);
	if (n < 0)
		return write_failed(pump, d, n);
	if (n > 0)
		update_drain(pump, true);
	buf_consume(&direction->pending, (size_t)n);
	if (!direction->pending.len)
		relay_drop_pending(&direction->pending);
	return true;
}

/* Sends the target our end of stream. Returns false when the relay has ended. */
static bool end_target(struct pump *pump, int d)
{
	struct direction *direction = &pump->directions[d];
	struct stream *target = target_of(pump, d);
	int r;

	if (direction->pending.len)
		return true;
	r = direction->truncated ? stream_cut(target) : stream_shutdown(target);
	if (r == -EAGAIN) {
		direction->write_want = target->want;
		pump->retry |= !target->want;
		return true;
	}
	direction->write_want = 0;
	direction->state = DIRECTION_DONE;
	if (r < 0 && r != -ENOTCONN && r != -EPIPE)
		return leg_broken(pump, target_leg(d), r);
	update_drain(pump, true);
	return true;
}

/* Whether a direction ended by itself, with everything that belongs to it. */
static bool ended_whole(const struct direction *direction)
{
	return direction->state != DIRECTION_OPEN && !direction->truncated &&
		!direction->pending.len;
}

/*
 * Many clients hang up without close_notify when the node has ended the session (IMAP LOGOUT, POP3
 * and SMTP QUIT), and then nothing of theirs can be missing to it. Their FIN often overtakes the
 * node's by a moment, so the node hears of it a little later, unless it ends by itself until then.
 * How a session is said to have ended depends on it alone: a node that still reads never sees a
 * clean end (SES-84).
 */
static void judge_truncation(struct pump *pump, int d)
{
	struct direction *up = &pump->directions[RELAY_UP];

	if (pump->broken || !up->truncated || up->state != DIRECTION_ENDING)
		return;
	if (ended_whole(&pump->directions[RELAY_DOWN])) {
		pump->quit = true;
		pump->quit_at_ms = 0;
		pump->first_eof = RELAY_NODE;
	} else if (d == RELAY_UP && pump->directions[RELAY_DOWN].state == DIRECTION_OPEN) {
		pump->quit_at_ms = clock_mono_ms() + QUIT_MS;
	}
}

/* The client has hung up and the node may be about to. Returns the milliseconds left for that. */
static uint64_t waits_for_node(struct pump *pump)
{
	uint64_t now = clock_mono_ms();

	if (!pump->quit_at_ms || pump->broken || now >= pump->quit_at_ms ||
		pump->directions[RELAY_DOWN].state != DIRECTION_OPEN)
		pump->quit_at_ms = 0;
	return pump->quit_at_ms ? pump->quit_at_ms - now : 0;
}

/* The source has ended or broken: what was received is still delivered. */
static bool source_ended(struct pump *pump, int d, ssize_t n)
{
	struct direction *direction = &pump->directions[d];

	if (n == -EKEYEXPIRED) { /* end both directions as cleanly as it goes */
		pump->key_update = true;
		atomic_fetch_add(&pump->relay.engine->kernel->key_updates, 1);
		for (int i = 0; i < 2; i++) {
			if (pump->directions[i].state == DIRECTION_OPEN)
				pump->directions[i].state = DIRECTION_ENDING;
		}
		return true;
	}
	if (n != STREAM_EOF && n != -ECONNABORTED)
		return leg_broken(pump, source_leg(d), n);
	if (pump->first_eof < 0)
		pump->first_eof = (int8_t)source_leg(d);
	direction->truncated = n == -ECONNABORTED;
	direction->state = DIRECTION_ENDING;
	direction->read_want = 0;
	judge_truncation(pump, d);
	return true;
}

static bool keep_rest(struct pump *pump, int d, const char *data, size_t len)
{
	if (!len)
		return true;
	if (relay_keep_pending(&pump->directions[d].pending, data, len) == 0)
		return true;
	finish(pump, error_of(target_leg(d), -ENOMEM));
	return false;
}

/* The leg becomes the kernel's if it can now. Returns false when the relay has ended. */
static bool try_switch(struct pump *pump, int leg)
{
	int r;

	if (!pump->switchable[leg])
		return true;
	r = ktls_switch(&pump->legs[leg], &pump->relay.engine->kernel->ktls);
	if (r == KTLS_NOT_YET)
		return true;
	pump->switchable[leg] = false;
	if (r == -EIO) {
		finish(pump, error_of((enum relay_leg)leg, r));
		return false;
	}
	pump->path = path_of(pump);
	for (int d = 0; d < 2; d++)
		pump->directions[d].read_want = 0;
	return true;
}

/*
 * More of what the source has, behind `have` bytes in the scratch buffer, so that many small
 * messages are one write. What OpenSSL holds is known; what the kernel holds is asked for when
 * events have come close together, and not for a while when there was nothing. Returns the bytes
 * there are then; *ret_end: what the last read said if it was not a count, else 1. *spent: what the
 * reads count for is added.
 */
static size_t gather(struct pump *pump, int d, size_t have, ssize_t *ret_end, size_t *spent)
{
	struct direction *direction = &pump->directions[d];
	struct stream *source = source_of(pump, d);
	uint64_t now_ms = loop_of(pump)->now_ms;
	bool burst, more = false;

	if (direction->streak >= 0 && direction->read_ms != now_ms)
		direction->streak = 0;
	else if (direction->streak < BURST_EVENTS)
		direction->streak++;
	direction->read_ms = now_ms;
	burst = direction->streak == BURST_EVENTS;
	*ret_end = 1;
	while (have < GATHER_BYTES && *spent < RELAY_TURN_BYTES &&
		(burst || stream_pending(source))) {
		ssize_t n = stream_read(source, relay_scratch + have, RELAY_CHUNK_BYTES);

		if (n <= 0) {
			*ret_end = n;
			break;
		}
		have += (size_t)n;
		relay_scratch_note(have);
		*spent += stream_read_cost(source, n);
		more = true;
	}
	if (*ret_end == -EAGAIN) {
		direction->read_want = source->want;
		if (burst && !more)
			direction->streak = -BURST_PAUSE;
	}
	return have;
}

/* Reads and writes until one side blocks or the turn is over. *ret_again: more is there. */
static bool move(struct pump *pump, int d, bool *ret_again)
{
	struct direction *direction = &pump->directions[d];
	size_t spent = 0;

	while (direction->state == DIRECTION_OPEN && !direction->pending.len) {
		struct stream *source = source_of(pump, d);
		ssize_t n, written, end = 1;

		if (spent >= RELAY_TURN_BYTES) {
			*ret_again = true;
			break;
		}
		n = stream_read(source, relay_scratch, relay_chunk(direction->chunk));
		direction->read_want = n == -EAGAIN ? source->want : 0;
		if (n == -EAGAIN)
			break;
		if (n <= 0)
			return source_ended(pump, d, n);
		relay_scratch_note((size_t)n);
		spent += stream_read_cost(source, n);
		if (n < SHORT_BYTES)
			n = (ssize_t)gather(pump, d, (size_t)n, &end, &spent);
		written = pump->one_way && d == RELAY_UP
			? n
			: write_some(pump, d, relay_scratch, (size_t)n);
		if (written < 0)
			return write_failed(pump, d, written);
		relay_chunk_adapt(&direction->chunk, (size_t)n, (size_t)written);
		if (!keep_rest(pump, d, relay_scratch + written, (size_t)(n - written)))
			return false;
		pump->last_ms = loop_of(pump)->now_ms;
		if (end == -EAGAIN)
			break;
		if (end <= 0)
			return source_ended(pump, d, end);
		if (!try_switch(pump, (int)source_leg(d)))
			return false;
		/* A short message is rarely followed by another at once, and epoll would say so:
		 * asking costs a system call. What the TLS layer holds itself, epoll does not
		 * see. */
		if (n < SHORT_BYTES && !direction->closing && !pump->failing &&
			pump->watches[source_leg(d)].loop && !stream_pending(source_of(pump, d)))
			break;
	}
	return true;
}

static void update_watches(struct pump *pump)
{
	uint32_t events[2] = { 0, 0 };

	for (int d = 0; d < 2; d++) {
		struct direction *direction = &pump->directions[d];

		if (direction->state == DIRECTION_OPEN && !direction->pending.len)
			events[source_leg(d)] |=
				direction->read_want ? direction->read_want : EPOLLIN;
		else if (direction->state == DIRECTION_OPEN && !direction->closing)
			events[source_leg(d)] |= EPOLLRDHUP; /* starts the drain's clock */
		if (direction->pending.len ||
			(direction->state == DIRECTION_ENDING && !pump->retry &&
				!(d == RELAY_UP && pump->quit_at_ms)))
			events[target_leg(d)] |=
				direction->write_want ? direction->write_want : EPOLLOUT;
	}
	for (int i = 0; i < 2; i++) {
		if (pump->watches[i].loop && loop_watch_set(&pump->watches[i], events[i]) < 0) {
			finish(pump, error_of((enum relay_leg)i, -EBADF));
			return;
		}
	}
}

static void on_turn(struct timer *timer);

/* Closing a socket with unread input resets it, and what is on its way to that peer is lost. When
 * we are the ones who end, the peer may well be sending. */
static bool still_queued(struct pump *pump)
{
	if ((!pump->key_update && !pump->broken) || clock_mono_ms() >= pump->drain_at_ms)
		return false;
	for (int leg = 0; leg < 2; leg++)
		pump->retry |= tcpinfo_owes(pump->legs[leg].fd);
	return pump->retry;
}

/* Both directions once. */
static void run(struct pump *pump)
{
	bool again = false;
	uint64_t wait_ms = 0;

	pump->retry = false;
	for (int leg = 0; leg < 2; leg++) {
		if (!try_switch(pump, leg))
			return;
	}
	for (int d = 0; d < 2; d++) {
		struct direction *direction = &pump->directions[d];

		if (!flush_pending(pump, d) || !move(pump, d, &again))
			return;
		if (direction->state == DIRECTION_ENDING) {
			update_drain(pump, false);
			wait_ms = d == RELAY_UP ? waits_for_node(pump) : wait_ms;
			if (!(d == RELAY_UP && wait_ms) && !end_target(pump, d))
				return;
		}
	}
	if (pump->directions[0].state == DIRECTION_DONE &&
		pump->directions[1].state == DIRECTION_DONE && !still_queued(pump)) {
		finish(pump, clean_end(pump));
		return;
	}
	if (again || pump->retry)
		loop_timer_set(loop_of(pump), &pump->turn_timer, again ? 0 : RETRY_MS, on_turn);
	else if (wait_ms)
		loop_timer_set(loop_of(pump), &pump->turn_timer,
			pump->directions[RELAY_DOWN].state == DIRECTION_OPEN ? wait_ms : 0,
			on_turn);
	update_watches(pump);
}

static void on_turn(struct timer *timer)
{
	run(container_of(timer, struct pump, turn_timer));
}

/* The leg hung up in both directions. Epoll reports that whatever we ask for, so a leg that we do
 * not want to read now must not be left in the set, or the loop would spin. */
static void on_hangup(struct pump *pump, int leg)
{
	struct direction *from = &pump->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];
	struct direction *to = &pump->directions[leg == RELAY_CLIENT ? RELAY_DOWN : RELAY_UP];
	int error = sock_error(pump->legs[leg].fd);

	from->closing = true; /* all that has arrived is read now */
	run(pump);
	if (pump->ended)
		return;
	/* Nobody can be written to there any more. */
	if (to->state != DIRECTION_DONE &&
		(to->pending.len || to->state == DIRECTION_ENDING || error)) {
		if (leg_broken(pump, (enum relay_leg)leg, error ? error : -EPIPE))
			run(pump);
		return;
	}
	if (from->state != DIRECTION_OPEN || from->pending.len)
		loop_watch_del(&pump->watches[leg]);
}

/* Both directions flow and nothing else is due: readable legs are all there is to wait for. */
static bool just_flows(const struct pump *pump)
{
	for (int i = 0; i < 2; i++) {
		const struct direction *direction = &pump->directions[i];

		if (direction->state != DIRECTION_OPEN || direction->closing ||
			direction->pending.len || direction->write_want ||
			(direction->read_want && direction->read_want != EPOLLIN) ||
			pump->switchable[i] || pump->watches[i].events != EPOLLIN)
			return false;
	}
	return !pump->broken && !pump->key_update && !pump->failing;
}

static void on_leg(struct loop_watch *watch, uint32_t epoll_events, struct pump *pump, int leg)
{
	struct direction *from = &pump->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

	loop_work_on(watch->loop, pump->session);
	if (epoll_events == EPOLLIN && just_flows(pump)) {
		bool again = false;

		if (!move(pump, leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN, &again) ||
			(!again && just_flows(pump)))
			return;
	}
	if (epoll_events & EPOLLRDHUP) {
		from->closing = true;
		update_drain(pump, false);
	}
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		on_hangup(pump, leg);
	else
		run(pump);
}

static void on_client(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, epoll_events, container_of(watch, struct pump, watches[RELAY_CLIENT]),
		RELAY_CLIENT);
}

static void on_node(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, epoll_events, container_of(watch, struct pump, watches[RELAY_NODE]),
		RELAY_NODE);
}

/* ---- the interface ---- */

static void pump_stop(struct relay *relay, bool gracefully)
{
	struct pump *pump = (struct pump *)relay;

	if (pump->ended)
		return;
	for (int d = 0; d < 2 && gracefully; d++) {
		struct view v = buf_view(&pump->directions[d].pending);

		if (v.len && write_some(pump, d, v.data, v.len) != (ssize_t)v.len)
			continue; /* cut: no clean end for what is not whole */
		if (pump->directions[d].state != DIRECTION_DONE &&
			stream_shutdown(target_of(pump, d)) < 0)
			continue;
	}
	pump->ended = true;
	close_legs(pump);
}

static void pump_free(struct relay *relay)
{
	struct pump *pump = (struct pump *)relay;

	pump_stop(relay, false);
	loop_timer_del(loop_of(pump), &pump->turn_timer);
	free(pump);
}

static void pump_set_idle(struct relay *relay, uint64_t idle_ms)
{
	struct pump *pump = (struct pump *)relay;

	pump->idle_ms = (uint32_t)MIN(idle_ms, (uint64_t)UINT32_MAX);
	if (!pump->ended)
		arm_limit(pump);
}

static uint64_t pump_bytes(const struct relay *relay, enum relay_direction direction)
{
	return ((const struct pump *)relay)->directions[direction].bytes;
}

static enum relay_path pump_path(const struct relay *relay, enum relay_direction direction)
{
	(void)direction;
	return ((const struct pump *)relay)->path;
}

static uint64_t pump_idle_ms(const struct relay *relay)
{
	return clock_mono_ms() - ((const struct pump *)relay)->last_ms;
}

static const struct relay_ops pump_ops = {
	.stop = pump_stop,
	.free = pump_free,
	.set_idle = pump_set_idle,
	.bytes = pump_bytes,
	.path = pump_path,
	.idle_ms = pump_idle_ms,
	.scan = pump_scan,
};

static int watch_legs(struct pump *pump, const struct relay_params *params, struct stream legs[2])
{
	int r = relay_watch(loop_of(pump), params->watches[RELAY_CLIENT],
		&pump->watches[RELAY_CLIENT], legs[RELAY_CLIENT].fd, on_client);

	return r < 0 ? r
		     : relay_watch(loop_of(pump), params->watches[RELAY_NODE],
			       &pump->watches[RELAY_NODE], legs[RELAY_NODE].fd, on_node);
}

static void take_early(struct pump *pump, struct buf early[2])
{
	for (int leg = 0; leg < 2; leg++) {
		struct direction *direction =
			&pump->directions[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

		direction->pending = early[leg];
		direction->pending.limit = 0;
		early[leg] = (struct buf){ 0 };
		if (pump->one_way && leg == RELAY_CLIENT)
			buf_clear(&direction->pending);
		if (!direction->pending.len)
			relay_drop_pending(&direction->pending);
	}
}

static void set_up(struct pump *pump, const struct relay_params *params)
{
	pump->relay.ops = &pump_ops;
	pump->relay.engine = params->engine;
	pump->idle_ms = (uint32_t)MIN(params->idle_ms, (uint64_t)UINT32_MAX);
	pump->drain_ms = (uint32_t)params->drain_ms;
	pump->done = params->done;
	pump->arg = params->arg;
	pump->one_way = params->one_way;
	pump->session = params->session;
	pump->protocol = params->protocol;
	pump->first_eof = -1;
	pump->last_ms = clock_mono_ms();
}

/* Nothing is left over from before, here or in OpenSSL, that no event would announce. */
static bool waits_for_events(const struct pump *pump)
{
	for (int i = 0; i < 2; i++) {
		if (pump->directions[i].pending.len || pump->switchable[i] ||
			stream_pending(&pump->legs[i]))
			return false;
	}
	return true;
}

int relay_pump_start(const struct relay_params *params, struct stream legs[2], struct buf early[2],
	struct relay **ret_relay)
{
	struct pump *pump = calloc(1, sizeof(*pump));
	bool ktls = params->settings.mode == RELAY_MODE_AUTO ||
		params->settings.mode == RELAY_MODE_KTLS;
	int r;

	if (!pump)
		return -ENOMEM;
	set_up(pump, params);
	r = watch_legs(pump, params, legs);
	if (r == 0)
		r = relay_register(&pump->relay, params->engine);
	if (r < 0) {
		loop_watch_del(&pump->watches[RELAY_CLIENT]);
		loop_watch_del(&pump->watches[RELAY_NODE]);
		free(pump);
		return r;
	}
	for (int leg = 0; leg < 2; leg++) {
		pump->legs[leg] = legs[leg];
		legs[leg] = (struct stream){ 0 };
		pump->switchable[leg] = ktls && stream_is_tls(&pump->legs[leg]);
	}
	take_early(pump, early);
	arm_limit(pump);
	pump->path = path_of(pump);
	if (!try_switch(pump, RELAY_CLIENT) || !try_switch(pump, RELAY_NODE))
		; /* reported from the loop */
	else if (waits_for_events(pump))
		update_watches(pump);
	else
		loop_timer_set(loop_of(pump), &pump->turn_timer, 0, on_turn);
	*ret_relay = &pump->relay;
	return 0;
}
