// SPDX-License-Identifier: Apache-2.0
/*
 * Identity, capabilities, core dumps. The kernel's capability calls are used directly: two
 * structures and one system call. After the drop the process cannot regain uid 0 (SEC-4).
 */
#include "daemon/privileges.h"
#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(char *error, size_t error_size, const char *what)
{
	int r = errno ? -errno : -EPERM;

	snprintf(error, error_size, "%s: %s", what, strerror(-r));
	return r;
}

static int set_capabilities(uint32_t low)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = low, .permitted = low, .inheritable = 0 },
		{ 0 },
	};

	return (int)syscall(SYS_capset, &header, data);
}

/* Not started as root: what the service manager gave for loading and binding is given back. */
static int keep_only(unsigned cap)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	return set_capabilities(data[0].permitted & BIT(cap));
}

int privileges_find(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid,
	char *error, size_t error_size)
{
	const struct passwd *pw = getpwnam(user);
	const struct group *gr;

	if (!pw) {
		snprintf(error, error_size, "server.user: no such user: \"%s\"", user);
		return -ENOENT;
	}
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	if (!group)
		return 0;
	gr = getgrnam(group);
	if (!gr) {
		snprintf(error, error_size, "server.group: no such group: \"%s\"", group);
		return -ENOENT;
	}
	*ret_gid = gr->gr_gid;
	return 0;
}

static int drop_bounding_set(void)
{
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (cap != CAP_NET_BIND_SERVICE && prctl(PR_CAPBSET_READ, cap) == 1 &&
			prctl(PR_CAPBSET_DROP, cap) < 0)
			return -errno;
	}
	return 0;
}

static int become(uid_t uid, gid_t gid, char *error, size_t error_size)
{
	if (drop_bounding_set() < 0)
		return fail(error, error_size, "cannot drop the capability bounding set");
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(0, NULL) < 0 ||
		setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return fail(error, error_size, "cannot change the user");
	if (set_capabilities(uid == 0 ? 0 : BIT(CAP_NET_BIND_SERVICE)) < 0)
		return fail(error, error_size, "cannot set capabilities");
	if (uid != 0 && setuid(0) == 0) {
		snprintf(error, error_size, "still able to become uid 0");
		return -EPERM;
	}
	return 0;
}

static void forbid_cores(void)
{
	const char *allow = getenv("HOMING_COREDUMP");
	struct rlimit none = { 0, 0 };

	if (allow && strcmp(allow, "1") == 0) {
		prctl(PR_SET_DUMPABLE, 1); /* setuid cleared it */
		log_event(LOGL_WARN, "core_dumps_allowed", NULL);
		return;
	}
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

int privileges_drop(const char *user, const char *group, char *error, size_t error_size)
{
	uid_t uid;
	gid_t gid;
	int r;

	umask(0077);
	if (geteuid() == 0) {
		r = privileges_find(user, group, &uid, &gid, error, error_size);
		if (r == 0)
			r = become(uid, gid, error, error_size);
		if (r < 0)
			return r;
	} else if (keep_only(CAP_NET_BIND_SERVICE) < 0)
		return fail(error, error_size, "cannot give up capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(error, error_size, "cannot set no_new_privs");
	forbid_cores();
	return 0;
}

size_t privileges_raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}
