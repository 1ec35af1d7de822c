// SPDX-License-Identifier: Apache-2.0
/* One HTTPS request to the admin API, blocking with a time limit (client.c says why). */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "base/view.h"

struct tls_client;

struct ctl_target {
	const char *socket; /* a unix socket instead of all that follows; NULL: HTTPS */
	const char *host;   /* name or IP literal, without brackets */
	const char *port;
	const char *ca_path;      /* NULL = system store */
	const unsigned char *pin; /* SHA-256 of the leaf, or NULL */
	unsigned pin_count;       /* one behind the other, each good */
	bool insecure;
	const char *token; /* NULL = none is sent */
	unsigned timeout_s;
	struct tls_client *tls; /* of ctl_target_prepare(); NULL: made for each request */
};

struct ctl_response {
	int status;
	char *body; /* NUL-terminated, freed by the caller */
};

/* For many requests, from any thread: reads the trust once, resumes TLS sessions. Released with
 * ctl_target_release(). Returns 0, or -1 with a message in error. */
MUST_USE int ctl_target_prepare(struct ctl_target *target, char *error, size_t error_size);
void ctl_target_release(struct ctl_target *target);

/* Returns 0, or -1 with a message in error (could not connect, TLS, time-out, nonsense). */
MUST_USE int ctl_request(const struct ctl_target *target, const char *method, const char *path,
	struct ctl_response *ret_response, char *error, size_t error_size);

#endif
