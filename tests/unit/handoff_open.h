// SPDX-License-Identifier: Apache-2.0
/* What a router asks an agent for. */
#ifndef UNIT_HANDOFF_OPEN_H
#define UNIT_HANDOFF_OPEN_H

#include "unit.h"
#include "handoff/frame.h"

/* account: borrowed. */
static inline struct handoff_open an_open(struct view account)
{
	struct handoff_open open = { .protocol = HANDOFF_IMAP,
		.tls_version = 0x0304,
		.tls_suite = 0x1301,
		.session = "H1-1",
		.account = account };

	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:1"), &open.client), 0);
	open.local = open.client;
	return open;
}

#endif
