// SPDX-License-Identifier: Apache-2.0
/* Addresses: parsing, text, comparison, ranges. Literals only, no resolver. */
#include "net/addr.h"
#include "base/hash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

socklen_t addr_len(const struct addr *addr)
{
	switch (addr->sa.sa_family) {
	case AF_INET:
		return sizeof(addr->in);
	case AF_INET6:
		return sizeof(addr->in6);
	default:
		return 0;
	}
}

int addr_parse_ip(struct view text, uint16_t port, struct addr *ret_addr)
{
	struct addr addr = { 0 };
	char copy[INET6_ADDRSTRLEN];

	if (!text.len || text.len >= sizeof(copy) || memchr(text.data, 0, text.len))
		return -EINVAL;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, &addr.in.sin_addr) == 1) {
		addr.in.sin_family = AF_INET;
	} else if (inet_pton(AF_INET6, copy, &addr.in6.sin6_addr) == 1) {
		addr.in6.sin6_family = AF_INET6;
	} else {
		return -EINVAL;
	}
	addr_set_port(&addr, port);
	*ret_addr = addr;
	return 0;
}

int addr_parse(struct view text, struct addr *ret_addr)
{
	const char *colon = text.len ? memrchr(text.data, ':', text.len) : NULL;
	struct view host, port_text;
	uint64_t port;

	if (!colon)
		return -EINVAL;
	host = view_make(text.data, (size_t)(colon - text.data));
	port_text = view_skip(text, host.len + 1);
	if (port_text.len > 5 || view_to_u64(port_text, &port) < 0 || port > 65535)
		return -EINVAL;
	if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']') {
		host = view_make(host.data + 1, host.len - 2);
		if (!memchr(host.data, ':', host.len))
			return -EINVAL;
	} else if (memchr(host.data, ':', host.len)) {
		return -EINVAL; /* IPv6 needs brackets */
	}
	return addr_parse_ip(host, (uint16_t)port, ret_addr);
}

void addr_unmap(struct addr *addr)
{
	struct addr plain = { 0 };

	if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
		return;
	plain.in.sin_family = AF_INET;
	plain.in.sin_port = addr->in6.sin6_port;
	memcpy(&plain.in.sin_addr, addr->in6.sin6_addr.s6_addr + 12, 4);
	*addr = plain;
}

void addr_to_mapped(const struct addr *addr, unsigned char ret_ip[16])
{
	if (addr->sa.sa_family == AF_INET6) {
		memcpy(ret_ip, &addr->in6.sin6_addr, 16);
		return;
	}
	memset(ret_ip, 0, 10);
	memset(ret_ip + 10, 0xff, 2);
	memcpy(ret_ip + ADDR_MAPPED_BITS / 8, &addr->in.sin_addr, 4);
}

int addr_from_sockaddr(const struct sockaddr_storage *from, struct addr *ret_addr)
{
	struct addr addr = { 0 };

	switch (from->ss_family) {
	case AF_INET:
		memcpy(&addr.in, from, sizeof(addr.in));
		break;
	case AF_INET6:
		memcpy(&addr.in6, from, sizeof(addr.in6));
		addr.in6.sin6_flowinfo = 0;
		addr_unmap(&addr);
		break;
	default:
		return -EAFNOSUPPORT;
	}
	*ret_addr = addr;
	return 0;
}

uint16_t addr_port(const struct addr *addr)
{
	return ntohs(addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_port : addr->in.sin_port);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
	if (addr->sa.sa_family == AF_INET6)
		addr->in6.sin6_port = htons(port);
	else
		addr->in.sin_port = htons(port);
}

const char *addr_format_ip(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	const void *ip = addr->sa.sa_family == AF_INET6 ? (const void *)&addr->in6.sin6_addr
							: (const void *)&addr->in.sin_addr;

	if (!addr_is_set(addr) || !inet_ntop(addr->sa.sa_family, ip, text, ADDR_TEXT_SIZE))
		strcpy(text, "-");
	return text;
}

const char *addr_format(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	char ip[ADDR_TEXT_SIZE];

	if (!addr_is_set(addr))
		return strcpy(text, "-");
	addr_format_ip(addr, ip);
	snprintf(text, ADDR_TEXT_SIZE, addr->sa.sa_family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u",
		ip, addr_port(addr));
	return text;
}

const char *addr_format_literal(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	char ip[ADDR_TEXT_SIZE];

	addr_format_ip(addr, ip);
	snprintf(text, ADDR_TEXT_SIZE, addr->sa.sa_family == AF_INET6 ? "[IPv6:%.46s]" : "[%.46s]",
		ip);
	return text;
}

