// SPDX-License-Identifier: Apache-2.0
/*
 * A peer's records through the stream of tls/records.c, in whatever pieces, good and bad ones: the
 * reader gets the data that was sealed, in order, and nothing of what came behind a byte that was
 * not. What the stream sends opens at the other end, always.
 *
 * The first byte is version, cipher, role, whether far wants small records and whether near's
 * socket takes little; then come operations, each a byte and what it takes (see run()). The source
 * itself is included, because only it can make such a stream without OpenSSL's handshake.
 */
#include "tls/records.c"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#define SENT_MAX (1 << 17)

/* All of one input; what is large is not zeroed for the next one. */
struct end {
	struct stream near;
	int far_fd;
	struct record_connection hand; /* far's */
	bool broken;                   /* far has sent what nobody may take */
	bool far_shut;
	size_t sent_len, read_len; /* of far's data */
	size_t out_len, out_at;    /* of far's records that are on their way */
	size_t last_at, last_sent; /* where the last record begins, and sent_len before it */
	size_t written, heard;     /* near's data, byte n is (unsigned char)n */
	size_t asked;              /* what a write has to be repeated with */
	size_t in_len;

	unsigned char sent[SENT_MAX]; /* as far as it may be read */
	unsigned char out[SENT_MAX];
	unsigned char in[2 * RECORD_BYTES_MAX];
};

struct input {
	const unsigned char *data;
	size_t len;
};

static void must(bool fact)
{
	if (!fact)
		abort();
}

static unsigned next_byte(struct input *input)
{
	if (!input->len)
		return 0;
	input->len--;
	return *input->data++;
}

static void make_near(struct end *end, const struct record_keys *keys, int fd)
{
	struct records *records = calloc(1, sizeof(*records));

	must(records && record_connection_init(&records->connection, keys) == 0);
	stream_init_plain(&end->near, fd);
	end->near.ops = &records_ops;
	end->near.layer = records;
}

static struct end *setup(unsigned kind)
{
	struct record_keys keys = { .version = (enum record_version)(kind & 1),
		.cipher = (enum record_cipher)((kind >> 1) % RECORD_CIPHERS),
		.is_server = kind & 16,
		.payload_max = kind & 32 ? 512 : 0 };
	static struct end the_end;
	struct end *end = &the_end;
	int fds[2];

	keys.secret_len =
		keys.version == RECORD_TLS_1_2 || keys.cipher == RECORD_AES_256_GCM ? 48 : 32;
	memset(keys.secret[1], 1, sizeof(keys.secret[1]));
	memset(end, 0, offsetof(struct end, sent));
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	if (kind & 64) {
		int bytes = 4096;

		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	}
	make_near(end, &keys, fds[0]);
	end->far_fd = fds[1];
	keys.is_server = !keys.is_server;
	must(record_connection_init(&end->hand, &keys) == 0);
	return end;
}

static void teardown(struct end *end)
{
	stream_close(&end->near);
	close(end->far_fd);
	record_connection_wipe(&end->hand);
}

/* ---- far ---- */

static void seal_out(
	struct end *end, unsigned char type, const unsigned char *data, size_t len, size_t padding)
{
	int n;

	if (end->out_len + len + padding + RECORD_OVERHEAD_MAX > SENT_MAX)
		return;
	if (end->hand.peer.version == RECORD_TLS_1_2)
		padding = 0;
	n = record_seal(
		&end->hand.states[RECORD_WRITE], type, data, len, padding, end->out + end->out_len);
	must(n > 0);
	end->last_at = end->out_len;
	end->last_sent = end->sent_len;
	end->out_len += (size_t)n;
	if (type == RECORD_DATA && !end->broken && len <= RECORD_MAX) {
		memcpy(end->sent + end->sent_len, data, len);
		end->sent_len += len;
	}
}

static void say(struct end *end, struct input *input)
{
	unsigned type = next_byte(input), padding = next_byte(input);
	size_t len = MIN((size_t)next_byte(input), input->len);

	seal_out(end, (unsigned char)(type & 64 ? type : RECORD_ALERT + type % 3), input->data, len,
		padding & 1 ? padding * 64 : 0);
	input->data += len;
	input->len -= len;
}

static void say_long(struct end *end, struct input *input)
{
	static unsigned char data[RECORD_MAX];
	size_t len = MIN((size_t)next_byte(input) * 128, sizeof(data));

	memset(data, (int)next_byte(input), sizeof(data));
	seal_out(end, RECORD_DATA, data, len, 0);
}

static void say_update(struct end *end, unsigned asks)
{
	const unsigned char message[] = { 24, 0, 0, 1, (unsigned char)(asks & 1) };

	if (end->hand.peer.version != RECORD_TLS_1_3)
		return;
	seal_out(end, RECORD_HANDSHAKE, message, sizeof(message), 0);
	must(record_state_update(&end->hand.states[RECORD_WRITE], end->hand.secret[RECORD_WRITE]) ==
		0);
}

