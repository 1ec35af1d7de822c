// SPDX-License-Identifier: Apache-2.0
/*
 * What no single row can see: the cross checks of config.md section 12 (numbers in the comments)
 * on certificates, listeners, destinations, names and the environment, and the order of all of
 * them. check_mapping.c, check_http.c, check_admin.c, check_guard.c and check_host.c have the
 * others, check_shared.c what they share. No socket is opened, no name resolved.
 */
#include "config/check.h"
#include "net/sock.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- tls ---- */

static const char no_tls[] = "OpenSSL does not work here (no memory, or no random numbers)";

static void on_tls_finding(void *arg, const struct tls_finding *finding)
{
	char path[KEYPATH_SIZE];

	if (finding->cert)
		check_find(arg, finding->error, check_path(path, "tls.certificate", finding->cert),
			finding->field, "%s", finding->text);
	else
		check_find(
			arg, finding->error, "tls.protocols", finding->field, "%s", finding->text);
}

static void check_tls(struct loader *loader)
{
	const struct config *config = loader->config;
	char path[KEYPATH_SIZE];
	bool needed = config->admin.present;

	for (size_t i = 0; i < config->cert_count; i++) {
		if (!config->certs[i].cert_path || !config->certs[i].key_path)
			return; /* reported as missing */
		check_mode(loader, check_path(path, "tls.certificate", config->certs[i].name),
			"key", config->certs[i].key_path);
	}
	if (tls_check(config->certs, config->cert_count, &config->tls_policy, on_tls_finding,
		    loader) < 0 &&
		!loader->errors)
		check_find(loader, true, "tls.protocols", NULL,
			"certificates cannot be checked: %s", no_tls);
	for (size_t i = 0; i < config->listener_count; i++)
		needed |= config->listeners[i].tls != CONFIG_TLS_PLAIN;
	if (needed && !config->cert_count)
		config_find(loader, false, 1, 1, "tls.certificate",
			"no certificate is declared: a self-signed one will be used"); /* CFG-22 */
}

/* ---- listeners ---- */

static bool is_interactive(int protocol)
{
	return protocol < PROTOCOLS_INTERACTIVE;
}

struct bound {
	const struct addr *addr;
	const char *table;
};

/* CFG-27: the same address twice, or wildcard and specific on one port. */
static bool clash(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family || addr_port(a) != addr_port(b) || !addr_port(a))
		return false;
	return addr_eq_ip(a, b) || addr_is_wildcard(a) || addr_is_wildcard(b);
}

static void check_binds(struct loader *loader)
{
	struct config *config = loader->config;
	size_t count = 0, n = 0;
	struct bound *all;

	for (size_t i = 0; i < config->listener_count; i++)
		count += config->listeners[i].bind_count;
	all = config_alloc(loader, (count + 1) * sizeof(*all));
	for (size_t i = 0; all && i < config->listener_count; i++) {
		char path[KEYPATH_SIZE];

		check_path(path, "listener", config->listeners[i].name);
		for (size_t b = 0; b < config->listeners[i].bind_count; b++)
			all[n++] = (struct bound){ &config->listeners[i].bind[b],
				config_strdup(loader, view_str(path)) };
	}
	if (all && config->admin.present && addr_is_set(&config->admin.bind))
		all[n++] = (struct bound){ &config->admin.bind, "admin" };
	for (size_t i = 1; i < n; i++) {
		for (size_t k = 0; k < i; k++) {
			char text[ADDR_TEXT_SIZE];

			if (!clash(all[i].addr, all[k].addr))
				continue;
			check_find(loader, true, all[i].table, "bind", "%s is already bound by %s",
				addr_format(all[i].addr, text), all[k].table);
			break;
		}
	}
}

