// SPDX-License-Identifier: Apache-2.0
/* See bpfctl.h. */
#include "bpfctl/bpfctl.h"
#include "base/fd.h"
#include "bpfctl/shared.h"
#include "homing/pins.h"
#include "splice.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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
};

/* ---- load ---- */

static int set_sizes(struct splice *skel, const struct bpfctl_params *params)
{
	struct bpf_map *maps[] = { skel->maps.hm_flows, skel->maps.hm_control,
		skel->maps.hm_sources, skel->maps.hm_targets };
	int r = bpf_map__set_max_entries(skel->maps.hm_events, params->workers);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(maps); i++)
		r = bpf_map__set_max_entries(maps[i], params->max_flows);
	return r;
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

static void pin_all(struct bpfctl *bpfctl, const char *path)
{
	const struct bpfctl_pin pins[] = {
		{ HM_PIN_FLOWS, bpfctl->flows },
		{ HM_PIN_CONTROL, bpfctl->control },
		{ HM_PIN_SOURCES, bpfctl->sources },
		{ HM_PIN_TARGETS, bpfctl->targets },
		{ HM_PIN_EVENTS, bpf_map__fd(bpfctl->skel->maps.hm_events) },
		{ HM_PIN_VERDICT, bpf_program__fd(bpfctl->skel->progs.hm_splice) },
	};
	CLEANUP(fd_closep) int dir = -1;

	if (bpfctl_pins_open(path, bpfctl->pin_error, &dir) == 0)
		(void)!bpfctl_pins_put(dir, pins, ARRAY_SIZE(pins), bpfctl->pin_error);
}

/* ---- open, close ---- */

static int load(
	struct bpfctl *bpfctl, const struct bpfctl_params *params, char error[BPFCTL_ERROR_SIZE])
{
	int r;

	bpfctl->skel = splice__open();
	if (!bpfctl->skel)
		return bpfctl_fail(error, "cannot read the program", -errno);
	r = set_sizes(bpfctl->skel, params);
	if (r == 0)
		r = splice__load(bpfctl->skel);
	if (r < 0)
		return bpfctl_fail(error, "cannot load the program", r);
	bpfctl->flows = bpf_map__fd(bpfctl->skel->maps.hm_flows);
	bpfctl->control = bpf_map__fd(bpfctl->skel->maps.hm_control);
	bpfctl->sources = bpf_map__fd(bpfctl->skel->maps.hm_sources);
	bpfctl->targets = bpf_map__fd(bpfctl->skel->maps.hm_targets);
	r = bpfctl_attach(bpf_program__fd(bpfctl->skel->progs.hm_splice), bpfctl->sources,
		BPF_SK_SKB_STREAM_VERDICT, &bpfctl->link);
	if (r < 0)
		return bpfctl_fail(error, "cannot attach the program", r);
	for (__u32 i = 0; r == 0 && i < params->workers; i++)
		r = add_ring(bpfctl, i);
	return r < 0 ? bpfctl_fail(error, "cannot make a ring buffer", r) : 0;
}

int bpfctl_load(const struct bpfctl_params *params, struct bpfctl **ret_bpfctl,
	char error[BPFCTL_ERROR_SIZE])
{
	struct bpfctl *bpfctl = calloc(1, sizeof(*bpfctl));
	int r;

	if (!bpfctl)
		return bpfctl_fail(error, "cannot load the program", -ENOMEM);
	bpfctl->link = -1;
	bpfctl->workers = params->workers;
	bpfctl->rings = calloc(params->workers, sizeof(*bpfctl->rings));
	bpfctl_silence_libbpf();
	r = bpfctl->rings ? load(bpfctl, params, error) : bpfctl_fail(error, "memory", -ENOMEM);
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

struct bpfctl_maps bpfctl_maps(const struct bpfctl *bpfctl)
{
	return (struct bpfctl_maps){ bpfctl->flows, bpfctl->control, bpfctl->targets };
}

/* ---- rows and sockets ---- */

__u64 bpfctl_cookie(int fd)
{
	__u64 cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

int bpfctl_rows_set(struct bpfctl *bpfctl, const __u64 *cookies, const struct hm_flow *flows,
	const struct hm_control *controls, __u32 count)
{
	__u32 done = count;

	if (bpf_map_update_batch(bpfctl->flows, cookies, flows, &done, NULL) < 0)
		return -errno;
	done = count;
	return bpf_map_update_batch(bpfctl->control, cookies, controls, &done, NULL) < 0 ? -errno
											 : 0;
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

int bpfctl_flow_take(struct bpfctl *bpfctl, __u64 cookie, struct hm_flow *ret_flow)
{
	return bpf_map_lookup_and_delete_elem(bpfctl->flows, &cookie, ret_flow) < 0 ? -errno : 0;
}

/* All at once stops at one that is not there. */
void bpfctl_controls_remove(struct bpfctl *bpfctl, const __u64 *cookies, __u32 count)
{
	__u32 done = count;

	if (bpf_map_delete_batch(bpfctl->control, cookies, &done, NULL) == 0)
		return;
	for (__u32 i = 0; i < count; i++)
		bpf_map_delete_elem(bpfctl->control, &cookies[i]);
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
