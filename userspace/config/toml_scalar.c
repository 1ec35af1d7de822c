// SPDX-License-Identifier: Apache-2.0
/* TOML numbers, booleans, dates and times. A scalar is one run of bytes up to a delimiter. */
#include "config/toml_parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define SCALAR_MAX_BYTES 4096

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_delimiter(int c)
{
	return c < 0 || c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ']' ||
		c == '}' || c == '#';
}

/* ---- dates and times (RFC 3339 as TOML 1.0 takes it) ---- */

/* n digits as a number, or -1. */
static int digits(struct view v, size_t at, size_t n)
{
	int value = 0;

	if (at + n > v.len)
		return -1;
	for (size_t i = at; i < at + n; i++) {
		if (!is_digit(v.data[i]))
			return -1;
		value = value * 10 + (v.data[i] - '0');
	}
	return value;
}

static bool is_at(struct view v, size_t at, char c)
{
	return at < v.len && v.data[at] == c;
}

static bool date_ok(struct view v)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = digits(v, 0, 4), month = digits(v, 5, 2), day = digits(v, 8, 2), last;

	if (year < 0 || month < 1 || month > 12 || !is_at(v, 4, '-') || !is_at(v, 7, '-'))
		return false;
	last = days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		last = 29;
	return day >= 1 && day <= last;
}

/* HH:MM:SS with an optional fraction; *ret_len is its length. */
static bool time_ok(struct view v, size_t *ret_len)
{
	int hour = digits(v, 0, 2), minute = digits(v, 3, 2), second = digits(v, 6, 2);
	size_t n = 8;

	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
		!is_at(v, 2, ':') || !is_at(v, 5, ':'))
		return false;
	if (is_at(v, n, '.')) {
		size_t start = ++n;

		while (n < v.len && is_digit(v.data[n]))
			n++;
		if (n == start)
			return false;
	}
	*ret_len = n;
	return true;
}

static bool offset_ok(struct view v)
{
	int hour, minute;

	if (v.len == 1)
		return v.data[0] == 'Z' || v.data[0] == 'z';
	hour = digits(v, 1, 2);
	minute = digits(v, 4, 2);
	return v.len == 6 && (v.data[0] == '+' || v.data[0] == '-') && v.data[3] == ':' &&
		hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59;
}

/* Returns the type, or -1. */
static int classify_date(struct view v)
{
	size_t n;

	if (v.len >= 3 && v.data[2] == ':')
		return time_ok(v, &n) && n == v.len ? TOML_TIME_LOCAL : -1;
	if (!date_ok(v))
		return -1;
	if (v.len == 10)
		return TOML_DATE_LOCAL;
	if (v.data[10] != 'T' && v.data[10] != 't' && v.data[10] != ' ')
		return -1;
	if (!time_ok(view_skip(v, 11), &n))
		return -1;
	if (v.len == 11 + n)
		return TOML_DATETIME_LOCAL;
	return offset_ok(view_skip(v, 11 + n)) ? TOML_DATETIME : -1;
}

static bool read_date(struct toml_parser *parser, struct view text, struct toml_value *value)
{
	int type = classify_date(text);
	char *copy;

	if (type < 0)
		return toml_fail(parser, "invalid date or time");
	copy = toml_alloc(parser, text.len + 1);
	if (!copy)
		return false;
	memcpy(copy, text.data, text.len);
	if (text.len > 10 && type != TOML_TIME_LOCAL)
		copy[10] = 'T';
	if (copy[text.len - 1] == 'z')
		copy[text.len - 1] = 'Z';
	value->type = (enum toml_type)type;
	value->string = view_make(copy, text.len);
	return true;
}

/* ---- numbers ---- */

static int digit_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* Digits of a base with single underscores between them. */
static bool digits_ok(struct view v, int base)
{
	bool after_digit = false;

	for (size_t i = 0; i < v.len; i++) {
		if (v.data[i] == '_') {
			if (!after_digit)
				return false;
			after_digit = false;
		} else {
			if (digit_value(v.data[i]) >= base)
				return false;
			after_digit = true;
		}
	}
	return after_digit;
}

static bool read_integer(
	struct toml_parser *parser, struct view text, int base, bool negative, int64_t *ret_value)
{
	int64_t value = 0;

	if (!digits_ok(text, base))
		return toml_fail(parser, "invalid number");
	for (size_t i = 0; i < text.len; i++) {
		int digit = digit_value(text.data[i]);

		if (text.data[i] == '_')
			continue;
		if (__builtin_mul_overflow(value, (int64_t)base, &value) ||
			(negative ? __builtin_sub_overflow(value, (int64_t)digit, &value)
				  : __builtin_add_overflow(value, (int64_t)digit, &value)))
			return toml_fail(parser, "integer does not fit 64 bits");
	}
	*ret_value = value;
	return true;
}

