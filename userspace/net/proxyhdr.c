// SPDX-License-Identifier: Apache-2.0
/*
 * The PROXY protocol: version 2 written, versions 1 and 2 read (proxy-protocol.txt, sections 2.1 and
 * 2.2). The reader decides as early as the bytes allow and keeps nothing between calls: a header is
 * short enough to be looked at anew.
 */
#include "net/proxyhdr.h"

#include <string.h>

#define TLV_UNIQUE_ID 0x05
#define FIXED_BYTES 16 /* signature, version and command, family, length */
#define COMMAND_LOCAL 0x20
#define COMMAND_PROXY 0x21
#define FAMILY_INET 0x11 /* STREAM both */
#define FAMILY_INET6 0x21

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

size_t proxyhdr_write(const struct addr *client, const struct addr *local,
	const unsigned char id[PROXYHDR_ID_BYTES], unsigned char ret_header[PROXYHDR_MAX_BYTES])
{
	static const char unknown[] = "PROXY UNKNOWN\r\n";
	size_t n = FIXED_BYTES;

	if (client->sa.sa_family != local->sa.sa_family ||
		(client->sa.sa_family != AF_INET && client->sa.sa_family != AF_INET6))
		return put(ret_header, unknown, sizeof(unknown) - 1);
	memcpy(ret_header, signature, sizeof(signature));
	ret_header[12] = COMMAND_PROXY;
	ret_header[13] = client->sa.sa_family == AF_INET ? FAMILY_INET : FAMILY_INET6;
	n += put_addresses(ret_header + n, client, local);
	ret_header[n++] = TLV_UNIQUE_ID;
	ret_header[n++] = 0;
	ret_header[n++] = PROXYHDR_ID_BYTES;
	n += put(ret_header + n, id, PROXYHDR_ID_BYTES);
	ret_header[14] = (unsigned char)((n - FIXED_BYTES) >> 8);
	ret_header[15] = (unsigned char)(n - FIXED_BYTES);
	return n;
}

/* ---- reading: version 1 ---- */

static const struct view v1_start = { "PROXY ", 6 };

/* The line without its CRLF. A CR or LF that is not part of the first CRLF is an error. */
static enum proxyhdr_result take_line(struct view in, struct view *ret_line)
{
	for (size_t i = v1_start.len; i < in.len && i < PROXYHDR_V1_BYTES; i++) {
		if (in.data[i] == '\n')
			return PROXYHDR_INVALID;
		if (in.data[i] != '\r')
			continue;
		if (i + 1 == PROXYHDR_V1_BYTES)
			return PROXYHDR_INVALID;
		if (i + 1 == in.len)
			return PROXYHDR_MORE;
		*ret_line = view_make(in.data, i);
		return in.data[i + 1] == '\n' ? PROXYHDR_DONE : PROXYHDR_INVALID;
	}
	return in.len < PROXYHDR_V1_BYTES ? PROXYHDR_MORE : PROXYHDR_INVALID;
}

/* The field up to the next blank, or up to the end if it is the last one. */
static bool take_field(struct view *rest, bool last, struct view *ret_field)
{
	const char *blank = rest->len ? memchr(rest->data, ' ', rest->len) : NULL;

	if (last != !blank)
		return false;
	*ret_field = blank ? view_make(rest->data, (size_t)(blank - rest->data)) : *rest;
	*rest = view_skip(*rest, ret_field->len + 1);
	return true;
}

