// SPDX-License-Identifier: Apache-2.0
/*
 * What moves the bytes after login. A relay joins two legs; each direction has a data path, and
 * the interface does not say which: user space with OpenSSL (copy) or with its ciphers
 * alone (record), kernel TLS (ktls), BPF sockmap, or a node on this host itself (bypass). A relay
 * belongs to one loop. It knows legs and directions, not protocols, and does not assume that the
 * TLS of a leg is ours.
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "base/buf.h"
#include "base/slots.h"
#include "bpfctl/bypass.h"
#include "loop/loop.h"
#include "net/stream.h"
#include "relay/ktls.h"

#include <stdatomic.h>

enum relay_leg { RELAY_CLIENT, RELAY_NODE };
/* Directions are named by what they carry: up = client to node. */
enum relay_direction { RELAY_UP, RELAY_DOWN };

enum relay_path {
	RELAY_PATH_NONE,
	RELAY_PATH_COPY,
	RELAY_PATH_RECORD,
	RELAY_PATH_KTLS,
	RELAY_PATH_SOCKMAP,
	RELAY_PATH_BYPASS, /* down only, beside SOCKMAP up */
	RELAY_PATHS
};
const char *relay_path_name(enum relay_path path); /* "-" "copy" "record" ... */

/* Why a relay ended; maps one to one to reasons of the session log. */
enum relay_end {
	RELAY_END_CLIENT_EOF,   /* both directions ended, the client's first */
	RELAY_END_NODE_EOF,     /* both directions ended, the node's first */
	RELAY_END_CLIENT_ERROR, /* socket or TLS error on the client leg */
	RELAY_END_NODE_ERROR,
	RELAY_END_KEEPALIVE, /* ETIMEDOUT of keepalive or user timeout */
	RELAY_END_IDLE,      /* bridge_idle without a byte in either direction */
	RELAY_END_TRUNCATED, /* a TLS leg ended without close_notify */
	/* a TLS peer changed its keys and the kernel cannot follow, or keys of TLS 1.2 are worn */
	RELAY_END_KEY_UPDATE,
	RELAY_END_STOPPED, /* relay_stop() */
	RELAY_END_PARTED,  /* relay_part() */
};

/* Which paths may be used: the `splice.mode` of the configuration. */
enum relay_mode {
	RELAY_MODE_AUTO,
	RELAY_MODE_SOCKMAP,
	RELAY_MODE_RECORD,
	RELAY_MODE_KTLS,
	RELAY_MODE_COPY
};

/* Whether TLS legs are to leave OpenSSL for records (tls/records.h). */
bool relay_takes_records(enum relay_mode mode);

struct relay_settings {
	enum relay_mode mode;
	uint32_t backlog_limit; /* bytes a sockmap direction may hold in the kernel */
	uint64_t bulk_rate;     /* bytes per second above which user space moves it; 0 = never */
	uint64_t stall_ms;
	uint32_t arm_ms; /* the age from which on sockmap has it; a busy one gets there before */
	bool same_host;  /* a node on this host may bypass the router (GRD-20) */
};

/* What this process has of the kernel; one for all workers, made before they start. A zeroed one
 * means that user space does everything. */
struct relay_kernel {
	struct bpfctl *bpfctl;        /* NULL: no program, no rows; borrowed */
	struct bpfctl_bypass *bypass; /* NULL: not loaded; borrowed */
	bool sockmap, same_host;      /* their probes have passed */
	bool records[RECORD_CIPHERS]; /* so have these */
	struct ktls_features ktls;
	/* Since start. */
	atomic_uint_fast64_t demotions_backlog, demotions_bulk, resumes, stalls;
	atomic_uint_fast64_t refused;     /* sockmap: the kernel did not take the sockets */
	atomic_uint_fast64_t key_updates; /* sessions ended by one */
};

/* The relays of one loop: their rows, the program's events, the watchdog. */
struct relay_engine {
	struct relay_kernel *kernel;
	struct loop *loop;
	unsigned worker;
	struct loop_watch events_watch;
	struct timer scan_timer;
	struct slots relays; /* those that have rows or may have some */
	uint32_t active;     /* of them */
	uint32_t scans;
};

/* Returns 0 or -errno. kernel outlives it. */
MUST_USE int relay_engine_init(struct relay_engine *engine, struct loop *loop,
	struct relay_kernel *kernel, unsigned worker);
/* All its relays are gone. */
void relay_engine_fini(struct relay_engine *engine);

struct relay;
/* Called once, from the loop, never from inside relay_start() or relay_stop(). The relay has
 * closed both legs. The owner may relay_free() it in the callback. */
typedef void relay_done_fn(struct relay *relay, void *arg, enum relay_end end);

struct relay_params {
	struct relay_engine *engine;
	struct relay_settings settings;
	uint64_t session;     /* its number, for the rows */
	const char *protocol; /* its name, for the rows */
	/* What both sides have been sent before, by direction: it goes on from there. */
	uint64_t bytes[2];
	/* Bytes both silent until RELAY_END_IDLE. */
	uint64_t idle_ms;
	/* 60 s in production (sessions.md section 3): no progress while a closed side's rest is
	 * sent. */
	uint64_t owed_ms;
	/* Only what the node says is carried (user space moves it). What the client says is read
	 * and dropped, early bytes included; its end of stream reaches the node. When the node's
	 * stream has ended, the client has owed_ms to close. */
	bool one_way;
	/* The node leg's other end ends the client's TLS (HND-34): idle sessions part, and rows
	 * say that it is passed. */
	bool parts;
	/* Watches of the caller's on the two descriptors, by leg: the relay takes their place (also
	 * when it then fails). NULL: there is none. */
	struct loop_watch *watches[2];
	relay_done_fn *done;
	void *arg;
};

/*
 * Takes over both streams and the left-over bytes (moved out of the buffers): early[RELAY_CLIENT]
 * was read from the client and not yet sent to the node, early[RELAY_NODE] the other way; they go
 * first and are counted. On failure (-ENOMEM, -errno) everything stays with the caller.
 */
MUST_USE int relay_start(const struct relay_params *params, struct stream legs[2],
	struct buf early[2], struct relay **ret_relay);

/* Ends both legs at once: pending bytes are dropped, TLS legs get no close_notify, unless
 * gracefully: then what is buffered is sent as far as the sockets take it now, close_notify too. */
void relay_stop(struct relay *relay, bool gracefully);
/* Frees; stops first, without a callback, if it runs. NULL is fine. */
void relay_free(struct relay *relay);

/* Our end of stream goes to the node leg, whose other end has a second to say goodbye to the
 * client; then it ends, with a callback. */
void relay_part(struct relay *relay, enum relay_end end);
void relay_set_idle(struct relay *relay, uint64_t idle_ms);
/* Payload bytes delivered to the other leg's socket so far, those before the relay included. */
/* (On sockmap as of the last second, or of the end.) */
uint64_t relay_bytes(const struct relay *relay, enum relay_direction direction);
/* May change while the relay runs. */
enum relay_path relay_path_of(const struct relay *relay, enum relay_direction direction);
/* The socket of a leg, borrowed; -1 when it is closed. */
int relay_fd(const struct relay *relay, enum relay_leg leg);
/* Milliseconds since the last byte in either direction. */
uint64_t relay_idle_ms(const struct relay *relay);

#endif
