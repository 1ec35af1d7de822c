// SPDX-License-Identifier: Apache-2.0
/* Names of a configuration that is there, look-ups in it, and files beside it. */
#include "config/load.h"
#include "base/fd.h"
#include "base/secret.h"

#include <errno.h>
#include <stdlib.h>

const char *protocol_name(enum protocol protocol)
{
	return schema_protocols[protocol];
}

const struct config_destination *config_find_destination(
	const struct config *config, struct view name)
{
	for (size_t i = 0; i < config->destination_count; i++) {
		if (view_eq(name, view_str(config->destinations[i].name)))
			return &config->destinations[i];
	}
	return NULL;
}

const char *config_unserved_protocol(const struct config *config, struct view name)
{
	const struct config_destination *destination = config_find_destination(config, name);

	for (size_t i = 0; destination && i < config->listener_count; i++) {
		enum protocol protocol = config->listeners[i].protocol;

		if (protocol <= PROTOCOL_SUBMISSION && !destination->legs[protocol].declared)
			return protocol_name(protocol);
	}
	return NULL;
}

bool config_binds_both(const struct config *config, const struct addr *bind, struct addr *ret_v4)
{
	const struct addr *admin = &config->admin.bind;
	uint16_t port = addr_port(bind);

	if (bind->sa.sa_family != AF_INET6 || !addr_is_wildcard(bind) || !port)
		return false;
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++) {
			if (listener->bind[b].sa.sa_family == AF_INET &&
				addr_port(&listener->bind[b]) == port)
				return false;
		}
	}
	if (config->admin.present && admin->sa.sa_family == AF_INET && addr_port(admin) == port)
		return false;
	return addr_parse_ip(VIEW_LIT("0.0.0.0"), port, ret_v4) == 0;
}

void config_named_path(char *ret, size_t ret_size, const char *prefix, const char *name)
{
	char path[KEYPATH_SIZE];

	config_table_path(path, prefix, view_str(name));
	snprintf(ret, ret_size, "%s", path);
}

int config_read_token(const char *path, char **ret_token)
{
	char *text, *start, *end, *token;
	size_t len;
	int r = fd_read_file(path, 65536, &text, &len);

	if (r < 0)
		return r;
	for (start = text; *start && strchr(" \t\r\n", *start); start++)
		;
	for (end = text + len; end > start && strchr(" \t\r\n", end[-1]); end--)
		;
	token = view_dup(view_make(start, (size_t)(end - start)));
	secret_wipe(text, len);
	free(text);
	if (!token)
		return -ENOMEM;
	*ret_token = token;
	return 0;
}
