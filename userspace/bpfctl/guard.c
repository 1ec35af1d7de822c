// SPDX-License-Identifier: Apache-2.0
/*
 * See guard.h. What is in the small maps (services, lists) is remembered here, so that a whole set
 * becomes the differences; nothing is read back. Bans are the maps' alone.
 */
#include "bpfctl/guard.h"
#include "base/fd.h"
#include "bpfctl/guard_inside.h"
#include "bpfctl/shared.h"
#include "guard.skel.h"
#include "homing/pins.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SCAN_ROWS 1024u
/* The kernel shares the rows of such a map out among the CPUs. */
#define RATES_MIN 4096u

/* ---- what the process before has left ---- */

static int map_info(int map, struct bpf_map_info *ret_info)
{
	__u32 size = sizeof(*ret_info);

	memset(ret_info, 0, sizeof(*ret_info));
	return bpf_obj_get_info_by_fd(map, ret_info, &size) < 0 ? -errno : 0;
}

/* A map of that name with rows of our layout. Returns a descriptor or -errno. */
static int open_before(int pins, const char *name, __u32 key_size, __u32 value_size)
{
	CLEANUP(fd_closep) int map = bpfctl_pins_get(pins, name);
	struct bpf_map_info info;
	int r = map < 0 ? map : map_info(map, &info);

	if (r < 0)
		return r;
	return info.key_size == key_size && info.value_size == value_size ? take_fd(&map) : -EINVAL;
}

struct takeover {
	struct bpfctl_guard *guard;
	__u64 now;
};

static void take_ban(
	void *arg, const struct hm_guard_source *source, const struct hm_guard_ban *ban)
{
	struct takeover *takeover = arg;

	if (ban->until_ns > takeover->now)
		bpf_map_update_elem(takeover->guard->bans, source, ban, BPF_ANY);
}

static int scan_bans(int map, bpfctl_guard_ban_fn *fn, void *arg);

static void take_prefixes(struct takeover *takeover, int lists)
{
	struct bpfctl_guard *guard = takeover->guard;
	struct bpfctl_guard_line line;
	const struct hm_guard_prefix *before = NULL;
	struct hm_guard_prefix key;

	while (bpf_map_get_next_key(lists, before, &line.prefix) == 0 &&
		guard->line_count < guard->max_rules) {
		key = line.prefix;
		before = &key;
		if (bpf_map_lookup_elem(lists, &line.prefix, &line.rule) == 0 && line.rule.reason &&
			line.rule.until_ns > takeover->now &&
			bpf_map_update_elem(guard->lists, &line.prefix, &line.rule, BPF_ANY) == 0)
			guard->line_set[guard->line_count++] = line;
	}
}

static int order_of_lines(const void *a, const void *b);

/* Without a process before, or with one of another layout, there is nothing. */
static void take_over(struct bpfctl_guard *guard, int pins)
{
	struct takeover takeover = { guard, guard_now_ns() };
	struct bpf_map_info info;
	CLEANUP(fd_closep) int config = bpfctl_pins_get(pins, HM_PIN_GUARD_CONFIG);
	CLEANUP(fd_closep)
	int bans = open_before(pins, HM_PIN_GUARD_BANS, sizeof(struct hm_guard_source),
		sizeof(struct hm_guard_ban));
	CLEANUP(fd_closep)
	int lists = open_before(pins, HM_PIN_GUARD_LISTS, sizeof(struct hm_guard_prefix),
		sizeof(struct hm_guard_rule));

	if (config >= 0 && map_info(config, &info) == 0)
		guard->config_before = info.id;
	if (bans >= 0)
		(void)!scan_bans(bans, take_ban, &takeover);
	if (lists >= 0)
		take_prefixes(&takeover, lists);
	qsort(guard->line_set, guard->line_count, sizeof(*guard->line_set), order_of_lines);
}

static void take_over_and_pin(struct bpfctl_guard *guard, const char *pin_path)
{
	const struct bpfctl_pin pins[] = {
		{ HM_PIN_GUARD_CONFIG, bpf_map__fd(guard->skel->maps.guard_config) },
		{ HM_PIN_GUARD_SERVICES, guard->services },
		{ HM_PIN_GUARD_LISTS, guard->lists },
		{ HM_PIN_GUARD_BANS, guard->bans },
		{ HM_PIN_GUARD_RATES, bpf_map__fd(guard->skel->maps.guard_rates) },
		{ HM_PIN_GUARD_COUNTS, guard->counts },
		{ HM_PIN_GUARD_EVENTS, bpf_map__fd(guard->skel->maps.guard_events) },
	};
	CLEANUP(fd_closep) int dir = -1;

	if (bpfctl_pins_open(pin_path, guard->pin_error, &dir) < 0)
		return;
	take_over(guard, dir);
	(void)!bpfctl_pins_put(dir, pins, ARRAY_SIZE(pins), guard->pin_error);
}

