// SPDX-License-Identifier: Apache-2.0
/* The parts of HTTP/1.1 heads that requests and responses share: lines, fields, framing. */
#include "proto/http_internal.h"

#include <errno.h>
#include <stdlib.h>

/* RFC 9110 section 5.6.2 */
static const bool token_chars[256] = {
	['a' ... 'z'] = true,
	['A' ... 'Z'] = true,
	['0' ... '9'] = true,
	['!'] = true,
	['#'] = true,
	['$'] = true,
	['%'] = true,
	['&'] = true,
	['\''] = true,
	['*'] = true,
	['+'] = true,
	['-'] = true,
	['.'] = true,
	['^'] = true,
	['_'] = true,
	['`'] = true,
	['|'] = true,
	['~'] = true,
};

static const bool control_chars[256] = {
	[0 ... '\t' - 1] = true,
	['\t' + 1 ... 0x1f] = true,
	[0x7f] = true,
};

bool http_is_token(struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		if (!token_chars[(unsigned char)v.data[i]])
			return false;
	}
	return v.len > 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct view http_trim(struct view v)
{
	while (v.len && is_blank(v.data[0]))
		v = view_skip(v, 1);
	while (v.len && is_blank(v.data[v.len - 1]))
		v.len--;
	return v;
}

