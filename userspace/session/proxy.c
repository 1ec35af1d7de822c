// SPDX-License-Identifier: Apache-2.0
/*
 * proxy: the inbound PROXY header, before anything else is read (SES-5..SES-11, SES-64). Exactly
 * the header's bytes are taken from the socket: what comes behind it belongs to the next layer.
 */
#include "session/guarded.h"
#include "session/steps.h"
#include "base/log.h"

#include <errno.h>
#include <sys/socket.h>

/* How long a server-first leg waits for an optional header (SES-8). */
#define WAIT_MS 200

static void refused(struct session *session, enum session_reason reason)
{
	char client[ADDR_TEXT_SIZE];

	log_event_limited(LOGL_WARN, "proxy_header_refused", session->settings->name, "listener",
		session->settings->name, "client", addr_format(&session->client, client), "reason",
		session_reason_name(reason), NULL);
	session_close(session, reason);
}

static void go_on(struct session *session)
{
	loop_timer_del(session->pool->loop, &session->login->proxy_wait);
	session_begin(session);
}

static void on_wait_over(struct timer *timer)
{
	struct session *session = container_of(timer, struct login, proxy_wait)->session;

	/* A header that has begun is waited for like any other. */
	if (session->state != S_PROXY || session->login->leg.in.len)
		return;
	go_on(session);
	session_update_watch(session);
}

static bool client_speaks_first(const struct session *session)
{
	return session->settings->tls == CONFIG_TLS_IMPLICIT || session->kind->client_first;
}

/* SES-64: the session has been here before. "HMG1" and the instance; its number differs. */
static bool is_own(const struct session *session, struct view id)
{
	const unsigned char *own = session->login->proxy_id;

	return id.len >= PROXYHDR_ID_BYTES - 8 && memcmp(id.data, own, PROXYHDR_ID_BYTES - 8) == 0;
}

static void take_header(struct session *session, const struct proxyhdr *header)
{
	if (is_own(session, header->id)) {
		refused(session, REASON_LOOP);
		return;
	}
	if (header->id.len == PROXYHDR_ID_BYTES && view_starts(header->id, VIEW_LIT("HMG1")))
		memcpy(session->login->proxy_id, header->id.data, PROXYHDR_ID_BYTES);
	if (header->has_addresses) {
		session->client = header->source;
		session->login->local = header->destination;
		session->login->proxied = session->told = true;
	}
	buf_clear(&session->login->leg.in);
	if (session->told && session_guard(session) && session_guard_refuses(session))
		session_close(session, REASON_BANNED);
	else
		go_on(session);
}

/* Takes n more bytes, which a peek has shown, off the socket. */
static int take(struct session *session, size_t n)
{
	ssize_t r;

	if (buf_reserve(&session->login->leg.in, n) < 0)
		return -ENOMEM;
	r = recv(session->login->leg.stream.fd, buf_tail(&session->login->leg.in), n, MSG_DONTWAIT);
	if (r != (ssize_t)n)
		return r < 0 ? -errno : -EIO;
	buf_commit(&session->login->leg.in, n);
	return 0;
}

/* No header: bytes that looked like the start of one are the next layer's. TLS reads the socket,
 * and no handshake begins with such bytes. */
static void no_header(struct session *session)
{
	if (session->settings->proxy_protocol == CONFIG_PROXY_REQUIRED ||
		(session->login->leg.in.len && session->settings->tls == CONFIG_TLS_IMPLICIT))
		refused(session, REASON_PROXY_HEADER);
	else
		go_on(session);
}

static void judge(struct session *session, size_t held, struct view seen)
{
	struct proxyhdr header;
	int r = proxyhdr_parse(seen, &header);

	switch (r) {
	case PROXYHDR_MORE:
		/* All of it belongs to the header. */
		if (take(session, seen.len - held) < 0)
			session_close(session, REASON_CLIENT_ERROR);
		return;
	case PROXYHDR_DONE:
		if (take(session, header.len - held) < 0)
			session_close(session, REASON_CLIENT_ERROR);
		else
			take_header(session, &header);
		return;
	case PROXYHDR_NONE:
		no_header(session);
		return;
	default:
		refused(session, REASON_PROXY_HEADER);
	}
}

void step_proxy_progress(struct session *session)
{
	while (session->state == S_PROXY) {
		struct view held = buf_view(&session->login->leg.in);
		char seen[PROXYHDR_LONGEST_BYTES + 1] UNINITIALIZED;
		ssize_t n = recv(session->login->leg.stream.fd, seen + held.len,
			sizeof(seen) - held.len, MSG_PEEK | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			session_close(session,
				n == 0                       ? REASON_CLIENT_EOF
					: errno == ETIMEDOUT ? REASON_KEEPALIVE
							     : REASON_CLIENT_ERROR);
			return;
		}
		memcpy(seen, held.data, held.len);
		judge(session, held.len, view_make(seen, held.len + (size_t)n));
	}
}

void step_proxy_enter(struct session *session)
{
	bool required = session->settings->proxy_protocol == CONFIG_PROXY_REQUIRED;

	if (!session->login->trusted) { /* SES-6 */
		if (required)
			refused(session, REASON_PROXY_HEADER);
		else
			session_begin(session);
		return;
	}
	if (!required && !client_speaks_first(session))
		loop_timer_set(
			session->pool->loop, &session->login->proxy_wait, WAIT_MS, on_wait_over);
	step_proxy_progress(session);
}

void step_proxy_deadline(struct session *session)
{
	session_close(session, REASON_PROXY_HEADER);
}
