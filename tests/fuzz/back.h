// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a node of the back OPS: no credential before it is due, nothing for the client
 * before the verdict, no acceptance before the credential; in pieces as in one where that must be
 * so. */
#include "proto/proto.h"
#include "proto/sasl.h"

#include <stdlib.h>

#define STARTTLS 1
#define FORWARD 2

/* Bytes behind an answer that a command follows are refused in one piece, and the next answer in
 * two, as they should be: only conversations without such commands can be compared. */
#ifndef SAME_IN_PIECES
#define SAME_IN_PIECES(flags) (!((flags) & (STARTTLS | FORWARD)))
#endif

#ifndef CLIENT_TAG
#define CLIENT_TAG ""
#endif

struct outcome {
	int result;
	struct buf to_node, to_client;
};

static struct back *make(int flags)
{
	static const struct back_forward forward = {
		.client_ip = "192.0.2.1", .local_ip = "192.0.2.2", .session_id = "H1"
	};
	struct back_params params = { .starttls = flags & STARTTLS,
		.host = "h",
		.client_tag = CLIENT_TAG,
		.forward = flags & FORWARD ? &forward : NULL };
	struct back *back;

	if (OPS.create(&params, &back) < 0)
		abort();
	return back;
}

static int replay(struct back *back, int flags, struct buf *to_node)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER,
		SASL_XOAUTH2 };
	struct proto_credential credential = { .mech = mechs[flags >> 2 & 3], .tag = CLIENT_TAG };
	size_t consumed;
	int r;

	if (OPS.credential_sent(back) ||
		sasl_make_plain(&credential, VIEW_LIT("bob"), VIEW_LIT("pw")) < 0)
		abort();
	r = OPS.replay(back, &credential, view_make("", 0), &consumed, to_node);
	proto_credential_wipe(&credential);
	return r == PROTO_MORE ? PROTO_AGAIN : r;
}

static void play(const uint8_t *data, size_t size, size_t step, int flags, struct outcome *outcome)
{
	size_t given = step ? MIN(step, size) : size, used = 0, consumed;
	struct back *back = make(flags);
	int r = PROTO_MORE;

	while (size) {
		char *copy = malloc(given - used ? given - used : 1);

		memcpy(copy, data + used, given - used);
		r = OPS.input(back, view_make(copy, given - used), &consumed, &outcome->to_node,
			&outcome->to_client);
		free(copy);
		if (consumed > given - used)
			abort();
		used += consumed;
		if (r == BACK_STARTTLS)
			r = OPS.starttls_done(back, &outcome->to_node);
		if (r == BACK_READY)
			r = replay(back, flags, &outcome->to_node);
		if (outcome->to_client.len && r != BACK_ACCEPTED && r != BACK_REFUSED)
			abort();
		if (r == BACK_ACCEPTED && !OPS.credential_sent(back))
			abort();
		if (r != PROTO_MORE && r != PROTO_AGAIN)
			break;
		if (r == PROTO_AGAIN && used < given)
			continue;
		if (given == size)
			break;
		given = MIN(given + step, size);
	}
	outcome->result = r == PROTO_AGAIN ? PROTO_MORE : r;
	OPS.free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole = { 0 }, pieces = { 0 };

	if (size < 2)
		return 0;
	play(data + 2, size - 2, 0, data[0], &whole);
	play(data + 2, size - 2, data[1] % 16 + 1, data[0], &pieces);
	if (SAME_IN_PIECES(data[0]) &&
		(whole.result != pieces.result ||
			!view_eq(buf_view(&whole.to_node), buf_view(&pieces.to_node)) ||
			!view_eq(buf_view(&whole.to_client), buf_view(&pieces.to_client))))
		abort();
	buf_fini(&whole.to_node);
	buf_fini(&whole.to_client);
	buf_fini(&pieces.to_node);
	buf_fini(&pieces.to_client);
	return 0;
}
