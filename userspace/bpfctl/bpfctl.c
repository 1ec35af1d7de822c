// SPDX-License-Identifier: Apache-2.0
/* See bpfctl.h. libbpf's own output is for its developers; who operates the router is told what is
 * missing. */
#include "bpfctl/bpfctl.h"
#include "base/fd.h"
#include "homing/pins.h"
#include "splice.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SCAN_ROWS 4096

struct ring {
	struct ring_buffer *buffer;
	bpfctl_event_fn *fn; /* while it is consumed */
	void *arg;
};

struct bpfctl {
	struct splice *skel;
	int flows, control, sources, targets;
	int link; /* owned; -1: attached without a link */
	unsigned workers;
	struct ring *rings;
	char pin_error[BPFCTL_ERROR_SIZE];
	bool pinned;
};

/* ---- load ---- */

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
static int fail(char error[BPFCTL_ERROR_SIZE], const char *what, int r)
{
	bool refused = r == -EPERM || r == -EACCES;
	char missing[128] = "";

	if (refused || r == -EINVAL)
		missing_capabilities(missing);
	snprintf(error, BPFCTL_ERROR_SIZE, "%s: %s%s", what, strerror(-r),
		missing[0]        ? missing
			: refused ? " (no capability is missing: a container, or locked down?)"
				  : "");
	return r;
}

static int be_silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int set_sizes(struct splice *skel, const struct bpfctl_params *params)
{
	struct bpf_map *maps[] = { skel->maps.hm_flows, skel->maps.hm_control,
		skel->maps.hm_sources, skel->maps.hm_targets };
	int r = bpf_map__set_max_entries(skel->maps.hm_events, params->workers);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(maps); i++)
		r = bpf_map__set_max_entries(maps[i], params->max_flows);
	return r;
}

/* A link goes away with the process; older kernels know only the plain attachment, which goes
 * with the map. */
static int attach(struct bpfctl *bpfctl)
{
	int prog = bpf_program__fd(bpfctl->skel->progs.hm_splice);

	bpfctl->link = bpf_link_create(prog, bpfctl->sources, BPF_SK_SKB_STREAM_VERDICT, NULL);
	if (bpfctl->link >= 0)
		return 0;
	bpfctl->link = -1;
	return bpf_prog_attach(prog, bpfctl->sources, BPF_SK_SKB_STREAM_VERDICT, 0) < 0 ? -errno
											: 0;
}

static int on_event(void *arg, void *data, size_t size)
{
	struct ring *ring = arg;

	if (size >= sizeof(struct hm_event))
		ring->fn(ring->arg, data);
	return 0;
}

static int add_ring(struct bpfctl *bpfctl, __u32 worker)
{
	CLEANUP(fd_closep)
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "hm_ring", 0, 0, HM_EVENTS_BYTES, NULL);

	if (fd < 0)
		return -errno;
	if (bpf_map_update_elem(bpf_map__fd(bpfctl->skel->maps.hm_events), &worker, &fd, BPF_ANY))
		return -errno;
	bpfctl->rings[worker].buffer = ring_buffer__new(fd, on_event, &bpfctl->rings[worker], NULL);
	return bpfctl->rings[worker].buffer ? 0 : -errno;
}

/* ---- pins ---- */

struct pin {
	const char *name;
	int fd;
};

static int pin_failed(struct bpfctl *bpfctl, const char *name, int error)
{
	snprintf(
		bpfctl->pin_error, sizeof(bpfctl->pin_error), "%.160s: %s", name, strerror(-error));
	return error;
}

/* A directory of this process's user that nobody else gets into. In a place where others may write
 * too, somebody may have put a link or a directory of his own there before: neither is followed or
 * used. */
