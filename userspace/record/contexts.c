// SPDX-License-Identifier: Apache-2.0
/* See contexts.h. A key is known again by a number that no other key of the process has, so a state
 * may be copied, moved and freed without a word to here. */
#include "record/contexts.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Contexts of one cipher and direction: sessions whose records come in turns find theirs. */
#define SLOTS 32

struct slot {
	struct record_aead aead;
	uint64_t keyed; /* the state's; 0: nobody's */
	bool used;      /* since the hand last came by */
};

struct pool {
	struct slot slots[SLOTS];
	unsigned hand;
};

/* A thread's. */
struct contexts {
	struct pool pools[RECORD_CIPHERS][2];
	struct record_mac *macs[RECORD_DIGESTS];
};

static pthread_key_t thread_key;
static bool have_key;
static _Thread_local struct contexts *of_thread;

static void free_contexts(void *arg)
{
	struct contexts *contexts = arg;

	for (int c = 0; c < RECORD_CIPHERS; c++) {
		for (int d = 0; d < 2; d++) {
			for (int i = 0; i < SLOTS; i++)
				record_aead_fini(&contexts->pools[c][d].slots[i].aead);
		}
	}
	for (int i = 0; i < RECORD_DIGESTS; i++)
		record_mac_free(contexts->macs[i]);
	free(contexts);
	of_thread = NULL;
}

static void make_key(void)
{
	have_key = pthread_key_create(&thread_key, free_contexts) == 0;
}

static struct contexts *contexts_of_thread(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (of_thread)
		return of_thread;
	pthread_once(&once, make_key);
	of_thread = calloc(1, sizeof(*of_thread));
	if (of_thread && (!have_key || pthread_setspecific(thread_key, of_thread) != 0)) {
		free(of_thread);
		of_thread = NULL;
	}
	return of_thread;
}

/* The next one that has not been used since the hand came by. */
static uint8_t take_slot(struct pool *pool)
{
	uint8_t index;

	while (pool->slots[pool->hand].used) {
		pool->slots[pool->hand].used = false;
		pool->hand = (pool->hand + 1) % SLOTS;
	}
	index = (uint8_t)pool->hand;
	pool->hand = (pool->hand + 1) % SLOTS;
	return index;
}

static int set_key(struct slot *slot, const struct record_state *state)
{
	int r = slot->aead.ctx ? 0
			       : record_aead_init(&slot->aead, (enum record_cipher)state->cipher,
					 (enum record_direction)state->direction);

	return r < 0 ? r : record_aead_set_key(&slot->aead, state->key);
}

/* Another key takes the place of the one that was there. */
static struct record_aead *key_again(struct pool *pool, struct record_state *state)
{
	static atomic_uint_fast64_t last;
	uint8_t index = take_slot(pool);
	struct slot *slot = &pool->slots[index];

	slot->keyed = 0;
	if (set_key(slot, state) < 0)
		return NULL;
	slot->keyed = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
	slot->used = true;
	state->keyed = slot->keyed;
	state->slot = index;
	return &slot->aead;
}

static struct slot *find(struct contexts *contexts, const struct record_state *state)
{
	struct slot *slot =
		&contexts->pools[state->cipher][state->direction].slots[state->slot % SLOTS];

	return state->keyed && slot->keyed == state->keyed ? slot : NULL;
}

struct record_aead *record_context(struct record_state *state)
{
	struct contexts *contexts = contexts_of_thread();
	struct slot *slot;

	if (!contexts)
		return NULL;
	slot = find(contexts, state);
	if (!slot)
		return key_again(&contexts->pools[state->cipher][state->direction], state);
	slot->used = true;
	return &slot->aead;
}

/* What a key made of itself in the context is overwritten by another one's. */
void record_context_forget(struct record_state *state)
{
	static const struct record_state nobody;
	struct slot *slot = of_thread ? find(of_thread, state) : NULL;

	state->keyed = 0;
	if (!slot)
		return;
	slot->keyed = 0;
	slot->used = false;
	if (record_aead_set_key(&slot->aead, nobody.key) < 0 ||
		record_aead_begin(&slot->aead, nobody.iv, NULL) < 0)
		record_aead_fini(&slot->aead);
}

/* ---- HMAC ---- */

static struct record_mac *mac_of_thread(enum record_digest digest)
{
	struct contexts *contexts = contexts_of_thread();

	if (contexts && !contexts->macs[digest])
		contexts->macs[digest] = record_mac_new(digest);
	return contexts ? contexts->macs[digest] : NULL;
}

int record_hmac(enum record_cipher cipher, const unsigned char *key, size_t key_len,
	const unsigned char *data, size_t len, unsigned char ret[EVP_MAX_MD_SIZE])
{
	struct record_mac *mac = mac_of_thread(record_digest_of(cipher));

	return mac ? record_mac_make(mac, key, key_len, data, len, ret) : -EIO;
}

void record_hmac_forget(enum record_cipher cipher)
{
	static const unsigned char nothing[RECORD_SECRET_MAX];
	enum record_digest digest = record_digest_of(cipher);
	struct record_mac *mac = of_thread ? of_thread->macs[digest] : NULL;
	unsigned char ignored[EVP_MAX_MD_SIZE];

	if (mac && record_mac_make(mac, nothing, sizeof(nothing), nothing, 0, ignored) < 0) {
		record_mac_free(mac);
		of_thread->macs[digest] = NULL;
	}
}
