// SPDX-License-Identifier: Apache-2.0
#include "control/ban_note.h"

#include <errno.h>
#include <stdio.h>

const char *ban_note_format(const struct ban_note *note, char text[BAN_NOTE_BYTES])
{
	const char *router = *note->router ? note->router : "-";

	if (note->lifted)
		snprintf(text, BAN_NOTE_BYTES, "lift %s", router);
	else
		snprintf(text, BAN_NOTE_BYTES, "ban %s %s %s%s%s", router,
			guard_reason_name(note->reason), note->told ? "told" : "net",
			*note->text ? " " : "", note->text);
	return text;
}

static struct view take_word(struct view *text)
{
	struct view word = *text;
	const char *blank = text->len ? memchr(text->data, ' ', text->len) : NULL;

	if (blank)
		word.len = (size_t)(blank - text->data);
	*text = view_skip(*text, word.len + (blank != NULL));
	return word;
}

/* A reason that a later version has is none that we know. */
static enum guard_reason reason_of(struct view word)
{
	for (int i = 0; i < GUARD_REASONS; i++) {
		if (view_eq(word, view_str(guard_reason_name((enum guard_reason)i))))
			return (enum guard_reason)i;
	}
	return GUARD_FOR_ORDER;
}

int ban_note_parse(struct view text, struct ban_note *ret_note)
{
	struct view kind = take_word(&text), router = take_word(&text);

	*ret_note = (struct ban_note){ .lifted = view_eq(kind, VIEW_LIT("lift")),
		.reason = GUARD_FOR_ORDER };
	if ((!ret_note->lifted && !view_eq(kind, VIEW_LIT("ban"))) ||
		router.len >= sizeof(ret_note->router))
		return -EINVAL;
	memcpy(ret_note->router, router.data, router.len);
	ret_note->reason = reason_of(take_word(&text));
	ret_note->told = view_eq(take_word(&text), VIEW_LIT("told"));
	if (text.len < sizeof(ret_note->text) && view_is_plain_text(text))
		memcpy(ret_note->text, text.data, text.len);
	return 0;
}
