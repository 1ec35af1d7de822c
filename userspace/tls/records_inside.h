// SPDX-License-Identifier: Apache-2.0
/* Private to tls/records.c and records_out.c: a connection on records, and what we say on it. */
#ifndef TLS_RECORDS_INSIDE_H
#define TLS_RECORDS_INSIDE_H

#include "base/buf.h"
#include "tls/records.h"

/* What one write takes of its caller's. */
#define RECORDS_WRITE_BYTES 65536

/* What waits. */
struct rest {
	struct buf part;   /* read, and not opened: mostly the beginning of a record */
	struct buf unsent; /* sealed, and not taken by the socket */
	struct buf opened; /* text that the reader has not taken */
	uint32_t owed;     /* payload of the data records in unsent; their writer repeats it */
	bool stops;        /* no more is read than the record that is due */
};

struct records {
	struct record_connection connection;
	struct rest *rest; /* NULL: nothing waits */
};

/* ---- records_out.c ---- */

/* What waits, to be looked at; never NULL. */
const struct rest *records_rest(const struct records *records);
/* To put something into it. NULL: no memory. */
struct rest *records_make_rest(struct records *records);
/* Frees it if nothing waits, nor stops: an idle connection has none. */
void records_drop_rest(struct records *records);

/* An alert, if it can be said at all, and now as far as it goes. */
void records_send_alert(
	struct stream *stream, struct records *records, unsigned char level, int description);
/* The answer to a request for other keys, if nothing is before it. */
void records_send_answer(struct stream *stream, struct records *records);
/* All that waits to be sent, an answer that is owed included, as far as the socket takes it. */
void records_flush(struct stream *stream, struct records *records);

/* Of the stream's operations. */
ssize_t records_write(struct stream *stream, const void *data, size_t len);
int records_cut(struct stream *stream);
int records_shutdown(struct stream *stream);

#endif
