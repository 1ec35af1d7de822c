// SPDX-License-Identifier: Apache-2.0
/* /metrics: what the router itself counts, as Prometheus text (admin.md section 6). Labels are
 * declared names and closed sets, never an account, an address or a session. */
#include "base/clock.h"
#include "guard/guard.h"
#include "control/guard_kernel.h"
#include "control/status.h"
#include "session/session.h"
#include "tls/tls.h"

#include <assert.h>
#include <net/if.h>
#include <stdio.h>

/* Formatting fails only without memory; the first failure stands. */
struct out {
	struct buf *buf;
	int error;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *out, const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (out->error == 0)
		out->error = buf_append(out->buf, line, MIN((size_t)n, sizeof(line) - 1));
}

static void head(struct out *out, const char *name, const char *type, const char *help)
{
	put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static unsigned long long load(const atomic_uint_fast64_t *counter)
{
	return (unsigned long long)atomic_load(counter);
}

static void put_process(struct out *out, const struct control_state *control)
{
	head(out, "homing_build_info", "gauge", "Version of the router and of its TLS library.");
	put(out, "homing_build_info{version=\"%s\",tls_library=\"%s\"} 1\n", HOMING_VERSION,
		tls_library_name());
	head(out, "homing_start_time_seconds", "gauge", "When the router started, Unix time.");
	put(out, "homing_start_time_seconds %.3f\n",
		(double)(clock_real_ms() - (clock_mono_ms() - control->started_ms)) / 1000);
	head(out, "homing_config_generation", "gauge", "Configurations loaded since start.");
	put(out, "homing_config_generation %llu\n", (unsigned long long)control->generation);
	head(out, "homing_config_reload_failures_total", "counter",
		"Reloads that changed nothing.");
	put(out, "homing_config_reload_failures_total %llu\n",
		(unsigned long long)control->reload_failures);
}

static void put_listeners(struct out *out, const struct router *router)
{
	static const struct {
		const char *name, *type, *help;
	} rows[] = { { "homing_connections_active", "gauge", "Client connections now." },
		{ "homing_connections_total", "counter", "Client connections accepted." },
		{ "homing_connections_rejected_total", "counter",
			"Client connections over the listener's limit." } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		head(out, rows[i].name, rows[i].type, rows[i].help);
		for (size_t k = 0; k < router->known.listener_count; k++) {
			const struct listener *listener = router->known.listeners[k];
			const atomic_uint_fast64_t *values[] = { &listener->active,
				&listener->accepted, &listener->rejected_limit };

			static_assert(ARRAY_SIZE(values) == ARRAY_SIZE(rows), "one for each");
			if (!router_shows_listener(router, listener))
				continue;
			put(out, "%s{listener=\"%s\"} %llu\n", rows[i].name, listener->name,
				load(values[i]));
		}
	}
}

/* A leg that is declared, or was while there were sessions on it. */
static bool shows_protocol(const struct router *router, const struct node *node, int protocol)
{
	int index = snapshot_find(router->snapshot, node->name);

	return atomic_load(&node->protocol_active[protocol]) ||
		(index >= 0 &&
			router->snapshot->config->destinations[index].legs[protocol].declared);
}

static void put_node_sessions(struct out *out, const struct router *router, bool active)
{
	const char *name = active ? "homing_sessions_active" : "homing_sessions_total";

	head(out, name, active ? "gauge" : "counter",
		active ? "Established sessions now." : "Sessions established.");
	for (size_t i = 0; i < router->known.node_count; i++) {
		struct node *node = router->known.nodes[i].node;

		for (int p = 0; p < PROTOCOLS; p++) {
			if (shows_protocol(router, node, p))
				put(out, "%s{node=\"%s\",protocol=\"%s\"} %llu\n", name, node->name,
					protocol_name((enum protocol)p),
					load(active ? &node->protocol_active[p]
						    : &node->protocol_sessions[p]));
		}
	}
}

static void put_nodes(struct out *out, const struct router *router)
{
	static const char *const names[] = { "homing_node_down", "homing_node_failures",
		"homing_node_failure_sources" };
	static const char *const helps[] = { "1 while the breaker keeps sessions from the node.",
		"Failures in a row.", "Client addresses that they came from." };

	static_assert(ARRAY_SIZE(helps) == ARRAY_SIZE(names), "one for each");
	head(out, "homing_bytes_total", "counter", "Payload relayed after login.");
	for (size_t i = 0; i < router->known.node_count; i++) {
		const struct node *node = router->known.nodes[i].node;

		if (router_shows_node(router, node))
			put(out,
				"homing_bytes_total{node=\"%s\",direction=\"up\"} %llu\n"
				"homing_bytes_total{node=\"%s\",direction=\"down\"} %llu\n",
				node->name, load(&node->bytes_up), node->name,
				load(&node->bytes_down));
	}
	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		head(out, names[k], "gauge", helps[k]);
		for (size_t i = 0; i < router->known.node_count; i++) {
			const struct node *node = router->known.nodes[i].node;
			struct health_status status;

			if (!router_shows_node(router, node))
				continue;
			health_status(node->health, clock_mono_ms(), &status);
			put(out, "%s{node=\"%s\"} %u\n", names[k], node->name,
				k == 0           ? (unsigned)status.down
					: k == 1 ? (unsigned)status.consecutive_failures
						 : (unsigned)status.failure_sources);
		}
	}
}

