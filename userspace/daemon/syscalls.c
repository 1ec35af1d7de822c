// SPDX-License-Identifier: Apache-2.0
/*
 * The list of what is allowed, each with its reason. It is generous with calls that work on what
 * the process has anyway (another TLS or database library may want them tomorrow), strict with
 * those that start programs, look into processes, reach the kernel's code or make other kinds of
 * sockets. Several rows of one call are alternatives. A name that this libseccomp or this
 * architecture does not know is left out.
 *
 * Builds with sanitizers have no filter: at the end LeakSanitizer makes a process that is not a
 * thread and traces its parent, and the others map and trace what no router needs.
 */
#include "daemon/syscalls.h"
#include "base/compiler.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#define CONDITIONS_MAX 3
#define NAMES_SIZE 640
/* An int argument has 32 bits to the kernel too, whatever the upper half of the register holds. */
#define INT_IS(arg, mask, value) { arg, SCMP_CMP_MASKED_EQ, (mask) & 0xffffffffu, (value) }
#define IS(arg, value) INT_IS(arg, 0xffffffffu, value)
#define IS_NULL(arg) { arg, SCMP_CMP_EQ, 0, 0 }
#define TYPE_IS(type) INT_IS(1, ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK), type)
#define OWN_PROCESS(arg) IS(arg, OWN_PID)
#define OWN_PID 0xfffffffeu /* stands for the number that getpid() gives */
#define NAMESPACES                                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
		CLONE_NEWPID | CLONE_NEWNET)

struct row {
	const char *names; /* separated by blanks */
	struct scmp_arg_cmp conditions[CONDITIONS_MAX];
	unsigned condition_count;
	const char *reason;
};

#define ALWAYS(names, reason) { names, { { 0 } }, 0, reason }
#define WHEN1(name, a, reason) { name, { a }, 1, reason }
#define WHEN2(name, a, b, reason) { name, { a, b }, 2, reason }
#define WHEN3(name, a, b, c, reason) { name, { a, b, c }, 3, reason }

/* clang-format off */
static const struct row rows[] = {
	/* connections */
	ALWAYS("accept accept4 bind listen connect getsockname getpeername shutdown",
		"clients, nodes, stores; a reload binds listeners"),
	ALWAYS("recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg", "what is sent and received"),
	ALWAYS("getsockopt setsockopt", "TCP options, kernel TLS, cookies of sockets"),
	WHEN2("socket", IS(0, AF_UNIX), TYPE_IS(SOCK_STREAM),
		"a store's or the admin's unix socket"),
	WHEN2("socket", IS(0, AF_UNIX), TYPE_IS(SOCK_DGRAM), "the system's log, name services"),
	WHEN3("socket", IS(0, AF_INET), TYPE_IS(SOCK_STREAM), IS(2, 0), "nodes, stores, listeners"),
	WHEN3("socket", IS(0, AF_INET), TYPE_IS(SOCK_STREAM), IS(2, IPPROTO_TCP), "the same"),
	WHEN3("socket", IS(0, AF_INET6), TYPE_IS(SOCK_STREAM), IS(2, 0), "the same"),
	WHEN3("socket", IS(0, AF_INET6), TYPE_IS(SOCK_STREAM), IS(2, IPPROTO_TCP), "the same"),
	WHEN3("socket", IS(0, AF_INET), TYPE_IS(SOCK_DGRAM), IS(2, 0), "DNS, choice of addresses"),
	WHEN3("socket", IS(0, AF_INET), TYPE_IS(SOCK_DGRAM), IS(2, IPPROTO_UDP), "the same"),
	WHEN3("socket", IS(0, AF_INET6), TYPE_IS(SOCK_DGRAM), IS(2, 0), "the same"),
	WHEN3("socket", IS(0, AF_INET6), TYPE_IS(SOCK_DGRAM), IS(2, IPPROTO_UDP), "the same"),
	WHEN2("socket", IS(0, AF_NETLINK), IS(2, NETLINK_ROUTE), "addresses of this host"),
	WHEN1("socketpair", IS(0, AF_UNIX), "two ends inside this process"),
	ALWAYS("pipe pipe2 splice tee sendfile", "data between descriptors"),

	/* waiting */
	ALWAYS("epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select "
		"pselect6",
		"the loops; libpq and hiredis poll"),
	ALWAYS("eventfd2 signalfd4 timerfd_create timerfd_settime timerfd_gettime",
		"posts to other threads, signals, timers"),
	ALWAYS("clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time", "time"),
	ALWAYS("restart_syscall", "the kernel itself, after a stop (SIGSTOP, a debugger)"),

	/* files */
	ALWAYS("read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek "
		"close close_range fcntl dup dup2 dup3 fsync fdatasync sync_file_range ftruncate "
		"fallocate "
		"fadvise64 flock", "configuration, certificates, logs, SQLite"),
	ALWAYS("open openat openat2 creat stat fstat lstat newfstatat statx statfs fstatfs access "
		"faccessat faccessat2 readlink readlinkat getcwd getdents64 umask",
		"the same, by the rights of server.user"),
	ALWAYS("mkdir mkdirat unlink unlinkat rmdir rename renameat renameat2 truncate chmod "
		"fchmod fchmodat fchmodat2 chown fchown fchownat lchown utimensat",
		"SQLite's journals, the mapping file, the admin socket"),
	WHEN1("ioctl", IS(1, FIONREAD), "octets waiting in a socket"),
	WHEN1("ioctl", IS(1, FIONBIO), "a library's way not to block"),
	WHEN1("ioctl", IS(1, SIOCOUTQ), "octets the peer has not confirmed"),
	WHEN1("ioctl", IS(1, SIOCGIFINDEX), "the zone of a link-local address"),
	WHEN1("ioctl", IS(1, SIOCGIFNAME), "the same"),
	WHEN1("ioctl", IS(1, TCGETS), "is it a terminal (stdio)?"),

	/* memory and threads */
	ALWAYS("brk mmap munmap mremap mprotect madvise mlock mlock2 munlock mincore msync",
		"the allocator, stacks of threads, secrets that are not swapped, SQLite's index"),
	ALWAYS("futex futex_waitv set_robust_list get_robust_list rseq set_tid_address membarrier "
		"sched_yield sched_getaffinity getcpu", "locks and threads of the C library"),
	WHEN1("clone", INT_IS(0, CLONE_THREAD | NAMESPACES, CLONE_THREAD),
		"threads of workers and stores; no processes, no namespaces"),
	ALWAYS("exit exit_group", "the end of a thread, of the process"),
	WHEN1("prctl", IS(0, PR_SET_NAME), "names of threads"),
	WHEN1("prctl", IS(0, PR_GET_NAME), "the same"),
	WHEN1("prctl", IS(0, 0x53564d41), "names of the allocator's memory (PR_SET_VMA)"),

	/* signals: to this process only */
	ALWAYS("rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait "
		"rt_sigsuspend sigaltstack", "libpq holds SIGPIPE back; handlers"),
	WHEN1("tgkill", OWN_PROCESS(0), "abort() and raise()"),
	WHEN1("kill", OWN_PROCESS(0), "the same"),

	/* questions */
	ALWAYS("getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups "
		"getpgrp uname sysinfo getrusage times getrandom", "harmless; random numbers"),
	WHEN2("prlimit64", OWN_PROCESS(0), IS_NULL(2), "the limits, to read them"),
	WHEN2("prlimit64", IS(0, 0), IS_NULL(2), "the same"),
	ALWAYS("getrlimit", "the same"),

	/* tables of relay and guard, loaded before; no programs, no new tables, no pins */
	WHEN1("bpf", IS(0, BPF_MAP_LOOKUP_ELEM), "the counters of a session"),
	WHEN1("bpf", IS(0, BPF_MAP_UPDATE_ELEM), "a session goes into the relay"),
	WHEN1("bpf", IS(0, BPF_MAP_DELETE_ELEM), "a session leaves it"),
	WHEN1("bpf", IS(0, BPF_MAP_LOOKUP_AND_DELETE_ELEM), "what it has counted then"),
	WHEN1("bpf", IS(0, BPF_MAP_DELETE_BATCH), "both of its directions leave"),
	WHEN1("bpf", IS(0, BPF_PROG_TEST_RUN), "a node on this host is found (same_host)"),
	WHEN1("bpf", IS(0, BPF_MAP_LOOKUP_BATCH), "counters of all sessions"),
	WHEN1("bpf", IS(0, BPF_MAP_UPDATE_BATCH), "many sessions at once"),
	WHEN1("bpf", IS(0, BPF_LINK_CREATE), "the guard on a network device that comes later"),

	/* tracing from outside (bcc, bpftrace): the kernel makes these calls in our name */
	ALWAYS("uretprobe uprobe", "a tracer's probes would end the process otherwise"),
};
/* clang-format on */

