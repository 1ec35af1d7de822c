// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a client of the front OPS: in one piece and in pieces the result must be the same;
 * no credential on a leg that permits none, no metadata of a peer that is not trusted. */
#include "proto/proto.h"

#include <stdlib.h>

#define PLAIN_LEG 1
#define TRUSTED 2

struct outcome {
	int result;
	unsigned attempts;
	struct front_peer peer;
	struct buf out, message;
};

static struct front *make(int flags)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER,
		SASL_XOAUTH2 };
	struct front_params params = { .host = "h",
		.banner = "b",
		.implementation = "i",
		.capabilities = "X",
		.client = "192.0.2.1",
		.mechs = mechs,
		.mech_count = 4,
		.offer_starttls = flags & PLAIN_LEG,
		.permit_auth = !(flags & PLAIN_LEG),
		.trusted = flags & TRUSTED,
		.max_attempts = 3 };
	struct front *front;

	if (OPS.create(&params, &front) < 0)
		abort();
	return front;
}

static int refuse_credential(struct front *front, struct outcome *outcome)
{
	struct proto_credential credential;

	OPS.take_credential(front, &credential);
	if (credential.authcid_at + credential.authcid_len > credential.message.len ||
		credential.token_at + credential.token_len > credential.message.len)
		abort();
	if (buf_append_view(&outcome->message, buf_view(&credential.message)) < 0)
		abort();
	proto_credential_wipe(&credential);
	return OPS.reply(front, FRONT_REPLY_AUTH_FAILED, &outcome->out);
}

static void play(const uint8_t *data, size_t size, size_t step, int flags, struct outcome *outcome)
{
	size_t given = step ? MIN(step, size) : size, used = 0, consumed;
	struct front *front = make(flags);
	int r = PROTO_MORE;

	while (size) {
		/* of its exact size: the end is watched by the sanitizer */
		char *copy = malloc(given - used ? given - used : 1);

		memcpy(copy, data + used, given - used);
		r = OPS.input(front, view_make(copy, given - used), &consumed, &outcome->out);
		free(copy);
		if (consumed > given - used)
			abort();
		used += consumed;
		if (r == FRONT_LOGIN)
			r = refuse_credential(front, outcome);
		if (r != PROTO_MORE && r != PROTO_AGAIN)
			break;
		if (r == PROTO_AGAIN && used < given)
			continue;
		if (given == size)
			break;
		given = MIN(given + step, size);
	}
	outcome->result = r == PROTO_AGAIN ? PROTO_MORE : r;
	outcome->attempts = OPS.attempts(front);
	outcome->peer = *OPS.peer(front);
	OPS.free(front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole = { 0 }, pieces = { 0 };

	if (size < 2)
		return 0;
	play(data + 2, size - 2, 0, data[0], &whole);
	play(data + 2, size - 2, data[1] % 16 + 1, data[0], &pieces);
	if (whole.result != pieces.result || whole.attempts != pieces.attempts ||
		whole.peer.ttl != pieces.peer.ttl || whole.peer.port != pieces.peer.port ||
		strcmp(whole.peer.addr, pieces.peer.addr) != 0 ||
		!view_eq(buf_view(&whole.out), buf_view(&pieces.out)) ||
		!view_eq(buf_view(&whole.message), buf_view(&pieces.message)))
		abort();
	if (whole.peer.has_ttl && !(data[0] & TRUSTED))
		abort();
	if (whole.message.len && data[0] & PLAIN_LEG)
		abort();
	buf_fini(&whole.out);
	buf_fini(&whole.message);
	buf_fini(&pieces.out);
	buf_fini(&pieces.message);
	return 0;
}
