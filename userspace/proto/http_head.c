// SPDX-License-Identifier: Apache-2.0
/* HTTP/1.x request heads, strictly. */
#include "proto/http_internal.h"

#define METHOD_BYTES 32

/* ---- request line ---- */

static int parse_version(struct view v, bool *ret_http10)
{
	*ret_http10 = view_eq(v, VIEW_LIT("HTTP/1.0"));
	if (*ret_http10 || view_eq(v, VIEW_LIT("HTTP/1.1")))
		return 0;
	if (v.len == 8 && view_starts(v, VIEW_LIT("HTTP/")) && v.data[5] >= '0' &&
		v.data[5] <= '9' && v.data[6] == '.' && v.data[7] >= '0' && v.data[7] <= '9')
		return 505;
	return 400;
}

static int parse_request_line(struct http_head *head, struct view line)
{
	const char *first = line.len ? memchr(line.data, ' ', line.len) : NULL, *second;
	struct view rest;
	int r;

	if (!first)
		return 400;
	head->method = view_make(line.data, (size_t)(first - line.data));
	rest = view_skip(line, head->method.len + 1);
	second = rest.len ? memchr(rest.data, ' ', rest.len) : NULL;
	if (!second || !http_is_token(head->method) || head->method.len > METHOD_BYTES)
		return 400;
	head->target = view_make(rest.data, (size_t)(second - rest.data));
	r = parse_version(view_skip(rest, head->target.len + 1), &head->is_http10);
	if (r)
		return r;
	if (!head->target.len)
		return 400;
	for (size_t i = 0; i < head->target.len; i++) {
		unsigned char c = (unsigned char)head->target.data[i];

		if (c <= 0x20 || c == 0x7f || c == '#')
			return 400;
	}
	return view_eq(head->method, VIEW_LIT("CONNECT")) ? 405 : 0;
}

static int check_host(const struct http_head *head, bool optional)
{
	const struct http_field *host;
	size_t count;

	host = http_head_field(head, "Host", &count);
	if (!count && (optional || head->is_http10))
		return 0;
	if (count != 1)
		return 400;
	for (size_t i = 0; i < host->value.len; i++) {
		if (host->value.data[i] <= ' ' || strchr("/@#", host->value.data[i]))
			return 400;
	}
	return 0;
}

static int check_expect(struct http_head *head)
{
	const struct http_field *expect;
	size_t count;

	expect = http_head_field(head, "Expect", &count);
	if (!expect || head->is_http10) /* RFC 9110 section 10.1.1: ignored in 1.0 */
		return 0;
	if (count != 1 || !view_eq_nocase(expect->value, VIEW_LIT("100-continue")))
		return 417;
	head->expects_continue = true;
	return 0;
}

/* HTTP-21: absolute form becomes origin form. */
static int check_target(struct http_head *head)
{
	struct view target = head->target, authority;
	const struct http_field *host = http_head_field(head, "Host", NULL);
	const char *end;
	size_t scheme;

	if (target.data[0] == '/')
		return 0;
	if (view_eq(target, VIEW_LIT("*")))
		return view_eq(head->method, VIEW_LIT("OPTIONS")) ? 0 : 400;
	scheme = view_starts_nocase(target, VIEW_LIT("http://"))   ? 7
		: view_starts_nocase(target, VIEW_LIT("https://")) ? 8
								   : 0;
	if (!scheme)
		return 400;
	authority = view_skip(target, scheme);
	for (end = authority.data;
		end < authority.data + authority.len && *end != '/' && *end != '?';)
		end++;
	authority.len = (size_t)(end - authority.data);
	if (!authority.len || !host || !view_eq_nocase(authority, host->value))
		return 400;
	head->target = view_skip(target, scheme + authority.len);
	if (!head->target.len) /* RFC 9112 section 3.2.4 */
		head->target =
			view_eq(head->method, VIEW_LIT("OPTIONS")) ? VIEW_LIT("*") : VIEW_LIT("/");
	else if (head->target.data[0] != '/')
		return 400; /* "http://host?query" has no origin form without making one up */
	return 0;
}

/* With a body, or asked for twice, it is an ordinary request that goes on without the upgrade. */
static bool is_websocket(const struct http_head *head, bool upgrade)
{
	const struct http_field *field;
	size_t count;

	field = http_head_field(head, "Upgrade", &count);
	return upgrade && !head->is_http10 && count == 1 &&
		view_eq_nocase(field->value, VIEW_LIT("websocket")) &&
		view_eq(head->method, VIEW_LIT("GET")) && !head->content_length &&
		head->framing != HTTP_CHUNKED;
}

/* RFC 9112 section 6.1: whoever speaks 1.0 may not know the coding, and reads another message. */
static int check_old(struct http_head *head)
{
	if (!head->is_http10)
		return 0;
	head->wants_close = true;
	return http_head_field(head, "Transfer-Encoding", NULL) ? 400 : 0;
}

static int check_fields(struct http_head *head, bool hostless)
{
	bool upgrade = false;
	int r = check_host(head, hostless);

	if (!r)
		r = http_check_message(head, &upgrade);
	if (!r)
		r = check_old(head);
	if (!r)
		r = check_expect(head);
	if (!r)
		r = check_target(head);
	head->wants_websocket = is_websocket(head, upgrade);
	return r;
}

/* A refusal that does not need the whole head is given early, in the order of the bytes. */
int http_head_parse(struct http_head *head, struct view in, const struct http_limits *limits)
{
	struct view text;
	long end;
	int r;

	if (view_starts(in, VIEW_LIT("\r\n\r\n")))
		return 400; /* more than one empty line in front */
	end = http_find_end(head, in);
	if (end < 0)
		return 400;
	if (!end)
		return in.len >= limits->head_bytes ? 431 : HTTP_HEAD_MORE;
	if ((size_t)end > limits->head_bytes)
		return 431;
	text = view_make(in.data, (size_t)end - 2);
	if (view_starts(text, VIEW_LIT("\r\n")))
		text = view_skip(text, 2);
	r = parse_request_line(head, http_take_line(&text));
	if (!r)
		r = http_parse_fields(head, text, limits->fields);
	if (!r)
		r = check_fields(head, limits->hostless);
	head->length = (size_t)end;
	return r ? r : HTTP_HEAD_DONE;
}
