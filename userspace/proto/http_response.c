// SPDX-License-Identifier: Apache-2.0
/* HTTP/1.x response heads, as strictly as requests; everything that is wrong with one is a 502. */
#include "proto/http_internal.h"

static int parse_status_line(struct http_head *head, struct view line)
{
	const char *d;

	if (line.len < 12 || !view_starts(line, VIEW_LIT("HTTP/1.")) || line.data[8] != ' ')
		return 502;
	d = line.data + 9;
	if (line.data[7] < '0' || line.data[7] > '9' || d[0] < '1' || d[0] > '5' || d[1] < '0' ||
		d[1] > '9' || d[2] < '0' || d[2] > '9')
		return 502;
	head->is_http10 = line.data[7] == '0';
	head->status = (d[0] - '0') * 100 + (d[1] - '0') * 10 + d[2] - '0';
	if (line.len > 12 && line.data[12] != ' ')
		return 502;
	head->reason = view_skip(line, 13);
	return http_is_text(head->reason) ? 0 : 502;
}

static bool is_event_stream(const struct http_head *head)
{
	const struct http_field *type = http_head_field(head, "Content-Type", NULL);
	struct view v;
	const char *end;

	if (!type)
		return false;
	v = type->value;
	end = v.len ? memchr(v.data, ';', v.len) : NULL;
	if (end)
		v = http_trim(view_make(v.data, (size_t)(end - v.data)));
	return view_eq_nocase(v, VIEW_LIT("text/event-stream"));
}

static int check_fields(struct http_head *head)
{
	const struct http_field *upgrade;
	bool names_upgrade = false;
	size_t count;

	if (http_check_message(head, &names_upgrade))
		return 502;
	if (head->is_http10 && head->framing == HTTP_CHUNKED)
		return 502; /* RFC 9112 section 6.1 */
	upgrade = http_head_field(head, "Upgrade", &count);
	head->is_upgrade = names_upgrade && count == 1 &&
		view_eq_nocase(upgrade->value, VIEW_LIT("websocket"));
	head->is_event_stream = is_event_stream(head);
	return 0;
}

int http_response_parse(struct http_head *head, struct view in, const struct http_limits *limits)
{
	struct view text;
	long end = http_find_end(head, in);
	int r;

	if (end < 0 || (in.len && in.data[0] == '\r'))
		return 502;
	if (!end)
		return in.len >= limits->head_bytes ? 502 : HTTP_HEAD_MORE;
	if ((size_t)end > limits->head_bytes)
		return 502;
	text = view_make(in.data, (size_t)end - 2);
	r = parse_status_line(head, http_take_line(&text));
	if (!r)
		r = http_parse_fields(head, text, limits->fields);
	if (!r)
		r = check_fields(head);
	head->length = (size_t)end;
	return r ? 502 : HTTP_HEAD_DONE;
}

enum http_framing http_response_framing(const struct http_head *head, bool to_head)
{
	if (to_head || head->status < 200 || head->status == 204 || head->status == 205 ||
		head->status == 304)
		return HTTP_NO_BODY;
	return head->framing == HTTP_NO_BODY ? HTTP_UNTIL_CLOSE : head->framing;
}
