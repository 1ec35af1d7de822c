// SPDX-License-Identifier: Apache-2.0
/*
 * The guard on real devices and real connections, in networks of its own: each hook bans whom it
 * should and nobody else, and XDP gets on with others on the device, with what a process before
 * has left, and with devices that come and go (GRD-4, GRD-6, GRD-7). Without the rights to load
 * programs and to make networks there is nothing to test.
 */
#include "unit.h"

#include "bpfctl/guard_inside.h"
#include "bpfctl/guard_xdp.h"
#include "guard_packets.h"
#include "two_hosts.h"

#include <bpf/bpf.h>

#define PINS "/sys/fs/bpf/pins"
#define SECOND 1000000000ull

static struct client client;
static int listener = -1;
static bool able, dispatched;
static struct bpfctl_guard *guard;
static char error[BPFCTL_ERROR_SIZE];

static struct bpfctl_guard *load(const char *pins)
{
	const struct bpfctl_guard_params params = { .pin_path = pins,
		.max_bans = 16,
		.max_sources = 5000,
		.max_rules = 16,
		.max_services = 8 };
	const struct hm_guard_config config = { .ipv4_bits = 32, .ipv6_bits = 64 };
	struct hm_guard_service services[3] = { { .port = htons(SERVER_PORT) },
		{ .port = htons(SERVER_PORT) }, { .port = htons(SERVER_PORT) } };
	struct bpfctl_guard *made;

	assert_int_equal(bpfctl_guard_load(&params, &made, error), 0);
	guard_address(SERVER_V4, services[0].addr);
	guard_address(SERVER_V6, services[1].addr);
	guard_address(SERVER_VLAN, services[2].addr);
	bpfctl_guard_configure(made, &config);
	assert_int_equal(bpfctl_guard_services_set(made, services, 3), 0);
	bpfctl_guard_beat(made, guard_now_ns() + 3600 * SECOND);
	return made;
}

static void ban(const char *text, __u64 for_ns)
{
	struct hm_guard_ban row = {
		.until_ns = guard_now_ns() + for_ns, .since_ns = guard_now_ns(), .reason = 1
	};
	struct hm_guard_source source;

	guard_address(text, source.addr);
	assert_int_equal(bpfctl_guard_ban_set(guard, &source, &row), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!able)
		return 0;
	guard = load(NULL);
	return client_join(&client) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	if (!able)
		return 0;
	bpfctl_guard_free(guard);
	guard = NULL;
	return guard_xdp_detach_all(error) < 0 ? -1 : 0;
}

static void need_all(void)
{
	if (!able)
		skip_because("no programs or no network namespace here");
}

/* Some kernels refuse the dispatcher's programs: then a device has one program, by a link. */
static void need_dispatcher(void)
{
	need_all();
	if (!dispatched)
		skip_because("this kernel refuses the programs of a dispatcher");
}

static unsigned server_device(void)
{
	return if_nametoindex("server");
}

static const struct guard_xdp_device *device(void)
{
	size_t count;
	const struct guard_xdp_device *devices = guard_xdp_devices(guard, &count);

	assert_int_equal(count, 1);
	return devices;
}

static __u64 counted(enum hm_guard_verdict verdict)
{
	struct hm_guard_count counts[HM_GUARD_VERDICTS];

	assert_int_equal(bpfctl_guard_counts(guard, counts), 0);
	return counts[verdict].packets;
}

/* ---- bans ---- */

/* refused: what a banned client gets. A session that is open goes on, and when the ban is over, the
 * client connects again. */
static void bans(enum ask connect_by, const char *source, int refused)
{
	int fd;

	assert_int_equal(client_ask(&client, connect_by), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0 && server_hears(&client, fd));
	ban(source, 3600 * SECOND);
	assert_int_equal(client_ask_within(&client, connect_by,
				 refused == -ETIMEDOUT ? DROPPED_MS : CONNECT_MS),
		refused);
	assert_true(server_hears(&client, fd));
	assert_true(counted(HM_GUARD_BANNED) > 0);
	ban(source, SECOND / 10);
	usleep(150000);
	assert_int_equal(client_ask(&client, connect_by), 0);
	close(fd);
	close(accept(listener, NULL, NULL));
}

