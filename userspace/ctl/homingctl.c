// SPDX-License-Identifier: Apache-2.0
/*
 * homingctl: the admin API on the command line (admin.md section 8). Commands are rows; help comes
 * from the rows. Exit: 0 success, 1 the router answered with an error, 2 usage, 3 no connection.
 */
#include "base/secret.h"
#include "config/config.h"
#include "ctl/client.h"
#include "store/store.h"

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_CONNECT };

struct options {
	const char *url, *token_file, *cacert, *pin, *config;
	bool insecure, json;
	unsigned timeout_s;
};

struct session {
	struct options options;
	struct ctl_target target;
	char *host, *port, *token;
	unsigned char pin[TLS_SHA256_SIZE];
};

static int complain(const char *what, const char *detail)
{
	fprintf(stderr, "homingctl: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
	return EXIT_USAGE;
}

/* ---- requests ---- */

/* Percent-encodes all but unreserved characters; freed by the caller. */
static char *encode(const char *text)
{
	char *out = malloc(strlen(text) * 3 + 1), *to = out;

	for (; out && *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-._~", c))
			*to++ = (char)c;
		else
			to += sprintf(to, "%%%02X", c);
	}
	if (out)
		*to = '\0';
	return out;
}

/* Sends a request; prints the error or, with --json, the answer. On success *ret_body is the
 * parsed answer (NULL when it has been printed already). */
static int call(struct session *session, const char *method, const char *path, json_t **ret_body)
{
	struct ctl_response response = { 0 };
	char error[TLS_ERROR_SIZE];
	json_t *body;
	int code = EXIT_OK;

	*ret_body = NULL;
	if (ctl_request(&session->target, method, path, &response, error, sizeof(error)) < 0) {
		complain(error, NULL);
		return EXIT_CONNECT;
	}
	if (session->options.json)
		fputs(response.body, stdout);
	body = json_loads(response.body, 0, NULL);
	if (response.status != 200) {
		const char *text = json_string_value(json_object_get(body, "error"));

		if (!session->options.json && text)
			complain(text, NULL);
		code = EXIT_REFUSED;
	}
	if (!session->options.json && (code == EXIT_OK || json_object_get(body, "reasons"))) {
		*ret_body = body;
		body = NULL;
	}
	json_decref(body);
	free(response.body);
	return code;
}

/* PATH?identifier=A[&destination=N] */
static int call_for(struct session *session, const char *method, const char *path,
	const char *account, const char *node, json_t **ret_body)
{
	char *a = account ? encode(account) : NULL, *n = node ? encode(node) : NULL, *full = NULL;
	int code;

	*ret_body = NULL;
	if ((account && !a) || (node && !n) ||
		asprintf(&full, "%s%s%s%s%s%s", path, account || node ? "?" : "",
			account ? "identifier=" : "", account ? a : "",
			node ? (account ? "&destination=" : "destination=") : "",
			node ? n : "") < 0)
		code = complain("out of memory", NULL);
	else
		code = call(session, method, full, ret_body);
	free(full);
	free(a);
	free(n);
	return code;
}

/* ---- output ---- */

static void print_scalar(const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);

	if (json_is_string(value))
		printf("%s", json_string_value(value));
	else
		printf("%s", text ? text : "");
	free(text);
}

/* An object of objects as a table: one row per member. */
static void print_members(const char *title, json_t *object)
{
	const char *name, *key;
	json_t *row, *value;
	bool header = false;

	json_object_foreach(object, name, row)
	{
		if (!header) {
			printf("\n%-16s", title);
			json_object_foreach(row, key, value)
			{
				printf(" %14s", key);
			}
			header = true;
			putchar('\n');
		}
		printf("%-16s", name);
		json_object_foreach(row, key, value)
		{
			char *text = json_dumps(value, JSON_ENCODE_ANY);

			printf(" %14s", text ? text : "");
			free(text);
		}
		putchar('\n');
	}
}

static int cmd_stats(struct session *session, char **args)
{
	const char *key;
	json_t *body, *value;
	int code = call(session, "GET", "/stats", &body);

	(void)args;
	json_object_foreach(body, key, value)
	{
		if (json_is_object(value))
			continue;
		printf("%-22s ", key);
		if (json_is_real(value))
			printf("%.2f", json_real_value(value));
		else
			print_scalar(value);
		putchar('\n');
	}
	print_members("node", json_object_get(body, "nodes"));
	print_members("listener", json_object_get(body, "listeners"));
	print_members("path", json_object_get(body, "paths"));
	json_decref(body);
	return code;
}

