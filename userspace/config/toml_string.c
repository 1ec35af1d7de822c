// SPDX-License-Identifier: Apache-2.0
/* TOML strings: basic and literal, single- and multi-line, and their escapes. */
#include "config/toml_parse.h"

struct out {
	char *data;
	size_t len;
};

static void put_utf8(struct out *out, uint32_t c)
{
	if (c < 0x80) {
		out->data[out->len++] = (char)c;
	} else if (c < 0x800) {
		out->data[out->len++] = (char)(0xc0 | c >> 6);
		out->data[out->len++] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		out->data[out->len++] = (char)(0xe0 | c >> 12);
		out->data[out->len++] = (char)(0x80 | (c >> 6 & 0x3f));
		out->data[out->len++] = (char)(0x80 | (c & 0x3f));
	} else {
		out->data[out->len++] = (char)(0xf0 | c >> 18);
		out->data[out->len++] = (char)(0x80 | (c >> 12 & 0x3f));
		out->data[out->len++] = (char)(0x80 | (c >> 6 & 0x3f));
		out->data[out->len++] = (char)(0x80 | (c & 0x3f));
	}
}

static bool read_unicode(struct toml_parser *parser, int digits, struct out *out)
{
	uint32_t c = 0;

	for (int i = 0; i < digits; i++) {
		int h = toml_peek(parser);

		if (h >= '0' && h <= '9')
			h -= '0';
		else if (h >= 'a' && h <= 'f')
			h -= 'a' - 10;
		else if (h >= 'A' && h <= 'F')
			h -= 'A' - 10;
		else
			return toml_fail(parser, "expected a hexadecimal digit");
		c = c << 4 | (uint32_t)h;
		parser->at++;
	}
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return toml_fail(parser, "escape is not a Unicode scalar value");
	put_utf8(out, c);
	return true;
}

static bool take_newline(struct toml_parser *parser, struct out *out)
{
	if (*parser->at == '\r') {
		if (parser->at + 1 >= parser->end || parser->at[1] != '\n')
			return toml_fail(parser, "bare carriage return");
		parser->at++;
		if (out)
			out->data[out->len++] = '\r';
	}
	parser->at++;
	if (out)
		out->data[out->len++] = '\n';
	parser->line++;
	parser->line_start = parser->at;
	return true;
}

/* A backslash at the end of a line swallows all blanks and line ends up to the next text. */
static bool skip_folded(struct toml_parser *parser)
{
	bool newline = false;

	while (parser->at < parser->end) {
		char c = *parser->at;

		if (c == '\n' || c == '\r') {
			newline = true;
			if (!take_newline(parser, NULL))
				return false;
		} else if (c == ' ' || c == '\t') {
			parser->at++;
		} else {
			break;
		}
	}
	return newline || toml_fail(parser, "unknown escape");
}

static bool read_escape(struct toml_parser *parser, bool multiline, struct out *out)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	const char *known;
	int c;

	parser->at++;
	c = toml_peek(parser);
	if (multiline && (c == ' ' || c == '\t' || c == '\r' || c == '\n'))
		return skip_folded(parser);
	parser->at++;
	if (c == 'u')
		return read_unicode(parser, 4, out);
	if (c == 'U')
		return read_unicode(parser, 8, out);
	known = c > 0 ? strchr(from, c) : NULL;
	if (!known) {
		parser->at--;
		return toml_fail(parser, "unknown escape");
	}
	out->data[out->len++] = to[known - from];
	return true;
}

static bool starts_with_three(const struct toml_parser *parser, char quote)
{
	return parser->end - parser->at >= 3 && parser->at[0] == quote && parser->at[1] == quote &&
		parser->at[2] == quote;
}

/* At three quotes: up to two more belong to the text. */
static void close_multiline(struct toml_parser *parser, char quote, struct out *out)
{
	parser->at += 3;
	for (int i = 0; i < 2 && toml_peek(parser) == quote; i++) {
		out->data[out->len++] = quote;
		parser->at++;
	}
}

static bool read_body(struct toml_parser *parser, char quote, bool multiline, struct out *out)
{
	while (parser->at < parser->end) {
		unsigned char c = (unsigned char)*parser->at;

		if (c == (unsigned char)quote && !multiline) {
			parser->at++;
			return true;
		}
		if (c == (unsigned char)quote && starts_with_three(parser, quote)) {
			close_multiline(parser, quote, out);
			return true;
		}
		if (c == '\\' && quote == '"') {
			if (!read_escape(parser, multiline, out))
				return false;
		} else if (multiline && (c == '\n' || c == '\r')) {
			if (!take_newline(parser, out))
				return false;
		} else if ((c < 0x20 && c != '\t') || c == 0x7f) {
			return toml_fail(parser, "control character in a string");
		} else {
			out->data[out->len++] = (char)c;
			parser->at++;
		}
	}
	return toml_fail(parser, "string is not closed");
}

/* Bytes that a string starting here can have at most: up to its last possible closing quote. */
static size_t longest(const struct toml_parser *parser, char quote, bool multiline)
{
	const char *p = parser->at;

	for (; p < parser->end; p++) {
		if (*p == '\\' && quote == '"')
			p++;
		else if (!multiline && (*p == quote || *p == '\n'))
			break;
		else if (multiline && *p == quote && parser->end - p >= 3 && p[1] == quote &&
			p[2] == quote)
			break;
	}
	return (size_t)(MIN(p, parser->end) - parser->at) + 3;
}

bool toml_read_string(struct toml_parser *parser, bool allow_multiline, struct view *ret_string)
{
	char quote = *parser->at;
	bool multiline = allow_multiline && starts_with_three(parser, quote);
	struct out out = { 0 };

	parser->at += multiline ? 3 : 1;
	if (multiline && parser->at < parser->end && *parser->at == '\n') {
		if (!take_newline(parser, NULL))
			return false;
	} else if (multiline && parser->end - parser->at >= 2 && parser->at[0] == '\r' &&
		parser->at[1] == '\n') {
		if (!take_newline(parser, NULL))
			return false;
	}
	out.data = toml_alloc(parser, longest(parser, quote, multiline) + 1);
	if (!out.data || !read_body(parser, quote, multiline, &out))
		return false;
	*ret_string = view_make(out.data, out.len);
	return true;
}
