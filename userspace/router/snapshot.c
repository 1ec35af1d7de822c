// SPDX-License-Identifier: Apache-2.0
#include "handoff/frame.h"
#include "router/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_bytes(struct buf *buf, const void *data, size_t len, int *error)
{
	if (*error == 0)
		*error = buf_append(buf, &len, sizeof(len));
	if (*error == 0 && len)
		*error = buf_append(buf, data, len);
}

static void add_text(struct buf *buf, const char *text, int *error)
{
	add_bytes(buf, text, text ? strlen(text) : 0, error);
}

static void add_file(struct buf *buf, const struct config *config, const char *table,
	const char *key, int *error)
{
	const unsigned char *digest = config_file_digest(config, table, key);

	add_bytes(buf, digest, digest ? TLS_SHA256_SIZE : 0, error);
}

/* Everything that decides whom a TLS leg trusts and as whom it speaks (#33). table: where its files
 * are named. */
static int trust_of(const struct config *config, const char *table, const char *host,
	const struct tls_client_params *params, unsigned char ret_trust[TLS_SHA256_SIZE])
{
	unsigned char system[TLS_SHA256_SIZE];
	struct buf buf;
	int r = 0;

	buf_init(&buf, 65536, false);
	tls_system_trust_digest(system);
	add_bytes(&buf, system, sizeof(system), &r);
	add_text(&buf, host, &r);
	add_text(&buf, params->server_name, &r);
	add_text(&buf, params->alpn, &r);
	add_bytes(&buf, &params->allow_invalid, sizeof(params->allow_invalid), &r);
	add_bytes(&buf, &params->tls13_only, sizeof(params->tls13_only), &r);
	add_bytes(&buf, params->pin, params->pin ? TLS_SHA256_SIZE : 0, &r);
	for (const char *const *group = params->groups; group && *group; group++)
		add_text(&buf, *group, &r);
	add_file(&buf, config, table, "tls_client_cert", &r);
	add_file(&buf, config, table, "tls_client_key", &r);
	add_file(&buf, config, table, "tls_ca", &r);
	if (r == 0)
		tls_sha256(buf_view(&buf), ret_trust);
	buf_fini(&buf);
	return r;
}

/* The legs of the same destination in the snapshot before, or NULL. */
static const struct node_legs *earlier_legs(const struct snapshot *before, const char *destination)
{
	int index = before ? snapshot_find(before, destination) : -1;

	return index >= 0 ? &before->legs[index] : NULL;
}

/* earlier: what was there, or NULL. Taken over if nothing of the trust has changed, else made. */
static int take_or_make(struct tls_client *earlier, const unsigned char *earlier_trust,
	const unsigned char *trust, const struct tls_client_params *params,
	struct tls_client **ret_client, char error[TLS_ERROR_SIZE])
{
	if (!earlier || memcmp(earlier_trust, trust, TLS_SHA256_SIZE) != 0)
		return tls_client_new(params, ret_client, error);
	*ret_client = tls_client_ref(earlier);
	return 0;
}

static int build_leg(const struct snapshot *before, struct snapshot *snapshot, size_t i,
	int protocol, char error[TLS_ERROR_SIZE])
{
	const struct config_destination *destination = &snapshot->config->destinations[i];
	const struct config_leg *leg = &destination->legs[protocol];
	const struct node_legs *earlier = earlier_legs(before, destination->name);
	struct node_legs *legs = &snapshot->legs[i];
	struct tls_client_params params = {
		.server_name = destination->tls_server_name ? destination->tls_server_name
							    : destination->host,
		.allow_invalid = destination->tls_allow_invalid_certs,
		.pin = destination->pins.count ? *destination->pins.sha256 : NULL,
		.client_cert_path = destination->tls_client_cert,
		.client_key_path = destination->tls_client_key,
		.alpn = protocol == PROTOCOL_HTTP ? "http/1.1" : NULL,
		.groups = destination->tls_groups,
	};
	char table[160];
	int r;

	if (!leg->declared || leg->tls == CONFIG_TLS_PLAIN)
		return 0;
	config_named_path(table, sizeof(table), "destination", destination->name);
	r = trust_of(snapshot->config, table, destination->host, &params, legs->trust[protocol]);
	return r < 0 ? r
		     : take_or_make(earlier ? earlier->tls[protocol] : NULL,
			       earlier ? earlier->trust[protocol] : NULL, legs->trust[protocol],
			       &params, &legs->tls[protocol], error);
}

