// SPDX-License-Identifier: Apache-2.0
/*
 * See ktls_stream.h. The kernel may have taken bytes of a record that its socket has not: send()
 * has returned, but the record's rest waits in the TLS layer, where neither shutdown() nor SIOCOUTQ
 * sees it. So before the end of stream is sent, what the socket has been given is compared with
 * what the records must have come to; TLS_TX tells how many records there were.
 */
#include "relay/ktls_stream.h"
#include "base/secret.h"
#include "net/tcpinfo.h"
#include "record/post.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Records without data that one read takes. */
#define READ_RECORDS 16

/* What the peer says; behind KTLS_IN_OPEN nothing is read any more. */
enum ktls_in {
	KTLS_IN_OPEN,
	KTLS_IN_ENDED,   /* close_notify */
	KTLS_IN_EXPIRED, /* it has other keys, and the kernel cannot follow */
};

/* What we say. */
enum ktls_out {
	KTLS_OUT_OPEN,
	KTLS_OUT_UPDATE, /* the peer asked us to change keys: before the next data record */
	KTLS_OUT_CLOSED, /* close_notify is sent: no data any more */
	KTLS_OUT_SHUT,   /* FIN */
};

/* What the next keys follow from, per enum record_direction. */
struct secrets {
	unsigned char secret[2][RECORD_SECRET_MAX];
};

struct ktls {
	uint64_t base_written; /* bytes given to TCP before the switch */
	uint64_t payload;      /* of all records since, control records included */
	uint64_t first_seq;    /* of the first record since the last change of keys */
	uint64_t records_before;
	struct secrets *secrets; /* owned; TLS 1.3, and only where the kernel can change keys */
	struct record_peer peer;
	uint8_t cipher, overhead;
	uint8_t in;  /* enum ktls_in */
	uint8_t out; /* enum ktls_out */
	/* The kernel may have opened a KeyUpdate behind the data that it gave: until we have read
	 * it and set the next key, epoll reports the socket as not readable. */
	bool may_hide_update;
};

/* After a KeyUpdate in a direction: its next secret, and the kernel gets what follows from it. */
static int set_next_keys(int fd, struct ktls *ktls, enum record_direction direction)
{
	struct record_state state = {
		.version = RECORD_TLS_1_3, .cipher = ktls->cipher, .direction = (uint8_t)direction
	};
	int r = record_state_update(&state, ktls->secrets->secret[direction]);

	if (r == 0)
		r = ktls_set_keys(fd, &state);
	record_state_wipe(&state);
	return r;
}

/* ---- reading ---- */

static int change_read_keys(struct stream *stream, struct ktls *ktls, bool requested)
{
	if (!ktls->secrets || set_next_keys(stream->fd, ktls, RECORD_READ) < 0) {
		ktls->in = KTLS_IN_EXPIRED;
		return -EKEYEXPIRED;
	}
	if (requested && ktls->out == KTLS_OUT_OPEN)
		ktls->out = KTLS_OUT_UPDATE;
	return 0;
}

/* Returns 1 at the peer's end, 0 to go on, or -errno. */
static int on_record(
	struct stream *stream, struct ktls *ktls, int type, const void *data, size_t len)
{
	int r = record_peer_said(&ktls->peer, type, data, len);

	switch (r) {
	case RECORD_END:
		return 1;
	case RECORD_KEY_UPDATE:
	case RECORD_KEY_UPDATE_REQUESTED:
		return change_read_keys(stream, ktls, r == RECORD_KEY_UPDATE_REQUESTED);
	case RECORD_RENEGOTIATION:
		return -EPROTO;
	default:
		return r;
	}
}

static ssize_t read_error(struct stream *stream, struct ktls *ktls, ssize_t error)
{
	switch (error) {
	case -EAGAIN:
		stream->want = EPOLLIN;
		return error;
	case -EBADMSG:
	case -EMSGSIZE:
	case -EINVAL:
		return -EPROTO;
	case -EKEYEXPIRED:
		ktls->in = KTLS_IN_EXPIRED;
		return error;
	default:
		return error;
	}
}

