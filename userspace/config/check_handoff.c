// SPDX-License-Identifier: Apache-2.0
/* The cross checks of both sides of a handoff (handoff.md section 1): the agent that a destination
 * has, and the listener that an agent is. */
#include "config/check.h"

#include <unistd.h>

static void check_authorities(
	struct loader *loader, const char *table, const char *key, const char *path)
{
	char error[TLS_ERROR_SIZE];

	check_access(loader, table, key, path);
	if (path && access(path, R_OK) == 0 && tls_authorities_check(path, error) < 0)
		check_find(loader, true, table, key, "\"%s\": %s", path, error);
}

/* ---- the agent of a destination ---- */

static void check_agent_of(struct loader *loader, const struct config_destination *destination)
{
	const struct config_handoff *handoff = &destination->handoff;
	char table[KEYPATH_SIZE], path[KEYPATH_SIZE];
	struct addr addr;
	bool any = false;

	snprintf(path, sizeof(path), "%.200s.handoff",
		check_path(table, "destination", destination->name));
	check_key_pair(loader, path, handoff->tls_client_cert, handoff->tls_client_key);
	check_authorities(loader, path, "tls_ca", handoff->tls_ca);
	if (handoff->tls_ca && handoff->pins.count)
		check_find(loader, true, path, "tls_ca",
			"tls_ca and tls_pinned_cert_sha256 exclude each other: the pin alone would "
			"decide");
	if (handoff->host && !handoff->tls_server_name && !handoff->pins.count &&
		!handoff->tls_ca && addr_parse_ip(view_str(handoff->host), 0, &addr) == 0)
		check_find(loader, true, path, "tls_server_name",
			"an IP address needs tls_ca, tls_server_name or tls_pinned_cert_sha256: "
			"the agent must be known");
	for (int p = 0; p < PROTOCOLS_INTERACTIVE; p++) {
		any |= handoff->protocols[p];
		if (handoff->protocols[p] && !destination->legs[p].declared &&
			config_is_set(loader->config, path, "protocols"))
			check_find(loader, false, path, "protocols",
				"the destination declares no %s: nobody goes there",
				protocol_name((enum protocol)p));
	}
	if (!any)
		check_find(loader, false, path, "protocols", "empty: nothing is handed over");
}

/* ---- the listener of an agent ---- */

/* HND-2. */
static void check_node_beside(
	struct loader *loader, const struct config_destination *destination, const char *listener)
{
	char listener_path[KEYPATH_SIZE];
	bool any = false;

	for (int p = 0; p < PROTOCOLS_INTERACTIVE; p++) {
		const struct config_leg *leg = &destination->legs[p];
		char table[KEYPATH_SIZE], path[KEYPATH_SIZE];

		any |= leg->declared;
		if (!leg->declared)
			continue;
		snprintf(path, sizeof(path), "%.200s.protocol.%s",
			check_path(table, "destination", destination->name),
			protocol_name((enum protocol)p));
		if (leg->tls == CONFIG_TLS_STARTTLS)
			check_find(loader, true, path, "tls",
				"the agent of listener \"%.64s\" goes there: it speaks no "
				"STARTTLS, set tls to plain or implicit",
				listener);
		if (leg->forwarding == CONFIG_FORWARDING_XCLIENT)
			check_find(loader, true, path, "forwarding",
				"the agent of listener \"%.64s\" goes there: it can be proxy or "
				"none",
				listener);
	}
	check_path(listener_path, "listener", listener);
	if (!any)
		check_find(loader, true, listener_path, "destination",
			"destination \"%s\" declares no protocol with a login", destination->name);
}

static void check_agent(struct loader *loader, const struct config_listener *listener)
{
	const struct config_destination *destination = listener->destination
		? config_find_destination(loader->config, view_str(listener->destination))
		: NULL;
	char path[KEYPATH_SIZE];

	check_path(path, "listener", listener->name);
	if (listener->tls != CONFIG_TLS_IMPLICIT)
		check_find(loader, true, path, "tls", "handoff needs tls = \"implicit\"");
	if (listener->proxy_protocol != CONFIG_PROXY_OFF)
		check_find(loader, true, path, "proxy_protocol",
			"routers come themselves: no PROXY header is possible with handoff");
	if (!listener->client_ca && !listener->client_pins.count)
		check_find(loader, true, path, "client_ca",
			"client_ca or client_pins must say which routers may come");
	check_authorities(loader, path, "client_ca", listener->client_ca);
	if (!listener->destination)
		check_find(loader, true, path, "destination", "required key is missing");
	else if (!destination)
		check_find(loader, true, path, "destination", "destination \"%s\" is not declared",
			listener->destination);
	else
		check_node_beside(loader, destination, listener->name);
}

static void check_no_agent(struct loader *loader, const struct config_listener *listener)
{
	static const char *const keys[] = { "client_ca", "client_pins", "destination" };
	char path[KEYPATH_SIZE];

	check_path(path, "listener", listener->name);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (config_is_set(loader->config, path, keys[i]))
			check_find(loader, false, path, keys[i], "has a meaning for handoff only");
	}
}

void check_handoff(struct loader *loader)
{
	const struct config *config = loader->config;

	for (size_t i = 0; i < config->destination_count; i++) {
		if (config->destinations[i].handoff.declared)
			check_agent_of(loader, &config->destinations[i]);
	}
	for (size_t i = 0; i < config->listener_count; i++) {
		if (config->listeners[i].protocol == PROTOCOL_HANDOFF)
			check_agent(loader, &config->listeners[i]);
		else
			check_no_agent(loader, &config->listeners[i]);
	}
}
