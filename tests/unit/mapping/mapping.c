// SPDX-License-Identifier: Apache-2.0
/*
 * The mapping in front of a store that answers when it is told to: all of it with one that the
 * control thread asks, and again with one that any thread asks (MAP-36). The last test runs
 * the whole with readers on threads of their own and is what ThreadSanitizer looks at.
 */
#include "unit.h"

#include "base/clock.h"
#include "mapping/cache.h"
#include "mapping/mapping.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- a store that holds its answers back ---- */

struct fake {
	struct store store;
	struct store_request *held[2048];
	unsigned count;
	bool hold, fail;
	atomic_uint lookups;
	const char *node;
};

static void answer(struct fake *fake, struct store_request *request)
{
	request->result = fake->fail ? STORE_ERROR : STORE_FOUND;
	snprintf(request->error, sizeof(request->error), "down");
	snprintf(request->value, sizeof(request->value), "%s", fake->node);
	if (!fake->fail && !*fake->node)
		request->result = STORE_NONE;
	if (request->op != STORE_LOOKUP && !fake->fail)
		request->result = STORE_DONE;
	if (request->op == STORE_LIST && !fake->fail) {
		assert_int_equal(store_list_add(request->list, VIEW_LIT("alice")), 0);
		assert_int_equal(store_list_set_next(request->list, VIEW_LIT("alice")), 0);
	}
	request->done(request);
}

static void fake_submit(struct store *store, struct store_request *request)
{
	struct fake *fake = (struct fake *)store;

	atomic_fetch_add(&fake->lookups, request->op == STORE_LOOKUP);
	if (fake->hold)
		fake->held[fake->count++] = request;
	else
		answer(fake, request);
}

static void release_all(struct fake *fake)
{
	unsigned count = fake->count;

	fake->count = 0;
	for (unsigned i = 0; i < count; i++)
		answer(fake, fake->held[i]);
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
	release_all((struct fake *)store);
	store->ops = NULL; /* nobody may ask it any more */
}

static const struct store_ops fake_ops = { .name = "fake",
	.submit = fake_submit,
	.writable = fake_writable,
	.can_list = fake_writable,
	.reload = fake_reload,
	.free = fake_free };

/* One with a thread of its own, as far as the mapping can tell. */
static const struct store_ops direct_ops = { .name = "direct",
	.submit = fake_submit,
	.any_thread = true,
	.writable = fake_writable,
	.can_list = fake_writable,
	.reload = fake_reload,
	.free = fake_free };

static const struct store_ops *ops = &fake_ops; /* of the tests that follow */

struct fixture {
	struct loop loop;
	struct fake fake;
	struct mapping *mapping;
	struct mapping_answer replies[2048];
	unsigned reply_count;
};

static struct fixture *current;

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	current->replies[current->reply_count++] = reply->answer;
	mapping_reply_free(reply);
}

static void setup(struct fixture *f, uint64_t ttl_ms, uint64_t grace_ms, uint64_t timeout_ms)
{
	static const char *const names[] = { "node1", "node2", NULL };
	struct mapping_params params = { .control = &f->loop,
		.store = &f->fake.store,
		.positive_ttl_ms = ttl_ms,
		.negative_ttl_ms = ttl_ms,
		.stale_grace_ms = grace_ms,
		.lookup_timeout_ms = timeout_ms,
		.max_entries = 1000,
		.default_destination = "node1",
		.destinations = names };

	memset(f, 0, sizeof(*f));
	current = f;
	assert_int_equal(loop_init(&f->loop), 0);
	f->fake.store.ops = ops;
	f->fake.node = "node2";
	assert_int_equal(mapping_new(&params, &f->mapping), 0);
}

static void teardown(struct fixture *f)
{
	mapping_free(f->mapping);
	mailbox_run(&f->loop.mailbox); /* replies to this thread's own lookups */
	loop_fini(&f->loop);
}

static void run(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(&f->loop, 0), 0);
}

static int look(struct fixture *f, const char *account, struct mapping_answer *answer_)
{
	return mapping_lookup(
		f->mapping, view_str(account), &f->loop.mailbox, on_reply, 1, answer_);
}

static struct mapping_stats stats_of(struct fixture *f)
{
	struct mapping_stats stats;

	mapping_stats(f->mapping, &stats);
	return stats;
}

static void test_MAP_81_hit_after_miss(void **state)
{
	static struct fixture f;
	struct mapping_answer got;

	(void)state;
	setup(&f, 60000, 60000, 1000);
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	assert_int_equal(f.reply_count, 1);
	assert_string_equal(f.replies[0].destination, "node2");
	assert_int_equal(f.replies[0].choice, MAPPING_MAPPED);
	assert_int_equal(look(&f, "alice", &got), MAPPING_HIT);
	assert_string_equal(got.destination, "node2");
	assert_int_equal(stats_of(&f).hits, 1);
	assert_int_equal(stats_of(&f).misses, 1);
	teardown(&f);
}

