// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a bearer token: no name without "@" from a JWT, nothing but UTF-8, bounded. */
#include "identity/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf login = { 0 };
	char *copy = malloc(size ? size : 1);
	int r;

	memcpy(copy, data, size);
	r = identity_token("claim", view_make(copy, size), &login);
	if (r == 0 && (!login.len || !view_is_utf8(buf_view(&login)) || login.len > size))
		abort();
	if (r > 0 && login.len)
		abort();
	buf_fini(&login);
	free(copy);
	return 0;
}
