// SPDX-License-Identifier: Apache-2.0
/*
 * Logfmt writer. One mutex orders the writes of all threads; the line itself is built on the
 * caller's stack without a lock. poll(2) before write(2) keeps a full pipe from blocking us:
 * a pipe that polls writable takes PIPE_BUF (4096) bytes at once, and a line is shorter.
 */
#include "base/log.h"
#include "base/clock.h"
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIMIT_SLOTS 256
#define LIMIT_MS 10000

static const char *const level_names[] = { "error", "warn", "info", "debug", "trace" };
static const int level_priorities[] = { 3, 4, 6, 7, 7 };
static_assert(ARRAY_SIZE(level_names) == LOGL_LEVELS, "a name for each");
static_assert(ARRAY_SIZE(level_priorities) == LOGL_LEVELS, "a priority for each");

static atomic_int current_level = LOGL_INFO;
static atomic_int log_fd = 2;
static atomic_bool to_journal;
static atomic_uint_fast64_t dropped_total;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped_pending; /* under write_lock */

struct limit_slot {
	uint64_t key, until_ms, suppressed;
};
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct limit_slot limit_slots[LIMIT_SLOTS];

int log_level_parse(struct view name, enum log_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (view_eq(name, view_str(level_names[i]))) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	atomic_store(&current_level, level);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_set_fd(int fd)
{
	atomic_store(&log_fd, fd);
}

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 || fstat(2, &st) < 0)
		return;
	atomic_store(&to_journal, st.st_dev == dev && st.st_ino == ino);
}

uint64_t log_dropped(void)
{
	return atomic_load(&dropped_total);
}

static void put(struct log_line *line, const char *text, size_t len)
{
	size_t room = LOG_LINE_BYTES - 1 - line->len;

	if (len > room)
		len = room;
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static bool is_bare(struct view v)
{
	if (!v.len)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.data[i];

		if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return false;
	}
	return true;
}

static void put_quoted(struct log_line *line, struct view v)
{
	char escape[8];

	put(line, "\"", 1);
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.data[i];

		if (c == '"' || c == '\\')
			put(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\%c", c));
		else if (c == '\n')
			put(line, "\\n", 2);
		else if (c < 0x20 || c >= 0x7f)
			put(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\x%02x", c));
		else
			put(line, (const char *)&c, 1);
	}
	put(line, "\"", 1);
}

void log_start(struct log_line *line, enum log_level level, const char *msg)
{
	char text[CLOCK_TEXT_SIZE + 8];

	line->len = 0;
	line->wanted = log_wants(level);
	if (!line->wanted)
		return;
	if (atomic_load(&to_journal)) {
		put(line, text,
			(size_t)snprintf(text, sizeof(text), "<%d>", level_priorities[level]));
	} else {
		put(line, "ts=", 3);
		clock_format_rfc3339(clock_real_ms(), true, text);
		put(line, text, strlen(text));
		put(line, " ", 1);
	}
	put(line, "level=", 6);
	put(line, level_names[level], strlen(level_names[level]));
	log_str(line, "msg", msg);
}

void log_view(struct log_line *line, const char *key, struct view value)
{
	if (!line->wanted)
		return;
	put(line, " ", 1);
	put(line, key, strlen(key));
	put(line, "=", 1);
	if (is_bare(value))
		put(line, value.data, value.len);
	else
		put_quoted(line, value);
}

void log_str(struct log_line *line, const char *key, const char *value)
{
	log_view(line, key, view_str(value ? value : "-"));
}

void log_int(struct log_line *line, const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	log_str(line, key, text);
}

static bool write_line(const char *text, size_t len)
{
	int fd = atomic_load(&log_fd);
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	if (poll(&pfd, 1, 0) == 1 && !(pfd.revents & POLLOUT))
		return false;
	if (!(pfd.revents & POLLOUT))
		return false;
	for (;;) {
		ssize_t n = write(fd, text, len);

		if (n >= 0 || errno != EINTR)
			return n == (ssize_t)len;
	}
}

void log_end_unlocked(struct log_line *line)
{
	if (!line->wanted)
		return;
	line->text[line->len++] = '\n';
	(void)!write_line(line->text, line->len);
}

void log_end(struct log_line *line)
{
	char note[64];
	int n;

	if (!line->wanted)
		return;
	line->text[line->len++] = '\n';
	pthread_mutex_lock(&write_lock);
	if (dropped_pending) {
		n = snprintf(note, sizeof(note), "level=warn msg=log_dropped lines=%llu\n",
			(unsigned long long)dropped_pending);
		if (write_line(note, (size_t)n))
			dropped_pending = 0;
	}
	if (!write_line(line->text, line->len)) {
		dropped_pending++;
		atomic_fetch_add(&dropped_total, 1);
	}
	pthread_mutex_unlock(&write_lock);
}

static void put_pairs(struct log_line *line, va_list args)
{
	const char *key;

	while ((key = va_arg(args, const char *)))
		log_str(line, key, va_arg(args, const char *));
}

void log_event(enum log_level level, const char *msg, ...)
{
	struct log_line line UNINITIALIZED;
	va_list args;

	log_start(&line, level, msg);
	va_start(args, msg);
	put_pairs(&line, args);
	va_end(args);
	log_end(&line);
}

/* True if this event may be printed now; then *ret_suppressed tells how many were not. */
static bool limit_pass(const char *msg, const char *topic, uint64_t *ret_suppressed)
{
	uint64_t key = hash_view(view_str(msg)) * 31 + (topic ? hash_view(view_str(topic)) : 0);
	struct limit_slot *slot = &limit_slots[key % LIMIT_SLOTS];
	uint64_t now = clock_mono_ms();
	bool pass = true;

	pthread_mutex_lock(&limit_lock);
	*ret_suppressed = 0;
	if (slot->key == key && now < slot->until_ms) {
		slot->suppressed++;
		pass = false;
	} else {
		if (slot->key == key)
			*ret_suppressed = slot->suppressed;
		*slot = (struct limit_slot){ .key = key, .until_ms = now + LIMIT_MS };
	}
	pthread_mutex_unlock(&limit_lock);
	return pass;
}

void log_event_limited(enum log_level level, const char *msg, const char *topic, ...)
{
	struct log_line line UNINITIALIZED;
	uint64_t suppressed;
	va_list args;

	if (!log_wants(level) || !limit_pass(msg, topic, &suppressed))
		return;
	log_start(&line, level, msg);
	va_start(args, topic);
	put_pairs(&line, args);
	va_end(args);
	if (suppressed)
		log_int(&line, "suppressed", (int64_t)suppressed);
	log_end(&line);
}