static int cmd_nodes(struct session *session, char **args)
{
	json_t *body, *row;
	size_t i;
	int code;

	if (args[0] && strcmp(args[0], "reset") == 0) {
		if (!args[1] || args[2])
			return EXIT_USAGE;
		code = call_for(session, "POST", "/destinations/reset", NULL, args[1], &body);
		if (body)
			printf("%s: reset\n", args[1]);
		json_decref(body);
		return code;
	}
	if (args[0])
		return EXIT_USAGE;
	code = call(session, "GET", "/destinations", &body);
	if (body)
		printf("%-16s %-5s %8s %8s %8s %6s\n", "node", "state", "failures", "sources",
			"cooldown", "active");
	json_array_foreach(json_object_get(body, "destinations"), i, row)
	{
		printf("%-16s %-5s %8lld %8lld %7llds %6lld\n",
			json_string_value(json_object_get(row, "destination")),
			json_is_true(json_object_get(row, "down")) ? "down" : "up",
			json_integer_value(json_object_get(row, "consecutive_failures")),
			json_integer_value(json_object_get(row, "failure_sources")),
			json_integer_value(json_object_get(row, "down_for_s")),
			json_integer_value(json_object_get(row, "active")));
	}
	json_decref(body);
	return code;
}

static int map_get(struct session *session, const char *account)
{
	json_t *body;
	int code = call_for(session, "GET", "/mappings", account, NULL, &body);

	if (body)
		printf("%s -> %s (%s%s)\n", json_string_value(json_object_get(body, "normalized")),
			json_string_value(json_object_get(body, "destination")),
			json_string_value(json_object_get(body, "source")),
			json_is_true(json_object_get(body, "cached")) ? ", cached" : "");
	json_decref(body);
	return code;
}

static int cmd_map(struct session *session, char **args)
{
	json_t *body = NULL;
	int code = EXIT_USAGE;

	if (!args[0])
		return EXIT_USAGE;
	if (strcmp(args[0], "get") == 0 && args[1] && !args[2])
		return map_get(session, args[1]);
	if (strcmp(args[0], "set") == 0 && args[1] && args[2] && !args[3]) {
		code = call_for(session, "PUT", "/mappings", args[1], args[2], &body);
		if (body)
			printf("%s -> %s\n", json_string_value(json_object_get(body, "identifier")),
				json_string_value(json_object_get(body, "destination")));
	} else if (strcmp(args[0], "del") == 0 && args[1] && !args[2]) {
		code = call_for(session, "DELETE", "/mappings", args[1], NULL, &body);
		if (body)
			printf("%s: %s\n", args[1],
				json_is_true(json_object_get(body, "removed")) ? "removed"
									       : "had no mapping");
	} else if (strcmp(args[0], "reload") == 0 && !args[1]) {
		code = call(session, "POST", "/mappings/reload", &body);
		if (json_is_true(json_object_get(body, "reloaded")))
			printf("reloaded: %lld entries\n",
				json_integer_value(json_object_get(body, "entries")));
		else if (body)
			printf("%s\n", json_string_value(json_object_get(body, "note")));
	}
	json_decref(body);
	return code;
}

static int cmd_flush(struct session *session, char **args)
{
	json_t *body;
	int code;

	if (args[0] && args[1])
		return EXIT_USAGE;
	code = call_for(session, "POST", "/cache/invalidate", args[0], NULL, &body);
	if (body)
		printf("invalidated: %lld\n",
			json_integer_value(json_object_get(body, "invalidated")));
	json_decref(body);
	return code;
}

static int cmd_health(struct session *session, char **args)
{
	json_t *body;
	int code = call(session, "GET", "/healthz", &body);

	(void)args;
	if (body)
		puts("ok");
	json_decref(body);
	return code;
}

static int cmd_ready(struct session *session, char **args)
{
	json_t *body, *reason;
	size_t i;
	int code = call(session, "GET", "/readyz", &body);

	(void)args;
	if (body && code == EXIT_OK)
		puts("ok");
	json_array_foreach(json_object_get(body, "reasons"), i, reason)
	{
		printf("not ready: %s\n", json_string_value(reason));
	}
	json_decref(body);
	return code;
}

