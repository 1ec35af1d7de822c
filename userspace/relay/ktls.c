// SPDX-License-Identifier: Apache-2.0
/*
 * See ktls.h. The kernel may have taken bytes of a record that its socket has not: send() has
 * returned, but the record's rest waits in the TLS layer, where neither shutdown() nor SIOCOUTQ
 * sees it. So before the end of stream is sent, what the socket has been given is compared with
 * what the records must have come to; TLS_TX tells how many records there were.
 */
#include "relay/ktls.h"
#include "base/secret.h"
#include "net/tcpinfo.h"
#include "record/post.h"
#include "tls/tls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef TLS_RX_EXPECT_NO_PAD
#define TLS_RX_EXPECT_NO_PAD 4
#endif

/* As for OpenSSL's streams: records and messages without data that one read takes, and what a
 * change of keys counts for, in bytes. */
#define READ_RECORDS 16
#define MESSAGE_COST 8192

struct ktls {
	uint64_t base_written; /* bytes given to TCP before the switch */
	uint64_t payload;      /* of all records since, control records included */
	uint64_t first_seq;    /* of the first record since the last change of keys */
	uint64_t records_before;
	struct record_keys *keys; /* owned; kept only where the kernel can change keys */
	struct record_peer peer;
	uint8_t version, cipher, overhead;
	bool alert_sent, shut, ended, expired;
	bool update_due; /* the peer asked us to change keys: before the next data record */
};

/* ---- system calls ---- */

int ktls_attach(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0 ? -errno : 0;
}

union crypto_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 gcm_128;
	struct tls12_crypto_info_aes_gcm_256 gcm_256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

/* With TLS 1.2 and GCM the explicit nonce is ours to choose: the record number, as OpenSSL does. */
static socklen_t fill_info(union crypto_info *info, const struct record_keys *keys,
	const struct record_traffic_key *key, uint64_t seq)
{
	unsigned char number[8];
	const unsigned char *nonce = key->iv_len == 12 ? key->iv + 4 : number;

	record_put_number(number, seq);
	info->info.version = keys->version == RECORD_TLS_1_3 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	switch (keys->cipher) {
	case RECORD_AES_128_GCM:
		info->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(info->gcm_128.key, key->key, sizeof(info->gcm_128.key));
		memcpy(info->gcm_128.salt, key->iv, sizeof(info->gcm_128.salt));
		memcpy(info->gcm_128.iv, nonce, sizeof(info->gcm_128.iv));
		memcpy(info->gcm_128.rec_seq, number, sizeof(number));
		return sizeof(info->gcm_128);
	case RECORD_AES_256_GCM:
		info->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(info->gcm_256.key, key->key, sizeof(info->gcm_256.key));
		memcpy(info->gcm_256.salt, key->iv, sizeof(info->gcm_256.salt));
		memcpy(info->gcm_256.iv, nonce, sizeof(info->gcm_256.iv));
		memcpy(info->gcm_256.rec_seq, number, sizeof(number));
		return sizeof(info->gcm_256);
	default:
		info->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(info->chacha.key, key->key, sizeof(info->chacha.key));
		memcpy(info->chacha.iv, key->iv, sizeof(info->chacha.iv));
		memcpy(info->chacha.rec_seq, number, sizeof(number));
		return sizeof(info->chacha);
	}
}

int ktls_set_keys(int fd, const struct record_keys *keys, enum record_direction direction)
{
	union crypto_info info = { 0 };
	struct record_traffic_key key;
	socklen_t len;
	int r = record_keys_derive(keys, direction, &key);

	if (r < 0)
		return r;
	len = fill_info(&info, keys, &key, keys->seq[direction]);
	if (setsockopt(fd, SOL_TLS, direction == RECORD_WRITE ? TLS_TX : TLS_RX, &info, len) < 0)
		r = -errno;
	secret_wipe(&info, sizeof(info));
	secret_wipe(&key, sizeof(key));
	return r;
}

int ktls_expect_no_pad(int fd)
{
	int one = 1;

	return setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &one, sizeof(one)) < 0 ? -errno : 0;
}