/* ---- load ---- */

static int set_sizes(struct guard *skel, const struct bpfctl_guard_params *params)
{
	const struct {
		struct bpf_map *map;
		unsigned rows;
	} sizes[] = {
		{ skel->maps.guard_services, params->max_services },
		{ skel->maps.guard_lists, params->max_rules },
		{ skel->maps.guard_bans, params->max_bans },
		{ skel->maps.guard_rates, MAX(params->max_sources, RATES_MIN) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes); i++)
		r = bpf_map__set_max_entries(sizes[i].map, MAX(sizes[i].rows, 1u));
	return r;
}

static int map_config(struct bpfctl_guard *guard)
{
	void *mapped;

	guard->config_bytes = (size_t)sysconf(_SC_PAGESIZE);
	mapped = mmap(NULL, guard->config_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		bpf_map__fd(guard->skel->maps.guard_config), 0);
	if (mapped == MAP_FAILED)
		return -errno;
	guard->config = mapped;
	return 0;
}

static int on_event(void *arg, void *data, size_t size)
{
	struct bpfctl_guard *guard = arg;

	if (size >= sizeof(struct hm_guard_event))
		guard->event_fn(guard->event_arg, data);
	return 0;
}

static int make_room(struct bpfctl_guard *guard, const struct bpfctl_guard_params *params)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 0)
		return cpus;
	guard->cpus = (unsigned)cpus;
	guard->max_services = params->max_services;
	guard->max_rules = params->max_rules;
	guard->per_cpu = calloc(guard->cpus, sizeof(*guard->per_cpu));
	guard->service_set = calloc(MAX(params->max_services, 1u), sizeof(*guard->service_set));
	guard->line_set = calloc(MAX(params->max_rules, 1u), sizeof(*guard->line_set));
	return guard->per_cpu && guard->service_set && guard->line_set ? 0 : -ENOMEM;
}

static int load(struct bpfctl_guard *guard, const struct bpfctl_guard_params *params,
	char error[BPFCTL_ERROR_SIZE])
{
	int r;

	guard->skel = guard__open();
	if (!guard->skel)
		return bpfctl_fail(error, "cannot read the program", -errno);
	r = set_sizes(guard->skel, params);
	if (r == 0)
		r = guard__load(guard->skel);
	if (r < 0)
		return bpfctl_fail(error, "cannot load the program", r);
	guard->services = bpf_map__fd(guard->skel->maps.guard_services);
	guard->lists = bpf_map__fd(guard->skel->maps.guard_lists);
	guard->bans = bpf_map__fd(guard->skel->maps.guard_bans);
	guard->counts = bpf_map__fd(guard->skel->maps.guard_counts);
	r = map_config(guard);
	if (r < 0)
		return bpfctl_fail(error, "cannot map the guard's settings", r);
	guard->events = ring_buffer__new(
		bpf_map__fd(guard->skel->maps.guard_events), on_event, guard, NULL);
	if (!guard->events)
		return bpfctl_fail(error, "cannot read a ring buffer", -errno);
	r = make_room(guard, params);
	return r < 0 ? bpfctl_fail(error, "memory", r) : 0;
}

int bpfctl_guard_load(const struct bpfctl_guard_params *params, struct bpfctl_guard **ret_guard,
	char error[BPFCTL_ERROR_SIZE])
{
	struct bpfctl_guard *guard = calloc(1, sizeof(*guard));
	int r;

	if (!guard)
		return bpfctl_fail(error, "cannot load the program", -ENOMEM);
	guard->lookup_link = -1;
	bpfctl_silence_libbpf();
	r = load(guard, params, error);
	if (r < 0) {
		bpfctl_guard_free(guard);
		return r;
	}
	if (params->pin_path)
		take_over_and_pin(guard, params->pin_path);
	*ret_guard = guard;
	return 0;
}

void bpfctl_guard_free(struct bpfctl_guard *guard)
{
	if (!guard)
		return;
	if (guard->config) {
		bpfctl_guard_beat(guard, 0);
		munmap(guard->config, guard->config_bytes);
	}
	for (size_t i = 0; i < guard->device_count; i++)
		fd_closep(&guard->devices[i].link);
	fd_closep(&guard->lookup_link);
	ring_buffer__free(guard->events);
	guard__destroy(guard->skel);
	free(guard->devices);
	free(guard->per_cpu);
	free(guard->service_set);
	free(guard->line_set);
	free(guard);
}

