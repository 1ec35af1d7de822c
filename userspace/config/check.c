// SPDX-License-Identifier: Apache-2.0
/*
 * What no single row can see: the cross checks of config.md section 12 (numbers in the comments),
 * urls, certificates, the mapping file, the admin token, the environment. No socket is opened, no
 * name resolved, no store asked.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "config/load.h"
#include "base/fd.h"
#include "base/secret.h"
#include "store/store.h"

#include <errno.h>
#include <ifaddrs.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- places ---- */

void config_locate(const struct config *config, const char *table_path, const char *key,
	unsigned *ret_line, unsigned *ret_column)
{
	const struct config_private *private = config->private;

	*ret_line = *ret_column = 1;
	for (size_t i = 0; i < private->instance_count; i++) {
		const struct config_instance *instance = &private->instances[i];
		const struct toml_entry *entry;

		if (!instance->path || strcmp(instance->path, table_path) != 0)
			continue;
		*ret_line = instance->line;
		*ret_column = instance->column;
		entry = instance->table && key ? toml_find(instance->table, view_str(key)) : NULL;
		if (entry) {
			*ret_line = entry->line;
			*ret_column = entry->column;
		}
		return;
	}
}

bool config_is_set(const struct config *config, const char *table_path, const char *key)
{
	const struct config_private *private = config->private;

	for (size_t i = 0; i < private->instance_count; i++) {
		const struct config_instance *instance = &private->instances[i];

		if (instance->path && strcmp(instance->path, table_path) == 0)
			return instance->table && toml_find(instance->table, view_str(key));
	}
	return false;
}

/* A finding at table.key. */
static void find(struct loader *loader, bool error, const char *table, const char *key,
	const char *format, ...) PRINTF_LIKE(5, 6);
static void find(struct loader *loader, bool error, const char *table, const char *key,
	const char *format, ...)
{
	char keypath[KEYPATH_SIZE], text[TEXT_SIZE];
	unsigned line, column;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(keypath, sizeof(keypath), "%s%s%s", table, key ? "." : "", key ? key : "");
	config_locate(loader->config, table, key, &line, &column);
	config_find(loader, error, line, column, keypath, "%s", text);
}

static const char *path_of(char path[KEYPATH_SIZE], const char *table, const char *name)
{
	config_table_path(path, table, view_str(name));
	return path;
}

static bool is_interactive(int protocol)
{
	return protocol <= PROTOCOL_SUBMISSION;
}

static bool any_listener(const struct config *config, enum protocol protocol)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		if (config->listeners[i].protocol == protocol)
			return true;
	}
	return false;
}

static const struct config_destination *default_destination(const struct config *config)
{
	return config->routing.default_destination
		? config_find_destination(config, view_str(config->routing.default_destination))
		: NULL;
}

/* 26: files that hold a secret. */
static void check_mode(struct loader *loader, const char *table, const char *key, const char *path)
{
	struct stat st;

	if (path && stat(path, &st) == 0 && st.st_mode & S_IROTH)
		find(loader, false, table, key, "\"%s\" holds a secret and is readable by others",
			path);
}

/* ---- tls ---- */

static void on_tls_finding(void *arg, const struct tls_finding *finding)
{
	char path[KEYPATH_SIZE];

	if (finding->cert)
		find(arg, finding->error, path_of(path, "tls.certificate", finding->cert),
			finding->field, "%s", finding->text);
	else
		find(arg, finding->error, "tls.protocols", finding->field, "%s", finding->text);
}

static void check_tls(struct loader *loader)
{
	const struct config *config = loader->config;
	char path[KEYPATH_SIZE];
	bool needed = config->admin.present;

	for (size_t i = 0; i < config->cert_count; i++) {
		if (!config->certs[i].cert_path || !config->certs[i].key_path)
			return; /* reported as missing */
		check_mode(loader, path_of(path, "tls.certificate", config->certs[i].name), "key",
			config->certs[i].key_path);
	}
	if (tls_check(config->certs, config->cert_count, &config->tls_policy, on_tls_finding,
		    loader) < 0 &&
		!loader->errors)
		find(loader, true, "tls.protocols", NULL, "certificates cannot be checked");
	for (size_t i = 0; i < config->listener_count; i++)
		needed |= config->listeners[i].tls != CONFIG_TLS_PLAIN;
	if (needed && !config->cert_count)
		config_find(loader, false, 1, 1, "tls.certificate",
			"no certificate is declared: a self-signed one will be used"); /* CFG-22 */
}

