// SPDX-License-Identifier: Apache-2.0
/*
 * Bans in a store on a network (GRD-8): "ban/SOURCE@homing.invalid" is their name in Redis, behind
 * the prefix of keys, and in messages. It is the name of no account (RFC 2606), so bans share the
 * prefix, its rights and the proved push channel with the assignments.
 */
#include "store/pool.h"

#include <stdio.h>

#define NAME_PREFIX "ban/"
#define NAME_SUFFIX "@homing.invalid"

size_t store_ban_name(struct view source, char ret_name[STORE_BAN_NAME_BYTES])
{
	int n = snprintf(ret_name, STORE_BAN_NAME_BYTES, NAME_PREFIX "%.*s" NAME_SUFFIX,
		(int)MIN(source.len, (size_t)STORE_BAN_SOURCE_BYTES), source.data);

	return (size_t)n;
}

bool store_ban_source(struct view name, struct view *ret_source)
{
	size_t around = strlen(NAME_PREFIX) + strlen(NAME_SUFFIX);

	if (name.len <= around || name.len > around + STORE_BAN_SOURCE_BYTES ||
		!view_starts(name, VIEW_LIT(NAME_PREFIX)) ||
		!view_eq(view_skip(name, name.len - strlen(NAME_SUFFIX)), VIEW_LIT(NAME_SUFFIX)))
		return false;
	*ret_source = view_make(name.data + strlen(NAME_PREFIX), name.len - around);
	return true;
}

bool store_push_take_ban(struct store_push *push, struct view payload)
{
	struct view source;

	if (!store_ban_source(payload, &source))
		return false;
	push->fn(push->arg, STORE_PUSH_BAN, source);
	return true;
}

bool store_is_ban(enum store_op op)
{
	return op == STORE_BAN_SET || op == STORE_BAN_GET || op == STORE_BAN_LIST;
}

void store_no_bans(struct store_request *request)
{
	request->result = STORE_ERROR;
	snprintf(request->error, sizeof(request->error), "this store keeps no bans");
}