/* Empty records, tickets, KeyUpdates, user_canceled: some of them now, and not for ever. */
static ssize_t ktls_read(struct stream *stream, void *data, size_t len)
{
	struct ktls *ktls = stream->layer;

	for (unsigned records = 0; ktls->in != KTLS_IN_ENDED; records++) {
		int type = -1, r;
		ssize_t n;

		if (records == READ_RECORDS) {
			stream->want = EPOLLIN;
			return -EAGAIN;
		}
		if (ktls->in == KTLS_IN_EXPIRED)
			return -EKEYEXPIRED;
		n = ktls_recv(stream->fd, data, len, &type);
		if (n == -EINTR)
			continue;
		ktls->may_hide_update = false;
		if (n < 0)
			return read_error(stream, ktls, n);
		if (type == RECORD_DATA && n > 0) {
			/* a full buffer ends its call before it opens another record */
			ktls->may_hide_update = ktls->secrets && (size_t)n < len;
			r = record_peer_data(&ktls->peer);
			return r < 0 ? r : n;
		}
		if (type < 0 && n > 0)
			return n;
		if (type < 0) /* FIN without close_notify */
			return -ECONNABORTED;
		stream_add_work(stream, type == RECORD_HANDSHAKE ? RECORD_MESSAGE_COST : 0);
		r = on_record(stream, ktls, type, data, (size_t)n);
		if (r < 0)
			return r;
		if (r > 0)
			ktls->in = KTLS_IN_ENDED;
	}
	return STREAM_EOF;
}

/* ---- writing ---- */

