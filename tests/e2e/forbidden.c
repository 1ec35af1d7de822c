// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into a router, tries what a served process has no business with when its first client
 * comes, and tells the errors in one line among the log's. The arguments are such that the kernel
 * itself would refuse each call too, but with another error than a filter's EPERM, or do nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BAD_PROTOCOL 1000
#define BAD_TYPE 15
#define TOO_LARGE (1 << 20)

struct attempt {
	const char *name;
	long number, args[5];
};

static const struct attempt attempts[] = {
	{ "execve", SYS_execve, { (long)"/nowhere/program", 0, 0 } },
	{ "execveat", SYS_execveat, { -1, (long)"/nowhere/program", 0, 0, 0 } },
	{ "fork", SYS_clone, { CLONE_SIGHAND | SIGCHLD } },
	{ "clone3", SYS_clone3, { 0, 0 } },
	{ "ptrace", SYS_ptrace, { PTRACE_PEEKDATA, 0x7ffffff0, 0, 0 } },
	{ "process_vm_readv", SYS_process_vm_readv, { 0x7ffffff0, 0, 0, 0, 0 } },
	{ "kill", SYS_kill, { 0x7ffffff0, 0 } },
	{ "mount", SYS_mount, { 0, 0, 0, 0, 0 } },
	{ "unshare", SYS_unshare, { 0 } },
	{ "setns", SYS_setns, { -1, 0 } },
	{ "keyctl", SYS_keyctl, { 9999 } },
	{ "raw4", SYS_socket, { AF_INET, SOCK_RAW, BAD_PROTOCOL } },
	{ "raw6", SYS_socket, { AF_INET6, SOCK_RAW | SOCK_CLOEXEC, BAD_PROTOCOL } },
	{ "packet", SYS_socket, { AF_PACKET, BAD_TYPE, 0 } },
	{ "vsock", SYS_socket, { AF_VSOCK, BAD_TYPE, 0 } },
	{ "alg", SYS_socket, { AF_ALG, BAD_TYPE, 0 } },
	{ "seqpacket", SYS_socket, { AF_UNIX, SOCK_SEQPACKET, 0 } },
	{ "sctp", SYS_socket, { AF_INET, SOCK_STREAM, 132 } },
	{ "ping", SYS_socket, { AF_INET, SOCK_DGRAM, BAD_PROTOCOL } },
	{ "netfilter", SYS_socket, { AF_NETLINK, SOCK_RAW, BAD_PROTOCOL } },
	{ "bpf_prog_load", SYS_bpf, { BPF_PROG_LOAD, 0, TOO_LARGE } },
	{ "bpf_map_create", SYS_bpf, { BPF_MAP_CREATE, 0, TOO_LARGE } },
	{ "bpf_obj_get", SYS_bpf, { BPF_OBJ_GET, 0, TOO_LARGE } },
	/* and what must go on */
	{ "tcp", SYS_socket, { AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 6 } },
	{ "udp", SYS_socket, { AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0 } },
	{ "unix", SYS_socket, { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0 } },
	{ "route", SYS_socket, { AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0 } },
};

static int started, tried;

static void try_all(void)
{
	char line[2048];
	int used = snprintf(line, sizeof(line), "msg=tried");

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const long *a = attempts[i].args;
		long r = syscall(attempts[i].number, a[0], a[1], a[2], a[3], a[4]);

		used += snprintf(line + used, sizeof(line) - (size_t)used, " %s=%d",
			attempts[i].name, r < 0 ? errno : 0);
		if (attempts[i].number == SYS_socket && r >= 0)
			close((int)r);
	}
	line[used++] = '\n';
	if (write(2, line, (size_t)used) < 0)
		errno = 0;
}

/* The router makes one when it has started; what it tries of the kernel before is not meant. */
int signalfd(int fd, const sigset_t *set, int flags)
{
	__atomic_store_n(&started, 1, __ATOMIC_SEQ_CST);
	return (int)syscall(SYS_signalfd4, fd, set, _NSIG / 8, flags);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int client = (int)syscall(SYS_accept4, fd, addr, len, flags);

	if (client >= 0 && __atomic_load_n(&started, __ATOMIC_SEQ_CST) &&
		!__atomic_exchange_n(&tried, 1, __ATOMIC_SEQ_CST))
		try_all();
	return client;
}
