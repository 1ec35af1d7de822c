// SPDX-License-Identifier: Apache-2.0
/*
 * The splice program in the kernel: load, attach, pin, and its maps as functions. Loaded once,
 * before privileges are dropped and threads start; after that every function but bpfctl_load() and
 * bpfctl_free() may be called from any thread, except that each worker consumes and scans its own
 * ring and rows. What ends with the process: all sockets in the maps and the attachment of the
 * program (SEC-10); the pins stay and the next start replaces them.
 */
#ifndef BPFCTL_BPFCTL_H
#define BPFCTL_BPFCTL_H

#include "base/compiler.h"

#include <linux/types.h>
#include <stddef.h>

#include "homing/flow.h"

#define BPFCTL_ERROR_SIZE 256

struct bpfctl;

struct bpfctl_params {
	const char *pin_path; /* NULL: no pins */
	unsigned workers;     /* 1..HM_WORKERS_MAX rings */
	unsigned max_flows;   /* directions at once; more are refused with -E2BIG */
};

/* error: why it cannot be used (SEC-12), for the operator. Returns 0 or -errno. */
MUST_USE int bpfctl_load(const struct bpfctl_params *params, struct bpfctl **ret_bpfctl,
	char error[BPFCTL_ERROR_SIZE]);
void bpfctl_free(struct bpfctl *bpfctl);
/* Why nothing is pinned, or NULL if it is (or was not asked for). */
const char *bpfctl_pin_error(const struct bpfctl *bpfctl);

/* Descriptors, borrowed: for another program on the same rows. */
struct bpfctl_maps {
	int flows, control, targets;
};
struct bpfctl_maps bpfctl_maps(const struct bpfctl *bpfctl);

/* SO_COOKIE of a socket; 0 on failure. */
__u64 bpfctl_cookie(int fd);

/* Makes rows of both kinds, in two system calls. Returns 0 or -errno (-E2BIG: full): some may be
 * there. */
MUST_USE int bpfctl_rows_set(struct bpfctl *bpfctl, const __u64 *cookies,
	const struct hm_flow *flows, const struct hm_control *controls, __u32 count);
/* Makes or (for HM_USERSPACE rows) updates many, in one system call. What does not fit is left
 * out. */
void bpfctl_flows_set(
	struct bpfctl *bpfctl, const __u64 *cookies, const struct hm_flow *flows, __u32 count);
/* Returns 0 or -ENOENT. */
MUST_USE int bpfctl_flow_get(struct bpfctl *bpfctl, __u64 cookie, struct hm_flow *ret_flow);
/* Replaces the row at once: the program sees all of it or nothing. */
MUST_USE int bpfctl_control_set(
	struct bpfctl *bpfctl, __u64 cookie, const struct hm_control *control);
/* Removes the row; nothing to remove is fine. */
void bpfctl_flow_remove(struct bpfctl *bpfctl, __u64 cookie);
/* The same, and says what it was. Returns 0 or -ENOENT. */
MUST_USE int bpfctl_flow_take(struct bpfctl *bpfctl, __u64 cookie, struct hm_flow *ret_flow);
void bpfctl_controls_remove(struct bpfctl *bpfctl, const __u64 *cookies, __u32 count);

/* What arrives at the source with this cookie goes to fd. Only ESTABLISHED TCP sockets; Returns 0
 * or -errno (-EOPNOTSUPP: not established, kernel TLS, ...). */
MUST_USE int bpfctl_target_add(struct bpfctl *bpfctl, __u64 source_cookie, int fd);
/* From now on the program sees what fd receives. */
MUST_USE int bpfctl_source_add(struct bpfctl *bpfctl, __u64 cookie, int fd);
/* Takes both out; what the kernel still holds for the target is lost. */
void bpfctl_sockets_remove(struct bpfctl *bpfctl, __u64 cookie);

/* Readable (EPOLLIN) when a worker has events. Borrowed. */
int bpfctl_events_fd(const struct bpfctl *bpfctl, unsigned worker);
typedef void bpfctl_event_fn(void *arg, const struct hm_event *event);
void bpfctl_events_consume(struct bpfctl *bpfctl, unsigned worker, bpfctl_event_fn *fn, void *arg);

/* Calls fn for every row of a worker, from a few system calls. Rows that come and go meanwhile
 * may or may not be seen. Returns 0 or -errno. */
typedef void bpfctl_scan_fn(void *arg, __u64 cookie, const struct hm_flow *flow);
MUST_USE int bpfctl_scan(struct bpfctl *bpfctl, unsigned worker, bpfctl_scan_fn *fn, void *arg);

#endif
