// SPDX-License-Identifier: Apache-2.0
/*
 * The one line per finished session (sessions.md section 15) and the counters that must agree
 * with it. No secret is in reach here: the credential was wiped before.
 */
#include "session/kind.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdio.h>

const char *session_choice_name(enum session_choice choice)
{
	switch (choice) {
	case CHOICE_PIN:
		return "pin";
	case CHOICE_PASSTHROUGH:
		return "passthrough";
	default:
		return mapping_choice_name((enum mapping_choice)choice);
	}
}

void session_format_id(const struct session *session, char ret_id[SESSION_ID_SIZE])
{
	session_format_number(session->pool->router->instance, session->number, ret_id);
}

/* Bytes of the first two characters. */
static int two_characters(struct view account)
{
	size_t n = 0, starts = 0;

	while (n < account.len) {
		starts += ((unsigned char)account.data[n] & 0xc0) != 0x80; /* UTF-8 */
		if (starts > 2)
			break;
		n++;
	}
	return (int)n;
}

/* First 2 characters, ***#, first 8 hex digits of SHA-256 of the normalised account. */
void session_redact(struct view account, char *ret, size_t ret_size)
{
	unsigned char digest[TLS_SHA256_SIZE];

	tls_sha256(account, digest);
	snprintf(ret, ret_size, "%.*s***#%02x%02x%02x%02x", two_characters(account), account.data,
		digest[0], digest[1], digest[2], digest[3]);
}

/* Moves what the relay has carried since the last call into the counters. */
void session_fold(struct session *session)
{
	struct router *router = session->pool->router;

	for (int i = 0; i < 2; i++) {
		uint64_t now = relay_bytes(session->relay, (enum relay_direction)i);
		uint64_t more = now - session->bytes[i];
		int8_t path = (int8_t)relay_path_of(session->relay, (enum relay_direction)i);

		if (path != session->path[i] && session->counted_active) {
			atomic_fetch_sub(&router->paths[session->path[i]][i].active, 1);
			atomic_fetch_add(&router->paths[path][i].active, 1);
			atomic_fetch_add(&router->paths[path][i].started, 1);
			session->path[i] = path;
		}

		if (!more)
			continue;
		session->bytes[i] = now;
		atomic_fetch_add(
			i == RELAY_UP ? &session->node->bytes_up : &session->node->bytes_down,
			more);
		atomic_fetch_add(&router->paths[session->path[i]][i].bytes, more);
	}
}

static void log_phases(struct log_line *line, const struct session *session)
{
	static const char *const keys[] = { "ms_tls", "ms_dialogue", "ms_hold", "ms_lookup",
		"ms_dial", "ms_replay" };

	static_assert(ARRAY_SIZE(keys) == PHASES, "a key for each");
	for (int i = 0; i < PHASES; i++) {
		if (session->phase_ms[i] >= 0)
			log_int(line, keys[i], session->phase_ms[i]);
	}
	log_int(line, "ms_total", (int64_t)(clock_mono_ms() - session->accepted_ms));
}

const char *session_shown_account(
	const struct session *session, char text[SESSION_ACCOUNT_TEXT_SIZE])
{
	if (!session->account || session->pool->snapshot->config->server.log_accounts_full)
		return session->account;
	session_redact(view_str(session->account), text, SESSION_ACCOUNT_TEXT_SIZE);
	return text;
}

void session_log(struct session *session)
{
	char id[SESSION_ID_SIZE], client[ADDR_TEXT_SIZE], tls[80];
	char account[SESSION_ACCOUNT_TEXT_SIZE];
	struct log_line line UNINITIALIZED;

	log_start(&line, LOGL_INFO, "session");
	session_format_id(session, id);
	log_str(&line, "id", id);
	if (session->via)
		log_str(&line, "via", session->via);
	log_str(&line, "proto", protocol_name(session->settings->protocol));
	log_str(&line, "listener", session->settings->name);
	log_str(&line, "client", addr_format(&session->client, client));
	snprintf(tls, sizeof(tls), "%s/%s", session->tls_version ? session->tls_version : "",
		session->tls_cipher ? session->tls_cipher : "");
	log_str(&line, "tls", session->tls_version ? tls : NULL);
	if (session->tls_at_agent)
		log_str(&line, "tls_at", "agent");
	else if (session->kept)
		log_str(&line, "tls_kept", node_keep_name((enum node_keep)session->kept));
	log_str(&line, "account", session_shown_account(session, account));
	log_str(&line, "mech",
		session->mech >= 0 ? sasl_mech_name((enum sasl_mech)session->mech) : NULL);
	log_int(&line, "attempts", session->attempts);
	log_str(&line, "node", session->node ? session->node->name : NULL);
	log_str(&line, "route",
		session->choice >= 0 ? session_choice_name((enum session_choice)session->choice)
				     : NULL);
	if (session->phase_ms[PHASE_LOOKUP] >= 0)
		log_str(&line, "cache", session->cache_hit ? "hit" : "miss");
	log_str(&line, "path_up", relay_path_name((enum relay_path)session->path[RELAY_UP]));
	log_str(&line, "path_down", relay_path_name((enum relay_path)session->path[RELAY_DOWN]));
	log_int(&line, "bytes_up", (int64_t)session->bytes[RELAY_UP]);
	log_int(&line, "bytes_down", (int64_t)session->bytes[RELAY_DOWN]);
	if (session->kind->by_request)
		log_int(&line, "requests", session->requests);
	log_phases(&line, session);
	log_str(&line, "reason", session_reason_name(session->reason));
	log_end(&line);
}
