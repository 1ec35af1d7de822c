// SPDX-License-Identifier: Apache-2.0
/*
 * homingctl: the admin API on the command line (admin.md section 8). Commands are rows; help comes
 * from the rows. Exit: 0 success, 1 the router answered with an error, 2 usage, 3 no connection.
 */
#include "base/secret.h"
#include "config/config.h"
#include "ctl/ctl.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

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

static int read_token(struct ctl *ctl)
{
	const char *environment = getenv("HOMING_ADMIN_TOKEN");

	if (ctl->options.texts[CTL_TOKEN_FILE]) {
		if (config_read_token(ctl->options.texts[CTL_TOKEN_FILE], &ctl->token) < 0)
			return ctl_complain(ctl->options.texts[CTL_TOKEN_FILE], "cannot read it");
	} else if (environment && *environment) {
		ctl->token = strdup(environment);
	} else if (ctl->options.texts[CTL_CONFIG]) {
		if (config_admin_token(ctl->options.texts[CTL_CONFIG], &ctl->token) < 0)
			return ctl_complain(
				ctl->options.texts[CTL_CONFIG], "holds no usable token");
	} else {
		return ctl_complain(
			"no token: use --token-file, HOMING_ADMIN_TOKEN or --config", NULL);
	}
	return ctl->token ? 0 : ctl_complain("out of memory", NULL);
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
		.pin = options->texts[CTL_PIN] ? ctl->pin : NULL,
		.insecure = options->insecure,
		.token = ctl->token,
		.timeout_s = options->timeout_s };
	ctl->target_count++;
	return EXIT_OK;
}

/* Without --url: what the configuration or the default says. */
static int add_targets(struct ctl *ctl)
{
	struct ctl_options *options = &ctl->options;
	char url[256] = "https://127.0.0.1:9443";
	int r = EXIT_OK;

	for (unsigned i = 0; r == EXIT_OK && i < options->url_count; i++)
		r = add_target(ctl, options->urls[i]);
	if (options->url_count)
		return r;
	if (options->texts[CTL_CONFIG] &&
		url_from_config(options->texts[CTL_CONFIG], url, sizeof(url)) < 0)
		return ctl_complain(
			options->texts[CTL_CONFIG], "not a valid configuration with [admin]");
	return add_target(ctl, url);
}

static int prepare(struct ctl *ctl, const struct ctl_command *command)
{
	struct ctl_options *options = &ctl->options;
	int r;

	if (options->texts[CTL_SOCKET]) {
		ctl->targets[0] = (struct ctl_target){ .socket = options->texts[CTL_SOCKET],
			.timeout_s = options->timeout_s };
		ctl->target_count = 1;
		ctl->target = ctl->targets[0];
		return 0;
	}
	if (options->url_count > 1 && !(command->flags & CTL_MANY)) { /* the last one given */
		options->urls[0] = options->urls[options->url_count - 1];
		options->url_count = 1;
	}
	if (options->texts[CTL_PIN] &&
		tls_parse_sha256(view_str(options->texts[CTL_PIN]), ctl->pin) < 0)
		return ctl_complain(options->texts[CTL_PIN], "not 64 hexadecimal digits");
	r = command->flags & CTL_OPEN ? 0 : read_token(ctl);
	if (r == EXIT_OK)
		r = add_targets(ctl);
	ctl->target = ctl->targets[0];
	return r;
}

static int parse_timeout(struct ctl_options *options, const char *text)
{
	uint64_t seconds;

	if (view_to_u64(view_str(text), &seconds) < 0 || !seconds || seconds > 86400)
		return ctl_complain("--timeout", "not a number of seconds from 1 to 86400");
	options->timeout_s = (unsigned)seconds;
	return 0;
}

static int take_option(struct ctl_options *options, int code)
{
	switch ((enum ctl_option_code)code) {
	case CTL_INSECURE:
		options->insecure = true;
		return 0;
	case CTL_JSON:
		options->json = true;
		return 0;
	case CTL_PRINT:
		options->print = true;
		return 0;
	case CTL_APPLY:
		options->apply = true;
		return 0;
	case CTL_DRY_RUN:
		options->dry_run = true;
		return 0;
	case CTL_FORCE:
		options->force = true;
		return 0;
	case CTL_TIMEOUT:
		return parse_timeout(options, optarg);
	case CTL_URL:
		if (options->url_count == CTL_ROUTERS_MAX)
			return ctl_complain("too many --url", NULL);
		options->urls[options->url_count++] = optarg;
		return 0;
	case CTL_HELP:
		exit(ctl_usage(stdout, EXIT_OK));
	case CTL_MAN:
		exit(ctl_man());
	case CTL_COMPLETION:
		exit(ctl_completion());
	case CTL_VERSION:
		puts("homingctl " HOMING_VERSION);
		exit(EXIT_OK);
	default: /* the others hold a text */
		options->texts[code] = optarg;
		return 0;
	}
}

