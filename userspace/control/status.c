// SPDX-License-Identifier: Apache-2.0
/* Counters to JSON, nodes to status; see admin.md sections 5.2 and 5.4. */
#include "control/status.h"
#include "base/clock.h"
#include "control/guard.h"
#include "control/guard_kernel.h"
#include "control/reload.h"
#include "session/session.h"
#include "tls/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Of those that an agent remembers. */
#define STRANGERS_SHOWN 20

static bool is_starting(void *arg)
{
	return ((struct control_state *)arg)->starting;
}

static bool is_shutting_down(void *arg)
{
	return atomic_load(&((struct control_state *)arg)->router->shutting_down);
}

static json_int_t load(atomic_uint_fast64_t *counter)
{
	return (json_int_t)atomic_load(counter);
}

static json_t *nodes_json(struct router *router)
{
	json_t *nodes = json_object();

	for (size_t i = 0; i < router->known.node_count; i++) {
		struct node *node = router->known.nodes[i].node;
		struct health_status status;

		if (!router_shows_node(router, node))
			continue;

		health_status(node->health, clock_mono_ms(), &status);
		json_object_set_new(nodes, node->name,
			json_pack("{sI sI sI sI sI sI sI sb}", "active", load(&node->active),
				"sessions", load(&node->sessions), "bytes_up",
				load(&node->bytes_up), "bytes_down", load(&node->bytes_down),
				"auth_failed", load(&node->auth_failed), "dial_errors",
				load(&node->dial_errors), "unavailable", load(&node->unavailable),
				"down", (int)status.down));
	}
	return nodes;
}

/* Only those that there were. */
static json_t *refusals_json(struct node *node)
{
	json_t *refusals = json_object();

	for (int i = NODE_KEEP_NOTHING + 1; i < NODE_KEEP_COUNT; i++) {
		if (load(&node->kept[i]))
			json_object_set_new(refusals, node_keep_name((enum node_keep)i),
				json_integer(load(&node->kept[i])));
	}
	return refusals;
}

/* Those beside nodes. */
static json_t *agents_json(struct router *router)
{
	json_t *agents = json_object();

	for (size_t i = 0; i < router->known.node_count; i++) {
		struct node *node = router->known.nodes[i].node;

		if (!atomic_load(&node->has_agent) || !router_shows_node(router, node))
			continue;
		json_object_set_new(agents, node->name,
			json_pack("{sI sI sI sI so}", "channels", load(&node->agent_channels),
				"streams", load(&node->agent_streams), "errors",
				load(&node->agent_errors), "handoffs", load(&node->agent_handed),
				"refusals", refusals_json(node)));
	}
	return agents;
}

/* How many took until the bound, and longer than the one before. */
static json_t *time_json(struct histogram *histogram)
{
	json_t *counts = json_object();
	char bound[16];

	for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
		snprintf(bound, sizeof(bound), "%u", histogram_bounds_ms[i]);
		json_object_set_new(counts, bound, json_integer(load(&histogram->counts[i])));
	}
	json_object_set_new(
		counts, "more", json_integer(load(&histogram->counts[HISTOGRAM_BOUNDS])));
	return json_pack("{sI so}", "sum_ms", load(&histogram->sum_ms), "until_ms", counts);
}

/* Those that came most often. */
static json_t *strangers_json(struct router *router)
{
	struct stranger worst[STRANGERS_SHOWN];
	size_t count = strangers_worst(router->strangers, worst, ARRAY_SIZE(worst));
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		char address[STRANGER_TEXT_SIZE], last[CLOCK_TEXT_SIZE];

		json_array_append_new(list,
			json_pack("{ss sI ss}", "address", stranger_format(&worst[i], address),
				"count", (json_int_t)worst[i].count, "last",
				clock_format_rfc3339(worst[i].last_real_ms, false, last)));
	}
	return list;
}

/* Of the agent that this process is. */
static json_t *handoff_json(struct router *router)
{
	json_t *refusals = json_object();

	for (int i = 1; i < HANDOFF_REFUSALS; i++) {
		if (load(&router->handoff.refusals[i]))
			json_object_set_new(refusals, handoff_refusal_name((enum handoff_refusal)i),
				json_integer(load(&router->handoff.refusals[i])));
	}
	return json_pack("{sI sI sI so sI so}", "channels", load(&router->handoff.channels),
		"streams", load(&router->handoff.streams), "joined", load(&router->handoff.joined),
		"refusals", refusals, "tokens_refused", load(&router->handoff.tokens_refused),
		"strangers", strangers_json(router));
}

