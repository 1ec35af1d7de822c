// SPDX-License-Identifier: Apache-2.0
/*
 * What the light node answers: as much of IMAP and of SMTP submission as Homing, HAProxy, nginx and
 * Dovecot say as proxies, and the load generator as a client. Every credential is good.
 */
#include "lightnode.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define CAPABILITY "CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN ID IDLE LITERAL+"
#define WRITE_SIZE 131072

static bool greet_smtp(struct conn *conn)
{
	return conn_say(conn, "220 light ESMTP\r\n");
}

bool talk_greet(struct conn *conn)
{
	return node_submission ? greet_smtp(conn)
			       : conn_say(conn, "* OK [" CAPABILITY "] light\r\n");
}

/* Our direction ends properly, then all of it. */
static bool leave(struct conn *conn)
{
	(void)!stream_shutdown(&conn->stream);
	return false;
}

static bool is(const char *word, const char *other)
{
	return strcasecmp(word, other) == 0;
}

/* ---- IMAP ---- */

/* True if the line ends in a literal's length; what it announces is swallowed. */
static bool take_literal(struct conn *conn, const char *line, bool *ret_wait)
{
	const char *brace = strrchr(line, '{');
	char *end;

	if (!brace)
		return false;
	conn->swallow = strtoull(brace + 1, &end, 10);
	*ret_wait = *end != '+';
	if (strcmp(end + (*end == '+'), "}") == 0)
		return true;
	conn->swallow = 0;
	return false;
}

static bool send_bulk(struct conn *conn, const char *args, bool numbered)
{
	unsigned long long bytes = 0, size = 0;

	if (sscanf(args, "%llu %llu", &bytes, &size) != 2 || !size || size > PEER_SCRATCH)
		return false;
	conn->answer = (struct answer){
		.body = bytes, .write_size = (uint32_t)size, .numbered = numbered
	};
	snprintf(conn->answer.tail, sizeof(conn->answer.tail), "%s OK BULK\r\n", conn->tag);
	return conn_send_answer(conn);
}

static bool uid(struct conn *conn, const char *args)
{
	unsigned long long n;
	struct answer *a = &conn->answer;

	if (sscanf(args, "FETCH %llu", &n) != 1)
		return conn_sayf(conn, "%s OK UID\r\n", conn->tag);
	*a = (struct answer){ .body = n, .write_size = WRITE_SIZE };
	snprintf(a->head, sizeof(a->head), "* %llu FETCH (UID %llu BODY[] {%llu}\r\n", n, n, n);
	snprintf(a->tail, sizeof(a->tail), ")\r\n%s OK FETCH\r\n", conn->tag);
	return conn_send_answer(conn);
}

static bool await(struct conn *conn, enum awaited what, const char *prompt)
{
	conn->awaited = what;
	return conn_say(conn, prompt);
}

static bool login_done(struct conn *conn)
{
	return node_submission ? conn_say(conn, "235 2.7.0 in\r\n")
			       : conn_sayf(conn, "%s OK [" CAPABILITY "] in\r\n", conn->tag);
}

static bool start_notify(struct conn *conn, const char *args)
{
	unsigned long long count;
	double rate;

	if (sscanf(args, "%llu %lf", &count, &rate) != 2 || !(rate > 0))
		return conn_sayf(conn, "%s BAD NOTIFY count rate\r\n", conn->tag);
	return notify_start(conn, count, rate);
}

