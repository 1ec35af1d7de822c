// SPDX-License-Identifier: Apache-2.0
/*
 * getpid() without a system call, in place of libc's. OpenSSL asks before each use of its random
 * numbers whether it has been forked: twelve times in a login with TLS on both legs. The answer is
 * kept in a page that the kernel empties in a child (MADV_WIPEONFORK), however that was made, so it
 * is never the parent's. The linker exports it, because libcrypto asks for it.
 */
#include "base/compiler.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* NULL: the kernel is asked each time. Set before main(), so that nobody who shares our memory is
 * the first to ask. */
static pid_t *kept;

static pid_t ask(void)
{
	return (pid_t)syscall(SYS_getpid);
}

__attribute__((constructor)) static void keep(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, size, MADV_WIPEONFORK) < 0) {
		munmap(page, size);
		return;
	}
	kept = page;
	*kept = ask();
}

__attribute__((visibility("default"))) pid_t getpid(void)
{
	pid_t pid = kept ? __atomic_load_n(kept, __ATOMIC_RELAXED) : 0;

	if (pid)
		return pid;
	pid = ask();
	if (kept)
		__atomic_store_n(kept, pid, __ATOMIC_RELAXED);
	return pid;
}
