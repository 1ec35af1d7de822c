// SPDX-License-Identifier: Apache-2.0
/*
 * The three ways of a connection as tables of cells, and the kinds of listeners as rows: what a new
 * protocol begins with. This file alone knows all steps; a session is given
 * its row when it is accepted.
 */
#include "worker/kinds.h"
#include "agent/agent.h"
#include "delivery/delivery.h"
#include "http/cells.h"
#include "mail/handover.h"
#include "mail/mail.h"
#include "session/steps.h"

#include <assert.h>

/* Before the kind's own way begins, and when it is over. */
#define COMMON_BEFORE                              \
	[S_PROXY] = { .enter = step_proxy_enter,   \
		.progress = step_proxy_progress,   \
		.deadline = step_proxy_deadline }, \
	[S_TLS] = { .enter = step_tls_enter,       \
		.progress = step_tls_progress,     \
		.deadline = step_preauth_deadline }
#define COMMON_BEHIND                                          \
	[S_ESTABLISHED] = { .enter = step_established_enter }, \
	[S_FLUSH] = { .enter = step_flush_enter,               \
		.progress = step_flush_progress,               \
		.deadline = step_peer_deadline },              \
	[S_LINGER] = { .enter = step_linger_enter,             \
		.progress = step_linger_progress,              \
		.client = step_linger_client,                  \
		.deadline = step_linger_deadline }
#define COMMON_CELLS                                      \
	COMMON_BEFORE,                                    \
		[S_SPLICE] = { .enter = session_run,      \
			.progress = step_splice_progress, \
			.deadline = step_peer_deadline }, \
		COMMON_BEHIND

/* To the node, or to its agent. */
static void mail_splice_progress(struct session *session)
{
	if (session->login->handover)
		handover_progress(session);
	else
		step_splice_progress(session);
}

static const struct session_cell mail_cells[SESSION_STATE_COUNT] = {
	COMMON_BEFORE,
	[S_SPLICE] = { .enter = session_run,
		.progress = mail_splice_progress,
		.deadline = step_peer_deadline },
	COMMON_BEHIND,
	[S_STARTTLS] = { .enter = session_run,
		.progress = step_starttls_progress,
		.deadline = step_preauth_deadline },
	[S_DIALOGUE] = { .enter = step_dialogue_enter,
		.progress = step_dialogue_progress,
		.client = step_dialogue_client,
		.deadline = step_dialogue_deadline },
	[S_HOLD] = { .enter = step_hold_enter },
	[S_LOOKUP] = { .enter = step_lookup_enter, .deadline = step_lookup_deadline },
	[S_DIAL] = { .enter = step_dial_enter, .deadline = step_dial_deadline },
	[S_REPLAY] = { .enter = step_replay_enter, .deadline = step_replay_deadline },
	[S_PENALTY] = { .enter = step_penalty_enter, .deadline = step_penalty_deadline },
};

static const struct session_cell passthrough_cells[SESSION_STATE_COUNT] = {
	COMMON_CELLS,
	[S_DIAL] = { .enter = step_dial_enter, .deadline = step_dial_deadline },
};

/* In these HTTP moves the client leg itself. */
#define HTTP_CELL .progress = http_run, .client = http_client_event, .watch = http_update_watch

static const struct session_cell http_cells[SESSION_STATE_COUNT] = {
	COMMON_CELLS,
	[S_FIRST_HEAD] = { HTTP_CELL, .enter = http_begin, .step = http_head_step,
		.deadline = http_first_head_deadline },
	[S_IDLE] = { HTTP_CELL, .enter = http_request_clear, .step = http_idle_step,
		.deadline = http_idle_deadline },
	[S_HEAD] = { HTTP_CELL, .enter = http_head_begin, .step = http_head_step,
		.deadline = http_head_deadline },
	[S_EXTRACT] = { HTTP_CELL, .enter = http_extract_enter, .step = http_extract_step,
		.deadline = http_head_deadline },
	[S_HOLD] = { HTTP_CELL, .enter = step_hold_enter, .step = http_watch_step },
	[S_LOOKUP] = { HTTP_CELL, .enter = step_lookup_enter, .step = http_watch_step,
		.deadline = step_lookup_deadline },
	[S_DIAL] = { HTTP_CELL, .enter = step_dial_enter, .step = http_watch_step,
		.deadline = step_dial_deadline },
	[S_PENALTY] = { HTTP_CELL, .enter = http_request_clear, .step = http_watch_step,
		.deadline = http_penalty_deadline },
	[S_EXCHANGE] = { .progress = http_run,
		.client = http_client_event,
		.watch = http_exchange_watch,
		.enter = http_exchange_enter,
		.step = http_exchange_step,
		.deadline = http_exchange_deadline },
};