static void test_MAP_82_single_flight(void **state)
{
	static struct fixture f;
	struct mapping_answer got;

	(void)state;
	setup(&f, 60000, 60000, 1000);
	f.fake.hold = true;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	assert_int_equal(atomic_load(&f.fake.lookups), 1);
	release_all(&f.fake);
	run(&f);
	assert_int_equal(f.reply_count, 1000);
	assert_int_equal(stats_of(&f).coalesced, 999);
	assert_int_equal(stats_of(&f).store_queries, 1);
	teardown(&f);
}

static void test_MAP_85_invalidation_during_a_flight(void **state)
{
	static struct fixture f;
	struct mapping_answer got;

	(void)state;
	setup(&f, 60000, 60000, 1000);
	f.fake.hold = true;
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	mapping_invalidate(f.mapping, VIEW_LIT("alice"));
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	assert_int_equal(atomic_load(&f.fake.lookups), 2); /* did not join the old one */
	f.fake.count = 1;                                  /* the first answer alone */
	answer(&f.fake, f.fake.held[0]);
	run(&f);
	assert_int_equal(f.reply_count, 1);
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING); /* it was not stored */
	run(&f);
	f.fake.held[0] = f.fake.held[1];
	release_all(&f.fake);
	run(&f);
	assert_int_equal(f.reply_count, 3);
	assert_int_equal(look(&f, "alice", &got), MAPPING_HIT);
	teardown(&f);
}

