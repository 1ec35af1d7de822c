// SPDX-License-Identifier: Apache-2.0
/* What others see of the guard: making it, its checks, scores and orders, and its figures. */
#include "guard/guard.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "guard/state.h"

#include <errno.h>
#include <stdlib.h>

/* ---- names ---- */

#define NAME(names, i) ((size_t)(i) < ARRAY_SIZE(names) ? (names)[i] : "?")

const char *guard_verdict_name(enum guard_verdict verdict)
{
	static const char *const names[] = { "pass", "banned", "denied" };
	_Static_assert(ARRAY_SIZE(names) == GUARD_VERDICTS, "a name for each");

	return NAME(names, verdict);
}

const char *guard_reason_name(enum guard_reason reason)
{
	static const char *const names[] = { "refused", "malformed", "handshake", "silent",
		"order" };
	_Static_assert(ARRAY_SIZE(names) == GUARD_REASONS, "a name for each");

	return NAME(names, reason);
}

const char *guard_origin_name(enum guard_origin origin)
{
	static const char *const names[] = { "local", "operator", "shared", "restored" };
	_Static_assert(ARRAY_SIZE(names) == GUARD_ORIGINS, "a name for each");

	return NAME(names, origin);
}

const char *guard_why_name(enum guard_why why)
{
	static const char *const names[] = { "loopback", "own", "proxy", "node", "allow", "admin",
		"active", "deny" };
	_Static_assert(ARRAY_SIZE(names) == GUARD_WHYS, "a name for each");

	return NAME(names, why);
}

const char *guard_end_name(enum guard_end end)
{
	static const char *const names[] = { "expired", "unbanned", "displaced", "spared" };
	_Static_assert(ARRAY_SIZE(names) == GUARD_ENDS, "a name for each");

	return NAME(names, end);
}

/* ---- life ---- */

/* Of each shard: so many that most are empty even when the table is full, because it is the look at
 * an entry, far away in memory, that a check costs. */
static size_t buckets_for(size_t most)
{
	size_t buckets = 16;

	while (buckets * SHARDS < 4 * most && buckets < 65536)
		buckets *= 2;
	return buckets;
}

static int init_shard(struct guard *guard, struct shard *shard)
{
	pthread_mutex_init(&shard->lock, NULL);
	list_init(&shard->lru);
	shard->policy = guard->policy;
	shard->sources = calloc(guard->source_buckets, sizeof(struct source *));
	shard->bans = calloc(guard->ban_buckets, sizeof(struct ban *));
	return shard->sources && shard->bans ? 0 : -ENOMEM;
}

int guard_new(const struct guard_settings *settings, struct guard **ret_guard)
{
	struct guard *guard = aligned_alloc(_Alignof(struct guard), sizeof(*guard));
	int r;

	if (!guard)
		return -ENOMEM;
	*guard = (struct guard){ .fixed = *settings };
	guard->source_buckets = buckets_for(settings->max_sources);
	guard->ban_buckets = buckets_for(settings->max_bans);
	pthread_mutex_init(&guard->change, NULL);
	r = fd_random(guard->secret_key, sizeof(guard->secret_key));
	if (r == 0)
		r = policy_new(NULL, settings, NULL, 0, &guard->policy);
	for (size_t i = 0; i < SHARDS; i++) {
		int failed = init_shard(guard, &guard->shards[i]);

		r = r < 0 ? r : failed;
	}
	if (r < 0)
		guard_free(guard);
	else
		*ret_guard = guard;
	return r;
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		sources_free(guard, &guard->shards[i]);
		bans_free(&guard->shards[i]);
		pthread_mutex_destroy(&guard->shards[i].lock);
	}
	pthread_mutex_destroy(&guard->change);
	policy_free(guard->policy);
	free(guard);
}

/* ---- settings and networks ---- */

