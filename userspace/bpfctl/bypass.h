// SPDX-License-Identifier: Apache-2.0
/*
 * The bypass program in the kernel: what a node on this host writes goes straight to the client's
 * socket (bpf/bypass.bpf.c). It works on rows, control rows and targets of the splice program, by
 * the same functions of bpfctl.h; here is what it has of its own, the sockets of nodes. Loaded
 * once, before privileges are dropped and threads start; the rest may be called from any thread,
 * without a capability. Nothing is pinned: all of it ends with the process, however that ends.
 */
#ifndef BPFCTL_BYPASS_H
#define BPFCTL_BYPASS_H

#include "bpfctl/bpfctl.h"
#include "homing/bypass.h"

#include <sys/socket.h>

struct bpfctl_bypass;

/* max_nodes: sessions at once. bpfctl outlives it. Returns 0 or -errno with the reason in error. */
MUST_USE int bpfctl_bypass_load(const struct bpfctl *bpfctl, unsigned max_nodes,
	struct bpfctl_bypass **ret_bypass, char error[BPFCTL_ERROR_SIZE]);
/* NULL is fine. */
void bpfctl_bypass_free(struct bpfctl_bypass *bypass);

/* > 0: the node's socket is not there to be had (another host, another network namespace) */
enum { BPFCTL_BYPASS_ELSEWHERE = 1 };

/*
 * Puts the other end of fd, a connected TCP socket, into the map. From now on what is written there
 * goes to the target of fd's cookie (bpfctl_target_add()), as its control row allows: `relayed`
 * counts from what had been read from fd by now. All of that must have been written to the target.
 * Returns 0, BPFCTL_BYPASS_*, or -errno (-EBUSY: another program has the node's socket).
 */
MUST_USE int bpfctl_bypass_add(struct bpfctl_bypass *bypass, __u64 cookie, int fd);
/* The node writes as without us; nothing to remove is fine. */
void bpfctl_bypass_remove(struct bpfctl_bypass *bypass, __u64 cookie);

/* For trials: another map, with a program of its own, has the other end of fd. As
 * bpfctl_bypass_add(). */
MUST_USE int bpfctl_bypass_occupy(struct bpfctl_bypass *bypass, __u64 cookie, int fd);

#endif
