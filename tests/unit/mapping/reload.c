// SPDX-License-Identifier: Apache-2.0
/*
 * A mapping that gets new settings while it answers (CFG-51, CFG-52): another store, other names,
 * other lifetimes. The last test does it under readers on threads of their own. All of it with
 * stores that the control thread asks, and again with such as are asked from any thread (MAP-36).
 */
#include "unit.h"

#include "base/clock.h"
#include "mapping/cache.h"
#include "mapping/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- stores that hold their answers back ---- */

struct fake {
	struct store store;
	struct store_request *held[16];
	unsigned count, gone;
	bool hold;
	atomic_uint lookups;
	atomic_bool freed;
	const char *node;
};

static void answer(struct fake *fake, struct store_request *request)
{
	request->result = request->op != STORE_LOOKUP ? STORE_DONE
		: *fake->node                         ? STORE_FOUND
						      : STORE_NONE;
	snprintf(request->value, sizeof(request->value), "%s", fake->node);
	request->done(request);
}

static void fake_submit(struct store *store, struct store_request *request)
{
	struct fake *fake = (struct fake *)store;

	assert_false(atomic_load(&fake->freed));
	atomic_fetch_add(&fake->lookups, request->op == STORE_LOOKUP);
	if (fake->hold && request->op == STORE_LOOKUP)
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
	struct fake *fake = (struct fake *)store;

	release_all(fake);
	assert_false(atomic_exchange(&fake->freed, true));
}

static const struct store_ops fake_ops = { .name = "fake",
	.submit = fake_submit,
	.writable = fake_writable,
	.reload = fake_reload,
	.free = fake_free };

static const struct store_ops direct_ops = { .name = "direct",
	.submit = fake_submit,
	.any_thread = true,
	.writable = fake_writable,
	.reload = fake_reload,
	.free = fake_free };

static const struct store_ops *ops = &fake_ops; /* of the tests that follow */

static int be_direct(void **state)
{
	(void)state;
	ops = &direct_ops;
	return 0;
}

static void on_gone(void *arg)
{
	struct fake *fake = arg;

	assert_true(atomic_load(&fake->freed));
	fake->gone++;
}

/* ---- a mapping on a loop ---- */

static struct loop loop;
static struct mapping *mapping;
static struct mapping_answer reply;
static unsigned replies;

static const char *const one_two[] = { "node1", "node2", NULL };

static void on_reply(struct post *post)
{
	struct mapping_reply *got = container_of(post, struct mapping_reply, post);

	reply = got->answer;
	replies++;
	mapping_reply_free(got);
}

static void fake_init(struct fake *fake, const char *node)
{
	memset(fake, 0, sizeof(*fake));
	fake->store.ops = ops;
	fake->node = node;
}

static struct mapping_params params_of(struct fake *fake)
{
	return (struct mapping_params){ .control = &loop,
		.store = fake ? &fake->store : NULL,
		.store_gone = on_gone,
		.store_gone_arg = fake,
		.positive_ttl_ms = 60000,
		.negative_ttl_ms = 60000,
		.stale_grace_ms = 60000,
		.lookup_timeout_ms = 10000,
		.max_entries = 1000,
		.default_destination = "node1",
		.destinations = one_two };
}

static void start(const struct mapping_params *params)
{
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(mapping_new(params, &mapping), 0);
	replies = 0;
}

static void stop(void)
{
	mapping_free(mapping);
	mailbox_run(&loop.mailbox);
	loop_fini(&loop);
}

static void run(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(&loop, 0), 0);
}

/* Until the store has been freed by its reaper. */
static void run_until_gone(struct fake *fake)
{
	for (int i = 0; i < 1000 && !fake->gone; i++)
		assert_int_equal(loop_run_once(&loop, 100), 0);
	assert_int_equal(fake->gone, 1);
}

static int ask(const char *account)
{
	return mapping_lookup(mapping, view_str(account), &loop.mailbox, on_reply, 1, &reply);
}

static void check(
	const char *account, bool hit, const char *destination, enum mapping_choice choice)
{
	unsigned before = replies;
	int r = ask(account);

	assert_int_equal(r, hit ? MAPPING_HIT : MAPPING_PENDING);
	if (!hit) {
		run();
		assert_int_equal(replies, before + 1);
	}
	assert_string_equal(reply.destination, destination);
	assert_int_equal(reply.choice, choice);
}

