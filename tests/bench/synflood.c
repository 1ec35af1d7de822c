// SPDX-License-Identifier: Apache-2.0
/*
 * Sends SYNs with forged sources into a device, at a fixed rate: frames of a test run of an XDP
 * program, so that the other end of a veth gets them as from a network card. For namespaces made
 * for it.
 *
 * usage: synflood DEVICE DESTINATION_MAC ADDRESS:PORT FIRST_SOURCE SOURCES RATE SECONDS
 * RATE: packets a second, 0: as fast as it goes. All sources have the upper half of their address
 * in common. Prints sent=N.
 */
#include "base/view.h"
#include "net/addr.h"
#include "synflood.skel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define RUN_FRAMES 65536
#define PAUSE_US 500
#define CHECKED 0xfff0 /* as in synflood.bpf.c */

struct frame {
	struct ethhdr ether;
	struct iphdr ip;
	struct tcphdr tcp;
	unsigned char padding[6]; /* to the least that Ethernet has */
} __attribute__((packed));

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint32_t sum(const void *data, size_t len, uint32_t so_far)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		so_far += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return so_far;
}

static uint16_t folded(uint32_t value)
{
	while (value >> 16)
		value = (value & 0xffff) + (value >> 16);
	return htons((uint16_t)~value);
}

/* With the source's lower half 0, which the program changes. */
static void make_frame(struct frame *frame, const struct addr *to, uint32_t source,
	const unsigned char mac[ETH_ALEN])
{
	*frame = (struct frame){ .ether.h_proto = htons(ETH_P_IP),
		.ip = { .version = 4,
			.ihl = 5,
			.ttl = 64,
			.id = htons(CHECKED),
			.protocol = IPPROTO_TCP,
			.tot_len = htons(sizeof(frame->ip) + sizeof(frame->tcp)),
			.saddr = htonl(source & 0xffff0000),
			.daddr = to->in.sin_addr.s_addr },
		.tcp = { .source = htons(40000),
			.dest = to->in.sin_port,
			.seq = htonl(CHECKED),
			.doff = sizeof(frame->tcp) / 4,
			.syn = 1,
			.window = htons(64240) } };
	memcpy(frame->ether.h_dest, mac, ETH_ALEN);
	frame->ether.h_source[0] = 2; /* locally administered */
	frame->ip.check = folded(sum(&frame->ip, sizeof(frame->ip), 0));
	frame->tcp.check = folded(sum(&frame->tcp, sizeof(frame->tcp),
		sum(&frame->ip.saddr, 8, IPPROTO_TCP + sizeof(frame->tcp))));
}

static int send_frames(int program, struct frame *frame, int count)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(*frame),
		.repeat = count, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	return bpf_prog_test_run_opts(program, &options);
}

/* How many are due: all that it is behind, so that a pause of ours does not lower the rate. */
static unsigned long due(unsigned long rate, unsigned long sent, double seconds)
{
	unsigned long wanted = (unsigned long)((double)rate * seconds);

	if (!rate)
		return RUN_FRAMES;
	return wanted > sent ? MIN(wanted - sent, (unsigned long)RUN_FRAMES) : 0;
}

static int flood(int program, struct frame *frame, unsigned long rate, double seconds)
{
	double start = now_s(), passed;
	unsigned long sent = 0;

	while ((passed = now_s() - start) < seconds) {
		unsigned long count = due(rate, sent, passed);

		if (!count) {
			usleep(PAUSE_US);
			continue;
		}
		if (send_frames(program, frame, (int)count) < 0) {
			perror("synflood");
			return 1;
		}
		sent += count;
	}
	printf("sent=%lu\n", sent);
	return 0;
}

static struct synflood *load(const char *device, uint32_t first, uint32_t sources)
{
	struct synflood *skeleton = synflood__open();

	if (!skeleton)
		return NULL;
	skeleton->rodata->device = if_nametoindex(device);
	skeleton->rodata->first = first & 0xffff;
	skeleton->rodata->sources = sources;
	if (synflood__load(skeleton) == 0)
		return skeleton;
	synflood__destroy(skeleton);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned char mac[ETH_ALEN];
	struct synflood *skeleton;
	struct addr to, first;
	struct frame frame;
	int r;

	if (argc != 8 || addr_parse(view_str(argv[3]), &to) < 0 || to.sa.sa_family != AF_INET ||
		addr_parse_ip(view_str(argv[4]), 0, &first) < 0 || first.sa.sa_family != AF_INET ||
		sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
			&mac[4], &mac[5]) != 6 ||
		atoi(argv[5]) <= 0) {
		fprintf(stderr,
			"usage: synflood DEVICE DESTINATION_MAC ADDRESS:PORT FIRST_SOURCE "
			"SOURCES RATE SECONDS\n");
		return 2;
	}
	make_frame(&frame, &to, ntohl(first.in.sin_addr.s_addr), mac);
	skeleton = load(argv[1], ntohl(first.in.sin_addr.s_addr), (uint32_t)atoi(argv[5]));
	if (!skeleton) {
		fprintf(stderr, "synflood: the program cannot be loaded\n");
		return 1;
	}
	r = flood(bpf_program__fd(skeleton->progs.hm_synflood), &frame, strtoul(argv[6], NULL, 10),
		strtod(argv[7], NULL));
	synflood__destroy(skeleton);
	return r;
}