static int open_dir(struct bpfctl *bpfctl, int parent, const char *name, int *ret_fd)
{
	CLEANUP(fd_closep) int fd = -1;
	struct stat st;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return pin_failed(bpfctl, name, -errno);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return pin_failed(bpfctl, name, -errno);
	if (st.st_uid != geteuid()) {
		snprintf(bpfctl->pin_error, sizeof(bpfctl->pin_error),
			"%.160s belongs to somebody else (uid %u)", name, (unsigned)st.st_uid);
		return -EPERM;
	}
	if (fchmod(fd, 0700) < 0)
		return pin_failed(bpfctl, name, -errno);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The directory that pin_path will be made in must be on a BPF file system. *ret_name: into
 * path. */
static int open_mount(struct bpfctl *bpfctl, char *path, const char **ret_name, int *ret_fd)
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
		snprintf(bpfctl->pin_error, sizeof(bpfctl->pin_error),
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
static int pin_one(struct bpfctl *bpfctl, int dir, const struct pin *pin)
{
	char fresh[64], path[128];

	snprintf(fresh, sizeof(fresh), "%s_new", pin->name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, fresh);
	unlinkat(dir, fresh, 0); /* of a process that was killed here */
	if (bpf_obj_pin(pin->fd, path) < 0)
		return pin_failed(bpfctl, pin->name, -errno);
	if (renameat(dir, fresh, dir, pin->name) < 0) {
		int error = -errno;

		unlinkat(dir, fresh, 0);
		return pin_failed(bpfctl, pin->name, error);
	}
	return 0;
}

/* The version's directory, locked until it is closed: one process at a time changes its pins. */
static int open_pins(struct bpfctl *bpfctl, const char *pin_path, int *ret_fd)
{
	CLEANUP(fd_closep) int mount = -1;
	CLEANUP(fd_closep) int base = -1;
	CLEANUP(fd_closep) int dir = -1;
	char path[256], version[16];
	const char *name;

	if (snprintf(path, sizeof(path), "%s", pin_path) >= (int)sizeof(path))
		return pin_failed(bpfctl, pin_path, -ENAMETOOLONG);
	snprintf(version, sizeof(version), "v%d", HM_ABI);
	if (open_mount(bpfctl, path, &name, &mount) < 0 ||
		open_dir(bpfctl, mount, name, &base) < 0 ||
		open_dir(bpfctl, base, version, &dir) < 0)
		return -EINVAL;
	if (flock(dir, LOCK_EX) < 0)
		return pin_failed(bpfctl, pin_path, -errno);
	*ret_fd = take_fd(&dir);
	return 0;
}

static void pin_all(struct bpfctl *bpfctl, const char *path)
{
	const struct pin pins[] = {
		{ HM_PIN_FLOWS, bpfctl->flows },
		{ HM_PIN_CONTROL, bpfctl->control },
		{ HM_PIN_SOURCES, bpfctl->sources },
		{ HM_PIN_TARGETS, bpfctl->targets },
		{ HM_PIN_EVENTS, bpf_map__fd(bpfctl->skel->maps.hm_events) },
		{ HM_PIN_VERDICT, bpf_program__fd(bpfctl->skel->progs.hm_splice) },
	};
	CLEANUP(fd_closep) int dir = -1;

	if (open_pins(bpfctl, path, &dir) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		if (pin_one(bpfctl, dir, &pins[i]) < 0)
			return;
	}
	bpfctl->pinned = true;
}

/* ---- open, close ---- */

static int load(
	struct bpfctl *bpfctl, const struct bpfctl_params *params, char error[BPFCTL_ERROR_SIZE])
{
	int r;

	bpfctl->skel = splice__open();
	if (!bpfctl->skel)
		return fail(error, "cannot read the program", -errno);
	r = set_sizes(bpfctl->skel, params);
	if (r == 0)
		r = splice__load(bpfctl->skel);
	if (r < 0)
		return fail(error, "cannot load the program", r);
	bpfctl->flows = bpf_map__fd(bpfctl->skel->maps.hm_flows);
	bpfctl->control = bpf_map__fd(bpfctl->skel->maps.hm_control);
	bpfctl->sources = bpf_map__fd(bpfctl->skel->maps.hm_sources);
	bpfctl->targets = bpf_map__fd(bpfctl->skel->maps.hm_targets);
	r = attach(bpfctl);
	if (r < 0)
		return fail(error, "cannot attach the program", r);
	for (__u32 i = 0; r == 0 && i < params->workers; i++)
		r = add_ring(bpfctl, i);
	return r < 0 ? fail(error, "cannot make a ring buffer", r) : 0;
}

int bpfctl_load(const struct bpfctl_params *params, struct bpfctl **ret_bpfctl,
	char error[BPFCTL_ERROR_SIZE])
{
	struct bpfctl *bpfctl = calloc(1, sizeof(*bpfctl));
	int r;

	if (!bpfctl)
		return fail(error, "cannot load the program", -ENOMEM);
	bpfctl->link = -1;
	bpfctl->workers = params->workers;
	bpfctl->rings = calloc(params->workers, sizeof(*bpfctl->rings));
	libbpf_set_print(be_silent);
	r = bpfctl->rings ? load(bpfctl, params, error) : fail(error, "memory", -ENOMEM);
	if (r < 0) {
		bpfctl_free(bpfctl);
		return r;
	}
	if (params->pin_path)
		pin_all(bpfctl, params->pin_path);
	*ret_bpfctl = bpfctl;
	return 0;
}

void bpfctl_free(struct bpfctl *bpfctl)
{
	if (!bpfctl)
		return;
	for (unsigned i = 0; bpfctl->rings && i < bpfctl->workers; i++)
		ring_buffer__free(bpfctl->rings[i].buffer);
	free(bpfctl->rings);
	fd_closep(&bpfctl->link);
	splice__destroy(bpfctl->skel);
	free(bpfctl);
}

const char *bpfctl_pin_error(const struct bpfctl *bpfctl)
{
	return *bpfctl->pin_error ? bpfctl->pin_error : NULL;
}

/* ---- rows and sockets ---- */

__u64 bpfctl_cookie(int fd)
{
	__u64 cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

int bpfctl_flow_set(struct bpfctl *bpfctl, __u64 cookie, const struct hm_flow *flow)
{
	return bpf_map_update_elem(bpfctl->flows, &cookie, flow, BPF_ANY) < 0 ? -errno : 0;
}

void bpfctl_flows_set(
	struct bpfctl *bpfctl, const __u64 *cookies, const struct hm_flow *flows, __u32 count)
{
	while (count) {
		__u32 done = count;

		if (bpf_map_update_batch(bpfctl->flows, cookies, flows, &done, NULL) == 0)
			return;
		done = MIN(done + 1, count); /* the one after those that are in is refused */
		cookies += done;
		flows += done;
		count -= done;
	}
}

int bpfctl_flow_get(struct bpfctl *bpfctl, __u64 cookie, struct hm_flow *ret_flow)
{
	return bpf_map_lookup_elem(bpfctl->flows, &cookie, ret_flow) < 0 ? -errno : 0;
}

int bpfctl_control_set(struct bpfctl *bpfctl, __u64 cookie, const struct hm_control *control)
{
	return bpf_map_update_elem(bpfctl->control, &cookie, control, BPF_ANY) < 0 ? -errno : 0;
}

void bpfctl_flow_remove(struct bpfctl *bpfctl, __u64 cookie)
{
	bpf_map_delete_elem(bpfctl->flows, &cookie);
}

void bpfctl_control_remove(struct bpfctl *bpfctl, __u64 cookie)
{
	bpf_map_delete_elem(bpfctl->control, &cookie);
}

static int put(int map, __u64 cookie, int fd)
{
	__u64 value = (__u64)fd;

	return bpf_map_update_elem(map, &cookie, &value, BPF_ANY) < 0 ? -errno : 0;
}

int bpfctl_target_add(struct bpfctl *bpfctl, __u64 source_cookie, int fd)
{
	return put(bpfctl->targets, source_cookie, fd);
}

int bpfctl_source_add(struct bpfctl *bpfctl, __u64 cookie, int fd)
{
	return put(bpfctl->sources, cookie, fd);
}

void bpfctl_sockets_remove(struct bpfctl *bpfctl, __u64 cookie)
{
	bpf_map_delete_elem(bpfctl->sources, &cookie);
	bpf_map_delete_elem(bpfctl->targets, &cookie);
}

/* ---- events and scans ---- */

int bpfctl_events_fd(const struct bpfctl *bpfctl, unsigned worker)
{
	return ring_buffer__epoll_fd(bpfctl->rings[worker].buffer);
}

void bpfctl_events_consume(struct bpfctl *bpfctl, unsigned worker, bpfctl_event_fn *fn, void *arg)
{
	struct ring *ring = &bpfctl->rings[worker];

	ring->fn = fn;
	ring->arg = arg;
	ring_buffer__consume(ring->buffer);
}

int bpfctl_scan(struct bpfctl *bpfctl, unsigned worker, bpfctl_scan_fn *fn, void *arg)
{
	static _Thread_local __u64 cookies[SCAN_ROWS];
	static _Thread_local struct hm_flow rows[SCAN_ROWS];
	__u32 batch, *from = NULL;
	int r = 0;

	while (r == 0) {
		__u32 count = SCAN_ROWS;

		r = bpf_map_lookup_batch(bpfctl->flows, from, &batch, cookies, rows, &count, NULL);
		if (r < 0 && errno != ENOENT)
			return -errno;
		for (__u32 i = 0; i < count; i++) {
			if (rows[i].worker == worker)
				fn(arg, cookies[i], &rows[i]);
		}
		from = &batch;
	}
	return 0;
}
