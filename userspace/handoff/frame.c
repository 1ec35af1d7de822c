// SPDX-License-Identifier: Apache-2.0
/* See frame.h. One reader (struct reader) checks every length; one table says how long payloads may
 * be. */
#include "handoff/frame.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define AROUND_BYTES 8 /* of a frame beside length and payload: type, zeros, stream */
#define PAYLOAD_MAX (HANDOFF_FRAME_MAX - AROUND_BYTES)
#define ADDRESS_BYTES 19
#define OPEN_BYTES (1 + 2 + 2 + 2 * ADDRESS_BYTES + PROXYHDR_ID_BYTES + HANDOFF_SESSION_BYTES + 2)
#define KEYS_BYTES (4 + RECORD_PACKED_BYTES + 4)
static_assert(KEYS_BYTES + HANDOFF_DATA_MAX <= PAYLOAD_MAX, "a handoff is one frame");

static const struct payload {
	const char *name;
	size_t least, most;
	bool of_channel; /* not of a stream */
} payloads[] = {
	[HANDOFF_OPEN] = { "open", OPEN_BYTES + 1, OPEN_BYTES + HANDOFF_ACCOUNT_MAX, false },
	[HANDOFF_OPENED] = { "opened", HANDOFF_TOKEN_BYTES, HANDOFF_TOKEN_BYTES, false },
	[HANDOFF_FAILED] = { "failed", 1, 1, false },
	[HANDOFF_DATA] = { "data", 1, HANDOFF_DATA_MAX, false },
	[HANDOFF_CLOSE] = { "close", 1, 1, false },
	[HANDOFF_KEYS] = { "handoff", KEYS_BYTES, KEYS_BYTES + HANDOFF_DATA_MAX, false },
	[HANDOFF_DRAIN] = { "drain", 0, 0, true },
	[HANDOFF_PING] = { "ping", 0, 0, true },
	[HANDOFF_PONG] = { "pong", 0, 0, true },
};
static_assert(ARRAY_SIZE(payloads) == HANDOFF_TYPES, "a row for each");

const char *handoff_type_name(enum handoff_type type)
{
	return payloads[type].name;
}

const char *handoff_refusal_name(enum handoff_refusal refusal)
{
	static const char *const names[] = {
		[0] = "-",
		[HANDOFF_REFUSED_HOST] = "host",
		[HANDOFF_REFUSED_CLIENT] = "client",
		[HANDOFF_REFUSED_NO_PROTOCOL] = "no_protocol",
		[HANDOFF_REFUSED_LIMIT] = "limit",
		[HANDOFF_REFUSED_DRAINING] = "draining",
	};

	static_assert(ARRAY_SIZE(names) == HANDOFF_REFUSALS, "a name for each");
	return names[refusal];
}

/* ---- numbers and bytes ---- */

static void put_number(unsigned char *to, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		to[bytes] = (unsigned char)value;
		value >>= 8;
	}
}

/* Of a payload, from its beginning on. Once something is not there nothing is. */
struct reader {
	struct view rest;
	bool failed;
};

/* len bytes; zeros when they are not there. */
static void take(struct reader *reader, void *ret, size_t len)
{
	if (reader->failed || reader->rest.len < len) {
		reader->failed = true;
		memset(ret, 0, len);
		return;
	}
	memcpy(ret, reader->rest.data, len);
	reader->rest = view_skip(reader->rest, len);
}

