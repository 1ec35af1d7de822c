// SPDX-License-Identifier: Apache-2.0
/* Private to relay/: what a kind of relay provides. relay.c dispatches; pump.c moves bytes in user
 * space (paths copy and ktls), sockmap.c lets the kernel move them. */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include "relay/relay.h"

/* What one read takes: from the first to the last of these, doubling while the target takes all of
 * it. Large reads halve what a gigabyte costs; small ones bound what is kept for a slow reader. */
#define RELAY_CHUNK_BYTES 32768
#define RELAY_CHUNK_DOUBLINGS 4
#define RELAY_SCRATCH_BYTES (RELAY_CHUNK_BYTES << RELAY_CHUNK_DOUBLINGS)
/* Bytes that one direction moves before others get their turn. */
#define RELAY_TURN_BYTES (1024 * 1024)

struct relay_ops {
	void (*stop)(struct relay *relay, bool gracefully);
	void (*free)(struct relay *relay);
	void (*set_idle)(struct relay *relay, uint64_t idle_ms);
	uint64_t (*bytes)(const struct relay *relay, enum relay_direction direction);
	enum relay_path (*path)(const struct relay *relay, enum relay_direction direction);
	uint64_t (*idle_ms)(const struct relay *relay);
	/* Once a second: rows are brought up to date. May end the relay, never frees it. */
	void (*scan)(struct relay *relay);
	/* The program's row of a direction, just before scan(); NULL if it has none. */
	void (*row)(struct relay *relay, uint64_t cookie, const struct hm_flow *flow);
	void (*event)(struct relay *relay, const struct hm_event *event);
};

/* First member of every relay's own structure. */
struct relay {
	const struct relay_ops *ops;
	struct relay_engine *engine;
	uint32_t slot;
	bool registered;
};

/* What goes through it is somebody's mail. The most that has been in it since it was wiped is
 * known, and that much is wiped when a session ends and once a second: a record costs a
 * comparison. */
extern _Thread_local char relay_scratch[RELAY_SCRATCH_BYTES];
extern _Thread_local size_t relay_scratch_used;

static inline void relay_scratch_note(size_t used)
{
	if (used > relay_scratch_used)
		relay_scratch_used = used;
}

/* Wipes the scratch buffer, and what relay_drop_pending() kept. */
void relay_scratch_wipe(void);
/* What the target did not take waits in `pending`. -ENOMEM, or -ENOBUFS above the queue's limit. */
MUST_USE int relay_keep_pending(struct buf *pending, const char *data, size_t len);
/* Gives up the memory of what waited: it becomes the thread's, for the next one who waits, or is
 * wiped and freed. Not in each of its writes. */
void relay_drop_pending(struct buf *pending);

/* doublings: of one direction, 0 at the start. */
static inline size_t relay_chunk(uint8_t doublings)
{
	return (size_t)RELAY_CHUNK_BYTES << doublings;
}

static inline void relay_chunk_adapt(uint8_t *doublings, size_t taken, size_t written)
{
	if (written < taken)
		*doublings = 0;
	else if (taken == relay_chunk(*doublings) && *doublings < RELAY_CHUNK_DOUBLINGS)
		(*doublings)++;
}

MUST_USE int relay_pump_start(const struct relay_params *params, struct stream legs[2],
	struct buf early[2], struct relay **ret_relay);
MUST_USE int relay_sockmap_start(const struct relay_params *params, struct stream legs[2],
	struct buf early[2], struct relay **ret_relay);

/* The engine knows it from here on: scans, events. Returns 0 or -ENOMEM. */
MUST_USE int relay_register(struct relay *relay, struct relay_engine *engine);
void relay_unregister(struct relay *relay);
/* What a row or an event carries to find the relay again. */
uint64_t relay_handle(const struct relay *relay);
/* During scan(): the row of a direction that user space moves. */
void relay_put_row(struct relay_engine *engine, __u64 cookie, const struct hm_flow *flow);
/* A descriptor's events come to `to` from now on: from's, if it watches it (no system call), which
 * it then does not any more; else as a new watch without events. Returns 0 or -errno. */
MUST_USE int relay_watch(struct loop *loop, struct loop_watch *from, struct loop_watch *to, int fd,
	loop_watch_fn *fn);
/* A row as it starts. */
void relay_fill_row(const struct relay *relay, uint64_t session, const char *protocol,
	enum relay_direction direction, struct hm_flow *ret_flow);

#endif
