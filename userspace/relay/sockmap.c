// SPDX-License-Identifier: Apache-2.0
/*
 * The data path of two plain legs: a BPF verdict moves the bytes, user space sleeps. What is left
 * to user space: what it holds when the session is spliced, bytes that the valve passes to it, ends
 * of stream (the kernel propagates none), and looking whether everything still moves.
 *
 * A direction's mode says who moves its bytes:
 *     USER      user space, until both sources have been read empty: a verdict is given whole
 *               segments, also what has been read of the first one, which would then come twice
 *     KERNEL    the program redirects
 *     PASSING   the valve is open: the program passes everything, user space relays it, but only
 *               after what was redirected before has been written (order)
 *     RESUMING  user space has allowed redirecting again and waits until no packet judged by the
 *               old state can be under way
 *     TAKEN     as PASSING, for the rest of the session (stall, or bytes left over at the end)
 * When the kernel does not take the sockets, all is delegated to a pump.
 * When the source ends, the target gets FIN once the drain equation holds: bytes received equal
 * bytes written. Both directions done: the relay is over. Closing earlier would drop the backlog.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "net/sock.h"
#include "net/tcpinfo.h"
#include "relay/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* How long a direction stays with user space at least, and over what its rate is judged. */
#define SETTLE_MS 100
/* A verdict that began before user space allowed redirecting has ended by then. */
#define RESUME_MS 20
/* Waiting for the kernel to write its backlog: from 1 ms, doubling, 2 to the power of this. */
#define POLL_MAX_EXPONENT 6
/* A packet that is being judged has been by then. */
#define UNASKED_POLLS 4
/* How often a quiet direction is looked at for bytes that do not move. */
#define QUIET_SCANS 2
/* After a reset of one leg: for what had arrived from it to be written to the other. */
#define RESET_MS 2000

enum half_mode { MODE_USER, MODE_KERNEL, MODE_PASSING, MODE_RESUMING, MODE_TAKEN };

/* One direction. "Written" and "received" are counted as net/tcpinfo does. */
struct half {
	uint64_t cookie;       /* of the source */
	uint64_t base_read;    /* received and read before the program saw the source */
	uint64_t base_written; /* written to the target before */
	uint64_t direct;       /* delivered by user space before arming */
	uint64_t relayed;      /* delivered by user space since */
	uint64_t redirected;   /* by the kernel, as of the last look */
	uint64_t settled;      /* redirected when everything was last known to be written */
	/* PASSING: since when its rate is measured, and what had been relayed then. KERNEL: since
	 * when bytes have not moved (0: they do), and what had been written then. */
	uint64_t mark_ms, mark_bytes;
	struct buf pending; /* read, not yet written */
	uint32_t demotions, resumed;
	uint8_t mode;
	uint8_t chunk; /* doublings of what one read takes */
	bool clear;    /* PASSING: what was redirected before has been written */
	bool eof, done;
};

struct sockmap {
	struct relay relay;
	int fds[2]; /* the legs; owned until `pump` has them */
	struct loop_watch watches[2];
	struct half halves[2]; /* RELAY_UP reads the client leg */
	struct timer timer;    /* the next step, or that the session may be idle */
	uint64_t bulk_rate;
	uint32_t backlog_limit, stall_ms;
	uint64_t last_ms;   /* user space moved something */
	uint64_t kernel_ms; /* the program saw something, as of the last look */
	uint64_t drain_at_ms, drain_written;
	uint64_t reset_at_ms; /* a leg was reset: the end, at the latest */
	uint32_t idle_ms, drain_ms, wait_ms;
	uint64_t session;
	const char *protocol;
	relay_done_fn *done;
	void *arg;
	enum relay_end end;
	struct relay *pump; /* owned; it has the legs: everything is delegated to it */
	bool ended;
	uint8_t unsure; /* a bit per leg that has hung up, but does not say yet how */
	uint8_t polls;
	int8_t first_eof;
};

static void run(struct sockmap *sm);

/* The leg that a direction reads, and the one it writes. */
static int from_of(int d)
{
	return d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE;
}

static int source_fd(const struct sockmap *sm, int d)
{
	return sm->fds[from_of(d)];
}

static int target_fd(const struct sockmap *sm, int d)
{
	return sm->fds[!from_of(d)];
}

static struct loop *loop_of(const struct sockmap *sm)
{
	return sm->relay.engine->loop;
}

/* Both legs are plain: their streams have no state. */
static struct stream stream_of(const struct sockmap *sm, int leg)
{
	struct stream stream;

