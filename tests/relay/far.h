// SPDX-License-Identifier: Apache-2.0
/*
 * A far end of a relay under random attack: a client or a node with OpenSSL, or plain. It draws how
 * much it says and in which pieces, how long its records are and how they are padded, when it
 * changes keys or sends tickets, how it reads, and how it ends; it knows every byte that must come.
 */
#ifndef TESTS_RELAY_FAR_H
#define TESTS_RELAY_FAR_H

#include "net/sock.h"
#include "tls/openssl.h"
#include "tls_peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum far_ending {
	FAR_CLEAN,
	FAR_RESET,
	FAR_VANISH,  /* FIN, on TLS without close_notify */
	FAR_CLOSE,   /* as FAR_CLEAN, and closed in the same moment: nothing is coming */
	FAR_SPLIT,   /* TLS: FIN in the middle of a record */
	FAR_GARBAGE, /* TLS: a record that no key has made */
};

struct far {
	struct stream stream;
	size_t total, sent, got;
	size_t retry; /* bytes of a write that has to be repeated */
	uint32_t key; /* where its words begin */
	enum far_ending ending;
	bool waits;   /* ends its direction only after it has seen the other's end */
	bool answers; /* says nothing before it has all that the other says */
	bool slow, shut, eof, truncated, gone;
	bool failed, unwritable, wrong;
	uint16_t stall;   /* looks at the socket that it lets pass before it reads */
	uint8_t updates;  /* changes of keys that are still to come */
	uint8_t tickets;  /* the same of tickets */
	uint16_t padding; /* the most of a record */
};

static inline SSL *ssl_of(struct stream *stream)
{
	return tls_stream_layer(stream)->ssl;
}

static inline uint32_t random_below(uint32_t n)
{
	return n ? (uint32_t)random() % n : 0;
}

/* What all of them say, each from another place on. */
#define FAR_MOST_BYTES 400000
#define FAR_PLACES (1 << 20)
static unsigned char far_words[FAR_PLACES + FAR_MOST_BYTES];

static inline void far_make_words(void)
{
	for (size_t i = 0; i < sizeof(far_words); i++)
		far_words[i] = (unsigned char)(random() >> 8);
}

/* What it says from that byte on. */
static inline const unsigned char *far_says(const struct far *far, size_t at)
{
	return far_words + far->key + at;
}

static inline bool far_is_over(const struct far *far)
{
	return far->eof || far->failed;
}

/* Its stream of data does not end as a TLS peer has to end it. */
static inline bool far_cuts(const struct far *far)
{
	return far->ending == FAR_VANISH || far->ending == FAR_SPLIT || far->ending == FAR_GARBAGE;
}

static inline void far_print(const char *name, const struct far *far)
{
	printf("    %s: total %zu ending %d waits %d answers %d slow %d updates %d padding %d "
	       "shut %d eof %d truncated %d failed %d %s\n",
		name, far->total, far->ending, far->waits, far->answers, far->slow, far->updates,
		far->padding, far->shut, far->eof, far->truncated, far->failed,
		tls_stream_error(&far->stream));
}

/* A connection: the far end, and what it is to the relay. */
static inline void far_make_pair(int fds[2])
{
	static int listener = -1;
	static struct addr addr;
	struct addr peer;

	if (listener < 0) {
		if (addr_parse(VIEW_LIT("127.0.0.1:0"), &addr) < 0)
			abort();
		listener = sock_listen(&addr, 0, 128);
		if (listener < 0 || sock_local(listener, &addr) < 0)
			abort();
	}
	fds[0] = sock_connect_start(&addr, NULL);
	do {
		fds[1] = sock_accept(listener, &peer);
	} while (fds[1] == -EAGAIN);
	if (fds[0] < 0 || fds[1] < 0) {
		perror("pair");
		exit(2);
	}
}

/* ---- draws ---- */

static inline void far_draw(struct far *far)
{
	static const uint32_t amounts[] = { 0, 1, 100, 3000, 60000, FAR_MOST_BYTES };

	far->total = random_below(amounts[random_below(ARRAY_SIZE(amounts))] + 1);
	far->key = random_below(FAR_PLACES);
	far->slow = random_below(8) == 0;
	far->stall = (uint16_t)(random_below(12) ? 0 : random_below(500));
	far->waits = random_below(3) == 0;
	far->ending = random_below(12) == 0 ? FAR_RESET
		: random_below(12) == 0     ? FAR_VANISH
					    : FAR_CLEAN;
}

static inline size_t far_pad(SSL *ssl, int type, size_t len, void *arg)
{
	const struct far *far = arg;

	(void)ssl;
	(void)type;
	(void)len;
	return random_below(3) ? random_below(far->padding + 1u) : 0;
}

/* How long its records are. Before the handshake: later, while a record waits to be sent, OpenSSL
 * would free it. */
static inline void far_draw_records(struct far *far)
{
	if (random_below(3) == 0)
		SSL_set_max_send_fragment(
			ssl_of(&far->stream), 512 + random_below(RECORD_MAX - 512 + 1));
}