static void test_GRD_4_socket_lookup_refuses_new_connections(void **state)
{
	(void)state;
	need_all();
	assert_int_equal(bpfctl_guard_lookup_attach(guard, error), 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ECONNREFUSED);
	bans(ASK_CONNECT_V6, "fd00:18::", -ECONNREFUSED);
}

static void test_GRD_4_xdp_drops_new_connections(void **state)
{
	(void)state;
	need_all();
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(device()->way, dispatched ? GUARD_XDP_DISPATCHER : GUARD_XDP_LINK);
	assert_int_equal(!*device()->why, dispatched);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
	bans(ASK_CONNECT_V6, "fd00:18::", -ETIMEDOUT);
}

static void test_GRD_4_generic_xdp_drops_new_connections(void **state)
{
	(void)state;
	need_all();
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_GENERIC, error), 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
}

static void test_GRD_4_without_heartbeat_whoever_is_banned_connects(void **state)
{
	(void)state;
	need_all();
	assert_int_equal(bpfctl_guard_lookup_attach(guard, error), 0);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	ban(CLIENT_V4, 3600 * SECOND);
	assert_int_equal(client_ask_within(&client, ASK_CONNECT_V4, DROPPED_MS), -ETIMEDOUT);
	bpfctl_guard_beat(guard, 0);
	assert_int_equal(client_ask(&client, ASK_CONNECT_V4), 0);
	close(accept(listener, NULL, NULL));
}

/* With both hooks a connection counts once. */
static void test_GRD_4_two_hooks_count_a_connection_once(void **state)
{
	(void)state;
	need_all();
	assert_int_equal(bpfctl_guard_lookup_attach(guard, error), 0);
	assert_int_equal(client_ask(&client, ASK_CONNECT_V4), 0);
	assert_int_equal(counted(HM_GUARD_NEW), 1);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(client_ask(&client, ASK_CONNECT_V4), 0);
	assert_int_equal(counted(HM_GUARD_NEW), 2);
	close(accept(listener, NULL, NULL));
	close(accept(listener, NULL, NULL));
}

/* ---- devices on devices ---- */

static void on_a_vlan(enum guard_xdp_mode mode)
{
	need_all();
	if (vlan_add("server.5", "server", SERVER_VLAN "/24") < 0)
		skip_because("this kernel has no VLAN devices");
	assert_int_equal(client_ask(&client, ASK_VLAN), 0);
	assert_int_equal(guard_xdp_attach(guard, server_device(), mode, error), 0);
	bans(ASK_CONNECT_VLAN, CLIENT_VLAN, -ETIMEDOUT);
}

/* XDP on the device below sees the tag. */
static void test_GRD_4_connections_of_a_vlan(void **state)
{
	(void)state;
	on_a_vlan(GUARD_XDP_NATIVE);
}

/* Here it has been taken off the packet before. */
static void test_GRD_4_connections_of_a_vlan_in_generic_mode(void **state)
{
	(void)state;
	on_a_vlan(GUARD_XDP_GENERIC);
}

static void test_GRD_4_connections_over_a_bridge(void **state)
{
	int made;

	(void)state;
	need_all();
	made = bridge_add("bridge", "server", SERVER_V4 "/24");
	if (made < 0)
		skip_because("this kernel has no bridges");
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
	assert_int_equal(link_delete("bridge"), 0);
}

