// SPDX-License-Identifier: Apache-2.0
/*
 * Where the router is and how to get in: by the options, else by the router's own configuration,
 * which on its host is found without being named. The socket of the configuration comes first,
 * because it needs no token; over HTTPS the certificates that the configuration names are trusted.
 */
#include "base/secret.h"
#include "config/config.h"
#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/homing/homing.toml"
#define DEFAULT_URL "https://127.0.0.1:9443"

/* ---- the configuration ---- */

static void keep_text(void *arg, const struct config_finding *finding)
{
	snprintf(arg, CTL_ERROR_BYTES, "%s", finding->text);
}

/* Sets ctl->config, or says why not. One that nobody has named need not be there. */
static int load_config(struct ctl *ctl)
{
	const char *environment = getenv("HOMING_CONFIG");
	int r;

	ctl->config_path = ctl->options.texts[CTL_CONFIG];
	if (!ctl->config_path && environment && *environment)
		ctl->config_path = environment;
	if (ctl->config_path) {
		r = config_load_unchecked(
			ctl->config_path, keep_text, ctl->config_error, &ctl->config);
		return r < 0 ? ctl_complain(ctl->config_path, ctl->config_error) : EXIT_OK;
	}
	ctl->config_path = DEFAULT_CONFIG;
	if (config_load_unchecked(DEFAULT_CONFIG, keep_text, ctl->config_error, &ctl->config) < 0)
		ctl->config = NULL;
	return EXIT_OK;
}

/* ---- token ---- */

static int read_token_file(struct ctl *ctl, const char *path)
{
	int r = config_read_token(path, &ctl->token);

	return r < 0 ? ctl_complain(path, strerror(-r)) : EXIT_OK;
}

static int no_token(const struct ctl *ctl)
{
	char text[CTL_ERROR_BYTES + 64] = "use --token-file, HOMING_ADMIN_TOKEN or --config";

	if (ctl->config)
		return ctl_complain(ctl->config_path, "holds no token");
	if (*ctl->config_error)
		snprintf(text, sizeof(text), "%s: %s", ctl->config_path, ctl->config_error);
	return ctl_complain("no token", text);
}

static int read_token(struct ctl *ctl)
{
	const char *environment = getenv("HOMING_ADMIN_TOKEN");
	const struct config_admin *admin = ctl->config ? &ctl->config->admin : NULL;

	if (ctl->options.texts[CTL_TOKEN_FILE])
		return read_token_file(ctl, ctl->options.texts[CTL_TOKEN_FILE]);
	if (environment && *environment)
		ctl->token = strdup(environment);
	else if (admin && admin->bearer_token_file)
		return read_token_file(ctl, admin->bearer_token_file);
	else if (admin && admin->bearer_token)
		ctl->token = strdup(admin->bearer_token);
	else
		return no_token(ctl);
	return ctl->token ? EXIT_OK : ctl_complain("out of memory", NULL);
}

/* ---- targets ---- */

/* https://host[:port] */
static int parse_url(struct ctl *ctl, unsigned n, const char *url)
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
	ctl->hosts[n] = view_dup(host);
	ctl->ports[n] = view_dup(port);
	return ctl->hosts[n] && ctl->ports[n] ? 0 : -1;
}

static bool is_loopback(const char *host)
{
	struct addr addr;

	return strcmp(host, "localhost") == 0 ||
		(addr_parse_ip(view_str(host), 0, &addr) == 0 && addr_is_loopback(&addr));
}

static int add_target(struct ctl *ctl, const char *url)
{
	struct ctl_options *options = &ctl->options;
	unsigned n = ctl->target_count;

	if (parse_url(ctl, n, url) < 0)
		return ctl_complain(url, "not a URL of the form https://host:port");
	if (options->insecure && !is_loopback(ctl->hosts[n]))
		ctl_complain("warning", "--insecure: anyone on the way can read the token");
	ctl->targets[n] = (struct ctl_target){ .host = ctl->hosts[n],
		.port = ctl->ports[n],
		.ca_path = options->texts[CTL_CACERT],
		.pin = ctl->pin_count ? ctl->pins : NULL,
		.pin_count = ctl->pin_count,
		.insecure = options->insecure,
		.token = ctl->token,
		.timeout_s = options->timeout_s };
	ctl->target_count++;
	return EXIT_OK;
}

/* Those of the router's certificates that can be read. */
static int trust_config(struct ctl *ctl)
{
	const struct config *config = ctl->config;

	ctl->pins = calloc(config->cert_count + 1, TLS_SHA256_SIZE);
	if (!ctl->pins)
		return ctl_complain("out of memory", NULL);
	for (size_t i = 0; i < config->cert_count; i++) {
		if (config->certs[i].cert_path &&
			tls_file_sha256(config->certs[i].cert_path,
				ctl->pins + ctl->pin_count * TLS_SHA256_SIZE) == 0)
			ctl->pin_count++;
	}
	return EXIT_OK;
}