/* A wildcard of a family that this host has not is left out, if something is left. */
static void check_families(struct loader *loader, const struct config_listener *listener)
{
	char path[KEYPATH_SIZE], text[ADDR_TEXT_SIZE];
	size_t left = listener->bind_count;
	struct addr v4;

	check_path(path, "listener", listener->name);
	for (size_t b = 0; b < listener->bind_count; b++) {
		const struct addr *bind = &listener->bind[b];
		bool v6 = bind->sa.sa_family == AF_INET6;

		if (!addr_is_wildcard(bind) || sock_has_family(bind->sa.sa_family))
			continue;
		left -= !config_binds_both(loader->config, bind, &v4);
		check_find(loader, !left, path, "bind", "%s is left out: this host has no %s",
			addr_format(bind, text), v6 ? "IPv6" : "IPv4");
	}
}

static bool binds_public(const struct config_listener *listener)
{
	for (size_t b = 0; b < listener->bind_count; b++) {
		if (!addr_is_loopback(&listener->bind[b]))
			return true;
	}
	return false;
}

static void check_listener(struct loader *loader, const struct config_listener *listener)
{
	const struct config *config = loader->config;
	const struct config_destination *destination = check_default(config);
	const char *name = protocol_name(listener->protocol);
	bool is_http = listener->protocol == PROTOCOL_HTTP;
	bool is_pass = listener->protocol == PROTOCOL_SMTP || listener->protocol == PROTOCOL_LMTP;
	char path[KEYPATH_SIZE];

	check_path(path, "listener", listener->name);
	check_families(loader, listener);
	if (is_interactive(listener->protocol) && destination &&
		!destination->legs[listener->protocol].declared) /* 3 */
		check_find(loader, true, path, "protocol",
			"the default destination \"%s\" declares no %s", destination->name, name);
	if (is_pass && !config->routing.smtp_passthrough_destination) /* 4 */
		check_find(loader, true, path, "protocol",
			"%s needs routing.smtp_passthrough_destination", name);
	if ((is_pass || is_http) && listener->tls == CONFIG_TLS_STARTTLS) /* 6, 7 */
		check_find(loader, true, path, "tls", "starttls is not possible with %s", name);
	if (listener->proxy_protocol != CONFIG_PROXY_OFF && !listener->proxy_trusted_count) /* 8 */
		check_find(
			loader, true, path, "proxy_trusted", "proxy_protocol needs trusted peers");
	if (is_interactive(listener->protocol) && listener->tls == CONFIG_TLS_PLAIN &&
		binds_public(listener) &&
		config->capabilities[listener->protocol].allow_plain_auth_without_tls) /* 27 */
		check_find(loader, false, path, "tls",
			"passwords in clear on an address that is not loopback");
	if (is_interactive(listener->protocol) && listener->tls == CONFIG_TLS_PLAIN &&
		!config->capabilities[listener->protocol].allow_plain_auth_without_tls)
		check_find(loader, false, path, "tls",
			"nobody can log in here: set tls to implicit or starttls, or "
			"capabilities.%s.allow_plain_auth_without_tls",
			name);
	if (is_http && listener->tls == CONFIG_TLS_PLAIN && binds_public(listener)) /* 29 */
		check_find(loader, false, path, "tls",
			"passwords in clear on an address that is not loopback");
	if (listener->protocol == PROTOCOL_HANDOFF) /* check_handoff.c */
		return;
	if (!is_http && config_is_set(config, path, "forwarded"))
		check_find(loader, false, path, "forwarded", "has a meaning for http only");
}

/* ---- destinations ---- */

static bool is_own_address(const struct addr *addr)
{
	struct ifaddrs *first, *entry;
	bool own = addr_is_loopback(addr);

	if (getifaddrs(&first) < 0)
		return own;
	for (entry = first; entry && !own; entry = entry->ifa_next) {
		struct sockaddr_storage storage = { 0 };
		struct addr local;

		if (!entry->ifa_addr ||
			(entry->ifa_addr->sa_family != AF_INET &&
				entry->ifa_addr->sa_family != AF_INET6))
			continue;
		memcpy(&storage, entry->ifa_addr,
			entry->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
							      : sizeof(struct sockaddr_in6));
		own = addr_from_sockaddr(&storage, &local) == 0 && addr_eq_ip(&local, addr);
	}
	freeifaddrs(first);
	return own;
}