static uint32_t take_number(struct reader *reader, unsigned bytes)
{
	unsigned char at[4];
	uint32_t value = 0;

	take(reader, at, bytes);
	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

/* All that is left is so many bytes. */
static struct view take_rest(struct reader *reader, size_t len)
{
	struct view rest = reader->rest;

	if (rest.len != len)
		reader->failed = true;
	reader->rest = view_skip(rest, rest.len);
	return rest;
}

/* ---- frames ---- */

ssize_t handoff_frame_read(struct view in, struct handoff_frame *ret_frame)
{
	struct reader reader = { .rest = in };
	uint32_t length, type, zeros, stream;
	const struct payload *row;

	length = take_number(&reader, 4);
	if (reader.failed)
		return 0;
	if (length < AROUND_BYTES || length > HANDOFF_FRAME_MAX)
		return -EPROTO;
	if (in.len < HANDOFF_HEAD_BYTES)
		return 0;
	type = take_number(&reader, 1);
	zeros = take_number(&reader, 3);
	stream = take_number(&reader, 4);
	if (!type || type >= HANDOFF_TYPES || zeros)
		return -EPROTO;
	row = &payloads[type];
	length -= AROUND_BYTES;
	if (length < row->least || length > row->most || !stream != row->of_channel)
		return -EPROTO;
	if (reader.rest.len < length)
		return 0;
	*ret_frame = (struct handoff_frame){ (enum handoff_type)type, stream,
		view_make(reader.rest.data, length) };
	return (ssize_t)(HANDOFF_HEAD_BYTES + length);
}

/* The head of one with so much payload, which has room then. */
static int write_head(struct buf *out, enum handoff_type type, uint32_t stream, size_t len)
{
	unsigned char head[HANDOFF_HEAD_BYTES] = { 0 };
	int r;

	assert(len >= payloads[type].least && len <= payloads[type].most);
	assert(!stream == payloads[type].of_channel);
	put_number(head, AROUND_BYTES + len, 4);
	head[4] = (unsigned char)type;
	put_number(head + 8, stream, 4);
	r = buf_reserve(out, sizeof(head) + len);
	return r < 0 ? r : buf_append(out, head, sizeof(head));
}

int handoff_frame_write(
	struct buf *out, enum handoff_type type, uint32_t stream, struct view payload)
{
	int r = write_head(out, type, stream, payload.len);

	return r < 0 ? r : buf_append_view(out, payload);
}

int handoff_frame_write_byte(
	struct buf *out, enum handoff_type type, uint32_t stream, unsigned byte)
{
	char at = (char)byte;

	return handoff_frame_write(out, type, stream, view_make(&at, 1));
}

/* ---- OPEN ---- */

/* Family, IP (of IPv4 with zeros behind it), port. */
static void put_address(unsigned char *to, const struct addr *addr)
{
	memset(to, 0, ADDRESS_BYTES);
	if (addr->sa.sa_family == AF_INET) {
		to[0] = 4;
		memcpy(to + 1, &addr->in.sin_addr, 4);
	} else {
		to[0] = 6;
		memcpy(to + 1, &addr->in6.sin6_addr, 16);
	}
	put_number(to + 17, addr_port(addr), 2);
}

static void take_address(struct reader *reader, struct addr *ret_addr)
{
	static const unsigned char zeros[12];
	unsigned char family, ip[16];
	uint32_t port;

	take(reader, &family, 1);
	take(reader, ip, sizeof(ip));
	port = take_number(reader, 2);
	if (family == 4 && memcmp(ip + 4, zeros, sizeof(zeros)) == 0) {
		*ret_addr = (struct addr){ .in = { .sin_family = AF_INET } };
		memcpy(&ret_addr->in.sin_addr, ip, 4);
	} else if (family == 6) {
		*ret_addr = (struct addr){ .in6 = { .sin6_family = AF_INET6 } };
		memcpy(&ret_addr->in6.sin6_addr, ip, 16);
	} else {
		*ret_addr = (struct addr){ 0 };
		reader->failed = true;
		return;
	}
	addr_set_port(ret_addr, (uint16_t)port);
}

int handoff_open_write(struct buf *out, uint32_t stream, const struct handoff_open *open)
{
	unsigned char at[OPEN_BYTES];
	size_t n = 5;
	int r = write_head(out, HANDOFF_OPEN, stream, sizeof(at) + open->account.len);

	at[0] = (unsigned char)open->protocol;
	put_number(at + 1, open->tls_version, 2);
	put_number(at + 3, open->tls_suite, 2);
	put_address(at + n, &open->client);
	n += ADDRESS_BYTES;
	put_address(at + n, &open->local);
	n += ADDRESS_BYTES;
	memcpy(at + n, open->proxy_id, PROXYHDR_ID_BYTES);
	n += PROXYHDR_ID_BYTES;
	memcpy(at + n, open->session, HANDOFF_SESSION_BYTES);
	n += HANDOFF_SESSION_BYTES;
	put_number(at + n, open->account.len, 2);
	if (r == 0)
		r = buf_append(out, at, sizeof(at));
	return r < 0 ? r : buf_append_view(out, open->account);
}

/* Letters, digits and what stands between them, then zeros; it is shown in logs. */
static bool is_session(const char *session)
{
	size_t len = strnlen(session, HANDOFF_SESSION_BYTES);

	for (size_t i = 0; i < len; i++) {
		char c = ascii_lower(session[i]);

		if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
			return false;
	}
	for (size_t i = len; i < HANDOFF_SESSION_BYTES; i++) {
		if (session[i])
			return false;
	}
	return len && len < HANDOFF_SESSION_BYTES;
}

int handoff_open_read(struct view payload, struct handoff_open *ret_open)
{
	struct reader reader = { .rest = payload };
	struct handoff_open *open = ret_open;

	open->protocol = (enum handoff_protocol)take_number(&reader, 1);
	open->tls_version = (uint16_t)take_number(&reader, 2);
	open->tls_suite = (uint16_t)take_number(&reader, 2);
	take_address(&reader, &open->client);
	take_address(&reader, &open->local);
	take(&reader, open->proxy_id, sizeof(open->proxy_id));
	take(&reader, open->session, sizeof(open->session));
	open->account = take_rest(&reader, take_number(&reader, 2));
	if (reader.failed || !open->protocol || open->protocol >= HANDOFF_PROTOCOLS ||
		(open->tls_version != 0x0303 && open->tls_version != 0x0304))
		return -EPROTO;
	if (!open->account.len || open->account.len > HANDOFF_ACCOUNT_MAX ||
		memchr(open->account.data, 0, open->account.len))
		return -EPROTO;
	return is_session(open->session) ? 0 : -EPROTO;
}

/* ---- HANDOFF ---- */

int handoff_keys_write(struct buf *out, uint32_t stream, const struct handoff_keys *keys)
{
	unsigned char at[KEYS_BYTES];
	int r = write_head(out, HANDOFF_KEYS, stream, sizeof(at) + keys->text.len);

	put_number(at, keys->delivered, 4);
	memcpy(at + 4, keys->connection, RECORD_PACKED_BYTES);
	put_number(at + 4 + RECORD_PACKED_BYTES, keys->text.len, 4);
	if (r == 0)
		r = buf_append(out, at, sizeof(at));
	secret_wipe(at, sizeof(at));
	return r < 0 ? r : buf_append_view(out, keys->text);
}

int handoff_keys_read(struct view payload, struct handoff_keys *ret_keys)
{
	struct reader reader = { .rest = payload };

	ret_keys->delivered = take_number(&reader, 4);
	take(&reader, ret_keys->connection, sizeof(ret_keys->connection));
	ret_keys->text = take_rest(&reader, take_number(&reader, 4));
	return reader.failed || ret_keys->delivered > HANDOFF_DATA_MAX ? -EPROTO : 0;
}
