// SPDX-License-Identifier: Apache-2.0
/* The admin API: token, its source and strength (CFG-35). */
#include "base/secret.h"
#include "config/check.h"

#include <stdlib.h>

static struct config_environment_token describe(const char *token)
{
	struct config_environment_token described = {
		.present = true,
		.is_mask = strcmp(token, "********") == 0,
		.is_printable = true,
		.len = strlen(token),
	};

	for (size_t i = 0; i < described.len; i++) {
		if ((unsigned char)token[i] <= 0x20 || (unsigned char)token[i] >= 0x7f)
			described.is_printable = false;
	}
	tls_sha256(view_make(token, described.len), described.sha256);
	return described;
}

static void take_described(
	struct loader *loader, const char *key, const struct config_environment_token *token)
{
	struct config_admin *admin = &loader->config->admin;

	if (!token->is_printable)
		check_find(loader, true, "admin", key,
			"the token must be printable ASCII without blanks");
	else if (token->is_mask)
		check_find(loader, true, "admin", key,
			"this is the mask of a printed configuration, not a token");
	else if (token->len < (size_t)admin->min_token_len || token->len > 4096)
		check_find(loader, true, "admin", key,
			"the token must have %lld to 4096 characters",
			(long long)admin->min_token_len);
	memcpy(admin->token_sha256, token->sha256, sizeof(admin->token_sha256));
}

static void take_token(struct loader *loader, const char *key, const char *token)
{
	struct config_environment_token described = describe(token);

	take_described(loader, key, &described);
}

/* CFG-8: also after a reload, when the variable is gone (SEC-23). */
static void find_environment_token(struct loader *loader)
{
	struct config_private *priv = loader->config->priv;
	const char *environment = getenv("HOMING_ADMIN_TOKEN");

	if (loader->before)
		priv->environment_token = loader->before->priv->environment_token;
	else if (environment && *environment)
		priv->environment_token = describe(environment);
}

void check_admin(struct loader *loader)
{
	struct config_admin *admin = &loader->config->admin;
	const struct config_environment_token *environment =
		&loader->config->priv->environment_token;
	char *text;
	int r;

	find_environment_token(loader);
	if (!admin->present)
		return;
	if (admin->min_token_len < 16) /* section 11 */
		check_find(
			loader, false, "admin", "min_token_len", "below 16 a token can be guessed");
	if (admin->bearer_token && admin->bearer_token_file) /* CFG-35 */
		check_find(loader, false, "admin", "bearer_token",
			"has no effect: bearer_token_file wins");
	check_mode(loader, "admin", "bearer_token_file", admin->bearer_token_file);
	if (environment->present) {
		take_described(loader, "bearer_token", environment);
	} else if (admin->bearer_token_file) {
		r = config_read_token(admin->bearer_token_file, &text);
		if (r < 0) {
			check_find(loader, true, "admin", "bearer_token_file",
				"cannot read \"%s\": %s", admin->bearer_token_file, strerror(-r));
		} else {
			take_token(loader, "bearer_token_file", text);
			secret_wipe(text, strlen(text));
			free(text);
		}
	} else if (admin->bearer_token) {
		take_token(loader, "bearer_token", admin->bearer_token);
	} else {
		check_find(loader, true, "admin", NULL,
			/* 19 */
			"no token: set bearer_token_file, bearer_token or HOMING_ADMIN_TOKEN");
	}
	if (admin->bearer_token) {
		loader->config->priv->secret_in_file = true;
		secret_wipe((char *)admin->bearer_token, strlen(admin->bearer_token));
		admin->bearer_token = NULL;
	}
}
