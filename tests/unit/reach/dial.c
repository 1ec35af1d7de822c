// SPDX-License-Identifier: Apache-2.0
/* Reaching nodes without a session: several at once, one that is not there, one that is given
 * up. */
#include "unit.h"

#include "reach/dial.h"
#include "unit/one_node.h"

struct owner {
	struct dial *dial;
	int up, down, failed, after;
	enum reach_failure failure;
};

/* What the tests' talker keeps. */
struct talk {
	char word[8];
};

static void on_up(void *arg)
{
	struct owner *owner = arg;

	struct talk *talk = (struct talk *)owner->dial->talk;

	owner->up++;
	assert_string_equal(talk->word, ""); /* each talk begins anew */
	strcpy(talk->word, "hello");
}

static void on_down(void *arg)
{
	struct owner *owner = arg;
	struct talk *talk = (struct talk *)owner->dial->talk;

	owner->down++;
	assert_string_equal(talk->word, "hello");
	*talk = (struct talk){ 0 };
}

static enum node_step on_step(void *arg)
{
	(void)arg;
	return NODE_STEP_DIALOGUE;
}

static void on_failed(void *arg, enum reach_failure failure)
{
	struct owner *owner = arg;

	owner->failed++;
	owner->failure = failure;
	dial_free(owner->dial); /* an owner may */
	owner->dial = NULL;
}

static void on_event(void *arg)
{
	(void)arg;
}

static void on_after(void *arg)
{
	struct owner *owner = arg;

	owner->after++;
}

static const struct addr *on_local(void *arg)
{
	(void)arg;
	return &f.local;
}

static const struct dial_ops ops = {
	.up = on_up,
	.event = on_event,
	.down = on_down,
	.step = on_step,
	.after = on_after,
	.local = on_local,
};

static void start_with(struct owner *owner, unsigned retries)
{
	static const unsigned char id[PROXYHDR_ID_BYTES];
	struct dial_params params = { .ops = &ops,
		.arg = owner,
		.failed = on_failed,
		.failed_arg = owner,
		.router = &f.router,
		.newest = &f.router.snapshot,
		.loop = &f.loop,
		.resolver = f.resolver,
		.node = f.router.snapshot->nodes[0],
		.destination = &f.config->destinations[0],
		.protocol = PROTOCOL_IMAP,
		.client = &f.client,
		.proxy_id = id,
		.window_ends_ms = clock_mono_ms() + 10000,
		.retries = retries,
		.talk_bytes = sizeof(struct talk) };

	assert_int_equal(dial_new(&params, &owner->dial), 0);
	assert_true(dial_enter(owner->dial));
	dial_start(owner->dial);
}

static void start(struct owner *owner)
{
	start_with(owner, 0);
}

/* Of the failure that was noted last. */
static enum node_step last_step(void)
{
	struct node_failure failure;

	node_last_failure(f.router.snapshot->nodes[0], &failure);
	assert_true(failure.at_real_ms > 0);
	return failure.step;
}

static void test_several_nodes_at_once(void **state)
{
	struct owner one = { 0 }, two = { 0 };
	char header[PROXYHDR_MAX_BYTES];
	int fd;

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start(&one);
	start(&two);
	run_until(&one.up);
	run_until(&two.up);
	assert_int_equal(one.failed + two.failed, 0);
	assert_true(one.after > 0);
	dial_report(one.dial, HEALTH_SUCCESS);
	dial_report(one.dial, HEALTH_FAIL_HOST); /* one report each: this is none */
	for (int i = 0; i < 2; i++) {
		fd = accept4(f.node_listener, NULL, NULL, SOCK_CLOEXEC);
		assert_true(fd >= 0);
		assert_true(read(fd, header, sizeof(header)) > 16); /* who the client is */
		close(fd);
	}
	dial_free(one.dial);
	dial_free(two.dial);
}