/* ---- listeners ---- */

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

		path_of(path, "listener", config->listeners[i].name);
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
			find(loader, true, all[i].table, "bind", "%s is already bound by %s",
				addr_format(all[i].addr, text), all[k].table);
			break;
		}
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
	const struct config_destination *destination = default_destination(config);
	const char *name = protocol_name(listener->protocol);
	bool is_http = listener->protocol == PROTOCOL_HTTP;
	bool is_pass = listener->protocol == PROTOCOL_SMTP || listener->protocol == PROTOCOL_LMTP;
	char path[KEYPATH_SIZE];

	path_of(path, "listener", listener->name);
	if (is_interactive(listener->protocol) && destination &&
		!destination->legs[listener->protocol].declared) /* 3 */
		find(loader, true, path, "protocol",
			"the default destination \"%s\" declares no %s", destination->name, name);
	if (is_pass && !config->routing.smtp_passthrough_destination) /* 4 */
		find(loader, true, path, "protocol",
			"%s needs routing.smtp_passthrough_destination", name);
	if ((is_pass || is_http) && listener->tls == CONFIG_TLS_STARTTLS) /* 6, 7 */
		find(loader, true, path, "tls", "starttls is not possible with %s", name);
	if (listener->proxy_protocol != CONFIG_PROXY_OFF && !listener->proxy_trusted_count) /* 8 */
		find(loader, true, path, "proxy_trusted", "proxy_protocol needs trusted peers");
	if (is_interactive(listener->protocol) && listener->tls == CONFIG_TLS_PLAIN &&
		binds_public(listener) &&
		config->capabilities[listener->protocol].allow_plain_auth_without_tls) /* 27 */
		find(loader, false, path, "tls",
			"passwords in clear on an address that is not loopback");
	if (is_http && listener->tls == CONFIG_TLS_PLAIN && binds_public(listener)) /* 29 */
		find(loader, false, path, "tls",
			"passwords in clear on an address that is not loopback");
	if (!is_http && config_is_set(config, path, "forwarded"))
		find(loader, false, path, "forwarded", "has a meaning for http only");
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
	struct addr addr;

	if (!destination->host || addr_parse_ip(view_str(destination->host), leg->port, &addr) < 0)
		return;
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++) {
			const struct addr *bind = &listener->bind[b];

			if (addr_eq(bind, &addr) ||
				(addr_is_wildcard(bind) &&
					bind->sa.sa_family == addr.sa.sa_family &&
					addr_port(bind) == leg->port && is_own_address(&addr)))
				find(loader, true, leg_path, "port",
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
		path_of(table, "destination", destination->name),
		protocol_name((enum protocol)protocol));
	if (no_xclient && leg->tls == CONFIG_TLS_STARTTLS) /* 6, 7 */
		find(loader, true, path, "tls", "starttls is not possible with %s",
			protocol_name((enum protocol)protocol));
	if (leg->tls == CONFIG_TLS_PLAIN && !destination->allow_plaintext_auth &&
		protocol != PROTOCOL_SMTP && protocol != PROTOCOL_LMTP) /* 9 */
		find(loader, true, path, "tls",
			"credentials would go out in clear: set allow_plaintext_auth to permit it");
	if (leg->forwarding == CONFIG_FORWARDING_XCLIENT && no_xclient) /* 23 */
		find(loader, false, path, "forwarding", "xclient conveys nothing with %s",
			protocol_name((enum protocol)protocol));
	if (leg->forwarding == CONFIG_FORWARDING_XCLIENT && loader->config->server.proxy_ttl == 1)
		find(loader, false, path, "forwarding",
			"proxy_ttl = 1: every session here ends as a loop"); /* 30 */
	check_loop(loader, destination, leg, path);
}

