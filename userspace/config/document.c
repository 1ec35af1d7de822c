// SPDX-License-Identifier: Apache-2.0
/* Which tables a document has, in which order they are read (that of docs/config.md), and the
 * structure that each of them fills. Their keys are read along the schema's rows (walk.c). */
#include "config/walk.h"

#include <assert.h>

/* ---- tables with names ---- */

static void load_certificate(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	struct tls_cert_params *cert = item;

	cert->name = config_strdup(loader, entry->key);
	walk_table(loader, TABLE_CERTIFICATE, path, entry, cert);
}

static void load_listener(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	struct config_listener *listener = item;

	listener->name = config_strdup(loader, entry->key);
	walk_table(loader, TABLE_LISTENER, path, entry, listener);
}

static enum config_forwarding resolve_forwarding(
	const struct config_destination *destination, const struct config_leg *leg)
{
	if (leg->forwarding != CONFIG_FORWARDING_UNSET)
		return leg->forwarding;
	if (destination->forwarding != CONFIG_FORWARDING_UNSET)
		return destination->forwarding;
	return destination->proxy_protocol ? CONFIG_FORWARDING_PROXY : CONFIG_FORWARDING_NONE;
}

/* What it does not say itself is the destination's. */
static void load_handoff(struct loader *loader, const struct toml_entry *entry,
	const char *destination_path, struct config_destination *destination)
{
	struct config_handoff *handoff = &destination->handoff;
	char path[KEYPATH_SIZE];
	const struct toml_entry *table;

	snprintf(path, sizeof(path), "%.200s.handoff", destination_path);
	table = walk_find_table(loader, &entry->value->table, "handoff", path);
	if (!table)
		return;
	handoff->declared = true;
	walk_table(loader, TABLE_HANDOFF, path, table, handoff);
	if (!handoff->pins.count && !handoff->tls_ca)
		handoff->pins = destination->pins;
	if (!handoff->tls_server_name)
		handoff->tls_server_name = destination->tls_server_name;
	if (!handoff->host)
		handoff->host = destination->host;
}

static void load_destination(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	static const char *const leg_names[] = { "imap", "pop3", "managesieve", "submission",
		"smtp", "lmtp", "http", NULL };
	static_assert(ARRAY_SIZE(leg_names) == PROTOCOL_HTTP + 2, "a node speaks no handoff");
	struct config_destination *destination = item;
	char leg_path[KEYPATH_SIZE], name_path[KEYPATH_SIZE];
	const struct toml_entry *legs;

	destination->name = config_strdup(loader, entry->key);
	walk_table(loader, TABLE_DESTINATION, path, entry, destination);
	load_handoff(loader, entry, path, destination);
	snprintf(name_path, sizeof(name_path), "%.200s.protocol", path);
	legs = walk_find_table(loader, &entry->value->table, "protocol", name_path);
	walk_only_known(loader, legs, name_path, leg_names);
	for (int p = 0; legs && p <= PROTOCOL_HTTP; p++) {
		const struct toml_entry *leg;

		snprintf(leg_path, sizeof(leg_path), "%.200s.%s", name_path, schema_protocols[p]);
		leg = walk_find_table(loader, &legs->value->table, schema_protocols[p], leg_path);
		if (!leg)
			continue;
		destination->legs[p].declared = true;
		walk_table(loader, TABLE_LEG, leg_path, leg, &destination->legs[p]);
		destination->legs[p].forwarding =
			resolve_forwarding(destination, &destination->legs[p]);
	}
}

static void load_route(struct loader *loader, const struct toml_value *value, uint32_t i)
{
	struct config_route *route = &loader->config->http.routes[i];
	struct toml_entry entry = {
		.line = value->line, .column = value->column, .value = (struct toml_value *)value
	};
	const struct toml_entry *extract;
	char path[KEYPATH_SIZE], extract_path[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "http.route[%u]", i);
	if (value->type != TOML_TABLE) {
		config_find(loader, true, value->line, value->column, path,
			"expected table, found %s", toml_type_name(value->type));
		return;
	}
	walk_table(loader, TABLE_ROUTE, path, &entry, route);
	snprintf(extract_path, sizeof(extract_path), "http.route[%u].extract", i);
	extract = walk_find_table(loader, &value->table, "extract", extract_path);
	if (extract)
		walk_table(loader, TABLE_EXTRACT, extract_path, extract, route);
}

static void load_http(struct loader *loader, const struct toml_table *root)
{
	const struct toml_entry *http = walk_find_table(loader, root, "http", "http"), *routes;
	struct config_http *settings = &loader->config->http;

	walk_table(loader, TABLE_HTTP, "http", http, loader->config);
	routes = http ? toml_find(&http->value->table, VIEW_LIT("route")) : NULL;
	if (!routes)
		return;
	if (routes->value->type != TOML_ARRAY) {
		config_find(loader, true, routes->line, routes->column, "http.route",
			"expected array of tables, found %s", toml_type_name(routes->value->type));
		return;
	}
	settings->route_count = routes->value->array.count;
	settings->routes =
		config_alloc(loader, (settings->route_count + 1) * sizeof(*settings->routes));
	for (uint32_t i = 0; settings->routes && i < settings->route_count; i++)
		load_route(loader, routes->value->array.items[i], i);
}

/* ---- the document ---- */

