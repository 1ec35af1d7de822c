// SPDX-License-Identifier: Apache-2.0
/* IMAP command scanning and arguments. */
#include "proto/imap_parse.h"
#include "proto/line.h"

#include <stdlib.h>

static bool is_atom_char(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '(' && c != ')' && c != '{' && c != '%' && c != '*' &&
		c != '"' && c != '\\';
}

/* What servers take in an argument that is neither quoted nor a literal. */
static bool is_argument_char(unsigned char c)
{
	return c > 0x20 && c != 0x7f && c != '(' && c != ')' && c != '{' && c != '"';
}

static bool is_tag_char(unsigned char c)
{
	return is_atom_char(c) && c != '+';
}

enum literal { LITERAL_NONE, LITERAL_SYNC, LITERAL_NONSYNC };

/*
 * A literal announced at the end of a line: "{n}" or "{n+}". Too many digits saturate. Behind
 * "{n+}" the octets come at once, so it announces them wherever it stands outside quotes, or those
 * of a command that cannot be read would be run as commands. Before "{n}" they wait for an answer:
 * where no literal can stand the command is refused instead.
 */
static enum literal find_literal(struct view line, size_t *ret_size)
{
	enum literal kind = LITERAL_SYNC;
	size_t end, i, size = 0;
	char before;

	if (line.len < 4 || line.data[line.len - 1] != '}')
		return LITERAL_NONE;
	end = line.len - 1;
	if (line.data[end - 1] == '+') {
		kind = LITERAL_NONSYNC;
		end--;
	}
	for (i = end; i > 0 && line.data[i - 1] >= '0' && line.data[i - 1] <= '9'; i--)
		;
	if (i == end || i < 2 || line.data[i - 1] != '{')
		return LITERAL_NONE;
	before = line.data[i - 2];
	if (kind == LITERAL_SYNC && before != ' ' && before != '(' && before != '~')
		return LITERAL_NONE;
	if (line_ends_quoted(view_make(line.data, i - 1)))
		return LITERAL_NONE;
	for (; i < end; i++) {
		if (size < UINT32_MAX)
			size = size * 10 + (size_t)(line.data[i] - '0');
	}
	*ret_size = size;
	return kind;
}

enum imap_scan_result imap_scan(struct imap_scan *scan, struct view in, size_t limit)
{
	size_t whole = MIN(in.len, limit);

	for (;;) {
		const char *newline = scan->at < whole
			? memchr(in.data + scan->at, '\n', whole - scan->at)
			: NULL;
		enum literal kind;
		struct view line;
		size_t size;

		if (!newline) {
			scan->at = MAX(scan->at, whole);
			return in.len >= limit ? IMAP_SCAN_TOO_LONG : IMAP_SCAN_MORE;
		}
		scan->at = (size_t)(newline - in.data) + 1;
		line = view_make(in.data + scan->line_start, scan->at - 1 - scan->line_start);
		if (line.len && line.data[line.len - 1] == '\r')
			line.len--;
		kind = find_literal(line, &size);
		if (kind == LITERAL_NONE)
			return IMAP_SCAN_DONE;
		if (kind == LITERAL_SYNC &&
			(size > IMAP_ARGUMENT_BYTES || scan->at + size + 2 > limit))
			return IMAP_SCAN_LITERAL_TOO_LONG;
		if (scan->at + size + 2 > limit)
			return IMAP_SCAN_TOO_LONG;
		scan->literal_at = scan->at;
		scan->literal_size = size;
		scan->at += size;
		scan->line_start = scan->at;
		if (kind == LITERAL_SYNC)
			return IMAP_SCAN_LITERAL;
	}
}

static bool take_run(struct imap_cursor *cursor, size_t limit, bool (*takes)(unsigned char c),
	struct view *ret_run)
{
	size_t n = 0;

	while (n < cursor->rest.len && takes((unsigned char)cursor->rest.data[n]))
		n++;
	if (!n || n > limit)
		return false;
	*ret_run = view_make(cursor->rest.data, n);
	cursor->rest = view_skip(cursor->rest, n);
	return true;
}

bool imap_take_tag(struct imap_cursor *cursor, struct view *ret_tag)
{
	return take_run(cursor, 128, is_tag_char, ret_tag);
}

bool imap_take_atom(struct imap_cursor *cursor, struct view *ret_atom)
{
	return take_run(cursor, IMAP_ARGUMENT_BYTES, is_atom_char, ret_atom);
}

bool imap_take_response(struct imap_cursor *cursor, struct view *ret_response)
{
	return take_run(cursor, SIZE_MAX, is_atom_char, ret_response);
}

bool imap_take_space(struct imap_cursor *cursor)
{
	if (!cursor->rest.len || cursor->rest.data[0] != ' ')
		return false;
	while (cursor->rest.len && cursor->rest.data[0] == ' ')
		cursor->rest = view_skip(cursor->rest, 1);
	return true;
}

bool imap_at_end(const struct imap_cursor *cursor)
{
	struct imap_cursor end = *cursor;

	(void)imap_take_space(&end);
	return view_eq(end.rest, VIEW_LIT("\r\n")) || view_eq(end.rest, VIEW_LIT("\n"));
}

static bool take_quoted(struct imap_cursor *cursor, char *scratch, struct view *ret_string)
{
	size_t n = 0;

	for (size_t i = 1; i < cursor->rest.len; i++) {
		char c = cursor->rest.data[i];

		if (c == '"') {
			cursor->rest = view_skip(cursor->rest, i + 1);
			*ret_string = view_make(scratch, n);
			return true;
		}
		if (c == '\\') {
			if (++i >= cursor->rest.len)
				return false;
			/* Of any byte, as other servers take it: clients escape too much. */
			c = cursor->rest.data[i];
		}
		if (c == '\r' || c == '\n' || n == IMAP_ARGUMENT_BYTES)
			return false;
		scratch[n++] = c;
	}
	return false;
}

/* At "{": the scan has checked that the literal is whole. */
static bool take_literal(struct imap_cursor *cursor, struct view *ret_string)
{
	const char *newline = memchr(cursor->rest.data, '\n', cursor->rest.len);
	struct view line, rest;
	size_t size = 0, i = 1;

	if (!newline)
		return false;
	line = view_make(cursor->rest.data, (size_t)(newline - cursor->rest.data));
	rest = view_skip(cursor->rest, line.len + 1);
	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	for (; i < line.len && line.data[i] >= '0' && line.data[i] <= '9' && size <= rest.len; i++)
		size = size * 10 + (size_t)(line.data[i] - '0');
	if (i == 1 ||
		!(view_eq(view_skip(line, i), VIEW_LIT("}")) ||
			view_eq(view_skip(line, i), VIEW_LIT("+}"))))
		return false;
	if (size > rest.len || size > IMAP_ARGUMENT_BYTES)
		return false;
	*ret_string = view_make(rest.data, size);
	cursor->rest = view_skip(rest, size);
	return true;
}

bool imap_take_astring(struct imap_cursor *cursor, char *scratch, struct view *ret_string)
{
	if (!cursor->rest.len)
		return false;
	if (cursor->rest.data[0] == '"')
		return take_quoted(cursor, scratch, ret_string);
	if (cursor->rest.data[0] == '{')
		return take_literal(cursor, ret_string);
	return take_run(cursor, IMAP_ARGUMENT_BYTES, is_argument_char, ret_string);
}
