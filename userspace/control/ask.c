// SPDX-License-Identifier: Apache-2.0
/* What the admin API asks of every worker: its sessions, and to end some. The last answer completes
 * the request. */
#include "control/status.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct request;

struct part {
	struct worker_call call;
	struct request *request;
	struct session_list list;
	unsigned kicked;
	int result;
};

struct request {
	struct session_filter filter;            /* account and node: owned copies */
	bool kick;                               /* instead of listing */
	void (*done)(void *arg, json_t *answer); /* NULL: nobody waits */
	void *arg;
	unsigned missing;
	unsigned part_count;
	struct part parts[];
};

static void request_free(struct request *request)
{
	for (unsigned i = 0; i < request->part_count; i++)
		session_list_free(&request->parts[i].list);
	free((char *)request->filter.account);
	free((char *)request->filter.node);
	free(request);
}

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static json_t *path_json(enum relay_path path)
{
	return path == RELAY_PATH_NONE ? json_null() : json_string(relay_path_name(path));
}

static json_t *row_json(const struct session_row *row)
{
	return json_pack("{ss so ss ss ss so ss so so sb sI sI sI sI}", "id", row->id, "account",
		text_or_null(row->account), "protocol", row->protocol, "listener", row->listener,
		"client", row->client, "node", text_or_null(row->node), "stage", row->stage,
		"path_up", path_json(row->path[RELAY_UP]), "path_down",
		path_json(row->path[RELAY_DOWN]), "handed_over", row->tls_at_agent, "bytes_up",
		(json_int_t)row->bytes[RELAY_UP], "bytes_down", (json_int_t)row->bytes[RELAY_DOWN],
		"age_s", (json_int_t)(row->age_ms / 1000), "idle_s",
		(json_int_t)(row->idle_ms / 1000));
}

static json_t *figures_json(const struct tcpinfo_figures *net)
{
	return json_pack("{sI sI sI sI ss sI sI sI sI sI}", "rtt_us", (json_int_t)net->rtt_us,
		"rttvar_us", (json_int_t)net->rttvar_us, "retransmits",
		(json_int_t)net->retransmits, "cwnd", (json_int_t)net->cwnd, "limited_by",
		tcpinfo_limit_name(net->limit), "receive_bytes", (json_int_t)net->received,
		"receive_limit", (json_int_t)net->receive_limit, "send_bytes",
		(json_int_t)net->queued, "send_limit", (json_int_t)net->send_limit, "memory_bytes",
		(json_int_t)net->memory);
}

/* GRD-31: {"client": {...}, "node": null} */
static json_t *net_json(const struct session_row *row)
{
	static const char *const names[] = { [RELAY_CLIENT] = "client", [RELAY_NODE] = "node" };
	json_t *net = json_object();

	for (int leg = RELAY_CLIENT; leg <= RELAY_NODE; leg++)
		json_object_set_new(net, names[leg],
			row->has_net[leg] ? figures_json(&row->net[leg]) : json_null());
	return net;
}

static json_t *answer_json(struct request *request)
{
	struct session_list all = { 0 };
	json_t *rows, *answer;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < request->part_count; i++) {
		r = request->parts[i].result;
		if (r == 0)
			r = session_list_merge(
				&all, &request->parts[i].list, request->filter.limit);
	}
	if (r < 0) {
		session_list_free(&all);
		return NULL;
	}
	rows = json_array();
	for (uint32_t i = 0; i < all.count; i++) {
		json_t *row = row_json(&all.rows[i]);

		if (request->filter.net)
			json_object_set_new(row, "net", net_json(&all.rows[i]));
		json_array_append_new(rows, row);
	}
	answer = json_pack("{sI sI so}", "total", (json_int_t)all.total, "shown",
		(json_int_t)all.count, "sessions", rows);
	session_list_free(&all);
	return answer;
}

static json_t *kicked_json(const struct request *request)
{
	json_int_t count = 0;

	for (unsigned i = 0; i < request->part_count; i++)
		count += request->parts[i].kicked;
	return json_pack("{sI}", "kicked", count);
}

static void part_done(struct request *request)
{
	if (--request->missing)
		return;
	if (request->done)
		request->done(
			request->arg, request->kick ? kicked_json(request) : answer_json(request));
	request_free(request);
}

static void on_collect(struct worker_call *call, struct session_pool *pool)
{
	struct part *part = container_of(call, struct part, call);

	if (pool)
		part->result = session_list_collect(pool, &part->request->filter, &part->list);
}

static void on_kick(struct worker_call *call, struct session_pool *pool)
{
	struct part *part = container_of(call, struct part, call);

	if (pool)
		part->kicked = session_pool_kick(pool, part->request->filter.account);
}

static void on_holds(struct worker_call *call, struct session_pool *pool)
{
	(void)call;
	if (pool)
		session_pool_holds_changed(pool);
}

static void on_collected(struct worker_call *call)
{
	part_done(container_of(call, struct part, call)->request);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct request *request_new(
	struct control_state *control, void (*done)(void *arg, json_t *answer), void *arg)
{
	struct request *request =
		calloc(1, sizeof(*request) + control->worker_count * sizeof(struct part));

	if (!request)
		return NULL;
	request->done = done;
	request->arg = arg;
	request->part_count = control->worker_count;
	return request;
}

static void ask_all(struct control_state *control, struct request *request,
	void (*run)(struct worker_call *call, struct session_pool *pool))
{
	/* NOLINTBEGIN(clang-analyzer-unix.Malloc): only the last part_done() frees it */
	request->missing = request->part_count + 1; /* one is ours: nothing completes early */
	for (unsigned i = 0; i < control->worker_count; i++) {
		struct part *part = &request->parts[i];

		part->request = request;
		part->call.run = run;
		part->call.done = on_collected;
		if (!worker_call(&control->workers[i], &part->call))
			part_done(request);
	}
	part_done(request);
	/* NOLINTEND(clang-analyzer-unix.Malloc) */
}

/* Declared, or gone from the configuration while it still has sessions. */
static bool knows_node(const struct router *router, const char *name)
{
	for (size_t i = 0; i < router->known.node_count; i++) {
		const struct node *node = router->known.nodes[i].node;

		if (strcmp(node->name, name) == 0)
			return router_shows_node(router, node);
	}
	return false;
}

int control_sessions(struct control_state *control, const struct session_filter *filter,
	void (*done)(void *arg, json_t *answer), void *arg)
{
	struct request *request;

	if (filter->node && !knows_node(control->router, filter->node))
		return -ENOENT;
	request = request_new(control, done, arg);
	if (!request)
		return -ENOMEM;
	request->filter = (struct session_filter){ .account = copy(filter->account),
		.node = copy(filter->node),
		.limit = filter->limit,
		.net = filter->net };
	if ((filter->account && !request->filter.account) ||
		(filter->node && !request->filter.node)) {
		request_free(request);
		return -ENOMEM;
	}
	ask_all(control, request, on_collect);
	return 0;
}

int control_kick(struct control_state *control, const char *account,
	void (*done)(void *arg, json_t *answer), void *arg)
{
	struct request *request = request_new(control, done, arg);

	if (!request)
		return -ENOMEM;
	request->kick = true;
	request->filter.account = copy(account);
	if (!request->filter.account) {
		request_free(request);
		return -ENOMEM;
	}
	ask_all(control, request, on_kick);
	return 0;
}

void control_holds_changed(struct control_state *control)
{
	struct request *request = request_new(control, NULL, NULL);

	if (request) /* without memory they wait until the old end, and then look */
		ask_all(control, request, on_holds);
}
