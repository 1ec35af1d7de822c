// SPDX-License-Identifier: Apache-2.0
#include "store/redis_link.h"
#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define OUT_BYTES (16 * 1024 * 1024)
#define TURN_READ_BYTES (256 * 1024)

/* ---- url ---- */

/* Percent-decoded copy; NULL on a bad escape, a NUL or no memory. */
static char *decode(struct view text)
{
	char *out = calloc(1, text.len + 1);
	size_t n = 0;

	while (out && text.len) {
		int c = view_take_percent(&text);

		if (c <= 0) {
			free(out);
			return NULL;
		}
		out[n++] = (char)c;
	}
	return out;
}

static bool split(struct view text, char mark, struct view *ret_left, struct view *ret_right)
{
	const char *at = text.len ? memchr(text.data, mark, text.len) : NULL;

	*ret_left = at ? view_make(text.data, (size_t)(at - text.data)) : text;
	*ret_right = at ? view_skip(text, ret_left->len + 1) : view_make("", 0);
	return at != NULL;
}

static int take_credentials(struct redis_url *url, struct view text)
{
	struct view user, password;

	if (!split(text, ':', &user, &password))
		return -EINVAL;
	if (user.len && !(url->user = decode(user)))
		return -EINVAL;
	if (password.len && !(url->password = decode(password)))
		return -EINVAL;
	return 0;
}

static int take_db(struct redis_url *url, struct view text)
{
	uint64_t db = 0;

	if (text.len && (view_to_u64(text, &db) < 0 || db > 1000000))
		return -EINVAL;
	url->db = (unsigned)db;
	return 0;
}

static int take_host(struct redis_url *url, struct view text)
{
	struct view host = text, port = view_make("", 0);
	uint64_t number = 6379;

	if (text.len && text.data[0] == '[') {
		const char *end = memchr(text.data, ']', text.len);

		if (!end)
			return -EINVAL;
		host = view_make(text.data + 1, (size_t)(end - text.data) - 1);
		port = view_skip(text, host.len + 2);
		if (port.len && port.data[0] != ':')
			return -EINVAL;
		if (port.len)
			port = view_skip(port, 1);
	} else {
		split(text, ':', &host, &port);
	}
	if (!host.len ||
		(port.len && (view_to_u64(port, &number) < 0 || !number || number > 65535)))
		return -EINVAL;
	url->host = view_dup(host);
	url->port = (uint16_t)number;
	return url->host ? 0 : -ENOMEM;
}

/* ?db=N&user=U&password=P */
static int take_parameters(struct redis_url *url, struct view query)
{
	while (query.len) {
		struct view pair, name, value;

		split(query, '&', &pair, &query);
		if (!split(pair, '=', &name, &value))
			return -EINVAL;
		if (view_eq(name, VIEW_LIT("db"))) {
			if (take_db(url, value) < 0)
				return -EINVAL;
		} else if (view_eq(name, VIEW_LIT("user")) && !url->user) {
			if (!(url->user = decode(value)))
				return -EINVAL;
		} else if (view_eq(name, VIEW_LIT("password")) && !url->password) {
			if (!(url->password = decode(value)))
				return -EINVAL;
		} else {
			return -EINVAL;
		}
	}
	return 0;
}

