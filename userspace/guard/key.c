// SPDX-License-Identifier: Apache-2.0
#include "guard/key.h"
#include "base/hash.h"

void key_of_addr(const struct addr *addr, struct key *ret_key)
{
	*ret_key = (struct key){ .bits = KEY_BITS };
	addr_to_mapped(addr, ret_key->addr);
}

static uint64_t compute_hash(const struct key *key)
{
	return hash_view(view_make((const char *)key, offsetof(struct key, bits) + 1));
}

uint64_t key_hash(const struct key *key)
{
	return key->hash ? key->hash : compute_hash(key);
}

void key_of_cidr(const struct cidr *cidr, struct key *ret_key)
{
	struct key key;

	key_of_addr(&cidr->net, &key);
	key_cut(&key,
		cidr->net.sa.sa_family == AF_INET6 ? cidr->bits : ADDR_MAPPED_BITS + cidr->bits,
		ret_key);
}

bool key_is_v4(const struct key *key)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	return key->bits >= ADDR_MAPPED_BITS && memcmp(key->addr, mapped, sizeof(mapped)) == 0;
}

void key_to_cidr(const struct key *key, struct cidr *ret_cidr)
{
	cidr_from_mapped(key->addr, key->bits, ret_cidr);
}

void key_cut(const struct key *key, unsigned bits, struct key *ret_key)
{
	struct key cut = { .bits = key->bits };

	if (bits < cut.bits)
		cut.bits = (uint8_t)bits;
	memcpy(cut.addr, key->addr, cut.bits / 8);
	if (cut.bits % 8)
		cut.addr[cut.bits / 8] =
			key->addr[cut.bits / 8] & (unsigned char)(0xff << (8 - cut.bits % 8));
	cut.hash = compute_hash(&cut);
	*ret_key = cut;
}

bool key_eq(const struct key *a, const struct key *b)
{
	return a->bits == b->bits && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}
