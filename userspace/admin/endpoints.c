// SPDX-License-Identifier: Apache-2.0
/* What the admin API offers (admin.md sections 3 to 6): the listener gets this table when it starts
 * and knows no answer itself. A new endpoint is a row here and a function in answers_*.c. */
#include "admin/endpoints.h"
#include "admin/request.h"

static const struct admin_endpoint rows[] = { { "/healthz", METHOD_GET, { NULL },
						      admin_answer_healthz, true },
	{ "/readyz", METHOD_GET, { NULL }, admin_answer_readyz, true },
	{ "/stats", METHOD_GET, { NULL }, admin_answer_stats, false },
	{ "/metrics", METHOD_GET, { NULL }, admin_answer_metrics, false },
	{ "/sessions", METHOD_GET, { "identifier", "destination", "limit", "net" },
		admin_answer_sessions, false },
	{ "/destinations", METHOD_GET, { NULL }, admin_answer_destinations, false },
	{ "/destinations/reset", METHOD_POST, { "destination" }, admin_answer_reset, false },
	{ "/mappings", METHOD_GET | METHOD_PUT | METHOD_DELETE,
		{ "identifier", "destination", "drain" }, admin_answer_mappings, false },
	{ "/mappings/list", METHOD_GET, { "destination", "after", "limit" },
		admin_answer_mappings_list, false },
	{ "/mappings/reload", METHOD_POST, { NULL }, admin_answer_mappings_reload, false },
	{ "/config/reload", METHOD_POST, { "dry_run", "force" }, admin_answer_config_reload,
		false },
	{ "/cache/invalidate", METHOD_POST, { "identifier", "drain" }, admin_answer_invalidate,
		false },
	{ "/connections/kick", METHOD_POST, { "identifier", "drain" }, admin_answer_kick, false },
	{ "/connections/delay", METHOD_POST, { "identifier", "seconds", "drain" },
		admin_answer_delay, false },
	{ "/drains", METHOD_POST | METHOD_DELETE, { "destination", "accounts", "drain" },
		admin_answer_drains, false },
	{ "/bans", METHOD_GET | METHOD_PUT | METHOD_DELETE,
		{ "address", "seconds", "reason", "limit" }, admin_answer_bans, false },
	{ "/guard", METHOD_GET, { NULL }, admin_answer_guard, false },
	{ NULL, 0, { NULL }, NULL, false } };

const struct admin_endpoint *const admin_endpoints = rows;
