// SPDX-License-Identifier: Apache-2.0
/*
 * One line per refused login (OPS-22), which tools like fail2ban read. An address has a burst of
 * lines and then one a second, so that a guesser is seen at once but cannot fill the log; what was
 * left out is counted in its next line. The table is bounded: an address may push another out,
 * which then starts with a full burst again.
 */
#include "session/login_failed.h"
#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>

#define SLOTS 4096 /* a power of two */
#define BURST 20
#define REFILL_MS 1000

struct slot {
	uint64_t key; /* 0: free */
	uint64_t from_ms;
	uint32_t used, suppressed;
};

static struct slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether the address may have a line now; then *ret_suppressed tells how many it has not had. */
static bool may_log(const struct addr *client, uint32_t *ret_suppressed)
{
	uint64_t now = clock_mono_ms(), back;
	struct addr limited;
	struct slot *slot;
	uint64_t key;
	bool pass;

	addr_limit_key(client, &limited);
	key = addr_hash_ip(&limited) | 1;
	pthread_mutex_lock(&lock);
	slot = &slots[(key >> 1) % SLOTS];
	if (slot->key != key)
		*slot = (struct slot){ .key = key, .from_ms = now };
	back = (now - slot->from_ms) / REFILL_MS;
	slot->from_ms = back >= slot->used ? now : slot->from_ms + back * REFILL_MS;
	slot->used -= (uint32_t)MIN(back, (uint64_t)slot->used);
	pass = slot->used < BURST;
	*ret_suppressed = slot->suppressed;
	slot->suppressed = pass ? 0 : slot->suppressed + 1;
	slot->used += pass;
	pthread_mutex_unlock(&lock);
	return pass;
}

void login_failed_log(const struct login_failed *failed)
{
	char client[ADDR_TEXT_SIZE];
	uint32_t suppressed;
	struct log_line line UNINITIALIZED;

	if (!log_wants(LOGL_WARN) || !may_log(failed->client, &suppressed))
		return;
	log_start(&line, LOGL_WARN, "login_failed");
	log_str(&line, "client", addr_format(failed->client, client));
	log_str(&line, "proto", protocol_name(failed->protocol));
	log_str(&line, "account", failed->account);
	log_str(&line, "reason", failed->reason);
	log_int(&line, "attempts", failed->attempts);
	if (suppressed)
		log_int(&line, "suppressed", suppressed);
	log_end(&line);
}
