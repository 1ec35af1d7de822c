// SPDX-License-Identifier: Apache-2.0
/*
 * IMAP client commands (RFC 9051 section 9): finding the end of a command without reading any of
 * it twice, and taking its arguments. Nothing is allocated by an announced size. Pure.
 */
#ifndef PROTO_IMAP_PARSE_H
#define PROTO_IMAP_PARSE_H

#include "base/view.h"

#define IMAP_ARGUMENT_BYTES 16384
#define IMAP_COMMAND_BYTES 15

/* Progress through the command at the start of the input; zero it for a new command. */
struct imap_scan {
	size_t at;         /* bytes looked at */
	size_t line_start; /* start of the current line */
	size_t literal_at; /* start and size of the last literal announced, for replies */
	size_t literal_size;
};

enum imap_scan_result {
	IMAP_SCAN_MORE,     /* incomplete */
	IMAP_SCAN_DONE,     /* scan->at is the length of the command, line end included */
	IMAP_SCAN_LITERAL,  /* a synchronising literal: the client waits; go on scanning after it is
			    * answered */
	IMAP_SCAN_TOO_LONG, /* over the limit, or will be because of a non-synchronising literal */
	IMAP_SCAN_LITERAL_TOO_LONG, /* a synchronising literal that is refused; scan->at is the
				     * length of what is to be dropped */
};

enum imap_scan_result imap_scan(struct imap_scan *scan, struct view in, size_t limit);

/* A cursor over a complete command. */
struct imap_cursor {
	struct view rest;
};

/* All return false when the input is not of that form; then the cursor is not usable any more. */
bool imap_take_tag(struct imap_cursor *cursor, struct view *ret_tag);
/* One blank, or more: clients send two, and servers take them. */
bool imap_take_space(struct imap_cursor *cursor);
bool imap_take_atom(struct imap_cursor *cursor, struct view *ret_atom);
/* As imap_take_atom(), of any length. */
bool imap_take_response(struct imap_cursor *cursor, struct view *ret_response);
/* Quoted string, literal, or any bytes up to a blank but controls, parentheses, "{" and quotes:
 * clients do not quote "%", "*" and backslashes, and servers take them. A quoted string is
 * unescaped into scratch, which has room for IMAP_ARGUMENT_BYTES. Over-long arguments are
 * refused. */
bool imap_take_astring(struct imap_cursor *cursor, char *scratch, struct view *ret_string);
/* True at the line end that closes the command; blanks may stand before it. */
bool imap_at_end(const struct imap_cursor *cursor);

#endif
