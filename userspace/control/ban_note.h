// SPDX-License-Identifier: Apache-2.0
/*
 * What routers write to their store of a ban (GRD-8), as people may write it too:
 *
 *     ban ROUTER REASON net|told TEXT...      ban - order net port scan
 *     lift ROUTER
 *
 * ROUTER is 16 hex digits that a process has drawn, or "-". What is missing at the end is "order",
 * "net" and no text.
 */
#ifndef CONTROL_BAN_NOTE_H
#define CONTROL_BAN_NOTE_H

#include "guard/guard.h"

#define BAN_NOTE_BYTES 160
#define BAN_NOTE_ROUTER 17

struct ban_note {
	bool lifted;
	char router[BAN_NOTE_ROUTER];
	enum guard_reason reason;
	bool told;
	char text[GUARD_TEXT_SIZE];
};

/* Returns text. */
const char *ban_note_format(const struct ban_note *note, char text[BAN_NOTE_BYTES]);
/* A text that no terminal should see is left out. Returns 0 or -EINVAL. */
MUST_USE int ban_note_parse(struct view text, struct ban_note *ret_note);

#endif
