// SPDX-License-Identifier: Apache-2.0
/* Findings: what is wrong with a configuration and where, collected during a load and reported in
 * file order at its end (CFG-11). */
#include "config/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- collecting ---- */

static void add_finding(struct loader *loader, struct finding finding)
{
	struct finding *findings;

	if (loader->finding_count == loader->finding_cap) {
		loader->finding_cap = loader->finding_cap ? loader->finding_cap * 2 : 32;
		findings = realloc(loader->findings, loader->finding_cap * sizeof(*findings));
		if (!findings) {
			loader->result = -ENOMEM;
			return;
		}
		loader->findings = findings;
	}
	finding.order = (unsigned)loader->finding_count;
	loader->findings[loader->finding_count++] = finding;
	if (finding.error)
		loader->errors++;
	else
		loader->warnings++;
}

void config_find(struct loader *loader, bool error, unsigned line, unsigned column,
	const char *keypath, const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add_finding(loader,
		(struct finding){ .error = error,
			.line = line,
			.column = column,
			.file = loader->config->priv->path,
			.keypath = config_strdup(loader, view_str(keypath)),
			.text = config_strdup(loader, view_str(text)) });
}

void config_find_in(struct loader *loader, bool error, const char *file, unsigned line,
	const char *keypath, const char *text)
{
	add_finding(loader,
		(struct finding){ .error = error,
			.line = line,
			.column = 1,
			.file = file,
			.keypath = config_strdup(loader, view_str(keypath)),
			.text = config_strdup(loader, view_str(text)) });
}

/* ---- reporting ---- */

static int compare_findings(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;
	int files = strcmp(x->file, y->file);

	if (files)
		return x->order < y->order ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

void config_report(struct loader *loader, config_finding_fn *report, void *arg)
{
	if (loader->finding_count)
		qsort(loader->findings, loader->finding_count, sizeof(*loader->findings),
			compare_findings);
	for (size_t i = 0; i < loader->finding_count; i++) {
		const struct finding *f = &loader->findings[i];
		struct config_finding finding = { f->error, f->line, f->column, f->file,
			f->keypath ? f->keypath : "", f->text ? f->text : "out of memory" };

		report(arg, &finding);
	}
}

char *config_format_finding(const struct config_finding *finding)
{
	char *text;

	if (asprintf(&text, "%s:%u:%u: %s: %s%s%s", finding->file, finding->line, finding->column,
		    finding->error ? "error" : "warning", finding->keypath,
		    *finding->keypath ? ": " : "", finding->text) < 0)
		return NULL;
	return text;
}

char *config_format_error(
	const struct config *config, const char *table, const char *key, const char *text)
{
	struct config_finding finding = { .error = true, .file = config->priv->path, .text = text };
	char keypath[KEYPATH_SIZE];

	config_locate(config, table, key, &finding.line, &finding.column);
	snprintf(keypath, sizeof(keypath), "%s%s%s", table, key ? "." : "", key ? key : "");
	finding.keypath = keypath;
	return config_format_finding(&finding);
}
