// SPDX-License-Identifier: Apache-2.0
/* See ktls.h: setsockopt(), and messages with a record's type. */
#include "relay/ktls.h"
#include "base/secret.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
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
static socklen_t fill_info(union crypto_info *info, const struct record_state *state)
{
	unsigned char number[8];
	const unsigned char *nonce = state->version == RECORD_TLS_1_3 ? state->iv + 4 : number;

	record_put_number(number, state->seq);
	info->info.version = state->version == RECORD_TLS_1_3 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	switch (state->cipher) {
	case RECORD_AES_128_GCM:
		info->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(info->gcm_128.key, state->key, sizeof(info->gcm_128.key));
		memcpy(info->gcm_128.salt, state->iv, sizeof(info->gcm_128.salt));
		memcpy(info->gcm_128.iv, nonce, sizeof(info->gcm_128.iv));
		memcpy(info->gcm_128.rec_seq, number, sizeof(number));
		return sizeof(info->gcm_128);
	case RECORD_AES_256_GCM:
		info->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(info->gcm_256.key, state->key, sizeof(info->gcm_256.key));
		memcpy(info->gcm_256.salt, state->iv, sizeof(info->gcm_256.salt));
		memcpy(info->gcm_256.iv, nonce, sizeof(info->gcm_256.iv));
		memcpy(info->gcm_256.rec_seq, number, sizeof(number));
		return sizeof(info->gcm_256);
	default:
		info->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(info->chacha.key, state->key, sizeof(info->chacha.key));
		memcpy(info->chacha.iv, state->iv, sizeof(info->chacha.iv));
		memcpy(info->chacha.rec_seq, number, sizeof(number));
		return sizeof(info->chacha);
	}
}

int ktls_set_keys(int fd, const struct record_state *state)
{
	union crypto_info info = { 0 };
	socklen_t len = fill_info(&info, state);
	int r = 0;

	if (setsockopt(fd, SOL_TLS, state->direction == RECORD_WRITE ? TLS_TX : TLS_RX, &info,
		    len) < 0)
		r = -errno;
	secret_wipe(&info, sizeof(info));
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

int ktls_next_number(int fd, enum record_cipher cipher, uint64_t *ret_number)
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
	*ret_number = 0;
	for (int i = 0; i < 8; i++)
		*ret_number = *ret_number << 8 | number[i];
	secret_wipe(&info, sizeof(info));
	return 0;
}
