// SPDX-License-Identifier: Apache-2.0
/*
 * See guard_xdp.h. Behind a dispatcher a program is an extension of it, so the object is opened
 * again for each device and loaded with the maps of the first (GRD-6). libxdp falls back to taking
 * the device for itself, an attachment that nobody shares and that outlives us: that is undone, and
 * a bpf_link takes its place.
 *
 * libxdp 1.3 forgets to close some descriptors of programs, so that what has been replaced stays in
 * memory, attached to nothing, until this process ends. It is asked at the start only, a few times.
 */
#include "bpfctl/guard_xdp.h"
#include "base/fd.h"
#include "bpfctl/guard_inside.h"
#include "bpfctl/shared.h"
#include "guard.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

/* Before what is attached with the usual 50: what is dropped is nobody else's work. */
#define RUN_PRIORITY 20
#define PROGRAM_NAME "hm_guard"
#define CONFIG_NAME "guard_config"
#define PROGRAM_MAPS_MAX 16u
/* More than one dispatcher has (libxdp: 10). */
#define DISPATCHED_MAX 16

static void multiprog_closep(struct xdp_multiprog **multiprog)
{
	xdp_multiprog__close(*multiprog);
}

static void program_closep(struct xdp_program **program)
{
	xdp_program__close(*program);
}

static int be_silent(enum libxdp_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* What is on a device; NULL: nothing. */
static struct xdp_multiprog *on_device(unsigned ifindex)
{
	struct xdp_multiprog *multiprog = xdp_multiprog__get_from_ifindex((int)ifindex);

	return libxdp_get_error(multiprog) ? NULL : multiprog;
}

/* ---- whose a program is ---- */

/* Of a program's maps the guard's settings. Returns a descriptor or -errno. */
static int open_config(int program, __u32 *ret_id)
{
	__u32 ids[PROGRAM_MAPS_MAX];
	struct bpf_prog_info info = { .map_ids = (__u64)(uintptr_t)ids,
		.nr_map_ids = PROGRAM_MAPS_MAX };
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) < 0)
		return -errno;
	for (__u32 i = 0; i < MIN(info.nr_map_ids, PROGRAM_MAPS_MAX); i++) {
		CLEANUP(fd_closep) int map = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map_info = { 0 };

		size = sizeof(map_info);
		if (map >= 0 && bpf_obj_get_info_by_fd(map, &map_info, &size) == 0 &&
			strcmp(map_info.name, CONFIG_NAME) == 0) {
			*ret_id = ids[i];
			return take_fd(&map);
		}
	}
	return -ENOENT;
}

/* Its process is the one before this one, or has given no sign of life for long. */
static bool is_left_behind(const struct bpfctl_guard *guard, const struct xdp_program *program)
{
	__u32 id = 0, zero = 0;
	CLEANUP(fd_closep) int map = open_config(xdp_program__fd(program), &id);
	struct hm_guard_config config;

	if (map < 0)
		return false;
	if (id == guard->config_before)
		return true;
	return bpf_map_lookup_elem(map, &zero, &config) == 0 &&
		config.alive_until_ns < guard_now_ns();
}

static bool is_ours(const struct bpfctl_guard *guard, __u32 program)
{
	for (size_t i = 0; i < guard->device_count; i++) {
		if (guard->devices[i].way == GUARD_XDP_DISPATCHER &&
			guard->devices[i].program == program)
			return true;
	}
	return false;
}

/* The first guard on a device that is to go; without a guard of ours all of them are. NULL: none.
 * Borrowed from multiprog. */
static struct xdp_program *find_unwanted(
	const struct xdp_multiprog *multiprog, const struct bpfctl_guard *guard)
{
	struct xdp_program *program = NULL;

	while ((program = xdp_multiprog__next_prog(program, multiprog))) {
		if (strcmp(xdp_program__name(program), PROGRAM_NAME) != 0)
			continue;
		if (!guard ||
			(!is_ours(guard, xdp_program__id(program)) &&
				is_left_behind(guard, program)))
			return program;
	}
	return NULL;
}

/* Each detachment makes another dispatcher, so one is looked at anew. Returns how many, or
 * -errno. */
static int clean(unsigned ifindex, const struct bpfctl_guard *guard)
{
	int removed = 0;

	while (removed < DISPATCHED_MAX) {
		CLEANUP(multiprog_closep) struct xdp_multiprog *multiprog = on_device(ifindex);
		struct xdp_program *program;
		int r;

		if (!multiprog || xdp_multiprog__is_legacy(multiprog))
			return removed;
		program = find_unwanted(multiprog, guard);
		if (!program)
			return removed;
		r = xdp_program__detach(
			program, (int)ifindex, xdp_multiprog__attach_mode(multiprog), 0);
		if (r < 0)
			return r;
		removed++;
	}
	return removed;
}