static const unsigned char *ip_bytes(const struct addr *addr, size_t *ret_len)
{
	if (addr->sa.sa_family == AF_INET6) {
		*ret_len = 16;
		return addr->in6.sin6_addr.s6_addr;
	}
	*ret_len = 4;
	return (const unsigned char *)&addr->in.sin_addr;
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
	size_t len_a, len_b;
	const unsigned char *ip_a = ip_bytes(a, &len_a), *ip_b = ip_bytes(b, &len_b);

	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	return !addr_is_set(a) || memcmp(ip_a, ip_b, len_a) == 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_eq_ip(a, b) && addr_port(a) == addr_port(b);
}

bool addr_is_wildcard(const struct addr *addr)
{
	static const unsigned char zero[16];
	size_t len;
	const unsigned char *ip = ip_bytes(addr, &len);

	return addr_is_set(addr) && memcmp(ip, zero, len) == 0;
}

bool addr_is_loopback(const struct addr *addr)
{
	if (addr->sa.sa_family == AF_INET)
		return ntohl(addr->in.sin_addr.s_addr) >> 24 == 127;
	return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

void addr_limit_key(const struct addr *addr, struct addr *ret_key)
{
	struct addr key = { 0 };

	key.sa.sa_family = addr->sa.sa_family;
	if (addr->sa.sa_family == AF_INET6)
		memcpy(&key.in6.sin6_addr, &addr->in6.sin6_addr, 8);
	else
		key.in.sin_addr = addr->in.sin_addr;
	*ret_key = key;
}

uint64_t addr_hash_ip(const struct addr *addr)
{
	size_t len;
	const unsigned char *ip = ip_bytes(addr, &len);

	return hash_view(view_make((const char *)ip, len));
}

int cidr_parse(struct view text, struct cidr *ret_cidr)
{
	const char *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
	struct view ip = slash ? view_make(text.data, (size_t)(slash - text.data)) : text;
	struct cidr cidr;
	uint64_t bits, most;
	unsigned char *bytes;
	size_t len;

	if (addr_parse_ip(ip, 0, &cidr.net) < 0)
		return -EINVAL;
	most = cidr.net.sa.sa_family == AF_INET6 ? 128 : 32;
	bits = most;
	if (slash && (view_to_u64(view_skip(text, ip.len + 1), &bits) < 0 || bits > most))
		return -EINVAL;
	cidr.bits = (uint8_t)bits;
	bytes = (unsigned char *)ip_bytes(&cidr.net, &len);
	for (size_t i = 0; i < len; i++) {
		if (i * 8 >= bits)
			bytes[i] = 0;
		else if (bits - i * 8 < 8)
			bytes[i] &= (unsigned char)(0xff << (8 - (bits - i * 8)));
	}
	*ret_cidr = cidr;
	return 0;
}

const char *cidr_format(const struct cidr *cidr, char text[CIDR_TEXT_SIZE])
{
	char ip[ADDR_TEXT_SIZE];

	snprintf(text, CIDR_TEXT_SIZE, "%.46s/%u", addr_format_ip(&cidr->net, ip), cidr->bits);
	return text;
}

bool cidr_eq(const struct cidr *a, const struct cidr *b)
{
	return a->bits == b->bits && addr_eq_ip(&a->net, &b->net);
}

void cidr_from_mapped(const unsigned char ip[16], uint8_t bits, struct cidr *ret_cidr)
{
	struct cidr cidr = { .bits = bits };

	cidr.net.in6.sin6_family = AF_INET6;
	memcpy(&cidr.net.in6.sin6_addr, ip, 16);
	if (bits >= ADDR_MAPPED_BITS)
		addr_unmap(&cidr.net);
	if (cidr.net.sa.sa_family == AF_INET)
		cidr.bits = (uint8_t)(bits - ADDR_MAPPED_BITS);
	*ret_cidr = cidr;
}

bool cidr_match(const struct cidr *cidr, const struct addr *addr)
{
	const unsigned char *net, *ip;
	struct addr plain = *addr;
	size_t len, whole = cidr->bits / 8, rest = cidr->bits % 8;

	addr_unmap(&plain);
	if (plain.sa.sa_family != cidr->net.sa.sa_family)
		return false;
	net = ip_bytes(&cidr->net, &len);
	ip = ip_bytes(&plain, &len);
	if (memcmp(net, ip, whole) != 0)
		return false;
	return !rest || (net[whole] ^ ip[whole]) >> (8 - rest) == 0;
}

bool cidr_match_any(const struct cidr *cidrs, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		if (cidr_match(&cidrs[i], addr))
			return true;
	}
	return false;
}