/* To the agent; there is no way not to verify it. */
static int build_agent_leg(const struct snapshot *before, struct snapshot *snapshot, size_t i,
	char error[TLS_ERROR_SIZE])
{
	const struct config_destination *destination = &snapshot->config->destinations[i];
	const struct config_handoff *handoff = &destination->handoff;
	const struct node_legs *earlier = earlier_legs(before, destination->name);
	struct node_legs *legs = &snapshot->legs[i];
	struct tls_client_params params = {
		.server_name = handoff->tls_server_name ? handoff->tls_server_name : handoff->host,
		.pin = handoff->pins.count ? *handoff->pins.sha256 : NULL,
		.ca_path = handoff->tls_ca,
		.client_cert_path = handoff->tls_client_cert,
		.client_key_path = handoff->tls_client_key,
		.alpn = HANDOFF_ALPN,
		.groups = destination->tls_groups,
		.tls13_only = true,
	};
	char table[160], path[170];
	int r;

	if (!handoff->declared)
		return 0;
	config_named_path(table, sizeof(table), "destination", destination->name);
	snprintf(path, sizeof(path), "%s.handoff", table);
	r = trust_of(snapshot->config, path, handoff->host, &params, legs->agent_trust);
	return r < 0 ? r
		     : take_or_make(earlier ? earlier->agent : NULL,
			       earlier ? earlier->agent_trust : NULL, legs->agent_trust, &params,
			       &legs->agent, error);
}

struct health_params snapshot_health(const struct config *config)
{
	return (struct health_params){
		.down_threshold = (unsigned)config->server.host_down_threshold,
		.down_min_clients = (unsigned)config->server.host_down_min_clients,
		.cooldown_ms = config->server.host_down_cooldown_ms,
	};
}

static_assert(PROTOCOLS <= NODE_PROTOCOLS, "a node counts each");

static int build_node(const struct snapshot *before, const struct known *known,
	struct snapshot *snapshot, size_t i, struct build_error *error)
{
	const struct config_destination *destination = &snapshot->config->destinations[i];
	const struct known_node *row = known_find_node(known, destination->name);
	struct node_params params = { .name = destination->name,
		.health = snapshot_health(snapshot->config) };
	char text[TLS_ERROR_SIZE] = "";
	int r = 0;

	snapshot->hosts[i] = strdup(destination->host);
	if (!snapshot->hosts[i])
		return -ENOMEM;
	if (row)
		snapshot->nodes[i] = node_ref(row->node);
	else
		r = node_new(&params, &snapshot->nodes[i]);
	for (int p = 0; r == 0 && p < PROTOCOLS; p++)
		r = build_leg(before, snapshot, i, p, text);
	if (r == 0)
		r = build_agent_leg(before, snapshot, i, text);
	if (r < 0) {
		config_named_path(
			error->table, sizeof(error->table), "destination", destination->name);
		snprintf(error->text, sizeof(error->text), "%s", *text ? text : "cannot be set up");
	}
	return r;
}

/* Routers that come there, and the sessions they bring. */
static int build_agent(struct snapshot *snapshot, size_t i, struct build_error *error)
{
	const struct config_listener *settings = &snapshot->config->listeners[i];
	struct tls_auth_params params = { .ca_path = settings->client_ca,
		.pins = settings->client_pins.count ? *settings->client_pins.sha256 : NULL,
		.pin_count = settings->client_pins.count };
	struct agent_listener *agent = calloc(1, sizeof(*agent));
	char text[TLS_ERROR_SIZE] = "";
	int r;

	snapshot->agents[i] = agent;
	if (!agent)
		return -ENOMEM;
	for (int p = 0; p < PROTOCOLS_INTERACTIVE; p++) {
		agent->inner[p] = *settings;
		agent->inner[p].protocol = (enum protocol)p;
	}
	r = tls_auth_new(&params, &agent->auth, text);
	if (r < 0) {
		config_named_path(error->table, sizeof(error->table), "listener", settings->name);
		snprintf(error->text, sizeof(error->text), "client_ca: %.200s", text);
	}
	return r;
}

static int build_listener(
	const struct known *known, struct snapshot *snapshot, size_t i, struct build_error *error)
{
	const char *name = snapshot->config->listeners[i].name;
	struct listener *listener = known_find_listener(known, name);
	int r = 0;

	if (listener)
		snapshot->listeners[i] = listener_ref(listener);
	else
		r = listener_new(name, &snapshot->listeners[i]);
	if (r == 0 && snapshot->config->listeners[i].protocol == PROTOCOL_HANDOFF)
		r = build_agent(snapshot, i, error);
	return r;
}

static int build_tls(struct snapshot *snapshot, struct build_error *error)
{
	const struct config *config = snapshot->config;
	char text[TLS_ERROR_SIZE] = "";
	int r = tls_server_new(
		config->certs, config->cert_count, &config->tls_policy, &snapshot->tls, text);

	if (r < 0) {
		snprintf(error->table, sizeof(error->table), "tls");
		snprintf(error->text, sizeof(error->text), "%s", text);
	}
	return r;
}

