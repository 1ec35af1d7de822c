// SPDX-License-Identifier: Apache-2.0
/*
 * STORE_LIST on Redis, and STORE_BAN_LIST, which needs no values. Redis has no index by value: SCAN
 * with the prefix, then MGET of what it found, one request after the other, maybe on two
 * connections. The page token is SCAN's cursor.
 */
#include "store/pool.h"
#include "store/redis_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define IDENTIFIER_BYTES 320

/* Everything that means something in a pattern is taken literally. */
size_t redis_escape_pattern(const char *text, char *to, size_t size)
{
	size_t n = 0;

	for (; *text && n + 3 < size; text++) {
		if (strchr("*?[]\\^", *text))
			to[n++] = '\\';
		to[n++] = *text;
	}
	to[n] = '\0';
	return n;
}

static int send_scan(
	struct redis_link *link, const char *prefix, const char *tail, struct store_list *list)
{
	char pattern[2 * 128 + STORE_BAN_NAME_BYTES], count[16];
	const char *argv[] = { "SCAN", list->after[0] ? list->after : "0", "MATCH", pattern,
		"COUNT", count };
	size_t n = redis_escape_pattern(prefix, pattern, 2 * 128 + 4);

	store_list_clear(list);
	snprintf(pattern + n, sizeof(pattern) - n, "%s", tail);
	snprintf(count, sizeof(count), "%u", list->limit);
	return redis_link_send(link, 6, argv, NULL);
}

static int send_mget(struct redis_link *link, const char *prefix, const struct store_list *list)
{
	const char **argv = calloc(list->count + 1, sizeof(*argv)),
		   *name = buf_view(&list->names).data;
	size_t size = list->names.len + list->count * strlen(prefix), n = 0;
	char *keys = malloc(size + 1);
	int r = argv && keys ? 0 : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < list->count; i++, name += strlen(name) + 1) {
		argv[i + 1] = keys + n;
		n += (size_t)sprintf(keys + n, "%s%s", prefix, name) + 1;
	}
	if (r == 0) {
		argv[0] = "MGET";
		r = redis_link_send(link, (int)list->count + 1, argv, NULL);
	}
	free(keys);
	free(argv);
	return r;
}

int redis_list_send(
	struct redis_link *link, const char *prefix, const struct store_request *request)
{
	struct store_list *list = request->list;
	char bans[STORE_BAN_NAME_BYTES];

	if (request->op == STORE_BAN_LIST) {
		store_ban_name(VIEW_LIT("*"), bans);
		return send_scan(link, prefix, bans, list);
	}
	return list->scanned ? send_mget(link, prefix, list) : send_scan(link, prefix, "*", list);
}

/* [cursor, keys]. Returns 0 or -errno. */
static int take_scan(
	struct store_list *list, const char *prefix, bool bans, const redisReply *reply)
{
	const redisReply *keys = reply->elements == 2 ? reply->element[1] : NULL;
	struct view cursor = keys ? redis_text(reply->element[0]) : view_make("", 0);
	int r = cursor.len && keys->type == REDIS_REPLY_ARRAY ? 0 : -EPROTO;

	for (size_t i = 0; r == 0 && i < keys->elements; i++) {
		struct view key = redis_text(keys->element[i]);

		if (!view_starts(key, view_str(prefix)))
			continue;
		key = view_skip(key, strlen(prefix));
		if (bans ? store_ban_source(key, &key) : key.len && key.len <= IDENTIFIER_BYTES)
			r = store_list_add(list, key);
	}
	if (r == 0 && !view_eq(cursor, VIEW_LIT("0")))
		r = store_list_set_next(list, cursor);
	list->scanned = r == 0;
	return r;
}

/* The values of what the scan found: those of the destination stay. */
static int take_values(struct store_list *list, struct view destination, const redisReply *reply)
{
	struct buf found = list->names;
	const char *name = buf_view(&found).data;
	unsigned count = list->count;
	int r = reply->elements == count ? 0 : -EPROTO;

	buf_init(&list->names, 0, false);
	list->count = 0;
	for (unsigned i = 0; r == 0 && i < count; i++, name += strlen(name) + 1) {
		if (view_eq(store_trim(redis_text(reply->element[i])), destination))
			r = store_list_add(list, view_str(name));
	}
	buf_fini(&found);
	return r;
}

bool redis_list_reply(struct store_request *request, const char *prefix, const redisReply *reply)
{
	struct store_list *list = request->list;
	bool bans = request->op == STORE_BAN_LIST, scan = !list->scanned || bans;
	int r = scan ? take_scan(list, prefix, bans, reply)
		     : take_values(list, request->destination, reply);

	request->result = r == 0 ? STORE_DONE : STORE_ERROR;
	if (r < 0)
		snprintf(request->error, sizeof(request->error), "redis: no answer to %s",
			scan ? "SCAN" : "MGET");
	return r == 0 && scan && !bans && list->count;
}
