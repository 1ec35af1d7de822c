// SPDX-License-Identifier: Apache-2.0
/*
 * A homingd beside a node, as the agent of routers (handoff.md): three kinds of connections come to
 * its port, or are made there.
 *
 *     knock -> TLS -> channel                  a router's worker, with many logins (channels.c)
 *     knock -> token                           a data connection, which joins its session (knock.c)
 *     OPEN -> dial -> tunnel -> splice -> ...  a login, which is a session of its own (tunnel.c)
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "handoff/channel.h"
#include "session/kind.h"

/* ---- knock.c: the first bytes of a connection ---- */

void agent_knock_enter(struct session *session);
void agent_knock_progress(struct session *session);
void agent_knock_deadline(struct session *session);

/* ---- channels.c ---- */

void agent_channel_enter(struct session *session);
/* The router stops, or asks it to: no new logins, and the end with the last one. */
void agent_channel_end_after(struct session *session, enum session_reason reason);
/* A reload may have taken its listener away, or other routers may come now: no new logins. */
void agent_channel_followed(struct session *session);
void agent_channel_refuse(struct session *session, enum session_reason reason);
void agent_channel_release(struct session *session);

/* ---- tunnel.c ---- */

/* A login that a router has asked for; answers on the channel if it cannot be had. channel: of its
 * session, which says what may come. */
void agent_login(struct session *of_channel, struct channel *channel, uint32_t id,
	const struct handoff_open *open);
/* A data connection with a token of this worker's has come; fd is taken over. */
void agent_join(struct session_pool *pool, uint64_t handle, int fd);

#endif