/* The logins on a channel are sessions of their own (agent/tunnel.c). */
static const struct session_cell agent_cells[SESSION_STATE_COUNT] = {
	COMMON_CELLS,
	[S_KNOCK] = { .enter = agent_knock_enter,
		.progress = agent_knock_progress,
		.deadline = agent_knock_deadline },
	[S_CHANNEL] = { .enter = agent_channel_enter },
};

/* Dovecot 2.3 overlooks a command on an implicit TLS port of ManageSieve that arrives within
 * microseconds of the answer before it (the greeting, XCLIENT's, a challenge): it has been
 * decrypted by then, and no event tells. So what a command may follow is not looked at before it
 * has rested; the verdict may. */
static bool sieve_rests(struct view said, bool in_login)
{
	return !in_login || !said.len || said.data[0] == '"' || said.data[0] == '{';
}

#define MAIL_KIND                                                                     \
	.cells = mail_cells, .first = S_DIALOGUE, .connected = step_replay_connected, \
	.node_event = step_replay_event, .node_down = step_replay_down,               \
	.node_step = step_replay_step, .talk_bytes = sizeof(struct replay),           \
	.refuse = step_mail_refuse, .offer = handover_offer, .release = handover_release

#define PASSTHROUGH_KIND                                                              \
	.cells = passthrough_cells, .first = S_DIAL, .begin = step_passthrough_begin, \
	.connected = step_passthrough_connected, .line = step_passthrough_line,       \
	.refuse = step_passthrough_refuse

const struct session_kind session_kinds[] = {
	[PROTOCOL_IMAP] = { MAIL_KIND, .alpn = { .id = "imap" }, .front = &imap_front_ops,
		.back = &imap_back_ops },
	[PROTOCOL_POP3] = { MAIL_KIND, .alpn = { .id = "pop3" }, .front = &pop3_front_ops,
		.back = &pop3_back_ops },
	[PROTOCOL_MANAGESIEVE] = { MAIL_KIND, .alpn = { .id = "managesieve" },
		.front = &sieve_front_ops, .back = &sieve_back_ops,
		.greets_after_tls = true, /* RFC 5804 section 2.2 */
		.rests = sieve_rests },
	[PROTOCOL_SUBMISSION] = { MAIL_KIND, .front = &smtp_front_ops, .back = &smtp_back_ops },
	[PROTOCOL_SMTP] = { PASSTHROUGH_KIND },
	[PROTOCOL_LMTP] = { PASSTHROUGH_KIND },
	[PROTOCOL_HTTP] = { .cells = http_cells,
		.first = S_FIRST_HEAD,
		.alpn = { .id = "http/1.1", .required = true },
		.client_first = true,
		.by_request = true,
		.found = http_found,
		.connected = http_connected,
		.refuse = http_refuse,
		.kicked = http_kicked,
		.end_after = http_end_after,
		.node_stream = http_node_stream,
		.release = http_release },
	[PROTOCOL_HANDOFF] = { .cells = agent_cells,
		.first = S_CHANNEL,
		.alpn = { .id = HANDOFF_ALPN, .required = true },
		.client_first = true,
		.knocks = true,
		.no_guard = true,
		.refuse = agent_channel_refuse,
		.end_after = agent_channel_end_after,
		.followed = agent_channel_followed,
		.release = agent_channel_release },
};
static_assert(ARRAY_SIZE(session_kinds) == PROTOCOLS, "a row for each");