static void check_destination(struct loader *loader, const struct config_destination *destination)
{
	char path[KEYPATH_SIZE];
	struct addr addr;
	bool tls = false;

	path_of(path, "destination", destination->name);
	for (int p = 0; p < PROTOCOLS; p++) {
		if (!destination->legs[p].declared)
			continue;
		tls |= destination->legs[p].tls != CONFIG_TLS_PLAIN;
		check_leg(loader, destination, p);
	}
	if (tls && destination->host && !destination->tls_server_name &&
		addr_parse_ip(view_str(destination->host), 0, &addr) == 0) /* 10 */
		find(loader, true, path, "host",
			"an IP address with TLS needs tls_server_name (it is also the SNI)");
	if (!destination->tls_client_cert != !destination->tls_client_key) /* 11 */
		find(loader, true, path,
			destination->tls_client_cert ? "tls_client_cert" : "tls_client_key",
			"tls_client_cert and tls_client_key go together");
	if (destination->tls_client_cert && access(destination->tls_client_cert, R_OK) < 0)
		find(loader, true, path, "tls_client_cert", "cannot read \"%s\": %s",
			destination->tls_client_cert, strerror(errno));
	if (destination->tls_client_key && access(destination->tls_client_key, R_OK) < 0)
		find(loader, true, path, "tls_client_key", "cannot read \"%s\": %s",
			destination->tls_client_key, strerror(errno));
	check_mode(loader, path, "tls_client_key", destination->tls_client_key);
	if (destination->tls_allow_invalid_certs)
		find(loader, false, path, "tls_allow_invalid_certs", "%s",
			destination->has_pin
				? "has no effect: the pin is enforced"
				: "the node's certificate is not verified"); /* CFG-28 */
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
	if (config->routing.default_destination && !default_destination(config)) /* 2 */
		find(loader, true, "routing", "default_destination",
			"destination \"%s\" is not declared", config->routing.default_destination);
	if (!pass)
		return;
	destination = config_find_destination(config, view_str(pass));
	if (!destination) { /* 2 */
		find(loader, true, "routing", "smtp_passthrough_destination",
			"destination \"%s\" is not declared", pass);
		return;
	}
	if (!destination->legs[PROTOCOL_SMTP].declared) /* 5 */
		find(loader, true, "routing", "smtp_passthrough_destination",
			"destination \"%s\" declares no smtp", pass);
	if (any_listener(config, PROTOCOL_LMTP) && !destination->legs[PROTOCOL_LMTP].declared)
		find(loader, true, "routing", "smtp_passthrough_destination",
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
			find(loader, false, "routing", "master_user_separators",
				"an empty separator is ignored");
		else if (!separator_ok(list[i]))
			find(loader, true, "routing", "master_user_separators",
				"a separator has 1 to 8 bytes and no control character, blank or "
				"quote");
		else
			list[kept++] = list[i];
	}
	if (list)
		list[kept] = NULL;
}

/* ---- mapping ---- */

static int account(void *arg, struct view text, char ret[321])
{
	struct loader *loader = arg;
	struct identity identity;
	int r = identity_account(&loader->config->identity_rules, text, &identity);

	if (r < 0)
		return r;
	memcpy(ret, identity.account, identity.len + 1);
	return (int)identity.len;
}

static bool declared(void *arg, struct view destination)
{
	return config_find_destination(((struct loader *)arg)->config, destination) != NULL;
}

static void on_file_finding(void *arg, const struct store_file_finding *finding)
{
	struct loader *loader = arg;

	config_find_in(loader, finding->error, loader->config->mapping.file_path, finding->line,
		"mapping.file.path", finding->text);
}

static void check_file(struct loader *loader)
{
	struct store_file_params params = { .path = loader->config->mapping.file_path,
		.account = account,
		.declared = declared,
		.arg = loader,
		.report = on_file_finding,
		.report_arg = loader };
	unsigned before = loader->errors;
	int r;

	if (!params.path)
		return;
	r = store_file_check(&params);
	if (r < 0 && loader->errors == before)
		find(loader, true, "mapping.file", "path", "cannot read \"%s\": %s", params.path,
			strerror(-r));
}

