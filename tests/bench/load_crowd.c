// SPDX-License-Identifier: Apache-2.0
/*
 * Many sessions together, as people have them: most idle and are notified now and then, some ask
 * for a little all the time, a few fetch large messages. Operations are begun by the clock, not by
 * the end of the one before: each has a time at which it is due, and its latency counts from then,
 * so a server that falls behind cannot hide it. The notifications are the light node's: a
 * connection of our own, past what is being measured, asks for them.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NS_PER_S 1000000000u
#define LATE_NS 100000000u
#define CHATTY_BYTES 300
#define BULK_BYTES 65536
#define NOTIFY_EVERY_S 30

enum doing { C_FREE, C_ASKED, C_IDLE, C_DONE, C_NOOP, C_FETCH, C_BULK };

/* Sessions of one kind and what they have to do, evenly over time. */
struct lane {
	struct session *first, *last; /* those that are free, the longest first */
	double rate;
	uint64_t issued, total, finished;
};

static struct samples told, took; /* of notifications, of the chatty ones' operations */
static uint64_t idling, notified, to_notify, woken;
static struct lane chatty, bulk;
static bool ended;    /* nothing more is begun */
static uint64_t over; /* 1: everything that has been begun has ended */

/* ---- the node's part ---- */

static struct control {
	struct stream stream;
	struct loop_watch watch;
	struct buf part;
	char command[64];
	uint64_t done;
} control;

static void check_over(void)
{
	over = control.done && notified == to_notify && chatty.finished == chatty.issued &&
		bulk.finished == bulk.issued && ended;
}

static void control_line(const char *line)
{
	if (strncmp(line, "n OK", 4) == 0)
		control.done = 1;
	else if (line[0] != '*')
		load_die(line);
	check_over();
}

static void on_control(struct loop_watch *watch, uint32_t events)
{
	struct view data;
	const char *line;
	bool more;
	ssize_t n;

	if (events & EPOLLOUT) {
		size_t len = strlen(control.command);

		if (sock_error(control.stream.fd) < 0 || loop_watch_set(watch, EPOLLIN) < 0 ||
			stream_write(&control.stream, control.command, len) != (ssize_t)len)
			load_die("no connection to the node");
		return;
	}
	n = peer_read(&control.stream, &control.part, &data, &more);
	if (n == -EAGAIN)
		return;
	if (n <= 0)
		load_die("the node has ended");
	while (peer_take_line(&data, &line))
		control_line(line);
	if (peer_keep(&control.part, data) < 0)
		load_die("the node's line");
}

static void control_start(uint64_t count, double rate)
{
	int fd = addr_is_set(&load.node) ? sock_connect_start(&load.node, NULL) : -EDESTADDRREQ;

	if (fd < 0)
		load_die("no node");
	snprintf(control.command, sizeof(control.command), "n NOTIFY %llu %.3f\r\n",
		(unsigned long long)count, rate);
	control.done = 0;
	stream_init_plain(&control.stream, fd);
	if (loop_watch_add(&load.loop, &control.watch, fd, EPOLLOUT, on_control) < 0)
		load_die("epoll");
}

static void control_end(void)
{
	loop_watch_del(&control.watch);
	stream_close(&control.stream);
	buf_fini(&control.part);
}

/* ---- idle ---- */

static void count_notification(const char *line)
{
	static const char stamp[] = "* OK [HIGHESTMODSEQ ";

	if (strncmp(line, stamp, sizeof(stamp) - 1) != 0)
		return;
	notified++;
	samples_add(&told, peer_now_ns() - strtoull(line + sizeof(stamp) - 1, NULL, 10));
}

static bool idle_line(struct session *session, const char *line)
{
	if (line[0] == '*') {
		count_notification(line);
		return true;
	}
	if (session->doing == C_ASKED && line[0] == '+') {
		session->doing = C_IDLE;
		idling++;
		return true;
	}
	woken++;
	return session->doing == C_DONE && strncmp(line, "i OK", 4) == 0;
}

