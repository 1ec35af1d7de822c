// SPDX-License-Identifier: Apache-2.0
/* From accounts to nodes: several at once, delays, and what is stopped on the way. */
#include "unit.h"

#include "base/clock.h"
#include "reach/reach.h"
#include "unit/file_mapping.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fixture {
	struct loop loop;
	struct router router;
	struct reaches reaches;
	struct addr client;
	char path[64];
} f;

struct owner {
	struct reach reach;
	int holds, lookups, found, done;
	enum reach_failure failure;
	enum reach_phase at;
	char node[MAPPING_NAME_BYTES + 1];
	bool from_loop;
	bool stops; /* when it has come to the lookup */
};

static void on_phase(void *arg, enum reach_phase phase)
{
	struct owner *owner = arg;

	assert_int_equal(owner->reach.phase, phase);
	owner->holds += phase == REACH_HOLD;
	owner->lookups += phase == REACH_LOOKUP;
	if (owner->stops && phase == REACH_LOOKUP)
		reach_stop(&owner->reach);
}

static void on_found(void *arg, const struct mapping_answer *answer)
{
	struct owner *owner = arg;

	assert_int_equal(owner->reach.phase, REACH_IDLE);
	owner->found++;
	owner->from_loop = owner->reach.from_loop;
	snprintf(owner->node, sizeof(owner->node), "%s", answer->destination);
}

static void on_done(void *arg, enum reach_failure failure, enum reach_phase at)
{
	struct owner *owner = arg;

	assert_int_equal(owner->reach.phase, REACH_IDLE);
	owner->done++;
	owner->failure = failure;
	owner->at = at;
	owner->from_loop = owner->reach.from_loop;
}

static const struct reach_ops ops = { .phase = on_phase, .found = on_found, .done = on_done };

static int setup(void **state)
{
	static const char *const names[] = { "node1", "node2", NULL };
	static const char accounts[] = "alice node1\nbob node2\n";
	int fd;

	(void)state;
	memset(&f, 0, sizeof(f));
	strcpy(f.path, "/tmp/homing-reach-XXXXXX");
	fd = mkstemp(f.path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, accounts, sizeof(accounts) - 1), sizeof(accounts) - 1);
	close(fd);
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(holds_new(&f.router.holds), 0);
	f.router.mapping = file_mapping(&f.loop, f.path, names, 60000, 10000);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:40000"), &f.client), 0);
	reaches_init(&f.reaches, &f.router, &f.loop, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	reaches_fini(&f.reaches);
	mapping_free(f.router.mapping);
	holds_free(f.router.holds);
	loop_fini(&f.loop);
	unlink(f.path);
	return 0;
}

static void start(struct owner *owner, const char *account)
{
	struct reach_params params = {
		.ops = &ops, .arg = owner, .reaches = &f.reaches, .client = &f.client
	};
	char *mine = strdup(account);

	assert_non_null(mine);
	reach_start(&owner->reach, &params, mine);
	memset(mine, 'x', strlen(mine)); /* it is not needed any more */
	free(mine);
}

static void run_until_found(struct owner *owner)
{
	uint64_t end = clock_mono_ms() + 20000;

	while (!owner->found && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	assert_int_equal(owner->found, 1);
	assert_int_equal(owner->done, 0);
}

/* Long enough for an answer that must not come. */
static void run_a_little(void)
{
	uint64_t end = clock_mono_ms() + 100;

	while (clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
}

static void test_several_at_once(void **state)
{
	struct owner alice = { 0 }, bob = { 0 }, again = { 0 };

	(void)state;
	start(&alice, "alice");
	start(&bob, "bob");
	assert_int_equal(alice.found + bob.found, 0);
	run_until_found(&alice);
	run_until_found(&bob);
	assert_string_equal(alice.node, "node1");
	assert_string_equal(bob.node, "node2");
	assert_true(alice.from_loop);
	assert_int_equal(alice.holds, 0);
	assert_int_equal(alice.lookups, 1);
	start(&again, "bob"); /* a hit of the cache is answered inside */
	assert_int_equal(again.found, 1);
	assert_false(again.from_loop);
	assert_string_equal(again.node, "node2");
}

static void test_what_is_stopped_is_never_called(void **state)
{
	struct owner alice = { 0 }, bob = { .stops = true }, other = { 0 };

	(void)state;
	start(&alice, "alice");
	reach_stop(&alice.reach);
	reach_stop(&alice.reach); /* again */
	start(&bob, "bob");       /* stops itself in its callback */
	assert_int_equal(bob.reach.phase, REACH_IDLE);
	start(&other, "alice"); /* takes the place that was left: not its answer */
	run_until_found(&other);
	run_a_little();
	assert_int_equal(other.found, 1);
	assert_int_equal(alice.found + alice.done, 0);
	assert_int_equal(bob.found + bob.done, 0);
	assert_int_equal(bob.lookups, 1);
}

static void hold(const char *account, uint64_t ms)
{
	assert_int_equal(
		holds_set(f.router.holds, view_str(account), ms ? clock_mono_ms() + ms : 0), 0);
}

/* SES-43: until the delay is over, or is taken back. */
static void test_SES_43_a_delay_that_passes_or_is_taken_back(void **state)
{
	struct owner alice = { 0 }, bob = { 0 };

	(void)state;
	hold("alice", 50);
	hold("bob", 60000);
	start(&alice, "alice");
	start(&bob, "bob");
	assert_int_equal(alice.holds, 1);
	assert_int_equal(alice.lookups, 0);
	run_until_found(&alice);
	assert_int_equal(alice.lookups, 1);
	assert_true(alice.from_loop);
	reaches_holds_changed(&f.reaches); /* not bob's */
	run_a_little();
	assert_int_equal(bob.lookups, 0);
	hold("bob", 0);
	reaches_holds_changed(&f.reaches);
	run_until_found(&bob);
	assert_string_equal(bob.node, "node2");
	assert_int_equal(atomic_load(&f.router.held), 2);
}

/* Whoever is stopped while it waits is not counted any more. */
static void test_a_hold_is_left(void **state)
{
	static struct owner owners[HOLDS_WAITING_PER_ACCOUNT], crowded, last;

	(void)state;
	memset(owners, 0, sizeof(owners));
	crowded = last = (struct owner){ 0 };
	hold("alice", 60000);
	for (int i = 0; i < HOLDS_WAITING_PER_ACCOUNT; i++)
		start(&owners[i], "alice");
	start(&crowded, "alice");
	assert_int_equal(crowded.done, 1);
	assert_int_equal(crowded.failure, UNREACHED_CROWDED);
	assert_int_equal(crowded.at, REACH_IDLE);
	assert_int_equal(crowded.holds, 0);
	reach_stop(&owners[7].reach);
	start(&last, "alice");
	assert_int_equal(last.holds, 1);
	assert_int_equal(last.found + last.done, 0);
	reach_stop(&last.reach);
	for (int i = 0; i < HOLDS_WAITING_PER_ACCOUNT; i++)
		reach_stop(&owners[i].reach);
	hold("alice", 0);
	reaches_holds_changed(&f.reaches);
	run_a_little();
	assert_int_equal(owners[0].found + owners[7].found + last.found, 0);
	assert_int_equal(owners[0].done + owners[7].done + last.done, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_several_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_stopped_is_never_called, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_SES_43_a_delay_that_passes_or_is_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_hold_is_left, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