ssize_t ktls_send_record(int fd, unsigned char type, const void *data, size_t len)
{
	union {
		char bytes[CMSG_SPACE(sizeof(type))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	ssize_t n;

	header->cmsg_level = SOL_TLS;
	header->cmsg_type = TLS_SET_RECORD_TYPE;
	header->cmsg_len = CMSG_LEN(sizeof(type));
	*CMSG_DATA(header) = type;
	message.msg_controllen = header->cmsg_len;
	n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

ssize_t ktls_recv(int fd, void *data, size_t len, int *ret_type)
{
	union {
		char bytes[CMSG_SPACE(sizeof(unsigned char))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
	struct cmsghdr *header;

	if (n < 0)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	*ret_type =
		header && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE
		? *CMSG_DATA(header)
		: -1;
	return n;
}

/* Number of the next record to be sent. */
static int sent_seq(int fd, enum record_cipher cipher, uint64_t *ret_seq)
{
	union crypto_info info = { 0 };
	const unsigned char *number;
	socklen_t len;

	switch (cipher) {
	case RECORD_AES_128_GCM:
		len = sizeof(info.gcm_128);
		number = info.gcm_128.rec_seq;
		break;
	case RECORD_AES_256_GCM:
		len = sizeof(info.gcm_256);
		number = info.gcm_256.rec_seq;
		break;
	default:
		len = sizeof(info.chacha);
		number = info.chacha.rec_seq;
		break;
	}
	if (getsockopt(fd, SOL_TLS, TLS_TX, &info, &len) < 0)
		return -errno;
	*ret_seq = 0;
	for (int i = 0; i < 8; i++)
		*ret_seq = *ret_seq << 8 | number[i];
	secret_wipe(&info, sizeof(info));
	return 0;
}

int ktls_can_count(int fd, enum record_cipher cipher)
{
	uint64_t seq;

	return sent_seq(fd, cipher, &seq);
}

/* ---- reading ---- */

static int change_read_keys(struct stream *stream, struct ktls *ktls, bool requested)
{
	int r;

	if (!ktls->keys) {
		ktls->expired = true;
		return -EKEYEXPIRED;
	}
	r = record_keys_update(ktls->keys, RECORD_READ);
	if (r == 0)
		r = ktls_set_keys(stream->fd, ktls->keys, RECORD_READ);
	if (r < 0) {
		ktls->expired = true;
		return -EKEYEXPIRED;
	}
	ktls->update_due |= requested;
	return 0;
}

/* Returns 1 at the peer's end, 0 to go on, or -errno. */
static int on_record(
	struct stream *stream, struct ktls *ktls, int type, const void *data, size_t len)
{
	int r = record_peer_said(&ktls->peer, (enum record_version)ktls->version, type, data, len);

	switch (r) {
	case RECORD_END:
		return 1;
	case RECORD_KEY_UPDATE:
	case RECORD_KEY_UPDATE_REQUESTED:
		return change_read_keys(stream, ktls, r == RECORD_KEY_UPDATE_REQUESTED);
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
		ktls->expired = true;
		return error;
	default:
		return error;
	}
}

/* Empty records, tickets, KeyUpdates, user_canceled: some of them now, and not for ever. */
static ssize_t ktls_read(struct stream *stream, void *data, size_t len)
{
	struct ktls *ktls = stream->layer;

	for (unsigned records = 0; !ktls->ended; records++) {
		int type = -1, r;
		ssize_t n;

		if (records == READ_RECORDS) {
			stream->want = EPOLLIN;
			return -EAGAIN;
		}
		if (ktls->expired)
			return -EKEYEXPIRED;
		n = ktls_recv(stream->fd, data, len, &type);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return read_error(stream, ktls, n);
		if (type == RECORD_DATA && n > 0) {
			record_peer_data(&ktls->peer);
			return n;
		}
		if (type < 0 && n > 0)
			return n;
		if (type < 0) /* FIN without close_notify */
			return -ECONNABORTED;
		stream->work += type == RECORD_HANDSHAKE ? MESSAGE_COST : 0;
		r = on_record(stream, ktls, type, data, (size_t)n);
		if (r < 0)
			return r;
		ktls->ended = r > 0;
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
	r = sent_seq(stream->fd, ktls->cipher, &seq);
	if (r == 0)
		r = record_keys_update(ktls->keys, RECORD_WRITE);
	if (r == 0)
		r = ktls_set_keys(stream->fd, ktls->keys, RECORD_WRITE);
	if (r < 0)
		return r;
	ktls->records_before += seq - ktls->first_seq;
	ktls->first_seq = 0;
	ktls->update_due = false;
	return 0;
}

static ssize_t ktls_write(struct stream *stream, const void *data, size_t len)
{
	struct ktls *ktls = stream->layer;

	if (ktls->alert_sent)
		return -EPIPE;
	for (;;) {
		ssize_t n;

		if (ktls->update_due) {
			n = change_write_keys(stream, ktls);
		} else {
			n = send(stream->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			n = n < 0 ? -errno : n;
			ktls->payload += n > 0 ? (uint64_t)n : 0;
			if (n > 0)
				return n;
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

	if (sent_seq(stream->fd, ktls->cipher, &seq) < 0 ||
		tcpinfo_written(stream->fd, &written) < 0)
		return true; /* the connection is gone: nothing to wait for */
	expected = ktls->payload + (ktls->records_before + seq - ktls->first_seq) * ktls->overhead;
	return written - ktls->base_written >= expected;
}

/* FIN, when TCP has it all. want = 0 with -EAGAIN: nothing tells when, ask again soon. */
static int ktls_cut(struct stream *stream)
{
	struct ktls *ktls = stream->layer;

	if (ktls->shut)
		return 0;
	if (!all_pushed(stream, ktls)) {
		stream->want = 0;
		return -EAGAIN;
	}
	ktls->shut = true;
	return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

/* close_notify, then FIN. */
static int ktls_shutdown(struct stream *stream)
{
	struct ktls *ktls = stream->layer;

	if (ktls->shut)
		return 0;
	if (!ktls->alert_sent) {
		ssize_t n = ktls_send_record(
			stream->fd, RECORD_ALERT, record_close_notify, sizeof(record_close_notify));

		if (n == -EAGAIN) {
			stream->want = EPOLLOUT;
			return -EAGAIN;
		}
		if (n < 0)
			return (int)n;
		ktls->alert_sent = true;
		ktls->payload += sizeof(record_close_notify);
	}
	return ktls_cut(stream);
}

static bool ktls_pending(const struct stream *stream)
{
	(void)stream;
	return false;
}

static void ktls_close(struct stream *stream)
{
	struct ktls *ktls = stream->layer;

	if (ktls->keys)
		secret_wipe(ktls->keys, sizeof(*ktls->keys));
	free(ktls->keys);
	free(ktls);
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

bool ktls_is_on(const struct stream *stream)
{
	return stream->ops == &ktls_ops;
}

/* ---- the switch ---- */

static struct ktls *new_state(const struct record_keys *keys, bool keep_keys)
{
	struct ktls *ktls = calloc(1, sizeof(*ktls));

	if (!ktls)
		return NULL;
	ktls->version = (uint8_t)keys->version;
	ktls->cipher = (uint8_t)keys->cipher;
	ktls->overhead = (uint8_t)record_overhead(keys->version, keys->cipher);
	ktls->first_seq = keys->seq[RECORD_WRITE];
	if (keep_keys && keys->version == RECORD_TLS_1_3) {
		ktls->keys = malloc(sizeof(*ktls->keys));
		if (!ktls->keys) {
			free(ktls);
			return NULL;
		}
		*ktls->keys = *keys;
	}
	return ktls;
}

/* Without keys the attached layer passes bytes through unchanged, so until the first key is set
 * OpenSSL can go on. */
static int switch_socket(
	int fd, const struct record_keys *keys, const struct ktls_features *features)
{
	int r = ktls_attach(fd);

	if (r == 0)
		r = ktls_set_keys(fd, keys, RECORD_READ);
	if (r < 0)
		return r;
	if (ktls_set_keys(fd, keys, RECORD_WRITE) < 0)
		return -EIO;
	if (features->no_pad && keys->version == RECORD_TLS_1_3 && ktls_expect_no_pad(fd) < 0)
		return -EIO;
	return 0;
}

int ktls_switch(struct stream *stream, const struct ktls_features *features)
{
	struct record_keys keys;
	struct ktls *ktls = NULL;
	int r;

	tls_keys_prepare(stream);
	r = tls_keys_export(stream, &keys);
	if (r == TLS_KEYS_NOT_YET)
		return KTLS_NOT_YET;
	if (r == 0 && !features->usable[keys.version][keys.cipher])
		r = -ENOTSUP;
	if (r == 0) {
		ktls = new_state(&keys, features->rekey);
		r = ktls ? tcpinfo_written_so_far(stream->fd, &ktls->base_written) : -ENOMEM;
	}
	if (r == 0)
		r = switch_socket(stream->fd, &keys, features);
	secret_wipe(&keys, sizeof(keys));
	if (r < 0) {
		if (ktls && ktls->keys)
			secret_wipe(ktls->keys, sizeof(*ktls->keys));
		if (ktls)
			free(ktls->keys);
		free(ktls);
		if (r != -EIO) /* OpenSSL goes on */
			tls_stream_read_ahead(stream, true);
		return r;
	}
	tls_stream_detach(stream);
	stream->ops = &ktls_ops;
	stream->layer = ktls;
	return 0;
}
