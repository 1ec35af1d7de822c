// SPDX-License-Identifier: Apache-2.0
/* The times of mapping.md sections 8 and 9, to the millisecond, on a clock that the test moves; and
 * what each result of a store means. */
#include "unit.h"

#include "unit/fake_clock.h"

#include "mapping/mapping.h"

#define MINUTE 60000ull
#define POSITIVE (10 * MINUTE)
#define NEGATIVE 30000ull
#define GRACE (24 * 60 * MINUTE)

struct fake {
	struct store store;
	enum store_result result;
	const char *value;
	unsigned lookups, others, out, out_max;
	bool hold;
	struct store_request *held[16];
};

static void answer(struct fake *fake, struct store_request *request)
{
	request->result = fake->result;
	snprintf(request->value, sizeof(request->value), "%s", fake->value);
	snprintf(request->error, sizeof(request->error), "down");
	request->done(request);
}

static void fake_submit(struct store *store, struct store_request *request)
{
	struct fake *fake = (struct fake *)store;

	fake->lookups += request->op == STORE_LOOKUP;
	fake->others += request->op != STORE_LOOKUP;
	if (!fake->hold) {
		answer(fake, request);
		return;
	}
	fake->held[fake->out++] = request;
	fake->out_max = MAX(fake->out_max, fake->out);
}

static bool fake_writable(const struct store *store)
{
	(void)store;
	return true;
}

static int fake_reload(struct store *store, char error[STORE_ERROR_BYTES])
{
	(void)store;
	(void)error;
	return 0;
}

static void fake_free(struct store *store)
{
	struct fake *fake = (struct fake *)store;

	while (fake->out)
		answer(fake, fake->held[--fake->out]);
}

static const struct store_ops fake_ops = { .name = "fake",
	.submit = fake_submit,
	.writable = fake_writable,
	.reload = fake_reload,
	.free = fake_free };

static struct fixture {
	struct loop loop;
	struct fake fake;
	struct mapping *mapping;
	struct mapping_answer reply;
	unsigned replies, lost, back, unknown;
	uint64_t outage_ms;
} f;

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	f.reply = reply->answer;
	f.replies++;
	mapping_reply_free(reply);
}

static void on_event(void *arg, enum mapping_event event, const char *text, uint64_t outage_ms)
{
	(void)arg;
	(void)text;
	f.lost += event == MAPPING_STORE_LOST;
	f.back += event == MAPPING_STORE_BACK;
	f.unknown += event == MAPPING_UNKNOWN_DESTINATION;
	if (event == MAPPING_STORE_BACK)
		f.outage_ms = outage_ms;
}

static void setup(uint64_t negative_ttl_ms)
{
	static const char *const names[] = { "node1", "node2", NULL };
	struct mapping_params params = { .control = &f.loop,
		.store = &f.fake.store,
		.positive_ttl_ms = POSITIVE,
		.negative_ttl_ms = negative_ttl_ms,
		.stale_grace_ms = GRACE,
		.lookup_timeout_ms = 5000,
		.max_entries = 1000,
		.default_destination = "node1",
		.destinations = names };

	memset(&f, 0, sizeof(f));
	f.fake.store.ops = &fake_ops;
	f.fake.result = STORE_FOUND;
	f.fake.value = "node2";
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(mapping_new(&params, &f.mapping), 0);
	mapping_on_event(f.mapping, on_event, NULL);
}

static void teardown(void)
{
	mapping_free(f.mapping);
	mailbox_run(&f.loop.mailbox);
	loop_fini(&f.loop);
}

static void run(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(&f.loop, 0), 0);
}

static void pass(uint64_t ms)
{
	atomic_fetch_add(&fake_now_ms, ms);
	run();
}

/* Node of a login of alice now, how it was chosen, and whether the store was asked. */
static void expect(const char *node, enum mapping_choice choice, bool asked)
{
	unsigned before = f.fake.lookups, replies = f.replies;
	struct mapping_answer got;

	if (mapping_lookup(f.mapping, VIEW_LIT("alice"), &f.loop.mailbox, on_reply, 1, &got) ==
		MAPPING_PENDING) {
		run();
		assert_int_equal(f.replies, replies + 1);
		got = f.reply;
	}
	assert_string_equal(got.destination, node);
	assert_int_equal(got.choice, choice);
	assert_int_equal(f.fake.lookups - before, asked);
}

static struct mapping_stats stats(void)
{
	struct mapping_stats now;

