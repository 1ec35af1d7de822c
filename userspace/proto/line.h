// SPDX-License-Identifier: Apache-2.0
/* Private to proto/: what the protocols share: lines of clients and nodes,
 * words, SASL responses. Pure. */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include "proto/front.h"

/* Where a front is in reading lines. */
struct line_scan {
	size_t at;    /* bytes of the current line looked at */
	bool discard; /* the rest of an over-long line is dropped */
};

enum {
	LINE_MORE = 0,
	LINE_DONE,     /* *ret_line is the line without its end, *ret_consumed its length with it */
	LINE_TOO_LONG, /* more than limit bytes; what there is of it is consumed */
	LINE_DROPPED,  /* the rest of an over-long line is over */
};

/* Takes a line that ends with LF; a CR in front of it is left in ret_line. After LINE_TOO_LONG
 * without a line end the rest is dropped by the next calls. */
int line_take(struct line_scan *scan, struct view in, size_t limit, size_t *ret_consumed,
	struct view *ret_line);
/* Cuts one CR off the end. */
struct view line_chomp(struct view line);
/* Without the blanks and tabs in front and behind. */
struct view line_trim(struct view text);
/* True if a byte is a control character other than HTAB, or DEL. */
bool line_has_control(struct view line);

/* True if a line, from its start on, ends inside a quoted string with \\ as its escape. */
bool line_ends_quoted(struct view line);

/* The word up to the next blank; rest moves behind the blanks that follow. Empty at the end. */
struct view line_word(struct view *rest);

/* True if the text is this word, in any case, or begins with it and a blank. */
bool line_starts_word(struct view text, const char *word);

/* A node's line with CRLF from position *scanned on. Returns false: not complete yet. */
bool line_of_node(struct view in, size_t *scanned, struct view *ret_line);

/* What answers a node that explains an OAuth failure (SES-71). */
const char *oauth_error_answer(enum sasl_mech mech);

#endif
