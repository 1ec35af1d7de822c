// SPDX-License-Identifier: Apache-2.0
/*
 * When a leg or a relay changes what moves it: an OpenSSL leg becomes a stream of records, or the
 * kernel's, at the first record boundary, and a stream of records the kernel's; two plain legs
 * become the program's when both have been read empty and the session lasts or is busy; putting
 * it on costs more than a short session's bytes do. What cannot change stays as it is, for good.
 */
#include "base/secret.h"
#include "relay/ktls_stream.h"
#include "relay/program.h"
#include "tls/keys.h"
#include "tls/records.h"
#include "tls/tls.h"

#include <errno.h>
#include <sys/epoll.h>

static enum relay_path path_of_leg(const struct stream *leg)
{
	if (!stream_is_tls(leg))
		return RELAY_PATH_NONE;
	if (ktls_stream_is(leg))
		return RELAY_PATH_KTLS;
	return tls_records_connection(leg) ? RELAY_PATH_RECORD : RELAY_PATH_COPY;
}

/* The leg that costs most names it. */
void relay_note_path(struct relay *relay)
{
	enum relay_path path = RELAY_PATH_NONE;

	for (int i = 0; i < 2; i++) {
		enum relay_path of_leg = path_of_leg(&relay->legs[i]);

		if (path == RELAY_PATH_NONE || (of_leg != RELAY_PATH_NONE && of_leg < path))
			path = of_leg;
	}
	if (path == RELAY_PATH_NONE)
		path = RELAY_PATH_COPY;
	for (int d = 0; d < 2; d++)
		relay->state.halves[d].path = (uint8_t)path;
}

/* OpenSSL's connection as records would go on with it. Returns 0; TLS_KEYS_NOT_YET when it is not
 * at a record boundary; else -errno. */
static int stop_openssl(struct stream *stream, struct record_connection *ret_connection)
{
	struct record_keys keys;
	int r;

	tls_keys_prepare(stream);
	r = tls_keys_export(stream, &keys);
	if (r == 0 && record_connection_init(ret_connection, &keys) < 0)
		r = -EINVAL;
	secret_wipe(&keys, sizeof(keys));
	return r;
}

/* To kernel TLS. Returns 0; TLS_KEYS_NOT_YET when the stream is not at a record boundary; -EIO when
 * its socket is half switched; else -errno: it goes on as it is. */
static int to_kernel(struct stream *stream, const struct ktls_features *features)
{
	bool on_records = tls_records_connection(stream);
	struct record_connection connection = { 0 };
	struct ktls *ktls;
	int r = on_records ? tls_records_stop(stream, &connection)
			   : stop_openssl(stream, &connection);

	if (r == TLS_KEYS_NOT_YET)
		return r;
	if (r == 0)
		r = ktls_stream_prepare(stream->fd, &connection, features, &ktls);
	record_connection_wipe(&connection);
	if (r == 0) {
		if (on_records)
			tls_records_detach(stream);
		else
			tls_stream_detach(stream);
		ktls_stream_put(stream, ktls);
	} else if (r != -EIO && on_records) {
		tls_records_go_on(stream);
	} else if (r != -EIO) {
		tls_stream_read_ahead(stream, true);
	}
	return r;
}

bool relay_switch_leg(struct relay *relay, int leg)
{
	int r;

	if (relay->becomes[leg] == BECOMES_NOTHING)
		return true;
	r = relay->becomes[leg] == BECOMES_KTLS
		? to_kernel(&relay->legs[leg], &relay_kernel(relay)->ktls)
		: tls_records_take(&relay->legs[leg]);
	if (r == TLS_KEYS_NOT_YET)
		return true;
	if (r == -EIO && relay->becomes[leg] == BECOMES_KTLS) {
		relay_finish(relay, relay_error_of(leg, r));
		return false;
	}
	relay->becomes[leg] = BECOMES_NOTHING;
	relay_note_path(relay);
	for (int d = 0; d < 2; d++)
		relay->io[d].read_want = 0;
	return true;
}

/* Both have more to say, have said all they had, and nothing of it is left here. */
static bool is_quiet(const struct relay *relay)
{
	for (int d = 0; d < 2; d++) {
		if (relay->io[d].pending.len || relay->io[d].read_want != EPOLLIN)
			return false;
	}
	return true;
}

bool relay_switch_to_program(struct relay *relay)
{
	if (!relay->may_arm)
		return false;
	relay->may_arm = !relay_has_begun_to_end(relay);
	if (!relay->may_arm || !is_quiet(relay))
		return false;
	relay->may_arm = false;
	if (relay_arm(relay) < 0) {
		atomic_fetch_add(&relay_kernel(relay)->refused, 1);
		return false;
	}
	relay->mover = relay->program->mover;
	relay->mover->turn(relay);
	return true;
}
