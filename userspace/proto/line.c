// SPDX-License-Identifier: Apache-2.0
/* Lines and words. */
#include "proto/line.h"

int line_take(struct line_scan *scan, struct view in, size_t limit, size_t *ret_consumed,
	struct view *ret_line)
{
	size_t from = MIN(scan->at, in.len);
	const char *newline = in.len > from ? memchr(in.data + from, '\n', in.len - from) : NULL;
	size_t len = newline ? (size_t)(newline - in.data) : in.len;

	if (scan->discard) {
		*ret_consumed = newline ? len + 1 : in.len;
		scan->discard = !newline;
		return newline ? LINE_DROPPED : LINE_MORE;
	}
	/* A CR may still be cut off. */
	if (len > limit + 1 || (newline && line_chomp(view_make(in.data, len)).len > limit)) {
		*ret_consumed = newline ? len + 1 : in.len;
		scan->at = 0;
		scan->discard = !newline;
		return LINE_TOO_LONG;
	}
	if (!newline) {
		scan->at = in.len;
		return LINE_MORE;
	}
	scan->at = 0;
	*ret_line = view_make(in.data, len);
	*ret_consumed = len + 1;
	return LINE_DONE;
}

struct view line_chomp(struct view line)
{
	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	return line;
}

struct view line_trim(struct view text)
{
	while (text.len && (text.data[0] == ' ' || text.data[0] == '\t'))
		text = view_skip(text, 1);
	while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
		text.len--;
	return text;
}

bool line_has_control(struct view line)
{
	for (size_t i = 0; i < line.len; i++) {
		unsigned char c = (unsigned char)line.data[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

bool line_ends_quoted(struct view line)
{
	bool quoted = false;

	for (size_t i = 0; i < line.len; i++) {
		if (quoted && line.data[i] == '\\')
			i++;
		else if (line.data[i] == '"')
			quoted = !quoted;
	}
	return quoted;
}

struct view line_word(struct view *rest)
{
	size_t len = 0;
	struct view word;

	while (len < rest->len && rest->data[len] != ' ')
		len++;
	word = view_make(rest->data, len);
	while (len < rest->len && rest->data[len] == ' ')
		len++;
	*rest = view_skip(*rest, len);
	return word;
}

bool line_starts_word(struct view text, const char *word)
{
	struct view w = view_str(word);

	return view_starts_nocase(text, w) && (text.len == w.len || text.data[w.len] == ' ');
}

bool line_of_node(struct view in, size_t *scanned, struct view *ret_line)
{
	const char *newline =
		in.len > *scanned ? memmem(in.data + *scanned, in.len - *scanned, "\r\n", 2) : NULL;

	if (!newline) {
		*scanned = in.len ? in.len - 1 : 0; /* a CR may be the last byte */
		return false;
	}
	*scanned = 0;
	*ret_line = view_make(in.data, (size_t)(newline - in.data));
	return true;
}

const char *oauth_error_answer(enum sasl_mech mech)
{
	switch (mech) {
	case SASL_OAUTHBEARER:
		return "AQ==";
	case SASL_XOAUTH2:
		return "";
	default:
		return NULL;
	}
}
