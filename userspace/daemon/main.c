// SPDX-License-Identifier: Apache-2.0
/* homingd: arguments and environment (config.md CFG-2 to CFG-7); everything else is daemon.c. */
#include "config/config.h"
#include "daemon/daemon.h"
#include "tls/tls.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum mode { MODE_RUN, MODE_CHECK, MODE_PRINT };

static int usage(FILE *out, int code)
{
	fputs("usage: homingd [--config] FILE      run with this configuration\n"
	      "       homingd --check-config FILE  check it and exit\n"
	      "       homingd --print-config FILE  print what is in effect and exit\n"
	      "       homingd --guard-detach       take the guard off all network devices, and "
	      "exit\n"
	      "       homingd --probe              try the data paths, print what works and exit\n"
	      "       homingd --version\n"
	      "FILE may also come from the environment variable HOMING_CONFIG.\n",
		out);
	return code;
}

static int print_config(const char *path)
{
	struct config *config;

	if (config_load_reporting(path, stderr, &config) < 0)
		return 1;
	config_print(config, stdout);
	config_unref(config);
	return 0;
}

/* --config, else the positional argument, else HOMING_CONFIG; NULL if none or too many. */
static const char *pick_path(const char *option, int argc, char **argv)
{
	const char *path = option;

	if (argc - optind > 1)
		return NULL;
	if (!path && optind < argc)
		path = argv[optind];
	if (!path)
		path = getenv("HOMING_CONFIG");
	return path && *path ? path : NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, 'k' },
		{ "print-config", no_argument, NULL, 'p' },
		{ "guard-detach", no_argument, NULL, 'g' },
		{ "probe", no_argument, NULL, 'P' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *option_path = NULL, *path;
	enum mode mode = MODE_RUN;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			option_path = optarg;
			break;
		case 'k':
			mode = MODE_CHECK;
			break;
		case 'p':
			mode = MODE_PRINT;
			break;
		case 'g':
			return daemon_guard_detach();
		case 'P':
			return daemon_probe();
		case 'v':
			printf("homingd " HOMING_VERSION " (%s)\n", tls_library_name());
			return 0;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 2);
		}
	}
	path = pick_path(option_path, argc, argv);
	if (!path)
		return usage(stderr, 2);
	if (mode == MODE_CHECK)
		return config_check_file(path, stderr) ? 1 : 0;
	return mode == MODE_PRINT ? print_config(path) : daemon_run(path);
}