static void put_node_errors(struct out *out, const struct router *router)
{
	head(out, "homing_node_errors_total", "counter",
		"Attempts to use the node that failed, by the step.");
	for (size_t i = 0; i < router->known.node_count; i++) {
		const struct node *node = router->known.nodes[i].node;

		for (int step = 0; step < NODE_STEP_COUNT && router_shows_node(router, node);
			step++)
			put(out, "homing_node_errors_total{node=\"%s\",step=\"%s\"} %llu\n",
				node->name, node_step_name((enum node_step)step),
				load(&node->errors[step]));
	}
	head(out, "homing_stuck_total", "counter",
		"Times that a thread did not return to its loop for 3 seconds.");
	put(out, "homing_stuck_total %llu\n", load(&router->metrics.stuck));
	head(out, "homing_shortage_total", "counter",
		"Connections to nodes that the router had no port, descriptor or memory for.");
	for (int i = 0; i < SHORTAGES; i++)
		put(out, "homing_shortage_total{what=\"%s\"} %llu\n",
			session_shortage_name((enum session_shortage)i),
			load(&router->metrics.shortages[i]));
}

/* LIB-9. */
static void put_logins(struct out *out, const struct control_state *control)
{
	struct worker_load load = workers_load(control->workers, control->worker_count);

	head(out, "homing_login_full_turns_total", "counter",
		"Turns of a worker in which logins had more to do than there was time for.");
	put(out, "homing_login_full_turns_total %llu\n", (unsigned long long)load.full_turns);
	head(out, "homing_logins_waiting", "gauge",
		"Connections of logins with something to do that wait for their turn.");
	put(out, "homing_logins_waiting %llu\n", (unsigned long long)load.waiting);
	head(out, "homing_login_wait_seconds", "gauge",
		"For how long the oldest of these has been waiting.");
	put(out, "homing_login_wait_seconds %.3f\n", (double)load.oldest_ms / 1000);
}

static void put_paths(struct out *out, const struct router *router)
{
	static const struct {
		const char *name, *type, *help;
	} rows[] = { { "homing_path_active", "gauge", "Directions carried by the data path now." },
		{ "homing_path_started_total", "counter", "Directions begun on the data path." },
		{ "homing_path_bytes_total", "counter", "Payload carried by the data path." } };
	static const char *const directions[] = { "up", "down" };

	static_assert(ARRAY_SIZE(directions) == RELAY_DOWN + 1, "a name for each");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		head(out, rows[i].name, rows[i].type, rows[i].help);
		for (int p = RELAY_PATH_COPY; p < RELAY_PATHS; p++) {
			for (int d = 0; d < 2; d++) {
				const struct path_counters *path = &router->paths[p][d];
				const atomic_uint_fast64_t *values[] = { &path->active,
					&path->started, &path->bytes };

				static_assert(
					ARRAY_SIZE(values) == ARRAY_SIZE(rows), "one for each");
				put(out, "%s{path=\"%s\",direction=\"%s\"} %llu\n", rows[i].name,
					relay_path_name((enum relay_path)p), directions[d],
					load(values[i]));
			}
		}
	}
}