/* A bond hands its program to the devices below, which then take none of their own. */
static void on_a_bond(enum guard_xdp_mode mode)
{
	need_all();
	if (bond_add("bond", "server", SERVER_V4 "/24") < 0)
		skip_because("this kernel has no bonds");
	assert_int_equal(guard_xdp_attach(guard, if_nametoindex("bond"), mode, error), 0);
	assert_true(guard_xdp_attach(guard, server_device(), mode, error) < 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
	assert_int_equal(guard_xdp_detach(guard, if_nametoindex("bond")), 0);
	assert_int_equal(link_delete("bond"), 0);
}

static void test_GRD_4_connections_over_a_bond(void **state)
{
	(void)state;
	on_a_bond(GUARD_XDP_NATIVE);
}

static void test_GRD_4_connections_over_a_bond_in_generic_mode(void **state)
{
	(void)state;
	on_a_bond(GUARD_XDP_GENERIC);
}

/* ---- others on the device ---- */

/* Another router's guard, which is alive: it stays, and both see the packet. */
static void test_GRD_6_two_programs_on_one_device(void **state)
{
	struct bpfctl_guard *other, *first;
	struct hm_guard_count counts[HM_GUARD_VERDICTS];

	(void)state;
	need_dispatcher();
	other = load(NULL);
	assert_int_equal(guard_xdp_attach(other, server_device(), GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(device()->way, GUARD_XDP_DISPATCHER);
	assert_int_equal(guard_xdp_sweep(guard, error), 0);
	assert_int_equal(client_ask(&client, ASK_CONNECT_V4), 0);
	close(accept(listener, NULL, NULL));
	assert_int_equal(counted(HM_GUARD_NEW), 1);
	assert_int_equal(bpfctl_guard_counts(other, counts), 0);
	assert_int_equal(counts[HM_GUARD_NEW].packets, 1);
	assert_int_equal(guard_xdp_detach(guard, server_device()), 0);
	first = guard;
	guard = other;
	ban(CLIENT_V4, 3600 * SECOND);
	assert_int_equal(client_ask_within(&client, ASK_CONNECT_V4, DROPPED_MS), -ETIMEDOUT);
	guard = first;
	bpfctl_guard_free(other);
}

static int pass_program(void)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", code, ARRAY_SIZE(code), NULL);
}

static void test_GRD_6_a_program_without_dispatcher_is_not_forced_out(void **state)
{
	int program, link;

	(void)state;
	need_all();
	program = pass_program();
	assert_true(program >= 0);
	link = bpf_link_create(program, (int)server_device(), BPF_XDP, NULL);
	assert_true(link >= 0);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_AUTO, error), -EBUSY);
	assert_string_equal(error, "somebody else's XDP program is there, without a dispatcher");
	close(link);
	close(program);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_AUTO, error), 0);
	assert_int_equal(device()->mode, GUARD_XDP_NATIVE);
}

/* ---- no dispatcher ---- */

static void test_GRD_6_without_dispatcher_a_link(void **state)
{
	(void)state;
	need_all();
	setenv("LIBXDP_OBJECT_PATH", "/nowhere", 1);
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	unsetenv("LIBXDP_OBJECT_PATH");
	assert_int_equal(device()->way, GUARD_XDP_LINK);
	assert_non_null(strstr(device()->why, "no dispatcher: "));
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
	assert_int_equal(guard_xdp_detach(guard, server_device()), 0);
	ban(CLIENT_V4, 3600 * SECOND);
	assert_int_equal(client_ask(&client, ASK_CONNECT_V4), 0);
	close(accept(listener, NULL, NULL));
}

static void test_GRD_6_a_device_that_refuses_native_mode(void **state)
{
	unsigned loopback = if_nametoindex("lo");

	(void)state;
	need_all();
	assert_true(guard_xdp_attach(guard, loopback, GUARD_XDP_NATIVE, error) < 0);
	assert_true(*error);
	assert_int_equal(guard_xdp_attach(guard, loopback, GUARD_XDP_AUTO, error), 0);
	assert_int_equal(device()->mode, GUARD_XDP_GENERIC);
	assert_non_null(strstr(device()->why, "native: "));
}

