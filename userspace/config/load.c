// SPDX-License-Identifier: Apache-2.0
/*
 * One load, on top of config/: read the file, parse it (toml.c), take its tables (document.c) along
 * the schema's rows (walk.c) with their values (convert.c), then the cross checks (check.c). All of
 * them report findings (findings.c) and put memory and places into the configuration (private.c).
 */
#include "config/load.h"
#include "base/fd.h"
#include "base/secret.h"

#include <errno.h>
#include <stdlib.h>

#define FILE_LIMIT_BYTES (1024 * 1024)

static int parse_file(struct loader *loader)
{
	struct config_private *priv = loader->config->priv;
	struct toml_error error;
	char *text;
	size_t len;
	int r = fd_read_file(priv->path, FILE_LIMIT_BYTES, &text, &len);

	if (r == -EFBIG)
		config_find(loader, true, 1, 1, "", "file is larger than 1 MiB");
	else if (r < 0)
		config_find(loader, true, 0, 0, "", "cannot read the file: %s", strerror(-r));
	if (r < 0)
		return r;
	r = toml_parse(view_make(text, len), &priv->document, &error);
	if (r == -EINVAL)
		config_find(loader, true, error.line, error.column, "", "%s", error.text);
	secret_wipe(text, len);
	free(text);
	return r;
}

enum load_how { LOAD_TO_SERVE, LOAD_TO_CHECK, LOAD_UNCHECKED };

static int load(const char *path, const struct config *before, enum load_how how,
	config_finding_fn *report, void *arg, struct config **ret_config)
{
	struct loader loader = { .before = before, .only_check = how == LOAD_TO_CHECK };
	int r = config_new(path, &loader.config);

	if (r < 0)
		return r;
	r = parse_file(&loader);
	if (r == 0) {
		config_load_document(&loader, &toml_root(loader.config->priv->document)->table);
		if (how != LOAD_UNCHECKED) {
			config_check(&loader);
			config_digest_files(&loader);
		} else {
			loader.finding_count = loader.errors = 0;
		}
	}
	config_report(&loader, report, arg);
	free(loader.findings);
	if (r == 0)
		r = loader.result < 0 ? loader.result : loader.errors ? -EINVAL : 0;
	if (r == 0)
		*ret_config = loader.config;
	else
		config_unref(loader.config);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the last reference frees it */
	return r;
}

int config_load(const char *path, config_finding_fn *report, void *arg, struct config **ret_config)
{
	return load(path, NULL, LOAD_TO_SERVE, report, arg, ret_config);
}

int config_load_unchecked(
	const char *path, config_finding_fn *report, void *arg, struct config **ret_config)
{
	return load(path, NULL, LOAD_UNCHECKED, report, arg, ret_config);
}

int config_load_again(const struct config *before, config_finding_fn *report, void *arg,
	struct config **ret_config)
{
	return load(before->priv->path, before, LOAD_TO_SERVE, report, arg, ret_config);
}

/* ---- with findings printed ---- */

struct report {
	FILE *out;
	unsigned errors, warnings;
};

static void print_finding(void *arg, const struct config_finding *finding)
{
	struct report *report = arg;
	char *text = config_format_finding(finding);

	if (finding->error)
		report->errors++;
	else
		report->warnings++;
	fprintf(report->out, "%s\n", text ? text : "out of memory");
	free(text);
}

static int load_and_report(
	const char *path, FILE *out, enum load_how how, struct config **ret_config)
{
	struct report report = { .out = out };
	int r = load(path, NULL, how, print_finding, &report, ret_config);
	char *token = getenv("HOMING_ADMIN_TOKEN");

	/* CFG-11: a syntax error or an unreadable file stands alone; it has no key. */
	if (report.errors || report.warnings)
		fprintf(out, "%u error(s), %u warning(s)\n", report.errors, report.warnings);
	if (token) { /* SEC-23: also out of the environment block */
		secret_wipe(token, strlen(token));
		unsetenv("HOMING_ADMIN_TOKEN");
	}
	return r;
}

int config_load_reporting(const char *path, FILE *out, struct config **ret_config)
{
	return load_and_report(path, out, LOAD_TO_SERVE, ret_config);
}

unsigned config_check_file(const char *path, FILE *out)
{
	struct config *config = NULL;
	int r = load_and_report(path, out, LOAD_TO_CHECK, &config);

	config_unref(config);
	return r < 0 ? 1 : 0;
}
