// SPDX-License-Identifier: Apache-2.0
/*
 * Private to guard/: shards and what is in them. A source, the ban of just that source and the
 * policy are behind the lock of one shard, which the source's hash chooses; bans of other networks
 * are each in the shard of their own key. Nobody holds two of these locks, and no observer is
 * called with one. max_sources and max_bans hold over all shards: room is made before a lock is
 * taken, so that as many more as there are threads may be there for a moment.
 */
#ifndef GUARD_STATE_H
#define GUARD_STATE_H

#include "base/list.h"
#include "guard/policy.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHARDS 32
#define SECRETS 10
/* A point in units that all events are whole numbers of. */
#define FIFTHS 5
/* What sums of fractions may be off by. */
#define NEARLY 1e-6

struct source {
	struct source *next;  /* in its bucket */
	struct list_node lru; /* of those without sessions, longest untouched first */
	struct key key;
	bool told;     /* some of the points */
	bool withheld; /* it has been told, and the points have not halved since */
	unsigned sessions, strikes;
	uint64_t touched; /* order among all shards */
	uint64_t touched_ms, strikes_until_ms;
	double fifths; /* at decayed_ms */
	uint64_t decayed_ms;
	uint64_t secrets[SECRETS]; /* a ring; 0: none */
	unsigned next_secret;
};

struct ban {
	struct ban *next; /* in its bucket, or among those that are gone */
	size_t place;     /* in the heap */
	struct key key;
	struct guard_ban shown; /* shown.net is key's */
};

struct shard {
	pthread_mutex_t lock;
	const struct policy *policy;
	struct source **sources; /* buckets */
	struct list_node lru;
	struct ban **bans; /* buckets */
	struct ban **heap; /* the one that ends first is heap[0] */
	size_t ban_count, heap_room;
	uint64_t events[GUARD_EVENTS], repeated, penalties, forgotten;
	uint64_t bans_total[GUARD_REASONS], withheld[GUARD_WHYS], ended[GUARD_ENDS];
	uint64_t checks[GUARD_VERDICTS];
} __attribute__((aligned(64)));

struct observer {
	const struct guard_observer_ops *ops;
	void *arg;
};

struct guard {
	struct shard shards[SHARDS];
	struct guard_settings fixed; /* what guard_configure() does not change */
	uint64_t secret_key[2];
	pthread_mutex_t change; /* of the policy */
	struct policy *policy;
	size_t source_buckets, ban_buckets; /* powers of two */
	atomic_uint_fast64_t touches;
	atomic_size_t limited; /* sources without sessions, all shards */
	atomic_size_t sources, bans;
	/* Bans by length of their network, where that is not a source's; and all of these. */
	atomic_uint lengths[KEY_BITS + 1], other_bans;
	struct observer observers[GUARD_OBSERVERS];
	size_t observer_count;
};

/* ---- core.c ---- */

/* Whether a network is one of a source's length. */
bool guard_is_source(const struct guard *guard, const struct key *key);
/* What of an address makes its source. */
void guard_source_key(const struct guard *guard, const struct key *key, struct key *ret_source);
struct shard *guard_shard(struct guard *guard, const struct key *key);
/* Tells the observers. No lock is held. */
void guard_tell_set(struct guard *guard, const struct guard_ban *ban);
void guard_tell_removed(struct guard *guard, const struct guard_ban *ban, enum guard_end end);
void guard_tell_withheld(
	struct guard *guard, const struct addr *client, enum guard_why why, double points);

/* ---- sources.c: the shard's lock is held, but where it says otherwise ---- */

/* NULL: nothing is known of it. */
struct source *source_find(struct guard *guard, struct shard *shard, const struct key *key);
/* The same, made if it is not there; NULL without memory. */
struct source *source_get(
	struct guard *guard, struct shard *shard, const struct key *key, uint64_t now_ms);
/* Something has happened with it. */
void source_touch(struct guard *guard, struct shard *shard, struct source *source, uint64_t now_ms);
/* Points of now, in fifths. */
double source_fifths(const struct policy *policy, struct source *source, uint64_t now_ms);
unsigned source_strikes(struct source *source, uint64_t now_ms);
/* Whether it is one of the last; else it is from now on. */
bool source_knows_secret(struct source *source, uint64_t secret);
/* Frees it if nothing is left that anybody could ask for. */
void source_release(
	struct guard *guard, struct shard *shard, struct source *source, uint64_t now_ms);
void source_remove(struct guard *guard, struct shard *shard, struct source *source);
/* There are max_sources. */
bool sources_full(struct guard *guard);
/* No lock held: forgets sources until there are fewer than max_sources. */
void sources_make_room(struct guard *guard);
/* Those with nothing left; a bounded number. */
void sources_sweep(struct guard *guard, struct shard *shard, uint64_t now_ms);
void sources_free(struct guard *guard, struct shard *shard);

/* ---- bans.c ---- */

/* The shard's lock is held. NULL: none, or it is over. */
struct ban *ban_find(
	struct guard *guard, struct shard *shard, const struct key *key, uint64_t now_ms);
/* No lock held: sets it as shown says, and tells. Returns as guard_ban(). */
MUST_USE int ban_put(struct guard *guard, const struct key *key, const struct guard_ban *shown,
	enum guard_why *ret_why);
/* No lock held: ends those of a shard that are over. */
void bans_expire(struct guard *guard, struct shard *shard, uint64_t now_ms);
/* No lock held: ends those that the shard's policy spares. */
void bans_spare(struct guard *guard, struct shard *shard);
void bans_free(struct shard *shard);

#endif