/* admin.bind of the configuration; a wildcard becomes loopback. */
static int add_configured(struct ctl *ctl)
{
	const struct ctl_options *options = &ctl->options;
	struct addr addr = ctl->config->admin.bind, v4;
	char url[ADDR_TEXT_SIZE + 16], text[ADDR_TEXT_SIZE];
	uint16_t port = addr_port(&addr);
	int r = EXIT_OK;

	if (!ctl->config->admin.present || !addr_is_set(&addr))
		return ctl_complain(ctl->config_path, "has no [admin] with an address");
	if (addr_is_wildcard(&addr)) {
		bool v6 = addr.sa.sa_family == AF_INET6 &&
			!config_binds_both(ctl->config, &addr, &v4);

		(void)!addr_parse_ip(v6 ? VIEW_LIT("::1") : VIEW_LIT("127.0.0.1"), port, &addr);
	}
	if (!options->texts[CTL_CACERT] && !options->texts[CTL_PIN] && !options->insecure)
		r = trust_config(ctl);
	snprintf(url, sizeof(url), "https://%s", addr_format(&addr, text));
	return r == EXIT_OK ? add_target(ctl, url) : r;
}

static int add_targets(struct ctl *ctl)
{
	struct ctl_options *options = &ctl->options;
	int r = EXIT_OK;

	for (unsigned i = 0; r == EXIT_OK && i < options->url_count; i++)
		r = add_target(ctl, options->urls[i]);
	if (options->url_count)
		return r;
	return ctl->config ? add_configured(ctl) : add_target(ctl, DEFAULT_URL);
}

static void use_socket(struct ctl *ctl, const char *path)
{
	ctl->targets[0] =
		(struct ctl_target){ .socket = path, .timeout_s = ctl->options.timeout_s };
	ctl->target_count = 1;
	ctl->target = ctl->targets[0];
}

/* The configured socket, if we may use it and no option asks for HTTPS. */
static const char *configured_socket(const struct ctl *ctl)
{
	const struct ctl_options *options = &ctl->options;
	const char *path =
		ctl->config && ctl->config->admin.present ? ctl->config->admin.socket : NULL;

	if (!path || options->url_count || options->insecure || options->texts[CTL_TOKEN_FILE] ||
		options->texts[CTL_CACERT] || options->texts[CTL_PIN])
		return NULL;
	return access(path, W_OK) == 0 ? path : NULL;
}

static int take_pin(struct ctl *ctl, const char *text)
{
	ctl->pins = calloc(1, TLS_SHA256_SIZE);
	ctl->pin_count = 1;
	if (!ctl->pins)
		return ctl_complain("out of memory", NULL);
	return tls_parse_sha256(view_str(text), ctl->pins) < 0
		? ctl_complain(text, "not 64 hexadecimal digits")
		: EXIT_OK;
}

static bool needs_config(const struct ctl *ctl, const struct ctl_command *command)
{
	const struct ctl_options *options = &ctl->options;
	const char *token = getenv("HOMING_ADMIN_TOKEN");

	return !options->url_count ||
		!(command->flags & CTL_OPEN || options->texts[CTL_TOKEN_FILE] || (token && *token));
}

int ctl_find_router(struct ctl *ctl, const struct ctl_command *command)
{
	struct ctl_options *options = &ctl->options;
	int r = EXIT_OK;

	if (options->texts[CTL_SOCKET]) {
		use_socket(ctl, options->texts[CTL_SOCKET]);
		return EXIT_OK;
	}
	if (options->url_count > 1 && !(command->flags & CTL_MANY)) { /* the last one given */
		options->urls[0] = options->urls[options->url_count - 1];
		options->url_count = 1;
	}
	if (needs_config(ctl, command))
		r = load_config(ctl);
	if (r == EXIT_OK && configured_socket(ctl)) {
		use_socket(ctl, configured_socket(ctl));
		return EXIT_OK;
	}
	if (r == EXIT_OK && options->texts[CTL_PIN])
		r = take_pin(ctl, options->texts[CTL_PIN]);
	if (r == EXIT_OK && !(command->flags & CTL_OPEN))
		r = read_token(ctl);
	if (r == EXIT_OK)
		r = add_targets(ctl);
	ctl->target = ctl->targets[0];
	return r;
}

void ctl_forget_router(struct ctl *ctl)
{
	char *token = ctl->config ? (char *)ctl->config->admin.bearer_token : NULL;

	if (token)
		secret_wipe(token, strlen(token));
	if (ctl->token)
		secret_wipe(ctl->token, strlen(ctl->token));
	free(ctl->token);
	free(ctl->pins);
	config_unref(ctl->config);
	for (unsigned i = 0; i < CTL_ROUTERS_MAX; i++) {
		free(ctl->hosts[i]);
		free(ctl->ports[i]);
	}
}
