// SPDX-License-Identifier: Apache-2.0
/*
 * What clients do, and what follows: points, and at ban_after of them a ban that doubles, unless
 * the source is spared; penalties from the same points (GRD-2, GRD-3).
 *
 * Who is never banned collects points too, under the whole address and not that of its source, so
 * that an attack from there is seen, and harms no neighbour.
 */
#include "base/clock.h"
#include "guard/state.h"

static const int weights[] = {
	[GUARD_REFUSED] = FIFTHS,
	[GUARD_MALFORMED] = FIFTHS,
	[GUARD_HANDSHAKE_FAILED] = 1,
	[GUARD_LEFT_SILENT] = 1,
	[GUARD_GOOD_LOGIN] = -FIFTHS,
};
_Static_assert(ARRAY_SIZE(weights) == GUARD_EVENTS, "a weight for each");
static const enum guard_reason reasons[] = {
	[GUARD_REFUSED] = GUARD_FOR_REFUSED,
	[GUARD_MALFORMED] = GUARD_FOR_MALFORMED,
	[GUARD_HANDSHAKE_FAILED] = GUARD_FOR_HANDSHAKE,
	[GUARD_LEFT_SILENT] = GUARD_FOR_SILENT,
};

/* Where a client's points are; its lock is held afterwards. */
struct place {
	struct shard *shard;
	struct key key;
	bool spared;
	enum guard_why why; /* if it is */
};

static void enter(struct guard *guard, const struct addr *client, struct place *ret_place)
{
	struct key all;

	key_of_addr(client, &all);
	*ret_place = (struct place){ 0 };
	guard_source_key(guard, &all, &ret_place->key);
	ret_place->shard = guard_shard(guard, &ret_place->key);
	pthread_mutex_lock(&ret_place->shard->lock);
	if (!policy_spares(ret_place->shard->policy, &all, &ret_place->why))
		return;
	ret_place->spared = true;
	pthread_mutex_unlock(&ret_place->shard->lock);
	ret_place->key = all;
	ret_place->shard = guard_shard(guard, &all);
	pthread_mutex_lock(&ret_place->shard->lock);
}

static void leave(const struct place *place)
{
	pthread_mutex_unlock(&place->shard->lock);
}

/* ---- a failure ---- */

/* What came of it, to be done without the lock. */
struct outcome {
	enum { NOTHING, WITHHELD, BAN } what;
	enum guard_why why;
	struct guard_ban ban; /* its points also if it was withheld */
};

static void withhold(
	struct shard *shard, struct source *source, enum guard_why why, struct outcome *outcome)
{
	if (source->withheld)
		return;
	source->withheld = true;
	shard->withheld[why]++;
	outcome->what = WITHHELD;
	outcome->why = why;
}

static void begin_ban(const struct policy *policy, struct source *source, enum guard_event event,
	uint64_t now_ms, struct outcome *outcome)
{
	unsigned strikes = source_strikes(source, now_ms) + 1;
	uint64_t until_ms = now_ms + policy_ban_ms(policy, strikes);

	outcome->what = BAN;
	outcome->ban = (struct guard_ban){
		.since_ms = now_ms,
		.until_ms = until_ms,
		.reason = reasons[event],
		.origin = GUARD_LOCAL,
		.strikes = strikes,
		.points = source->fifths / FIFTHS,
		.told = source->told,
	};
	key_to_cidr(&source->key, &outcome->ban.net);
	source->strikes = strikes;
	source->strikes_until_ms = until_ms + policy->settings.ban_time_max_ms;
	source->fifths = 0;
	source->told = false;
}

static void score(const struct place *place, struct source *source, bool told,
	enum guard_event event, uint64_t now_ms, struct outcome *outcome)
{
	const struct policy *policy = place->shard->policy;
	double most = (double)policy->settings.ban_after * FIFTHS;
	double fifths = source_fifths(policy, source, now_ms) + weights[event];

	source->fifths = MIN(fifths, most);
	source->told |= told;
	if (fifths < most - NEARLY)
		return;
	outcome->ban.points = source->fifths / FIFTHS;
	if (place->spared)
		withhold(place->shard, source, place->why, outcome);
	else if (policy->settings.spare_active && source->sessions >= policy->settings.spare_active)
		withhold(place->shard, source, GUARD_WHY_ACTIVE, outcome);
	else
		begin_ban(policy, source, event, now_ms, outcome);
}