static json_t *listeners_json(struct router *router)
{
	json_t *listeners = json_object();

	for (size_t i = 0; i < router->known.listener_count; i++) {
		struct listener *listener = router->known.listeners[i];

		if (!router_shows_listener(router, listener))
			continue;
		json_object_set_new(listeners, listener->name,
			json_pack("{sI sI sI}", "active", load(&listener->active), "accepted",
				load(&listener->accepted), "rejected_limit",
				load(&listener->rejected_limit)));
	}
	return listeners;
}

static json_t *paths_json(struct router *router)
{
	json_t *paths = json_object();

	for (int i = RELAY_PATH_COPY; i < RELAY_PATHS; i++) {
		struct path_counters *up = &router->paths[i][RELAY_UP],
				     *down = &router->paths[i][RELAY_DOWN];

		if (!load(&up->started) && !load(&down->started)) /* only those that were used */
			continue;
		json_object_set_new(paths, relay_path_name((enum relay_path)i),
			json_pack("{sI sI sI}", "active", load(&up->active) + load(&down->active),
				"started", load(&up->started) + load(&down->started), "bytes",
				load(&up->bytes) + load(&down->bytes)));
	}
	return paths;
}

/* What the start's probes found, and what the kernel paths have had to do since. */
static json_t *probe_json(const struct router *router)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < router->probe.row_count; i++) {
		const struct probe_row *row = &router->probe.rows[i];

		json_array_append_new(rows,
			json_pack("{ss sb ss}", "name", row->name, "ok", (int)row->ok, "reason",
				row->reason));
	}
	return rows;
}

static json_t *splice_json(struct router *router)
{
	struct relay_kernel *kernel = &router->kernel;

	return json_pack("{sI sI sI sI sI sI}", "backlog", load(&kernel->demotions_backlog), "bulk",
		load(&kernel->demotions_bulk), "resumed", load(&kernel->resumes), "stalls",
		load(&kernel->stalls), "refused", load(&kernel->refused), "key_updates",
		load(&kernel->key_updates));
}

static json_t *logins_json(const struct control_state *control)
{
	struct worker_load load = workers_load(control->workers, control->worker_count);

	return json_pack("{sI sI sI}", "full_turns", (json_int_t)load.full_turns, "waiting",
		(json_int_t)load.waiting, "oldest_ms", (json_int_t)load.oldest_ms);
}

static int add_stats(void *arg, json_t *object)
{
	struct control_state *control = arg;
	struct router *router = control->router;
	char loaded[CLOCK_TEXT_SIZE];
	int r = 0;

	clock_format_rfc3339(control->loaded_real_ms, false, loaded);
	r |= json_object_set_new(object, "active_connections", json_integer(load(&router->active)));
	r |= json_object_set_new(object, "version", json_string(HOMING_VERSION));
	r |= json_object_set_new(object, "tls_library", json_string(tls_library_name()));
	r |= json_object_set_new(object, "uptime_s",
		json_integer((json_int_t)((clock_mono_ms() - control->started_ms) / 1000)));
	r |= json_object_set_new(object, "config_loaded_at", json_string(loaded));
	r |= json_object_set_new(
		object, "config_generation", json_integer((json_int_t)control->generation));
	r |= json_object_set_new(
		object, "rejected_limit", json_integer(load(&router->rejected_limit)));
	r |= json_object_set_new(object, "auth_failed", json_integer(load(&router->auth_failed)));
	r |= json_object_set_new(object, "held", json_integer(load(&router->held)));
	r |= json_object_set_new(object, "logins", logins_json(control));
	r |= json_object_set_new(object, "nodes", nodes_json(router));
	r |= json_object_set_new(object, "listeners", listeners_json(router));
	r |= json_object_set_new(object, "paths", paths_json(router));
	r |= json_object_set_new(object, "splice", splice_json(router));
	r |= json_object_set_new(object, "probe", probe_json(router));
	r |= json_object_set_new(
		object, "regex_limited", json_integer(load(&router->regex_limited)));
	r |= json_object_set_new(object, "agents", agents_json(router));
	r |= json_object_set_new(object, "handoff_time", time_json(&router->handoff_time));
	r |= json_object_set_new(object, "handoff", handoff_json(router));
	return r ? -ENOMEM : 0;
}

static int account(void *arg, struct view text, char ret[321])
{
	struct control_state *control = arg;
	struct identity identity;
	int r = identity_account(
		&control->router->snapshot->config->identity_rules, text, &identity);

	if (r < 0)
		return r;
	memcpy(ret, identity.account, identity.len + 1);
	return (int)identity.len;
}