static int build_routes(struct snapshot *snapshot, struct build_error *error)
{
	static const enum route_from from[] = {
		[CONFIG_EXTRACT_NONE] = ROUTE_NONE,
		[CONFIG_EXTRACT_AUTHORIZATION] = ROUTE_AUTHORIZATION,
		[CONFIG_EXTRACT_QUERY] = ROUTE_QUERY,
		[CONFIG_EXTRACT_BODY] = ROUTE_BODY,
		[CONFIG_EXTRACT_HEADER] = ROUTE_HEADER,
	};
	const struct config_http *http = &snapshot->config->http;
	struct route_spec *specs = calloc(http->route_count + 1, sizeof(*specs));
	char text[ROUTE_ERROR_SIZE];
	int r;

	static_assert(ARRAY_SIZE(from) == CONFIG_EXTRACTS, "route/'s name for each");
	if (!specs)
		return -ENOMEM;
	for (size_t i = 0; i < http->route_count; i++) {
		const struct config_route *route = &http->routes[i];

		specs[i] = (struct route_spec){ route->match, from[route->from], route->param,
			route->regex, route->header };
	}
	r = route_table_new(specs, http->route_count, &snapshot->routes, text);
	if (r < 0) {
		snprintf(error->table, sizeof(error->table), "http.route");
		snprintf(error->text, sizeof(error->text), "%s", text);
	}
	free(specs);
	return r;
}

static int build_all(const struct snapshot *before, const struct known *known,
	struct snapshot *snapshot, struct build_error *error)
{
	const struct config *config = snapshot->config;
	int r;

	snapshot->nodes = calloc(config->destination_count + 1, sizeof(*snapshot->nodes));
	snapshot->legs = calloc(config->destination_count + 1, sizeof(*snapshot->legs));
	snapshot->listeners = calloc(config->listener_count + 1, sizeof(*snapshot->listeners));
	snapshot->agents = calloc(config->listener_count + 1, sizeof(*snapshot->agents));
	snapshot->hosts = calloc(config->destination_count + 1, sizeof(*snapshot->hosts));
	if (!snapshot->nodes || !snapshot->legs || !snapshot->listeners || !snapshot->hosts ||
		!snapshot->agents)
		return -ENOMEM;
	snapshot->node_count = config->destination_count;
	r = build_tls(snapshot, error);
	if (r == 0)
		r = build_routes(snapshot, error);
	for (size_t i = 0; r == 0 && i < snapshot->node_count; i++)
		r = build_node(before, known, snapshot, i, error);
	for (size_t i = 0; r == 0 && i < config->listener_count; i++)
		r = build_listener(known, snapshot, i, error);
	return r;
}

int snapshot_new(const struct snapshot *before, const struct known *known, struct config *config,
	struct snapshot **ret_snapshot, struct build_error *ret_error)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	int r;

	*ret_error = (struct build_error){ .table = "server", .text = "out of memory" };
	if (!snapshot)
		return -ENOMEM;
	atomic_init(&snapshot->references, 1);
	snapshot->config = config_ref(config);
	r = build_all(before, known, snapshot, ret_error);
	if (r < 0)
		snapshot_unref(snapshot);
	else
		*ret_snapshot = snapshot;
	return r;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
	atomic_fetch_add(&snapshot->references, 1);
	return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
	if (!snapshot || atomic_fetch_sub(&snapshot->references, 1) != 1)
		return;
	for (size_t i = 0; i < snapshot->node_count; i++) {
		node_unref(snapshot->nodes[i]);
		free(snapshot->hosts[i]);
		for (int p = 0; p < PROTOCOLS; p++)
			tls_client_unref(snapshot->legs[i].tls[p]);
		tls_client_unref(snapshot->legs[i].agent);
	}
	for (size_t i = 0; snapshot->listeners && i < snapshot->config->listener_count; i++)
		listener_unref(snapshot->listeners[i]);
	for (size_t i = 0; snapshot->agents && i < snapshot->config->listener_count; i++) {
		if (snapshot->agents[i])
			tls_auth_unref(snapshot->agents[i]->auth);
		free(snapshot->agents[i]);
	}
	free(snapshot->agents);
	free(snapshot->listeners);
	free(snapshot->hosts);
	free(snapshot->own_addrs);
	free(snapshot->nodes);
	free(snapshot->legs);
	route_table_free(snapshot->routes);
	tls_server_unref(snapshot->tls);
	config_unref(snapshot->config);
	free(snapshot);
}

int snapshot_find(const struct snapshot *snapshot, const char *destination)
{
	for (size_t i = 0; i < snapshot->node_count; i++) {
		if (strcmp(snapshot->config->destinations[i].name, destination) == 0)
			return (int)i;
	}
	return -1;
}

const struct agent_listener *snapshot_agent(
	const struct snapshot *snapshot, const struct listener *listener)
{
	for (size_t i = 0; i < snapshot->config->listener_count; i++) {
		if (snapshot->listeners[i] == listener)
			return snapshot->agents[i];
	}
	return NULL;
}

const struct config_listener *snapshot_listener(
	const struct snapshot *snapshot, const struct listener *listener)
{
	for (size_t i = 0; i < snapshot->config->listener_count; i++) {
		if (snapshot->listeners[i] == listener)
			return &snapshot->config->listeners[i];
	}
	return NULL;
}
