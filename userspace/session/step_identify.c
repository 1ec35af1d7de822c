// SPDX-License-Identifier: Apache-2.0
/*
 * identify: from the credential to the account (SES-33, SES-40, mapping.md sections 2 and 3).
 * A rejected identifier gets the auth-failure reply, counts as an attempt, and is never looked
 * up (MAP-14).
 */
#include "session/session.h"

#include <stdlib.h>

static void rejected(struct session *session)
{
	int r;

	session_wipe_credential(session);
	session_auth_failed(session, AUTH_MALFORMED);
	r = session->login->front_ops->reply(
		session->login->front, FRONT_REPLY_AUTH_FAILED, &session->login->out);
	session_phase_start(session);
	session_restart_preauth(session);
	session_after_reply(session, r);
}

void session_step_identify(struct session *session)
{
	const struct config *config = session->snapshot->config;
	const struct identity_rules *rules = &config->identity_rules;
	const struct proto_credential *credential = session->login->credential;
	struct view message = buf_view(&credential->message);
	struct view authcid =
		view_make(message.data + credential->authcid_at, credential->authcid_len);
	struct view authzid =
		view_make(message.data + credential->authzid_at, credential->authzid_len);
	struct identity identity;

	if (!identity_authzid_ok(rules, authzid, authcid) ||
		identity_login(rules, authcid, &identity) < 0) {
		rejected(session);
		return;
	}
	free(session->account);
	session->account = view_dup(view_make(identity.account, identity.len));
	if (!session->account) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	session_step_hold(session);
}
