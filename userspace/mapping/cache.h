// SPDX-License-Identifier: Apache-2.0
/*
 * The cache alone: sharded, bounded, with the kinds of entries of mapping.md section 8. It knows
 * destinations as small numbers and asks no store. Any thread may call any function.
 */
#ifndef MAPPING_CACHE_H
#define MAPPING_CACHE_H

#include "base/view.h"

enum cache_kind {
	CACHE_POSITIVE,  /* found */
	CACHE_NEGATIVE,  /* no mapping */
	CACHE_TRANSIENT, /* the store failed and nothing is known */
	CACHE_HELD,      /* the store failed: a stale answer, until it is asked again */
	CACHE_STALE,     /* expired, usable while the store fails */
	CACHE_KINDS
};

struct cache;

struct cache_answer {
	enum cache_kind kind; /* POSITIVE, NEGATIVE, TRANSIENT or HELD */
	uint16_t destination; /* POSITIVE and HELD */
	uint64_t expires_ms;
};

MUST_USE int cache_new(uint64_t max_entries, uint64_t stale_grace_ms, struct cache **ret_cache);
void cache_free(struct cache *cache);

/* An unexpired answer; false on a miss. */
bool cache_get(
	struct cache *cache, struct view account, uint64_t now_ms, struct cache_answer *ret_answer);
/* The destination of a stale entry. */
bool cache_get_stale(
	struct cache *cache, struct view account, uint64_t now_ms, uint16_t *ret_destination);

/* A number that changes when an entry of the account (or of a neighbour) is invalidated. */
uint64_t cache_epoch(struct cache *cache, struct view account);
/* Stores an answer for ttl_ms unless the epoch has changed; ttl_ms 0 stores nothing and drops what
 * is there. HELD keeps the entry's stale time. Without memory nothing is stored. */
void cache_put(struct cache *cache, struct view account, uint64_t epoch, enum cache_kind kind,
	uint16_t destination, uint64_t ttl_ms, uint64_t now_ms);

/* Return the number of entries dropped. */
uint64_t cache_drop(struct cache *cache, struct view account);
uint64_t cache_drop_all(struct cache *cache);
/* A positive entry becomes stale, another goes; what a flight brings that began before is not
 * stored. */
void cache_expire(struct cache *cache, struct view account, uint64_t now_ms);
/* Positive entries become stale, others go (MAP-104). */
void cache_expire_all(struct cache *cache, uint64_t now_ms);

/* A reload: evicts at once what is over the bound. Lifetimes of what is stored stay as they are; to
 * be called before entries with other lifetimes are stored. The number of shards stays that of the
 * start: with fewer entries than shards, some accounts are not cached. */
void cache_configure(struct cache *cache, uint64_t max_entries, uint64_t stale_grace_ms);
/* Drops what names a destination d with gone[d]; gone has a place for every destination in use. */
uint64_t cache_drop_destinations(struct cache *cache, const bool *gone);

void cache_count(struct cache *cache, uint64_t now_ms, uint64_t *ret_fresh, uint64_t *ret_stale);

#endif
