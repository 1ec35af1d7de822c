// SPDX-License-Identifier: Apache-2.0
/*
 * Tokens by which an agent knows to which session a data connection belongs (HND-32): random, for
 * one connection, and for some seconds. A connection may come to any worker, so all share one
 * table. Thread-safe.
 */
#ifndef ROUTER_TOKENS_H
#define ROUTER_TOKENS_H

#include "handoff/frame.h"

#define TOKEN_LIFE_MS 10000

struct tokens;
/* Whom it names: a worker, and a session there by the worker's own handle. */
struct token_owner {
	unsigned worker;
	uint64_t handle;
};

MUST_USE int tokens_new(struct tokens **ret_tokens);
void tokens_free(struct tokens *tokens); /* NULL is fine */
/* A new one, which lives from now on. Returns 0, -ENOMEM, or -EIO: no random numbers. */
MUST_USE int tokens_add(struct tokens *tokens, const struct token_owner *owner, uint64_t now_ms,
	unsigned char ret_token[HANDOFF_TOKEN_BYTES]);
/* Its life begins anew, over or not: its session has just been heard of. One that is not there is
 * no harm; the next likewise. */
void tokens_refresh(
	struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES], uint64_t now_ms);
void tokens_drop(struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES]);
/* Whoever presents it gets its owner, once. False: there is none, or its life is over. */
MUST_USE bool tokens_take(struct tokens *tokens, const unsigned char token[HANDOFF_TOKEN_BYTES],
	uint64_t now_ms, struct token_owner *ret_owner);

#endif
