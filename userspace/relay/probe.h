// SPDX-License-Identifier: Apache-2.0
/*
 * What this kernel really does, tried at start on loopback connections of our own: versions say
 * little, behaviour decides. What fails is not used, and the row says why.
 */
#ifndef RELAY_PROBE_H
#define RELAY_PROBE_H

#include "relay/relay.h"

#define PROBE_ROWS_MAX 28

struct probe_row {
	char name[48];
	bool ok;
	char reason[160]; /* why not; a note if ok, or empty */
};

struct relay_probe {
	struct probe_row rows[PROBE_ROWS_MAX];
	size_t row_count;
};

/*
 * Fills kernel->sockmap, kernel->records and kernel->ktls; kernel->bpfctl is NULL or loaded, with
 * bpf_error as the reason if it is NULL. Takes well under a second; needs the privileges of the
 * start (loading the kernel's TLS module) and no other thread that uses the kernel's rings.
 */
void relay_probe(struct relay_probe *ret_probe, struct relay_kernel *kernel, const char *bpf_error);

/*
 * After relay_probe(): fills kernel->same_host, and adds rows. kernel->bypass is NULL or loaded,
 * with error as the reason if it is NULL. Starts threads, which have ended when it returns; takes a
 * second or two where the path works.
 */
void relay_probe_bypass(struct relay_probe *probe, struct relay_kernel *kernel, const char *error);

/* Which of enum record_cipher can be taken over from OpenSSL, as a bit mask. */
unsigned relay_probe_ciphers(const struct relay_kernel *kernel);

#endif