	stream_init_plain(&stream, sm->fds[leg]);
	return stream;
}

static struct relay_kernel *kernel_of(const struct sockmap *sm)
{
	return sm->relay.engine->kernel;
}

static struct bpfctl *bpf_of(const struct sockmap *sm)
{
	return kernel_of(sm)->bpfctl;
}

static bool is_armed(const struct half *half)
{
	return half->mode != MODE_USER;
}

static void step_in(struct sockmap *sm, uint32_t ms)
{
	sm->wait_ms = MIN(sm->wait_ms, ms);
}

/* Nothing announces what is waited for. */
static void poll_again(struct sockmap *sm)
{
	step_in(sm, 1u << MIN(sm->polls, (uint8_t)POLL_MAX_EXPONENT));
}

/* ---- the end ---- */

static void on_report(struct timer *timer)
{
	struct sockmap *sm = container_of(timer, struct sockmap, timer);

	sm->done(&sm->relay, sm->arg, sm->end);
}

/* What the program has counted until now. False if there is no row. */
static bool look(struct sockmap *sm, struct half *half, struct hm_flow *ret_flow)
{
	if (bpfctl_flow_get(bpf_of(sm), half->cookie, ret_flow) < 0)
		return false;
	half->redirected = ret_flow->redirected;
	sm->kernel_ms = MAX(sm->kernel_ms, (uint64_t)(ret_flow->last_ns / 1000000));
	return true;
}

/* Removed before the sockets are closed, so that no entry outlives its session. */
static void disarm(struct sockmap *sm)
{
	struct hm_flow flow;

	for (int d = 0; d < 2; d++) {
		struct half *half = &sm->halves[d];

		if (!half->cookie)
			continue;
		look(sm, half, &flow);
		bpfctl_sockets_remove(bpf_of(sm), half->cookie);
		bpfctl_flow_remove(bpf_of(sm), half->cookie);
		bpfctl_control_remove(bpf_of(sm), half->cookie);
		half->cookie = 0;
	}
}

static void close_legs(struct sockmap *sm)
{
	disarm(sm);
	relay_unregister(&sm->relay);
	for (int i = 0; i < 2; i++) {
		loop_watch_forget(&sm->watches[i]);
		fd_closep(&sm->fds[i]);
		relay_drop_pending(&sm->halves[i].pending);
	}
	relay_scratch_wipe();
	loop_timer_del(loop_of(sm), &sm->timer);
}

static void finish(struct sockmap *sm, enum relay_end end)
{
	if (sm->ended)
		return;
	sm->ended = true;
	sm->end = end;
	close_legs(sm);
	loop_timer_set(loop_of(sm), &sm->timer, 0, on_report);
}

static enum relay_end error_of(int leg, ssize_t error)
{
	if (error == -ETIMEDOUT)
		return RELAY_END_KEEPALIVE;
	return leg == RELAY_CLIENT ? RELAY_END_CLIENT_ERROR : RELAY_END_NODE_ERROR;
}

static enum relay_end clean_end(const struct sockmap *sm)
{
	return sm->first_eof == RELAY_NODE ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF;
}