static struct mapping_stats stats(void)
{
	struct mapping_stats s;

	mapping_stats(mapping, &s);
	return s;
}

static void test_CFG_52_queries_finish_on_their_store(void **state)
{
	static struct fake old, new;
	struct mapping_params params;

	(void)state;
	fake_init(&old, "node2");
	fake_init(&new, "node1");
	params = params_of(&old);
	start(&params);
	old.hold = true;
	assert_int_equal(ask("alice"), MAPPING_PENDING);
	run();
	assert_int_equal(old.count, 1);
	params = params_of(&new);
	assert_int_equal(mapping_reconfigure(mapping, &params, true), 0);
	run();
	assert_int_equal(atomic_load(&old.freed), false);
	/* MAP-85: whoever comes now does not get the old answer */
	check("alice", false, "node1", MAPPING_MAPPED);
	assert_int_equal(atomic_load(&new.lookups), 1);
	release_all(&old);
	run_until_gone(&old);
	assert_int_equal(replies, 2);
	assert_string_equal(reply.destination, "node2");
	check("alice", true, "node1", MAPPING_MAPPED); /* and it was not stored */
	assert_int_equal(new.gone, 0);
	stop();
	assert_int_equal(new.gone, 1);
}

static void test_CFG_52_a_store_with_nothing_out_goes_at_once(void **state)
{
	static struct fake stores[4];
	struct mapping_params params;

	(void)state;
	for (int i = 0; i < 4; i++)
		fake_init(&stores[i], "node2");
	params = params_of(&stores[0]);
	start(&params);
	for (int i = 1; i < 4; i++) {
		check("alice", i > 1, "node2", MAPPING_MAPPED);
		params = params_of(&stores[i]);
		assert_int_equal(mapping_reconfigure(mapping, &params, false), 0);
		run_until_gone(&stores[i - 1]);
	}
	check("alice", true, "node2", MAPPING_MAPPED); /* the cache stays */
	assert_int_equal(stats().hits, 3);
	stop();
}

static void test_CFG_52_stop_while_old_stores_hold_requests(void **state)
{
	static struct fake stores[3];
	struct mapping_params params;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fake_init(&stores[i], "node2");
		stores[i].hold = true;
		params = params_of(&stores[i]);
		if (i == 0)
			start(&params);
		else
			assert_int_equal(mapping_reconfigure(mapping, &params, true), 0);
		assert_int_equal(ask("alice"), MAPPING_PENDING);
		run();
		assert_int_equal(stores[i].count, 1);
	}
	stop(); /* also right after one more, whose reaper has just begun */
	for (int i = 0; i < 3; i++)
		assert_int_equal(stores[i].gone, 1);
	assert_int_equal(replies, 3);
	for (int i = 0; i < 2; i++)
		fake_init(&stores[i], "node2");
	params = params_of(&stores[0]);
	start(&params);
	params = params_of(&stores[1]);
	assert_int_equal(mapping_reconfigure(mapping, &params, true), 0);
	stop();
	assert_int_equal(stores[0].gone + stores[1].gone, 2);
}

static void test_CFG_52_names(void **state)
{
	static const char *const one_three[] = { "node3", "node1", NULL };
	static struct fake fake;
	struct mapping_params params;

	(void)state;
	fake_init(&fake, "node2");
	params = params_of(&fake);
	start(&params);
	check("alice", false, "node2", MAPPING_MAPPED);
	fake.node = "node1";
	check("bob", false, "node1", MAPPING_MAPPED);
	fake.node = "";
	check("carol", false, "node1", MAPPING_DEFAULT);
	params = params_of(NULL);
	params.destinations = one_three;
	params.default_destination = "node3";
	assert_int_equal(mapping_reconfigure(mapping, &params, false), 0);
	assert_false(mapping_declared(mapping, VIEW_LIT("node2")));
	assert_true(mapping_declared(mapping, VIEW_LIT("node3")));
	check("bob", true, "node1", MAPPING_MAPPED);
	check("carol", true, "node3", MAPPING_DEFAULT); /* what "no mapping" means now */
	fake.node = "node2";
	check("alice", false, "node3", MAPPING_DEFAULT); /* its entry went; the row names nobody */
	assert_int_equal(stats().unknown_destination, 1);
	params = params_of(NULL);
	assert_int_equal(mapping_reconfigure(mapping, &params, false), 0);
	check("dora", false, "node2", MAPPING_MAPPED); /* it is back */
	check("bob", true, "node1", MAPPING_MAPPED);
	params.default_destination = "nobody";
	assert_int_equal(mapping_reconfigure(mapping, &params, true), -EINVAL);
	check("dora", true, "node2", MAPPING_MAPPED); /* nothing has changed */
	stop();
}