/* 25: a node that is ourselves. */
static void check_loop(struct loader *loader, const struct config_destination *destination,
	const struct config_leg *leg, const char *leg_path)
{
	const struct config *config = loader->config;
	struct addr addr, v4;

	if (!destination->host || addr_parse_ip(view_str(destination->host), leg->port, &addr) < 0)
		return;
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++) {
			const struct addr *bind = &listener->bind[b];

			bool same_family = bind->sa.sa_family == addr.sa.sa_family ||
				(addr.sa.sa_family == AF_INET &&
					config_binds_both(config, bind, &v4));

			if (addr_eq(bind, &addr) ||
				(addr_is_wildcard(bind) && same_family &&
					addr_port(bind) == leg->port && is_own_address(&addr)))
				check_find(loader, true, leg_path, "port",
					"this is the router's own listener \"%s\": a loop",
					listener->name);
		}
	}
}

static void check_leg(
	struct loader *loader, const struct config_destination *destination, int protocol)
{
	const struct config_leg *leg = &destination->legs[protocol];
	bool no_xclient = protocol > PROTOCOL_SUBMISSION;
	char path[KEYPATH_SIZE], table[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "%.200s.protocol.%s",
		check_path(table, "destination", destination->name),
		protocol_name((enum protocol)protocol));
	if (no_xclient && leg->tls == CONFIG_TLS_STARTTLS) /* 6, 7 */
		check_find(loader, true, path, "tls", "starttls is not possible with %s",
			protocol_name((enum protocol)protocol));
	if (leg->tls == CONFIG_TLS_PLAIN && !destination->allow_plaintext_auth &&
		protocol != PROTOCOL_SMTP && protocol != PROTOCOL_LMTP) /* 9 */
		check_find(loader, true, path, "tls",
			"credentials would go out in clear: set allow_plaintext_auth to permit it");
	if (leg->forwarding == CONFIG_FORWARDING_XCLIENT && no_xclient) /* 23 */
		check_find(loader, false, path, "forwarding", "xclient conveys nothing with %s",
			protocol_name((enum protocol)protocol));
	if (leg->forwarding == CONFIG_FORWARDING_XCLIENT && loader->config->server.proxy_ttl == 1)
		check_find(loader, false, path, "forwarding",
			"proxy_ttl = 1: every session here ends as a loop"); /* 30 */
	check_loop(loader, destination, leg, path);
}

struct in_table {
	struct loader *loader;
	const char *path;
};

static void on_table_finding(void *arg, const struct tls_finding *finding)
{
	struct in_table *in = arg;

	check_find(in->loader, finding->error, in->path, finding->field, "%s", finding->text);
}

static void check_groups(
	struct loader *loader, const struct config_destination *destination, const char *path)
{
	struct in_table in = { loader, path };

	if (tls_groups_check(destination->tls_groups, "tls_groups", on_table_finding, &in) ==
		-ENOMEM)
		check_find(
			loader, true, path, "tls_groups", "groups cannot be checked: %s", no_tls);
}

static void check_destination(struct loader *loader, const struct config_destination *destination)
{
	char path[KEYPATH_SIZE];
	struct addr addr;
	bool tls = false;

	check_path(path, "destination", destination->name);
	for (int p = 0; p < PROTOCOLS; p++) {
		if (!destination->legs[p].declared)
			continue;
		tls |= destination->legs[p].tls != CONFIG_TLS_PLAIN;
		check_leg(loader, destination, p);
	}
	if (tls && destination->host && !destination->tls_server_name &&
		addr_parse_ip(view_str(destination->host), 0, &addr) == 0) /* 10 */
		check_find(loader, true, path, "host",
			"an IP address with TLS needs tls_server_name (it is also the SNI)");
	check_key_pair(loader, path, destination->tls_client_cert, destination->tls_client_key);
	if (destination->tls_allow_invalid_certs)
		check_find(loader, false, path, "tls_allow_invalid_certs", "%s",
			destination->pins.count
				? "has no effect: the pin is enforced"
				: "the node's certificate is not verified"); /* CFG-28 */
	check_groups(loader, destination, path);
}

