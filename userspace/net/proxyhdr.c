// SPDX-License-Identifier: Apache-2.0
/* PROXY protocol: version 2 is written, versions 1 and 2 are read. Layout: haproxy's
 * proxy-protocol.txt, sections 2.1 and 2.2. */
#include "net/proxyhdr.h"

#include <string.h>

#define TLV_UNIQUE_ID 0x05
#define TLV_SSL 0x20
#define TLV_SSL_VERSION 0x21
#define TLV_SSL_CIPHER 0x23
#define SSL_CLIENT 0x01 /* the client connected with TLS */
#define SSL_TEXT_MAX 63

static const unsigned char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

void proxyhdr_make_id(
	const unsigned char instance[16], uint64_t session, unsigned char ret_id[PROXYHDR_ID_BYTES])
{
	memcpy(ret_id, "HMG1", 4);
	memcpy(ret_id + 4, instance, 16);
	for (int i = 0; i < 8; i++)
		ret_id[20 + i] = (unsigned char)(session >> (56 - 8 * i));
}

static size_t put(unsigned char *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return len;
}

/* Addresses first, then ports: source, destination. */
static size_t put_addresses(unsigned char *at, const struct addr *client, const struct addr *local)
{
	size_t n = 0;

	if (client->sa.sa_family == AF_INET) {
		n += put(at + n, &client->in.sin_addr, 4);
		n += put(at + n, &local->in.sin_addr, 4);
		n += put(at + n, &client->in.sin_port, 2);
		n += put(at + n, &local->in.sin_port, 2);
	} else {
		n += put(at + n, &client->in6.sin6_addr, 16);
		n += put(at + n, &local->in6.sin6_addr, 16);
		n += put(at + n, &client->in6.sin6_port, 2);
		n += put(at + n, &local->in6.sin6_port, 2);
	}
	return n;
}

static size_t put_tlv(unsigned char *at, unsigned char type, const void *value, size_t len)
{
	at[0] = type;
	at[1] = (unsigned char)(len >> 8);
	at[2] = (unsigned char)len;
	memcpy(at + 3, value, len);
	return 3 + len;
}

/* Sub-TLVs behind what the client did and that it showed no certificate (section 2.2.5). */
static size_t put_tls(unsigned char *at, const struct proxyhdr_tls *tls)
{
	unsigned char value[5 + 2 * (3 + SSL_TEXT_MAX)] = { SSL_CLIENT, 0, 0, 0, 1 };
	size_t n = 5;

	n += put_tlv(value + n, TLV_SSL_VERSION, tls->version, strnlen(tls->version, SSL_TEXT_MAX));
	n += put_tlv(value + n, TLV_SSL_CIPHER, tls->cipher, strnlen(tls->cipher, SSL_TEXT_MAX));
	return put_tlv(at, TLV_SSL, value, n);
}

size_t proxyhdr_write(const struct addr *client, const struct addr *local,
	const unsigned char id[PROXYHDR_ID_BYTES], const struct proxyhdr_tls *tls,
	unsigned char ret_header[PROXYHDR_MAX_BYTES])
{
	static const char unknown[] = "PROXY UNKNOWN\r\n";
	size_t n = 16;

	if (client->sa.sa_family != local->sa.sa_family ||
		(client->sa.sa_family != AF_INET && client->sa.sa_family != AF_INET6))
		return put(ret_header, unknown, sizeof(unknown) - 1);
	memcpy(ret_header, signature, sizeof(signature));
	ret_header[12] = 0x21; /* version 2, command PROXY */
	ret_header[13] = client->sa.sa_family == AF_INET ? 0x11 : 0x21; /* STREAM */
	n += put_addresses(ret_header + n, client, local);
	n += put_tlv(ret_header + n, TLV_UNIQUE_ID, id, PROXYHDR_ID_BYTES);
	if (tls)
		n += put_tls(ret_header + n, tls);
	ret_header[14] = (unsigned char)((n - 16) >> 8);
	ret_header[15] = (unsigned char)(n - 16);
	return n;
}