/* What OpenSSL does in its place, behind the handshake. */
static inline void far_draw_tls(struct far *far, bool updates)
{
	SSL *ssl = ssl_of(&far->stream);

	tls_stream_wipe_read(&far->stream, false);
	if (SSL_version(ssl) != TLS1_3_VERSION)
		return;
	if (random_below(3) == 0) {
		far->padding = random_below(4) ? 300 : RECORD_MAX;
		peer_pads(ssl, far_pad, far);
	}
	if (updates && random_below(3) == 0)
		far->updates = (uint8_t)(1 + random_below(6));
	if (SSL_is_server(ssl) && random_below(4) == 0)
		far->tickets = (uint8_t)(1 + random_below(3));
}

/* ---- sending ---- */

/* Something beside data goes before the next record. */
static inline void far_say_more(struct far *far)
{
	SSL *ssl = ssl_of(&far->stream);

	if (far->updates && random_below(3) == 0) {
		far->updates--;
		if (SSL_key_update(ssl,
			    random_below(2) ? SSL_KEY_UPDATE_REQUESTED
					    : SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
			ERR_clear_error();
	} else if (far->tickets && random_below(3) == 0) {
		far->tickets--;
		if (!peer_makes_ticket(ssl))
			ERR_clear_error();
	}
}

static inline void far_send(struct far *far, const struct far *peer)
{
	if (far->answers && far->got < peer->total && !far_is_over(far))
		return;
	while (far->sent < far->total && !far->gone) {
		uint32_t most = random_below(3) ? 400 : 20000;
		size_t len = MIN(
			MAX((size_t)random_below(most) + 1, far->retry), far->total - far->sent);
		ssize_t n;

		if (!far->retry && (far->updates || far->tickets))
			far_say_more(far);
		n = stream_write(&far->stream, far_says(far, far->sent), len);
		far->retry = n == -EAGAIN ? len : 0;
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			far->unwritable = true;
			far->total = far->sent;
			return;
		}
		far->sent += (size_t)n;
		if (far->slow && random_below(4) == 0)
			return;
	}
}

/* ---- the end ---- */

/* A record of random bytes, whole or not, behind what was said. */
static inline void far_send_garbage(struct far *far, bool whole)
{
	unsigned char record[5 + 600] = { RECORD_DATA, 3, 3 };
	size_t len = 32 + random_below(600 - 32);

	record[3] = (unsigned char)(len >> 8);
	record[4] = (unsigned char)len;
	for (size_t i = 5; i < sizeof(record); i++)
		record[i] = (unsigned char)random();
	len = whole ? len + 5 : 1 + random_below((uint32_t)len + 4);
	/* as much as there is room for: a part of it serves as well */
	if (send(far->stream.fd, record, len, MSG_NOSIGNAL | MSG_DONTWAIT) < (ssize_t)len)
		far->ending = FAR_SPLIT;
}

static inline void far_close(struct far *far)
{
	stream_close(&far->stream);
	far->gone = far->shut = true;
}

static inline void far_end_clean(struct far *far)
{
	int r = stream_shutdown(&far->stream);

	if (r == -EAGAIN)
		return;
	far->unwritable |= r < 0;
	far->shut = true;
}

static inline void far_end(struct far *far)
{
	if (far->shut || far->gone || far->sent < far->total || (far->waits && !far->eof))
		return;
	switch (far->ending) {
	case FAR_RESET:
		sock_abort_on_close(far->stream.fd);
		far_close(far);
		break;
	case FAR_CLOSE:
		far_end_clean(far);
		if (!far->shut)
			break;
		far_close(far);
		far->eof = true;
		break;
	case FAR_GARBAGE:
	case FAR_SPLIT:
		far_send_garbage(far, far->ending == FAR_GARBAGE);
		/* fall through */
	case FAR_VANISH:
		if (far->ending != FAR_GARBAGE)
			shutdown(far->stream.fd, SHUT_WR);
		far->shut = true;
		break;
	case FAR_CLEAN:
		far_end_clean(far);
	}
}

/* ---- receiving ---- */

/* Compares what has come with what peer, the other far end, sends. */
static inline bool far_take(struct far *far, const struct far *peer, const char *data, size_t len)
{
	if (far->got + len > FAR_MOST_BYTES || memcmp(data, far_says(peer, far->got), len) != 0)
		far->wrong = far->failed = true;
	else
		far->got += len;
	return !far->wrong;
}

static inline void far_receive(struct far *far, const struct far *peer)
{
	static char data[30000];

	if (far->stall) {
		far->stall--;
		return;
	}
	for (int turns = 0; !far->eof && !far->gone && !far->failed && turns < 8; turns++) {
		size_t most = far->slow ? 1 + random_below(500) : sizeof(data);
		ssize_t n;

		if (far->slow && random_below(3))
			return;
		n = stream_read(&far->stream, data, most);
		if (n == -EAGAIN)
			return;
		if (n == STREAM_EOF || n == -ECONNABORTED) {
			far->eof = true;
			far->truncated = n != STREAM_EOF;
			return;
		}
		if (n < 0) {
			far->failed = true;
			return;
		}
		if (!far_take(far, peer, data, (size_t)n))
			return;
	}
}

#endif
