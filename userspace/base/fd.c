// SPDX-License-Identifier: Apache-2.0
/* Descriptors, whole-file reads, kernel random bytes. */
#include "base/fd.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

void fd_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void freep(void *p)
{
	void **pointer = p;

	free(*pointer);
	*pointer = NULL;
}

int fd_read_file(const char *path, size_t limit_bytes, char **ret_text, size_t *ret_len)
{
	CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0, cap = 4096;
	char *text, *more;
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	text = malloc(cap + 1);
	if (!text)
		return -ENOMEM;
	while ((n = read(fd, text + len, cap - len)) != 0) {
		r = -errno;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto fail;
		len += (size_t)n;
		r = -EFBIG;
		if (len > limit_bytes)
			goto fail;
		if (len < cap)
			continue;
		r = -ENOMEM;
		more = malloc(2 * cap + 1); /* not realloc: the file may hold a key */
		if (!more)
			goto fail;
		__builtin_memcpy(more, text, len);
		secret_wipe(text, len);
		free(text);
		text = more;
		cap *= 2;
	}
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return 0;
fail:
	secret_wipe(text, len);
	free(text);
	return r;
}

int fd_random(void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
