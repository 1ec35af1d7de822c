// SPDX-License-Identifier: Apache-2.0
/* What the cross checks share: a finding at a key, names and look-ups. */
#include "config/check.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

void check_find(struct loader *loader, bool error, const char *table, const char *key,
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

const char *check_path(char path[KEYPATH_SIZE], const char *table, const char *name)
{
	config_table_path(path, table, view_str(name));
	return path;
}

bool check_any_listener(const struct config *config, enum protocol protocol)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		if (config->listeners[i].protocol == protocol)
			return true;
	}
	return false;
}

const struct config_destination *check_default(const struct config *config)
{
	return config->routing.default_destination
		? config_find_destination(config, view_str(config->routing.default_destination))
		: NULL;
}

void check_mode(struct loader *loader, const char *table, const char *key, const char *path)
{
	struct stat st;

	if (path && stat(path, &st) == 0 && st.st_mode & S_IROTH)
		check_find(loader, false, table, key,
			"\"%s\" holds a secret and is readable by others", path);
}

void check_access(struct loader *loader, const char *table, const char *key, const char *path)
{
	if (path && access(path, R_OK) < 0)
		check_find(
			loader, true, table, key, "cannot read \"%s\": %s", path, strerror(errno));
}

void check_key_pair(
	struct loader *loader, const char *table, const char *cert_path, const char *key_path)
{
	if (!cert_path != !key_path) /* 11 */
		check_find(loader, true, table, cert_path ? "tls_client_cert" : "tls_client_key",
			"tls_client_cert and tls_client_key go together");
	check_access(loader, table, "tls_client_cert", cert_path);
	check_access(loader, table, "tls_client_key", key_path);
	check_mode(loader, table, "tls_client_key", key_path);
}
