// SPDX-License-Identifier: Apache-2.0
/* What the module's programs have in common: words for the operator when one cannot be loaded,
 * attaching to maps of sockets, pins. For the files of bpfctl/ only. */
#ifndef BPFCTL_SHARED_H
#define BPFCTL_SHARED_H

#include "bpfctl/bpfctl.h"

#include <linux/bpf.h>

/* libbpf's own output is for its developers: there is none from now on. */
void bpfctl_silence_libbpf(void);

/* error: what could not be done and why (r, an -errno), with the capabilities that are missing for
 * it. */
void bpfctl_explain(char error[BPFCTL_ERROR_SIZE], const char *what, int r);
/* The same. Returns r, which clang-tidy must see to follow the callers. */
static inline int bpfctl_fail(char error[BPFCTL_ERROR_SIZE], const char *what, int r)
{
	bpfctl_explain(error, what, r);
	return r;
}

/* Attaches a program to the sockets of a map. *ret_link: the link, the caller's, which ends with
 * the process; -1: older kernels know only the plain attachment, which ends with the map. Returns 0
 * or -errno. */
MUST_USE int bpfctl_attach(int prog, int map, enum bpf_attach_type type, int *ret_link);

struct bpfctl_pin {
	const char *name;
	int fd;
};

/* The version's directory below pin_path, locked until it is closed: one process at a time changes
 * its pins. Returns 0 or -errno with the reason in error. */
MUST_USE int bpfctl_pins_open(const char *pin_path, char error[BPFCTL_ERROR_SIZE], int *ret_dir);
/* Pins all of them, each in the place of what had its name. Returns 0 or -errno with the reason in
 * error; those before the one that failed stay. */
MUST_USE int bpfctl_pins_put(
	int dir, const struct bpfctl_pin *pins, size_t count, char error[BPFCTL_ERROR_SIZE]);
/* What an earlier process has pinned. Returns a descriptor, the caller's, or -errno. */
MUST_USE int bpfctl_pins_get(int dir, const char *name);

#endif
