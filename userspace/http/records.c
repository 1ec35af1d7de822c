// SPDX-License-Identifier: Apache-2.0
/* When a leg of HTTP's leaves OpenSSL: the client's at once, a node's with its first response. */
#include "http/http.h"
#include "tls/records.h"

void http_leave_openssl(const struct session *session, struct stream *stream)
{
	if (stream_is_tls(stream) && !tls_records_connection(stream) &&
		session_takes_records(session))
		(void)!tls_records_take(stream); /* or OpenSSL goes on */
}