static int cmd_init_db(struct session *session, char **args)
{
	char error[STORE_ERROR_BYTES] = "";

	(void)session;
	if (!args[0] || args[1])
		return EXIT_USAGE;
	if (store_sqlite_create(args[0], error) < 0) {
		complain(args[0], error);
		return EXIT_REFUSED;
	}
	printf("%s: ready, table account_nodes(identifier, node)\n", args[0]);
	return EXIT_OK;
}

static const struct command {
	const char *name, *args, *help;
	int (*run)(struct session *session, char **args);
	int max_args;
	bool local; /* asks no router */
	bool open;  /* needs no token */
} commands[] = {
	{ "health", "", "is the router alive", cmd_health, 0, false, true },
	{ "ready", "", "is it ready to serve, and if not, why", cmd_ready, 0, false, true },
	{ "stats", "", "counters of cache, store, nodes, listeners, data paths", cmd_stats, 0,
		false, false },
	{ "nodes", "[reset NODE]", "health of the nodes; forget a node's failures", cmd_nodes, 2,
		false, false },
	{ "map", "get ACCOUNT | set ACCOUNT NODE | del ACCOUNT | reload",
		"the assignment of an account", cmd_map, 3, false, false },
	{ "flush", "[ACCOUNT]", "drop one cached mapping, or all", cmd_flush, 1, false, false },
	{ "init-db", "FILE", "create an SQLite database for mapping.sql", cmd_init_db, 1, true,
		true },
};

static int usage(FILE *out, int code)
{
	fputs("usage: homingctl [OPTIONS] COMMAND\n\ncommands:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	fputs("\noptions:\n"
	      "  --url URL          default https://127.0.0.1:9443, or from --config\n"
	      "  --config FILE      take address and token from the router's configuration\n"
	      "  --token-file FILE  else HOMING_ADMIN_TOKEN, else from --config\n"
	      "  --cacert FILE      trust these certificates; default: the system store\n"
	      "  --pin HEX          trust the certificate with this SHA-256\n"
	      "  --insecure         trust any certificate\n"
	      "  --json             print the answer as received\n"
	      "  --timeout SECONDS  default 10\n"
	      "  --help, --version\n"
	      "exit: 0 success, 1 the router answered with an error, 2 usage, 3 no connection\n",
		out);
	return code;
}

/* ---- options ---- */

/* https://host[:port] */
static int parse_url(struct session *session, const char *url)
{
	struct view v = view_str(url), host, port = VIEW_LIT("443");
	const char *end;

	if (!view_starts(v, VIEW_LIT("https://")))
		return -1;
	v = view_skip(v, 8);
	while (v.len && v.data[v.len - 1] == '/')
		v.len--;
	if (v.len && v.data[0] == '[') {
		end = memchr(v.data, ']', v.len);
		if (!end)
			return -1;
		host = view_make(v.data + 1, (size_t)(end - v.data) - 1);
		v = view_skip(v, host.len + 2);
	} else {
		end = v.len ? memchr(v.data, ':', v.len) : NULL;
		host = view_make(v.data, end ? (size_t)(end - v.data) : v.len);
		v = view_skip(v, host.len);
	}
	if (v.len && v.data[0] == ':')
		port = view_skip(v, 1);
	else if (v.len)
		return -1;
	if (!host.len || !port.len)
		return -1;
	session->host = view_dup(host);
	session->port = view_dup(port);
	return session->host && session->port ? 0 : -1;
}

static void ignore(void *arg, const struct config_finding *finding)
{
	(void)arg;
	(void)finding;
}

/* admin.bind of a configuration; a wildcard becomes loopback. */
static int url_from_config(const char *path, char *url, size_t size)
{
	struct config *config;
	char text[ADDR_TEXT_SIZE];
	struct addr addr;

	if (config_load(path, ignore, NULL, &config) < 0)
		return -1;
	addr = config->admin.bind;
	if (config->admin.present && addr_is_wildcard(&addr)) {
		uint16_t port = addr_port(&addr);

		(void)!addr_parse_ip(
			addr.sa.sa_family == AF_INET6 ? VIEW_LIT("::1") : VIEW_LIT("127.0.0.1"),
			port, &addr);
	}
	snprintf(url, size, "https://%s", addr_format(&addr, text));
	config_unref(config);
	return addr_is_set(&addr) ? 0 : -1;
}