/* The lock is held. */
static void fail(struct guard *guard, const struct place *place, bool told, enum guard_event event,
	uint64_t secret_hash, struct outcome *outcome)
{
	uint64_t now_ms = clock_mono_ms();
	struct source *source;

	if (!place->spared && ban_find(guard, place->shard, &place->key, now_ms))
		return; /* what comes in on old connections does not count for the next ban */
	source = source_get(guard, place->shard, &place->key, now_ms);
	if (!source)
		return;
	source_touch(guard, place->shard, source, now_ms);
	if (secret_hash && source_knows_secret(source, secret_hash))
		place->shard->repeated++;
	else
		score(place, source, told, event, now_ms, outcome);
}

static void good(struct guard *guard, const struct place *place)
{
	struct source *source = source_find(guard, place->shard, &place->key);
	uint64_t now_ms;
	double fifths;

	if (!source)
		return;
	now_ms = clock_mono_ms();
	fifths = source_fifths(place->shard->policy, source, now_ms) + weights[GUARD_GOOD_LOGIN];
	source->fifths = MAX(fifths, 0.0);
	source_release(guard, place->shard, source, now_ms);
}

static void act(struct guard *guard, const struct addr *client, const struct place *place,
	struct outcome *outcome)
{
	enum guard_why why;

	if (outcome->what == WITHHELD)
		guard_tell_withheld(guard, client, outcome->why, outcome->ban.points);
	if (outcome->what != BAN)
		return;
	outcome->ban.client = *client;
	addr_set_port(&outcome->ban.client, 0);
	/* Without memory, or when it is spared by now, there is none. */
	(void)!ban_put(guard, &place->key, &outcome->ban, &why);
}

void guard_note(struct guard *guard, const struct addr *client, bool told, enum guard_event event,
	uint64_t secret_hash)
{
	struct outcome outcome = { .what = NOTHING };
	struct place place;

	enter(guard, client, &place);
	if (event != GUARD_GOOD_LOGIN && !source_find(guard, place.shard, &place.key) &&
		sources_full(guard)) {
		leave(&place);
		sources_make_room(guard);
		enter(guard, client, &place);
	}
	place.shard->events[event]++;
	if (event == GUARD_GOOD_LOGIN)
		good(guard, &place);
	else
		fail(guard, &place, told, event, secret_hash, &outcome);
	leave(&place);
	act(guard, client, &place, &outcome);
}

/* ---- penalties and sessions ---- */

uint32_t guard_penalty_ms(struct guard *guard, const struct addr *client)
{
	const struct policy *policy;
	struct source *source;
	struct place place;
	uint64_t ms = 0;

	enter(guard, client, &place);
	policy = place.shard->policy;
	source = place.spared || policy->settings.observe
		? NULL
		: source_find(guard, place.shard, &place.key);
	if (source)
		ms = policy_penalty_ms(
			policy, source_fifths(policy, source, clock_mono_ms()) / FIFTHS);
	place.shard->penalties += ms > 0;
	leave(&place);
	return (uint32_t)MIN(ms, (uint64_t)UINT32_MAX);
}

void guard_session(struct guard *guard, const struct addr *client, int delta)
{
	uint64_t now_ms = clock_mono_ms();
	struct key all, key;
	struct source *source;
	struct shard *shard;

	key_of_addr(client, &all);
	guard_source_key(guard, &all, &key);
	shard = guard_shard(guard, &key);
	pthread_mutex_lock(&shard->lock);
	source = delta > 0 ? source_get(guard, shard, &key, now_ms)
			   : source_find(guard, shard, &key);
	if (source) {
		source->sessions = delta < 0 && source->sessions < (unsigned)-delta
			? 0
			: source->sessions + (unsigned)delta;
		source_touch(guard, shard, source, now_ms);
		source_release(guard, shard, source, now_ms);
	}
	pthread_mutex_unlock(&shard->lock);
	if (atomic_load(&guard->limited) > guard->fixed.max_sources)
		sources_make_room(guard);
}
