// SPDX-License-Identifier: Apache-2.0
/* Packets for the guard's tests: Ethernet, up to three VLAN tags, IPv4 or IPv6, what comes between,
 * TCP. */
#ifndef TESTS_GUARD_PACKETS_H
#define TESTS_GUARD_PACKETS_H

#include "homing/guard.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#define PACKET_SIZE 512
#define FRAME_MIN 60

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };
enum { HOP_BY_HOP = 0, TCP = 6, ROUTING = 43, FRAGMENT = 44, ESP = 50, AH = 51, DESTINATION = 60 };

#define SERVER "192.0.2.10"
#define SERVER6 "2001:db8::10"
#define IMAPS 993

/* Without more than `from`: a SYN to SERVER or SERVER6, IMAPS. */
struct shape {
	const char *from, *to;
	unsigned port, flags, vlans;
	unsigned options;            /* words of IPv4 options */
	unsigned char extensions[8]; /* of IPv6, as many as extension_count */
	unsigned extension_count;
	int fragment;
	unsigned char protocol; /* 0: TCP */
};

static inline void guard_address(const char *text, unsigned char ret_addr[16])
{
	memset(ret_addr, 0, 16);
	if (inet_pton(AF_INET6, text, ret_addr) == 1)
		return;
	ret_addr[10] = ret_addr[11] = 0xff;
	inet_pton(AF_INET, text, ret_addr + 12);
}

static inline unsigned char *put16(unsigned char *at, unsigned value)
{
	*at++ = (unsigned char)(value >> 8);
	*at++ = (unsigned char)value;
	return at;
}

static inline unsigned char *put_v4(unsigned char *ip, const struct shape *shape)
{
	unsigned char from[16], to[16];

	guard_address(shape->from, from);
	guard_address(shape->to ? shape->to : SERVER, to);
	ip[0] = (unsigned char)(0x45 + shape->options);
	if (shape->fragment == FIRST_FRAGMENT)
		ip[6] = 0x20;
	if (shape->fragment == LATER_FRAGMENT)
		ip[7] = 10;
	ip[8] = 64;
	ip[9] = shape->protocol ? shape->protocol : TCP;
	memcpy(ip + 12, from + 12, 4);
	memcpy(ip + 16, to + 12, 4);
	return ip + 20 + 4 * shape->options;
}

static inline unsigned char *put_v6(unsigned char *ip, const struct shape *shape)
{
	unsigned char *next = ip + 6, *at = ip + 40;

	ip[0] = 0x60;
	ip[7] = 64;
	guard_address(shape->from, ip + 8);
	guard_address(shape->to ? shape->to : SERVER6, ip + 24);
	for (unsigned i = 0; i < shape->extension_count; i++) {
		*next = shape->extensions[i];
		next = at;
		switch (shape->extensions[i]) {
		case FRAGMENT:
			at[3] = shape->fragment == LATER_FRAGMENT ? 8 : 1;
			at += 8;
			break;
		case AH:
			at[1] = 4; /* (4 + 2) * 4 */
			at += 24;
			break;
		default:
			at[1] = 1; /* (1 + 1) * 8 */
			at += 16;
		}
	}
	*next = shape->protocol ? shape->protocol : TCP;
	return at;
}

/* Returns the length, without padding. */
static inline unsigned make_packet(unsigned char packet[PACKET_SIZE], const struct shape *shape)
{
	bool v6 = strchr(shape->from, ':');
	unsigned char *at = packet + 12;

	memset(packet, 0, PACKET_SIZE);
	memset(packet, 2, 12);
	for (unsigned i = 0; i < shape->vlans; i++) {
		at = put16(at, i + 1 < shape->vlans ? 0x88a8 : 0x8100);
		at = put16(at, 5);
	}
	at = put16(at, v6 ? 0x86dd : 0x0800);
	at = v6 ? put_v6(at, shape) : put_v4(at, shape);
	put16(at + 2, shape->port ? shape->port : IMAPS);
	at[12] = 0x50;
	at[13] = (unsigned char)(shape->flags ? shape->flags : SYN);
	return (unsigned)(at + 20 - packet);
}

#endif