static void test_MAP_31_store_that_never_answers(void **state)
{
	static struct fixture f;
	struct mapping_answer got;
	uint64_t end = clock_mono_ms() + 20000;

	(void)state;
	setup(&f, 60000, 60000, 50);
	f.fake.hold = true;
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	while (!f.reply_count && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
	assert_int_equal(f.reply_count, 1);
	assert_string_equal(f.replies[0].destination, "node1");
	assert_int_equal(f.replies[0].choice, MAPPING_DEFAULT);
	assert_int_equal(stats_of(&f).store_state, MAPPING_STORE_DOWN);
	assert_int_equal(stats_of(&f).store_errors, 1);
	assert_int_equal(look(&f, "alice", &got), MAPPING_HIT); /* transient: no query */
	release_all(&f.fake);                                   /* much too late: harmless */
	run(&f);
	assert_int_equal(f.reply_count, 1);
	teardown(&f);
}

static void test_MAP_91_93_stale(void **state)
{
	static struct fixture f;
	struct mapping_answer got;
	uint64_t end = clock_mono_ms() + 20000;

	(void)state;
	setup(&f, 30, 60000, 1000);
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	while (!stats_of(&f).stale_entries && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	f.fake.fail = true;
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	assert_string_equal(f.replies[1].destination, "node2");
	assert_int_equal(f.replies[1].choice, MAPPING_STALE);
	assert_int_equal(stats_of(&f).stale_served, 1);
	mapping_invalidate(f.mapping, VIEW_LIT("alice"));
	assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
	run(&f);
	assert_string_equal(f.replies[2].destination, "node1"); /* gone: cannot be served stale */
	teardown(&f);
}

static void test_MAP_83_ttl_zero(void **state)
{
	static struct fixture f;
	struct mapping_answer got;

	(void)state;
	setup(&f, 0, 60000, 1000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(look(&f, "alice", &got), MAPPING_PENDING);
		run(&f);
	}
	assert_int_equal(atomic_load(&f.fake.lookups), 3);
	teardown(&f);
}

struct listed {
	unsigned calls, count;
	enum mapping_admin_result result;
	bool writable;
	char next[16];
};

static void on_listed(void *arg, const struct mapping_admin_answer *got)
{
	struct listed *listed = arg;

	listed->calls++;
	listed->result = got->result;
	listed->writable = got->writable;
	if (got->result != MAPPING_ADMIN_OK)
		return;
	listed->count = got->list->count;
	snprintf(listed->next, sizeof(listed->next), "%.15s", got->list->next);
	assert_string_equal(buf_view(&got->list->names).data, "alice");
}

static void test_list_answers_late_and_fails_alone(void **state)
{
	static struct fixture f;
	struct listed got = { 0 };
	uint64_t end = clock_mono_ms() + 20000;

	(void)state;
	setup(&f, 60000, 60000, 50);
	assert_int_equal(
		mapping_admin_list(f.mapping, VIEW_LIT("node2"), VIEW_LIT(""), 10, on_listed, &got),
		0);
	run(&f);
	assert_int_equal(got.calls, 1);
	assert_int_equal(got.count, 1);
	assert_true(got.writable);
	assert_string_equal(got.next, "alice");
	f.fake.fail = true;
	assert_int_equal(mapping_admin_list(f.mapping, VIEW_LIT("node2"), VIEW_LIT("alice"), 10,
				 on_listed, &got),
		0);
	run(&f);
	assert_int_equal(got.result, MAPPING_ADMIN_FAILED);
	assert_int_equal(
		stats_of(&f).store_state, MAPPING_STORE_UNKNOWN); /* no outage, no contact */
	f.fake.fail = false;
	f.fake.hold = true;
	assert_int_equal(
		mapping_admin_list(f.mapping, VIEW_LIT("node2"), VIEW_LIT(""), 10, on_listed, &got),
		0);
	while (got.calls < 3 && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
	assert_int_equal(got.result, MAPPING_ADMIN_TIMEOUT);
	release_all(&f.fake); /* too late: filled, and freed with nobody to tell */
	run(&f);
	assert_int_equal(got.calls, 3);
	f.fake.hold = true;
	assert_int_equal(
		mapping_admin_list(f.mapping, VIEW_LIT("node2"), VIEW_LIT(""), 10, on_listed, &got),
		0);
	teardown(&f); /* with one under way */
	assert_int_equal(got.calls, 4);
}

static void test_free_with_flights_under_way(void **state)
{
	static struct fixture f;
	struct mapping_answer got;

	(void)state;
	setup(&f, 60000, 60000, 1000);
	f.fake.hold = true;
	for (int i = 0; i < 20; i++) {
		char account[16];

		snprintf(account, sizeof(account), "user%d", i);
		assert_int_equal(look(&f, account, &got), MAPPING_PENDING);
	}
	run(&f);
	assert_int_equal(look(&f, "late", &got), MAPPING_PENDING); /* still in the mailbox */
	teardown(&f);
	assert_int_equal(f.reply_count, 21);
}

static int be_direct(void **state)
{
	(void)state;
	ops = &direct_ops;
	return 0;
}

/* ---- all threads at once ---- */

#define READERS 4
#define ROUNDS 5000

static struct mapping *shared;
static struct loop control;
static atomic_uint readers_left;

struct reader {
	struct loop loop;
	pthread_t thread;
	unsigned waiting, answered;
};

static _Thread_local struct reader *me;

static void on_thread_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	me->waiting--;
	me->answered++;
	mapping_reply_free(reply);
}

static void *reader_main(void *arg)
{
	struct reader *reader = me = arg;
	struct mapping_answer got;
	char account[32];

	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(account, sizeof(account), "user%u", (i * 7919) % 500);
		if (mapping_lookup(shared, view_str(account), &reader->loop.mailbox,
			    on_thread_reply, i, &got) == MAPPING_PENDING)
			reader->waiting++;
		if (i % 100 == 0)
			mapping_invalidate(shared, view_str(account));
		if (i % 1000 == 0)
			mapping_invalidate_all(shared);
		if (loop_run_once(&reader->loop, 0) < 0)
			break;
	}
	while (reader->waiting && loop_run_once(&reader->loop, 1000) == 0)
		;
	atomic_fetch_sub(&readers_left, 1);
	return NULL;
}

static void on_tick(struct timer *timer)
{
	struct mapping_stats stats;

	mapping_stats(shared, &stats);
	if (!atomic_load(&readers_left))
		loop_stop(&control);
	else
		loop_timer_set(&control, timer, 1, on_tick);
}

static void test_threads(void **state)
{
	static const char *const names[] = { "node1", "node2", NULL };
	static struct fake fake;
	static struct reader readers[READERS];
	struct mapping_params params = { .control = &control,
		.store = &fake.store,
		.positive_ttl_ms = 5,
		.negative_ttl_ms = 5,
		.stale_grace_ms = 1000,
		.lookup_timeout_ms = 1000,
		.max_entries = 300,
		.default_destination = "node1",
		.destinations = names };
	struct timer tick = { 0 };

	(void)state;
	fake = (struct fake){ .store.ops = ops };
	control = (struct loop){ 0 };
	memset(readers, 0, sizeof(readers));
	fake.node = "node2";
	assert_int_equal(loop_init(&control), 0);
	assert_int_equal(mapping_new(&params, &shared), 0);
	atomic_store(&readers_left, READERS);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(loop_init(&readers[i].loop), 0);
		pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]);
	}
	loop_timer_set(&control, &tick, 1, on_tick);
	assert_int_equal(loop_run(&control), 0);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].waiting, 0);
		assert_true(readers[i].answered > 0);
	}
	mapping_free(shared);
	for (int i = 0; i < READERS; i++)
		loop_fini(&readers[i].loop);
	loop_fini(&control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_81_hit_after_miss),
		cmocka_unit_test(test_MAP_82_single_flight),
		cmocka_unit_test(test_MAP_85_invalidation_during_a_flight),
		cmocka_unit_test(test_MAP_31_store_that_never_answers),
		cmocka_unit_test(test_MAP_91_93_stale),
		cmocka_unit_test(test_MAP_83_ttl_zero),
		cmocka_unit_test(test_list_answers_late_and_fails_alone),
		cmocka_unit_test(test_free_with_flights_under_way),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) |
		cmocka_run_group_tests_name("direct", tests, be_direct, NULL);
}
