// SPDX-License-Identifier: Apache-2.0
/* Any lines as SASL responses of each mechanism: what is complete lies within its message. */
#include "proto/sasl.h"

#include <stdlib.h>

static bool within(const struct proto_credential *c, size_t at, size_t len)
{
	return at <= c->message.len && len <= c->message.len - at;
}

static void check(const struct sasl_exchange *exchange)
{
	const struct proto_credential *c = &exchange->credential;

	if (!within(c, c->authcid_at, c->authcid_len) ||
		!within(c, c->authzid_at, c->authzid_len) || !within(c, c->token_at, c->token_len))
		abort();
	if (!view_is_utf8(proto_credential_login(c)))
		abort();
	if (c->mech == SASL_PLAIN && !c->authcid_len)
		abort();
	if (c->mech >= SASL_OAUTHBEARER && !c->token_len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sasl_exchange exchange;
	struct view rest = view_make((const char *)data, size);
	int step;

	if (!size)
		return 0;
	sasl_exchange_init(&exchange);
	step = sasl_exchange_start(&exchange, (enum sasl_mech)(data[0] % SASL_MECHS));
	rest = view_skip(rest, 1);
	while (step == SASL_PROMPT_EMPTY || step == SASL_PROMPT_USER ||
		step == SASL_PROMPT_PASSWORD) {
		const char *newline = rest.len ? memchr(rest.data, '\n', rest.len) : NULL;
		size_t len = newline ? (size_t)(newline - rest.data) : rest.len;

		step = sasl_exchange_response(&exchange, view_make(rest.data, len));
		if (!newline)
			break;
		rest = view_skip(rest, len + 1);
	}
	if (step == SASL_DONE)
		check(&exchange);
	sasl_exchange_reset(&exchange);
	return 0;
}