static int store_reload(void *arg, char error[STORE_ERROR_BYTES])
{
	struct store *store = ((struct control_state *)arg)->store;

	return store->ops->reload(store, error);
}

static int config_reload(void *arg, bool dry_run, bool force,
	void (*done)(void *done_arg, int status, json_t *answer), void *done_arg)
{
	struct control_state *control = arg;

	if (!control->reload)
		return -EAGAIN;
	control_reload_start(control->reload, dry_run, force, done, done_arg);
	return 0;
}

static int compare_nodes(const void *a, const void *b)
{
	return strcmp((*(struct node *const *)a)->name, (*(struct node *const *)b)->name);
}

static void each_node(void *arg,
	void (*fn)(void *fn_arg, struct node *node, const struct health_status *status),
	void *fn_arg)
{
	const struct snapshot *snapshot = ((struct control_state *)arg)->router->snapshot;
	struct node **sorted = calloc(snapshot->node_count + 1, sizeof(*sorted));

	if (!sorted)
		return;
	memcpy(sorted, snapshot->nodes, snapshot->node_count * sizeof(*sorted));
	qsort(sorted, snapshot->node_count, sizeof(*sorted), compare_nodes);
	for (size_t i = 0; i < snapshot->node_count; i++) {
		struct health_status status;

		health_status(sorted[i]->health, clock_mono_ms(), &status);
		fn(fn_arg, sorted[i], &status);
	}
	free(sorted);
}

static int node_reset(void *arg, struct view name)
{
	const struct snapshot *snapshot = ((struct control_state *)arg)->router->snapshot;

	for (size_t i = 0; i < snapshot->node_count; i++) {
		if (view_eq(name, view_str(snapshot->nodes[i]->name))) {
			health_reset(snapshot->nodes[i]->health);
			health_reset(snapshot->nodes[i]->agent);
			node_forget_failure(snapshot->nodes[i]);
			return 0;
		}
	}
	return -ENOENT;
}

static int sessions(void *arg, const struct session_filter *filter,
	void (*done)(void *done_arg, json_t *answer), void *done_arg)
{
	return control_sessions(arg, filter, done, done_arg);
}

static int kick(void *arg, const char *account_name, void (*done)(void *done_arg, json_t *answer),
	void *done_arg)
{
	return control_kick(arg, account_name, done, done_arg);
}

static int delay(void *arg, const char *account_name, unsigned seconds)
{
	struct control_state *control = arg;
	int r = holds_set(control->router->holds, view_str(account_name),
		seconds ? clock_mono_ms() + seconds * 1000ull : 0);

	if (r == 0)
		control_holds_changed(control);
	return r;
}

static int metrics(void *arg, struct buf *ret_text)
{
	return control_metrics(arg, ret_text);
}

static void admitted(void *arg, const struct addr *peer)
{
	control_guard_admit(((struct control_state *)arg)->guard, peer);
}

static struct guard *guard(void *arg)
{
	return router_guard(((struct control_state *)arg)->router);
}

static void add_guard(void *arg, json_t *object)
{
	control_guard_add_json(((struct control_state *)arg)->guard, object);
}

static uint64_t kernel_dropped(void *arg, const struct cidr *net)
{
	struct guard_kernel *kernel = ((struct control_state *)arg)->guard_kernel;

	return kernel ? guard_kernel_dropped(kernel, net) : 0;
}

static void log_account(void *arg, struct view text, char *ret, size_t ret_size)
{
	struct control_state *control = arg;

	if (control->router->snapshot->config->server.log_accounts_full)
		snprintf(ret, ret_size, "%.*s", (int)text.len, text.data);
	else
		session_redact(text, ret, ret_size);
}

void control_ops_fill(struct admin_ops *ops, struct control_state *control)
{
	*ops = (struct admin_ops){
		.arg = control,
		.starting = is_starting,
		.stopping = is_shutting_down,
		.add_stats = add_stats,
		.account = account,
		.mapping = control->router->mapping,
		.store_reload = store_reload,
		.config_reload = config_reload,
		.each_node = each_node,
		.node_reset = node_reset,
		.sessions = sessions,
		.kick = kick,
		.metrics = metrics,
		.delay = delay,
		.admitted = admitted,
		.guard = guard,
		.add_guard = add_guard,
		.kernel_dropped = kernel_dropped,
		.log_account = log_account,
	};
}