/* sqlite:///absolute/path[?mode=ro] */
static void check_sqlite_url(struct loader *loader, struct view rest)
{
	struct config_mapping *mapping = &loader->config->mapping;
	const char *question = rest.len ? memchr(rest.data, '?', rest.len) : NULL;
	struct view path = question ? view_make(rest.data, (size_t)(question - rest.data)) : rest;

	mapping->sql_kind = CONFIG_SQL_SQLITE;
	if (question) {
		if (!view_eq(view_skip(rest, path.len), VIEW_LIT("?mode=ro")))
			find(loader, true, "mapping.sql", "url", "the only parameter is mode=ro");
		mapping->sqlite_read_only = true;
	}
	if (path.len < 2 || path.data[0] != '/')
		find(loader, true, "mapping.sql", "url", "needs an absolute path: sqlite:///path");
	mapping->sqlite_path = config_strdup(loader, path);
	if (mapping->sqlite_read_only && mapping->sql_upsert_query && mapping->sql_delete_query)
		find(loader, false, "mapping.sql", "url", "mode=ro: the store is read-only");
}

static void check_sql_url(struct loader *loader)
{
	struct view url = view_str(loader->config->mapping.sql_url);

	if (!url.data)
		return;
	if (view_starts(url, VIEW_LIT("sqlite://")))
		check_sqlite_url(loader, view_skip(url, 9));
	else if (view_starts(url, VIEW_LIT("mysql://")))
		find(loader, true, "mapping.sql", "url",
			"MySQL is not supported; use postgres://, postgresql:// or sqlite://");
	else if (!view_starts(url, VIEW_LIT("postgres://")) &&
		!view_starts(url, VIEW_LIT("postgresql://")))
		find(loader, true, "mapping.sql", "url",
			"unknown scheme; accepted are postgres://, postgresql:// and sqlite://");
}

/* 31: $n present, "?" counting as the next parameter on SQLite. */
static bool has_parameter(const char *query, int n, bool sqlite)
{
	char name[4] = { '$', (char)('0' + n), 0 };
	int marks = 0;

	for (const char *at = strstr(query, name); at; at = strstr(at + 1, name)) {
		if (at[2] < '0' || at[2] > '9')
			return true;
	}
	if (!sqlite)
		return false;
	for (const char *prefix = "?:@"; *prefix; prefix++) {
		name[0] = *prefix;
		if (strstr(query, name))
			return true;
	}
	for (const char *p = query; *p; p++)
		marks += *p == '?';
	return marks >= n;
}

static void check_query(struct loader *loader, const char *key, const char *query, int parameters)
{
	bool sqlite = loader->config->mapping.sql_kind == CONFIG_SQL_SQLITE;

	for (int n = 1; query && n <= parameters; n++) {
		if (!has_parameter(query, n, sqlite))
			find(loader, true, "mapping.sql", key, "the statement has no parameter $%d",
				n);
	}
}

static void check_sql(struct loader *loader)
{
	const struct config_mapping *mapping = &loader->config->mapping;

	check_sql_url(loader);
	check_query(loader, "query", mapping->sql_query, 1);
	check_query(loader, "upsert_query", mapping->sql_upsert_query, 2);
	check_query(loader, "delete_query", mapping->sql_delete_query, 1);
	if (!mapping->sql_upsert_query != !mapping->sql_delete_query) /* 20 */
		find(loader, false, "mapping.sql",
			mapping->sql_upsert_query ? "upsert_query" : "delete_query",
			"without the other write query the store is read-only");
}

static void check_redis(struct loader *loader)
{
	struct view url = view_str(loader->config->mapping.redis_url);

	if (url.data && !view_starts(url, VIEW_LIT("redis://")) &&
		!view_starts(url, VIEW_LIT("rediss://")) &&
		!view_starts(url, VIEW_LIT("redis+unix://")))
		find(loader, true, "mapping.redis", "url",
			"unknown scheme; accepted are redis://, rediss:// and redis+unix://");
}

static bool has_table(const struct config *config, const char *path)
{
	const struct config_private *private = config->private;

	for (size_t i = 0; i < private->instance_count; i++) {
		if (private->instances[i].path && strcmp(private->instances[i].path, path) == 0)
			return private->instances[i].table != NULL;
	}
	return false;
}

static void check_mapping(struct loader *loader)
{
	static const char *const tables[] = { "mapping.file", "mapping.redis", "mapping.sql" };
	const struct config *config = loader->config;
	const char *table = tables[config->mapping.source];

	if (!config_is_set(config, "mapping", "source"))
		return;
	if (!has_table(config, table)) { /* 13 */
		find(loader, true, "mapping", "source", "the table [%s] is missing", table);
		return;
	}
	if (config->mapping.source == CONFIG_SOURCE_FILE)
		check_file(loader);
	else if (config->mapping.source == CONFIG_SOURCE_SQL)
		check_sql(loader);
	else
		check_redis(loader);
}

