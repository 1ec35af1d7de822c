// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes in user space: from one leg through the thread's scratch buffer to the other, and what the
 * target does not take into a buffer of the direction's own. That one exists only while the target
 * is blocked, and then the source is not read, so memory is bounded and an idle session holds none.
 * One turn moves a bounded amount, so that a bulk session does not starve others.
 */
#include "relay/frame.h"
#include "tls/records.h"

#include <errno.h>
#include <sys/epoll.h>

#define SHORT_BYTES 4096
/* Short messages that are there already are put together up to this. */
#define GATHER_BYTES (RELAY_CHUNK_BYTES / 2)
/* Short reads of one direction within a millisecond from which on more is asked for, and how many
 * it takes until the next attempt when there was nothing. */
#define BURST_EVENTS 4
#define BURST_PAUSE 64

/* ---- writing ---- */

ssize_t relay_write_some(struct relay *relay, int d, const char *data, size_t len)
{
	struct relay_io *io = &relay->io[d];
	size_t written = 0;

	io->write_want = 0;
	while (written < len) {
		struct stream *target = &relay->legs[relay_target(d)];
		ssize_t n = stream_write(target, data + written, len - written);

		if (n == -EAGAIN) {
			io->write_want = target->want;
			break;
		}
		if (n < 0)
			return n;
		written += (size_t)n;
	}
	if (written) {
		relay->state.halves[d].bytes += written;
		relay->state.last_ms = relay_loop(relay)->now_ms;
	}
	return (ssize_t)written;
}

bool relay_keep_rest(struct relay *relay, int d, const char *data, size_t len)
{
	if (!len)
		return true;
	if (relay_keep_pending(&relay->io[d].pending, data, len) == 0)
		return true;
	relay_finish(relay, relay_error_of(relay_target(d), -ENOMEM));
	return false;
}

/* The target cannot be written to: first read what it has sent. */
static bool write_failed(struct relay *relay, int d, ssize_t error)
{
	bool again = false;

	if (relay->state.phase < RELAY_FAILING) {
		relay->state.phase = RELAY_FAILING;
		if (!relay_move(relay, !d, &again))
			return false;
	}
	relay_leg_broken(relay, relay_target(d), error);
	return true;
}

ssize_t relay_write_pending(struct relay *relay, int d)
{
	struct buf *pending = &relay->io[d].pending;
	struct view v = buf_view(pending);
	ssize_t n;

	if (!v.len)
		return 0;
	n = relay_write_some(relay, d, v.data, v.len);
	if (n < 0)
		return n;
	buf_consume(pending, (size_t)n);
	if (!pending->len)
		relay_drop_pending(pending);
	return n;
}

bool relay_flush(struct relay *relay, int d)
{
	ssize_t n = relay_write_pending(relay, d);

	if (n < 0)
		return write_failed(relay, d, n);
	if (n > 0)
		relay_update_owed(relay, true);
	return true;
}

/* ---- reading ---- */

/* Whether short messages come close together: then asking the kernel for another one pays. */
static bool is_burst(struct relay *relay, struct relay_io *io)
{
	uint16_t now_ms = (uint16_t)relay_loop(relay)->now_ms;

	if (io->streak >= 0 && io->read_ms != now_ms)
		io->streak = 0;
	else if (io->streak < BURST_EVENTS)
		io->streak++;
	io->read_ms = now_ms;
	return io->streak == BURST_EVENTS;
}

/*
 * More of what the source has, behind `have` bytes in the scratch buffer, so that many small
 * messages are one write. What OpenSSL holds is known; what the kernel holds is asked for when
 * events have come close together, and not for a while when there was nothing. Returns the bytes
 * there are then; *ret_end: what the last read said if it was not a count, else 1. *spent: what the
 * reads count for is added.
 */
static size_t gather(struct relay *relay, int d, size_t have, ssize_t *ret_end, size_t *spent)
{
	struct stream *source = &relay->legs[relay_source(d)];
	struct relay_io *io = &relay->io[d];
	bool burst = is_burst(relay, io), more = false;

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
		io->read_want = source->want;
		if (burst && !more)
			io->streak = -BURST_PAUSE;
	}
	return have;
}

/* The source is watched for edges, and not all of what has caused the last one is read: no event
 * would tell of the rest. */
static bool is_silent(const struct relay *relay, int d)
{
	int leg = relay_source(d);

	return relay->watches[leg].events & EPOLLET && !relay->legs[leg].drained;
}

/* A short message is rarely followed by another at once, and epoll would say so: asking costs a
 * system call. What the TLS layer holds itself, epoll does not see. The program needs to know. */
static bool epoll_will_tell(const struct relay *relay, int d, size_t n)
{
	int leg = relay_source(d);

	return n < SHORT_BYTES && !relay->state.halves[d].closing &&
		relay->state.phase != RELAY_FAILING && !relay->may_arm &&
		relay->watches[leg].loop && !stream_pending(&relay->legs[leg]) &&
		!is_silent(relay, d);
}

/* To the target, or nowhere. False when the target is broken, or the relay has ended:
 * *ret_goes_on. */
static bool pass_on(struct relay *relay, int d, size_t n, bool *ret_goes_on)
{
	ssize_t written = relay->state.one_way && d == RELAY_UP
		? (ssize_t)n
		: relay_write_some(relay, d, relay_scratch, n);

	if (written < 0) {
		*ret_goes_on = write_failed(relay, d, written);
		return false;
	}
	relay_chunk_adapt(&relay->io[d].chunk, n, (size_t)written);
	*ret_goes_on = relay_keep_rest(relay, d, relay_scratch + written, n - (size_t)written);
	if (*ret_goes_on)
		relay->state.last_ms = relay_loop(relay)->now_ms;
	return *ret_goes_on;
}

static bool is_worn(const struct relay *relay)
{
	return tls_records_are_worn(&relay->legs[RELAY_CLIENT]) ||
		tls_records_are_worn(&relay->legs[RELAY_NODE]);
}

bool relay_move(struct relay *relay, int d, bool *ret_again)
{
	struct stream *source = &relay->legs[relay_source(d)];
	struct relay_half *half = &relay->state.halves[d];
	struct relay_io *io = &relay->io[d];
	size_t spent = 0;
	bool goes_on;

	while (half->state == HALF_OPEN && !io->pending.len) {
		ssize_t n, end = 1;

		if (spent >= RELAY_TURN_BYTES) {
			*ret_again = true;
			break;
		}
		if (is_worn(relay)) {
			relay_keys_used_up(relay);
			break;
		}
		n = stream_read(source, relay_scratch, relay_chunk(io->chunk) + RELAY_SLACK_BYTES);
		io->read_want = n == -EAGAIN ? source->want : 0;
		if (n == -EAGAIN) {
			*ret_again |= is_silent(relay, d);
			break;
		}
		if (n <= 0) {
			relay_source_ended(relay, d, n);
			break;
		}
		relay_scratch_note((size_t)n);
		spent += stream_read_cost(source, n);
		if (n < SHORT_BYTES)
			n = (ssize_t)gather(relay, d, (size_t)n, &end, &spent);
		if (!pass_on(relay, d, (size_t)n, &goes_on))
			return goes_on;
		if (end == -EAGAIN) {
			*ret_again |= is_silent(relay, d);
			break;
		}
		if (end <= 0) {
			relay_source_ended(relay, d, end);
			break;
		}
		if (relay->becomes[relay_source(d)] && !relay_switch_leg(relay, relay_source(d)))
			return false;
		if (epoll_will_tell(relay, d, (size_t)n))
			break;
	}
	return true;
}
