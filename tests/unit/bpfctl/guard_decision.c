// SPDX-License-Identifier: Apache-2.0
/* The guard's decision, packet by packet (GRD-4). Each packet is judged by its verdict and by the
 * one counter that it moves. */
#include "unit.h"

#include "guard_loaded.h"

/* ---- the order ---- */

static void test_GRD_4_services_and_first_packets_alone(void **state)
{
	(void)state;
	need_guard();
	expect(PACKET(.from = BANNED), XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = "198.51.100.6"), XDP_PASS, HM_GUARD_NEW);
	expect(PACKET(.from = BANNED, .flags = ACK), XDP_PASS, HM_GUARD_ESTABLISHED);
	expect(PACKET(.from = BANNED, .flags = ACK | FIN), XDP_PASS, HM_GUARD_ESTABLISHED);
	expect(PACKET(.from = BANNED, .flags = RST), XDP_PASS, HM_GUARD_ESTABLISHED);
	/* the answer to a connection of ours */
	expect(PACKET(.from = BANNED, .flags = SYN | ACK), XDP_PASS, HM_GUARD_ESTABLISHED);
	expect(PACKET(.from = BANNED, .port = 22), XDP_PASS, HM_GUARD_OTHER);
	expect(PACKET(.from = BANNED, .to = "192.0.2.11"), XDP_PASS, HM_GUARD_OTHER);
	expect(PACKET(.from = BANNED6, .to = "2001:db8::11"), XDP_PASS, HM_GUARD_OTHER);
	expect(PACKET(.from = BANNED, .protocol = 17), XDP_PASS, HM_GUARD_VERDICTS);
}

static void test_GRD_4_scope_all_ends_open_connections(void **state)
{
	(void)state;
	need_guard();
	configure(1, 0, 0, 0);
	expect(PACKET(.from = BANNED, .flags = ACK), XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = "203.0.113.5", .flags = ACK), XDP_DROP, HM_GUARD_DENIED);
	expect(PACKET(.from = "198.51.100.6", .flags = ACK), XDP_PASS, HM_GUARD_ESTABLISHED);
	expect(PACKET(.from = BANNED, .flags = ACK, .port = 22), XDP_PASS, HM_GUARD_OTHER);
}

static void test_GRD_4_no_heartbeat_passes_everything(void **state)
{
	(void)state;
	need_guard();
	bpfctl_guard_beat(guard, guard_now_ns() - 1000000000);
	expect(PACKET(.from = BANNED), XDP_PASS, HM_GUARD_INERT);
	expect(PACKET(.from = "203.0.113.5"), XDP_PASS, HM_GUARD_INERT);
	expect(PACKET(.from = BANNED, .flags = ACK), XDP_PASS, HM_GUARD_ESTABLISHED);
	bpfctl_guard_beat(guard, guard_now_ns() + HOUR);
	expect(PACKET(.from = BANNED), XDP_DROP, HM_GUARD_BANNED);
}

static void test_GRD_4_longest_prefix_of_the_lists_then_bans(void **state)
{
	(void)state;
	need_guard();
	expect(PACKET(.from = "203.0.113.5"), XDP_DROP, HM_GUARD_DENIED);
	expect(PACKET(.from = "203.0.113.129"), XDP_PASS, HM_GUARD_ALLOWED);
	expect(PACKET(.from = "203.0.113.200"), XDP_DROP, HM_GUARD_DENIED);
	expect(PACKET(.from = "198.51.100.8"), XDP_PASS,
		HM_GUARD_ALLOWED);                                     /* in spite of its ban */
	expect(PACKET(.from = "203.0.114.5"), XDP_PASS, HM_GUARD_NEW); /* the line is over */
	expect(PACKET(.from = "203.0.115.5"), XDP_DROP, HM_GUARD_DENIED);
	expect(PACKET(.from = "2001:db8:bad:1::1"), XDP_DROP, HM_GUARD_DENIED);
	expect(PACKET(.from = "2001:db8:bae:1::1"), XDP_PASS, HM_GUARD_NEW);
	expect(PACKET(.from = "198.51.100.9"), XDP_PASS, HM_GUARD_NEW); /* the ban is over */
}

static void test_GRD_4_sources_are_cut_to_their_prefix(void **state)
{
	struct hm_guard_source over = source_of("198.51.100.9");

	(void)state;
	need_guard();
	expect(PACKET(.from = "2001:db8:1:2:3:4:5:6"), XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = "2001:db8:1:3:3:4:5:6"), XDP_PASS, HM_GUARD_NEW);
	config.ipv4_bits = 24;
	config.ipv6_bits = 49;
	bpfctl_guard_configure(guard, &config);
	bpfctl_guard_ban_remove(guard, &over);
	ban("198.51.101.0", HOUR);
	expect(PACKET(.from = "198.51.101.77"), XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = "198.51.102.77"), XDP_PASS, HM_GUARD_NEW);
	expect(PACKET(.from = "2001:db8:1:2::9"), XDP_PASS, HM_GUARD_NEW);
}

