// SPDX-License-Identifier: Apache-2.0
/* Private to guard/: networks as keys: 16 bytes, IPv4 mapped, and how many bits of them count, so
 * that 192.0.2.0/24 is ::ffff:192.0.2.0/120. */
#ifndef GUARD_KEY_H
#define GUARD_KEY_H

#include "net/addr.h"

#define KEY_BITS 128

struct key {
	unsigned char addr[16]; /* bits behind `bits` are 0 */
	uint8_t bits;
	uint64_t hash; /* of key_cut() and key_of_cidr(); 0: not known yet */
};

/* All bits of an address. */
void key_of_addr(const struct addr *addr, struct key *ret_key);
void key_of_cidr(const struct cidr *cidr, struct key *ret_key);
/* Port 0. */
void key_to_cidr(const struct key *key, struct cidr *ret_cidr);
bool key_is_v4(const struct key *key);
/* The first bits, at most those that it has. */
void key_cut(const struct key *key, unsigned bits, struct key *ret_key);
bool key_eq(const struct key *a, const struct key *b);
uint64_t key_hash(const struct key *key);

#endif
