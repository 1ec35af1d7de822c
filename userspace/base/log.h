// SPDX-License-Identifier: Apache-2.0
/*
 * Logfmt lines on stderr, one write(2) each, never blocking: when stderr cannot take a line it is
 * dropped and counted, and the next line that goes out says how many were. Values are quoted so
 * that one event is one line whatever bytes it holds. Any thread may log.
 * Lines longer than LOG_LINE_BYTES are cut. Never pass a secret: there is no way to mark one.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/view.h"

#define LOG_LINE_BYTES 4000

enum log_level { LOGL_ERROR, LOGL_WARN, LOGL_INFO, LOGL_DEBUG, LOGL_TRACE, LOGL_LEVELS };

struct log_line {
	size_t len;
	bool wanted;
	char text[LOG_LINE_BYTES + 1];
};

/* "error" "warn" "info" "debug" "trace". Returns 0 or -EINVAL. */
MUST_USE int log_level_parse(struct view name, enum log_level *ret_level);
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);
/* Where lines go (default: descriptor 2). Not owned. */
void log_set_fd(int fd);
/* True: lines start with <N> (syslog priority) and have no ts. log_init() sets it from
 * JOURNAL_STREAM. */
void log_init(void);

/* level=... msg=... first, then keys in the order of the calls; log_end() writes it. */
void log_start(struct log_line *line, enum log_level level, const char *msg);
void log_view(struct log_line *line, const char *key, struct view value);
void log_str(struct log_line *line, const char *key, const char *value);
void log_int(struct log_line *line, const char *key, int64_t value);
/* Writes without the lock that orders lines: for who must not wait for a thread that may hold
 * it. */
void log_end_unlocked(struct log_line *line);
void log_end(struct log_line *line);

/* A whole line: key, value pairs of strings, ended by NULL. */
void log_event(enum log_level level, const char *msg, ...) __attribute__((sentinel));

/*
 * Like log_event(), at most one per (msg, topic) in 10 s; the next one carries suppressed=N.
 * The topic (a node's name, say) is not printed by itself and may be NULL.
 */
void log_event_limited(enum log_level level, const char *msg, const char *topic, ...)
	__attribute__((sentinel));

/* Lines dropped since start. */
uint64_t log_dropped(void);

#endif