static int read_token(struct session *session)
{
	const char *environment = getenv("HOMING_ADMIN_TOKEN");

	if (session->options.token_file) {
		if (config_read_token(session->options.token_file, &session->token) < 0)
			return complain(session->options.token_file, "cannot read it");
	} else if (environment && *environment) {
		session->token = strdup(environment);
	} else if (session->options.config) {
		if (config_admin_token(session->options.config, &session->token) < 0)
			return complain(session->options.config, "holds no usable token");
	} else {
		return complain("no token: use --token-file, HOMING_ADMIN_TOKEN or --config", NULL);
	}
	return session->token ? 0 : complain("out of memory", NULL);
}

static bool is_loopback(const char *host)
{
	struct addr addr;

	return strcmp(host, "localhost") == 0 ||
		(addr_parse_ip(view_str(host), 0, &addr) == 0 && addr_is_loopback(&addr));
}

static int prepare(struct session *session, const struct command *command)
{
	struct options *options = &session->options;
	char url[256] = "https://127.0.0.1:9443";
	int r;

	if (options->url)
		snprintf(url, sizeof(url), "%s", options->url);
	else if (options->config && url_from_config(options->config, url, sizeof(url)) < 0)
		return complain(options->config, "not a valid configuration with [admin]");
	if (parse_url(session, url) < 0)
		return complain(url, "not a URL of the form https://host:port");
	if (options->pin && tls_parse_sha256(view_str(options->pin), session->pin) < 0)
		return complain(options->pin, "not 64 hexadecimal digits");
	r = command->open ? 0 : read_token(session);
	if (options->insecure && !is_loopback(session->host))
		complain("warning", "--insecure: anyone on the way can read the token");
	session->target = (struct ctl_target){ .host = session->host,
		.port = session->port,
		.ca_path = options->cacert,
		.pin = options->pin ? session->pin : NULL,
		.insecure = options->insecure,
		.token = session->token,
		.timeout_s = options->timeout_s };
	return r;
}

static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = { { "url", required_argument, NULL, 'u' },
		{ "token-file", required_argument, NULL, 't' },
		{ "cacert", required_argument, NULL, 'a' }, { "pin", required_argument, NULL, 'p' },
		{ "insecure", no_argument, NULL, 'k' }, { "json", no_argument, NULL, 'j' },
		{ "timeout", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' }, { 0 } };
	uint64_t seconds;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'u':
			options->url = optarg;
			break;
		case 't':
			options->token_file = optarg;
			break;
		case 'a':
			options->cacert = optarg;
			break;
		case 'p':
			options->pin = optarg;
			break;
		case 'k':
			options->insecure = true;
			break;
		case 'j':
			options->json = true;
			break;
		case 'c':
			options->config = optarg;
			break;
		case 's':
			if (view_to_u64(view_str(optarg), &seconds) < 0 || !seconds ||
				seconds > 86400)
				return usage(stderr, EXIT_USAGE);
			options->timeout_s = (unsigned)seconds;
			break;
		case 'h':
			exit(usage(stdout, EXIT_OK));
		case 'v':
			puts("homingctl " HOMING_VERSION);
			exit(EXIT_OK);
		default:
			return usage(stderr, EXIT_USAGE);
		}
	}
	return 0;
}

static const struct command *find_command(const char *name, int arg_count)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return arg_count <= commands[i].max_args ? &commands[i] : NULL;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct session session = { .options = { .timeout_s = 10 } };
	const struct command *command;
	int code = parse_options(&session.options, argc, argv);

	signal(SIGPIPE, SIG_IGN);
	if (code)
		return code;
	command = find_command(argv[optind], argc - optind - 1);
	if (!command)
		return usage(stderr, EXIT_USAGE);
	if (!command->local)
		code = prepare(&session, command);
	if (!code)
		code = command->run(&session, argv + optind + 1);
	if (code == EXIT_USAGE && command->local)
		usage(stderr, EXIT_USAGE);
	if (session.token)
		secret_wipe(session.token, strlen(session.token));
	free(session.token);
	free(session.host);
	free(session.port);
	return code;
}
