// SPDX-License-Identifier: Apache-2.0
#include "router/holds.h"
#include "base/clock.h"
#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BUCKETS 4096
#define WAITING_BUCKETS 1024
/* Expired ones are looked for at most that often, and only when something is set. */
#define PURGE_MS 1000

struct hold {
	struct hold *next;
	uint64_t until_ms;
	size_t len;
	char account[];
};

/* Of an account or an address. */
struct waiting {
	struct waiting *next;
	unsigned count;
	char kind; /* 'a' or 'c' */
	size_t len;
	char key[];
};

struct holds {
	pthread_mutex_t lock;
	struct waiting *waiting[WAITING_BUCKETS];
	atomic_size_t count; /* usually 0: then nobody takes the lock */
	uint64_t purged_ms;
	struct hold *buckets[BUCKETS];
};

int holds_new(struct holds **ret_holds)
{
	*ret_holds = calloc(1, sizeof(**ret_holds));
	if (!*ret_holds)
		return -ENOMEM;
	pthread_mutex_init(&(*ret_holds)->lock, NULL);
	return 0;
}

static struct hold **find(struct holds *holds, struct view account)
{
	struct hold **at = &holds->buckets[hash_view(account) % BUCKETS];

	while (*at && !view_eq(view_make((*at)->account, (*at)->len), account))
		at = &(*at)->next;
	return at;
}

static void drop(struct holds *holds, struct hold **at)
{
	struct hold *hold = *at;

	*at = hold->next;
	free(hold);
	atomic_fetch_sub(&holds->count, 1);
}

static void purge(struct holds *holds, uint64_t now)
{
	if (now - holds->purged_ms < PURGE_MS)
		return;
	holds->purged_ms = now;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct hold **at = &holds->buckets[i]; *at;) {
			if ((*at)->until_ms <= now)
				drop(holds, at);
			else
				at = &(*at)->next;
		}
	}
}

static int add(struct holds *holds, struct view account, uint64_t until_ms)
{
	struct hold **at = find(holds, account), *hold;

	if (atomic_load(&holds->count) >= HOLDS_MAX)
		return -ENOSPC;
	hold = calloc(1, sizeof(*hold) + account.len);
	if (!hold)
		return -ENOMEM;
	hold->until_ms = until_ms;
	hold->len = account.len;
	memcpy(hold->account, account.data, account.len);
	*at = hold; /* find() has stopped at the end of the chain */
	atomic_fetch_add(&holds->count, 1);
	return 0;
}

int holds_set(struct holds *holds, struct view account, uint64_t until_ms)
{
	uint64_t now = clock_mono_ms();
	struct hold **at;
	int r = 0;

	pthread_mutex_lock(&holds->lock);
	purge(holds, now);
	at = find(holds, account);
	if (until_ms <= now) {
		if (*at)
			drop(holds, at);
	} else if (*at) {
		(*at)->until_ms = until_ms;
	} else {
		r = add(holds, account, until_ms);
	}
	pthread_mutex_unlock(&holds->lock);
	return r;
}

uint64_t holds_until(struct holds *holds, struct view account)
{
	uint64_t until = 0;
	struct hold *hold;

	if (!atomic_load(&holds->count))
		return 0;
	pthread_mutex_lock(&holds->lock);
	hold = *find(holds, account);
	if (hold && hold->until_ms > clock_mono_ms())
		until = hold->until_ms;
	pthread_mutex_unlock(&holds->lock);
	return until;
}

/* ---- who waits ---- */

static struct waiting **find_waiting(struct holds *holds, char kind, struct view key)
{
	struct waiting **at = &holds->waiting[hash_view(key) % WAITING_BUCKETS];

	while (*at && ((*at)->kind != kind || !view_eq(view_make((*at)->key, (*at)->len), key)))
		at = &(*at)->next;
	return at;
}

static int wait_add(struct holds *holds, char kind, struct view key, unsigned most)
{
	struct waiting **at = find_waiting(holds, kind, key);

	if (!*at) {
		*at = calloc(1, sizeof(**at) + key.len);
		if (!*at)
			return -ENOMEM;
		(*at)->kind = kind;
		(*at)->len = key.len;
		memcpy((*at)->key, key.data, key.len);
	}
	if ((*at)->count >= most)
		return HOLDS_FULL;
	(*at)->count++;
	return 0;
}

static void wait_drop(struct holds *holds, char kind, struct view key)
{
	struct waiting **at = find_waiting(holds, kind, key), *gone = *at;

	if (!gone || --gone->count)
		return;
	*at = gone->next;
	free(gone);
}

static struct view address_key(const struct addr *client, char text[ADDR_TEXT_SIZE])
{
	struct addr key;

	addr_limit_key(client, &key);
	return view_str(addr_format_ip(&key, text));
}

int holds_enter(struct holds *holds, struct view account, const struct addr *client)
{
	char text[ADDR_TEXT_SIZE];
	struct view address = address_key(client, text);
	int r;

	pthread_mutex_lock(&holds->lock);
	r = wait_add(holds, 'a', account, HOLDS_WAITING_PER_ACCOUNT);
	if (r == 0) {
		r = wait_add(holds, 'c', address, HOLDS_WAITING_PER_ADDRESS);
		if (r)
			wait_drop(holds, 'a', account);
	}
	pthread_mutex_unlock(&holds->lock);
	return r;
}

void holds_leave(struct holds *holds, struct view account, const struct addr *client)
{
	char text[ADDR_TEXT_SIZE];
	struct view address = address_key(client, text);

	pthread_mutex_lock(&holds->lock);
	wait_drop(holds, 'a', account);
	wait_drop(holds, 'c', address);
	pthread_mutex_unlock(&holds->lock);
}

void holds_free(struct holds *holds)
{
	if (!holds)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (holds->buckets[i])
			drop(holds, &holds->buckets[i]);
	}
	for (size_t i = 0; i < WAITING_BUCKETS; i++) {
		while (holds->waiting[i]) {
			struct waiting *gone = holds->waiting[i];

			holds->waiting[i] = gone->next;
			free(gone);
		}
	}
	pthread_mutex_destroy(&holds->lock);
	free(holds);
}
