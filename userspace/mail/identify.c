// SPDX-License-Identifier: Apache-2.0
/*
 * identify: from the credential to the account (SES-33, SES-40, mapping.md sections 2 and 3).
 * A rejected identifier gets the auth-failure reply, counts as an attempt, and is never looked
 * up (MAP-14). And what a trusted peer said of the client by XCLIENT or ID (SES-61, SES-63).
 */
#include "mail/identify.h"
#include "mail/penalty.h"
#include "identity/token.h"

#include <errno.h>
#include <stdlib.h>

static void rejected(struct session *session)
{
	int r;

	session_wipe_credential(session);
	session_auth_failed(session, AUTH_MALFORMED, false);
	r = session->kind->front->reply(
		session->login->front, FRONT_REPLY_AUTH_FAILED, &session->login->leg.out);
	session_phase_start(session);
	session_restart_preauth(session);
	mail_answered(session, r, false);
}

/* A login name, or -ENOENT: only the token may tell, and it does not (SES-41). */
static int login_name(const struct session *session, struct buf *ret_login)
{
	const struct proto_credential *credential = session->login->credential;
	struct view name = proto_credential_login(credential);
	int r;

	if (name.len)
		return buf_append_view(ret_login, name);
	r = identity_token(session->snapshot->config->oauth_jwt_username_claim,
		view_make(buf_view(&credential->message).data + credential->token_at,
			credential->token_len),
		ret_login);
	return r > 0 ? -ENOENT : r;
}

/* No identity at all: the default node, without an account (SES-41, MAP-15). */
static void nobody(struct session *session)
{
	free(session->account);
	session->account = NULL;
	session->choice = CHOICE_DEFAULT;
	session_set_node_name(session, session->snapshot->config->routing.default_destination);
	session_set_state(session, S_DIAL);
}

/* SES-33: who acts for somebody else is routed as that account; the node judges whether it may. */
static int identify(const struct session *session, struct view login, struct identity *ret_identity)
{
	const struct proto_credential *credential = session->login->credential;
	struct view message = buf_view(&credential->message);

	return identity_plain(&session->snapshot->config->identity_rules,
		view_make(message.data + credential->authzid_at, credential->authzid_len), login,
		ret_identity);
}

void session_identify(struct session *session)
{
	CLEANUP(buf_fini) struct buf login;
	struct identity identity;
	int r;

	buf_init(&login, IDENTITY_LOGIN_BYTES, false);
	r = login_name(session, &login);
	if (r == -ENOENT) {
		nobody(session);
		return;
	}
	if (r == -ENOBUFS || (r == 0 && identify(session, buf_view(&login), &identity) < 0)) {
		rejected(session);
		return;
	}
	free(session->account);
	session->account = r == 0 ? view_dup(view_make(identity.account, identity.len)) : NULL;
	if (!session->account) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	session_set_state(session, S_HOLD);
}

/* ---- what a trusted peer says ---- */

/* Whether it was said. */
static bool take_address(struct addr *addr, const char *text, uint16_t port)
{
	struct addr parsed;

	if (!*text || addr_parse_ip(view_str(text), port, &parsed) < 0)
		return false;
	addr_unmap(&parsed);
	*addr = parsed;
	return true;
}

bool session_take_peer(struct session *session)
{
	struct login *login = session->login;
	const struct front_peer *peer = session->kind->front->peer(login->front);

	if (!login->trusted)
		return true;
	if (*peer->session) {
		free(session->via);
		session->via = view_dup(view_str(peer->session));
	}
	if (!login->proxied) {
		(void)session_local(session); /* what the peer does not say stays */
		if (take_address(&session->client, peer->addr, peer->port))
			session->told = true;
		(void)take_address(&login->local, peer->dest_addr, peer->dest_port);
	}
	if (!peer->has_ttl)
		return true;
	login->ttl = (uint8_t)peer->ttl;
	if (login->ttl > 1)
		return true;
	session_unavailable(session, REASON_LOOP);
	return false;
}
