// SPDX-License-Identifier: Apache-2.0
/*
 * Key exchange groups (CFG-25a). What OpenSSL offers by itself goes up to ffdhe8192, whose key pair
 * and agreement take a tenth of a second: a client would have it for one hello, before it has shown
 * anything. So every context names its groups, and the costly ones only when the operator does.
 */
#include "tls/openssl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

/* Finite-field groups are in no list: nobody needs them whom the others do not serve. */
static const char *const known[] = { "X25519MLKEM768", "X25519", "P-256", "P-384", "P-521",
	"X448" };
static const char *const of_servers[] = { "X25519MLKEM768", "X25519", "P-256", NULL };
/* Without the hybrid: its key would be made for every login. */
static const char *const of_clients[] = { "X25519", "P-256", "P-384", NULL };

static const char *find_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (view_eq_nocase(view_str(name), view_str(known[i])))
			return known[i];
	}
	return NULL;
}

/* Whether this library has it: asked of a context, because names come from providers. */
static bool library_has(SSL_CTX *ctx, const char *group)
{
	bool has = SSL_CTX_set1_groups_list(ctx, group) == 1;

	ERR_clear_error();
	return has;
}

static void list_known(SSL_CTX *ctx, char *text, size_t size)
{
	size_t n = 0;

	*text = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(known) && n < size; i++) {
		if (library_has(ctx, known[i]))
			n += (size_t)snprintf(text + n, size - n, "%s%s", n ? ", " : "", known[i]);
	}
}

static bool named_before(const char *const *names, const char *const *name)
{
	for (; names < name; names++) {
		if (view_eq_nocase(view_str(*names), view_str(*name)))
			return true;
	}
	return false;
}

/* Returns whether *name may stand in the list names. */
static bool check_one(SSL_CTX *ctx, const char *const *names, const char *const *name,
	const char *field, tls_finding_fn *report, void *arg)
{
	struct tls_finding f = { .error = true, .field = field };
	const char *group = find_known(*name);
	char list[128];

	if (group && library_has(ctx, group) && !named_before(names, name))
		return true;
	list_known(ctx, list, sizeof(list));
	if (!group)
		snprintf(f.text, sizeof(f.text), "unknown group: %.40s (known: %s)", *name, list);
	else if (named_before(names, name))
		snprintf(f.text, sizeof(f.text), "group %s is named twice", group);
	else
		snprintf(f.text, sizeof(f.text), "%s has no group %s (it has %s)",
			tls_library_name(), group, list);
	if (report)
		report(arg, &f);
	return false;
}

int tls_groups_check(const char *const *names, const char *field, tls_finding_fn *report, void *arg)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	int r = ctx ? 0 : -ENOMEM;

	for (const char *const *name = names; ctx && name && *name; name++) {
		if (!check_one(ctx, names, name, field, report, arg))
			r = -EINVAL;
	}
	SSL_CTX_free(ctx);
	return r;
}

int tls_groups_apply(SSL_CTX *ctx, const char *const *names, bool server)
{
	char list[256] = "";

	if (!names || !*names)
		names = server ? of_servers : of_clients;
	for (; *names; names++) {
		const char *group = find_known(*names);

		if (!group || !library_has(ctx, group))
			continue; /* of the default; a configured one has been checked */
		if (strlen(list) + strlen(group) + 2 > sizeof(list))
			return -EINVAL;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? ":" : "",
			group);
	}
	return SSL_CTX_set1_groups_list(ctx, list) == 1 ? 0 : -EINVAL;
}