static void test_GRD_4_observe_drops_nothing(void **state)
{
	(void)state;
	need_guard();
	configure(0, 1, 0, 0);
	expect(PACKET(.from = BANNED), XDP_PASS, HM_GUARD_BANNED);
	expect(PACKET(.from = "203.0.113.5"), XDP_PASS, HM_GUARD_DENIED);
	assert_int_equal(ban_of(BANNED).dropped, 1);
}

/* 10 s a connection: nothing comes back while the test runs, however slow the machine. */
static void test_GRD_4_rates_by_source(void **state)
{
	(void)state;
	need_guard();
	configure(0, 0, 10000000000ull, 5);
	assert_in_range(passed_of(PACKET(.from = "198.51.100.20"), 50), 5, 6);
	expect(PACKET(.from = "198.51.100.20"), XDP_DROP, HM_GUARD_RATE);
	expect(PACKET(.from = "198.51.100.20", .flags = ACK), XDP_PASS, HM_GUARD_ESTABLISHED);
	expect(PACKET(.from = "198.51.100.21"), XDP_PASS, HM_GUARD_NEW);
	configure(0, 0, 1000000, 5); /* 1 ms a connection: all come back, but over what is owed */
	bpfctl_guard_configure(guard, &config);
	assert_in_range(passed_of(PACKET(.from = "198.51.100.22"), 5), 5, 5);
	configure(0, 0, 0, 0);
	assert_int_equal(passed_of(PACKET(.from = "198.51.100.20"), 50), 50);
}

static void test_GRD_4_rates_come_back(void **state)
{
	(void)state;
	need_guard();
	configure(0, 0, 20000000, 5);
	assert_true(passed_of(PACKET(.from = "198.51.100.23"), 50) < 50);
	usleep(150000); /* more than 5 of 20 ms */
	assert_true(passed_of(PACKET(.from = "198.51.100.23"), 4) == 4);
}

/* ---- headers ---- */

static void test_GRD_4_two_vlan_tags(void **state)
{
	(void)state;
	need_guard();
	for (unsigned tags = 0; tags <= 2; tags++) {
		expect(PACKET(.from = BANNED, .vlans = tags), XDP_DROP, HM_GUARD_BANNED);
		expect(PACKET(.from = BANNED6, .vlans = tags), XDP_DROP, HM_GUARD_BANNED);
	}
	expect(PACKET(.from = BANNED, .vlans = 3), XDP_PASS, HM_GUARD_VERDICTS);
}

static void test_GRD_4_ipv4_options(void **state)
{
	(void)state;
	need_guard();
	for (unsigned words = 1; words <= 10; words++)
		expect(PACKET(.from = BANNED, .options = words), XDP_DROP, HM_GUARD_BANNED);
}

static void test_GRD_4_six_extension_headers(void **state)
{
	static const unsigned char kinds[] = { HOP_BY_HOP, ROUTING, DESTINATION, AH };
	struct shape shape = *PACKET(.from = BANNED6);

	(void)state;
	need_guard();
	for (unsigned set = 1; set < 16; set++) {
		shape.extension_count = 0;
		for (unsigned i = 0; i < 4; i++) {
			if (set & 1u << i)
				shape.extensions[shape.extension_count++] = kinds[i];
		}
		expect(&shape, XDP_DROP, HM_GUARD_BANNED);
	}
	memset(shape.extensions, DESTINATION, sizeof(shape.extensions));
	for (shape.extension_count = 1; shape.extension_count <= 6; shape.extension_count++)
		expect(&shape, XDP_DROP, HM_GUARD_BANNED);
	expect(&shape, XDP_PASS, HM_GUARD_VERDICTS); /* seven */
	shape.extension_count = 1;
	shape.extensions[0] = ESP;
	expect(&shape, XDP_PASS, HM_GUARD_VERDICTS);
}

static void test_GRD_4_fragments(void **state)
{
	(void)state;
	need_guard();
	expect(PACKET(.from = BANNED, .fragment = FIRST_FRAGMENT), XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = BANNED, .fragment = LATER_FRAGMENT), XDP_PASS, HM_GUARD_FRAGMENT);
	expect(PACKET(.from = BANNED6, .fragment = FIRST_FRAGMENT, .extensions = { FRAGMENT },
		       .extension_count = 1),
		XDP_DROP, HM_GUARD_BANNED);
	expect(PACKET(.from = BANNED6, .fragment = LATER_FRAGMENT, .extensions = { FRAGMENT },
		       .extension_count = 1),
		XDP_PASS, HM_GUARD_FRAGMENT);
}

