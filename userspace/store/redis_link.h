// SPDX-License-Identifier: Apache-2.0
/* Private to store/: one connection to a Redis server: address, TLS, AUTH and SELECT, commands out,
 * replies in. hiredis formats and parses; the socket and TLS are ours, because Debian's hiredis has
 * no TLS. */
#ifndef STORE_REDIS_LINK_H
#define STORE_REDIS_LINK_H

#include "net/connect.h"
#include "store/store.h"
#include "tls/tls.h"

#include <hiredis/hiredis.h>

struct redis_url {
	bool tls;
	char *host; /* NULL: path is a unix socket */
	char *path;
	char *user, *password; /* NULL: none */
	uint16_t port;
	unsigned db;
};

/* MAP-70. Returns 0, or -EINVAL/-ENOMEM with what is wrong (no password in it). */
MUST_USE int redis_url_parse(
	const char *text, struct redis_url *ret_url, char error[STORE_ERROR_BYTES]);
void redis_url_fini(struct redis_url *url);

enum redis_phase {
	REDIS_CLOSED,
	REDIS_CONNECTING,
	REDIS_LOGIN,
	REDIS_OPEN,
};

struct redis_link;
struct redis_link_ops {
	void (*ready)(struct redis_link *link);
	/* The link may be closed inside. */
	void (*reply)(struct redis_link *link, const redisReply *reply);
	/* error: for the operator. The callee closes the link. */
	void (*lost)(struct redis_link *link, const char *error);
};

struct redis_link {
	const struct redis_link_ops *ops;
	const struct redis_url *url;
	struct loop *loop;
	struct resolver *resolver;
	struct tls_client *tls; /* NULL: plain */
	struct leg leg;
	struct connect connect;
	redisReader *reader;
	enum redis_phase phase;
	unsigned logins; /* replies to AUTH and SELECT that are out */
	unsigned life;   /* counts opens and closes: tells a caller that it was closed meanwhile */
};

/* ops, url, loop, resolver, tls are set. ops->ready or ops->lost follows, maybe inside. */
void redis_link_open(struct redis_link *link);
void redis_link_close(struct redis_link *link);
/* Returns 0, or -errno: the link is of no more use (the caller closes it). */
MUST_USE int redis_link_send(
	struct redis_link *link, int argc, const char *const argv[], const size_t lens[]);
/* A string's bytes; empty for anything else. */
static inline struct view redis_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING ? view_make(reply->str, reply->len)
						 : view_make("", 0);
}

/* redis_list.c: STORE_LIST, STORE_BAN_LIST. Sends its next step. */
MUST_USE int redis_list_send(
	struct redis_link *link, const char *prefix, const struct store_request *request);
/* Takes an answer that is no error; true: another step is to be sent. */
bool redis_list_reply(struct store_request *request, const char *prefix, const redisReply *reply);
/* At most size - 1 bytes and a NUL; returns their number. */
size_t redis_escape_pattern(const char *text, char *to, size_t size);
/* An error reply's first word, the only part that quotes nothing. */
const char *redis_error_word(const redisReply *reply, char word[32]);

#endif
