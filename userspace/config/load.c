// SPDX-License-Identifier: Apache-2.0
/*
 * One load: read the file, parse it, walk it along the schema's rows, fill in defaults, then the
 * cross checks. Findings are collected and reported in file order at the end (CFG-11).
 */
#include "config/load.h"
#include "base/fd.h"
#include "base/secret.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>

#define FILE_LIMIT_BYTES (1024 * 1024)

/* ---- memory and findings ---- */

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

/* ---- walking ---- */

static void add_instance(struct loader *loader, enum schema_table_id id, const char *path,
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

static void unknown_key(struct loader *loader, const struct schema_table *schema,
	const struct toml_entry *entry, const char *keypath)
{
	const char *nearest = schema ? schema_nearest_key(schema, entry->key)
				     : schema_nearest(entry->key, schema_root_tables);
	const char *home = schema_other_home(schema, entry->key);
	const char *what = entry->value->type == TOML_TABLE ? "table" : "key";

	/* CFG-12: where it belongs first, the nearest known key last. */
	if (home)
		config_find(loader, true, entry->line, entry->column, keypath,
			"unknown %s \"%.*s\"; nearest known key: \"%s\"; it belongs to [%s]", what,
			(int)MIN(entry->key.len, (size_t)64), entry->key.data, nearest, home);
	else
		config_find(loader, true, entry->line, entry->column, keypath,
			"unknown %s \"%.*s\"; nearest known key: \"%s\"", what,
			(int)MIN(entry->key.len, (size_t)64), entry->key.data, nearest);
}

static void join(char keypath[KEYPATH_SIZE], const char *path, struct view key)
{
	snprintf(keypath, KEYPATH_SIZE, "%s%s%.*s", path, *path ? "." : "",
		(int)MIN(key.len, (size_t)64), key.data);
}

void config_table_path(char path[KEYPATH_SIZE], const char *prefix, struct view name)
{
	const char *quote = name.len && memchr(name.data, '.', name.len) ? "\"" : "";

	snprintf(path, KEYPATH_SIZE, "%s.%s%.*s%s", prefix, quote, (int)MIN(name.len, (size_t)64),
		name.data, quote);
}

static bool is_subtable(const struct schema_table *schema, struct view key)
{
	for (const char *const *name = schema->subtables; name && *name; name++) {
		if (view_eq(key, view_str(*name)))
			return true;
	}
	return false;
}

static void apply_default(struct loader *loader, const struct schema_row *row, void *base)
{
	struct toml_document *document;
	struct toml_error error;
	char text[2048];
	int n = snprintf(text, sizeof(text), "v = %s", row->fallback);

	if (toml_parse(view_make(text, (size_t)n), &document, &error) < 0) {
		loader->result = -ENOMEM;
		return;
	}
	config_convert(loader, row, toml_root(document)->table.entries[0].value, base, row->key);
	toml_free(document);
}

/* CFG-31: sources that are not selected need no key. */
static bool is_needed(const struct loader *loader, enum schema_table_id id)
{
	enum config_source source = loader->config->mapping.source;

	return (id != TABLE_MAPPING_FILE || source == CONFIG_SOURCE_FILE) &&
		(id != TABLE_MAPPING_REDIS || source == CONFIG_SOURCE_REDIS) &&
		(id != TABLE_MAPPING_SQL || source == CONFIG_SOURCE_SQL);
}

/* Fills base from a table (NULL: all defaults). */
static void load_table(struct loader *loader, enum schema_table_id id, const char *path,
	const struct toml_entry *entry, void *base)
{
	const struct schema_table *schema = &schema_tables[id];
	const struct toml_table *table = entry ? &entry->value->table : NULL;
	char keypath[KEYPATH_SIZE];

	add_instance(loader, id, path, entry, base);
	for (const struct schema_row *row = schema->rows; row->key; row++) {
		if (row->fallback)
			apply_default(loader, row, base);
	}
	for (uint32_t i = 0; table && i < table->count; i++) {
		const struct toml_entry *e = &table->entries[i];
		const struct schema_row *row = schema_find(schema, e->key);

		join(keypath, path, e->key);
		if (row)
			config_convert(loader, row, e->value, base, keypath);
		else if (!is_subtable(schema, e->key))
			unknown_key(loader, schema, e, keypath);
	}
	if (!is_needed(loader, id))
		return;
	for (const struct schema_row *row = schema->rows; table && row->key; row++) {
		if (!(row->flags & ROW_REQUIRED) || toml_find(table, view_str(row->key)))
			continue;
		join(keypath, path, view_str(row->key));
		config_find(loader, true, entry->value->line, entry->value->column, keypath,
			"required key is missing");
	}
}

/* The entry if it is a table; a finding if it is something else; NULL if it is absent. */
static const struct toml_entry *find_table(
	struct loader *loader, const struct toml_table *parent, const char *name, const char *path)
{
	const struct toml_entry *entry = parent ? toml_find(parent, view_str(name)) : NULL;

	if (!entry || entry->value->type == TOML_TABLE)
		return entry;
	config_find(loader, true, entry->value->line, entry->value->column, path,
		"expected table, found %s", toml_type_name(entry->value->type));
	return NULL;
}

/* Only the names in the list may stand in a table that has no keys of its own. */
static void only_known(struct loader *loader, const struct toml_entry *entry, const char *path,
	const char *const *names)
{
	char keypath[KEYPATH_SIZE];

	for (uint32_t i = 0; entry && i < entry->value->table.count; i++) {
		const struct toml_entry *e = &entry->value->table.entries[i];
		bool known = false;

		for (const char *const *name = names; *name && !known; name++)
			known = view_eq(e->key, view_str(*name));
		join(keypath, path, e->key);
		if (!known)
			config_find(loader, true, e->line, e->column, keypath,
				"unknown key \"%.*s\"; nearest known key: \"%s\"",
				(int)MIN(e->key.len, (size_t)64), e->key.data,
				schema_nearest(e->key, names));
	}
}

/* ---- tables with names ---- */

typedef void load_named_fn(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item);

static bool table_name_ok(struct loader *loader, const struct toml_entry *entry, const char *path)
{
	static const struct schema_row row = { .key = "name", .kind = KIND_NAME };
	struct toml_value name = { .type = TOML_STRING,
		.line = entry->line,
		.column = entry->column,
		.string = entry->key };
	const char *copy = NULL;

	config_convert(loader, &row, &name, &copy, path);
	if (!copy)
		return false;
	if (entry->value->type == TOML_TABLE)
		return true;
	config_find(loader, true, entry->line, entry->column, path, "expected table, found %s",
		toml_type_name(entry->value->type));
	return false;
}

/* Allocates an array with one item per table below entry; sets *ret_count. */
static void *load_named(struct loader *loader, const struct toml_entry *entry, const char *prefix,
	size_t item_size, size_t *ret_count, load_named_fn *load_one)
{
	uint32_t count = entry ? entry->value->table.count : 0;
	char *items = config_alloc(loader, (count + 1) * item_size), path[KEYPATH_SIZE];

	*ret_count = 0;
	for (uint32_t i = 0; items && i < count; i++) {
		const struct toml_entry *e = &entry->value->table.entries[i];

		config_table_path(path, prefix, e->key);
		if (table_name_ok(loader, e, path))
			load_one(loader, e, path, items + (*ret_count)++ * item_size);
	}
	return items;
}

static void load_certificate(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	struct tls_cert_params *cert = item;

	cert->name = config_strdup(loader, entry->key);
	load_table(loader, TABLE_CERTIFICATE, path, entry, cert);
}

static void load_listener(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	struct config_listener *listener = item;

	listener->name = config_strdup(loader, entry->key);
	load_table(loader, TABLE_LISTENER, path, entry, listener);
}

static enum config_forwarding resolve_forwarding(
	const struct config_destination *destination, const struct config_leg *leg)
{
	if (leg->forwarding != CONFIG_FORWARDING_UNSET)
		return leg->forwarding;
	if (destination->forwarding != CONFIG_FORWARDING_UNSET)
		return destination->forwarding;
	return destination->proxy_protocol ? CONFIG_FORWARDING_PROXY : CONFIG_FORWARDING_NONE;
}

static void load_destination(
	struct loader *loader, const struct toml_entry *entry, const char *path, void *item)
{
	struct config_destination *destination = item;
	char leg_path[KEYPATH_SIZE], name_path[KEYPATH_SIZE];
	const struct toml_entry *legs;

	destination->name = config_strdup(loader, entry->key);
	load_table(loader, TABLE_DESTINATION, path, entry, destination);
	snprintf(name_path, sizeof(name_path), "%.200s.protocol", path);
	legs = find_table(loader, &entry->value->table, "protocol", name_path);
	only_known(loader, legs, name_path, schema_protocols);
	for (int p = 0; legs && p < PROTOCOLS; p++) {
		const struct toml_entry *leg;

		snprintf(leg_path, sizeof(leg_path), "%.200s.%s", name_path, schema_protocols[p]);
		leg = find_table(loader, &legs->value->table, schema_protocols[p], leg_path);
		if (!leg)
			continue;
		destination->legs[p].declared = true;
		load_table(loader, TABLE_LEG, leg_path, leg, &destination->legs[p]);
		destination->legs[p].forwarding =
			resolve_forwarding(destination, &destination->legs[p]);
	}
}

static void load_route(struct loader *loader, const struct toml_value *value, uint32_t i)
{
	struct config_route *route = &loader->config->http.routes[i];
	struct toml_entry entry = {
		.line = value->line, .column = value->column, .value = (struct toml_value *)value
	};
	const struct toml_entry *extract;
	char path[KEYPATH_SIZE], extract_path[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "http.route[%u]", i);
	if (value->type != TOML_TABLE) {
		config_find(loader, true, value->line, value->column, path,
			"expected table, found %s", toml_type_name(value->type));
		return;
	}
	load_table(loader, TABLE_ROUTE, path, &entry, route);
	snprintf(extract_path, sizeof(extract_path), "http.route[%u].extract", i);
	extract = find_table(loader, &value->table, "extract", extract_path);
	if (extract)
		load_table(loader, TABLE_EXTRACT, extract_path, extract, route);
}

static void load_http(struct loader *loader, const struct toml_table *root)
{
	const struct toml_entry *http = find_table(loader, root, "http", "http"), *routes;
	struct config_http *settings = &loader->config->http;

	load_table(loader, TABLE_HTTP, "http", http, loader->config);
	routes = http ? toml_find(&http->value->table, VIEW_LIT("route")) : NULL;
	if (!routes)
		return;
	if (routes->value->type != TOML_ARRAY) {
		config_find(loader, true, routes->line, routes->column, "http.route",
			"expected array of tables, found %s", toml_type_name(routes->value->type));
		return;
	}
	settings->route_count = routes->value->array.count;
	settings->routes =
		config_alloc(loader, (settings->route_count + 1) * sizeof(*settings->routes));
	for (uint32_t i = 0; settings->routes && i < settings->route_count; i++)
		load_route(loader, routes->value->array.items[i], i);
}

/* ---- the document ---- */

static void load_tls(struct loader *loader, const struct toml_table *root)
{
	static const char *const names[] = { "certificate", "protocols", NULL };
	struct config *config = loader->config;
	const struct toml_entry *tls = find_table(loader, root, "tls", "tls");
	const struct toml_table *table = tls ? &tls->value->table : NULL;

	only_known(loader, tls, "tls", names);
	config->certs = load_named(loader,
		find_table(loader, table, "certificate", "tls.certificate"), "tls.certificate",
		sizeof(*config->certs), &config->cert_count, load_certificate);
	load_table(loader, TABLE_TLS_PROTOCOLS, "tls.protocols",
		find_table(loader, table, "protocols", "tls.protocols"), &config->tls_policy);
}

static void load_mapping(struct loader *loader, const struct toml_table *root)
{
	struct config *config = loader->config;
	const struct toml_entry *mapping = find_table(loader, root, "mapping", "mapping");
	const struct toml_table *table = mapping ? &mapping->value->table : NULL;
	static const struct {
		const char *name, *path;
		enum schema_table_id id;
	} stores[] = { { "file", "mapping.file", TABLE_MAPPING_FILE },
		{ "redis", "mapping.redis", TABLE_MAPPING_REDIS },
		{ "sql", "mapping.sql", TABLE_MAPPING_SQL } };

	load_table(loader, TABLE_MAPPING, "mapping", mapping, config);
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++)
		load_table(loader, stores[i].id, stores[i].path,
			find_table(loader, table, stores[i].name, stores[i].path), config);
}

