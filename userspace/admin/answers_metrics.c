// SPDX-License-Identifier: Apache-2.0
/* GET /metrics (admin.md section 6): the router's own figures, then those of mapping and admin
 * API. */
#include "admin/request.h"
#include "base/clock.h"

#include <stdio.h>

static int put(
	struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type,
		name, (unsigned long long)value);
}

static int put_mapping(struct buf *out, struct mapping *mapping)
{
	struct mapping_stats stats;
	int r = 0;

	mapping_stats(mapping, &stats);
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "homing_cache_hits_total", "counter", "Lookups answered by the cache.",
			stats.hits },
		{ "homing_cache_misses_total", "counter", "Lookups that asked the store.",
			stats.misses },
		{ "homing_cache_coalesced_total", "counter",
			"Lookups that waited for another one's query.", stats.coalesced },
		{ "homing_cache_invalidated_total", "counter",
			"Entries dropped by operators and push.", stats.invalidated },
		{ "homing_cache_entries", "gauge", "Unexpired entries.", stats.entries },
		{ "homing_cache_stale_entries", "gauge", "Expired entries kept for an outage.",
			stats.stale_entries },
		{ "homing_stale_served_total", "counter", "Logins routed by an expired entry.",
			stats.stale_served },
		{ "homing_unknown_destination_total", "counter",
			"Answers of the store that name no declared node.",
			stats.unknown_destination },
		{ "homing_store_queries_total", "counter", "Queries to the store.",
			stats.store_queries },
		{ "homing_store_errors_total", "counter", "Queries without an answer.",
			stats.store_errors },
		{ "homing_store_up", "gauge", "1 unless the last query failed.",
			stats.store_state == MAPPING_STORE_UP },
		{ "homing_push_up", "gauge", "1 while changes are pushed by the store.",
			stats.push_state == MAPPING_PUSH_UP },
	};

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
		r = put(out, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
	return r;
}

void admin_answer_metrics(struct admin_request *request)
{
	const struct admin_listener *listener = request->conn->listener;
	struct buf out;
	int r;

	buf_init(&out, 0, false);
	r = request->ops->metrics(request->ops->arg, &out);
	if (r == 0)
		r = put_mapping(&out, request->ops->mapping);
	if (r == 0)
		r = buf_append_str(&out,
			"# HELP homing_store_seconds Time until the store answered a lookup.\n"
			"# TYPE homing_store_seconds histogram\n");
	if (r == 0)
		r = histogram_print(mapping_store_latency(request->ops->mapping),
			"homing_store_seconds", "", &out);
	if (r == 0)
		r = put(&out, "homing_admin_denied_total", "counter",
			"Requests to the admin API without the right token.", listener->denied);
	if (r == 0)
		r = put(&out, "homing_admin_locked", "gauge", "Addresses locked out now.",
			lockout_count(listener->lockout, clock_mono_ms()));
	if (r == 0)
		r = buf_append(&out, "", 1);
	if (r < 0)
		admin_error(request->conn, 500, "out of memory");
	else
		admin_respond_as(request->conn, 200, "text/plain; version=0.0.4; charset=utf-8", "",
			buf_view(&out).data);
	buf_fini(&out);
}
