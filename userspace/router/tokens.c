// SPDX-License-Identifier: Apache-2.0
#include "router/tokens.h"
#include "base/list.h"
#include "base/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 256

struct entry {
	struct list_node link;
	unsigned char token[HANDOFF_TOKEN_BYTES];
	struct token_owner owner;
	uint64_t ends_ms;
};

struct tokens {
	pthread_mutex_t lock;
	struct list_node buckets[BUCKETS];
};

int tokens_new(struct tokens **ret_tokens)
{
	struct tokens *tokens = calloc(1, sizeof(*tokens));

	if (!tokens)
		return -ENOMEM;
	pthread_mutex_init(&tokens->lock, NULL);
	for (int i = 0; i < BUCKETS; i++)
		list_init(&tokens->buckets[i]);
	*ret_tokens = tokens;
	return 0;
}

static void drop(struct entry *entry)
{
	list_del(&entry->link);
	secret_wipe(entry->token, sizeof(entry->token));
	free(entry);
}

void tokens_free(struct tokens *tokens)
{
	if (!tokens)
		return;
	for (int i = 0; i < BUCKETS; i++) {
		while (!list_empty(&tokens->buckets[i]))
			drop(list_entry(tokens->buckets[i].next, struct entry, link));
	}
	pthread_mutex_destroy(&tokens->lock);
	free(tokens);
}

/* They are random: the first byte spreads them. */
static struct entry *find(struct tokens *tokens, const unsigned char *token)
{
	list_for_each (node, &tokens->buckets[token[0]]) {
		struct entry *entry = list_entry(node, struct entry, link);

		if (secret_equal(entry->token, token, HANDOFF_TOKEN_BYTES))
			return entry;
	}
	return NULL;
}

int tokens_add(struct tokens *tokens, const struct token_owner *owner, uint64_t now_ms,
	unsigned char ret_token[HANDOFF_TOKEN_BYTES])
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	if (getrandom(entry->token, sizeof(entry->token), 0) != sizeof(entry->token)) {
		free(entry);
		return -EIO;
	}
	entry->owner = *owner;
	entry->ends_ms = now_ms + TOKEN_LIFE_MS;
	memcpy(ret_token, entry->token, HANDOFF_TOKEN_BYTES);
	pthread_mutex_lock(&tokens->lock);
	list_add_tail(&tokens->buckets[entry->token[0]], &entry->link);
	pthread_mutex_unlock(&tokens->lock);
	return 0;
}

void tokens_refresh(
	struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES], uint64_t now_ms)
{
	struct entry *entry;

	pthread_mutex_lock(&tokens->lock);
	entry = find(tokens, token);
	if (entry)
		entry->ends_ms = now_ms + TOKEN_LIFE_MS;
	pthread_mutex_unlock(&tokens->lock);
}

void tokens_drop(struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES])
{
	struct entry *entry;

	pthread_mutex_lock(&tokens->lock);
	entry = find(tokens, token);
	if (entry)
		drop(entry);
	pthread_mutex_unlock(&tokens->lock);
}

bool tokens_take(struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES],
	uint64_t now_ms, struct token_owner *ret_owner)
{
	struct entry *entry;
	bool taken;

	pthread_mutex_lock(&tokens->lock);
	entry = find(tokens, token);
	taken = entry && entry->ends_ms > now_ms;
	if (taken) {
		*ret_owner = entry->owner;
		drop(entry);
	}
	pthread_mutex_unlock(&tokens->lock);
	return taken;
}
