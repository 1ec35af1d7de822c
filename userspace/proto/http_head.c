// SPDX-License-Identifier: Apache-2.0
/* HTTP/1.1 request heads, strictly. */
#include "proto/http_head.h"

#define METHOD_BYTES 32

static bool is_token_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		if (!is_token_char((unsigned char)v.data[i]))
			return false;
	}
	return v.len > 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct view trim(struct view v)
{
	while (v.len && is_blank(v.data[0]))
		v = view_skip(v, 1);
	while (v.len && is_blank(v.data[v.len - 1]))
		v.len--;
	return v;
}

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 417, "Expectation Failed" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Error";
}

/* ---- finding the end ---- */

/* Looks for the empty line, and refuses bare CR and bare LF as soon as they are seen (HTTP-11).
 * Returns the length of the head, 0 for "more", or -1. */
static long find_end(struct http_head *head, struct view in)
{
	for (size_t i = head->scanned; i < in.len; i++) {
		head->scanned = i;
		if (in.data[i] == '\n' && (i == 0 || in.data[i - 1] != '\r'))
			return -1;
		if (in.data[i] != '\r')
			continue;
		if (i + 1 == in.len)
			return 0; /* looked at again with the next byte */
		if (in.data[i + 1] != '\n')
			return -1;
		if (i >= 2 && in.data[i - 1] == '\n' && in.data[i - 2] == '\r' && i > 2)
			return (long)i + 2;
	}
	head->scanned = in.len;
	return 0;
}

/* ---- request line ---- */

