// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's kernel part alone, for benchmarks: bans many sources for one service, attaches one of
 * its hooks, and holds it until standard input ends. Then prints what became of packets.
 *
 * usage: guard_hooks ADDRESS:PORT FIRST_SOURCE SOURCES lookup|native|generic [DEVICE]
 * Prints "ready" when it acts. IPv4.
 */
#include "base/clock.h"
#include "base/view.h"
#include "bpfctl/guard.h"
#include "bpfctl/guard_xdp.h"
#include "net/addr.h"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEAT_MS 1000
#define HOUR_NS 3600000000000ull

static void die(const char *what, const char *why)
{
	fprintf(stderr, "guard_hooks: %s: %s\n", what, why);
	exit(1);
}

static void fill(struct bpfctl_guard *guard, const struct addr *service, const struct addr *first,
	uint32_t sources)
{
	struct hm_guard_config config = { .ipv4_bits = 32, .ipv6_bits = 64 };
	struct hm_guard_service one = { .port = service->in.sin_port };
	uint64_t now_ns = clock_mono_ms() * 1000000;

	addr_to_mapped(service, one.addr);
	bpfctl_guard_configure(guard, &config);
	if (bpfctl_guard_services_set(guard, &one, 1) < 0)
		die("services", "cannot be set");
	for (uint32_t i = 0; i < sources; i++) {
		struct hm_guard_ban ban = {
			.until_ns = now_ns + HOUR_NS, .since_ns = now_ns, .strikes = 1
		};
		struct addr client = *first;
		struct hm_guard_source source;

		client.in.sin_addr.s_addr = htonl(ntohl(client.in.sin_addr.s_addr) + i);
		addr_to_mapped(&client, source.addr);
		if (bpfctl_guard_ban_set(guard, &source, &ban) < 0)
			die("bans", "cannot be set");
	}
}

static void attach(struct bpfctl_guard *guard, const char *hook, const char *device)
{
	char error[BPFCTL_ERROR_SIZE] = "";
	int r;

	if (strcmp(hook, "lookup") == 0)
		r = bpfctl_guard_lookup_attach(guard, error);
	else
		r = guard_xdp_attach(guard, if_nametoindex(device),
			strcmp(hook, "native") == 0 ? GUARD_XDP_NATIVE : GUARD_XDP_GENERIC, error);
	if (r < 0)
		die(hook, error);
}

static void beat_until_the_end(struct bpfctl_guard *guard)
{
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };

	do
		bpfctl_guard_beat(guard, clock_mono_ms() * 1000000 + HM_GUARD_ALIVE_NS);
	while (poll(&end, 1, BEAT_MS) == 0);
}

static void print_counts(struct bpfctl_guard *guard)
{
	struct hm_guard_count counts[HM_GUARD_VERDICTS];

	if (bpfctl_guard_counts(guard, counts) < 0)
		die("counts", "cannot be read");
	printf("banned=%llu new=%llu established=%llu\n",
		(unsigned long long)counts[HM_GUARD_BANNED].packets,
		(unsigned long long)counts[HM_GUARD_NEW].packets,
		(unsigned long long)counts[HM_GUARD_ESTABLISHED].packets);
}

int main(int argc, char **argv)
{
	struct bpfctl_guard_params params = {
		.max_bans = 65536, .max_sources = 1024, .max_rules = 16, .max_services = 16
	};
	char error[BPFCTL_ERROR_SIZE] = "";
	struct bpfctl_guard *guard;
	struct addr service, first;

	if (argc < 5 || addr_parse(view_str(argv[1]), &service) < 0 ||
		addr_parse_ip(view_str(argv[2]), 0, &first) < 0 ||
		(argc < 6 && strcmp(argv[4], "lookup") != 0)) {
		fprintf(stderr,
			"usage: guard_hooks ADDRESS:PORT FIRST_SOURCE SOURCES "
			"lookup|native|generic [DEVICE]\n");
		return 2;
	}
	if (bpfctl_guard_load(&params, &guard, error) < 0)
		die("load", error);
	fill(guard, &service, &first, (uint32_t)atoi(argv[3]));
	bpfctl_guard_beat(guard, clock_mono_ms() * 1000000 + HM_GUARD_ALIVE_NS);
	attach(guard, argv[4], argc > 5 ? argv[5] : NULL);
	puts("ready");
	fflush(stdout);
	beat_until_the_end(guard);
	print_counts(guard);
	if (argc > 5)
		(void)guard_xdp_detach(guard, if_nametoindex(argv[5]));
	bpfctl_guard_free(guard);
	return 0;
}