/* ---- version 1: one line ---- */

#define V1_BYTES 107

/* The next word of a line; exactly one blank in front of it. */
static bool next_word(struct view *line, struct view *ret_word)
{
	const char *end;

	if (!line->len || line->data[0] != ' ')
		return false;
	*line = view_skip(*line, 1);
	end = line->len ? memchr(line->data, ' ', line->len) : NULL;
	*ret_word = view_make(line->data, end ? (size_t)(end - line->data) : line->len);
	*line = view_skip(*line, ret_word->len);
	return ret_word->len > 0;
}

/* 0..65535, without leading zeros. */
static bool take_port(struct view text, uint16_t *ret_port)
{
	uint64_t port;

	if (text.len > 5 || (text.len > 1 && text.data[0] == '0') || view_to_u64(text, &port) < 0 ||
		port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

/*
 * "TCP4" or "TCP6" is in front: two addresses, two ports. The word is the family of one of them at
 * least: nginx writes the client's, and its own address as it got it from a header in front of it.
 */
static bool take_v1_addresses(struct view line, sa_family_t family, struct proxyhdr *header)
{
	struct view words[4];
	uint16_t ports[2];
	struct addr *source = &header->source, *destination = &header->destination;

	for (int i = 0; i < 4; i++) {
		if (!next_word(&line, &words[i]))
			return false;
	}
	if (line.len || !take_port(words[2], &ports[0]) || !take_port(words[3], &ports[1]) ||
		addr_parse_ip(words[0], ports[0], source) < 0 ||
		addr_parse_ip(words[1], ports[1], destination) < 0 ||
		(source->sa.sa_family != family && destination->sa.sa_family != family))
		return false;
	addr_unmap(source);
	addr_unmap(destination);
	header->has_addresses = true;
	return true;
}

static int parse_v1(struct view bytes, struct proxyhdr *header)
{
	size_t most = bytes.len < V1_BYTES ? bytes.len : V1_BYTES;
	const char *newline = memchr(bytes.data, '\n', most);
	struct view line, word;

	if (!newline)
		return bytes.len < V1_BYTES ? PROXYHDR_MORE : PROXYHDR_INVALID;
	line = view_make(bytes.data, (size_t)(newline - bytes.data));
	header->len = line.len + 1;
	if (!line.len || line.data[line.len - 1] != '\r')
		return PROXYHDR_INVALID;
	line = view_skip(view_make(line.data, line.len - 1), 5);
	if (!next_word(&line, &word))
		return PROXYHDR_INVALID;
	if (view_eq(word, VIEW_LIT("UNKNOWN"))) /* what follows is of no interest */
		return PROXYHDR_DONE;
	if (view_eq(word, VIEW_LIT("TCP4")))
		return take_v1_addresses(line, AF_INET, header) ? PROXYHDR_DONE : PROXYHDR_INVALID;
	if (view_eq(word, VIEW_LIT("TCP6")))
		return take_v1_addresses(line, AF_INET6, header) ? PROXYHDR_DONE : PROXYHDR_INVALID;
	return PROXYHDR_INVALID;
}

/* ---- version 2 ---- */

enum { V2_LOCAL = 0, V2_PROXY = 1, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };

static size_t get_u16(const char *at)
{
	return (size_t)(unsigned char)at[0] << 8 | (unsigned char)at[1];
}

/* Unknown ones are skipped, but must fit. */
static bool take_tlvs(struct view tlvs, struct view *ret_id)
{
	while (tlvs.len) {
		size_t len;

		if (tlvs.len < 3)
			return false;
		len = get_u16(tlvs.data + 1);
		if (len > tlvs.len - 3)
			return false;
		if (tlvs.data[0] == TLV_UNIQUE_ID)
			*ret_id = view_make(tlvs.data + 3, len);
		tlvs = view_skip(tlvs, 3 + len);
	}
	return true;
}

static void take_v2_ip4(const char *at, const char *port, struct addr *ret_addr)
{
	*ret_addr = (struct addr){ .in = { .sin_family = AF_INET } };
	memcpy(&ret_addr->in.sin_addr, at, 4);
	memcpy(&ret_addr->in.sin_port, port, 2);
}

static void take_v2_ip6(const char *at, const char *port, struct addr *ret_addr)
{
	*ret_addr = (struct addr){ .in6 = { .sin6_family = AF_INET6 } };
	memcpy(&ret_addr->in6.sin6_addr, at, 16);
	memcpy(&ret_addr->in6.sin6_port, port, 2);
	addr_unmap(ret_addr);
}

/* Returns the length of the addresses, or 0 if they do not fit. */
static size_t take_v2_addresses(struct view body, int family, struct proxyhdr *header)
{
	if (family == V2_TCP4 && body.len >= 12) {
		take_v2_ip4(body.data, body.data + 8, &header->source);
		take_v2_ip4(body.data + 4, body.data + 10, &header->destination);
		return 12;
	}
	if (family == V2_TCP6 && body.len >= 36) {
		take_v2_ip6(body.data, body.data + 32, &header->source);
		take_v2_ip6(body.data + 16, body.data + 34, &header->destination);
		return 36;
	}
	return 0;
}

/* UNSPEC with any transport that there is; streams and datagrams over IPv4, IPv6 and unix sockets.
 * Others a receiver must refuse. LOCAL ignores its family. */
static bool v2_family_ok(int command, int family)
{
	int transport = family & 15;

	family >>= 4;
	return command == V2_LOCAL || (!family && transport <= 2) ||
		(family <= 3 && (transport == 1 || transport == 2));
}

static int parse_v2(struct view bytes, struct proxyhdr *header)
{
	int command, family;
	struct view body;
	size_t len;

	/* What is there is judged as soon as it is there. */
	if (bytes.len > 12 && (unsigned char)bytes.data[12] >> 4 != 2)
		return PROXYHDR_INVALID;
	if (bytes.len > 12 && (bytes.data[12] & 15) > V2_PROXY)
		return PROXYHDR_INVALID;
	if (bytes.len < 14)
		return PROXYHDR_MORE;
	command = bytes.data[12] & 15;
	family = (unsigned char)bytes.data[13];
	if (!v2_family_ok(command, family))
		return PROXYHDR_INVALID;
	if (bytes.len < 16)
		return PROXYHDR_MORE;
	len = get_u16(bytes.data + 14);
	if (16 + len > PROXYHDR_LONGEST_BYTES)
		return PROXYHDR_INVALID;
	if (bytes.len < 16 + len)
		return PROXYHDR_MORE;
	header->len = 16 + len;
	body = view_make(bytes.data + 16, len);
	if (command == V2_LOCAL) /* the receiver must ignore the rest */
		return PROXYHDR_DONE;
	if (family != V2_TCP4 && family != V2_TCP6) /* and what it cannot use it may */
		return PROXYHDR_DONE;
	len = take_v2_addresses(body, family, header);
	if (!len || !take_tlvs(view_skip(body, len), &header->id))
		return PROXYHDR_INVALID;
	header->has_addresses = true;
	return PROXYHDR_DONE;
}

/* ---- which of them ---- */

/* 1: the bytes begin with it; 0: they may yet; -1: they do not. */
static int begins(struct view bytes, const void *with, size_t len)
{
	size_t n = bytes.len < len ? bytes.len : len;

	if (memcmp(bytes.data, with, n) != 0)
		return -1;
	return bytes.len >= len;
}

int proxyhdr_parse(struct view bytes, struct proxyhdr *ret_header)
{
	struct proxyhdr header = { 0 };
	int v1 = begins(bytes, "PROXY ", 6), v2 = begins(bytes, signature, sizeof(signature));
	int r;

	if (v1 < 0 && v2 < 0)
		return PROXYHDR_NONE;
	if (v1 <= 0 && v2 <= 0)
		return PROXYHDR_MORE;
	r = v1 > 0 ? parse_v1(bytes, &header) : parse_v2(bytes, &header);
	if (r == PROXYHDR_DONE)
		*ret_header = header;
	return r;
}