/* A leg is gone. What had arrived from it may still be on its way to the other. */
static void leg_broken(struct sockmap *sm, int leg, ssize_t error)
{
	struct half *from = &sm->halves[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

	if (sm->reset_at_ms)
		return;
	if (!is_armed(from) || from->done) {
		finish(sm, error_of(leg, error));
		return;
	}
	sm->end = error_of(leg, error);
	sm->reset_at_ms = clock_mono_ms() + RESET_MS;
	loop_watch_del(&sm->watches[leg]);
	step_in(sm, 0);
}

/* ---- arming ---- */

static int add_row(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	struct hm_control control = {
		.backlog_limit = sm->backlog_limit,
		.bulk_rate = sm->bulk_rate,
	};
	struct hm_flow flow;
	int r;

	relay_fill_row(&sm->relay, sm->session, sm->protocol, (enum relay_direction)d, &flow);
	flow.path = HM_SOCKMAP;
	flow.base_received = half->base_read;
	half->cookie = bpfctl_cookie(source_fd(sm, d));
	r = half->cookie ? bpfctl_flow_set(bpf_of(sm), half->cookie, &flow) : -EINVAL;
	return r < 0 ? r : bpfctl_control_set(bpf_of(sm), half->cookie, &control);
}

static int set_bases(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	int r = tcpinfo_read_so_far(source_fd(sm, d), &half->base_read);

	return r < 0 ? r : tcpinfo_written_so_far(target_fd(sm, d), &half->base_written);
}

static int insert_sockets(struct sockmap *sm)
{
	int r = 0;

	for (int d = 0; r == 0 && d < 2; d++)
		r = bpfctl_target_add(bpf_of(sm), sm->halves[d].cookie, target_fd(sm, d));
	for (int d = 0; r == 0 && d < 2; d++)
		r = bpfctl_source_add(bpf_of(sm), sm->halves[d].cookie, source_fd(sm, d));
	return r;
}

/* Bytes that were queued before the program saw the socket stay where they are until somebody
 * looks; a length of 0 would not do. */
static void kick(int fd)
{
	char c;

	if (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		return; /* EAGAIN: as it should be. Others are seen by epoll. */
}

static void on_pump_done(struct relay *pump, void *arg, enum relay_end end)
{
	struct sockmap *sm = arg;

	(void)pump;
	sm->ended = true;
	sm->done(&sm->relay, sm->arg, end);
}

/* User space does it all, from here to the end. */
static void delegate(struct sockmap *sm)
{
	struct relay_params params = {
		.engine = sm->relay.engine,
		.settings = { .mode = RELAY_MODE_COPY },
		.idle_ms = sm->idle_ms,
		.drain_ms = sm->drain_ms,
		.done = on_pump_done,
		.arg = sm,
		.session = sm->session,
		.protocol = sm->protocol,
	};
	struct buf early[2] = { sm->halves[RELAY_UP].pending, sm->halves[RELAY_DOWN].pending };
	struct stream legs[2] = { stream_of(sm, RELAY_CLIENT), stream_of(sm, RELAY_NODE) };

	atomic_fetch_add(&kernel_of(sm)->refused, 1);
	disarm(sm);
	relay_unregister(&sm->relay);
	for (int i = 0; i < 2; i++)
		loop_watch_del(&sm->watches[i]);
	loop_timer_del(loop_of(sm), &sm->timer);
	if (relay_pump_start(&params, legs, early, &sm->pump) < 0) {
		finish(sm, error_of(RELAY_CLIENT, -ENOMEM));
		return;
	}
	for (int d = 0; d < 2; d++) {
		sm->halves[d].pending = (struct buf){ 0 };
		sm->fds[d] = -1;
	}
}

/* Both directions or none: an established pair can do both, another neither. */
static void arm(struct sockmap *sm)
{
	int r = 0;

	for (int d = 0; r == 0 && d < 2; d++)
		r = set_bases(sm, d);
	for (int d = 0; r == 0 && d < 2; d++)
		r = add_row(sm, d);
	if (r == 0)
		r = insert_sockets(sm);
	if (r < 0) {
		delegate(sm);
		return;
	}
	for (int d = 0; d < 2; d++)
		sm->halves[d].mode = MODE_KERNEL;
	for (int d = 0; d < 2; d++)
		kick(source_fd(sm, d));
	step_in(sm, 0);
}

/* ---- moving bytes in user space ---- */

/* Writes as much as goes. Bytes written, or -errno (not -EAGAIN: that is 0). */
static ssize_t write_some(struct sockmap *sm, int d, const char *data, size_t len)
{
	struct half *half = &sm->halves[d];
	struct stream target = stream_of(sm, !from_of(d));
	size_t written = 0;

	while (written < len) {
		ssize_t n = stream_write(&target, data + written, len - written);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return n;
		written += (size_t)n;
	}
	if (is_armed(half))
		half->relayed += written;
	else
		half->direct += written;
	if (written)
		sm->last_ms = loop_of(sm)->now_ms;
	return (ssize_t)written;
}

/* False when blocked or broken. */
static bool flush_pending(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	struct view v = buf_view(&half->pending);
	ssize_t n;

	if (!v.len)
		return true;
	n = write_some(sm, d, v.data, v.len);
	if (n < 0) {
		leg_broken(sm, !from_of(d), n);
		return false;
	}
	buf_consume(&half->pending, (size_t)n);
	if (half->pending.len)
		return false;
	relay_drop_pending(&half->pending);
	return true;
}

/* Reads and writes until one side blocks or the turn is over. Returns bytes read; 0: nothing (now,
 * or any more: *ret_end); -1: blocked, broken or a turn's worth: not finished. */
static ssize_t copy(struct sockmap *sm, int d, bool *ret_end)
{
	struct half *half = &sm->halves[d];
	struct stream source = stream_of(sm, from_of(d));
	size_t moved = 0;

	*ret_end = false;
	while (flush_pending(sm, d)) {
		ssize_t n, written;

		if (moved >= RELAY_TURN_BYTES) {
			step_in(sm, 0);
			return -1;
		}
		n = stream_read(&source, relay_scratch, relay_chunk(half->chunk));
		if (n == -EAGAIN || n == STREAM_EOF) {
			*ret_end = n == STREAM_EOF;
			return (ssize_t)moved;
		}
		if (n < 0) {
			leg_broken(sm, from_of(d), n);
			return -1;
		}
		relay_scratch_note((size_t)n);
		written = write_some(sm, d, relay_scratch, (size_t)n);
		if (written < 0) {
			leg_broken(sm, !from_of(d), written);
			return -1;
		}
		moved += (size_t)n;
		relay_chunk_adapt(&half->chunk, (size_t)n, (size_t)written);
		if (written < n &&
			relay_keep_pending(&half->pending, relay_scratch + written,
				(size_t)(n - written)) < 0) {
			finish(sm, error_of(!from_of(d), -ENOMEM));
			return -1;
		}
	}
	return -1;
}

static void note_eof(struct sockmap *sm, int d)
{
	if (sm->halves[d].eof)
		return;
	sm->halves[d].eof = true;
	sm->polls = 0;
	if (sm->first_eof < 0)
		sm->first_eof = (int8_t)from_of(d);
}

/* The target gets our end of stream. */
static void end_target(struct sockmap *sm, int d)
{
	struct stream target = stream_of(sm, !from_of(d));
	int r = stream_shutdown(&target);

	sm->halves[d].done = true;
	sm->drain_at_ms = 0;
	sm->polls = 0;
	if (r < 0 && r != -EPIPE)
		leg_broken(sm, !from_of(d), r);
}

/* The queue must be empty when the program is put on it. */
static void step_user(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	bool end;

	half->clear = copy(sm, d, &end) >= 0;
	if (half->clear && end)
		delegate(sm);
}

/* ---- the valve ---- */

static uint64_t written_since(const struct sockmap *sm, const struct half *half, int d)
{
	uint64_t written;

	return tcpinfo_written(target_fd(sm, d), &written) < 0 ? 0 : written - half->base_written;
}

static void begin_passing(struct sockmap *sm, struct half *half, enum half_mode mode)
{
	half->mode = (uint8_t)mode;
	half->clear = false;
	half->mark_ms = loop_of(sm)->now_ms;
	half->mark_bytes = half->relayed;
	sm->polls = 0;
}

/* What the kernel was given before must be written first. */
static bool is_clear(struct sockmap *sm, struct half *half, int d)
{
	struct hm_flow flow;

	if (half->clear)
		return true;
	if (look(sm, half, &flow) && written_since(sm, half, d) >= half->redirected + half->relayed)
		half->clear = true;
	else
		poll_again(sm);
	return half->clear;
}

/* Everything passed has been relayed: may the kernel have it back? */
static void consider_resume(struct sockmap *sm, struct half *half)
{
	uint64_t now = loop_of(sm)->now_ms, elapsed = now - half->mark_ms;
	struct hm_control control = {
		.relayed = half->relayed,
		.bulk_rate = sm->bulk_rate,
		.backlog_limit = sm->backlog_limit,
	};
	struct hm_flow flow;

	if (elapsed < SETTLE_MS) {
		step_in(sm, (uint32_t)(SETTLE_MS - elapsed));
		return;
	}
	if (control.bulk_rate &&
		(half->relayed - half->mark_bytes) * 1000 / elapsed > control.bulk_rate / 2) {
		half->mark_ms = now;
		half->mark_bytes = half->relayed;
		step_in(sm, SETTLE_MS);
		return;
	}
	if (!look(sm, half, &flow) || flow.passed != half->relayed) {
		step_in(sm, 1);
		return;
	}
	control.resumed = half->resumed = half->demotions = flow.demotions;
	if (bpfctl_control_set(bpf_of(sm), half->cookie, &control) < 0) {
		step_in(sm, SETTLE_MS);
		return;
	}
	half->mode = MODE_RESUMING;
	half->mark_ms = now;
	step_in(sm, RESUME_MS);
}

static void step_resuming(struct sockmap *sm, struct half *half)
{
	uint64_t elapsed = loop_of(sm)->now_ms - half->mark_ms;
	struct hm_flow flow;

	if (elapsed < RESUME_MS) {
		step_in(sm, (uint32_t)(RESUME_MS - elapsed));
		return;
	}
	if (!look(sm, half, &flow) || flow.demotions != half->resumed ||
		flow.passed != half->relayed) {
		begin_passing(sm, half, MODE_PASSING);
		step_in(sm, 0);
		return;
	}
	half->mode = MODE_KERNEL;
	half->mark_ms = 0;
	atomic_fetch_add(&kernel_of(sm)->resumes, 1);
}

static void step_passing(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	bool end;

	if (!is_clear(sm, half, d) || copy(sm, d, &end) < 0)
		return;
	if (half->mode == MODE_PASSING && !half->eof && !sm->reset_at_ms)
		consider_resume(sm, half);
}

/* ---- ends of stream ---- */

static void keep_drain_clock(struct sockmap *sm, uint64_t written)
{
	uint64_t now = clock_mono_ms();

	if (!sm->drain_at_ms || written != sm->drain_written) {
		if (sm->drain_at_ms)
			sm->polls = 0;
		sm->drain_at_ms = now + sm->drain_ms;
		sm->drain_written = written;
	}
	if (now < sm->drain_at_ms)
		return;
	for (int i = 0; i < 2; i++)
		sock_abort_on_close(sm->fds[i]);
	finish(sm, clean_end(sm));
}

/* The source has ended: when every byte it sent is written, so has the target. */
static void step_drain(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	struct tcpinfo_source source;
	struct hm_flow flow;
	uint64_t received, written;

	if (tcpinfo_received(source_fd(sm, d), &source) < 0) {
		leg_broken(sm, from_of(d), -EPIPE);
		return;
	}
	/* A closed socket has counted its FIN, but does not say so any more. */
	received = source.received - source.closed - half->base_read;
	written = written_since(sm, half, d);
	if (received == written) {
		end_target(sm, d);
		return;
	}
	/* The program is not asked any more about what comes with the FIN of a socket that we had
	 * ended before: those bytes wait in the queue. (SIOCINQ does not show them on every
	 * kernel.) */
	if (half->mode == MODE_KERNEL && sm->polls >= UNASKED_POLLS && look(sm, half, &flow) &&
		written == half->redirected + half->relayed && received > written) {
		begin_passing(sm, half, MODE_TAKEN);
		half->clear = true;
		step_passing(sm, d);
		step_in(sm, 0);
		return;
	}
	keep_drain_clock(sm, written);
	poll_again(sm);
}

/* Epoll has said that a leg's peer is done or gone. */
static void look_at_leg(struct sockmap *sm, int leg)
{
	int d = leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN;
	struct half *to = &sm->halves[!d];
	struct tcpinfo_source source;
	int error;

	if (tcpinfo_received(sm->fds[leg], &source) < 0)
		return;
	if (source.fin) {
		note_eof(sm, d);
		return;
	}
	if (!source.closed)
		return;
	error = sock_error(sm->fds[leg]);
	if (error < 0 || !to->done) /* not the end that both sides agreed on */
		leg_broken(sm, leg, error < 0 ? error : -ECONNRESET);
	else
		note_eof(sm, d);
}

/* ---- one step of everything ---- */

static void step_half(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];

	switch (half->mode) {
	case MODE_USER:
		step_user(sm, d);
		return;
	case MODE_KERNEL:
		break;
	case MODE_RESUMING:
		step_resuming(sm, half);
		break;
	default:
		step_passing(sm, d);
	}
	if (half->eof && !half->done && !sm->ended && !sm->reset_at_ms)
		step_drain(sm, d);
}

/* After a reset: has what arrived before it been written? */
static void step_reset(struct sockmap *sm)
{
	int leg = sm->end == RELAY_END_NODE_ERROR ? RELAY_NODE : RELAY_CLIENT;
	int d = leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN;
	struct half *half = &sm->halves[d];
	struct hm_flow flow;

	if (clock_mono_ms() >= sm->reset_at_ms || !look(sm, half, &flow) ||
		(!half->pending.len &&
			written_since(sm, half, d) >= half->redirected + half->relayed &&
			!tcpinfo_owes(target_fd(sm, d)))) /* close() may reset it */
		finish(sm, sm->end);
	else
		poll_again(sm);
}

static void update_watches(struct sockmap *sm)
{
	uint32_t events[2] = { 0, 0 };

	for (int d = 0; d < 2; d++) {
		struct half *half = &sm->halves[d];
		int leg = from_of(d);

		if (!half->eof && !half->done)
			events[leg] |= EPOLLRDHUP;
		if (half->pending.len)
			events[!leg] |= EPOLLOUT;
		else if (half->mode == MODE_USER)
			events[leg] |= EPOLLIN;
		else if ((half->mode == MODE_PASSING || half->mode == MODE_TAKEN) && !half->eof &&
			half->clear)
			events[leg] |= EPOLLIN;
	}
	for (int i = 0; i < 2; i++) {
		if (sm->watches[i].loop && loop_watch_set(&sm->watches[i], events[i]) < 0) {
			finish(sm, error_of(i, -EBADF));
			return;
		}
	}
}

static uint64_t last_active_ms(const struct sockmap *sm)
{
	return MAX(sm->last_ms, sm->kernel_ms);
}

static bool is_idle(struct sockmap *sm)
{
	uint64_t now = clock_mono_ms();
	struct hm_flow flow;

	if (now < last_active_ms(sm) + sm->idle_ms)
		return false;
	for (int d = 0; d < 2; d++) { /* what the rows say is at most a second old */
		if (is_armed(&sm->halves[d]))
			look(sm, &sm->halves[d], &flow);
	}
	return now >= last_active_ms(sm) + sm->idle_ms;
}

static void on_timer(struct timer *timer)
{
	struct sockmap *sm = container_of(timer, struct sockmap, timer);

	if (is_idle(sm)) {
		finish(sm, RELAY_END_IDLE);
		return;
	}
	if (sm->polls < POLL_MAX_EXPONENT)
		sm->polls++;
	run(sm);
}

/* One timer for both: the next step, and when the session would have been idle for too long. */
static void set_timer(struct sockmap *sm)
{
	uint64_t at = last_active_ms(sm) + sm->idle_ms, now = clock_mono_ms();

	loop_timer_set(loop_of(sm), &sm->timer, MIN((uint64_t)sm->wait_ms, at > now ? at - now : 0),
		on_timer);
}

/* Epoll may tell of a hang-up a moment before the connection's state does. */
static void look_again(struct sockmap *sm)
{
	for (int leg = 0; leg < 2 && !sm->ended; leg++) {
		if (!(sm->unsure & BIT(leg)))
			continue;
		look_at_leg(sm, leg);
		if (sm->halves[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN].eof || sm->reset_at_ms)
			sm->unsure &= (uint8_t)~BIT(leg);
		else
			poll_again(sm);
	}
}

static void run(struct sockmap *sm)
{
	sm->wait_ms = UINT32_MAX;
	look_again(sm);
	for (int d = 0; d < 2 && !sm->ended && !sm->pump; d++)
		step_half(sm, d);
	if (sm->ended || sm->pump)
		return;
	if (sm->reset_at_ms) {
		step_reset(sm);
	} else if (sm->halves[0].done && sm->halves[1].done) {
		finish(sm, clean_end(sm));
	} else if (!is_armed(&sm->halves[0]) && sm->halves[0].clear && sm->halves[1].clear &&
		!sm->halves[0].pending.len && !sm->halves[1].pending.len) {
		arm(sm);
	}
	if (sm->ended || sm->pump)
		return;
	update_watches(sm);
	set_timer(sm);
}

static void on_leg(struct sockmap *sm, int leg, uint32_t epoll_events)
{
	bool gone = epoll_events & (EPOLLHUP | EPOLLERR);

	loop_work_on(sm->relay.engine->loop, sm->session);
	if (!is_armed(&sm->halves[0]) && (gone || (epoll_events & EPOLLRDHUP))) {
		delegate(sm);
		return;
	}
	if (gone)
		sm->unsure |= (uint8_t)BIT(leg);
	else if (epoll_events & EPOLLRDHUP)
		look_at_leg(sm, leg);
	/* Reported whatever is asked for; nothing new can come, so it must not spin. */
	if (gone && !sm->ended)
		loop_watch_del(&sm->watches[leg]);
	if (!sm->ended)
		run(sm);
}

static void on_client(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(container_of(watch, struct sockmap, watches[RELAY_CLIENT]), RELAY_CLIENT,
		epoll_events);
}

static void on_node(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(container_of(watch, struct sockmap, watches[RELAY_NODE]), RELAY_NODE, epoll_events);
}

/* ---- the engine's calls ---- */

static struct half *half_of(struct sockmap *sm, uint64_t cookie)
{
	for (int d = 0; d < 2; d++) {
		if (sm->halves[d].cookie == cookie)
			return &sm->halves[d];
	}
	return NULL;
}

/* The valve has opened. */
static void on_demotion(struct sockmap *sm, struct half *half, uint32_t demotions)
{
	if ((half->mode != MODE_KERNEL && half->mode != MODE_RESUMING) ||
		demotions == half->resumed)
		return;
	half->demotions = demotions;
	begin_passing(sm, half, MODE_PASSING);
	run(sm);
}

static void sockmap_event(struct relay *relay, const struct hm_event *event)
{
	struct sockmap *sm = (struct sockmap *)relay;
	struct half *half = half_of(sm, event->cookie);
	struct hm_flow flow = { 0 };

	if (!half || sm->ended)
		return;
	if (look(sm, half, &flow) && flow.reason == HM_BULK)
		atomic_fetch_add(&kernel_of(sm)->demotions_bulk, 1);
	else if (flow.reason == HM_BACKLOG)
		atomic_fetch_add(&kernel_of(sm)->demotions_backlog, 1);
	on_demotion(sm, half, event->demotions);
}

static void sockmap_row(struct relay *relay, uint64_t cookie, const struct hm_flow *flow)
{
	struct sockmap *sm = (struct sockmap *)relay;
	struct half *half = half_of(sm, cookie);

	if (!half)
		return;
	half->redirected = flow->redirected;
	sm->kernel_ms = MAX(sm->kernel_ms, (uint64_t)(flow->last_ns / 1000000));
	half->demotions = flow->demotions;
}

static bool is_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* User space takes the direction over through the valve, without loss. */
static void take_over(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	struct hm_control control = { .relayed = half->relayed, .hold = 1 };

	control.resumed = half->resumed;
	if (bpfctl_control_set(bpf_of(sm), half->cookie, &control) < 0)
		return;
	atomic_fetch_add(&kernel_of(sm)->stalls, 1);
	kick(source_fd(sm, d)); /* a verdict now passes */
	begin_passing(sm, half, MODE_TAKEN);
	run(sm);
}

/* Bytes at the source that have not moved since the last look, while the target can take them. What
 * the source has received is asked of TCP: SIOCINQ leaves it out on newer kernels. */
static void watch_half(struct sockmap *sm, int d)
{
	struct half *half = &sm->halves[d];
	struct tcpinfo_source source;
	uint64_t written, received, now = loop_of(sm)->now_ms;

	if (tcpinfo_received(source_fd(sm, d), &source) < 0)
		return;
	received = source.received - half->base_read;
	if (received == half->redirected + half->relayed && half->redirected == half->settled) {
		half->mark_ms = 0;
		return;
	}
	written = written_since(sm, half, d);
	if (received == written || written != half->mark_bytes || !half->mark_ms ||
		!is_writable(target_fd(sm, d))) {
		if (received == written)
			half->settled = half->redirected;
		half->mark_bytes = written;
		half->mark_ms = now;
		return;
	}
	if (now - half->mark_ms >= sm->stall_ms)
		take_over(sm, d);
}

static void sockmap_scan(struct relay *relay)
{
	struct sockmap *sm = (struct sockmap *)relay;
	bool look_now = (relay->engine->scans + relay->slot) % QUIET_SCANS == 0;

	for (int d = 0; d < 2 && !sm->ended && !sm->reset_at_ms; d++) {
		struct half *half = &sm->halves[d];

		if (half->mode != MODE_KERNEL || half->eof)
			continue;
		if (half->demotions != half->resumed) /* its event was lost: the ring was full */
			on_demotion(sm, half, half->demotions);
		else if (half->mark_ms || half->redirected != half->settled || look_now)
			watch_half(sm, d);
	}
}

/* ---- the interface ---- */

static void sockmap_stop(struct relay *relay, bool gracefully)
{
	struct sockmap *sm = (struct sockmap *)relay;

	if (sm->pump)
		relay_stop(sm->pump, gracefully);
	if (sm->ended || sm->pump) {
		sm->ended = true;
		return;
	}
	for (int d = 0; d < 2 && gracefully; d++) {
		struct stream target = stream_of(sm, !from_of(d));

		if (!sm->halves[d].done && flush_pending(sm, d) && !sm->ended &&
			stream_shutdown(&target) < 0)
			continue;
	}
	if (sm->ended) {
		loop_timer_del(loop_of(sm), &sm->timer);
		return;
	}
	sm->ended = true;
	close_legs(sm);
}

static void sockmap_free(struct relay *relay)
{
	struct sockmap *sm = (struct sockmap *)relay;

	sockmap_stop(relay, false);
	relay_free(sm->pump);
	loop_timer_del(loop_of(sm), &sm->timer);
	free(sm);
}

static void sockmap_set_idle(struct relay *relay, uint64_t idle_ms)
{
	struct sockmap *sm = (struct sockmap *)relay;

	sm->idle_ms = (uint32_t)MIN(idle_ms, (uint64_t)UINT32_MAX);
	if (sm->pump)
		relay_set_idle(sm->pump, idle_ms);
	else if (!sm->ended)
		run(sm);
}

static uint64_t sockmap_bytes(const struct relay *relay, enum relay_direction direction)
{
	const struct sockmap *sm = (const struct sockmap *)relay;
	const struct half *half = &sm->halves[direction];
	uint64_t bytes = half->direct + half->redirected + half->relayed;

	return sm->pump ? bytes + relay_bytes(sm->pump, direction) : bytes;
}

static enum relay_path sockmap_path(const struct relay *relay, enum relay_direction direction)
{
	const struct sockmap *sm = (const struct sockmap *)relay;
	uint8_t mode = sm->halves[direction].mode;

	return mode == MODE_USER || mode == MODE_TAKEN ? RELAY_PATH_COPY : RELAY_PATH_SOCKMAP;
}

static uint64_t sockmap_idle_ms(const struct relay *relay)
{
	const struct sockmap *sm = (const struct sockmap *)relay;
	uint64_t now = clock_mono_ms(), last = last_active_ms(sm);

	if (sm->pump)
		return relay_idle_ms(sm->pump);
	return now > last ? now - last : 0;
}

static const struct relay_ops sockmap_ops = {
	.stop = sockmap_stop,
	.free = sockmap_free,
	.set_idle = sockmap_set_idle,
	.bytes = sockmap_bytes,
	.path = sockmap_path,
	.idle_ms = sockmap_idle_ms,
	.scan = sockmap_scan,
	.row = sockmap_row,
	.event = sockmap_event,
};

static void set_up(struct sockmap *sm, const struct relay_params *params)
{
	sm->relay.ops = &sockmap_ops;
	sm->relay.engine = params->engine;
	sm->bulk_rate = params->settings.bulk_rate;
	sm->backlog_limit = params->settings.backlog_limit;
	sm->stall_ms = (uint32_t)MIN(params->settings.stall_ms, (uint64_t)UINT32_MAX);
	sm->idle_ms = (uint32_t)MIN(params->idle_ms, (uint64_t)UINT32_MAX);
	sm->drain_ms = (uint32_t)params->drain_ms;
	sm->done = params->done;
	sm->arg = params->arg;
	sm->first_eof = -1;
	sm->last_ms = clock_mono_ms();
	sm->session = params->session;
	sm->protocol = params->protocol;
}

static int watch_legs(struct sockmap *sm, const struct relay_params *params, struct stream legs[2])
{
	int r = relay_watch(loop_of(sm), params->watches[RELAY_CLIENT], &sm->watches[RELAY_CLIENT],
		legs[RELAY_CLIENT].fd, on_client);

	return r < 0 ? r
		     : relay_watch(loop_of(sm), params->watches[RELAY_NODE],
			       &sm->watches[RELAY_NODE], legs[RELAY_NODE].fd, on_node);
}

int relay_sockmap_start(const struct relay_params *params, struct stream legs[2],
	struct buf early[2], struct relay **ret_relay)
{
	struct sockmap *sm = calloc(1, sizeof(*sm));
	int r;

	if (!sm)
		return -ENOMEM;
	set_up(sm, params);
	r = watch_legs(sm, params, legs);
	if (r == 0)
		r = relay_register(&sm->relay, params->engine);
	if (r < 0) {
		loop_watch_del(&sm->watches[RELAY_CLIENT]);
		loop_watch_del(&sm->watches[RELAY_NODE]);
		free(sm);
		return r;
	}
	for (int leg = 0; leg < 2; leg++) {
		struct half *half = &sm->halves[leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN];

		sm->fds[leg] = legs[leg].fd;
		legs[leg] = (struct stream){ 0 };
		half->pending = early[leg];
		half->pending.limit = 0;
		early[leg] = (struct buf){ 0 };
		if (!half->pending.len)
			relay_drop_pending(&half->pending);
	}
	*ret_relay = &sm->relay;
	run(sm); /* usually there is nothing to flush, and the kernel has it from here */
	return 0;
}