/* ---- http ---- */

static bool regex_ok(struct loader *loader, const char *path, const char *regex)
{
	int error;
	PCRE2_SIZE offset;
	uint32_t groups = 0;
	pcre2_code *code =
		pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, 0, &error, &offset, NULL);

	if (!code) {
		PCRE2_UCHAR text[128];

		pcre2_get_error_message(error, text, sizeof(text));
		find(loader, true, path, "regex", "does not compile at offset %zu: %s", offset,
			(const char *)text);
		return false;
	}
	pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
	pcre2_code_free(code);
	if (!groups)
		find(loader, true, path, "regex", "has no capture group");
	return groups > 0;
}

/* http.md section 4. Returns what is wrong, or NULL. */
static const char *glob_fault(const char *glob)
{
	bool set = false, braces = false;

	for (const char *p = glob; *p; p++) {
		if (*p == '\\') {
			if (!*++p)
				return "ends with a backslash";
		} else if (set) {
			set = *p != ']' || p[-1] == '[';
		} else if (*p == '[') {
			set = true;
		} else if (*p == '{') {
			if (braces)
				return "nests { }";
			braces = true;
		} else if (*p == '}') {
			braces = false;
		}
	}
	return set ? "has an open [" : braces ? "has an open {" : NULL;
}

static void check_target(struct loader *loader, const char *path, const char *key, const char *name)
{
	const struct config_destination *destination =
		config_find_destination(loader->config, view_str(name));

	if (!destination)
		find(loader, true, path, key, "destination \"%s\" is not declared", name);
	else if (!destination->legs[PROTOCOL_HTTP].declared)
		find(loader, true, path, key, "destination \"%s\" declares no http", name);
}

static void check_extract(struct loader *loader, const struct config_route *route, size_t i)
{
	char path[KEYPATH_SIZE];
	bool body = route->from == CONFIG_EXTRACT_BODY, query = route->from == CONFIG_EXTRACT_QUERY,
	     header = route->from == CONFIG_EXTRACT_HEADER;

	snprintf(path, sizeof(path), "http.route[%zu].extract", i);
	if (body && !route->regex) /* 17 */
		find(loader, true, path, "regex", "from = \"body\" needs regex");
	if (query && !route->param)
		find(loader, true, path, "param", "from = \"query\" needs param");
	if (header && !route->header)
		find(loader, true, path, "header", "from = \"header\" needs header");
	if (route->regex) /* 18 */
		(void)!regex_ok(loader, path, route->regex);
	if ((route->param && !query) || (route->regex && !body) ||
		(route->header && !header)) /* 24 */
		find(loader, false, path, NULL, "a key here has no effect with this \"from\"");
}

static bool reaches_default(const struct config_route *route)
{
	return !route->destination && (!route->fallback || strcmp(route->fallback, "default") == 0);
}

static void check_route(struct loader *loader, size_t i, bool *after_all)
{
	const struct config *config = loader->config;
	const struct config_route *route = &config->http.routes[i];
	const struct config_destination *fallback = default_destination(config);
	const char *fault = route->match ? glob_fault(route->match) : NULL;
	char path[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "http.route[%zu]", i);
	if (fault) /* 18 */
		find(loader, true, path, "match", "the glob %s", fault);
	if (route->destination) /* 15 */
		check_target(loader, path, "destination", route->destination);
	if (route->fallback && strcmp(route->fallback, "default") != 0)
		check_target(loader, path, "fallback", route->fallback);
	if (route->fallback && strcmp(route->fallback, "default") == 0 && fallback &&
		strcmp(fallback->name, "default") != 0 &&
		config_find_destination(config, VIEW_LIT("default"))) /* 16 */
		find(loader, true, path, "fallback",
			"ambiguous: a destination is called \"default\" and is not the default "
			"one");
	if (reaches_default(route) && fallback && !fallback->legs[PROTOCOL_HTTP].declared) /* 22 */
		find(loader, false, path, NULL, "the default destination \"%s\" declares no http",
			fallback->name);
	if (route->destination && (route->from || route->fallback)) /* 24 */
		find(loader, false, path, "destination", "wins over extract and fallback");
	if (config_is_set(config, path, "extract"))
		check_extract(loader, route, i);
	if (*after_all) /* 28 */
		find(loader, false, path, NULL,
			"is never reached: an earlier route matches everything");
	*after_all |= route->match && strcmp(route->match, "/**") == 0;
}

