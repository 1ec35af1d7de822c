/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the bypass program and user space share. The row of a direction (struct hm_flow, path
 * HM_BYPASS) and what user space says of it (struct hm_control) are those of homing/flow.h; here is
 * the question by which a session's node is put in. Nothing of it is pinned.
 */
#ifndef HOMING_BYPASS_H
#define HOMING_BYPASS_H

#include <linux/types.h>

enum hm_bypass_map {
	HM_BYPASS_NODES, /* the map of the program that redirects */
	/* another one, for the trial of what happens to a socket that has one */
	HM_BYPASS_STRANGERS
};

enum hm_bypass_answer {
	HM_BYPASS_DONE,
	HM_BYPASS_MALFORMED,
	HM_BYPASS_NO_ROUTER_SOCKET, /* nobody has the connection's near end */
	HM_BYPASS_NO_TARGET,        /* the client's socket is not in the map */
	HM_BYPASS_NO_NODE,          /* the far end is not in this network namespace */
	HM_BYPASS_NOT_ITS_PEER,     /* it is, but talks to somebody else, or is ending */
	HM_BYPASS_REFUSED           /* by the map: `error` */
};

/* Is given to the program as a packet's data and comes back in it. */
struct hm_bypass_request {
	__u8 ethernet[14]; /* the kernel wants a header there; zero */
	__u8 family;       /* 4 or 6 */
	__u8 map;          /* enum hm_bypass_map */
	__u64 cookie;      /* of the router's socket of the node: the key of everything */
	/* Of the router's socket, network byte order. IPv4: the first word. */
	__u32 local_ip[4], remote_ip[4];
	__u16 local_port, remote_port;
	__s32 error; /* HM_BYPASS_REFUSED: -errno */
};

_Static_assert(sizeof(struct hm_bypass_request) == 64, "without holes");

#endif