/* Nothing listens there. */
static void test_a_node_that_is_not_there(void **state)
{
	struct owner owner = { 0 };

	(void)state;
	start(&owner);
	run_until(&owner.failed);
	assert_int_equal(owner.failure, UNREACHED_UNREACHABLE);
	assert_int_equal(owner.down, 0);
	assert_int_equal(owner.up, 0);
	assert_null(owner.dial);
	assert_int_equal(atomic_load(&f.router.snapshot->nodes[0]->dial_errors), 1);
}

static void test_what_is_given_up_calls_nobody(void **state)
{
	struct owner owner = { 0 }, other = { 0 };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start(&owner);
	dial_free(owner.dial);
	start(&other);
	run_until(&other.up);
	assert_int_equal(owner.up + owner.down + owner.failed + owner.after, 0);
	dial_free(other.dial);
	assert_int_equal(other.down, 1);
}

static void test_a_window_that_is_over(void **state)
{
	struct owner owner = { 0 };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start(&owner);
	run_until(&owner.up);
	dial_expired(owner.dial); /* it says nothing */
	assert_int_equal(owner.failed, 1);
	assert_int_equal(owner.down, 1);
	assert_int_equal(owner.failure, UNREACHED_TIMEOUT_CLIENT);
	assert_int_equal(atomic_load(&f.router.snapshot->nodes[0]->dial_errors), 1);
	assert_int_equal(last_step(), NODE_STEP_DIALOGUE);
}

/* Where its talk breaks there is another attempt, with a talk of its own, until it may not be said
 * again; then its time is that of the verdict. */
static void test_a_talk_that_is_tried_again(void **state)
{
	struct owner owner = { 0 };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start_with(&owner, 2);
	run_until(&owner.up);
	dial_failed(owner.dial, (struct dial_fault){ UNREACHED_CLOSED, .said = "bye" });
	assert_int_equal(owner.dial->state, DIAL_PAUSE);
	assert_int_equal(owner.down, 1);
	assert_int_equal(last_step(), NODE_STEP_DIALOGUE);
	owner.up = 0;
	run_until(&owner.up);
	assert_int_equal(owner.dial->state, DIAL_UP);
	assert_int_equal(owner.failed, 0);
	dial_commit(owner.dial);
	dial_failed(owner.dial, (struct dial_fault){ UNREACHED_CLOSED });
	assert_int_equal(owner.failed, 1);
	assert_int_equal(owner.failure, UNREACHED_CLOSED);
	assert_int_equal(owner.down, 2);
	assert_int_equal(atomic_load(&f.router.snapshot->nodes[0]->dial_errors), 1);
}

/* The window that is over then is not the node's failure for the breaker. */
static void test_a_verdict_that_does_not_come(void **state)
{
	struct owner owner = { 0 };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start_with(&owner, 2);
	run_until(&owner.up);
	dial_commit(owner.dial);
	dial_expired(owner.dial);
	assert_int_equal(owner.failed, 1);
	assert_int_equal(owner.failure, UNREACHED_NO_VERDICT);
	assert_int_equal(atomic_load(&f.router.snapshot->nodes[0]->dial_errors), 1);
}

/* Nothing says that it was the node, where it was not. */
static void test_what_is_not_the_nodes(void **state)
{
	(void)state;
	for (int i = REACH_NO_FAILURE + 1; i < REACH_FAILURE_COUNT; i++) {
		const struct reach_failure_row *row = &reach_failures[i];

		if (row->blame == BLAME_COUNTED || row->event == HEALTH_NONE)
			continue;
		fail_msg("%s: the breaker hears what dial_errors does not count", row->name);
	}
	assert_int_equal(reach_failures[UNREACHED_SHORTAGE].blame, BLAME_OURS);
	assert_true(reach_failures[UNREACHED_SHORTAGE].again);
	assert_int_equal(reach_failures[UNREACHED_NO_SECRET].event, HEALTH_NONE);
	assert_false(reach_failures[UNREACHED_NO_SECRET].again);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_several_nodes_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_node_that_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_given_up_calls_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_window_that_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_talk_that_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_verdict_that_does_not_come, setup, teardown),
		cmocka_unit_test(test_what_is_not_the_nodes),
	};
	int r;

	if (tls_process_init() < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tls_process_fini();
	return r;
}