/* Returns how many, or the last -errno. */
static int clean_all(const struct bpfctl_guard *guard, char error[BPFCTL_ERROR_SIZE])
{
	struct if_nameindex *names = if_nameindex();
	int removed = 0, failed = 0;

	if (!names)
		return bpfctl_fail(error, "cannot list network devices", -errno);
	for (const struct if_nameindex *name = names; name->if_index; name++) {
		int r = clean(name->if_index, guard);

		if (r < 0) {
			char what[64];

			snprintf(what, sizeof(what), "cannot detach from %s", name->if_name);
			failed = bpfctl_fail(error, what, r);
		} else
			removed += r;
	}
	if_freenameindex(names);
	return failed ? failed : removed;
}

int guard_xdp_sweep(struct bpfctl_guard *guard, char error[BPFCTL_ERROR_SIZE])
{
	libxdp_set_print(be_silent);
	return clean_all(guard, error);
}

int guard_xdp_detach_all(char error[BPFCTL_ERROR_SIZE])
{
	bpfctl_silence_libbpf();
	libxdp_set_print(be_silent);
	return clean_all(NULL, error);
}

/* ---- attaching ---- */

/* The maps that there are, and nothing that is not for XDP. */
static int share_maps(const struct bpfctl_guard *guard, struct guard *skel)
{
	struct bpf_map *map = NULL, *first;
	int r = 0;

	bpf_program__set_autoload(skel->progs.hm_guard_lookup, false);
	while (r == 0 && (map = bpf_object__next_map(skel->obj, map))) {
		first = bpf_object__find_map_by_name(guard->skel->obj, bpf_map__name(map));
		if (first && bpf_map__fd(first) >= 0)
			r = bpf_map__reuse_fd(map, bpf_map__fd(first));
	}
	return r;
}

/* The program with this id behind a dispatcher, borrowed; NULL: none. */
static struct xdp_program *find_dispatched(const struct xdp_multiprog *multiprog, __u32 id)
{
	struct xdp_program *program = NULL;

	if (!multiprog || xdp_multiprog__is_legacy(multiprog))
		return NULL;
	while ((program = xdp_multiprog__next_prog(program, multiprog))) {
		if (xdp_program__id(program) == id)
			break;
	}
	return program;
}

static bool is_dispatched(unsigned ifindex, __u32 id)
{
	CLEANUP(multiprog_closep) struct xdp_multiprog *multiprog = on_device(ifindex);

	return find_dispatched(multiprog, id);
}

static int attach_object(
	struct bpf_object *object, unsigned ifindex, enum xdp_attach_mode mode, __u32 *ret_program)
{
	CLEANUP(program_closep) struct xdp_program *program = NULL;
	struct xdp_program_opts options;
	int r;

	memset(&options, 0, sizeof(options)); /* libxdp looks at the padding too */
	options.sz = sizeof(options);
	options.obj = object;
	options.prog_name = PROGRAM_NAME;
	program = xdp_program__create(&options);
	r = (int)libxdp_get_error(program);
	if (r < 0) {
		program = NULL;
		return r;
	}
	r = xdp_program__set_run_prio(program, RUN_PRIORITY);
	if (r == 0)
		r = xdp_program__attach(program, (int)ifindex, mode, 0);
	if (r < 0)
		return r;
	*ret_program = xdp_program__id(program);
	if (is_dispatched(ifindex, *ret_program))
		return 0;
	xdp_program__detach(program, (int)ifindex, mode, 0);
	return -EOPNOTSUPP;
}

/* Returns 0, -EBUSY (somebody else's program), or another -errno: no dispatcher is to be had. */
static int attach_dispatched(const struct bpfctl_guard *guard, unsigned ifindex,
	enum xdp_attach_mode mode, __u32 *ret_program)
{
	struct guard *skel = guard__open();
	int r = skel ? share_maps(guard, skel) : -errno;

	if (r == 0)
		r = attach_object(skel->obj, ifindex, mode, ret_program);
	guard__destroy(skel);
	return r;
}

/* Returns the link, the caller's, or -errno. */
static int attach_link(
	const struct bpfctl_guard *guard, unsigned ifindex, enum xdp_attach_mode mode)
{
	struct bpf_link_create_opts options;
	int link;

	memset(&options, 0, sizeof(options));
	options.sz = sizeof(options);
	options.flags = mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	link = bpf_link_create(
		bpf_program__fd(guard->skel->progs.hm_guard), (int)ifindex, BPF_XDP, &options);
	return link < 0 ? -errno : link;
}