/* digits [ "." digits ] [ "e" [sign] digits ], the first without leading zeros. */
static bool float_ok(struct view v)
{
	size_t n = 0, start;
	bool fraction = false;

	while (n < v.len && v.data[n] != '.' && v.data[n] != 'e' && v.data[n] != 'E')
		n++;
	if (!digits_ok(view_make(v.data, n), 10) || (n > 1 && v.data[0] == '0'))
		return false;
	if (is_at(v, n, '.')) {
		start = ++n;
		while (n < v.len && v.data[n] != 'e' && v.data[n] != 'E')
			n++;
		fraction = digits_ok(view_make(v.data + start, n - start), 10);
		if (!fraction)
			return false;
	}
	if (n == v.len)
		return fraction;
	n++;
	if (n < v.len && (v.data[n] == '+' || v.data[n] == '-'))
		n++;
	return digits_ok(view_skip(v, n), 10);
}

static bool read_float(
	struct toml_parser *parser, struct view text, bool negative, struct toml_value *value)
{
	char copy[SCALAR_MAX_BYTES + 1];
	size_t n = 0;

	if (!float_ok(text))
		return toml_fail(parser, "invalid value");
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] != '_')
			copy[n++] = text.data[i];
	}
	copy[n] = '\0';
	value->type = TOML_FLOAT;
	value->real = strtod(copy, NULL); /* the process stays in the C locale */
	if (negative)
		value->real = -value->real;
	return true;
}

static bool read_number(struct toml_parser *parser, struct view text, struct toml_value *value)
{
	bool sign = text.len && (text.data[0] == '+' || text.data[0] == '-');
	bool negative = sign && text.data[0] == '-';
	struct view body = view_skip(text, sign ? 1 : 0);

	value->type = TOML_INTEGER;
	if (view_eq(body, VIEW_LIT("inf")) || view_eq(body, VIEW_LIT("nan"))) {
		value->type = TOML_FLOAT;
		value->real = body.data[0] == 'i' ? HUGE_VAL : NAN;
		if (negative)
			value->real = -value->real;
		return true;
	}
	if (!sign && body.len > 2 && body.data[0] == '0') {
		int base = body.data[1] == 'x' ? 16
			: body.data[1] == 'o'  ? 8
			: body.data[1] == 'b'  ? 2
					       : 0;

		if (base)
			return read_integer(
				parser, view_skip(body, 2), base, false, &value->integer);
	}
	if (!digits_ok(body, 10))
		return read_float(parser, body, negative, value);
	if (body.len > 1 && body.data[0] == '0')
		return toml_fail(parser, "number with a leading zero");
	return read_integer(parser, body, 10, negative, &value->integer);
}

/* The run of bytes of one scalar; a blank belongs to it between a date and a time. */
static struct view scalar_text(const struct toml_parser *parser)
{
	struct view rest = view_make(parser->at, (size_t)(parser->end - parser->at));
	size_t n = 0;

	while (n < rest.len && !is_delimiter((unsigned char)rest.data[n]))
		n++;
	if (n == 10 && rest.data[4] == '-' && is_at(rest, 10, ' ') && rest.len > 11 &&
		is_digit(rest.data[11])) {
		for (n = 11; n < rest.len && !is_delimiter((unsigned char)rest.data[n]);)
			n++;
	}
	return view_make(rest.data, n);
}

/* Begins as no value of TOML but a string does: a word, a path, an address, a duration. */
static bool is_word(struct view text)
{
	static const struct view keywords[] = { VIEW_LIT("true"), VIEW_LIT("false"),
		VIEW_LIT("inf"), VIEW_LIT("nan") };
	char c = ascii_lower(text.data[0]);
	size_t digits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keywords); i++) {
		if (view_eq(text, keywords[i]))
			return false;
	}
	while (digits < text.len && is_digit(text.data[digits]))
		digits++;
	if (digits &&
		digits < text.len) { /* 30s, 10.0.0.1, 993/tcp; not 0x1f, 1e5, 1_000, a date */
		c = ascii_lower(text.data[digits]);
		if (c == '.')
			return memchr(text.data + digits + 1, '.', text.len - digits - 1) ||
				memchr(text.data, ':', text.len);
		return (c >= 'a' && c <= 'z' && c != 'e' && c != 'x' && c != 'o' && c != 'b') ||
			c == '/';
	}
	return (c >= 'a' && c <= 'z') || c == '/' || c == '*' || c == '.' || c == '~';
}

bool toml_read_scalar(struct toml_parser *parser, struct toml_value *value)
{
	struct view text = scalar_text(parser);
	bool ok;

	if (!text.len)
		return toml_fail(parser, "expected a value");
	if (is_word(text))
		return toml_fail(parser, "invalid value: is it a string? then quote it: \"...\"");
	if (text.len > SCALAR_MAX_BYTES)
		return toml_fail(parser, "value is too long");
	if (view_eq(text, VIEW_LIT("true")) || view_eq(text, VIEW_LIT("false"))) {
		value->type = TOML_BOOL;
		value->boolean = text.data[0] == 't';
		ok = true;
	} else if (text.len >= 3 && is_digit(text.data[0]) &&
		(text.data[2] == ':' || is_at(text, 4, '-'))) {
		ok = read_date(parser, text, value);
	} else {
		ok = read_number(parser, text, value);
	}
	if (ok)
		parser->at += text.len;
	return ok;
}
