// SPDX-License-Identifier: Apache-2.0
/* What a peer says beside data: records of one byte for version and role, one for the type, one for
 * the length, and the content. Bounded whatever comes, and nothing is read behind it. */
#include "record/post.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct record_peer peer = { 0 };
	unsigned quiet = 0;

	while (size >= 3) {
		size_t len = MIN((size_t)data[2], size - 3);
		unsigned char *content = malloc(len + !len);
		int r;

		memcpy(content, data + 3, len);
		peer.version = data[0] & 1;
		peer.is_client = data[0] & 2;
		r = record_peer_said(&peer, data[1], content, len);
		free(content);
		if (r > RECORD_RENEGOTIATION || ++quiet > RECORD_QUIET_MAX + 1)
			abort();
		if (r < 0 || r == RECORD_END)
			break;
		data += 3 + len;
		size -= 3 + len;
	}
	return 0;
}