	mapping_stats(f.mapping, &now);
	return now;
}

/* Section 8, "normal life of an entry". */
static void test_MAP_80_positive_to_stale(void **state)
{
	(void)state;
	setup(NEGATIVE);
	expect("node2", MAPPING_MAPPED, true);
	for (int i = 0; i < 9; i++) {
		pass(MINUTE);
		expect("node2", MAPPING_MAPPED, false); /* MAP-81: no hit extends it */
	}
	pass(MINUTE - 1);
	expect("node2", MAPPING_MAPPED, false);
	assert_int_equal(stats().entries, 1);
	pass(1);
	assert_int_equal(stats().entries, 0);
	assert_int_equal(stats().stale_entries, 1);
	pass(2 * MINUTE);
	f.fake.value = "node1";
	expect("node1", MAPPING_MAPPED, true);
	pass(POSITIVE - 1);
	expect("node1", MAPPING_MAPPED, false);
	pass(1);
	pass(GRACE);
	assert_int_equal(stats().stale_entries, 0);
	teardown();
}

static void test_MAP_80_negative(void **state)
{
	(void)state;
	setup(NEGATIVE);
	f.fake.result = STORE_NONE;
	expect("node1", MAPPING_DEFAULT, true);
	pass(5000);
	f.fake.result = STORE_FOUND; /* a row was added */
	pass(NEGATIVE - 5001);
	expect("node1", MAPPING_DEFAULT, false);
	pass(1);
	assert_int_equal(stats().stale_entries, 0); /* a negative entry is never stale */
	expect("node2", MAPPING_MAPPED, true);
	teardown();
}

/* Time counts from the end of the query, not from its start. */
static void test_MAP_80_times_count_from_the_answer(void **state)
{
	struct mapping_answer got;

	(void)state;
	setup(NEGATIVE);
	f.fake.hold = true;
	assert_int_equal(
		mapping_lookup(f.mapping, VIEW_LIT("alice"), &f.loop.mailbox, on_reply, 1, &got),
		MAPPING_PENDING);
	run();
	pass(4000);
	f.fake.hold = false;
	answer(&f.fake, f.fake.held[--f.fake.out]);
	run();
	pass(POSITIVE - 1);
	expect("node2", MAPPING_MAPPED, false);
	pass(1);
	expect("node2", MAPPING_MAPPED, true);
	teardown();
}