static void load_capabilities(struct loader *loader, const struct toml_table *root)
{
	static const struct {
		const char *name, *path;
		enum schema_table_id id;
		enum protocol protocol;
	} tables[] = {
		{ "imap", "capabilities.imap", TABLE_CAP_IMAP, PROTOCOL_IMAP },
		{ "pop3", "capabilities.pop3", TABLE_CAP_POP3, PROTOCOL_POP3 },
		{ "managesieve", "capabilities.managesieve", TABLE_CAP_MANAGESIEVE,
			PROTOCOL_MANAGESIEVE },
		{ "submission", "capabilities.submission", TABLE_CAP_SUBMISSION,
			PROTOCOL_SUBMISSION },
	};
	static const char *const names[] = { "imap", "managesieve", "pop3", "submission", NULL };
	const struct toml_entry *caps = find_table(loader, root, "capabilities", "capabilities");
	const struct toml_table *table = caps ? &caps->value->table : NULL;

	only_known(loader, caps, "capabilities", names);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		struct config_capabilities *target =
			&loader->config->capabilities[tables[i].protocol];
		const struct toml_entry *entry =
			find_table(loader, table, tables[i].name, tables[i].path);

		load_table(loader, tables[i].id, tables[i].path, entry, target);
		target->mechs_set = entry && toml_find(&entry->value->table, VIEW_LIT("sasl"));
	}
}

