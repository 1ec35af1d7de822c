// SPDX-License-Identifier: Apache-2.0
/* ManageSieve lines and tokens. */
#include "proto/sieve_parse.h"
#include "proto/line.h"

/* ---- lines ---- */

/* "{n}" or "{n+}" at the start of text. Returns its length or 0; too many digits saturate. */
static size_t literal_head(struct view text, size_t *ret_size)
{
	size_t i = 1, size = 0;

	if (text.len < 3 || text.data[0] != '{')
		return 0;
	for (; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
		if (size < UINT32_MAX)
			size = size * 10 + (size_t)(text.data[i] - '0');
	}
	if (i == 1)
		return 0;
	if (i < text.len && text.data[i] == '+')
		i++;
	if (i == text.len || text.data[i] != '}')
		return 0;
	*ret_size = size;
	return i + 1;
}

/* A literal announced at the end of a line: at its start, or behind a blank or a parenthesis;
 * "{n+}" is one wherever it stands outside quotes, or the octets of a command that cannot be read
 * would be run as commands. */
static bool announces_literal(struct view line, size_t *ret_size)
{
	const char *brace = line.len ? memrchr(line.data, '{', line.len) : NULL;
	size_t at;

	if (!brace)
		return false;
	at = (size_t)(brace - line.data);
	if (at && brace[-1] != ' ' && brace[-1] != '(' && line.data[line.len - 2] != '+')
		return false;
	return literal_head(view_skip(line, at), ret_size) == line.len - at &&
		!line_ends_quoted(view_make(line.data, at));
}

/* Moves scan->at behind the next line end; false if there is none before whole. */
static bool find_line_end(struct sieve_scan *scan, struct view in, size_t whole, bool crlf_only)
{
	while (scan->at < whole) {
		const char *newline = memchr(in.data + scan->at, '\n', whole - scan->at);
		bool cr;

		scan->at = newline ? (size_t)(newline - in.data) + 1 : whole;
		if (!newline)
			return false;
		cr = scan->at - scan->line_start >= 2 && newline[-1] == '\r';
		if (cr || !crlf_only) {
			scan->content = scan->at - 1 - cr;
			return true;
		}
	}
	return false;
}

static enum sieve_scan_result line_too_long(struct sieve_scan *scan)
{
	scan->at = scan->line_start;
	return SIEVE_SCAN_LINE_TOO_LONG;
}

enum sieve_scan_result sieve_scan(
	struct sieve_scan *scan, struct view in, const struct sieve_limits *limits)
{
	size_t whole = MIN(in.len, limits->whole);

	for (;;) {
		struct view line;
		size_t size;

		if (!find_line_end(scan, in, whole, limits->crlf_only)) {
			/* one byte more than the limit may be the CR of the line end */
			if (whole > scan->line_start && whole - scan->line_start > limits->line + 1)
				return line_too_long(scan);
			return in.len >= limits->whole ? SIEVE_SCAN_TOO_LONG : SIEVE_SCAN_MORE;
		}
		line = view_make(in.data + scan->line_start, scan->content - scan->line_start);
		if (line.len > limits->line)
			return line_too_long(scan);
		scan->lines++;
		if (!announces_literal(line, &size))
			return SIEVE_SCAN_DONE;
		if (size >= limits->whole - scan->at) /* a line end follows it at least */
			return SIEVE_SCAN_TOO_LONG;
		scan->at += size;
		scan->line_start = scan->at;
	}
}

/* ---- tokens ---- */

static bool is_atom_char(char c)
{
	return c > ' ' && c < '\x7f' && !strchr("\"(){}\\", c);
}

static enum sieve_token take_quoted(struct view *rest, struct view *ret_text)
{
	for (size_t i = 1; i < rest->len; i++) {
		char c = rest->data[i];

		if (c == '"') {
			*ret_text = view_make(rest->data + 1, i - 1);
			*rest = view_skip(*rest, i + 1);
			return SIEVE_QUOTED;
		}
		if (c == '\\') {
			i++;
			if (i == rest->len || (rest->data[i] != '"' && rest->data[i] != '\\'))
				return SIEVE_BAD;
		} else if (c == '\r' || c == '\n' || c == '\0') {
			return SIEVE_BAD;
		}
	}
	return SIEVE_BAD;
}

static enum sieve_token take_literal(struct view *rest, struct view *ret_text)
{
	size_t size, head = literal_head(*rest, &size);
	struct view text = view_skip(*rest, head);

	if (!head)
		return SIEVE_BAD;
	if (view_starts(text, VIEW_LIT("\r\n")))
		text = view_skip(text, 2);
	else if (view_starts(text, VIEW_LIT("\n")))
		text = view_skip(text, 1);
	else
		return SIEVE_BAD;
	if (size > text.len)
		return SIEVE_BAD;
	*ret_text = view_make(text.data, size);
	*rest = view_skip(text, size);
	return SIEVE_LITERAL;
}

static enum sieve_token take_atom(struct view *rest, struct view *ret_text)
{
	size_t n = 0;

	while (n < rest->len && is_atom_char(rest->data[n]))
		n++;
	*ret_text = view_make(rest->data, n);
	*rest = view_skip(*rest, n);
	return n ? SIEVE_ATOM : SIEVE_BAD;
}

enum sieve_token sieve_next(struct sieve_cursor *cursor, struct view *ret_text)
{
	struct view *rest = &cursor->rest;

	if (!rest->len)
		return SIEVE_END;
	if (cursor->started) {
		if (rest->data[0] != ' ')
			return SIEVE_BAD;
		while (rest->len && rest->data[0] == ' ')
			*rest = view_skip(*rest, 1);
		if (!rest->len)
			return SIEVE_END;
	}
	cursor->started = true;
	if (rest->data[0] == '"')
		return take_quoted(rest, ret_text);
	if (rest->data[0] == '{')
		return take_literal(rest, ret_text);
	return take_atom(rest, ret_text);
}

bool sieve_is_well_formed(struct sieve_cursor cursor)
{
	enum sieve_token token;
	struct view text;

	do
		token = sieve_next(&cursor, &text);
	while (token != SIEVE_END && token != SIEVE_BAD);
	return token == SIEVE_END;
}

char sieve_unescape(struct view *text)
{
	char c;

	if (text->data[0] == '\\' && text->len > 1)
		*text = view_skip(*text, 1);
	c = text->data[0];
	*text = view_skip(*text, 1);
	return c;
}
