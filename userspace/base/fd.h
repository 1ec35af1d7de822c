// SPDX-License-Identifier: Apache-2.0
/* One owner per descriptor: closing, taking over, cleanup attribute. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/compiler.h"

/* Closes *fd if it is >= 0 and sets it to -1; for CLEANUP(). Keeps errno. */
void fd_closep(int *fd);

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/*
 * Reads a whole regular file of at most limit_bytes. The text is NUL-terminated after ret_len
 * bytes and freed by the caller. Returns 0, -EFBIG over the limit, or -errno.
 */
MUST_USE int fd_read_file(const char *path, size_t limit_bytes, char **ret_text, size_t *ret_len);

/* Fills data with kernel random bytes. Returns 0 or -errno. */
MUST_USE int fd_random(void *data, size_t len);

/* For CLEANUP(): frees *(char **)p. */
void freep(void *p);

#endif
