// SPDX-License-Identifier: Apache-2.0
/*
 * Socket addresses: literals, CIDR ranges, comparison. No name resolution here (resolve.h).
 * v4-mapped IPv6 addresses are turned into plain IPv4 by addr_from_sockaddr().
 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/view.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

#define ADDR_TEXT_SIZE 64

/* sa_family AF_UNSPEC (a zeroed addr) = no address. */
static inline bool addr_is_set(const struct addr *addr)
{
	return addr->sa.sa_family != AF_UNSPEC;
}

socklen_t addr_len(const struct addr *addr);
/* "A.B.C.D:port" or "[v6]:port", literal only, port 0..65535. Returns 0 or -EINVAL. */
MUST_USE int addr_parse(struct view text, struct addr *ret_addr);
/* An IP literal without port or brackets. Returns 0 or -EINVAL. */
MUST_USE int addr_parse_ip(struct view text, uint16_t port, struct addr *ret_addr);
/* Copies a kernel address; v4-mapped becomes IPv4. Other families: -EAFNOSUPPORT. */
MUST_USE int addr_from_sockaddr(const struct sockaddr_storage *from, struct addr *ret_addr);
#define ADDR_MAPPED_BITS 96 /* those in front of a mapped IPv4 address */
/* The IP as that of IPv6, IPv4 mapped. */
void addr_to_mapped(const struct addr *addr, unsigned char ret_ip[16]);
/* A v4-mapped IPv6 address becomes IPv4; others stay. */
void addr_unmap(struct addr *addr);
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);
/* Text as addr_parse() takes it; "-" for no address. Returns text. */
const char *addr_format(const struct addr *addr, char text[ADDR_TEXT_SIZE]);
/* The IP alone, no brackets. */
const char *addr_format_ip(const struct addr *addr, char text[ADDR_TEXT_SIZE]);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 section 4.1.3). */
const char *addr_format_literal(const struct addr *addr, char text[ADDR_TEXT_SIZE]);
bool addr_eq_ip(const struct addr *a, const struct addr *b);
bool addr_eq(const struct addr *a, const struct addr *b); /* IP and port */
bool addr_is_wildcard(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr);
/* The address a limit is counted under: IPv4 as it is, IPv6 cut to its /64, port 0. */
void addr_limit_key(const struct addr *addr, struct addr *ret_key);
uint64_t addr_hash_ip(const struct addr *addr);

struct cidr {
	struct addr net;
	uint8_t bits;
};

/* "IP" or "IP/len"; host bits are cleared. Returns 0 or -EINVAL. */
MUST_USE int cidr_parse(struct view text, struct cidr *ret_cidr);
#define CIDR_TEXT_SIZE 64
/* "IP/len", as cidr_parse() takes it. Returns text. */
const char *cidr_format(const struct cidr *cidr, char text[CIDR_TEXT_SIZE]);
bool cidr_eq(const struct cidr *a, const struct cidr *b);
/* The other way of addr_to_mapped(): ::ffff:192.0.2.0 and 120 bits are 192.0.2.0/24. bits: at most
 * 128. */
void cidr_from_mapped(const unsigned char ip[16], uint8_t bits, struct cidr *ret_cidr);
/* A v4 range also matches v4-mapped v6 peers; a v6 range never matches a v4 peer (CFG section
 * 3). */
bool cidr_match(const struct cidr *cidr, const struct addr *addr);
/* Whether it is in one of them. */
bool cidr_match_any(const struct cidr *cidrs, size_t count, const struct addr *addr);

#endif
