// SPDX-License-Identifier: Apache-2.0
/*
 * What a configuration carries beside its values: its references and the memory that goes with the
 * last of them, and where each of its tables stands in the file. The lowest file of a load: it
 * needs the document and nothing else of config/.
 */
#include "config/load.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>

/* ---- references ---- */

int config_new(const char *path, struct config **ret_config)
{
	struct config *config = calloc(1, sizeof(*config));
	struct config_private *priv = calloc(1, sizeof(*priv));
	char *copy = strdup(path);

	if (config && priv && copy) {
		config->priv = priv;
		atomic_init(&priv->references, 1);
		priv->path = strdup(path);
		priv->dir = strdup(dirname(copy));
		free(copy);
		*ret_config = config;
		return 0;
	}
	free(config);
	free(priv);
	free(copy);
	return -ENOMEM;
}

struct config *config_ref(struct config *config)
{
	atomic_fetch_add(&config->priv->references, 1);
	return config;
}

void config_unref(struct config *config)
{
	struct config_private *priv = config ? config->priv : NULL;

	if (!priv || atomic_fetch_sub(&priv->references, 1) != 1)
		return;
	for (size_t i = 0; i < priv->block_count; i++)
		free(priv->blocks[i]);
	free(priv->blocks);
	free(priv->instances);
	free(priv->files);
	toml_free(priv->document);
	free(priv->path);
	free(priv->dir);
	free(priv);
	free(config);
}

/* ---- memory ---- */

void *config_alloc(struct loader *loader, size_t size)
{
	struct config_private *priv = loader->config->priv;
	void **blocks, *p = calloc(1, size ? size : 1);

	if (p && priv->block_count == priv->block_cap) {
		size_t cap = priv->block_cap ? priv->block_cap * 2 : 64;

		blocks = realloc(priv->blocks, cap * sizeof(*blocks));
		if (blocks) {
			priv->blocks = blocks;
			priv->block_cap = cap;
		} else {
			free(p);
			p = NULL;
		}
	}
	if (p)
		priv->blocks[priv->block_count++] = p;
	else
		loader->result = -ENOMEM;
	return p;
}

char *config_strdup(struct loader *loader, struct view v)
{
	char *copy = config_alloc(loader, v.len + 1);

	if (copy && v.len)
		memcpy(copy, v.data, v.len);
	return copy;
}

/* ---- places ---- */

void config_table_path(char path[KEYPATH_SIZE], const char *prefix, struct view name)
{
	const char *quote = name.len && memchr(name.data, '.', name.len) ? "\"" : "";

	snprintf(path, KEYPATH_SIZE, "%s.%s%.*s%s", prefix, quote, (int)MIN(name.len, (size_t)64),
		name.data, quote);
}

void config_add_instance(struct loader *loader, enum schema_table_id id, const char *path,
	const struct toml_entry *entry, const void *base)
{
	struct config_private *priv = loader->config->priv;
	struct config_instance *instances;

	if (priv->instance_count == priv->instance_cap) {
		priv->instance_cap = priv->instance_cap ? priv->instance_cap * 2 : 32;
		instances = realloc(priv->instances, priv->instance_cap * sizeof(*priv->instances));
		if (!instances) {
			loader->result = -ENOMEM;
			return;
		}
		priv->instances = instances;
	}
	priv->instances[priv->instance_count++] = (struct config_instance){
		.id = id,
		.path = config_strdup(loader, view_str(path)),
		.table = entry ? &entry->value->table : NULL,
		.base = base,
		.line = entry ? entry->value->line : 1,
		.column = entry ? entry->value->column : 1,
	};
}

const struct config_instance *config_find_instance(const struct config *config, const char *path)
{
	const struct config_private *priv = config->priv;

	for (size_t i = 0; i < priv->instance_count; i++) {
		if (priv->instances[i].path && strcmp(priv->instances[i].path, path) == 0)
			return &priv->instances[i];
	}
	return NULL;
}

void config_locate(const struct config *config, const char *table_path, const char *key,
	unsigned *ret_line, unsigned *ret_column)
{
	const struct config_instance *instance = config_find_instance(config, table_path);
	const struct toml_entry *entry = instance && instance->table && key
		? toml_find(instance->table, view_str(key))
		: NULL;

	*ret_line = entry ? entry->line : instance ? instance->line : 1;
	*ret_column = entry ? entry->column : instance ? instance->column : 1;
}

bool config_is_set(const struct config *config, const char *table_path, const char *key)
{
	const struct config_instance *instance = config_find_instance(config, table_path);

	return instance && instance->table && toml_find(instance->table, view_str(key));
}