static void check_http(struct loader *loader)
{
	const struct config *config = loader->config;
	bool after_all = false;

	if (any_listener(config, PROTOCOL_HTTP) && !config->http.route_count) /* 21 */
		find(loader, false, "http", NULL, "no route: every request gets 404");
	for (size_t i = 0; i < config->http.route_count; i++)
		check_route(loader, i, &after_all);
}

/* ---- admin ---- */

static char *read_token_file(struct loader *loader, const char *path)
{
	char *text, *start, *end;
	size_t len;
	int r = fd_read_file(path, 65536, &text, &len);

	if (r < 0) {
		find(loader, true, "admin", "bearer_token_file", "cannot read \"%s\": %s", path,
			strerror(-r));
		return NULL;
	}
	for (start = text; *start && strchr(" \t\r\n", *start); start++)
		;
	for (end = text + len; end > start && strchr(" \t\r\n", end[-1]); end--)
		;
	*end = '\0';
	memmove(text, start, (size_t)(end - start) + 1);
	return text;
}

static void take_token(struct loader *loader, const char *key, const char *token)
{
	struct config_admin *admin = &loader->config->admin;
	size_t len = strlen(token);

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)token[i] <= 0x20 || (unsigned char)token[i] >= 0x7f) {
			find(loader, true, "admin", key,
				"the token must be printable ASCII without blanks");
			return;
		}
	}
	if (strcmp(token, "********") == 0)
		find(loader, true, "admin", key,
			"this is the mask of a printed configuration, not a token");
	else if (len < (size_t)admin->min_token_len || len > 4096)
		find(loader, true, "admin", key, "the token must have %lld to 4096 characters",
			(long long)admin->min_token_len);
	tls_sha256(view_make(token, len), admin->token_sha256);
}

static void check_admin(struct loader *loader)
{
	struct config_admin *admin = &loader->config->admin;
	char *environment = getenv("HOMING_ADMIN_TOKEN"), *text;

	if (!admin->present)
		return;
	if (admin->min_token_len < 16) /* section 11 */
		find(loader, false, "admin", "min_token_len", "below 16 a token can be guessed");
	if (admin->bearer_token && admin->bearer_token_file) /* CFG-35 */
		find(loader, false, "admin", "bearer_token",
			"has no effect: bearer_token_file wins");
	check_mode(loader, "admin", "bearer_token_file", admin->bearer_token_file);
	if (environment && *environment) {
		take_token(loader, "bearer_token", environment);
	} else if (admin->bearer_token_file) {
		text = read_token_file(loader, admin->bearer_token_file);
		if (text) {
			take_token(loader, "bearer_token_file", text);
			secret_wipe(text, strlen(text));
			free(text);
		}
	} else if (admin->bearer_token) {
		take_token(loader, "bearer_token", admin->bearer_token);
	} else {
		find(loader, true, "admin", NULL,
			"no token: set bearer_token_file, bearer_token or HOMING_ADMIN_TOKEN"); /* 19 */
	}
	if (admin->bearer_token) {
		loader->config->private->secret_in_file = true;
		secret_wipe((char *)admin->bearer_token, strlen(admin->bearer_token));
		admin->bearer_token = NULL;
	}
}

/* ---- environment ---- */

static void check_environment(struct loader *loader)
{
	const char *level = getenv("HOMING_LOG");
	struct config *config = loader->config;

	if (!level || !*level)
		return;
	if (log_level_parse(view_str(level), &config->server.log_level) < 0)
		find(loader, true, "server", "log_level",
			"HOMING_LOG is none of error, warn, info, debug, trace");
	else
		config->private->log_level_overridden = true;
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
	if (config->private->secret_in_file || url_has_password(config->mapping.sql_url) ||
		url_has_password(config->mapping.redis_url)) /* 26 */
		check_mode(loader, "server", NULL, config->private->path);
}
