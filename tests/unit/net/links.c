// SPDX-License-Identifier: Apache-2.0
/* Devices that come, go and change, in a network namespace of this program's own. */
#include "unit/own_network.h"

#include "net/links.h"

#include <sys/wait.h>

#define CROWD 120

static struct fixture {
	struct loop loop;
	struct links *links;
	struct link_observer observer;
	unsigned came, changed, gone;
	struct link_info now, before; /* of the last call */
} f;

static void on_came(
	struct link_observer *observer, const struct link_info *now, const struct link_info *before)
{
	assert_ptr_equal(observer, &f.observer);
	assert_null(before);
	f.came++;
	f.now = *now;
}

static void on_changed(
	struct link_observer *observer, const struct link_info *now, const struct link_info *before)
{
	(void)observer;
	assert_int_equal(now->index, before->index);
	f.changed++;
	f.now = *now;
	f.before = *before;
}

static void on_gone(
	struct link_observer *observer, const struct link_info *now, const struct link_info *before)
{
	(void)observer;
	assert_null(before);
	assert_null(links_at(f.links, now->index));
	f.gone++;
	f.now = *now;
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.observer =
		(struct link_observer){ .came = on_came, .changed = on_changed, .gone = on_gone };
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(links_new(&f.loop, &f.links), 0);
	links_observe(f.links, &f.observer);
	f.came = 0; /* loopback, and what modules make in each namespace */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	links_unobserve(&f.observer);
	links_unobserve(&f.observer);
	links_free(f.links);
	loop_fini(&f.loop);
	return 0;
}

/* What ip(8) does, and what is told of it. */
static void after(const char *arguments)
{
	f.came = f.changed = f.gone = 0;
	ip(arguments);
	settle(&f.loop);
}

/* ---- tests ---- */

static void test_GRD_30_what_is_there_is_told_first(void **state)
{
	struct links *links;
	const struct link_info *lo = links_find(f.links, "lo");

	(void)state;
	assert_non_null(lo);
	assert_true(lo->loopback);
	assert_false(link_is_physical(lo));
	assert_ptr_equal(links_at(f.links, lo->index), lo);
	assert_null(links_find(f.links, "nosuch"));
	links_unobserve(&f.observer);
	assert_int_equal(links_new(&f.loop, &links), 0);
	f.came = 0;
	links_observe(links, &f.observer);
	assert_int_equal(f.came, links_count(links));
	links_free(links); /* forgets the observer, who need not */
}

static void test_GRD_30_comes_changes_goes(void **state)
{
	const struct link_info *link;

	(void)state;
	after("link add name one type ifb");
	assert_int_equal(f.came, 1);
	assert_string_equal(f.now.name, "one");
	assert_string_equal(f.now.kind, "ifb");
	assert_false(f.now.up);
	link = links_find(f.links, "one");
	assert_non_null(link);
	assert_true(link->ethernet);
	assert_false(link_is_physical(link));
	after("link set one up mtu 9000");
	assert_true(f.changed > 0);
	assert_true(f.now.up);
	assert_int_equal(f.now.mtu, 9000);
	after("link set one down");
	assert_true(f.before.up);
	assert_false(f.now.up);
	after("link del one");
	assert_int_equal(f.gone, 1);
	assert_string_equal(f.now.name, "one");
	assert_null(links_find(f.links, "one"));
}

static void test_GRD_30_renamed(void **state)
{
	int index;

	(void)state;
	after("link add name one type ifb");
	index = f.now.index;
	after("link set one name other");
	assert_int_equal(f.came, 0);
	assert_int_equal(f.gone, 0);
	assert_int_equal(f.changed, 1);
	assert_string_equal(f.before.name, "one");
	assert_string_equal(f.now.name, "other");
	assert_int_equal(f.now.index, index);
	assert_null(links_find(f.links, "one"));
	assert_non_null(links_find(f.links, "other"));
	after("link del other");
}