static bool parse_port(struct view text, uint16_t *ret_port)
{
	uint64_t port;

	if (text.len > 5 || (text.len > 1 && text.data[0] == '0') || view_to_u64(text, &port) < 0 ||
		port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool parse_address(struct view ip, struct view port_text, int family, struct addr *ret_addr)
{
	uint16_t port;

	if (!parse_port(port_text, &port) || addr_parse_ip(ip, port, ret_addr) < 0 ||
		ret_addr->sa.sa_family != family)
		return false;
	addr_unmap(ret_addr);
	return true;
}

static enum proxyhdr_result parse_v1(struct view in, struct proxyhdr *ret_header)
{
	struct view line, rest, source, destination, source_port, destination_port;
	struct proxyhdr header = { 0 };
	enum proxyhdr_result result = take_line(in, &line);
	int family = AF_INET;

	if (result != PROXYHDR_DONE)
		return result;
	header.length = line.len + 2;
	rest = view_skip(line, v1_start.len);
	if (view_eq(rest, VIEW_LIT("UNKNOWN")) || view_starts(rest, VIEW_LIT("UNKNOWN "))) {
		*ret_header = header;
		return PROXYHDR_DONE;
	}
	if (view_starts(rest, VIEW_LIT("TCP6 ")))
		family = AF_INET6;
	else if (!view_starts(rest, VIEW_LIT("TCP4 ")))
		return PROXYHDR_INVALID;
	rest = view_skip(rest, 5);
	if (!take_field(&rest, false, &source) || !take_field(&rest, false, &destination) ||
		!take_field(&rest, false, &source_port) ||
		!take_field(&rest, true, &destination_port) ||
		!parse_address(source, source_port, family, &header.source) ||
		!parse_address(destination, destination_port, family, &header.destination))
		return PROXYHDR_INVALID;
	*ret_header = header;
	return PROXYHDR_DONE;
}

/* ---- reading: version 2 ---- */

/* Type, length, value, up to the end of the header. */
static bool parse_tlvs(struct view rest, struct view *ret_unique_id)
{
	bool seen = false;

	while (rest.len) {
		const unsigned char *head = (const unsigned char *)rest.data;
		size_t length;

		if (rest.len < 3)
			return false;
		length = (size_t)head[1] << 8 | head[2];
		if (length > rest.len - 3)
			return false;
		if (head[0] == TLV_UNIQUE_ID) {
			if (seen) /* which one counts is open */
				return false;
			seen = true;
			*ret_unique_id = view_make(rest.data + 3, length);
		}
		rest = view_skip(rest, 3 + length);
	}
	return true;
}

static void get_address(
	int family, const unsigned char *ip, const unsigned char *port, struct addr *ret_addr)
{
	*ret_addr = (struct addr){ 0 };
	ret_addr->sa.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		memcpy(&ret_addr->in.sin_addr, ip, 4);
	else
		memcpy(&ret_addr->in6.sin6_addr, ip, 16);
	addr_set_port(ret_addr, (uint16_t)(port[0] << 8 | port[1]));
	addr_unmap(ret_addr);
}

/* Addresses and TLVs of a complete header. */
static bool parse_v2_block(struct view in, size_t addresses, struct proxyhdr *header)
{
	const unsigned char *block = (const unsigned char *)in.data + FIXED_BYTES;
	size_t ip = addresses / 2 - 2;
	int family = ip == 4 ? AF_INET : AF_INET6;

	get_address(family, block, block + 2 * ip, &header->source);
	get_address(family, block + ip, block + 2 * ip + 2, &header->destination);
	return parse_tlvs(view_skip(in, FIXED_BYTES + addresses), &header->unique_id);
}

/* Bytes of the two addresses and ports: 0 = they are not looked at, -1 = not valid. */
static int v2_address_bytes(unsigned char command, unsigned char family)
{
	if (command == COMMAND_LOCAL)
		return 0; /* "including the family which is ignored" */
	switch (family) {
	case FAMILY_INET:
		return 2 * (4 + 2);
	case FAMILY_INET6:
		return 2 * (16 + 2);
	case 0x00: /* UNSPEC, whatever the transport */
	case 0x01:
	case 0x02:
		return 0;
	default: /* datagrams, UNIX sockets, not assigned */
		return -1;
	}
}

static enum proxyhdr_result parse_v2(struct view in, struct proxyhdr *ret_header)
{
	const unsigned char *byte = (const unsigned char *)in.data;
	struct proxyhdr header = { 0 };
	int addresses;

	if (in.len > 12 && byte[12] != COMMAND_LOCAL && byte[12] != COMMAND_PROXY)
		return PROXYHDR_INVALID;
	if (in.len < 14)
		return PROXYHDR_MORE;
	addresses = v2_address_bytes(byte[12], byte[13]);
	if (addresses < 0)
		return PROXYHDR_INVALID;
	if (in.len < FIXED_BYTES)
		return PROXYHDR_MORE;
	header.length = FIXED_BYTES + ((size_t)byte[14] << 8 | byte[15]);
	if (header.length > PROXYHDR_V2_BYTES || header.length < FIXED_BYTES + (size_t)addresses)
		return PROXYHDR_INVALID;
	if (in.len < header.length)
		return PROXYHDR_MORE;
	in.len = header.length;
	if (addresses && !parse_v2_block(in, (size_t)addresses, &header))
		return PROXYHDR_INVALID;
	*ret_header = header;
	return PROXYHDR_DONE;
}

enum proxyhdr_result proxyhdr_parse(struct view in, struct proxyhdr *ret_header)
{
	const struct view v2_start = { (const char *)signature, sizeof(signature) };

	if (view_starts(in, v1_start))
		return parse_v1(in, ret_header);
	if (view_starts(in, v2_start))
		return parse_v2(in, ret_header);
	return view_starts(v1_start, in) || view_starts(v2_start, in) ? PROXYHDR_MORE
								      : PROXYHDR_NONE;
}