static int allow(scmp_filter_ctx filter, const struct row *row, const char *name)
{
	struct scmp_arg_cmp conditions[CONDITIONS_MAX];
	int number = seccomp_syscall_resolve_name(name);

	if (number == __NR_SCMP_ERROR)
		return 0;
	for (unsigned i = 0; i < row->condition_count; i++) {
		conditions[i] = row->conditions[i];
		if (conditions[i].datum_b == OWN_PID)
			conditions[i].datum_b = (scmp_datum_t)getpid();
	}
	return seccomp_rule_add_array(
		filter, SCMP_ACT_ALLOW, number, row->condition_count, conditions);
}

static int allow_row(scmp_filter_ctx filter, const struct row *row)
{
	char names[NAMES_SIZE], *rest = names, *name;
	int r = 0;

	if (snprintf(names, sizeof(names), "%s", row->names) >= (int)sizeof(names))
		return -ENAMETOOLONG;
	while (r == 0 && (name = strsep(&rest, " ")))
		r = allow(filter, row, name);
	return r;
}

/* The arguments of clone3 are in memory, where a filter cannot look: the C library takes clone when
 * it is told that there is no such call. */
static int forbid_clone3(scmp_filter_ctx filter)
{
	int number = seccomp_syscall_resolve_name("clone3");

	return number == __NR_SCMP_ERROR
		? 0
		: seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0, NULL);
}

/* What an older kernel or library lacks of these is done without. Without SSB an older kernel slows
 * every thread with a filter down, as if it ran somebody else's code. */
static void set_options(scmp_filter_ctx filter)
{
	(void)seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
}

static int load(scmp_filter_ctx filter)
{
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	set_options(filter);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
		r = allow_row(filter, &rows[i]);
	if (r == 0)
		r = forbid_clone3(filter);
	return r < 0 ? r : seccomp_load(filter);
}

int syscalls_restrict(void)
{
	scmp_filter_ctx filter;
	int r;

#ifdef SANITIZED
	return 1;
#endif
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return -ENOMEM;
	r = load(filter);
	seccomp_release(filter);
	return r;
}
