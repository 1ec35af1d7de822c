// SPDX-License-Identifier: Apache-2.0
/*
 * What is measured on open sessions one by one: round trips, bulk in both directions, messages.
 * Each command sets load.job for as long as it runs.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_MAX (1u << 30)

static uint64_t done, goal, failed;

static void run_job(const struct job *job, bool start(void))
{
	load.job = job;
	if (!start())
		load_die("cannot send");
	load_run_until(&done, goal);
	load.job = NULL;
}

/* ---- noop ---- */

enum { QUIET, ASKED, ANSWERED };

static bool noop_line(struct session *session, const char *line)
{
	int r = session_noop_answer(line);

	if (r > 0 && session->doing == ASKED) {
		session->doing = ANSWERED;
		done++;
	}
	return r >= 0;
}

static void noop_lost(struct session *session)
{
	failed++;
	done += session->doing == ASKED;
}

void work_noop(void)
{
	static const struct job job = { .line = noop_line, .lost = noop_lost };
	uint64_t start_ns = peer_now_ns();

	load.job = &job;
	done = failed = 0;
	goal = load.open_count;
	for (uint32_t i = load.open_count; i-- > 0;) {
		struct session *session = load.open[i];

		session->doing = ASKED;
		if (session_noop(session))
			continue;
		noop_lost(session);
		session_drop(session);
	}
	load_run_until(&done, goal);
	load.job = NULL;
	printf("answered=%llu failed=%llu seconds=%.6f", (unsigned long long)(goal - failed),
		(unsigned long long)failed, (double)(peer_now_ns() - start_ns) / 1e9);
}

/* ---- ping ---- */

static struct samples took;
static uint64_t pinged; /* how many take turns */

static bool ping_start(void)
{
	struct session *session = load.open[done % pinged];

	session->start_ns = peer_now_ns();
	return session_noop(session);
}

static bool ping_line(struct session *session, const char *line)
{
	int r = session_noop_answer(line);

	if (r <= 0)
		return r == 0;
	samples_add(&took, peer_now_ns() - session->start_ns);
	return ++done == goal || ping_start();
}

void work_ping(uint64_t count, uint64_t sessions)
{
	static const struct job job = { .line = ping_line };
	uint64_t start_ns = peer_now_ns();

	if (!count || !sessions || sessions > load.open_count)
		load_die("count or sessions");
	done = 0;
	goal = count;
	pinged = sessions;
	run_job(&job, ping_start);
	start_ns = peer_now_ns() - start_ns;
	samples_sort(&took);
	printf("count=%zu seconds=%.6f p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f",
		took.count, (double)start_ns / 1e9, samples_us(&took, 500), samples_us(&took, 990),
		samples_us(&took, 999), samples_us(&took, 1000));
	samples_free(&took);
}

/* ---- bulk, check, push ---- */

static char block[PEER_SCRATCH], command[96];
static uint64_t bulk_bytes, push_left, push_size;

static bool bulk_start(void)
{
	load.open[0]->data_left = bulk_bytes;
	return session_say(load.open[0], command);
}

static bool bulk_line(struct session *session, const char *line)
{
	if (strncmp(line, "b OK", 4) != 0)
		return false;
	if (++done < goal)
		return bulk_start();
	session->numbered = false;
	return true;
}

static bool push_more(struct session *session)
{
	while (push_left) {
		ssize_t n = stream_write(&session->stream, block, MIN(push_left, push_size));

		if (n == -EAGAIN)
			return loop_watch_set(&session->watch, EPOLLIN | EPOLLOUT) == 0;
		if (n < 0)
			return false;
		push_left -= (uint64_t)n;
		load_progress();
	}
	return loop_watch_set(&session->watch, EPOLLIN) == 0;
}

static bool push_start(void)
{
	return session_say(load.open[0], command) && push_more(load.open[0]);
}

static void run_bulk(const struct job *job, bool start(void), uint64_t bytes, uint64_t times)
{
	uint64_t start_ns = peer_now_ns();

	done = 0;
	goal = times;
	run_job(job, start);
	printf("bytes=%llu seconds=%.6f", (unsigned long long)(bytes * times),
		(double)(peer_now_ns() - start_ns) / 1e9);
}

void work_bulk(const char *what, uint64_t bytes, uint64_t size, uint64_t times)
{
	static const struct job job = { .line = bulk_line };
	struct session *session = load.open[0];

	if (!times)
		load_die("no times");
	bulk_bytes = bytes;
	session->data_got = 0;
	session->numbered = what[0] == 'C';
	snprintf(command, sizeof(command), "b %s %llu %llu\r\n", what, (unsigned long long)bytes,
		(unsigned long long)size);
	run_bulk(&job, bulk_start, bytes, times);
}

void work_push(uint64_t bytes, uint64_t size)
{
	static const struct job job = { .line = bulk_line, .writable = push_more };

	if (!size || size > sizeof(block))
		load_die("size");
	push_left = bytes;
	push_size = size;
	snprintf(command, sizeof(command), "b PUSH %llu\r\n", (unsigned long long)bytes);
	run_bulk(&job, push_start, bytes, 1);
}

/* ---- fetch ---- */

static uint64_t fetch_bytes, fetch_started;

bool work_fetch_start(struct session *session, uint64_t bytes)
{
	char line[64];

	snprintf(line, sizeof(line), "f UID FETCH %llu BODY.PEEK[]\r\n", (unsigned long long)bytes);
	session->data_got = 0;
	return session_say(session, line);
}

int work_fetch_answer(struct session *session, const char *line, uint64_t bytes)
{
	const char *brace = line[0] == '*' ? strrchr(line, '{') : NULL;

	if (brace) {
		session->data_left = strtoull(brace + 1, NULL, 10);
		return session->data_left == bytes ? 0 : -1;
	}
	if (strcmp(line, ")") == 0 || line[0] == '*')
		return 0;
	return strncmp(line, "f OK", 4) == 0 && session->data_got == bytes ? 1 : -1;
}

static bool fetch_line(struct session *session, const char *line)
{
	int r = work_fetch_answer(session, line, fetch_bytes);

	if (r <= 0)
		return r == 0;
	done++;
	return fetch_started == goal || (fetch_started++, work_fetch_start(session, fetch_bytes));
}

static bool fetch_start(void)
{
	for (uint64_t i = 0; i < fetch_started; i++) {
		if (!work_fetch_start(load.open[i], fetch_bytes))
			return false;
	}
	return true;
}

void work_fetch(uint64_t messages, uint64_t bytes, uint64_t sessions)
{
	static const struct job job = { .line = fetch_line };
	uint64_t start_ns = peer_now_ns();

	if (!messages || !bytes || bytes > MESSAGE_MAX || !sessions || sessions > load.open_count)
		load_die("messages, bytes or sessions");
	done = 0;
	goal = messages;
	fetch_bytes = bytes;
	fetch_started = MIN(messages, sessions);
	run_job(&job, fetch_start);
	printf("messages=%llu bytes=%llu seconds=%.6f", (unsigned long long)messages,
		(unsigned long long)(messages * bytes), (double)(peer_now_ns() - start_ns) / 1e9);
}