static void put_kernel(struct out *out, const struct relay_kernel *kernel)
{
	head(out, "homing_splice_fallbacks_total", "counter",
		"Directions that the kernel gave back to user space: its backlog grew, they became "
		"bulk, or it refused the sockets.");
	put(out,
		"homing_splice_fallbacks_total{reason=\"backlog\"} %llu\n"
		"homing_splice_fallbacks_total{reason=\"bulk\"} %llu\n"
		"homing_splice_fallbacks_total{reason=\"refused\"} %llu\n",
		load(&kernel->demotions_backlog), load(&kernel->demotions_bulk),
		load(&kernel->refused));
	head(out, "homing_splice_resumed_total", "counter",
		"Directions that the kernel took back.");
	put(out, "homing_splice_resumed_total %llu\n", load(&kernel->resumes));
	head(out, "homing_splice_stalls_total", "counter",
		"Directions whose bytes stood still in the kernel and were taken over.");
	put(out, "homing_splice_stalls_total %llu\n", load(&kernel->stalls));
}

static void put_auth(struct out *out, const struct session_metrics *metrics)
{
	static const char *const results[] = { "ok", "refused", "malformed", "privacy",
		"unavailable" };

	static_assert(ARRAY_SIZE(results) == AUTHS, "a name for each");
	head(out, "homing_auth_total", "counter", "Login attempts by outcome.");
	for (int p = PROTOCOL_IMAP; p <= PROTOCOL_SUBMISSION; p++) {
		for (int i = 0; i < AUTHS; i++)
			put(out, "homing_auth_total{protocol=\"%s\",result=\"%s\"} %llu\n",
				protocol_name((enum protocol)p), results[i],
				load(&metrics->auth[p][i]));
	}
	head(out, "homing_session_end_total", "counter", "Finished client connections by reason.");
	for (int i = 0; i < SESSION_REASON_COUNT; i++)
		put(out, "homing_session_end_total{reason=\"%s\"} %llu\n",
			session_reason_name((enum session_reason)i), load(&metrics->ended[i]));
}

static void put_phases(struct out *out, const struct session_metrics *metrics)
{
	static const char *const names[] = { "tls", "dialogue", "hold", "lookup", "dial",
		"replay" };

	static_assert(ARRAY_SIZE(names) == PHASES, "a name for each");
	head(out, "homing_phase_seconds", "histogram", "Time spent in the phases of a login.");
	for (int p = 0; p < PHASES; p++) {
		char label[32];

		if (p == PHASE_HOLD) /* an operator's will, not a duration of ours */
			continue;
		snprintf(label, sizeof(label), "phase=\"%s\",", names[p]);
		if (out->error == 0)
			out->error = histogram_print(
				&metrics->phases[p], "homing_phase_seconds", label, out->buf);
	}
}

static void put_http(struct out *out, const struct router *router)
{
	const struct snapshot *snapshot = router->snapshot;

	head(out, "homing_http_requests_total", "counter", "HTTP requests answered by nodes.");
	for (size_t i = 0; i < snapshot->node_count; i++) {
		if (!snapshot->config->destinations[i].legs[PROTOCOL_HTTP].declared)
			continue;
		for (int k = 0; k < 5; k++)
			put(out, "homing_http_requests_total{node=\"%s\",code=\"%dxx\"} %llu\n",
				snapshot->nodes[i]->name, k + 1,
				load(&snapshot->nodes[i]->http_answers[k]));
	}
	head(out, "homing_http_regex_limited_total", "counter",
		"Bodies on which a route's expression went over a limit.");
	put(out, "homing_http_regex_limited_total %llu\n", load(&router->regex_limited));
}

