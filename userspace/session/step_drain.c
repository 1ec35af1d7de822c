// SPDX-License-Identifier: Apache-2.0
/*
 * drain: a session that ends before stage 9 still owes the client its last line. FLUSH sends it
 * and closes our direction (close_notify, FIN); LINGER reads and drops what the client still
 * sends, because closing a socket with unread input resets it and the line could be lost.
 * An established session is drained by the relay.
 */
#include "base/secret.h"
#include "net/sock.h"
#include "session/steps.h"

#include <errno.h>

#define LINGER_BYTES 65536

void step_flush_enter(struct session *session)
{
	buf_fini(&session->login->in);
	session_run(session);
}

void step_flush_progress(struct session *session)
{
	int r;

	if (session->login->out.len)
		return;
	r = stream_shutdown(&session->login->stream);
	if (r == -EAGAIN) { /* close_notify does not fit the socket */
		session->login->write_want = session->login->stream.want;
		return;
	}
	if (r < 0) {
		session_close(session, session->reason);
		return;
	}
	session_set_state(session, S_LINGER);
}

static void drop_input(struct session *session)
{
	char scratch[4096] UNINITIALIZED; /* may be told a password that came too late */
	ssize_t n;

	for (size_t dropped = 0; dropped < LINGER_BYTES;
		dropped += stream_read_cost(&session->login->stream, n)) {
		n = stream_read(&session->login->stream, scratch, sizeof(scratch));
		if (n == -EAGAIN) {
			session->login->read_want = session->login->stream.want;
			session_update_watch(session);
			return;
		}
		if (n <= 0)
			break;
		secret_wipe(scratch, (size_t)n);
	}
	session_close(session, session->reason);
}

void step_linger_enter(struct session *session)
{
	session->login->read_want = 0;
	drop_input(session);
}

void step_linger_client(struct session *session, uint32_t epoll_events)
{
	(void)epoll_events;
	drop_input(session);
}

void step_peer_deadline(struct session *session)
{
	sock_abort_on_close(session->login->stream.fd);
	session_close(session, session->reason);
}

void step_linger_deadline(struct session *session)
{
	session_close(session, session->reason);
}