static void test_CFG_52_outage_of_the_old_store_is_forgotten(void **state)
{
	static struct fake old, new;
	struct mapping_params params;

	(void)state;
	fake_init(&old, "node2");
	fake_init(&new, "node2");
	params = params_of(&old);
	params.lookup_timeout_ms = 10;
	start(&params);
	old.hold = true;
	assert_int_equal(ask("alice"), MAPPING_PENDING);
	while (!replies)
		assert_int_equal(loop_run_once(&loop, 1000), 0);
	assert_int_equal(stats().store_state, MAPPING_STORE_DOWN);
	params = params_of(&new);
	assert_int_equal(mapping_reconfigure(mapping, &params, false), 0);
	run(); /* a sign of life was asked for */
	assert_int_equal(stats().store_state, MAPPING_STORE_UP);
	release_all(&old);
	run_until_gone(&old);
	stop();
}

/* ---- the cache alone ---- */

static void put(struct cache *cache, unsigned account, uint64_t ttl_ms, uint64_t now_ms)
{
	char name[16];
	struct view v;

	snprintf(name, sizeof(name), "u%u", account);
	v = view_str(name);
	cache_put(cache, v, cache_epoch(cache, v), CACHE_POSITIVE, (uint16_t)(account % 3), ttl_ms,
		now_ms);
}

static void check_count(struct cache *cache, uint64_t now_ms, uint64_t fresh, uint64_t stale)
{
	uint64_t got_fresh, got_stale;

	cache_count(cache, now_ms, &got_fresh, &got_stale);
	assert_int_equal(got_fresh, fresh);
	assert_int_equal(got_stale, stale);
}

static void test_CFG_52_shorter_lifetimes(void **state)
{
	struct cache *cache;

	(void)state;
	assert_int_equal(cache_new(100, 0, &cache), 0);
	for (unsigned i = 0; i < 10; i++)
		put(cache, i, 1000, i);
	cache_configure(cache, 100, 50);
	for (unsigned i = 10; i < 20; i++)
		put(cache, i, 100, i);
	check_count(cache, 50, 20, 0);
	check_count(cache, 125, 10, 10); /* new ones expire before old ones */
	check_count(cache, 1004, 5, 0);  /* stored without a grace */
	cache_configure(cache, 100, 0);
	put(cache, 30, 10, 1004);
	cache_configure(cache, 100, 0); /* merged into those before */
	put(cache, 31, 500, 1004);
	check_count(cache, 1004, 7, 0);
	check_count(cache, 1014, 1, 0);
	check_count(cache, 1504, 0, 0);
	cache_free(cache);
}

static void test_CFG_52_smaller_bound(void **state)
{
	uint64_t fresh, stale;
	struct cache *cache;
	bool gone[3] = { false, true, false };

	(void)state;
	assert_int_equal(cache_new(10000, 0, &cache), 0);
	for (unsigned i = 0; i < 3000; i++)
		put(cache, i, 1000, 0);
	check_count(cache, 0, 3000, 0);
	assert_int_equal(cache_drop_destinations(cache, gone), 1000);
	check_count(cache, 0, 2000, 0);
	cache_configure(cache, 10, 0); /* fewer than shards */
	cache_count(cache, 0, &fresh, &stale);
	assert_true(fresh <= 10 && fresh > 0);
	for (unsigned i = 0; i < 3000; i++)
		put(cache, i, 1000, 0);
	cache_count(cache, 0, &fresh, &stale);
	assert_int_equal(fresh, 10);
	cache_configure(cache, 10000, 0);
	for (unsigned i = 0; i < 3000; i++)
		put(cache, i, 1000, 0);
	check_count(cache, 0, 3000, 0);
	cache_free(cache);
}