/* Leaving a bridge makes the kernel send RTM_DELLINK, of AF_BRIDGE. */
static void test_GRD_30_enslaved_and_freed(void **state)
{
	int bridge;

	(void)state;
	after("link add name bridge0 type bridge");
	bridge = f.now.index;
	after("link add name one type veth peer name two");
	assert_int_equal(f.came, 2);
	assert_string_equal(f.now.kind, "veth");
	after("link set one master bridge0");
	assert_int_equal(links_find(f.links, "one")->master, bridge);
	assert_int_equal(f.gone, 0);
	after("link set one nomaster");
	assert_int_equal(f.gone, 0);
	assert_non_null(links_find(f.links, "one"));
	assert_int_equal(links_find(f.links, "one")->master, 0);
	after("link set one master bridge0");
	after("link del bridge0");
	assert_int_equal(f.gone, 1);
	assert_int_equal(links_find(f.links, "one")->master, 0);
	after("link del one");
	assert_int_equal(f.gone, 2); /* with its peer */
}

/* As a VLAN does, which not every kernel has. */
static void test_GRD_30_goes_with_what_is_below(void **state)
{
	(void)state;
	after("link add name one type ifb");
	after("link add link one name upper type macvlan");
	assert_int_equal(f.came, 1);
	assert_string_equal(f.now.kind, "macvlan");
	assert_false(link_is_physical(&f.now));
	after("link del one");
	assert_int_equal(f.gone, 2);
	assert_null(links_find(f.links, "upper"));
}

static void test_physical_is_what_has_no_kind(void **state)
{
	struct link_info link = { .ethernet = true };

	(void)state;
	assert_true(link_is_physical(&link));
	link.loopback = true;
	assert_false(link_is_physical(&link));
	link = (struct link_info){ .name = "tunl0" };
	assert_false(link_is_physical(&link));
}

static void batch(const char *verb, int from, int to)
{
	FILE *to_ip = popen("ip -batch -", "w");

	assert_non_null(to_ip);
	for (int i = from; i < to; i++)
		fprintf(to_ip, "link %s d%d%s\n", verb, i,
			strcmp(verb, "add name") == 0 ? " group 7 type ifb" : "");
	assert_int_equal(pclose(to_ip), 0);
}

/* More messages than the socket holds, among them ends of devices that are never told. */
static void test_GRD_30_lost_messages_are_made_up_for(void **state)
{
	size_t before = links_count(f.links);

	(void)state;
	batch("add name", 0, 5);
	settle(&f.loop);
	assert_int_equal(links_count(f.links), before + 5);
	assert_int_equal(links_losses(f.links), 0);
	f.came = f.gone = 0;
	batch("add name", 5, CROWD);
	batch("del", 0, 10);
	settle(&f.loop);
	assert_int_equal(links_losses(f.links), 1);
	assert_int_equal(links_count(f.links), before + CROWD - 10);
	assert_null(links_find(f.links, "d3"));
	assert_null(links_find(f.links, "d7"));
	assert_non_null(links_find(f.links, "d11"));
	assert_int_equal(f.came - f.gone, CROWD - 10 - 5);
	assert_true(f.gone >= 5);
	after("link del group 7");
	assert_int_equal(links_count(f.links), before);
	assert_null(links_find(f.links, "d11"));
	after("link add name last type ifb"); /* and it goes on */
	assert_int_equal(f.came, 1);
	after("link del last");
}

/* As a process without capabilities, which is what the router is after its start. */
static void test_GRD_30_without_rights(void **state)
{
	pid_t child;
	int status, pipe_fds[2];
	char ready;

	(void)state;
	if (geteuid() != 0)
		return; /* all of this file is without rights then */
	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct links *links;
		struct loop loop;
		int ok;

		ok = setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0 &&
			loop_init(&loop) == 0 && links_new(&loop, &links) == 0;
		ok = ok && write(pipe_fds[1], "r", 1) == 1;
		for (int i = 0; ok && i < 100 && !links_find(links, "late"); i++)
			ok = loop_run_once(&loop, 100) == 0;
		_exit(ok && links_find(links, "late") ? 0 : 1);
	}
	assert_int_equal(close(pipe_fds[1]), 0);
	assert_int_equal(read(pipe_fds[0], &ready, 1), 1);
	close(pipe_fds[0]);
	ip("link add name late type ifb");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ip("link del late");
	settle(&f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_GRD_30_what_is_there_is_told_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_comes_changes_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_renamed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_enslaved_and_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_GRD_30_goes_with_what_is_below, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_GRD_30_lost_messages_are_made_up_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_without_rights, setup, teardown),
		cmocka_unit_test(test_physical_is_what_has_no_kind),
	};

	return cmocka_run_group_tests(tests, enter_own_network, NULL);
}