/* What of each node stands at the offset of an atomic counter. */
static void put_of_nodes(struct out *out, const struct router *router, const char *name,
	const char *type, const char *help, size_t offset)
{
	head(out, name, type, help);
	for (size_t i = 0; i < router->known.node_count; i++) {
		const struct node *node = router->known.nodes[i].node;
		const atomic_uint_fast64_t *counter =
			(const atomic_uint_fast64_t *)((const char *)node + offset);

		if (router_shows_node(router, node))
			put(out, "%s{node=\"%s\"} %llu\n", name, node->name, load(counter));
	}
}

/* Of nodes that have an agent. */
static void put_kept(struct out *out, const struct router *router)
{
	head(out, "homing_handoff_refusals_total", "counter",
		"Times that a login was not handed over to the node's agent, by why.");
	for (size_t i = 0; i < router->known.node_count; i++) {
		const struct node *node = router->known.nodes[i].node;

		if (!atomic_load(&node->has_agent) || !router_shows_node(router, node))
			continue;
		for (int k = NODE_KEEP_NOTHING + 1; k < NODE_KEEP_COUNT; k++)
			put(out, "homing_handoff_refusals_total{node=\"%s\",reason=\"%s\"} %llu\n",
				node->name, node_keep_name((enum node_keep)k),
				load(&node->kept[k]));
	}
}

/* Of a router: the agents beside its nodes. */
static void put_agents(struct out *out, const struct router *router)
{
	put_of_nodes(out, router, "homing_agent_channels", "gauge",
		"Channels that stand to the agent beside the node.",
		offsetof(struct node, agent_channels));
	put_of_nodes(out, router, "homing_agent_streams", "gauge", "Logins on these channels now.",
		offsetof(struct node, agent_streams));
	put_of_nodes(out, router, "homing_agent_errors_total", "counter",
		"Attempts to reach the agent that came to nothing.",
		offsetof(struct node, agent_errors));
	put_of_nodes(out, router, "homing_handoffs_total", "counter",
		"Sessions whose TLS went to the agent.", offsetof(struct node, agent_handed));
	put_kept(out, router);
	head(out, "homing_handoff_seconds", "histogram",
		"Time from the node's yes to a login until its session is handed over.");
	if (out->error == 0)
		out->error = histogram_print(
			&router->handoff_time, "homing_handoff_seconds", "", out->buf);
}

/* Of an agent: who comes. */
static void put_handoff(struct out *out, const struct router *router)
{
	const struct {
		const char *name, *type, *help;
		const atomic_uint_fast64_t *value;
	} rows[] = {
		{ "homing_handoff_channels", "gauge", "Channels of routers that stand here.",
			&router->handoff.channels },
		{ "homing_handoff_streams", "gauge", "Logins on these channels now.",
			&router->handoff.streams },
		{ "homing_handoff_joined_total", "counter", "Sessions that routers have given.",
			&router->handoff.joined },
		{ "homing_handoff_tokens_refused_total", "counter",
			"Connections to an agent's port that were neither channels nor had a "
			"token.",
			&router->handoff.tokens_refused },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		head(out, rows[i].name, rows[i].type, rows[i].help);
		put(out, "%s %llu\n", rows[i].name, load(rows[i].value));
	}
	head(out, "homing_handoff_logins_refused_total", "counter",
		"Logins of routers that were refused here, by why.");
	for (int i = 1; i < HANDOFF_REFUSALS; i++)
		put(out, "homing_handoff_logins_refused_total{reason=\"%s\"} %llu\n",
			handoff_refusal_name((enum handoff_refusal)i),
			load(&router->handoff.refusals[i]));
}