const char *bpfctl_guard_pin_error(const struct bpfctl_guard *guard)
{
	return *guard->pin_error ? guard->pin_error : NULL;
}

int bpfctl_guard_lookup_attach(struct bpfctl_guard *guard, char error[BPFCTL_ERROR_SIZE])
{
	CLEANUP(fd_closep) int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (net < 0)
		return bpfctl_fail(error, "cannot open the network namespace", -errno);
	guard->lookup_link = bpf_link_create(
		bpf_program__fd(guard->skel->progs.hm_guard_lookup), net, BPF_SK_LOOKUP, NULL);
	if (guard->lookup_link >= 0)
		return 0;
	guard->lookup_link = -1;
	return bpfctl_fail(error, "cannot attach the socket lookup", -errno);
}

/* ---- settings ---- */

void bpfctl_guard_configure(struct bpfctl_guard *guard, const struct hm_guard_config *config)
{
	volatile struct hm_guard_config *mapped = guard->config;

	mapped->syn_cost_ns = config->syn_cost_ns;
	mapped->syn_burst_ns = config->syn_burst_ns;
	mapped->ipv4_bits = config->ipv4_bits;
	mapped->ipv6_bits = config->ipv6_bits;
	mapped->scope_all = config->scope_all;
	mapped->observe = config->observe;
}

void bpfctl_guard_beat(struct bpfctl_guard *guard, __u64 alive_until_ns)
{
	((volatile struct hm_guard_config *)guard->config)->alive_until_ns = alive_until_ns;
}

/* ---- sets ---- */

/* How rows of a set, which begin with their keys, are ordered and put into its map. */
struct set {
	int map;
	size_t row_size;
	int (*order)(const void *a, const void *b);
	int (*put)(int map, const void *row);
};

static int order_of_services(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct hm_guard_service));
}

static int order_of_lines(const void *a, const void *b)
{
	const struct bpfctl_guard_line *first = a, *second = b;

	return memcmp(&first->prefix, &second->prefix, sizeof(first->prefix));
}

static int put_service(int map, const void *row)
{
	__u32 one = 1;

	return bpf_map_update_elem(map, row, &one, BPF_ANY) < 0 ? -errno : 0;
}

static int put_line(int map, const void *row)
{
	const struct bpfctl_guard_line *line = row;

	return bpf_map_update_elem(map, &line->prefix, &line->rule, BPF_ANY) < 0 ? -errno : 0;
}

/* What is in `from` and not, with the same bytes, in `in`. keyed: keys alone count. */
static int each_missing(const struct set *set, const void *from, size_t from_count, const void *in,
	size_t in_count, bool keyed, int (*fn)(const struct set *set, const void *row))
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < from_count; i++) {
		const char *row = (const char *)from + i * set->row_size;
		const char *same =
			in_count ? bsearch(row, in, in_count, set->row_size, set->order) : NULL;

		if (!same || (!keyed && memcmp(same, row, set->row_size) != 0))
			r = fn(set, row);
	}
	return r;
}

static int put_row(const struct set *set, const void *row)
{
	return set->put(set->map, row);
}

static int drop_row(const struct set *set, const void *row)
{
	bpf_map_delete_elem(set->map, row);
	return 0;
}

/* What goes first makes the room for what comes; where both would fit, what comes is there before
 * anything is missing. */
static int change(const struct set *set, size_t max, void *now, size_t *count, const void *next,
	size_t next_count)
{
	bool fits = *count + next_count <= max;
	int r;

	if (!fits)
		each_missing(set, now, *count, next, next_count, true, drop_row);
	r = each_missing(set, next, next_count, now, *count, false, put_row);
	if (fits)
		each_missing(set, now, *count, next, next_count, true, drop_row);
	memcpy(now, next, next_count * set->row_size);
	*count = next_count;
	return r;
}

int bpfctl_guard_services_set(
	struct bpfctl_guard *guard, const struct hm_guard_service *services, size_t count)
{
	const struct set set = { guard->services, sizeof(*services), order_of_services,
		put_service };
	struct hm_guard_service *sorted;
	int r;

	if (count > guard->max_services)
		return -E2BIG;
	sorted = calloc(MAX(count, (size_t)1), sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	if (count)
		memcpy(sorted, services, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), order_of_services);
	r = change(&set, guard->max_services, guard->service_set, &guard->service_count, sorted,
		count);
	free(sorted);
	return r;
}