static int attach_in(const struct bpfctl_guard *guard, struct guard_xdp_device *device)
{
	enum xdp_attach_mode mode =
		device->mode == GUARD_XDP_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
	int refused = guard->links_only
		? -EPERM
		: attach_dispatched(guard, device->ifindex, mode, &device->program);

	device->link = -1;
	device->way = GUARD_XDP_DISPATCHER;
	if (refused == 0 || refused == -EBUSY || refused == -ENODEV)
		return refused;
	device->way = GUARD_XDP_LINK;
	device->link = attach_link(guard, device->ifindex, mode);
	if (device->link < 0)
		return device->link;
	snprintf(device->why, sizeof(device->why), "no dispatcher: %s", strerror(-refused));
	return 0;
}

static int room_for_one(struct bpfctl_guard *guard)
{
	struct guard_xdp_device *devices =
		realloc(guard->devices, (guard->device_count + 1) * sizeof(*guard->devices));

	if (!devices)
		return -ENOMEM;
	guard->devices = devices;
	return 0;
}

static size_t find(const struct bpfctl_guard *guard, unsigned ifindex)
{
	size_t i = 0;

	while (i < guard->device_count && guard->devices[i].ifindex != ifindex)
		i++;
	return i;
}

static void tell_programs(struct bpfctl_guard *guard)
{
	((volatile struct hm_guard_config *)guard->config)->xdp_devices =
		(__u32)guard->device_count;
}

static int refuse(char error[BPFCTL_ERROR_SIZE], int r)
{
	const char *why = r == -EBUSY ? "somebody else's XDP program is there, without a dispatcher"
		: r == -ENODEV        ? "there is no such device"
				      : strerror(-r);

	snprintf(error, BPFCTL_ERROR_SIZE, "%s", why);
	return r;
}

int guard_xdp_attach(struct bpfctl_guard *guard, unsigned ifindex, enum guard_xdp_mode mode,
	char error[BPFCTL_ERROR_SIZE])
{
	struct guard_xdp_device device = {
		.ifindex = ifindex,
		.mode = mode == GUARD_XDP_GENERIC ? GUARD_XDP_GENERIC : GUARD_XDP_NATIVE,
	};
	int r, native;

	if (find(guard, ifindex) < guard->device_count)
		return 0;
	r = room_for_one(guard);
	if (r < 0)
		return refuse(error, r);
	libxdp_set_print(be_silent);
	native = r = attach_in(guard, &device);
	if (r < 0 && mode == GUARD_XDP_AUTO && r != -EBUSY && r != -ENODEV) {
		device.mode = GUARD_XDP_GENERIC;
		r = attach_in(guard, &device);
		if (r == 0)
			snprintf(device.why, sizeof(device.why), "native: %s", strerror(-native));
	}
	if (r < 0)
		return refuse(error, r);
	guard->devices[guard->device_count++] = device;
	tell_programs(guard);
	return 0;
}

void guard_xdp_links_only(struct bpfctl_guard *guard)
{
	guard->links_only = true;
}

/* ---- detaching ---- */

void guard_xdp_forget(struct bpfctl_guard *guard, unsigned ifindex)
{
	size_t i = find(guard, ifindex);

	if (i == guard->device_count)
		return;
	fd_closep(&guard->devices[i].link);
	guard->devices[i] = guard->devices[--guard->device_count];
	tell_programs(guard);
}

static int detach_dispatched(unsigned ifindex, __u32 id)
{
	CLEANUP(multiprog_closep) struct xdp_multiprog *multiprog = on_device(ifindex);
	struct xdp_program *program = find_dispatched(multiprog, id);

	return program ? xdp_program__detach(
				 program, (int)ifindex, xdp_multiprog__attach_mode(multiprog), 0)
		       : 0;
}

int guard_xdp_detach(struct bpfctl_guard *guard, unsigned ifindex)
{
	size_t i = find(guard, ifindex);
	int r = 0;

	if (i < guard->device_count && guard->devices[i].way == GUARD_XDP_DISPATCHER)
		r = detach_dispatched(ifindex, guard->devices[i].program);
	if (r < 0)
		return r;
	guard_xdp_forget(guard, ifindex);
	return 0;
}

const struct guard_xdp_device *guard_xdp_devices(
	const struct bpfctl_guard *guard, size_t *ret_count)
{
	*ret_count = guard->device_count;
	return guard->devices;
}