/* Section 9, the table of times: transient is 5 s, or negative_ttl if that is shorter. */
static void test_MAP_92_transient(void **state)
{
	static const struct {
		uint64_t negative_ms, transient_ms;
	} cases[] = { { NEGATIVE, 5000 }, { 2000, 2000 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(cases[i].negative_ms);
		f.fake.result = i ? STORE_TIMEOUT : STORE_ERROR;
		expect("node1", MAPPING_DEFAULT, true);
		assert_int_equal(stats().store_errors, 1);
		pass(cases[i].transient_ms - 1);
		expect("node1", MAPPING_DEFAULT, false);
		pass(1);
		f.fake.result = STORE_FOUND;
		expect("node2", MAPPING_MAPPED, true);
		assert_int_equal(stats().store_errors, 1);
		teardown();
	}
}

/* routing.on_store_failure = "unavailable": no guess where nothing is remembered; what the store
 * does say, and what is remembered, goes on as before. A reload takes it back at once. */
static void test_MAP_92_unavailable_instead_of_the_default(void **state)
{
	static const char *const names[] = { "node1", "node2", NULL };
	struct mapping_params params = { .control = &f.loop,
		.positive_ttl_ms = POSITIVE,
		.negative_ttl_ms = NEGATIVE,
		.stale_grace_ms = GRACE,
		.lookup_timeout_ms = 5000,
		.max_entries = 1000,
		.no_guess = true,
		.default_destination = "node1",
		.destinations = names };

	(void)state;
	setup(NEGATIVE);
	assert_int_equal(mapping_reconfigure(f.mapping, &params, false), 0);
	f.fake.result = STORE_ERROR;
	expect("", MAPPING_UNAVAILABLE, true);
	expect("", MAPPING_UNAVAILABLE, false); /* for the transient time */
	pass(5000);
	f.fake.result = STORE_NONE;
	expect("node1", MAPPING_DEFAULT, true); /* it says that there is none */
	pass(NEGATIVE);
	f.fake.result = STORE_FOUND;
	expect("node2", MAPPING_MAPPED, true);
	f.fake.result = STORE_TIMEOUT;
	pass(POSITIVE);
	expect("node2", MAPPING_STALE, true);
	pass(GRACE);
	expect("", MAPPING_UNAVAILABLE, true);
	params.no_guess = false;
	assert_int_equal(mapping_reconfigure(f.mapping, &params, false), 0);
	expect("node1", MAPPING_DEFAULT, false);
	teardown();
}

static void test_MAP_91_95_stale_until_the_grace_is_over(void **state)
{
	(void)state;
	setup(NEGATIVE);
	assert_int_equal(stats().store_state, MAPPING_STORE_UNKNOWN);
	expect("node2", MAPPING_MAPPED, true);
	assert_int_equal(stats().store_state, MAPPING_STORE_UP);
	f.fake.result = STORE_ERROR;
	pass(POSITIVE);
	expect("node2", MAPPING_STALE, true);
	assert_int_equal(stats().stale_served, 1);
	assert_int_equal(stats().store_state, MAPPING_STORE_DOWN);
	pass(4999);
	expect("node2", MAPPING_STALE, false); /* no query for the transient time */
	assert_int_equal(stats().stale_served, 1);
	pass(1);
	expect("node2", MAPPING_STALE, true);
	assert_int_equal(stats().stale_served, 2);
	assert_int_equal(stats().store_down_ms, 5000);
	pass(GRACE - 5001);
	expect("node2", MAPPING_STALE, true);
	pass(5000); /* its time + stale_grace is over meanwhile */
	expect("node1", MAPPING_DEFAULT, true);
	assert_int_equal(f.lost, 1); /* MAP-90: once */
	f.fake.result = STORE_FOUND;
	pass(5000);
	expect("node2", MAPPING_MAPPED, true);
	assert_int_equal(f.back, 1);
	assert_int_equal(f.outage_ms, GRACE + 5000 - 1 + 5000);
	assert_int_equal(stats().store_state, MAPPING_STORE_UP);
	assert_int_equal(stats().store_down_ms, 0);
	teardown();
}

/* MAP-1: whatever the store says, there is a declared node. */
static void test_MAP_1_3_every_outcome_has_a_node(void **state)
{
	static const struct {
		enum store_result result;
		const char *value, *node;
		enum mapping_choice choice;
	} cases[] = { { STORE_FOUND, "node2", "node2", MAPPING_MAPPED },
		{ STORE_FOUND, "node1", "node1", MAPPING_MAPPED }, /* MAP-3 */
		{ STORE_FOUND, "ghost", "node1", MAPPING_DEFAULT },
		{ STORE_FOUND, "NODE2", "node1", MAPPING_DEFAULT },
		{ STORE_NONE, "", "node1", MAPPING_DEFAULT },
		{ STORE_ERROR, "node2", "node1", MAPPING_DEFAULT },
		{ STORE_TIMEOUT, "node2", "node1", MAPPING_DEFAULT },
		{ STORE_READ_ONLY, "", "node1", MAPPING_DEFAULT } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NEGATIVE);
		f.fake.result = cases[i].result;
		f.fake.value = cases[i].value;
		expect(cases[i].node, cases[i].choice, true);
		expect(cases[i].node, cases[i].choice, false);
		pass(NEGATIVE); /* what is positive lives longer than what is not */
		expect(cases[i].node, cases[i].choice, cases[i].choice != MAPPING_MAPPED);
		teardown();
	}
}

static void test_MAP_30_one_query_at_a_time_per_account(void **state)
{
	static const char *const accounts[] = { "alice", "bob", "alice", "carol", "bob", "alice" };
	struct mapping_answer got;

	(void)state;
	setup(NEGATIVE);
	f.fake.hold = true;
	for (size_t i = 0; i < sizeof(accounts) / sizeof(accounts[0]); i++) {
		assert_int_equal(mapping_lookup(f.mapping, view_str(accounts[i]), &f.loop.mailbox,
					 on_reply, i, &got),
			MAPPING_PENDING);
		run();
	}
	assert_int_equal(f.fake.lookups, 3);
	assert_int_equal(f.fake.out_max, 3);
	assert_int_equal(stats().misses, 3);
	assert_int_equal(stats().coalesced, 3);
	while (f.fake.out)
		answer(&f.fake, f.fake.held[--f.fake.out]);
	run();
	assert_int_equal(f.replies, 6);
	teardown();
}

