// SPDX-License-Identifier: Apache-2.0
/*
 * The node leg of a session between the lookup and the splice: private to session/.
 * A dial is one window of backend_timeout: attempts, each of which resolves the name and tries
 * its addresses in turn; then PROXY header, TLS, and the node's dialogue by the protocol's back.
 */
#ifndef SESSION_DIAL_H
#define SESSION_DIAL_H

#include "net/connect.h"
#include "session/session.h"

#define DIAL_SAID_BYTES 120

struct dial {
	struct session *session;
	const struct config_leg *settings;
	struct tls_client *tls; /* borrowed from the snapshot; NULL on a plain leg */
	bool probe;             /* this session is the breaker's probe: report once */
	bool entered;           /* the breaker awaits a report */
	bool secured;           /* TLS to the node is up */
	bool over;              /* its leg waits for the relay: nothing is read from the node */
	bool in_login; /* the credential goes out: what the node says from now on is not shown */
	unsigned retries_left;
	uint64_t window_ends_ms;

	/* Of the attempt under way. Idle: the pause between two. Up: the back talks. */
	struct connect connect;
	struct leg leg;
	struct timer timer; /* the pause, or what the node said has to settle */
	struct timer turn;  /* more of what the node said is read in the next batch */
	const struct back_ops *back_ops;
	struct back *back;
	struct back_forward forward;
	char client_ip[ADDR_TEXT_SIZE], local_ip[ADDR_TEXT_SIZE], id[SESSION_ID_SIZE];
	char host[ADDR_TEXT_SIZE];
	char said[DIAL_SAID_BYTES + 1]; /* the line that made it fail */
};

/* How an attempt failed (SES-46, section 8.1). */
struct dial_fault {
	enum session_reason reason;
	/* Counts only until the node has proved alive; HEALTH_NONE: not the node's fault either. */
	enum health_event event;
	bool retryable;
	int error; /* -errno, or STREAM_EOF: the node closed; says the cause if there is none */
	const char *cause; /* in words, till the call returns; NULL: error says it */
};

/* Logs it, with a hint at the usual mistake, and keeps it for /destinations (OPS-13). */
void dial_note_failure(struct session *session, const struct dial_fault *fault);
/* What the node said that made it fail: its first line, printable, cut. */
void dial_take_said(struct dial *dial, struct view said);
/* Whether an error is the router's own lack of ports, descriptors or memory; says so if it is. */
bool dial_is_shortage(struct session *session, int error);

/* One report to the breaker per session that entered. */
void dial_report(struct session *session, enum health_event event);
void dial_failed(struct session *session, struct dial_fault fault);
/* Ends what there is of the leg; the window and the addresses stay. */
void dial_close_leg(struct dial *dial);
/* The relay is to take the leg: login->node_leg. */
void dial_hand_over(struct session *session);
/* Starts TLS on the connected leg. */
void dial_start_tls(struct session *session);
/* When the leg is up: after what was read and sent. */
void dial_update_watch(struct dial *dial);

#endif
