// SPDX-License-Identifier: Apache-2.0
/* From a port to its socket's inode by /proc/net/tcp, from there to the process by /proc/PID/fd. */
#include "worker/port_owner.h"
#include "net/sock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 0x0a

/* The inode of the socket that listens on the port, or 0. */
static unsigned long find_inode(const char *table, uint16_t port)
{
	FILE *file = fopen(table, "re");
	unsigned long inode = 0, found = 0;
	unsigned local, state;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line,
			    " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u "
			    "%*u "
			    "%lu",
			    &local, &state, &inode) == 3 &&
			local == port && state == STATE_LISTEN)
			found = inode;
	}
	if (file)
		(void)fclose(file); /* was only read */
	return found;
}

static bool holds(const char *pid, const char *socket_name)
{
	char path[64], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *fds;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	fds = opendir(path);
	fd = fds ? dirfd(fds) : -1;
	while (fd >= 0 && !found && (entry = readdir(fds))) {
		ssize_t n = readlinkat(fd, entry->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		found = strcmp(target, socket_name) == 0;
	}
	if (fds)
		closedir(fds);
	return found;
}

static void read_name(struct port_owner *owner)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)owner->pid);
	file = fopen(path, "re");
	if (!file || !fgets(owner->name, sizeof(owner->name), file))
		strcpy(owner->name, "a process");
	if (file)
		(void)fclose(file); /* was only read */
	owner->name[strcspn(owner->name, "\n")] = '\0';
	for (char *p = owner->name; *p; p++) {
		if (*p < 0x20 || *p >= 0x7f)
			*p = '?';
	}
}

bool port_owner_find(const struct addr *addr, struct port_owner *ret_owner)
{
	bool v6 = addr->sa.sa_family == AF_INET6;
	unsigned long inode = find_inode(v6 ? "/proc/net/tcp6" : "/proc/net/tcp", addr_port(addr));
	struct dirent *entry;
	bool found = false;
	char name[64];
	DIR *proc;

	if (!inode)
		inode = find_inode(v6 ? "/proc/net/tcp" : "/proc/net/tcp6", addr_port(addr));
	if (!inode)
		return false;
	snprintf(name, sizeof(name), "socket:[%lu]", inode);
	proc = opendir("/proc");
	while (proc && !found && (entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid <= 0 || pid == getpid() || !holds(entry->d_name, name))
			continue;
		*ret_owner = (struct port_owner){ .pid = pid };
		read_name(ret_owner);
		found = true;
	}
	if (proc)
		closedir(proc);
	return found;
}

const char *port_owner_explain(
	const struct addr *addr, int error, enum port_use use, char text[PORT_OWNER_TEXT_SIZE])
{
	char place[ADDR_TEXT_SIZE];
	struct port_owner owner;
	bool in_use = error == -EADDRINUSE, found = in_use && port_owner_find(addr, &owner);
	int n = snprintf(text, PORT_OWNER_TEXT_SIZE, "cannot bind %s: ", addr_format(addr, place));
	size_t left = PORT_OWNER_TEXT_SIZE - (size_t)n;

	text += n;
	if (found && strcmp(owner.name, "homingd") != 0)
		snprintf(text, left, "%s by %s (pid %d)", strerror(-error), owner.name,
			(int)owner.pid);
	else if (found && use == PORT_USE_DRAINS)
		snprintf(text, left,
			"the homingd before (pid %d) still drains its sessions; wait for its end, "
			"at "
			"most its server.shutdown_grace, or end it now: kill %d",
			(int)owner.pid, (int)owner.pid);
	else if (found)
		snprintf(text, left,
			"a homingd serves there already (pid %d); a changed file: homingctl "
			"reload; a "
			"new program: end that one first, kill %d drains it",
			(int)owner.pid, (int)owner.pid);
	else
		snprintf(text, left, "%s%s%s", strerror(-error), sock_listen_hint(addr, error),
			in_use && use != PORT_USE_UNKNOWN ? "; if another homingd still serves or "
							    "drains: homingctl reload, or "
							    "wait for its end"
							  : "");
	return text - n;
}