static unsigned admin_answers;
static struct mapping_admin_answer admin_answer;

static void on_admin(void *arg, const struct mapping_admin_answer *got)
{
	(void)arg;
	admin_answers++;
	admin_answer = *got;
}

/* MAP-35: the entry goes when the store has confirmed, not before. */
static void test_MAP_35_a_write_drops_the_entry_afterwards(void **state)
{
	(void)state;
	setup(NEGATIVE);
	admin_answers = 0;
	expect("node2", MAPPING_MAPPED, true);
	f.fake.hold = true;
	assert_int_equal(
		mapping_admin_set(f.mapping, VIEW_LIT("alice"), VIEW_LIT("node1"), on_admin, NULL),
		0);
	run();
	assert_int_equal(admin_answers, 0);
	expect("node2", MAPPING_MAPPED, false);
	f.fake.hold = false;
	f.fake.result = STORE_DONE;
	answer(&f.fake, f.fake.held[--f.fake.out]);
	run();
	assert_int_equal(admin_answers, 1);
	assert_int_equal(admin_answer.result, MAPPING_ADMIN_OK);
	assert_int_equal(stats().entries, 0);
	f.fake.result = STORE_FOUND;
	f.fake.value = "node1";
	expect("node1", MAPPING_MAPPED, true);
	teardown();
}

/* Nobody knows what the store holds then: it is asked anew, and while it is away the account
 * stays where it was. The failed write itself says nothing about lookups. */
static void test_MAP_35_a_failed_write_leaves_the_fallback(void **state)
{
	static const enum store_result failures[] = { STORE_ERROR, STORE_TIMEOUT };

	(void)state;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		setup(NEGATIVE);
		admin_answers = 0;
		expect("node2", MAPPING_MAPPED, true);
		f.fake.result = failures[i];
		assert_int_equal(mapping_admin_set(f.mapping, VIEW_LIT("alice"), VIEW_LIT("node1"),
					 on_admin, NULL),
			0);
		run();
		assert_int_equal(admin_answers, 1);
		assert_int_equal(stats().store_state, MAPPING_STORE_UP);
		assert_int_equal(f.lost, 0);
		assert_int_equal(stats().stale_entries, 1);
		expect("node2", MAPPING_STALE, true);
		assert_int_equal(stats().store_state, MAPPING_STORE_DOWN);
		pass(5000);
		f.fake.result = STORE_FOUND;
		f.fake.value = "node1";
		expect("node1", MAPPING_MAPPED, true);
		teardown();
	}
}

/* MAP-106: what becomes of the channel says nothing about the store. */
static void test_MAP_106_push_is_not_the_store(void **state)
{
	(void)state;
	setup(NEGATIVE);
	assert_int_equal(stats().push_state, MAPPING_PUSH_NONE);
	expect("node2", MAPPING_MAPPED, true);
	mapping_set_push(f.mapping, MAPPING_PUSH_DOWN);
	assert_int_equal(stats().push_state, MAPPING_PUSH_DOWN);
	assert_int_equal(stats().store_state, MAPPING_STORE_UP);
	assert_int_equal(stats().store_errors, 0);
	expect("node2", MAPPING_MAPPED, false);
	mapping_set_push(f.mapping, MAPPING_PUSH_UP);
	f.fake.result = STORE_ERROR;
	mapping_invalidate_all(f.mapping);
	expect("node1", MAPPING_DEFAULT, true);
	assert_int_equal(stats().push_state, MAPPING_PUSH_UP);
	assert_int_equal(stats().store_state, MAPPING_STORE_DOWN);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_80_positive_to_stale),
		cmocka_unit_test(test_MAP_80_negative),
		cmocka_unit_test(test_MAP_80_times_count_from_the_answer),
		cmocka_unit_test(test_MAP_92_transient),
		cmocka_unit_test(test_MAP_92_unavailable_instead_of_the_default),
		cmocka_unit_test(test_MAP_91_95_stale_until_the_grace_is_over),
		cmocka_unit_test(test_MAP_1_3_every_outcome_has_a_node),
		cmocka_unit_test(test_MAP_30_one_query_at_a_time_per_account),
		cmocka_unit_test(test_MAP_35_a_write_drops_the_entry_afterwards),
		cmocka_unit_test(test_MAP_35_a_failed_write_leaves_the_fallback),
		cmocka_unit_test(test_MAP_106_push_is_not_the_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