/* OPS-11: one line, with what was probably meant. */
static int refuse_word(const char *kind, const char *word, const char *dashes, const char *near)
{
	fprintf(stderr, "homingctl: unknown %s \"%s\"", kind, word);
	if (near)
		fprintf(stderr, "; did you mean \"%s%s\"?", dashes, near);
	fputs(" (homingctl --help lists all)\n", stderr);
	return EXIT_USAGE;
}

/* What getopt_long() has stumbled over: not known, or short for several, or with a needless value. */
static int refuse_option(const char *word, const struct option *longs)
{
	struct view name = view_str(word);
	const char *names[CTL_OPTION_CODES + 1] = { NULL }, *near, *equals;

	while (name.len && name.data[0] == '-')
		name = view_skip(name, 1);
	equals = name.len ? memchr(name.data, '=', name.len) : NULL;
	if (equals)
		name.len = (size_t)(equals - name.data);
	for (size_t i = 0; longs[i].name; i++) {
		if (view_eq(name, view_str(longs[i].name)))
			return ctl_complain(word, "takes no value");
		names[i] = longs[i].name;
	}
	near = config_near(name, names);
	return refuse_word("option", word, "--", near);
}

static int parse_options(struct ctl_options *options, int argc, char **argv)
{
	struct option longs[CTL_OPTION_CODES + 1] = { 0 };
	int c, r = 0;

	for (int i = 0; ctl_options[i].name; i++)
		longs[i] = (struct option){ .name = ctl_options[i].name,
			.has_arg = ctl_options[i].arg ? required_argument : no_argument,
			.val = ctl_options[i].code };
	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (c == '?')
			r = refuse_option(argv[optind - 1], longs);
		else if (c == ':')
			r = ctl_complain(argv[optind - 1], "needs a value");
		else
			r = take_option(options, c);
	}
	return r;
}

static int refuse_command(const char *name)
{
	const char *names[CTL_COMMANDS_MAX] = { NULL }, *near;
	size_t n = 0;

	for (const struct ctl_command *row = ctl_commands; row->name; row++)
		names[n++] = row->name;
	near = config_near(view_str(name), names);
	return refuse_word("command", name, "", near);
}

/* A command that the arguments do not fit. */
static int show_command(const struct ctl_command *command)
{
	fprintf(stderr, "usage: homingctl %s %s\n", command->name, command->args);
	return EXIT_USAGE;
}

static int find_command(const char *name, int arg_count, const struct ctl_command **ret_command)
{
	if (!name)
		return ctl_usage(stderr, EXIT_USAGE);
	for (const struct ctl_command *row = ctl_commands; row->name; row++) {
		if (strcmp(name, row->name) != 0)
			continue;
		*ret_command = row;
		return arg_count <= row->max_args ? EXIT_OK : show_command(row);
	}
	return refuse_command(name);
}

int main(int argc, char **argv)
{
	struct ctl ctl = { .options = { .timeout_s = CTL_TIMEOUT_DEFAULT } };
	const struct ctl_command *command = NULL;
	int code;

	signal(SIGPIPE, SIG_IGN);
	ctl_guard_output();
	code = parse_options(&ctl.options, argc, argv);
	if (!code)
		code = find_command(argv[optind], argc - optind - 1, &command);
	if (code)
		return code;
	if (!(command->flags & CTL_LOCAL))
		code = prepare(&ctl, command);
	if (!code)
		code = command->run(&ctl, argv + optind + 1);
	if (code == EXIT_USAGE && !ctl_has_complained())
		show_command(command);
	if (ctl.token)
		secret_wipe(ctl.token, strlen(ctl.token));
	free(ctl.token);
	for (unsigned i = 0; i < CTL_ROUTERS_MAX; i++) {
		free(ctl.hosts[i]);
		free(ctl.ports[i]);
	}
	return code;
}
