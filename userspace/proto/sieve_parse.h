// SPDX-License-Identifier: Apache-2.0
/*
 * ManageSieve lines (RFC 5804 sections 1.2 and 4), of clients and of nodes: finding the end of a
 * logical line, literals included, without reading any of it twice, and taking it apart. Literals
 * are skipped by their length, so what they hold is never taken for a line (SES-72). Both ends
 * send "{n}" and "{n+}" without waiting. Nothing is allocated. Pure.
 */
#ifndef PROTO_SIEVE_PARSE_H
#define PROTO_SIEVE_PARSE_H

#include "base/view.h"

/* Progress through the logical line at the start of the input; zero it for a new one. */
struct sieve_scan {
	size_t at;         /* bytes looked at */
	size_t line_start; /* start of the current line */
	size_t content;    /* when done: length without the closing line end */
	unsigned lines;    /* line ends seen outside literals */
};

struct sieve_limits {
	size_t whole;   /* a logical line with its line end */
	size_t line;    /* one line of it without its end */
	bool crlf_only; /* a lone LF is no line end */
};

enum sieve_scan_result {
	SIEVE_SCAN_MORE,          /* incomplete */
	SIEVE_SCAN_DONE,          /* scan->at is its length, line end included */
	SIEVE_SCAN_TOO_LONG,      /* over limits->whole, or will be because of a literal */
	SIEVE_SCAN_LINE_TOO_LONG, /* over limits->line; that line starts at scan->at */
};

enum sieve_scan_result sieve_scan(
	struct sieve_scan *scan, struct view in, const struct sieve_limits *limits);

/* A cursor over the content of a complete logical line; zero started. */
struct sieve_cursor {
	struct view rest;
	bool started;
};

enum sieve_token {
	SIEVE_BAD, /* the cursor is not usable any more */
	SIEVE_END,
	SIEVE_ATOM,
	SIEVE_QUOTED, /* the text keeps its backslashes; see sieve_unescape() */
	SIEVE_LITERAL,
};

/* The next token; tokens have one blank between them, or more; blanks at the end are none. */
enum sieve_token sieve_next(struct sieve_cursor *cursor, struct view *ret_text);
/* True if the rest are tokens to the end; the cursor stays where it is. */
bool sieve_is_well_formed(struct sieve_cursor cursor);

static inline bool sieve_is_string(enum sieve_token token)
{
	return token == SIEVE_QUOTED || token == SIEVE_LITERAL;
}

/* The bytes of a quoted string one by one: takes one off the front of text (not empty). */
char sieve_unescape(struct view *text);

#endif