/* Our KeyUpdate goes out under the old keys, then they change (RFC 8446 section 4.6.3). */
static int change_write_keys(struct stream *stream, struct ktls *ktls)
{
	uint64_t seq;
	ssize_t n = ktls_send_record(
		stream->fd, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
	int r;

	if (n < 0)
		return (int)n;
	ktls->payload += sizeof(record_key_update);
	r = ktls_next_number(stream->fd, ktls->cipher, &seq);
	if (r == 0)
		r = set_next_keys(stream->fd, ktls, RECORD_WRITE);
	if (r < 0)
		return r;
	ktls->records_before += seq - ktls->first_seq;
	ktls->first_seq = 0;
	ktls->out = KTLS_OUT_OPEN;
	return 0;
}

/* The kernel has made records of n bytes. */
static void count_sent(struct ktls *ktls, size_t n, size_t full)
{
	ktls->payload += n;
	for (size_t at = 0; at < n; at += full)
		record_peer_pay(&ktls->peer);
}

static ssize_t ktls_write(struct stream *stream, const void *data, size_t len)
{
	struct ktls *ktls = stream->layer;
	size_t full = ktls->peer.payload_max, most = full < RECORD_MAX ? full : SIZE_MAX;

	if (ktls->out >= KTLS_OUT_CLOSED)
		return -EPIPE;
	for (;;) {
		ssize_t n;

		if (ktls->out == KTLS_OUT_UPDATE) {
			n = change_write_keys(stream, ktls);
		} else {
			/* what one call is given, the kernel makes one record of */
			n = send(stream->fd, data, MIN(len, most), MSG_DONTWAIT | MSG_NOSIGNAL);
			n = n < 0 ? -errno : n;
			if (n > 0) {
				count_sent(ktls, (size_t)n, full);
				return n;
			}
		}
		if (n == -EAGAIN)
			stream->want = EPOLLOUT;
		if (n < 0 && n != -EINTR)
			return n;
	}
}

/* True when TCP has every byte of every record. */
static bool all_pushed(const struct stream *stream, const struct ktls *ktls)
{
	uint64_t seq = 0, written = 0, expected;

	if (ktls_next_number(stream->fd, ktls->cipher, &seq) < 0 ||
		tcpinfo_written(stream->fd, &written) < 0)
		return true; /* the connection is gone: nothing to wait for */
	expected = ktls->payload + (ktls->records_before + seq - ktls->first_seq) * ktls->overhead;
	return written - ktls->base_written >= expected;
}

/* FIN, when TCP has it all. want = 0 with -EAGAIN: nothing tells when, ask again soon. */
static int ktls_cut(struct stream *stream)
{
	struct ktls *ktls = stream->layer;

	if (ktls->out == KTLS_OUT_SHUT)
		return 0;
	if (!all_pushed(stream, ktls)) {
		stream->want = 0;
		return -EAGAIN;
	}
	ktls->out = KTLS_OUT_SHUT;
	return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

/* close_notify, then FIN. */
static int ktls_shutdown(struct stream *stream)
{
	struct ktls *ktls = stream->layer;

	if (ktls->out == KTLS_OUT_SHUT)
		return 0;
	if (ktls->out < KTLS_OUT_CLOSED) {
		ssize_t n = ktls_send_record(
			stream->fd, RECORD_ALERT, record_close_notify, sizeof(record_close_notify));

		if (n == -EAGAIN) {
			stream->want = EPOLLOUT;
			return -EAGAIN;
		}
		if (n < 0)
			return (int)n;
		ktls->out = KTLS_OUT_CLOSED;
		ktls->payload += sizeof(record_close_notify);
	}
	return ktls_cut(stream);
}

static bool ktls_pending(const struct stream *stream)
{
	const struct ktls *ktls = stream->layer;

	return ktls->may_hide_update;
}

static void free_state(struct ktls *ktls)
{
	if (ktls->secrets)
		secret_wipe(ktls->secrets, sizeof(*ktls->secrets));
	free(ktls->secrets);
	free(ktls);
}

static void ktls_close(struct stream *stream)
{
	free_state(stream->layer);
	stream->layer = NULL;
}

static const struct stream_ops ktls_ops = {
	.read = ktls_read,
	.write = ktls_write,
	.shutdown = ktls_shutdown,
	.cut = ktls_cut,
	.pending = ktls_pending,
	.close = ktls_close,
};

bool ktls_stream_is(const struct stream *stream)
{
	return stream->ops == &ktls_ops;
}

/* ---- start ---- */

static struct ktls *new_state(const struct record_connection *connection, bool keep_secrets)
{
	const struct record_state *write = &connection->states[RECORD_WRITE];
	struct ktls *ktls = calloc(1, sizeof(*ktls));

	if (!ktls)
		return NULL;
	ktls->peer = connection->peer;
	ktls->cipher = write->cipher;
	ktls->overhead = (uint8_t)record_overhead(
		(enum record_version)write->version, (enum record_cipher)write->cipher);
	ktls->first_seq = write->seq;
	if (keep_secrets && write->version == RECORD_TLS_1_3) {
		ktls->secrets = malloc(sizeof(*ktls->secrets));
		if (!ktls->secrets) {
			free(ktls);
			return NULL;
		}
		memcpy(ktls->secrets->secret, connection->secret, sizeof(connection->secret));
	}
	return ktls;
}

/* Without keys the attached layer passes bytes through unchanged, so until the first key is set
 * whoever had the connection can go on. */
static int switch_socket(
	int fd, const struct record_connection *connection, const struct ktls_features *features)
{
	int r = ktls_attach(fd);

	if (r == 0)
		r = ktls_set_keys(fd, &connection->states[RECORD_READ]);
	if (r < 0)
		return r;
	if (ktls_set_keys(fd, &connection->states[RECORD_WRITE]) < 0)
		return -EIO;
	if (features->no_pad && connection->peer.version == RECORD_TLS_1_3 &&
		ktls_expect_no_pad(fd) < 0)
		return -EIO;
	return 0;
}

int ktls_stream_prepare(int fd, const struct record_connection *connection,
	const struct ktls_features *features, struct ktls **ret_ktls)
{
	const struct record_state *state = &connection->states[RECORD_READ];
	struct ktls *ktls;
	int r;

	if (!features->usable[state->version][state->cipher])
		return -ENOTSUP;
	ktls = new_state(connection, features->rekey);
	if (!ktls)
		return -ENOMEM;
	r = tcpinfo_so_far(fd, NULL, &ktls->base_written);
	if (r == 0)
		r = switch_socket(fd, connection, features);
	if (r == 0)
		*ret_ktls = ktls;
	else
		free_state(ktls);
	return r;
}

void ktls_stream_put(struct stream *stream, struct ktls *ktls)
{
	stream->ops = &ktls_ops;
	stream->layer = ktls;
}
