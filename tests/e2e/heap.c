// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into a router, counts what it has of the heap: HEAP_COUNT names a file of eight bytes,
 * a number in the machine's order. Each piece counts as what the allocator takes for it (glibc: its
 * size as it says, and one word).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, behind the names that are taken here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static atomic_long nowhere, *count = &nowhere;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("HEAP_COUNT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *shared = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, sizeof(*count)) == 0)
		shared = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (shared == MAP_FAILED)
		return;
	count = shared;
	atomic_store(count, atomic_load(&nowhere));
}

static long size_of(void *memory)
{
	return memory ? (long)(malloc_usable_size(memory) + sizeof(size_t)) : 0;
}

static void *counted(void *memory)
{
	atomic_fetch_add(count, size_of(memory));
	return memory;
}

void *malloc(size_t size)
{
	return counted(__libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
	return counted(__libc_calloc(number, size));
}

void *realloc(void *memory, size_t size)
{
	long before = size_of(memory);
	void *after = __libc_realloc(memory, size);

	if (after || !size)
		atomic_fetch_sub(count, before);
	return counted(after);
}

void *memalign(size_t alignment, size_t size)
{
	return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
	void *memory = memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*ret_memory = memory;
	return 0;
}

void free(void *memory)
{
	atomic_fetch_sub(count, size_of(memory));
	__libc_free(memory);
}
