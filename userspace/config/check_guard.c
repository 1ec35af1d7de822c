// SPDX-License-Identifier: Apache-2.0
/* [guard]: what its keys say together, and with listeners and the store. */
#include "config/check.h"

#include <net/if.h>

/* As the kernel takes them, without what would confuse logs. */
static bool interface_ok(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] == '/' || name[i] == ':' || name[i] == 0x7f)
			return false;
	}
	return len && len < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void check_interfaces(struct loader *loader, const char *const *names)
{
	for (size_t i = 0; names && names[i]; i++) {
		if (!interface_ok(names[i]))
			check_find(loader, true, "guard", "interfaces",
				"\"%s\" is no name of an interface", names[i]);
		if (strcmp(names[i], "auto") == 0 && (i || names[i + 1]))
			check_find(loader, true, "guard", "interfaces", "\"auto\" stands alone");
		for (size_t k = 0; k < i; k++) {
			if (strcmp(names[i], names[k]) == 0)
				check_find(loader, true, "guard", "interfaces",
					"\"%s\" is listed twice", names[i]);
		}
	}
}

static bool is_within(const struct cidr *inner, const struct cidr *outer)
{
	return inner->bits >= outer->bits && cidr_match(outer, &inner->net);
}

/* The longer prefix wins, so it would be refused. */
static void check_trusted(
	struct loader *loader, const struct cidr *deny, const struct config_listener *listener)
{
	char text[CIDR_TEXT_SIZE];

	for (size_t i = 0; i < listener->proxy_trusted_count; i++) {
		if (is_within(deny, &listener->proxy_trusted[i]) &&
			!cidr_eq(deny, &listener->proxy_trusted[i]))
			check_find(loader, false, "guard", "deny",
				"%s is trusted by listener.%s.proxy_trusted, and refused all the "
				"same",
				cidr_format(deny, text), listener->name);
	}
}

static void check_deny(struct loader *loader, const struct cidr *deny)
{
	const struct config *config = loader->config;
	const struct config_guard *guard = &config->guard;
	char text[CIDR_TEXT_SIZE];

	for (size_t i = 0; i < guard->allow_count; i++) {
		if (cidr_eq(deny, &guard->allow[i]))
			check_find(loader, true, "guard", "deny", "%s is in allow too",
				cidr_format(deny, text));
	}
	if (!deny->bits)
		check_find(loader, false, "guard", "deny",
			"%s refuses every client that no longer prefix of allow has",
			cidr_format(deny, text));
	for (size_t i = 0; i < config->listener_count; i++)
		check_trusted(loader, deny, &config->listeners[i]);
}

static bool store_shares(const struct config_mapping *mapping)
{
	return mapping->source == CONFIG_SOURCE_REDIS ||
		(mapping->source == CONFIG_SOURCE_SQL && mapping->sql_kind == CONFIG_SQL_POSTGRES);
}

void check_guard(struct loader *loader)
{
	const struct config *config = loader->config;
	const struct config_guard *guard = &config->guard;

	if (guard->ban_time_ms > guard->ban_time_max_ms)
		check_find(loader, true, "guard", "ban_time", "is longer than ban_time_max");
	if (guard->penalty_ms > guard->penalty_max_ms)
		check_find(loader, true, "guard", "penalty", "is longer than penalty_max");
	check_interfaces(loader, guard->interfaces);
	for (size_t i = 0; i < guard->deny_count; i++)
		check_deny(loader, &guard->deny[i]);
	if (guard->share_store && !store_shares(&config->mapping))
		check_find(loader, true, "guard", "share",
			"needs Redis or PostgreSQL as the mapping's store");
}