static void load_tls(struct loader *loader, const struct toml_table *root)
{
	static const char *const names[] = { "certificate", "protocols", NULL };
	struct config *config = loader->config;
	const struct toml_entry *tls = walk_find_table(loader, root, "tls", "tls");
	const struct toml_table *table = tls ? &tls->value->table : NULL;

	walk_only_known(loader, tls, "tls", names);
	config->certs = walk_named(loader,
		walk_find_table(loader, table, "certificate", "tls.certificate"), "tls.certificate",
		sizeof(*config->certs), &config->cert_count, load_certificate);
	walk_table(loader, TABLE_TLS_PROTOCOLS, "tls.protocols",
		walk_find_table(loader, table, "protocols", "tls.protocols"), &config->tls_policy);
}

static void load_mapping(struct loader *loader, const struct toml_table *root)
{
	struct config *config = loader->config;
	const struct toml_entry *mapping = walk_find_table(loader, root, "mapping", "mapping");
	const struct toml_table *table = mapping ? &mapping->value->table : NULL;
	static const struct {
		const char *name, *path;
		enum schema_table_id id;
	} stores[] = { { "file", "mapping.file", TABLE_MAPPING_FILE },
		{ "redis", "mapping.redis", TABLE_MAPPING_REDIS },
		{ "sql", "mapping.sql", TABLE_MAPPING_SQL } };
	static_assert(ARRAY_SIZE(stores) == CONFIG_SOURCES, "a table for each");

	walk_table(loader, TABLE_MAPPING, "mapping", mapping, config);
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++)
		walk_table(loader, stores[i].id, stores[i].path,
			walk_find_table(loader, table, stores[i].name, stores[i].path), config);
}

static void load_capabilities(struct loader *loader, const struct toml_table *root)
{
	static const struct {
		const char *name, *path;
		enum schema_table_id id;
		enum protocol protocol;
	} tables[] = {
		{ "imap", "capabilities.imap", TABLE_CAP_IMAP, PROTOCOL_IMAP },
		{ "pop3", "capabilities.pop3", TABLE_CAP_POP3, PROTOCOL_POP3 },
		{ "managesieve", "capabilities.managesieve", TABLE_CAP_MANAGESIEVE,
			PROTOCOL_MANAGESIEVE },
		{ "submission", "capabilities.submission", TABLE_CAP_SUBMISSION,
			PROTOCOL_SUBMISSION },
	};
	static const char *const names[] = { "imap", "managesieve", "pop3", "submission", NULL };
	static_assert(ARRAY_SIZE(tables) == PROTOCOL_SUBMISSION + 1, "one for each with a login");
	static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(tables) + 1, "a name for each");
	const struct toml_entry *caps =
		walk_find_table(loader, root, "capabilities", "capabilities");
	const struct toml_table *table = caps ? &caps->value->table : NULL;

	walk_only_known(loader, caps, "capabilities", names);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		struct config_capabilities *target =
			&loader->config->capabilities[tables[i].protocol];
		const struct toml_entry *entry =
			walk_find_table(loader, table, tables[i].name, tables[i].path);

		walk_table(loader, tables[i].id, tables[i].path, entry, target);
		target->mechs_set = entry && toml_find(&entry->value->table, VIEW_LIT("sasl"));
	}
}

/* HND-1: routers say where they go, to the one node that there is. */
static void agent_defaults(struct config *config)
{
	for (size_t i = 0; i < config->listener_count && !config->routing.default_destination; i++)
		config->routing.default_destination = config->listeners[i].destination;
}

/* HND-1: whoever is sent by routers needs no mapping. */
static bool needs_mapping(const struct config *config)
{
	bool agent = false;

	for (size_t i = 0; i < config->listener_count; i++) {
		if (config->listeners[i].protocol <= PROTOCOL_SUBMISSION ||
			config->listeners[i].protocol == PROTOCOL_HTTP)
			return true;
		agent |= config->listeners[i].protocol == PROTOCOL_HANDOFF;
	}
	return !agent;
}

static void need_table(struct loader *loader, const struct toml_table *root, const char *name)
{
	if (!toml_find(root, view_str(name)))
		config_find(loader, true, 1, 1, name, "required table is missing");
}

void config_load_document(struct loader *loader, const struct toml_table *root)
{
	struct config *config = loader->config;
	const struct toml_entry *admin;

	walk_only_tables(loader, root);
	walk_table(loader, TABLE_SERVER, "server",
		walk_find_table(loader, root, "server", "server"), &config->server);
	load_tls(loader, root);
	config->listeners = walk_named(loader,
		walk_find_table(loader, root, "listener", "listener"), "listener",
		sizeof(*config->listeners), &config->listener_count, load_listener);
	if (needs_mapping(config)) {
		need_table(loader, root, "routing");
		need_table(loader, root, "mapping");
	}
	config->destinations = walk_named(loader,
		walk_find_table(loader, root, "destination", "destination"), "destination",
		sizeof(*config->destinations), &config->destination_count, load_destination);
	walk_table(loader, TABLE_ROUTING, "routing",
		walk_find_table(loader, root, "routing", "routing"), config);
	if (!needs_mapping(config))
		agent_defaults(config);
	load_mapping(loader, root);
	walk_table(loader, TABLE_OAUTH, "oauth", walk_find_table(loader, root, "oauth", "oauth"),
		config);
	load_capabilities(loader, root);
	load_http(loader, root);
	admin = walk_find_table(loader, root, "admin", "admin");
	config->admin.present = admin != NULL;
	walk_table(loader, TABLE_ADMIN, "admin", admin, config);
	walk_table(loader, TABLE_SPLICE, "splice",
		walk_find_table(loader, root, "splice", "splice"), config);
	walk_table(loader, TABLE_GUARD, "guard", walk_find_table(loader, root, "guard", "guard"),
		config);
}
