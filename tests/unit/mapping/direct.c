// SPDX-License-Identifier: Apache-2.0
/*
 * Lookups of a store that is asked from any thread (MAP-36): what passes by the control thread,
 * which here is a loop that the test runs or leaves alone, and what does not.
 */
#include "unit.h"

#include "base/clock.h"
#include "mapping/mapping.h"

struct fake {
	struct store store;
	struct store_request *held[16];
	unsigned count;
	bool hold, fail;
	const char *node;
};

static void answer(struct fake *fake, struct store_request *request)
{
	request->result = fake->fail ? STORE_ERROR : *fake->node ? STORE_FOUND : STORE_NONE;
	snprintf(request->error, sizeof(request->error), "down");
	snprintf(request->value, sizeof(request->value), "%s", fake->node);
	request->done(request);
}

static void fake_submit(struct store *store, struct store_request *request)
{
	struct fake *fake = (struct fake *)store;

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

static void fake_free(struct store *store)
{
	release_all((struct fake *)store);
}

static const struct store_ops fake_ops = {
	.name = "fake", .submit = fake_submit, .any_thread = true, .free = fake_free
};

struct fixture {
	struct loop loop;
	struct fake fake;
	struct mapping *mapping;
};

static void run(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(&f->loop, 0), 0);
}

static struct mapping_stats stats_of(struct fixture *f)
{
	struct mapping_stats stats;

	mapping_stats(f->mapping, &stats);
	return stats;
}

/* Who asks: a mailbox that is not the control thread's. */
struct catcher {
	struct mailbox mailbox;
	unsigned replies;
	struct mapping_answer answer;
};

static struct catcher *catcher;

static void on_caught(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	catcher->replies++;
	catcher->answer = reply->answer;
	mapping_reply_free(reply);
}

static void ask(struct fixture *f, struct catcher *c, const char *account)
{
	struct mapping_answer got;

	catcher = c;
	assert_int_equal(
		mapping_lookup(f->mapping, view_str(account), &c->mailbox, on_caught, 1, &got),
		MAPPING_PENDING);
}

static void setup(struct fixture *f, struct catcher *c, uint64_t timeout_ms)
{
	static const char *const names[] = { "node1", "node2", NULL };
	struct mapping_params params = { .control = &f->loop,
		.store = &f->fake.store,
		.positive_ttl_ms = 60000,
		.negative_ttl_ms = 60000,
		.stale_grace_ms = 60000,
		.lookup_timeout_ms = timeout_ms,
		.max_entries = 1000,
		.default_destination = "node1",
		.destinations = names };

	memset(c, 0, sizeof(*c));
	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	f->fake.store.ops = &fake_ops;
	f->fake.node = "node2";
	assert_int_equal(mapping_new(&params, &f->mapping), 0);
	assert_int_equal(mailbox_init(&c->mailbox), 0);
	ask(f, c, "first"); /* the store is there: for the control thread to know */
	mailbox_run(&c->mailbox);
	assert_int_equal(c->replies, 0);
	run(f);
	mailbox_run(&c->mailbox);
	assert_int_equal(c->replies, 1);
}

static void teardown(struct fixture *f, struct catcher *c)
{
	mapping_free(f->mapping);
	mailbox_run(&c->mailbox);
	mailbox_fini(&c->mailbox);
	loop_fini(&f->loop);
}

/* The control thread stands still all the time. */
static void test_MAP_36_no_thread_in_between(void **state)
{
	static struct fixture f;
	struct mapping_answer got;
	struct catcher c;

	(void)state;
	setup(&f, &c, 1000);
	ask(&f, &c, "alice");
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 2);
	assert_string_equal(c.answer.destination, "node2");
	assert_int_equal(c.answer.choice, MAPPING_MAPPED);
	assert_false(c.answer.hit);
	assert_int_equal(
		mapping_lookup(f.mapping, VIEW_LIT("alice"), &c.mailbox, on_caught, 1, &got),
		MAPPING_HIT);
	f.fake.node = "";
	ask(&f, &c, "bob");
	mailbox_run(&c.mailbox);
	assert_int_equal(c.answer.choice, MAPPING_DEFAULT);
	f.fake.hold = true;
	for (int i = 0; i < 3; i++)
		ask(&f, &c, "carol");
	assert_int_equal(f.fake.count, 1);
	f.fake.node = "node1";
	release_all(&f.fake);
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 6);
	assert_int_equal(stats_of(&f).coalesced, 2);
	assert_int_equal(stats_of(&f).misses, 4);
	assert_int_equal(stats_of(&f).store_queries, 4);
	teardown(&f, &c);
}

static unsigned lost, back, unknown;

static void on_event(void *arg, enum mapping_event event, const char *text, uint64_t outage_ms)
{
	(void)arg;
	(void)text;
	(void)outage_ms;
	lost += event == MAPPING_STORE_LOST;
	back += event == MAPPING_STORE_BACK;
	unknown += event == MAPPING_UNKNOWN_DESTINATION;
}

/* What is to be logged or counted goes by way of the control thread, which tells who waits. */
static void test_MAP_36_more_than_an_answer(void **state)
{
	static struct fixture f;
	struct catcher c;

	(void)state;
	setup(&f, &c, 1000);
	mapping_on_event(f.mapping, on_event, NULL);
	lost = back = unknown = 0;
	f.fake.fail = true;
	ask(&f, &c, "alice");
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 1);
	run(&f);
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 2);
	assert_int_equal(lost, 1);
	assert_int_equal(stats_of(&f).store_state, MAPPING_STORE_DOWN);
	f.fake.fail = false;
	ask(&f, &c, "bob");
	run(&f);
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 3);
	assert_int_equal(back, 1);
	assert_string_equal(c.answer.destination, "node2");
	f.fake.node = "nowhere";
	ask(&f, &c, "carol");
	run(&f);
	mailbox_run(&c.mailbox);
	assert_int_equal(unknown, 1);
	assert_int_equal(c.answer.choice, MAPPING_DEFAULT);
	teardown(&f, &c);
	assert_int_equal(c.replies, 4);
}

/* Each is over in its own time, however many came after the watch was set. */
static void test_MAP_31_each_in_its_time(void **state)
{
	static struct fixture f;
	struct catcher c;
	uint64_t start, end = clock_mono_ms() + 20000;

	(void)state;
	setup(&f, &c, 80);
	f.fake.hold = true;
	ask(&f, &c, "alice");
	start = clock_mono_ms();
	while (clock_mono_ms() < start + 40)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	ask(&f, &c, "bob");
	while (c.replies < 2 && clock_mono_ms() < end) {
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
		mailbox_run(&c.mailbox);
	}
	assert_true(clock_mono_ms() >= start + 79);
	while (c.replies < 3 && clock_mono_ms() < end) {
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
		mailbox_run(&c.mailbox);
	}
	assert_true(clock_mono_ms() >= start + 119);
	assert_int_equal(c.replies, 3);
	assert_int_equal(stats_of(&f).store_state, MAPPING_STORE_DOWN);
	release_all(&f.fake); /* too late, and nobody's */
	run(&f);
	assert_int_equal(mailbox_run(&c.mailbox), 0);
	f.fake.hold = false;
	ask(&f, &c, "dora"); /* the watch is set anew */
	run(&f);
	mailbox_run(&c.mailbox);
	assert_int_equal(c.replies, 4);
	teardown(&f, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_36_no_thread_in_between),
		cmocka_unit_test(test_MAP_36_more_than_an_answer),
		cmocka_unit_test(test_MAP_31_each_in_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