static void need_table(struct loader *loader, const struct toml_table *root, const char *name)
{
	if (!toml_find(root, view_str(name)))
		config_find(loader, true, 1, 1, name, "required table is missing");
}

static void load_document(struct loader *loader, const struct toml_table *root)
{
	struct config *config = loader->config;
	const struct toml_entry *admin;

	for (uint32_t i = 0; i < root->count; i++) {
		const struct toml_entry *e = &root->entries[i];
		bool known = false;
		char keypath[KEYPATH_SIZE];

		for (const char *const *name = schema_root_tables; *name && !known; name++)
			known = view_eq(e->key, view_str(*name));
		join(keypath, "", e->key);
		if (!known)
			unknown_key(loader, NULL, e, keypath);
	}
	need_table(loader, root, "routing");
	need_table(loader, root, "mapping");
	load_table(loader, TABLE_SERVER, "server", find_table(loader, root, "server", "server"),
		&config->server);
	load_tls(loader, root);
	config->listeners = load_named(loader, find_table(loader, root, "listener", "listener"),
		"listener", sizeof(*config->listeners), &config->listener_count, load_listener);
	config->destinations = load_named(loader,
		find_table(loader, root, "destination", "destination"), "destination",
		sizeof(*config->destinations), &config->destination_count, load_destination);
	load_table(loader, TABLE_ROUTING, "routing", find_table(loader, root, "routing", "routing"),
		config);
	load_mapping(loader, root);
	load_table(
		loader, TABLE_OAUTH, "oauth", find_table(loader, root, "oauth", "oauth"), config);
	load_capabilities(loader, root);
	load_http(loader, root);
	admin = find_table(loader, root, "admin", "admin");
	config->admin.present = admin != NULL;
	load_table(loader, TABLE_ADMIN, "admin", admin, config);
	load_table(loader, TABLE_SPLICE, "splice", find_table(loader, root, "splice", "splice"),
		config);
}

/* ---- files, order of findings, entry ---- */

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

static void report_all(struct loader *loader, config_finding_fn *report, void *arg)
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

static int config_new(const char *path, struct config **ret_config)
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
		load_document(&loader, &toml_root(loader.config->priv->document)->table);
		if (how != LOAD_UNCHECKED) {
			config_check(&loader);
			config_digest_files(&loader);
		} else {
			loader.finding_count = loader.errors = 0;
		}
	}
	report_all(&loader, report, arg);
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

int config_load_to_check(
	const char *path, config_finding_fn *report, void *arg, struct config **ret_config)
{
	return load(path, NULL, LOAD_TO_CHECK, report, arg, ret_config);
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