/* A command is complete; args is what was on its last line. */
static bool run_imap(struct conn *conn, const char *args)
{
	const char *verb = conn->verb;

	if (is(verb, "NOOP"))
		return conn_sayf(conn, "%s OK NOOP\r\n", conn->tag);
	if (is(verb, "UID"))
		return uid(conn, args);
	if (is(verb, "LOGIN"))
		return login_done(conn);
	if (is(verb, "AUTHENTICATE"))
		return strchr(args, ' ') ? login_done(conn) : await(conn, A_RESPONSE, "+ \r\n");
	if (is(verb, "IDLE")) {
		idle_enter(conn);
		return await(conn, A_DONE, "+ idling\r\n");
	}
	if (is(verb, "CAPABILITY"))
		return conn_sayf(conn, "* " CAPABILITY "\r\n%s OK CAPABILITY\r\n", conn->tag);
	if (is(verb, "ID"))
		return conn_sayf(conn, "* ID NIL\r\n%s OK ID\r\n", conn->tag);
	if (is(verb, "LOGOUT"))
		return conn_sayf(conn, "* BYE light\r\n%s OK LOGOUT\r\n", conn->tag) && leave(conn);
	if (is(verb, "BULK") || is(verb, "CHECK"))
		return send_bulk(conn, args, is(verb, "CHECK"));
	if (is(verb, "PUSH"))
		return (conn->push_left = strtoull(args, NULL, 10)) > 0;
	if (is(verb, "NOTIFY"))
		return start_notify(conn, args);
	return conn_sayf(conn, "%s OK %s\r\n", conn->tag, verb);
}

static bool imap_command(struct conn *conn, const char *line)
{
	bool wait = false;
	int at = 0;

	if (conn->awaited == A_COMMAND &&
		(sscanf(line, "%31s %15s %n", conn->tag, conn->verb, &at) < 2))
		return conn_say(conn, "* BAD no command\r\n");
	conn->awaited = A_COMMAND;
	if (!take_literal(conn, line, &wait))
		return run_imap(conn, line + at);
	conn->awaited = A_REST;
	return !wait || conn_say(conn, "+ go on\r\n");
}

static bool imap_line(struct conn *conn, const char *line)
{
	switch (conn->awaited) {
	case A_RESPONSE:
		conn->awaited = A_COMMAND;
		return login_done(conn);
	case A_DONE:
		conn->awaited = A_COMMAND;
		idle_leave(conn);
		return is(line, "DONE") && conn_sayf(conn, "%s OK IDLE\r\n", conn->tag);
	default:
		return imap_command(conn, line);
	}
}

/* ---- submission ---- */

static bool authenticate(struct conn *conn, const char *args)
{
	char mechanism[16] = "", response[16] = "";

	sscanf(args, "%15s %15s", mechanism, response);
	if (is(mechanism, "LOGIN"))
		return await(conn, response[0] ? A_PASSWORD : A_RESPONSE,
			response[0] ? "334 UGFzc3dvcmQ6\r\n" : "334 VXNlcm5hbWU6\r\n");
	if (!is(mechanism, "PLAIN"))
		return conn_say(conn, "504 5.5.4 what\r\n");
	return response[0] ? login_done(conn) : await(conn, A_PASSWORD, "334 \r\n");
}

static bool smtp_command(struct conn *conn, const char *line)
{
	char verb[16] = "";
	int at = 0;

	sscanf(line, "%15s %n", verb, &at);
	if (is(verb, "EHLO"))
		return conn_say(conn,
			"250-light\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
			"250 AUTH PLAIN LOGIN\r\n");
	if (is(verb, "AUTH"))
		return authenticate(conn, line + at);
	if (is(verb, "XCLIENT"))
		return greet_smtp(conn);
	if (is(verb, "QUIT"))
		return conn_say(conn, "221 2.0.0 bye\r\n") && leave(conn);
	return conn_say(conn, "250 2.0.0 ok\r\n");
}

static bool smtp_line(struct conn *conn, const char *line)
{
	switch (conn->awaited) {
	case A_RESPONSE: /* the name of AUTH LOGIN */
		return await(conn, A_PASSWORD, "334 UGFzc3dvcmQ6\r\n");
	case A_PASSWORD: /* or all of AUTH PLAIN */
		conn->awaited = A_COMMAND;
		return login_done(conn);
	default:
		return smtp_command(conn, line);
	}
}

bool talk_line(struct conn *conn, const char *line)
{
	return node_submission ? smtp_line(conn, line) : imap_line(conn, line);
}
