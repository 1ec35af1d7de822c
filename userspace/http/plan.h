// SPDX-License-Identifier: Apache-2.0
/* What the head of a final response means for the exchange (http.md sections 3, 6, 8). Pure. */
#ifndef HTTP_PLAN_H
#define HTTP_PLAN_H

#include "http/states.h"
#include "proto/http_head.h"

/* How the exchange stands when the head has come. */
struct http_standing {
	enum http_asks asks;
	bool http10;       /* the client's version */
	bool sent;         /* the request's body is complete */
	bool flushed;      /* nothing of the request waits for the node */
	bool write_failed; /* the node has not taken all of it */
	bool client_ended; /* the client's direction has */
};

/* Whether the client's connection ends with this response, and who wants it. */
enum http_last { LAST_NOT, LAST_BY_NODE, LAST_BY_CLIENT };

struct http_plan {
	enum http_framing framing;
	enum http_last last;
	bool unchunked; /* it goes to the client without its coding */
	bool streaming; /* an event stream */
	bool keep_leg;  /* for later requests */
	bool hand_over; /* what follows is the relay's */
};

/* False: it has a coding that the client does not understand, and that cannot be taken off. */
bool http_plan_make(const struct http_head *head, const struct http_standing *standing,
	struct http_plan *ret_plan);

#endif
