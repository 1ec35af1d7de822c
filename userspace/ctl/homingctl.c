// SPDX-License-Identifier: Apache-2.0
/*
 * homingctl: the admin API on the command line (admin.md section 8). Commands are rows; help comes
 * from the rows. Exit: 0 success, 1 the router answered with an error, 2 usage, 3 no connection.
 */
#include "config/config.h"
#include "ctl/ctl.h"

#include <assert.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

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
	case CTL_NET:
		options->net = true;
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

/* What getopt_long() has stumbled over: not known, or short for several, or with a needless
 * value. */
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
	assert(command);
	if (!(command->flags & CTL_LOCAL))
		code = ctl_find_router(&ctl, command);
	if (!code)
		code = command->run(&ctl, argv + optind + 1);
	if (code == EXIT_USAGE && !ctl_has_complained())
		show_command(command);
	ctl_forget_router(&ctl);
	return code;
}