static int parse_unix(struct redis_url *url, struct view rest)
{
	struct view path, query;

	split(rest, '?', &path, &query);
	if (path.len < 2 || path.data[0] != '/' ||
		path.len >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -EINVAL;
	url->path = decode(path);
	return url->path ? take_parameters(url, query) : -EINVAL;
}

static int parse_tcp(struct redis_url *url, struct view rest)
{
	struct view authority, db, host;
	const char *at;
	int r = 0;

	split(rest, '/', &authority, &db);
	at = authority.len ? memrchr(authority.data, '@', authority.len) : NULL;
	host = authority;
	if (at) {
		struct view credentials = view_make(authority.data, (size_t)(at - authority.data));

		host = view_skip(authority, credentials.len + 1);
		r = take_credentials(url, credentials);
	}
	if (r == 0)
		r = take_db(url, db);
	return r < 0 ? r : take_host(url, host);
}

int redis_url_parse(const char *text, struct redis_url *ret_url, char error[STORE_ERROR_BYTES])
{
	struct view v = view_str(text);
	bool is_unix = view_starts(v, VIEW_LIT("redis+unix://"));
	int r = -EINVAL;

	*ret_url = (struct redis_url){ 0 };
	ret_url->tls = view_starts(v, VIEW_LIT("rediss://"));
	if (is_unix)
		r = parse_unix(ret_url, view_skip(v, 13));
	else if (ret_url->tls || view_starts(v, VIEW_LIT("redis://")))
		r = parse_tcp(ret_url, view_skip(v, ret_url->tls ? 9 : 8));
	if (r < 0) {
		redis_url_fini(ret_url);
		if (!is_unix && strchr(text, '?'))
			snprintf(error, STORE_ERROR_BYTES,
				"redis:// and rediss:// urls take no parameters after a \"?\" (a "
				"\"?\" in a password is written %%3F)");
		else
			snprintf(error, STORE_ERROR_BYTES,
				"expected redis://[[user]:password@]host[:port][/db], rediss://... "
				"or "
				"redis+unix:///path[?db=N&user=U&password=P]");
	}
	return r;
}

void redis_url_fini(struct redis_url *url)
{
	if (url->password)
		secret_wipe(url->password, strlen(url->password));
	free(url->password);
	free(url->user);
	free(url->host);
	free(url->path);
	*url = (struct redis_url){ 0 };
}

/* ---- opening ---- */

static void on_link(struct loop_watch *watch, uint32_t events);

static void fail(struct redis_link *link, const char *error)
{
	link->ops->lost(link, error);
}

static void send_login(struct redis_link *link)
{
	const struct redis_url *url = link->url;
	const char *auth[] = { "AUTH", url->user ? url->user : url->password, url->password };
	char db[16];
	const char *select[] = { "SELECT", db };
	int r = 0;

	link->phase = REDIS_LOGIN;
	snprintf(db, sizeof(db), "%u", url->db);
	if (url->password) {
		r = redis_link_send(link, url->user ? 3 : 2, auth, NULL);
		link->logins++;
	}
	if (r == 0 && url->db) {
		r = redis_link_send(link, 2, select, NULL);
		link->logins++;
	}
	if (r < 0) {
		fail(link, "connection lost");
	} else if (!link->logins) {
		link->phase = REDIS_OPEN;
		link->ops->ready(link);
	}
}

static int secure(struct connect *connect)
{
	struct redis_link *link = container_of(connect, struct redis_link, connect);

	if (!stream_is_tls(&link->leg.stream) &&
		tls_stream_connect(&link->leg.stream, link->tls) < 0)
		return CONNECT_OURS;
	return tls_stream_handshake(&link->leg.stream);
}

static void on_up(struct connect *connect)
{
	struct redis_link *link = container_of(connect, struct redis_link, connect);

	if (leg_watch(&link->leg, EPOLLIN) < 0)
		fail(link, "out of memory");
	else
		send_login(link);
}

static void on_failed(struct connect *connect, int outcome)
{
	struct redis_link *link = container_of(connect, struct redis_link, connect);
	char text[200];

	if (connect->phase == CONNECT_OPEN && connect_has_next(connect)) {
		connect_next(connect);
	} else if (connect->phase == CONNECT_RESOLVE) {
		fail(link, "the host name cannot be resolved");
	} else if (connect->phase == CONNECT_TLS) {
		snprintf(text, sizeof(text), "TLS: %.180s",
			outcome == CONNECT_OURS ? "cannot start"
						: tls_stream_error(&link->leg.stream));
		fail(link, text);
	} else {
		fail(link, outcome == CONNECT_OURS ? "out of memory" : strerror(-outcome));
	}
}

static const struct connect_ops connect_ops = {
	.secure = secure,
	.up = on_up,
	.failed = on_failed,
};

void redis_link_open(struct redis_link *link)
{
	link->life++;
	link->logins = 0;
	leg_init(&link->leg, 0, OUT_BYTES);
	link->leg.out_stays = true;
	link->connect = (struct connect){ .ops = &connect_ops,
		.loop = link->loop,
		.resolver = link->resolver,
		.leg = &link->leg,
		.fn = on_link,
		.tls_first = link->tls != NULL };
	link->reader = redisReaderCreate();
	link->phase = REDIS_CONNECTING;
	if (!link->reader)
		fail(link, "out of memory");
	else if (!link->url->host)
		connect_start_unix(&link->connect, link->url->path);
	else
		connect_start(&link->connect, link->url->host, link->url->port);
}

void redis_link_close(struct redis_link *link)
{
	link->life++;
	link->phase = REDIS_CLOSED;
	connect_stop(&link->connect);
	leg_close(&link->leg);
	if (link->reader)
		redisReaderFree(link->reader);
	link->reader = NULL;
}

/* ---- talking ---- */

static int flush(struct redis_link *link)
{
	int r = leg_flush(&link->leg);

	return r < 0 ? r : leg_watch(&link->leg, leg_events(&link->leg, true, link->leg.out.len));
}

int redis_link_send(
	struct redis_link *link, int argc, const char *const argv[], const size_t lens[])
{
	char *text = NULL;
	long long len = redisFormatCommandArgv(&text, argc, (const char **)argv, lens);
	bool idle = !link->leg.out.len;
	int r = len < 0 ? -ENOMEM : buf_append(&link->leg.out, text, (size_t)len);

	if (text)
		secret_wipe(text, (size_t)MAX(len, 0ll));
	redisFreeCommand(text);
	/* While it is blocked, an event sends the rest. */
	return r < 0 || !idle ? r : flush(link);
}

const char *redis_error_word(const redisReply *reply, char word[32])
{
	size_t n = 0;

	while (reply->str && n < 31 && n < reply->len && reply->str[n] > ' ' && reply->str[n] < 127)
		n++;
	memcpy(word, reply->str ? reply->str : "", n);
	word[n] = '\0';
	return word;
}

/* AUTH and SELECT come first. */
static void take_login(struct redis_link *link, const redisReply *reply)
{
	char word[32], text[80];

	if (reply->type == REDIS_REPLY_ERROR) {
		snprintf(text, sizeof(text), "login or database refused: %s",
			redis_error_word(reply, word));
		fail(link, text);
	} else if (--link->logins == 0) {
		link->phase = REDIS_OPEN;
		link->ops->ready(link);
	}
}

/* Returns false when the link was closed meanwhile. */
static bool take_replies(struct redis_link *link)
{
	unsigned life = link->life;

	for (;;) {
		redisReply *reply = NULL;
		int r = redisReaderGetReply(link->reader, (void **)&reply);

		if (r != REDIS_OK) {
			fail(link, "the answer is not Redis");
			return false;
		}
		if (!reply)
			return true;
		if (link->phase == REDIS_LOGIN)
			take_login(link, reply);
		else
			link->ops->reply(link, reply);
		freeReplyObject(reply);
		if (link->life != life)
			return false;
	}
}

static void on_link(struct loop_watch *watch, uint32_t events)
{
	struct redis_link *link = container_of(watch, struct redis_link, leg.watch);
	char data[16384] UNINITIALIZED;
	size_t spent = 0;
	ssize_t n = -EAGAIN;

	if (link->phase == REDIS_CONNECTING) {
		connect_event(&link->connect, events);
		return;
	}
	/* A whole record fits data, so what is left at the end of a turn is in the socket. */
	while (spent < TURN_READ_BYTES &&
		(n = leg_read_bytes(&link->leg, data, sizeof(data), &spent)) > 0) {
		if (redisReaderFeed(link->reader, data, (size_t)n) != REDIS_OK) {
			fail(link, "out of memory");
			return;
		}
		if (!take_replies(link))
			return;
	}
	if (n <= 0 && n != -EAGAIN) {
		fail(link,
			n == STREAM_EOF ? "the server closed the connection" : strerror((int)-n));
		return;
	}
	if (flush(link) < 0)
		fail(link, "connection lost");
}
