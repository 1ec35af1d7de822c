// SPDX-License-Identifier: Apache-2.0
/* Snapshots (a configuration with everything built from it) and the own-listener check. */
#include "session/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int build_leg(const struct config_destination *destination, enum protocol protocol,
	struct tls_client **ret_client, char error[TLS_ERROR_SIZE])
{
	const struct config_leg *leg = &destination->legs[protocol];
	struct tls_client_params params = {
		.server_name = destination->tls_server_name ? destination->tls_server_name
							    : destination->host,
		.allow_invalid = destination->tls_allow_invalid_certs,
		.pin = destination->has_pin ? destination->pin : NULL,
		.client_cert_path = destination->tls_client_cert,
		.client_key_path = destination->tls_client_key,
		.alpn = protocol == PROTOCOL_HTTP ? "http/1.1" : NULL,
	};

	if (!leg->declared || leg->tls == CONFIG_TLS_PLAIN)
		return 0;
	return tls_client_new(&params, ret_client, error);
}

static int build_node(struct snapshot *snapshot, size_t i, char *error, size_t error_size)
{
	const struct config *config = snapshot->config;
	const struct config_destination *destination = &config->destinations[i];
	struct node_params params = {
		.name = destination->name,
		.source_ips = destination->source_ips,
		.source_ip_count = destination->source_ip_count,
		.health = {
			.down_threshold = (unsigned)config->server.host_down_threshold,
			.down_min_clients = (unsigned)config->server.host_down_min_clients,
			.cooldown_ms = config->server.host_down_cooldown_ms,
		},
	};
	char text[TLS_ERROR_SIZE] = "";
	int r = node_new(&params, &snapshot->nodes[i]);

	for (int p = 0; r == 0 && p < PROTOCOLS; p++)
		r = build_leg(destination, (enum protocol)p, &snapshot->legs[i].tls[p], text);
	if (r < 0)
		snprintf(error, error_size, "destination.%s: %s", destination->name,
			*text ? text : "cannot be set up");
	return r;
}

static int build_tls(struct snapshot *snapshot, char *error, size_t error_size)
{
	const struct config *config = snapshot->config;
	char text[TLS_ERROR_SIZE] = "";
	int r = tls_server_new(
		config->certs, config->cert_count, &config->tls_policy, &snapshot->tls, text);

	if (r < 0)
		snprintf(error, error_size, "tls: %s", text);
	return r;
}

static int build_routes(struct snapshot *snapshot, char *error, size_t error_size)
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

	if (!specs)
		return -ENOMEM;
	for (size_t i = 0; i < http->route_count; i++) {
		const struct config_route *route = &http->routes[i];

		specs[i] = (struct route_spec){ route->match, from[route->from], route->param,
			route->regex, route->header };
	}
	r = route_table_new(specs, http->route_count, &snapshot->routes, text);
	if (r < 0)
		snprintf(error, error_size, "http.route: %s", text);
	free(specs);
	return r;
}

int snapshot_new(
	struct config *config, struct snapshot **ret_snapshot, char *error, size_t error_size)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
	int r = -ENOMEM;

	snprintf(error, error_size, "out of memory");
	if (!snapshot)
		return r;
	atomic_init(&snapshot->references, 1);
	snapshot->config = config_ref(config);
	snapshot->nodes = calloc(config->destination_count, sizeof(*snapshot->nodes));
	snapshot->legs = calloc(config->destination_count, sizeof(*snapshot->legs));
	if (!snapshot->nodes || !snapshot->legs)
		goto fail;
	snapshot->node_count = config->destination_count;
	r = build_tls(snapshot, error, error_size);
	if (r == 0)
		r = build_routes(snapshot, error, error_size);
	for (size_t i = 0; r == 0 && i < snapshot->node_count; i++)
		r = build_node(snapshot, i, error, error_size);
	if (r < 0)
		goto fail;
	*ret_snapshot = snapshot;
	return 0;
fail:
	snapshot_unref(snapshot);
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
		for (int p = 0; p < PROTOCOLS; p++)
			tls_client_unref(snapshot->legs[i].tls[p]);
	}
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

/* SES-60: equal, or same family and port with a wildcard bind while the address is ours. */
static bool covers(const struct server *server, const struct addr *bound, const struct addr *addr)
{
	if (addr_port(bound) != addr_port(addr) || bound->sa.sa_family != addr->sa.sa_family)
		return false;
	if (addr_is_wildcard(bound))
		return netlink_is_local(server->local_addrs, addr);
	return addr_eq_ip(bound, addr);
}

bool server_is_own_listener(const struct server *server, const struct addr *addr)
{
	for (size_t i = 0; i < server->listener_count; i++) {
		const struct listener *listener = &server->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++) {
			if (covers(server, &listener->binds[b].addr, addr))
				return true;
		}
	}
	return addr_is_set(&server->admin_addr) && covers(server, &server->admin_addr, addr);
}
