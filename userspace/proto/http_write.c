// SPDX-License-Identifier: Apache-2.0
/* Rewriting of heads, and error answers. */
#include "proto/http_write.h"
#include "proto/http_internal.h"

/* Memory for all of the head at once, if it can be had. */
static void grow_once(struct buf *out, const struct http_head *head)
{
	(void)!buf_reserve(out, head->length + HTTP_WRITE_ADDED);
}

static char *put(char *at, struct view v)
{
	memcpy(at, v.data, v.len);
	return at + v.len;
}

static int put_field(struct buf *out, struct view name, struct view value)
{
	size_t len = name.len + value.len + strlen(": \r\n");
	int r = buf_reserve(out, len);

	if (r < 0)
		return r;
	put(put(put(put(buf_tail(out), name), VIEW_LIT(": ")), value), VIEW_LIT("\r\n"));
	buf_commit(out, len);
	return 0;
}

#define NUMBER_DIGITS 20

static struct view decimal(uint64_t number, char text[NUMBER_DIGITS])
{
	size_t at = NUMBER_DIGITS;

	do {
		text[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return view_make(text + at, NUMBER_DIGITS - at);
}

/* ---- what Connection names ---- */

struct search {
	struct view name;
	bool found;
};

static void on_option(void *arg, struct view element)
{
	struct search *search = arg;

	search->found |= view_eq_nocase(element, search->name);
}

static bool is_protected(struct view name)
{
	return view_eq_nocase(name, VIEW_LIT("Host")) ||
		view_eq_nocase(name, VIEW_LIT("Content-Length")) ||
		view_eq_nocase(name, VIEW_LIT("Transfer-Encoding")) ||
		view_eq_nocase(name, VIEW_LIT("Authorization"));
}

/* Belongs to this connection: not passed on. */
static bool is_local(const struct http_head *head, struct view name)
{
	struct search search = { .name = name };

	if (http_is_hop_field(name))
		return true;
	if (is_protected(name))
		return false;
	http_each_element(head, "Connection", on_option, &search);
	return search.found;
}

/* ---- framing: one field, where the first was ---- */

struct list {
	struct buf *out;
	size_t count;
	int error;
};

static void on_coding(void *arg, struct view element)
{
	struct list *list = arg;

	if (list->error == 0 && list->count++)
		list->error = buf_append(list->out, ", ", 2);
	if (list->error == 0)
		list->error = buf_append_view(list->out, element);
}

static int put_codings(const struct http_head *head, struct view name, struct buf *out)
{
	struct list list = { .out = out };
	int r = buf_append_view(out, name);

	if (r == 0)
		r = buf_append(out, ": ", 2);
	http_each_element(head, "Transfer-Encoding", on_coding, &list);
	if (r == 0)
		r = list.error;
	return r == 0 ? buf_append(out, "\r\n", 2) : r;
}

static bool is_framing(struct view name)
{
	return view_eq_nocase(name, VIEW_LIT("Content-Length")) ||
		view_eq_nocase(name, VIEW_LIT("Transfer-Encoding"));
}

/* At most one of the two names is there (HTTP-16). *done: it has been written. */
static int put_framing(const struct http_head *head, struct view name, bool *done, struct buf *out)
{
	char digits[NUMBER_DIGITS];

	if (*done)
		return 0;
	*done = true;
	if (head->framing == HTTP_CHUNKED)
		return put_codings(head, name, out);
	return put_field(out, name, decimal(head->content_length, digits));
}

static int put_upgrade(struct buf *out)
{
	return buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
}

/* ---- requests ---- */

/* All fields of the name in one, and the client's address behind them (HTTP-71). */
static int put_forwarded(const struct http_head *head, const char *name, const char *client,
	bool keep, struct buf *out)
{
	bool quoted = view_eq(view_str(name), VIEW_LIT("Forwarded"));
	int r = buf_printf(out, "%s: ", name);

	for (size_t i = 0; r == 0 && keep && i < head->field_count; i++) {
		if (!view_eq_nocase(head->fields[i].name, view_str(name)) ||
			!head->fields[i].value.len)
			continue;
		r = buf_append_view(out, head->fields[i].value);
		if (r == 0)
			r = buf_append(out, ", ", 2);
	}
	if (r < 0)
		return r;
	if (!quoted)
		return buf_printf(out, "%s\r\n", client);
	return buf_printf(out, strchr(client, ':') ? "for=\"[%s]\"\r\n" : "for=%s\r\n", client);
}

static bool goes_to_node(
	const struct http_head *head, struct view name, const struct http_request_changes *changes)
{
	if (is_local(head, name))
		return false;
	if ((changes->drop_expect || head->is_http10) && view_eq_nocase(name, VIEW_LIT("Expect")))
		return false;
	if (http_is_disguised(name))
		return false;
	if (!http_is_forwarded_field(name))
		return true;
	if (changes->client &&
		(view_eq_nocase(name, VIEW_LIT("Forwarded")) ||
			view_eq_nocase(name, VIEW_LIT("X-Forwarded-For"))))
		return false; /* put_forwarded() */
	return changes->keep_forwarded;
}

static int put_request_fields(
	const struct http_head *head, const struct http_request_changes *changes, struct buf *out)
{
	bool framed = false;
	int r = 0;

	if (head->is_http10 &&
		!http_head_field(head, "Host", NULL)) /* RFC 9112 section 3.2: 1.1 has one */
		r = buf_printf(out, "Host: %s\r\n", changes->host ? changes->host : "");
	for (size_t i = 0; r == 0 && i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (is_framing(field->name))
			r = put_framing(head, field->name, &framed, out);
		else if (goes_to_node(head, field->name, changes))
			r = put_field(out, field->name, field->value);
	}
	return r;
}

int http_write_request(
	const struct http_head *head, const struct http_request_changes *changes, struct buf *out)
{
	int r;

	grow_once(out, head);
	r = buf_append_view(out, head->method);
	if (r == 0)
		r = buf_append(out, " ", 1);
	if (r == 0)
		r = buf_append_view(out, head->target);
	if (r == 0)
		r = buf_append_str(out, " HTTP/1.1\r\n");
	if (r == 0)
		r = put_request_fields(head, changes, out);
	if (r == 0 && head->wants_websocket)
		r = put_upgrade(out);
	if (r == 0 && changes->client)
		r = put_forwarded(head, "Forwarded", changes->client, changes->keep_forwarded, out);
	if (r == 0 && changes->client)
		r = put_forwarded(
			head, "X-Forwarded-For", changes->client, changes->keep_forwarded, out);
	return r == 0 ? buf_append(out, "\r\n", 2) : r;
}

/* ---- responses ---- */

static int put_response_fields(const struct http_head *head, bool unchunked, struct buf *out)
{
	bool empty = head->status == 205; /* has no body, whatever its fields say */
	bool framed = empty || unchunked;
	int r = empty ? buf_append_str(out, "Content-Length: 0\r\n") : 0;

	for (size_t i = 0; r == 0 && i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (is_framing(field->name))
			r = put_framing(head, field->name, &framed, out);
		else if (!is_local(head, field->name))
			r = put_field(out, field->name, field->value);
	}
	return r;
}

int http_write_response(const struct http_head *head, bool close, bool unchunked, struct buf *out)
{
	char digits[NUMBER_DIGITS];
	int r;

	grow_once(out, head);
	r = buf_append_str(out, "HTTP/1.1 ");
	if (r == 0)
		r = buf_append_view(out, decimal((uint64_t)head->status, digits));
	if (r == 0)
		r = buf_append(out, " ", 1);
	if (r == 0)
		r = buf_append_view(out, head->reason);
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	if (r == 0)
		r = put_response_fields(head, unchunked, out);
	if (r == 0 && head->status == 101)
		r = put_upgrade(out);
	else if (r == 0 && close)
		r = buf_append_str(out, "Connection: close\r\n");
	return r == 0 ? buf_append(out, "\r\n", 2) : r;
}

int http_write_error(int status, bool to_head, struct buf *out)
{
	const char *reason = http_reason(status), *more = "";
	int r;

	if (status == 401)
		more = "WWW-Authenticate: Basic realm=\"Homing\", charset=\"UTF-8\"\r\n"
		       "WWW-Authenticate: Bearer\r\n";
	else if (status == 503)
		more = "Retry-After: 5\r\n";
	r = buf_printf(out,
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
		"Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
		status, reason, strlen(reason) + 4, more);
	return r == 0 && !to_head ? buf_printf(out, "%d %s", status, reason) : r;
}

int http_write_continue(struct buf *out)
{
	return buf_append_str(out, "HTTP/1.1 100 Continue\r\n\r\n");
}
