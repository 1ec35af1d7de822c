// SPDX-License-Identifier: Apache-2.0
/* A front of IMAP as the tests of its conversations want it. */
#ifndef TESTS_IMAP_FRONT_H
#define TESTS_IMAP_FRONT_H

#include "dialogue/dialogue.h"

/* What there is beside a secure leg of any peer with PLAIN and LOGIN. */
#define PLAIN_LEG 1 /* credentials are not permitted, STARTTLS is offered */
#define TRUSTED 2
#define OAUTH 4 /* OAUTHBEARER and XOAUTH2 as well */

#define PRIVACY " NO [PRIVACYREQUIRED] TLS is required before authentication.\r\n"

static inline struct front *make(int flags)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER,
		SASL_XOAUTH2 };
	struct front_params params = { .host = "h",
		.banner = "b",
		.capabilities = "X Y",
		.mechs = mechs,
		.mech_count = flags & OAUTH ? 4 : 2,
		.offer_starttls = flags & PLAIN_LEG,
		.permit_auth = !(flags & PLAIN_LEG),
		.trusted = flags & TRUSTED,
		.max_attempts = 3 };
	struct front *front;

	assert_int_equal(imap_front_ops.create(&params, &front), 0);
	return front;
}

#endif
