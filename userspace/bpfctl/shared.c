// SPDX-License-Identifier: Apache-2.0
/* See shared.h. Who operates the router is told what is missing. */
#include "bpfctl/shared.h"
#include "base/fd.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- words ---- */

/* What loading needs and this process lacks (capabilities(7)), as a text to append; empty if
 * nothing. */
static void missing_capabilities(char text[128])
{
	static const struct {
		unsigned bit;
		const char *name;
	} needed[] = {
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON,
			"CAP_PERFMON" }, /* the program reads members of the kernel's own types */
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };
	const char *missing[ARRAY_SIZE(needed)];
	uint64_t have;
	size_t n = 0;

	text[0] = '\0';
	if (syscall(SYS_capget, &header, data) < 0)
		return;
	have = data[0].effective | (uint64_t)data[1].effective << 32;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!(have & (1ull << needed[i].bit | 1ull << CAP_SYS_ADMIN)))
			missing[n++] = needed[i].name;
	}
	if (n)
		snprintf(text, 128, " (missing: the capabilit%s %s%s%s%s%s)", n == 1 ? "y" : "ies",
			missing[0], n == 3 ? ", " : "", n == 3 ? missing[1] : "",
			n > 1 ? " and " : "", n > 1 ? missing[n - 1] : "");
}

/* Without CAP_PERFMON the kernel's word is EINVAL. */
void bpfctl_explain(char error[BPFCTL_ERROR_SIZE], const char *what, int r)
{
	bool refused = r == -EPERM || r == -EACCES;
	char missing[128] = "";

	if (refused || r == -EINVAL)
		missing_capabilities(missing);
	snprintf(error, BPFCTL_ERROR_SIZE, "%s: %s%s", what, strerror(-r),
		missing[0]        ? missing
			: refused ? " (no capability is missing: a container, or locked down?)"
				  : "");
}

static int be_silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

void bpfctl_silence_libbpf(void)
{
	libbpf_set_print(be_silent);
}

/* ---- programs on maps of sockets ---- */

int bpfctl_attach(int prog, int map, enum bpf_attach_type type, int *ret_link)
{
	int link = bpf_link_create(prog, map, type, NULL);

	*ret_link = link < 0 ? -1 : link;
	return link >= 0 || bpf_prog_attach(prog, map, type, 0) == 0 ? 0 : -errno;
}

/* ---- pins ---- */

static int pin_failed(char error[BPFCTL_ERROR_SIZE], const char *name, int r)
{
	snprintf(error, BPFCTL_ERROR_SIZE, "%.160s: %s", name, strerror(-r));
	return r;
}

/* A directory of this process's user that nobody else gets into. In a place where others may write
 * too, somebody may have put a link or a directory of his own there before: neither is followed or
 * used. */
static int open_dir(char error[BPFCTL_ERROR_SIZE], int parent, const char *name, int *ret_fd)
{
	CLEANUP(fd_closep) int fd = -1;
	struct stat st;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return pin_failed(error, name, -errno);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return pin_failed(error, name, -errno);
	if (st.st_uid != geteuid()) {
		snprintf(error, BPFCTL_ERROR_SIZE, "%.160s belongs to somebody else (uid %u)", name,
			(unsigned)st.st_uid);
		return -EPERM;
	}
	if (fchmod(fd, 0700) < 0)
		return pin_failed(error, name, -errno);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The directory that pin_path will be made in must be on a BPF file system. *ret_name: into
 * path. */
static int open_mount(char error[BPFCTL_ERROR_SIZE], char *path, const char **ret_name, int *ret_fd)
{
	CLEANUP(fd_closep) int fd = -1;
	struct statfs fs;
	char *slash;

	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	fd = open(!slash ? "." : *path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != BPF_FS_MAGIC) {
		snprintf(error, BPFCTL_ERROR_SIZE,
			"%.160s is not on a BPF file system (mount -t bpf bpf /sys/fs/bpf)", path);
		return -EINVAL;
	}
	*ret_name = slash ? slash + 1 : path;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Beside, then into the place of an earlier process's: whoever reads finds one or the other. (A BPF
 * file system has no names with dots, and pins go by path: the directory's descriptor is named by
 * one.) */
static int pin_one(int dir, const struct bpfctl_pin *pin, char error[BPFCTL_ERROR_SIZE])
{
	char fresh[64], path[128];

	snprintf(fresh, sizeof(fresh), "%s_new", pin->name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, fresh);
	unlinkat(dir, fresh, 0); /* of a process that was killed here */
	if (bpf_obj_pin(pin->fd, path) < 0)
		return pin_failed(error, pin->name, -errno);
	if (renameat(dir, fresh, dir, pin->name) < 0) {
		int r = -errno;

		unlinkat(dir, fresh, 0);
		return pin_failed(error, pin->name, r);
	}
	return 0;
}

int bpfctl_pins_open(const char *pin_path, char error[BPFCTL_ERROR_SIZE], int *ret_dir)
{
	CLEANUP(fd_closep) int mount = -1;
	CLEANUP(fd_closep) int base = -1;
	CLEANUP(fd_closep) int dir = -1;
	char path[256], version[16];
	const char *name;

	if (snprintf(path, sizeof(path), "%s", pin_path) >= (int)sizeof(path))
		return pin_failed(error, pin_path, -ENAMETOOLONG);
	snprintf(version, sizeof(version), "v%d", HM_ABI);
	if (open_mount(error, path, &name, &mount) < 0 || open_dir(error, mount, name, &base) < 0 ||
		open_dir(error, base, version, &dir) < 0)
		return -EINVAL;
	if (flock(dir, LOCK_EX) < 0)
		return pin_failed(error, pin_path, -errno);
	*ret_dir = take_fd(&dir);
	return 0;
}

int bpfctl_pins_put(
	int dir, const struct bpfctl_pin *pins, size_t count, char error[BPFCTL_ERROR_SIZE])
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = pin_one(dir, &pins[i], error);
	return r;
}

int bpfctl_pins_get(int dir, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}