/* Either may be NULL: as before. Once all shards have the new policy nobody has the old one. */
static int change_policy(struct guard *guard, const struct guard_settings *settings,
	const struct guard_net *never, size_t never_count)
{
	struct policy *policy;
	int r;

	pthread_mutex_lock(&guard->change);
	r = policy_new(guard->policy, settings, never, never_count, &policy);
	for (size_t i = 0; r == 0 && i < SHARDS; i++) {
		struct shard *shard = &guard->shards[i];

		pthread_mutex_lock(&shard->lock);
		shard->policy = policy;
		pthread_mutex_unlock(&shard->lock);
	}
	if (r == 0) {
		policy_free(guard->policy);
		guard->policy = policy;
	}
	pthread_mutex_unlock(&guard->change);
	if (r < 0)
		return r;
	for (size_t i = 0; never && i < SHARDS; i++)
		bans_spare(guard, &guard->shards[i]);
	for (size_t i = 0; i < guard->observer_count; i++) {
		if (guard->observers[i].ops->nets_changed)
			guard->observers[i].ops->nets_changed(guard->observers[i].arg);
	}
	return 0;
}

int guard_configure(struct guard *guard, const struct guard_settings *settings)
{
	return change_policy(guard, settings, NULL, 0);
}

int guard_set_never(struct guard *guard, const struct guard_net *nets, size_t count)
{
	static const struct guard_net none;

	return change_policy(guard, NULL, count ? nets : &none, count);
}

void guard_nets_each(
	struct guard *guard, void (*fn)(void *arg, const struct guard_net *net), void *arg)
{
	pthread_mutex_lock(&guard->change);
	for (size_t i = 0; i < guard->policy->net_count; i++) {
		struct guard_net net = { .why = guard->policy->nets[i].why };

		key_to_cidr(&guard->policy->nets[i].key, &net.net);
		fn(arg, &net);
	}
	pthread_mutex_unlock(&guard->change);
}

/* ---- checks ---- */

static void count_drop(struct ban *ban, uint64_t now_ms)
{
	ban->shown.dropped++;
	ban->shown.last_ms = now_ms;
}

/* Of bans of networks that are no sources. */
static bool in_other_ban(struct guard *guard, const struct key *client, uint64_t now_ms)
{
	unsigned least = key_is_v4(client) ? ADDR_MAPPED_BITS : 0;
	bool found = false;

	for (unsigned bits = KEY_BITS; !found && bits > least; bits--) {
		struct shard *shard;
		struct ban *ban;
		struct key key;

		if (!atomic_load_explicit(&guard->lengths[bits], memory_order_relaxed))
			continue;
		key_cut(client, bits, &key);
		shard = guard_shard(guard, &key);
		pthread_mutex_lock(&shard->lock);
		ban = ban_find(guard, shard, &key, now_ms);
		if (ban)
			count_drop(ban, now_ms);
		found = ban != NULL;
		pthread_mutex_unlock(&shard->lock);
	}
	return found;
}

enum guard_verdict guard_check(struct guard *guard, const struct addr *client)
{
	enum guard_verdict verdict = GUARD_PASS;
	uint64_t now_ms = clock_mono_ms();
	const struct policy_net *net;
	struct shard *shard;
	struct key all, key;
	struct ban *ban;
	bool observe;

	key_of_addr(client, &all);
	guard_source_key(guard, &all, &key);
	shard = guard_shard(guard, &key);
	pthread_mutex_lock(&shard->lock);
	observe = shard->policy->settings.observe;
	net = policy_find(shard->policy, &all);
	ban = net ? NULL : ban_find(guard, shard, &key, now_ms);
	if (net && net->why == GUARD_WHY_DENY)
		verdict = GUARD_DENIED;
	else if (ban)
		verdict = GUARD_BANNED;
	if (ban)
		count_drop(ban, now_ms);
	shard->checks[verdict]++;
	pthread_mutex_unlock(&shard->lock);
	if (!net && !ban && atomic_load_explicit(&guard->other_bans, memory_order_relaxed) &&
		in_other_ban(guard, &all, now_ms)) {
		verdict = GUARD_BANNED;
		pthread_mutex_lock(&shard->lock);
		shard->checks[GUARD_PASS]--;
		shard->checks[verdict]++;
		pthread_mutex_unlock(&shard->lock);
	}
	return observe ? GUARD_PASS : verdict;
}