/* Sorted, and of several with one prefix the last. Returns how many are left. */
static size_t sort_lines(struct bpfctl_guard_line *lines, size_t count)
{
	size_t kept = 0;

	/* qsort() of few rows keeps the order of equal ones in glibc, but nobody promises it. */
	for (size_t i = 0; i < count; i++)
		lines[i].rule.action |= (__u32)i << 2;
	qsort(lines, count, sizeof(*lines), order_of_lines);
	for (size_t i = 0; i < count; i++) {
		if (kept && order_of_lines(&lines[kept - 1], &lines[i]) == 0) {
			if (lines[kept - 1].rule.action >> 2 < lines[i].rule.action >> 2)
				lines[kept - 1] = lines[i];
		} else
			lines[kept++] = lines[i];
	}
	for (size_t i = 0; i < kept; i++)
		lines[i].rule.action &= 3;
	return kept;
}

int bpfctl_guard_lists_set(
	struct bpfctl_guard *guard, const struct bpfctl_guard_line *lines, size_t count)
{
	const struct set set = { guard->lists, sizeof(*lines), order_of_lines, put_line };
	struct bpfctl_guard_line *sorted;
	int r;

	if (count > guard->max_rules)
		return -E2BIG;
	sorted = calloc(MAX(count, (size_t)1), sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	if (count)
		memcpy(sorted, lines, count * sizeof(*sorted));
	count = sort_lines(sorted, count);
	r = change(&set, guard->max_rules, guard->line_set, &guard->line_count, sorted, count);
	free(sorted);
	return r;
}

int bpfctl_guard_lists_scan(struct bpfctl_guard *guard, bpfctl_guard_line_fn *fn, void *arg)
{
	for (size_t i = 0; i < guard->line_count; i++)
		fn(arg, &guard->line_set[i]);
	return 0;
}

/* ---- bans ---- */

int bpfctl_guard_ban_set(struct bpfctl_guard *guard, const struct hm_guard_source *source,
	const struct hm_guard_ban *ban)
{
	struct hm_guard_ban next = *ban, before;

	if (bpf_map_lookup_elem(guard->bans, source, &before) == 0) {
		next.dropped = before.dropped;
		next.last_ns = before.last_ns;
	}
	return bpf_map_update_elem(guard->bans, source, &next, BPF_ANY) < 0 ? -errno : 0;
}

int bpfctl_guard_ban_get(struct bpfctl_guard *guard, const struct hm_guard_source *source,
	struct hm_guard_ban *ret_ban)
{
	return bpf_map_lookup_elem(guard->bans, source, ret_ban) < 0 ? -errno : 0;
}

void bpfctl_guard_ban_remove(struct bpfctl_guard *guard, const struct hm_guard_source *source)
{
	bpf_map_delete_elem(guard->bans, source);
}

static int scan_bans(int map, bpfctl_guard_ban_fn *fn, void *arg)
{
	struct hm_guard_source *sources = calloc(SCAN_ROWS, sizeof(*sources));
	struct hm_guard_ban *bans = calloc(SCAN_ROWS, sizeof(*bans));
	__u32 batch, *from = NULL;
	int r = sources && bans ? 0 : -ENOMEM;

	while (r == 0) {
		__u32 count = SCAN_ROWS;

		if (bpf_map_lookup_batch(map, from, &batch, sources, bans, &count, NULL) < 0)
			r = -errno;
		for (__u32 i = 0; (r == 0 || r == -ENOENT) && i < count; i++)
			fn(arg, &sources[i], &bans[i]);
		from = &batch;
	}
	free(sources);
	free(bans);
	return r == -ENOENT ? 0 : r; /* that was the end */
}

int bpfctl_guard_bans_scan(struct bpfctl_guard *guard, bpfctl_guard_ban_fn *fn, void *arg)
{
	return scan_bans(guard->bans, fn, arg);
}

/* ---- counts, events ---- */

int bpfctl_guard_counts(
	struct bpfctl_guard *guard, struct hm_guard_count ret_counts[HM_GUARD_VERDICTS])
{
	for (__u32 verdict = 0; verdict < HM_GUARD_VERDICTS; verdict++) {
		if (bpf_map_lookup_elem(guard->counts, &verdict, guard->per_cpu) < 0)
			return -errno;
		ret_counts[verdict] = (struct hm_guard_count){ 0 };
		for (unsigned i = 0; i < guard->cpus; i++) {
			ret_counts[verdict].packets += guard->per_cpu[i].packets;
			ret_counts[verdict].bytes += guard->per_cpu[i].bytes;
		}
	}
	return 0;
}

int bpfctl_guard_events_fd(const struct bpfctl_guard *guard)
{
	return ring_buffer__epoll_fd(guard->events);
}

void bpfctl_guard_events_consume(struct bpfctl_guard *guard, bpfctl_guard_event_fn *fn, void *arg)
{
	guard->event_fn = fn;
	guard->event_arg = arg;
	ring_buffer__consume(guard->events);
}