bool http_is_text(struct view v)
{
	bool bad = false;

	for (size_t i = 0; i < v.len; i++)
		bad |= control_chars[(unsigned char)v.data[i]];
	return !bad;
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
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 417, "Expectation Failed" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
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

void http_head_start(struct http_head *head, size_t scanned)
{
	memset(head, 0, offsetof(struct http_head, fields));
	head->scanned = scanned;
}

void http_head_again(struct http_head *head)
{
	http_head_start(head, head->scanned);
}

struct http_head *http_head_copy(const struct http_head *head)
{
	size_t len =
		offsetof(struct http_head, fields) + head->field_count * sizeof(head->fields[0]);
	struct http_head *copy = malloc(len);

	if (copy)
		memcpy(copy, head, len);
	return copy;
}

/* ---- lines ---- */

long http_find_end(struct http_head *head, struct view in)
{
	for (size_t i = head->scanned, at; i < in.len; i = at + 2) {
		const char *cr = memchr(in.data + i, '\r', in.len - i);

		at = cr ? (size_t)(cr - in.data) : in.len;
		if (memchr(in.data + i, '\n', at - i))
			return -1;
		head->scanned = at;
		if (at + 1 >= in.len)
			return 0; /* a CR is looked at again with the next byte */
		if (in.data[at + 1] != '\n')
			return -1;
		if (at > 2 && in.data[at - 1] == '\n' && in.data[at - 2] == '\r')
			return (long)at + 2;
	}
	head->scanned = in.len;
	return 0;
}

struct view http_take_line(struct view *text)
{
	const char *cr = memchr(text->data, '\r', text->len);
	struct view line = view_make(text->data, (size_t)(cr - text->data));

	*text = view_skip(*text, line.len + 2);
	return line;
}

int http_split_field(struct view line, struct http_field *ret_field)
{
	const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;

	if (!colon || is_blank(line.data[0]))
		return -EINVAL; /* also obs-fold */
	ret_field->name = view_make(line.data, (size_t)(colon - line.data));
	ret_field->value = http_trim(view_skip(line, ret_field->name.len + 1));
	/* A blank before the colon is not part of a token. */
	return http_is_token(ret_field->name) && http_is_text(ret_field->value) ? 0 : -EINVAL;
}

int http_parse_fields(struct http_head *head, struct view text, size_t limit)
{
	while (text.len) {
		struct http_field field;

		if (http_split_field(http_take_line(&text), &field) < 0)
			return 400;
		if (head->field_count >= MIN(limit, (size_t)HTTP_MAX_FIELDS))
			return 431;
		head->fields[head->field_count++] = field;
	}
	return 0;
}

const struct http_field *http_head_field(
	const struct http_head *head, const char *name, size_t *ret_count)
{
	const struct http_field *found = NULL;
	struct view wanted = view_str(name);
	size_t count = 0;

	for (size_t i = 0; i < head->field_count; i++) {
		if (!view_eq_nocase(head->fields[i].name, wanted))
			continue;
		if (!found)
			found = &head->fields[i];
		count++;
	}
	if (ret_count)
		*ret_count = count;
	return found;
}

void http_each_element(
	const struct http_head *head, const char *name, http_element_fn *fn, void *arg)
{
	struct view wanted = view_str(name);

	for (size_t i = 0; i < head->field_count; i++) {
		struct view rest = head->fields[i].value;

		if (!view_eq_nocase(head->fields[i].name, wanted))
			continue;
		for (;;) {
			const char *comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;
			size_t n = comma ? (size_t)(comma - rest.data) : rest.len;

			fn(arg, http_trim(view_make(rest.data, n)));
			if (!comma)
				break;
			rest = view_skip(rest, n + 1);
		}
	}
}

/* ---- framing ---- */

struct codings {
	size_t count, chunked;
	bool last_is_chunked, bad;
};

static void on_coding(void *arg, struct view element)
{
	struct codings *codings = arg;

	codings->last_is_chunked = view_eq_nocase(element, VIEW_LIT("chunked"));
	codings->chunked += codings->last_is_chunked;
	codings->bad |= !http_is_token(element) || view_eq_nocase(element, VIEW_LIT("identity"));
	codings->count++;
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
	http_each_element(head, "Transfer-Encoding", on_coding, &codings);
	if (codings.bad || codings.chunked != 1 || !codings.last_is_chunked ||
		head->framing == HTTP_COUNTED)
		return 400;
	head->framing = HTTP_CHUNKED;
	return 0;
}

struct connection {
	bool close, upgrade;
	size_t count;
};

static void on_connection(void *arg, struct view element)
{
	struct connection *connection = arg;

	connection->close |= view_eq_nocase(element, VIEW_LIT("close"));
	connection->upgrade |= view_eq_nocase(element, VIEW_LIT("upgrade"));
	connection->count++;
}

int http_check_message(struct http_head *head, bool *ret_upgrade)
{
	struct connection connection = { 0 };
	int r = check_length(head);

	if (!r)
		r = check_codings(head);
	http_each_element(head, "Connection", on_connection, &connection);
	head->wants_close = connection.close;
	*ret_upgrade = connection.upgrade;
	if (!r && connection.count > HTTP_MAX_OPTIONS)
		r = 431; /* each is compared with each field */
	return r;
}

/* ---- which fields ---- */

static char folded(char c)
{
	return c == '_' ? '-' : ascii_lower(c);
}

bool http_is_alike(struct view name, struct view other)
{
	if (name.len != other.len)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (folded(name.data[i]) != folded(other.data[i]))
			return false;
	}
	return true;
}

static bool is_one_of(struct view name, const struct view *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (http_is_alike(name, names[i]))
			return true;
	}
	return false;
}

bool http_is_hop_field(struct view name)
{
	static const struct view names[] = { VIEW_LIT("Connection"), VIEW_LIT("Keep-Alive"),
		VIEW_LIT("Proxy-Connection"), VIEW_LIT("Proxy-Authorization"),
		VIEW_LIT("Proxy-Authenticate"), VIEW_LIT("TE"), VIEW_LIT("Trailer"),
		VIEW_LIT("Upgrade") };

	return is_one_of(name, names, ARRAY_SIZE(names));
}

bool http_is_forwarded_field(struct view name)
{
	static const struct view names[] = { VIEW_LIT("Forwarded"), VIEW_LIT("X-Forwarded-For"),
		VIEW_LIT("X-Forwarded-Proto"), VIEW_LIT("X-Forwarded-Host"),
		VIEW_LIT("X-Forwarded-Port"), VIEW_LIT("X-Real-IP") };

	return is_one_of(name, names, ARRAY_SIZE(names));
}

bool http_is_disguised(struct view name)
{
	return name.len && memchr(name.data, '_', name.len) && http_is_forwarded_field(name);
}