static int parse_version(struct view v)
{
	if (view_eq(v, VIEW_LIT("HTTP/1.1")))
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
	if (!second || !is_token(head->method) || head->method.len > METHOD_BYTES)
		return 400;
	head->target = view_make(rest.data, (size_t)(second - rest.data));
	r = parse_version(view_skip(rest, head->target.len + 1));
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

/* ---- fields ---- */

static int parse_field(struct http_head *head, struct view line, size_t limit)
{
	const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
	struct http_field field;

	if (!colon || is_blank(line.data[0]))
		return 400; /* also obs-fold */
	field.name = view_make(line.data, (size_t)(colon - line.data));
	field.value = trim(view_skip(line, field.name.len + 1));
	if (!is_token(field.name))
		return 400; /* also a blank before the colon */
	for (size_t i = 0; i < field.value.len; i++) {
		unsigned char c = (unsigned char)field.value.data[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return 400;
	}
	if (head->field_count >= limit)
		return 431;
	head->fields[head->field_count++] = field;
	return 0;
}

const struct http_field *http_head_field(
	const struct http_head *head, const char *name, size_t *ret_count)
{
	const struct http_field *found = NULL;
	size_t count = 0;

	for (size_t i = 0; i < head->field_count; i++) {
		if (!view_eq_nocase(head->fields[i].name, view_str(name)))
			continue;
		if (!found)
			found = &head->fields[i];
		count++;
	}
	if (ret_count)
		*ret_count = count;
	return found;
}

/* Calls fn for each element of a comma-separated field, all fields of the name together. */
typedef void element_fn(void *arg, struct view element);
static void each_element(const struct http_head *head, const char *name, element_fn *fn, void *arg)
{
	for (size_t i = 0; i < head->field_count; i++) {
		struct view rest = head->fields[i].value;

		if (!view_eq_nocase(head->fields[i].name, view_str(name)))
			continue;
		for (;;) {
			const char *comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;
			size_t n = comma ? (size_t)(comma - rest.data) : rest.len;

			fn(arg, trim(view_make(rest.data, n)));
			if (!comma)
				break;
			rest = view_skip(rest, n + 1);
		}
	}
}

struct connection {
	bool close, upgrade;
};

static void on_connection(void *arg, struct view element)
{
	struct connection *connection = arg;

	connection->close |= view_eq_nocase(element, VIEW_LIT("close"));
	connection->upgrade |= view_eq_nocase(element, VIEW_LIT("upgrade"));
}

struct codings {
	size_t count, chunked;
	bool last_is_chunked, bad;
};

static void on_coding(void *arg, struct view element)
{
	struct codings *codings = arg;

	codings->last_is_chunked = view_eq_nocase(element, VIEW_LIT("chunked"));
	codings->chunked += codings->last_is_chunked;
	codings->bad |= !is_token(element) || view_eq_nocase(element, VIEW_LIT("identity"));
	codings->count++;
}

static int check_host(const struct http_head *head)
{
	const struct http_field *host;
	size_t count;

	host = http_head_field(head, "Host", &count);
	if (count != 1)
		return 400;
	for (size_t i = 0; i < host->value.len; i++) {
		if (host->value.data[i] <= ' ' || strchr("/@#", host->value.data[i]))
			return 400;
	}
	return 0;
}

/* HTTP-16, HTTP-17 */
static int check_length(struct http_head *head)
{
	uint64_t length, first = 0;
	size_t seen = 0;

	for (size_t i = 0; i < head->field_count; i++) {
		struct view v = head->fields[i].value;

		if (!view_eq_nocase(head->fields[i].name, VIEW_LIT("Content-Length")))
			continue;
		if (v.len > 19 || view_to_u64(v, &length) < 0)
			return 400;
		if (seen++ && length != first)
			return 400;
		first = length;
	}
	if (seen) {
		head->framing = HTTP_COUNTED;
		head->content_length = first;
	}
	return 0;
}

/* HTTP-18 */
static int check_codings(struct http_head *head)
{
	struct codings codings = { 0 };

	if (!http_head_field(head, "Transfer-Encoding", NULL))
		return 0;
	each_element(head, "Transfer-Encoding", on_coding, &codings);
	if (codings.bad || codings.chunked != 1 || !codings.last_is_chunked ||
		head->framing == HTTP_COUNTED)
		return 400;
	head->framing = HTTP_CHUNKED;
	return 0;
}

static int check_expect(struct http_head *head)
{
	const struct http_field *expect;
	size_t count;

	expect = http_head_field(head, "Expect", &count);
	if (!expect)
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
	if (!authority.len || !view_eq_nocase(authority, host->value))
		return 400;
	head->target = view_skip(target, scheme + authority.len);
	if (!head->target.len)
		head->target = VIEW_LIT("/");
	else if (head->target.data[0] != '/')
		return 400; /* "http://host?query" has no origin form without making one up */
	return 0;
}

static int check_fields(struct http_head *head)
{
	struct connection connection = { 0 };
	const struct http_field *upgrade;
	int r = check_host(head);

	if (!r)
		r = check_length(head);
	if (!r)
		r = check_codings(head);
	if (!r)
		r = check_expect(head);
	if (!r)
		r = check_target(head);
	each_element(head, "Connection", on_connection, &connection);
	upgrade = http_head_field(head, "Upgrade", NULL);
	head->wants_close = connection.close;
	head->wants_websocket = connection.upgrade && upgrade &&
		view_eq_nocase(upgrade->value, VIEW_LIT("websocket"));
	return r;
}

/* A refusal that does not need the whole head is given early, in the order of the bytes. */
int http_head_parse(struct http_head *head, struct view in, const struct http_limits *limits)
{
	struct view text, line;
	bool request_line = true;
	long end;
	int r = 0;

	if (in.len >= 2 && view_starts(in, VIEW_LIT("\r\n")) && in.len >= 4 &&
		view_starts(view_skip(in, 2), VIEW_LIT("\r\n")))
		return 400; /* more than one empty line in front */
	end = find_end(head, in);
	if (end < 0)
		return 400;
	if (!end)
		return in.len >= limits->head_bytes ? 431 : HTTP_HEAD_MORE;
	if ((size_t)end > limits->head_bytes)
		return 431;
	text = view_make(in.data, (size_t)end - 2);
	if (view_starts(text, VIEW_LIT("\r\n")))
		text = view_skip(text, 2);
	while (!r && text.len) {
		const char *cr = memchr(text.data, '\r', text.len);

		line = view_make(text.data, (size_t)(cr - text.data));
		text = view_skip(text, line.len + 2);
		r = request_line
			? parse_request_line(head, line)
			: parse_field(head, line, MIN(limits->fields, (size_t)HTTP_MAX_FIELDS));
		request_line = false;
	}
	if (!r)
		r = check_fields(head);
	head->length = (size_t)end;
	return r ? r : HTTP_HEAD_DONE;
}