/* ---- routing ---- */

static void check_names(struct loader *loader)
{
	const struct config *config = loader->config;
	const char *pass = config->routing.smtp_passthrough_destination;
	const struct config_destination *destination;

	if (!config->listener_count && !config->admin.present) /* 1 */
		config_find(loader, true, 1, 1, "listener",
			"neither a listener nor [admin]: nothing to do");
	if (config->routing.default_destination && !check_default(config)) /* 2 */
		check_find(loader, true, "routing", "default_destination",
			"destination \"%s\" is not declared", config->routing.default_destination);
	if (!pass)
		return;
	destination = config_find_destination(config, view_str(pass));
	if (!destination) { /* 2 */
		check_find(loader, true, "routing", "smtp_passthrough_destination",
			"destination \"%s\" is not declared", pass);
		return;
	}
	if (!destination->legs[PROTOCOL_SMTP].declared) /* 5 */
		check_find(loader, true, "routing", "smtp_passthrough_destination",
			"destination \"%s\" declares no smtp", pass);
	if (check_any_listener(config, PROTOCOL_LMTP) && !destination->legs[PROTOCOL_LMTP].declared)
		check_find(loader, true, "routing", "smtp_passthrough_destination",
			"destination \"%s\" declares no lmtp", pass);
}

static bool separator_ok(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] <= 0x20 || s[i] == 0x7f || s[i] == '"')
			return false;
	}
	return len <= 8;
}

static void check_separators(struct loader *loader)
{
	const char **list = (const char **)loader->config->identity_rules.separators;
	size_t kept = 0;

	for (size_t i = 0; list && list[i]; i++) {
		if (!*list[i])
			check_find(loader, false, "routing", "master_user_separators",
				"an empty separator is ignored");
		else if (!separator_ok(list[i]))
			check_find(loader, true, "routing", "master_user_separators",
				"a separator has 1 to 8 bytes and no control character, blank or "
				"quote");
		else
			list[kept++] = list[i];
	}
	if (list)
		list[kept] = NULL;
}

/* ---- environment ---- */

static void check_environment(struct loader *loader)
{
	const char *level = getenv("HOMING_LOG");
	struct config *config = loader->config;

	if (!level || !*level)
		return;
	if (log_level_parse(view_str(level), &config->server.log_level) < 0)
		check_find(loader, true, "server", "log_level",
			"HOMING_LOG is none of error, warn, info, debug, trace");
	else
		config->priv->log_level_overridden = true;
}

static bool url_has_password(const char *url)
{
	const char *at = url ? strchr(url, '@') : NULL, *slashes = url ? strstr(url, "://") : NULL;
	const char *colon = slashes ? strchr(slashes + 3, ':') : NULL;

	return (at && colon && colon < at) || (url && strstr(url, "password="));
}

void config_check(struct loader *loader)
{
	struct config *config = loader->config;

	check_environment(loader);
	check_names(loader);
	check_separators(loader);
	check_tls(loader);
	check_binds(loader);
	for (size_t i = 0; i < config->listener_count; i++)
		check_listener(loader, &config->listeners[i]);
	for (size_t i = 0; i < config->destination_count; i++)
		check_destination(loader, &config->destinations[i]);
	check_mapping(loader);
	check_http(loader);
	check_admin(loader);
	check_guard(loader);
	check_host(loader);
	check_handoff(loader);
	if (config->priv->secret_in_file || url_has_password(config->mapping.sql_url) ||
		url_has_password(config->mapping.redis_url)) /* 26 */
		check_mode(loader, "server", NULL, config->priv->path);
}
