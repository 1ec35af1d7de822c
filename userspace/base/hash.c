// SPDX-License-Identifier: Apache-2.0
/* SipHash-1-3 (Aumasson, Bernstein) with a key drawn at start. */
#include "base/hash.h"
#include "base/fd.h"

static uint64_t hash_key[2] = { 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull };

int hash_seed(void)
{
	return fd_random(hash_key, sizeof(hash_key));
}

static inline uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

#define SIPROUND(v)                           \
	do {                                  \
		v[0] += v[1];                 \
		v[1] = rotl(v[1], 13) ^ v[0]; \
		v[0] = rotl(v[0], 32);        \
		v[2] += v[3];                 \
		v[3] = rotl(v[3], 16) ^ v[2]; \
		v[0] += v[3];                 \
		v[3] = rotl(v[3], 21) ^ v[0]; \
		v[2] += v[1];                 \
		v[1] = rotl(v[1], 17) ^ v[2]; \
		v[2] = rotl(v[2], 32);        \
	} while (0)

uint64_t hash_view(struct view in)
{
	uint64_t v[4] = { hash_key[0] ^ 0x736f6d6570736575ull, hash_key[1] ^ 0x646f72616e646f6dull,
		hash_key[0] ^ 0x6c7967656e657261ull, hash_key[1] ^ 0x7465646279746573ull };
	uint64_t word, last = (uint64_t)in.len << 56;
	size_t i;

	for (i = 0; i + 8 <= in.len; i += 8) {
		memcpy(&word, in.data + i, 8);
		v[3] ^= word;
		SIPROUND(v);
		v[0] ^= word;
	}
	for (size_t k = 0; i + k < in.len; k++)
		last |= (uint64_t)(unsigned char)in.data[i + k] << (8 * k);
	v[3] ^= last;
	SIPROUND(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	SIPROUND(v);
	SIPROUND(v);
	SIPROUND(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