uint64_t guard_secret(const struct guard *guard, struct view account, struct view password)
{
	uint64_t parts[4] = { guard->secret_key[0], guard->secret_key[1], hash_view(account),
		hash_view(password) };
	uint64_t hash = hash_view(view_make((const char *)parts, sizeof(parts)));

	return hash ? hash : 1;
}

/* ---- bans by order ---- */

void guard_source(const struct guard *guard, const struct addr *addr, struct cidr *ret_net)
{
	struct key all, key;

	key_of_addr(addr, &all);
	guard_source_key(guard, &all, &key);
	key_to_cidr(&key, ret_net);
}

/* What the next ban of the source doubles from. */
static void take_strikes(struct guard *guard, const struct key *key, const struct guard_ban *ban)
{
	struct shard *shard = guard_shard(guard, key);
	uint64_t now_ms = clock_mono_ms();
	struct source *source;

	pthread_mutex_lock(&shard->lock);
	if (!source_find(guard, shard, key) && sources_full(guard)) {
		pthread_mutex_unlock(&shard->lock);
		sources_make_room(guard);
		pthread_mutex_lock(&shard->lock);
	}
	source = source_get(guard, shard, key, now_ms);
	if (source) {
		unsigned strikes = source_strikes(source, now_ms);

		source->strikes = MAX(strikes, ban->strikes);
		source->strikes_until_ms = MAX(source->strikes_until_ms,
			ban->until_ms + shard->policy->settings.ban_time_max_ms);
	}
	pthread_mutex_unlock(&shard->lock);
}

int guard_ban(struct guard *guard, const struct guard_order *order, enum guard_why *ret_why)
{
	uint64_t now_ms = clock_mono_ms();
	struct guard_ban ban = {
		.since_ms = order->since_ms ? order->since_ms : now_ms,
		.until_ms = now_ms + MIN(order->for_ms, UINT64_MAX - now_ms),
		.reason = order->reason,
		.origin = order->origin,
		.strikes = order->strikes,
		.told = order->told,
		.client = order->client,
	};
	struct key key;
	enum guard_why why;
	int r;

	if (!order->net.bits || !order->for_ms)
		return -EINVAL;
	key_of_cidr(&order->net, &key);
	key_to_cidr(&key, &ban.net);
	if (order->text)
		strncpy(ban.text, order->text, sizeof(ban.text) - 1);
	r = ban_put(guard, &key, &ban, &why);
	if (r == GUARD_NEVER && ret_why)
		*ret_why = why;
	if (r == 0 && order->strikes && guard_is_source(guard, &key))
		take_strikes(guard, &key, &ban);
	return r;
}

void guard_sweep(struct guard *guard)
{
	uint64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = &guard->shards[i];

		bans_expire(guard, shard, now_ms);
		pthread_mutex_lock(&shard->lock);
		sources_sweep(guard, shard, now_ms);
		pthread_mutex_unlock(&shard->lock);
	}
}

/* ---- figures ---- */

static void add_all(uint64_t *sums, const uint64_t *more, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sums[i] += more[i];
}

static void add_shard(struct guard_status *status, const struct shard *shard, uint64_t now_ms)
{
	for (size_t i = 0; i < shard->ban_count; i++)
		status->bans[shard->heap[i]->shown.origin] +=
			shard->heap[i]->shown.until_ms > now_ms;
	add_all(status->checks, shard->checks, GUARD_VERDICTS);
	add_all(status->events, shard->events, GUARD_EVENTS);
	add_all(status->bans_total, shard->bans_total, GUARD_REASONS);
	add_all(status->withheld, shard->withheld, GUARD_WHYS);
	add_all(status->ended, shard->ended, GUARD_ENDS);
	status->repeated += shard->repeated;
	status->forgotten += shard->forgotten;
	status->penalties += shard->penalties;
	status->observe = shard->policy->settings.observe;
}

void guard_status(struct guard *guard, struct guard_status *ret_status)
{
	struct guard_status status = { .sources = atomic_load(&guard->sources) };
	uint64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&guard->shards[i].lock);
		add_shard(&status, &guard->shards[i], now_ms);
		pthread_mutex_unlock(&guard->shards[i].lock);
	}
	*ret_status = status;
}
