// SPDX-License-Identifier: Apache-2.0
/*
 * drain: a session that ends before stage 9 still owes the client its last line. FLUSH sends it
 * and closes our direction (close_notify, FIN); LINGER reads and drops what the client still
 * sends, because closing a socket with unread input resets it and the line could be lost.
 * An established session is drained by the relay.
 */
#include "base/secret.h"
#include "session/session.h"

#include <errno.h>

#define LINGER_BYTES 65536

void session_step_drain(struct session *session)
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
	session->login->read_want = 0;
	session_linger_read(session);
}

void session_linger_read(struct session *session)
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
