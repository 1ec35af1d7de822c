// SPDX-License-Identifier: Apache-2.0
/* A list of parameters (RFC 9110 section 11.4), of which three matter. Nothing else is checked: the
 * response is the node's to judge. */
#include "route/digest.h"

#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct view skip_blanks(struct view v)
{
	while (v.len && is_blank(v.data[0]))
		v = view_skip(v, 1);
	return v;
}

/* The run in front that has none of the characters that separate; it may be empty. */
static struct view take_word(struct view *text)
{
	size_t n = 0;

	while (n < text->len && !is_blank(text->data[n]) && !memchr(",=\"", text->data[n], 3))
		n++;
	*text = view_skip(*text, n);
	return view_make(text->data - n, n);
}

/* Behind the first quote: the text, its escapes left in. Returns false if it has no end. */
static bool take_quoted(struct view *text, struct view *ret_value)
{
	size_t n = 0;

	while (n < text->len && text->data[n] != '"')
		n += text->data[n] == '\\' ? 2 : 1;
	if (n >= text->len)
		return false;
	*ret_value = view_make(text->data, n);
	*text = view_skip(*text, n + 1);
	return true;
}

struct param {
	struct view name, value;
	bool quoted;
};

/* Returns false when it is not well-formed. */
static bool take_param(struct view *text, struct param *ret_param)
{
	struct view rest = *text;

	ret_param->name = take_word(&rest);
	rest = skip_blanks(rest);
	if (!ret_param->name.len || !rest.len || rest.data[0] != '=')
		return false;
	rest = skip_blanks(view_skip(rest, 1));
	ret_param->quoted = rest.len && rest.data[0] == '"';
	if (ret_param->quoted) {
		rest = view_skip(rest, 1);
		if (!take_quoted(&rest, &ret_param->value))
			return false;
	} else {
		ret_param->value = take_word(&rest);
		if (!ret_param->value.len)
			return false;
	}
	*text = skip_blanks(rest);
	return !text->len || text->data[0] == ',';
}

static int put_plain(struct param param, struct buf *name)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < param.value.len; i++) {
		if (param.quoted && param.value.data[i] == '\\')
			i++; /* take_quoted() has seen that one follows */
		r = buf_append(name, param.value.data + i, 1);
	}
	return r;
}

/* RFC 8187 section 3.2: UTF-8'language'%41...; no other character set is asked for by RFC 7616. */
static int put_extended(struct view value, struct buf *name)
{
	const char *quote;
	int r = 0;

	if (!view_starts_nocase(value, VIEW_LIT("UTF-8'")))
		return DIGEST_NOTHING;
	value = view_skip(value, strlen("UTF-8'"));
	quote = value.len ? memchr(value.data, '\'', value.len) : NULL;
	if (!quote)
		return DIGEST_NOTHING;
	value = view_skip(value, (size_t)(quote - value.data) + 1);
	while (r == 0 && value.len) {
		int c = view_take_percent(&value);

		if (c < 0)
			return DIGEST_NOTHING;
		r = buf_append(name, &(char){ (char)c }, 1);
	}
	return r;
}

int digest_username(struct view params, struct buf *name)
{
	struct param param, plain = { 0 }, extended = { 0 };
	unsigned names = 0;
	bool hashed = false;

	for (;;) {
		while (params.len && (is_blank(params.data[0]) || params.data[0] == ','))
			params = view_skip(params, 1);
		if (!params.len)
			break;
		if (!take_param(&params, &param))
			return DIGEST_NOTHING;
		if (view_eq_nocase(param.name, VIEW_LIT("username")))
			plain = param;
		else if (view_eq_nocase(param.name, VIEW_LIT("username*")))
			extended = param;
		else {
			hashed |= view_eq_nocase(param.name, VIEW_LIT("userhash")) &&
				view_eq_nocase(param.value, VIEW_LIT("true"));
			continue;
		}
		names++;
	}
	if (names > 1) /* section 3.4: one or the other */
		return DIGEST_AMBIGUOUS;
	if (!names || hashed)
		return DIGEST_NOTHING;
	return plain.name.len ? put_plain(plain, name) : put_extended(extended.value, name);
}
