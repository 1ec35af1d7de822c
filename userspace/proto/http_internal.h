// SPDX-License-Identifier: Apache-2.0
/* Private to proto/http_*.c: what requests and responses have in common. All of it reads views and
 * decides; nothing is copied. */
#ifndef PROTO_HTTP_INTERNAL_H
#define PROTO_HTTP_INTERNAL_H

#include "proto/http_head.h"

#define HTTP_MAX_OPTIONS 100 /* elements of Connection */

bool http_is_token(struct view v);
struct view http_trim(struct view v); /* without outer blanks and tabs */
/* A field value or reason phrase: no control character but HTAB, no DEL. */
bool http_is_text(struct view v);

/* Looks for the empty line, and refuses bare CR and bare LF as soon as they are seen (HTTP-11).
 * Returns the length of the head, 0 for "more", or -1. */
long http_find_end(struct http_head *head, struct view in);
/* One line without CRLF. Returns 0 or -EINVAL. */
MUST_USE int http_split_field(struct view line, struct http_field *ret_field);
/* The lines of a head behind the first, each with its CRLF. Returns 0, 400 or 431. */
int http_parse_fields(struct http_head *head, struct view text, size_t limit);
/* Cuts the first line off; the text has one. */
struct view http_take_line(struct view *text);

/* Calls fn for each element of a comma-separated field, all fields of the name together. */
typedef void http_element_fn(void *arg, struct view element);
void http_each_element(
	const struct http_head *head, const char *name, http_element_fn *fn, void *arg);

/* Content-Length, Transfer-Encoding, Connection; sets framing, content_length, wants_close.
 * *ret_upgrade: Connection names "upgrade". Returns 0, 400 or 431. */
int http_check_message(struct http_head *head, bool *ret_upgrade);

/*
 * Nodes that hand fields to programs as variables (CGI, RFC 3875 section 4.1.18) make "_" of "-",
 * so that X_Forwarded_For arrives as X-Forwarded-For would. Names that are dropped are therefore
 * compared with both taken as the same.
 */
bool http_is_alike(struct view name, struct view other);
/* True for fields that belong to one connection or to the framing: never passed on as they are. */
bool http_is_hop_field(struct view name);
/* Forwarded, X-Forwarded-*, X-Real-IP (HTTP-70). */
bool http_is_forwarded_field(struct view name);
/* A forwarded field with an underscore, which no honest front sends: dropped, whoever it is
 * from. */
bool http_is_disguised(struct view name);

#endif
