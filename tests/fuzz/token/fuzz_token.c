// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a token, and as the claims of one: a login keeps its promises or there is none. */
#include "base/base64.h"
#include "identity/token.h"

#include <stdlib.h>

static void check(const char *claim, struct view token, bool jwt)
{
	struct buf login = { 0 };
	char *copy = malloc(token.len ? token.len : 1); /* its end is watched by the sanitizer */
	struct view text;
	int r;

	memcpy(copy, token.data, token.len);
	r = identity_token(claim, view_make(copy, token.len), &login);
	free(copy);
	text = buf_view(&login);
	if (r != 0 && r != IDENTITY_NO_LOGIN)
		abort();
	if ((r == 0) != (text.len > 0))
		abort();
	if (r == 0 && (memchr(text.data, 0, text.len) || !view_is_utf8(text)))
		abort();
	if (text.len > token.len)
		abort();
	if (r == 0 && jwt && !memchr(text.data, '@', text.len))
		abort();
	buf_fini(&login);
}

static void as_claims(const char *claim, const uint8_t *data, size_t size)
{
	struct buf token = { 0 };
	char *text;

	if (buf_append_str(&token, "h.") < 0 ||
		base64_encode(view_make((const char *)data, size), &token) < 0)
		abort();
	text = token.data + token.start;
	for (size_t i = 0; i < token.len; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	while (text[token.len - 1] == '=')
		token.len--;
	check(claim, buf_view(&token), true);
	buf_fini(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check("mail", view_make((const char *)data, size), false);
	as_claims("mail", data, size);
	return 0;
}