static void begin_idle(struct session **sessions, uint32_t count)
{
	idling = notified = woken = 0;
	for (uint32_t i = 0; i < count; i++) {
		sessions[i]->doing = C_ASKED;
		if (!session_say(sessions[i], "i IDLE\r\n"))
			load_die("cannot send");
	}
	load_run_until(&idling, count);
}

static void end_idle(struct session **sessions, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		sessions[i]->doing = C_DONE;
		if (!session_say(sessions[i], "DONE\r\n"))
			load_die("cannot send");
	}
	load_run_until(&woken, count);
}

static bool notify_line(struct session *session, const char *line)
{
	bool ok = idle_line(session, line);

	check_over();
	return ok;
}

void crowd_notify(uint64_t count, uint64_t rate)
{
	static const struct job job = { .line = notify_line };
	uint64_t took_ns;

	if (!count || !rate)
		load_die("count and rate");
	load.job = &job;
	chatty = bulk = (struct lane){ 0 };
	ended = true;
	over = 0;
	to_notify = count;
	begin_idle(load.open, load.open_count);
	took_ns = peer_now_ns();
	control_start(count, (double)rate);
	load_run_until(&over, 1);
	took_ns = peer_now_ns() - took_ns;
	control_end();
	end_idle(load.open, load.open_count);
	load.job = NULL;
	samples_sort(&told);
	printf("notifications=%llu seconds=%.6f p50_us=%.1f p99_us=%.1f",
		(unsigned long long)notified, (double)took_ns / 1e9, samples_us(&told, 500),
		samples_us(&told, 990));
	samples_free(&told);
}

/* ---- the mixture ---- */

static struct loop_watch clock_watch;
static uint64_t start_ns, end_ns, armed_ns, behind;

static void lane_put(struct lane *lane, struct session *session)
{
	session->doing = C_FREE;
	session->next = NULL;
	if (lane->first)
		lane->last->next = session;
	else
		lane->first = session;
	lane->last = session;
}

static uint64_t due_ns(const struct lane *lane)
{
	return start_ns + (uint64_t)((double)lane->issued / lane->rate * 1e9);
}

static bool begin(struct lane *lane, struct session *session)
{
	session->doing = lane == &bulk ? C_BULK : lane->issued % 2 ? C_FETCH : C_NOOP;
	if (session->doing == C_NOOP)
		return session_noop(session);
	return work_fetch_start(session, session->doing == C_BULK ? BULK_BYTES : CHATTY_BYTES);
}

static bool begin_due(struct lane *lane)
{
	uint64_t now = peer_now_ns();

	while (lane->first && lane->issued < lane->total && due_ns(lane) <= now) {
		struct session *session = lane->first;

		lane->first = session->next;
		session->start_ns = due_ns(lane);
		behind += now - session->start_ns > LATE_NS;
		if (!begin(lane, session))
			return false;
		lane->issued++;
	}
	return true;
}

/* Sets the clock to what is next: an operation that a free session could begin, or the end. */
static void arm(void)
{
	const struct lane *const lanes[] = { &chatty, &bulk };
	struct itimerspec when = { 0 };
	uint64_t next = ended ? 0 : end_ns;

	for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
		if (lanes[i]->first && lanes[i]->issued < lanes[i]->total)
			next = MIN(next, due_ns(lanes[i]));
	}
	if (next == armed_ns)
		return;
	armed_ns = next;
	when.it_value.tv_sec = (time_t)(next / NS_PER_S);
	when.it_value.tv_nsec = (long)(next % NS_PER_S);
	(void)!timerfd_settime(loop_watch_fd(&clock_watch), TFD_TIMER_ABSTIME, &when, NULL);
}

/* What has not been begun by now never is. */
static void cut(struct lane *lane)
{
	behind += lane->total - lane->issued;
	lane->total = lane->issued;
}

