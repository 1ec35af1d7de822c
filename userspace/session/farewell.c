// SPDX-License-Identifier: Apache-2.0
/*
 * farewell: a session that ends before stage 9 still owes the client its last line. FLUSH sends it
 * and closes our direction (close_notify, FIN); LINGER reads and drops what the client still
 * sends, because closing a socket with unread input resets it and the line could be lost.
 * What the legs of an established session are owed is the relay's.
 */
#include "net/sock.h"
#include "session/steps.h"

#include <errno.h>

#define LINGER_TURN_BYTES 65536 /* as stream_read_cost() counts */
#define LINGER_DEAF_MS 3000     /* no less than the state's limit */

void step_flush_enter(struct session *session)
{
	buf_fini(&session->login->leg.in);
	session_run(session);
}

void step_flush_progress(struct session *session)
{
	int r;

	if (session->login->leg.out.len)
		return;
	r = leg_shutdown(&session->login->leg);
	if (r == -EAGAIN) /* close_notify does not fit the socket */
		return;
	if (r < 0) {
		session_close(session, session->reason);
		return;
	}
	session_set_state(session, S_LINGER);
}

/* Who sends more than that at once is not heard any more, but not closed either: that would be the
 * reset that this is about. The state's limit is the end of it (RFC 9112 section 9.6). */
void step_linger_progress(struct session *session)
{
	size_t spent = 0;
	ssize_t n = 1;

	while (spent < LINGER_TURN_BYTES && (n = leg_drop(&session->login->leg, &spent)) > 0)
		;
	if (n > 0)
		session_client_later(session, LINGER_DEAF_MS);
	else if (n != -EAGAIN)
		session_close(session, session->reason);
	session_update_watch(session);
}

void step_linger_enter(struct session *session)
{
	session->login->leg.read_want = 0;
	step_linger_progress(session);
}

void step_linger_client(struct session *session, uint32_t epoll_events)
{
	(void)epoll_events;
	step_linger_progress(session);
}

void step_peer_deadline(struct session *session)
{
	sock_abort_on_close(session->login->leg.stream.fd);
	session_close(session, session->reason);
}

void step_linger_deadline(struct session *session)
{
	session_close(session, session->reason);
}
