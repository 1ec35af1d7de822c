// SPDX-License-Identifier: Apache-2.0
/* PROXY protocol version 2, sending side. Layout: haproxy's proxy-protocol.txt, section 2.2. */
#include "net/proxyhdr.h"

#include <string.h>

#define TLV_UNIQUE_ID 0x05

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
	size_t n = 16;

	if (client->sa.sa_family != local->sa.sa_family ||
		(client->sa.sa_family != AF_INET && client->sa.sa_family != AF_INET6))
		return put(ret_header, unknown, sizeof(unknown) - 1);
	memcpy(ret_header, signature, sizeof(signature));
	ret_header[12] = 0x21; /* version 2, command PROXY */
	ret_header[13] = client->sa.sa_family == AF_INET ? 0x11 : 0x21; /* STREAM */
	n += put_addresses(ret_header + n, client, local);
	ret_header[n++] = TLV_UNIQUE_ID;
	ret_header[n++] = 0;
	ret_header[n++] = PROXYHDR_ID_BYTES;
	n += put(ret_header + n, id, PROXYHDR_ID_BYTES);
	ret_header[14] = (unsigned char)((n - 16) >> 8);
	ret_header[15] = (unsigned char)(n - 16);
	return n;
}
