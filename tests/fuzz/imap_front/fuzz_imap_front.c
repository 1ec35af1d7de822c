// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a client: in one piece and in pieces the result must be the same. */
#include "proto/proto.h"

#include <stdlib.h>

struct outcome {
	int result;
	unsigned attempts;
	struct buf out, message;
};

static void play(
	const uint8_t *data, size_t size, size_t step, bool permit, struct outcome *outcome)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN };
	struct front_params params = { .host = "h",
		.banner = "b",
		.capabilities = "X",
		.mechs = mechs,
		.mech_count = 2,
		.offer_starttls = !permit,
		.permit_auth = permit,
		.max_attempts = 3 };
	size_t given = step ? MIN(step, size) : size, used = 0, consumed;
	struct proto_credential credential;
	struct front *front;
	int r = PROTO_MORE;

	if (imap_front_ops.create(&params, &front) < 0)
		abort();
	while (size) {
		char *copy = malloc(given - used + 1); /* its end is watched by the sanitizer */

		memcpy(copy, data + used, given - used);
		copy = realloc(copy, given - used ? given - used : 1);
		r = imap_front_ops.input(
			front, view_make(copy, given - used), &consumed, &outcome->out);
		free(copy);
		if (consumed > given - used)
			abort();
		used += consumed;
		if (r == FRONT_LOGIN) {
			imap_front_ops.take_credential(front, &credential);
			if (credential.authcid_at + credential.authcid_len > credential.message.len)
				abort();
			if (buf_append_view(&outcome->message, buf_view(&credential.message)) < 0)
				abort();
			proto_credential_wipe(&credential);
			r = imap_front_ops.reply(front, FRONT_REPLY_AUTH_FAILED, &outcome->out);
		}
		if (r != PROTO_MORE && r != PROTO_AGAIN)
			break;
		if (r == PROTO_AGAIN && used < given)
			continue;
		if (given == size)
			break;
		given = MIN(given + step, size);
	}
	outcome->result = r == PROTO_AGAIN ? PROTO_MORE : r;
	outcome->attempts = imap_front_ops.attempts(front);
	imap_front_ops.free(front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole = { 0 }, pieces = { 0 };

	if (size < 2)
		return 0;
	play(data + 2, size - 2, 0, data[0] & 1, &whole);
	play(data + 2, size - 2, data[1] % 16 + 1, data[0] & 1, &pieces);
	if (whole.result != pieces.result || whole.attempts != pieces.attempts ||
		!view_eq(buf_view(&whole.out), buf_view(&pieces.out)) ||
		!view_eq(buf_view(&whole.message), buf_view(&pieces.message)))
		abort();
	buf_fini(&whole.out);
	buf_fini(&whole.message);
	buf_fini(&pieces.out);
	buf_fini(&pieces.message);
	return 0;
}