static void say_raw(struct end *end, struct input *input)
{
	size_t len = MIN((size_t)next_byte(input), input->len);

	if (end->out_len + len > SENT_MAX)
		return;
	memcpy(end->out + end->out_len, input->data, len);
	end->out_len += len;
	input->data += len;
	input->len -= len;
	end->broken = end->broken || len;
}

/* A bit of the last record. */
static void spoil(struct end *end, unsigned where)
{
	if (end->broken || end->out_len == end->last_at || end->out_at > end->last_at)
		return;
	where %= (unsigned)(end->out_len - end->last_at);
	end->out[end->last_at + where] ^= (unsigned char)(1 << where % 8);
	end->sent_len = end->last_sent;
	end->broken = true;
}

static void deliver(struct end *end, size_t most)
{
	size_t n = MIN(most, end->out_len - end->out_at);
	ssize_t r;

	if (!n || end->far_shut)
		return;
	r = send(end->far_fd, end->out + end->out_at, n, MSG_NOSIGNAL);
	end->out_at += r > 0 ? (size_t)r : 0;
}

static void hear_record(struct end *end, size_t n)
{
	static unsigned char text[RECORD_BYTES_MAX];
	struct record_text got;

	must(record_open(&end->hand.states[RECORD_READ], end->in, n, text, &got) == 0);
	if (got.type == RECORD_HANDSHAKE) {
		must(got.len == 5 && memcmp(text, record_key_update, 5) == 0);
		must(record_state_update(
			     &end->hand.states[RECORD_READ], end->hand.secret[RECORD_READ]) == 0);
	}
	must(got.type >= RECORD_ALERT);
	for (size_t i = 0; got.type == RECORD_DATA && i < got.len; i++)
		must(text[i] == (unsigned char)end->heard++);
	end->in_len -= n;
	memmove(end->in, end->in + n, end->in_len);
}

static void hear(struct end *end)
{
	for (;;) {
		ssize_t n =
			recv(end->far_fd, end->in + end->in_len, sizeof(end->in) - end->in_len, 0);
		int whole;

		if (n <= 0) { /* all there is: so all is here that a write has counted */
			must(end->heard >= end->written);
			return;
		}
		end->in_len += (size_t)n;
		while (end->in_len >= RECORD_HEADER_BYTES) {
			whole = record_length(&end->hand.states[RECORD_READ], end->in);
			must(whole > 0);
			if ((size_t)whole > end->in_len)
				break;
			hear_record(end, (size_t)whole);
		}
	}
}

/* ---- near ---- */

static void read_near(struct end *end, size_t room)
{
	unsigned char *data = malloc(room);
	ssize_t n;

	must(data != NULL);
	n = stream_read(&end->near, data, room);
	must(n <= (ssize_t)room);
	must(n != -EAGAIN || end->near.want);
	if (n > 0) {
		must(end->read_len + (size_t)n <= end->sent_len);
		must(memcmp(data, end->sent + end->read_len, (size_t)n) == 0);
		end->read_len += (size_t)n;
	}
	free(data);
	(void)stream_pending(&end->near);
}

/* What was refused or taken in part is asked for again, with what has come to it since. */
static void write_near(struct end *end, size_t more)
{
	static unsigned char data[131072]; /* two writes of the stream */
	size_t len = MIN(end->asked + more, sizeof(data));
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(end->written + i);
	n = stream_write(&end->near, data, len);
	must(n == -EAGAIN || n == -EPIPE || (n > 0 && n <= (ssize_t)len));
	if (n != -EPIPE) /* then what had been asked for before may still have been sent */
		end->asked = len - (n > 0 ? (size_t)n : 0);
	end->written += n > 0 ? (size_t)n : 0;
}

static void run(struct end *end, struct input *input)
{
	switch (next_byte(input) % 12) {
	case 0:
	case 1:
		say(end, input);
		break;
	case 2:
		say_long(end, input);
		break;
	case 3:
		say_update(end, next_byte(input));
		break;
	case 4:
		say_raw(end, input);
		break;
	case 5:
		spoil(end, next_byte(input));
		break;
	case 6:
		deliver(end, next_byte(input) + 1);
		break;
	case 7:
		deliver(end, SENT_MAX);
		break;
	case 8:
		read_near(end, 1 + (size_t)next_byte(input) * next_byte(input));
		break;
	case 9:
		write_near(end, 1 + (size_t)next_byte(input) * next_byte(input));
		break;
	case 10:
		hear(end);
		break;
	case 11:
		switch (next_byte(input) % 4) {
		case 0:
			(void)!stream_shutdown(&end->near);
			break;
		case 1:
			end->far_shut = true;
			shutdown(end->far_fd, SHUT_WR);
			break;
		case 2:
			(void)!stream_cut(&end->near);
			break;
		}
		break;
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct input input = { data, size };
	struct end *end;

	if (size < 2 || size > 4096)
		return 0;
	end = setup(next_byte(&input));
	for (int i = 0; input.len && i < 500; i++)
		run(end, &input);
	deliver(end, SENT_MAX);
	for (int i = 0; i < 4; i++) {
		read_near(end, 65536);
		hear(end);
	}
	must(end->heard <= end->written + end->asked);
	teardown(end);
	return 0;
}