static void put_guard_set(struct out *out, const char *name, const char *type, const char *help,
	const char *label, int count, const uint64_t *values, const char *(*name_of)(int i))
{
	head(out, name, type, help);
	for (int i = 0; values && i < count; i++)
		put(out, "%s{%s=\"%s\"} %llu\n", name, label, name_of(i),
			(unsigned long long)values[i]);
}

static const char *origin_name(int i)
{
	return guard_origin_name((enum guard_origin)i);
}

static const char *reason_name(int i)
{
	return guard_reason_name((enum guard_reason)i);
}

static const char *why_name(int i)
{
	return guard_why_name((enum guard_why)i);
}

static const char *verdict_name(int i)
{
	return guard_verdict_name((enum guard_verdict)i);
}

/* GRD-10. Without a guard there is nothing to say of it but what there could be. */
static void put_guard(struct out *out, struct router *router)
{
	struct guard *guard = router_guard(router);
	struct guard_status status = { 0 };

	if (guard)
		guard_status(guard, &status);
	put_guard_set(out, "homing_bans", "gauge", "Banned networks now.", "origin", GUARD_ORIGINS,
		guard ? status.bans : NULL, origin_name);
	put_guard_set(out, "homing_bans_total", "counter", "Bans set.", "reason", GUARD_REASONS,
		guard ? status.bans_total : NULL, reason_name);
	put_guard_set(out, "homing_bans_withheld_total", "counter",
		"Times that points were enough for a ban, and who has them is never banned.", "why",
		GUARD_WHY_DENY, guard ? status.withheld : NULL, why_name);
	put_guard_set(out, "homing_guard_checks_total", "counter",
		"Clients that user space has let in and refused.", "verdict", GUARD_VERDICTS,
		guard ? status.checks : NULL, verdict_name);
}

/* The one label whose values are not ours: Linux takes quotes in names of devices. */
static void put_device(void *arg, const char *name, const char *mode, const char *by)
{
	char shown[2 * IF_NAMESIZE], *to = shown;

	(void)by;
	for (; *name && to < shown + sizeof(shown) - 2; name++) {
		if (*name == '"' || *name == '\\')
			*to++ = '\\';
		*to++ = *name;
	}
	*to = '\0';
	put(arg, "homing_guard_interface{name=\"%s\",mode=\"%s\"} 1\n", shown, mode);
}

static void put_guard_kernel(struct out *out, struct guard_kernel *kernel)
{
	struct hm_guard_count counts[HM_GUARD_VERDICTS];
	bool known = kernel && guard_kernel_counts(kernel, counts) == 0;

	head(out, "homing_guard_packets_total", "counter",
		"Packets that the guard's programs have looked at.");
	for (int i = 0; known && i < HM_GUARD_VERDICTS; i++)
		put(out, "homing_guard_packets_total{verdict=\"%s\"} %llu\n",
			guard_kernel_verdict_name((enum hm_guard_verdict)i),
			(unsigned long long)counts[i].packets);
	head(out, "homing_guard_interface", "gauge", "1 for each interface that XDP is on.");
	if (kernel)
		guard_kernel_devices(kernel, put_device, out);
	head(out, "homing_guard_inert", "gauge", "1 while the programs let everything pass.");
	if (kernel)
		put(out, "homing_guard_inert %d\n", guard_kernel_is_inert(kernel));
}

int control_metrics(struct control_state *control, struct buf *ret_text)
{
	struct router *router = control->router;
	struct out out = { .buf = ret_text };

	put_process(&out, control);
	put_listeners(&out, router);
	put_node_sessions(&out, router, true);
	put_node_sessions(&out, router, false);
	put_auth(&out, &router->metrics);
	put_logins(&out, control);
	put_nodes(&out, router);
	put_node_errors(&out, router);
	put_paths(&out, router);
	put_kernel(&out, &router->kernel);
	put_phases(&out, &router->metrics);
	put_http(&out, router);
	put_agents(&out, router);
	put_handoff(&out, router);
	put_guard(&out, router);
	put_guard_kernel(&out, control->guard_kernel);
	return out.error;
}