/* IP in IP, IP in IPv6, GRE: what is inside is for the other layers. */
static void test_GRD_4_tunnels_pass(void **state)
{
	static const unsigned char protocols[] = { 4, 41, 47 };

	(void)state;
	need_guard();
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		expect(PACKET(.from = BANNED, .protocol = protocols[i]), XDP_PASS,
			HM_GUARD_VERDICTS);
		expect(PACKET(.from = BANNED6, .protocol = protocols[i]), XDP_PASS,
			HM_GUARD_VERDICTS);
	}
}

/* Until the whole TCP header is there it passes; the kernel takes no frame without its Ethernet
 * header. */
static void cut_everywhere(const struct shape *shape, unsigned tcp)
{
	unsigned char packet[PACKET_SIZE];
	unsigned len = make_packet(packet, shape);

	assert_int_equal(len, tcp + 20);
	for (unsigned n = 14; n < len; n++)
		expect_bytes(packet, n, XDP_PASS, n >= tcp ? HM_GUARD_CUT : HM_GUARD_VERDICTS);
	expect_bytes(packet, len, XDP_DROP, HM_GUARD_BANNED);
}

static void test_GRD_4_cut_at_every_byte(void **state)
{
	unsigned char packet[PACKET_SIZE];
	unsigned len = make_packet(packet, PACKET(.from = BANNED));

	(void)state;
	need_guard();
	for (unsigned n = 14; n < len; n++)
		expect_bytes(packet, n, XDP_PASS, n >= 34 ? HM_GUARD_CUT : HM_GUARD_VERDICTS);
	expect_bytes(packet, len, XDP_DROP, HM_GUARD_BANNED);
	cut_everywhere(PACKET(.from = BANNED, .vlans = 2), 14 + 8 + 20);
}

static void test_GRD_4_cut_ipv6_at_every_byte(void **state)
{
	unsigned char packet[PACKET_SIZE];
	const struct shape *shape =
		PACKET(.from = BANNED6, .vlans = 1, .extensions = { HOP_BY_HOP, FRAGMENT, AH },
			.extension_count = 3, .fragment = FIRST_FRAGMENT);
	unsigned len = make_packet(packet, shape), tcp = 14 + 4 + 40 + 16 + 8 + 24;

	(void)state;
	need_guard();
	assert_int_equal(len, tcp + 20);
	for (unsigned n = 14; n < len; n++) {
		/* of the last extension header two bytes say all that is asked of it */
		bool cut = n >= tcp - 24 + 2;

		expect_bytes(packet, n, XDP_PASS, cut ? HM_GUARD_CUT : HM_GUARD_VERDICTS);
	}
	expect_bytes(packet, len, XDP_DROP, HM_GUARD_BANNED);
}

/* Lengths that lie: whatever the header says, nothing behind the packet is read. */
static void test_GRD_4_extension_longer_than_the_packet(void **state)
{
	unsigned char packet[PACKET_SIZE];
	unsigned len = make_packet(packet,
		PACKET(.from = BANNED6, .extensions = { DESTINATION }, .extension_count = 1));

	(void)state;
	need_guard();
	for (unsigned units = 2; units < 256; units += 23) {
		packet[14 + 40 + 1] = (unsigned char)units;
		expect_bytes(packet, len, XDP_PASS, HM_GUARD_CUT);
	}
	len = make_packet(packet, PACKET(.from = BANNED));
	packet[14] = 0x44; /* a header of 16 octets (RFC 791 section 3.1: at least 20) */
	expect_bytes(packet, FRAME_MIN, XDP_PASS, HM_GUARD_VERDICTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_GRD_4_services_and_first_packets_alone),
		TEST(test_GRD_4_scope_all_ends_open_connections),
		TEST(test_GRD_4_no_heartbeat_passes_everything),
		TEST(test_GRD_4_longest_prefix_of_the_lists_then_bans),
		TEST(test_GRD_4_sources_are_cut_to_their_prefix),
		TEST(test_GRD_4_observe_drops_nothing),
		TEST(test_GRD_4_rates_by_source),
		TEST(test_GRD_4_rates_come_back),
		TEST(test_GRD_4_two_vlan_tags),
		TEST(test_GRD_4_ipv4_options),
		TEST(test_GRD_4_six_extension_headers),
		TEST(test_GRD_4_fragments),
		TEST(test_GRD_4_tunnels_pass),
		TEST(test_GRD_4_cut_at_every_byte),
		TEST(test_GRD_4_cut_ipv6_at_every_byte),
		TEST(test_GRD_4_extension_longer_than_the_packet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