/* ---- all threads at once ---- */

#define READERS 4
#define LOOKUPS 3000

struct reader {
	pthread_t thread;
	struct loop loop;
	unsigned waiting, answered;
};

static _Thread_local struct reader *self;
static atomic_uint readers_left;

static void check_name(const struct mapping_answer *got)
{
	assert_true(strncmp(got->destination, "node", 4) == 0 && got->destination[4]);
}

static void on_thread_reply(struct post *post)
{
	struct mapping_reply *got = container_of(post, struct mapping_reply, post);

	check_name(&got->answer);
	self->waiting--;
	self->answered++;
	mapping_reply_free(got);
}

static void *reader_main(void *arg)
{
	struct mapping_answer got;
	char name[16];

	self = arg;
	for (unsigned i = 0; i < LOOKUPS; i++) {
		snprintf(name, sizeof(name), "u%u", i * 7 % 101);
		if (mapping_lookup(mapping, view_str(name), &self->loop.mailbox, on_thread_reply, i,
			    &got) == MAPPING_PENDING)
			self->waiting++;
		else
			check_name(&got);
		/* Now and then a moment, so that reloads and the ends of entries come in
		 * between. */
		if (loop_run_once(&self->loop, i % 64 == 63) < 0)
			break;
	}
	while (self->waiting && loop_run_once(&self->loop, 1000) == 0)
		;
	atomic_fetch_sub(&readers_left, 1);
	return NULL;
}

static struct fake many[512];
static unsigned made;

static void on_tick(struct timer *timer)
{
	static const char *const sets[][4] = { { "node1", "node2", NULL },
		{ "node3", "node1", NULL }, { "node2", "node4", "node1", NULL } };
	struct mapping_params params;

	if (!atomic_load(&readers_left)) {
		loop_stop(&loop);
		return;
	}
	if (made < 512) {
		fake_init(&many[made], made % 3 ? "node2" : "");
		params = params_of(made % 2 ? NULL : &many[made]);
		params.destinations = sets[made % 3];
		params.default_destination = sets[made % 3][0];
		params.positive_ttl_ms = made % 5;
		params.max_entries = 10 + made % 90;
		assert_int_equal(mapping_reconfigure(mapping, &params, made % 7 == 0), 0);
		if (made % 2)
			many[made].gone = 1; /* was not handed over */
		made++;
	}
	loop_timer_set(&loop, timer, 1, on_tick);
}

static void test_CFG_52_while_threads_read(void **state)
{
	static struct reader readers[READERS];
	static struct fake first;
	struct mapping_params params;
	struct timer tick = { 0 };

	(void)state;
	made = 0;
	memset(readers, 0, sizeof(readers));
	fake_init(&first, "node2");
	params = params_of(&first);
	start(&params);
	atomic_store(&readers_left, READERS);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(loop_init(&readers[i].loop), 0);
		assert_int_equal(
			pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
	}
	loop_timer_set(&loop, &tick, 1, on_tick);
	assert_int_equal(loop_run(&loop), 0);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_int_equal(readers[i].waiting, 0);
		assert_true(readers[i].answered > 0);
	}
	stop();
	assert_true(made > 0);
	assert_int_equal(first.gone, 1);
	for (unsigned i = 0; i < made; i++)
		assert_int_equal(many[i].gone, 1);
	for (int i = 0; i < READERS; i++)
		loop_fini(&readers[i].loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_CFG_52_queries_finish_on_their_store),
		cmocka_unit_test(test_CFG_52_a_store_with_nothing_out_goes_at_once),
		cmocka_unit_test(test_CFG_52_stop_while_old_stores_hold_requests),
		cmocka_unit_test(test_CFG_52_names),
		cmocka_unit_test(test_CFG_52_outage_of_the_old_store_is_forgotten),
		cmocka_unit_test(test_CFG_52_shorter_lifetimes),
		cmocka_unit_test(test_CFG_52_smaller_bound),
		cmocka_unit_test(test_CFG_52_while_threads_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) |
		cmocka_run_group_tests_name("direct", tests, be_direct, NULL);
}