static void on_clock(struct loop_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	load_progress();
	armed_ns = UINT64_MAX; /* it has rung: set it again, which also silences it */
	if (!begin_due(&chatty) || !begin_due(&bulk))
		load_die("cannot send");
	ended = peer_now_ns() >= end_ns;
	if (ended) {
		cut(&chatty);
		cut(&bulk);
	}
	check_over();
	arm();
}

static bool mixed_line(struct session *session, const char *line)
{
	struct lane *lane = session->doing == C_BULK ? &bulk : &chatty;
	int r;

	if (session->doing == C_ASKED || session->doing == C_IDLE || session->doing == C_DONE)
		return notify_line(session, line);
	r = session->doing == C_NOOP
		? session_noop_answer(line)
		: work_fetch_answer(session, line, lane == &bulk ? BULK_BYTES : CHATTY_BYTES);
	if (r <= 0)
		return r == 0;
	if (lane == &chatty)
		samples_add(&took, peer_now_ns() - session->start_ns);
	lane->finished++;
	lane_put(lane, session);
	if (!begin_due(lane))
		return false;
	arm();
	check_over();
	return true;
}

static void print_mixed(uint64_t seconds)
{
	samples_sort(&took);
	samples_sort(&told);
	printf("seconds=%llu chatty=%llu bulk_bytes=%llu notifications=%llu p50_us=%.1f "
	       "p99_us=%.1f "
	       "p999_us=%.1f behind=%llu notify_p50_us=%.1f notify_p99_us=%.1f",
		(unsigned long long)seconds, (unsigned long long)chatty.finished,
		(unsigned long long)(bulk.finished * BULK_BYTES), (unsigned long long)notified,
		samples_us(&took, 500), samples_us(&took, 990), samples_us(&took, 999),
		(unsigned long long)behind, samples_us(&told, 500), samples_us(&told, 990));
	samples_free(&took);
	samples_free(&told);
}

/* The first hundredth of the sessions fetches, the next four chat. Returns the number of the
 * rest. */
static uint32_t share_out(uint64_t seconds, uint64_t chatty_rate, uint64_t bulk_rate)
{
	uint32_t bulks = MAX(load.open_count / 100, 1u), chats = MAX(load.open_count / 25, 1u);

	if (load.open_count < bulks + chats + 1)
		load_die("too few sessions");
	chatty = (struct lane){ .rate = (double)chatty_rate, .total = chatty_rate * seconds };
	bulk = (struct lane){ .rate = (double)bulk_rate, .total = bulk_rate * seconds };
	for (uint32_t i = 0; i < bulks + chats; i++)
		lane_put(i < bulks ? &bulk : &chatty, load.open[i]);
	return load.open_count - bulks - chats;
}

void crowd_mixed(uint64_t seconds, uint64_t chatty_rate, uint64_t bulk_rate)
{
	static const struct job job = { .line = mixed_line };
	uint32_t idlers = share_out(seconds, chatty_rate, bulk_rate);
	struct session **idle = load.open + load.open_count - idlers;
	double rate = (double)idlers / NOTIFY_EVERY_S;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (!seconds || fd < 0 ||
		loop_watch_add(&load.loop, &clock_watch, fd, EPOLLIN, on_clock) < 0)
		load_die("no clock");
	load.job = &job;
	over = behind = 0;
	ended = false;
	to_notify = (uint64_t)(rate * (double)seconds);
	begin_idle(idle, idlers);
	control.done = !to_notify;
	if (to_notify)
		control_start(to_notify, rate);
	start_ns = peer_now_ns();
	end_ns = start_ns + seconds * NS_PER_S;
	armed_ns = 0;
	arm();
	load_run_until(&over, 1);
	control_end();
	loop_watch_del(&clock_watch);
	close(fd);
	end_idle(idle, idlers);
	load.job = NULL;
	print_mixed(seconds);
}
