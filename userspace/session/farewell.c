// SPDX-License-Identifier: Apache-2.0
/*
 * drain: a session that ends before stage 9 still owes the client its last line. FLUSH sends it
 * and closes our direction (close_notify, FIN); LINGER reads and drops what the client still
 * sends, because closing a socket with unread input resets it and the line could be lost.
 * An established session is drained by the relay.
 */
#include "net/sock.h"
#include "session/steps.h"

#include <errno.h>

#define LINGER_BYTES 65536

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

static void drop_input(struct session *session)
{
	size_t dropped = 0;
	ssize_t n = 0;

	while (dropped < LINGER_BYTES && (n = leg_drop(&session->login->leg, &dropped)) > 0)
		;
	if (n == -EAGAIN)
		session_update_watch(session);
	else
		session_close(session, session->reason);
}

void step_linger_enter(struct session *session)
{
	session->login->leg.read_want = 0;
	drop_input(session);
}

void step_linger_client(struct session *session, uint32_t epoll_events)
{
	(void)epoll_events;
	drop_input(session);
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