static void test_GRD_7_a_link_without_rights(void **state)
{
	int status;
	pid_t child;

	(void)state;
	need_all();
	child = fork();
	if (child == 0) {
		struct hm_guard_source source = { { 1 } };
		struct hm_guard_ban row = { .until_ns = guard_now_ns() };
		const struct bpfctl_guard_line line = { .prefix.bits = 128,
			.rule.action = HM_GUARD_DENY };

		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		if (guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error) < 0)
			_exit(2);
		if (device()->way != GUARD_XDP_LINK)
			_exit(3);
		if (bpfctl_guard_ban_set(guard, &source, &row) < 0 ||
			bpfctl_guard_lists_set(guard, &line, 1) < 0 ||
			bpfctl_guard_services_set(guard, NULL, 0) < 0)
			_exit(4);
		_exit(guard_xdp_detach(guard, server_device()) < 0 ? 5 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- processes and devices that go ---- */

static void die_attached(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct bpfctl_guard *dying = load(PINS);

		if (guard_xdp_attach(dying, server_device(), GUARD_XDP_NATIVE, error) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
}

static void test_GRD_6_the_next_start_replaces_what_was_left(void **state)
{
	(void)state;
	need_dispatcher();
	bpfctl_guard_free(guard);
	guard = NULL;
	die_attached();
	guard = load(PINS); /* what died had given a sign of life for an hour */
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(device()->way, GUARD_XDP_DISPATCHER);
	assert_int_equal(guard_xdp_sweep(guard, error), 1);
	assert_int_equal(guard_xdp_sweep(guard, error), 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
	assert_int_equal(guard_xdp_detach(guard, server_device()), 0);
	assert_int_equal(guard_xdp_detach_all(error), 0);
}

static void test_GRD_6_what_was_left_can_be_removed(void **state)
{
	(void)state;
	need_dispatcher();
	die_attached();
	die_attached();
	assert_int_equal(guard_xdp_detach_all(error), 2);
	assert_int_equal(guard_xdp_detach_all(error), 0);
}

static void test_GRD_6_devices_that_vanish_and_come_again(void **state)
{
	unsigned before = server_device();

	(void)state;
	need_all();
	assert_int_equal(guard_xdp_attach(guard, before, GUARD_XDP_NATIVE, error), 0);
	assert_int_equal(link_delete("server"), 0);
	assert_int_equal(guard_xdp_attach(guard, 9999, GUARD_XDP_AUTO, error), -ENODEV);
	guard_xdp_forget(guard, before);
	guard_xdp_forget(guard, before);
	assert_true(client_join(&client));
	assert_int_equal(guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error), 0);
	bans(ASK_CONNECT_V4, CLIENT_V4, -ETIMEDOUT);
}

/* ---- all of it ---- */

static bool can_load(void)
{
	const struct bpfctl_guard_params params = { .max_bans = 1 };
	struct bpfctl_guard *made = NULL;
	int r = bpfctl_guard_load(&params, &made, error);

	bpfctl_guard_free(made);
	return r == 0;
}

static bool can_dispatch(void)
{
	bool can;

	guard = load(NULL);
	can = guard_xdp_attach(guard, server_device(), GUARD_XDP_NATIVE, error) == 0 &&
		device()->way == GUARD_XDP_DISPATCHER;
	if (guard_xdp_detach(guard, server_device()) < 0)
		abort();
	bpfctl_guard_free(guard);
	return can;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_GRD_4_socket_lookup_refuses_new_connections),
		TEST(test_GRD_4_xdp_drops_new_connections),
		TEST(test_GRD_4_generic_xdp_drops_new_connections),
		TEST(test_GRD_4_without_heartbeat_whoever_is_banned_connects),
		TEST(test_GRD_4_two_hooks_count_a_connection_once),
		TEST(test_GRD_4_connections_of_a_vlan),
		TEST(test_GRD_4_connections_of_a_vlan_in_generic_mode),
		TEST(test_GRD_4_connections_over_a_bridge),
		TEST(test_GRD_4_connections_over_a_bond),
		TEST(test_GRD_4_connections_over_a_bond_in_generic_mode),
		TEST(test_GRD_6_two_programs_on_one_device),
		TEST(test_GRD_6_a_program_without_dispatcher_is_not_forced_out),
		TEST(test_GRD_6_without_dispatcher_a_link),
		TEST(test_GRD_6_a_device_that_refuses_native_mode),
		TEST(test_GRD_6_the_next_start_replaces_what_was_left),
		TEST(test_GRD_6_what_was_left_can_be_removed),
		TEST(test_GRD_6_devices_that_vanish_and_come_again),
		TEST(test_GRD_7_a_link_without_rights),
	};
	int r;

	able = can_load() && isolate() && client_start(&client) && client_join(&client);
	if (able)
		listener = server_listen();
	dispatched = able && can_dispatch();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	if (able)
		client_stop(&client);
	return r;
}
