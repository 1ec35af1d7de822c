// SPDX-License-Identifier: Apache-2.0
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

static void add_file(struct buf *buf, const struct config *config, const char *destination,
	const char *key, int *error)
{
	char table[160];
	const unsigned char *digest;

	config_named_path(table, sizeof(table), "destination", destination);
	digest = config_file_digest(config, table, key);
	add_bytes(buf, digest, digest ? TLS_SHA256_SIZE : 0, error);
}

/* Everything that decides whom a TLS leg trusts and as whom it speaks (#33). */
static int trust_of(const struct config *config, const struct config_destination *destination,
	const struct tls_client_params *params, unsigned char ret_trust[TLS_SHA256_SIZE])
{
	unsigned char system[TLS_SHA256_SIZE];
	struct buf buf;
	int r = 0;

	buf_init(&buf, 65536, false);
	tls_system_trust_digest(system);
	add_bytes(&buf, system, sizeof(system), &r);
	add_text(&buf, destination->host, &r);
	add_text(&buf, params->server_name, &r);
	add_text(&buf, params->alpn, &r);
	add_bytes(&buf, &params->allow_invalid, sizeof(params->allow_invalid), &r);
	add_bytes(&buf, params->pin, params->pin ? TLS_SHA256_SIZE : 0, &r);
	for (const char *const *group = params->groups; group && *group; group++)
		add_text(&buf, *group, &r);
	add_file(&buf, config, destination->name, "tls_client_cert", &r);
	add_file(&buf, config, destination->name, "tls_client_key", &r);
	if (r == 0)
		tls_sha256(buf_view(&buf), ret_trust);
	buf_fini(&buf);
	return r;
}

/* The same leg of the snapshot before, or NULL. */
static struct tls_client *earlier_leg(const struct snapshot *before, const char *destination,
	int protocol, const unsigned char trust[TLS_SHA256_SIZE])
{
	int index = before ? snapshot_find(before, destination) : -1;
	const struct node_legs *legs = index >= 0 ? &before->legs[index] : NULL;

	if (!legs || !legs->tls[protocol] ||
		memcmp(legs->trust[protocol], trust, TLS_SHA256_SIZE) != 0)
		return NULL;
	return legs->tls[protocol];
}

static int build_leg(const struct snapshot *before, struct snapshot *snapshot, size_t i,
	int protocol, char error[TLS_ERROR_SIZE])
{
	const struct config_destination *destination = &snapshot->config->destinations[i];
	const struct config_leg *leg = &destination->legs[protocol];
	struct node_legs *legs = &snapshot->legs[i];
	struct tls_client_params params = {
		.server_name = destination->tls_server_name ? destination->tls_server_name
							    : destination->host,
		.allow_invalid = destination->tls_allow_invalid_certs,
		.pin = destination->has_pin ? destination->pin : NULL,
		.client_cert_path = destination->tls_client_cert,
		.client_key_path = destination->tls_client_key,
		.alpn = protocol == PROTOCOL_HTTP ? "http/1.1" : NULL,
		.groups = destination->tls_groups,
	};
	struct tls_client *earlier;
	int r;

	if (!leg->declared || leg->tls == CONFIG_TLS_PLAIN)
		return 0;
	r = trust_of(snapshot->config, destination, &params, legs->trust[protocol]);
	if (r < 0)
		return r;
	earlier = earlier_leg(before, destination->name, protocol, legs->trust[protocol]);
	if (!earlier)
		return tls_client_new(&params, &legs->tls[protocol], error);
	legs->tls[protocol] = tls_client_ref(earlier);
	return 0;
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
	if (r < 0) {
		config_named_path(
			error->table, sizeof(error->table), "destination", destination->name);
		snprintf(error->text, sizeof(error->text), "%s", *text ? text : "cannot be set up");
	}
	return r;
}

static int build_listener(const struct known *known, struct snapshot *snapshot, size_t i)
{
	const char *name = snapshot->config->listeners[i].name;
	struct listener *listener = known_find_listener(known, name);

	if (!listener)
		return listener_new(name, &snapshot->listeners[i]);
	snapshot->listeners[i] = listener_ref(listener);
	return 0;
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
	snapshot->hosts = calloc(config->destination_count + 1, sizeof(*snapshot->hosts));
	if (!snapshot->nodes || !snapshot->legs || !snapshot->listeners || !snapshot->hosts)
		return -ENOMEM;
	snapshot->node_count = config->destination_count;
	r = build_tls(snapshot, error);
	if (r == 0)
		r = build_routes(snapshot, error);
	for (size_t i = 0; r == 0 && i < snapshot->node_count; i++)
		r = build_node(before, known, snapshot, i, error);
	for (size_t i = 0; r == 0 && i < config->listener_count; i++)
		r = build_listener(known, snapshot, i);
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
	}
	for (size_t i = 0; snapshot->listeners && i < snapshot->config->listener_count; i++)
		listener_unref(snapshot->listeners[i]);
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

const struct config_listener *snapshot_listener(
	const struct snapshot *snapshot, const struct listener *listener)
{
	for (size_t i = 0; i < snapshot->config->listener_count; i++) {
		if (snapshot->listeners[i] == listener)
			return &snapshot->config->listeners[i];
	}
	return NULL;
}
