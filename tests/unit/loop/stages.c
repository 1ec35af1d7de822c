// SPDX-License-Identifier: Apache-2.0
/* Turns of logins (LIB-8), with a clock that only work moves. Every source is always ready, so
 * epoll tells of it in each turn. */
#include "unit.h"

#include "loop/stages.h"
#include "unit/fake_clock.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define MANY 600
#define NS_PER_MS 1000000u

struct source {
	struct loop_staged staged;
	int fd;
	unsigned calls, cost_ms;
	struct source *kills; /* removes that one when it is called */
	struct source *wakes; /* and has that one listen */
	uint32_t events;      /* of the last call */
	char name;
};

static struct loop loop;
static char calls[4096]; /* names in the order of the calls */
static size_t call_count;

static void source_end(struct source *source)
{
	loop_watch_del(&source->staged.watch);
	close(source->fd);
}

static void on_source(struct loop_watch *watch, uint32_t epoll_events)
{
	struct source *source = container_of(watch, struct source, staged.watch);

	source->calls++;
	source->events = epoll_events;
	assert_true(call_count < sizeof(calls) - 1);
	calls[call_count++] = source->name;
	fake_now_ms += source->cost_ms;
	if (source->wakes)
		assert_int_equal(loop_watch_set(&source->wakes->staged.watch, EPOLLIN), 0);
	if (source->kills) {
		source_end(source->kills);
		memset(&source->kills->staged, 0xff, sizeof(source->kills->staged)); /* freed */
		source->kills = NULL;
	}
}

static void source_start(struct source *source, char name, enum loop_stage stage, unsigned cost_ms)
{
	*source = (struct source){ .fd = eventfd(1, EFD_CLOEXEC), .name = name };
	assert_true(source->fd >= 0);
	source->cost_ms = cost_ms;
	loop_watch_set_stage(&source->staged, stage);
	assert_int_equal(
		loop_watch_add(&loop, &source->staged.watch, source->fd, EPOLLIN, on_source), 0);
}

/* One turn; what it called, in order. It must not wait: something is always ready. */
static const char *turn(void)
{
	call_count = 0;
	assert_int_equal(loop_run_once(&loop, -1), 0);
	calls[call_count] = '\0';
	return calls;
}

static int setup(void **state)
{
	(void)state;
	return loop_init(&loop);
}

static int teardown(void **state)
{
	(void)state;
	loop_fini(&loop);
	return 0;
}

static uint64_t left(void)
{
	return atomic_load(&loop.stages.left);
}

/* LIB-8: sessions first, then logins from the latest stage to the first, accepting last. */
static void test_the_latest_stage_first(void **state)
{
	static const struct {
		char name;
		enum loop_stage stage;
	} rows[] = { { 'x', LOOP_ACCEPT }, { 't', LOOP_TALK }, { 'h', LOOP_HANDSHAKE },
		{ 'a', LOOP_ANSWER }, { 's', LOOP_AT_ONCE }, { 'd', LOOP_DIAL },
		{ 'b', LOOP_HELLO }, { 'c', LOOP_SECURE } };
	struct source sources[ARRAY_SIZE(rows)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		source_start(&sources[i], rows[i].name, rows[i].stage, 0);
	assert_string_equal(turn(), "sacdthbx");
	assert_int_equal(left(), 0);
	assert_int_equal(atomic_load(&loop.stages.full_turns), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		source_end(&sources[i]);
}

/* LIB-8, LIB-9: the budget is spent from the latest stage on, and of each other one has its turn.
 * What is left is where it was when the next turn begins, whatever epoll says again. */
static void test_what_is_left_goes_on_in_the_next_turn(void **state)
{
	struct source answers[4], shakes[3], session, listener;
	uint64_t start_ms = fake_now_ms;

	(void)state;
	assert_int_equal(loop.stages.budget_ns, NS_PER_MS / 2);
	loop.stages.budget_ns = 2 * NS_PER_MS;
	source_start(&listener, 'x', LOOP_ACCEPT, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(shakes); i++)
		source_start(&shakes[i], (char)('1' + i), LOOP_HANDSHAKE, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		source_start(&answers[i], (char)('a' + i), LOOP_ANSWER, 1);
	source_start(&session, 's', LOOP_AT_ONCE, 0);
	assert_string_equal(turn(), "sasbs1sx");
	assert_int_equal(left(), 7); /* epoll told once more of a, b and 1, meanwhile */
	assert_int_equal(atomic_load(&loop.stages.oldest_ms), start_ms);
	assert_int_equal(atomic_load(&loop.stages.full_turns), 1);
	assert_string_equal(turn(), "scsds2sx"); /* not a and b again */
	assert_string_equal(turn(), "sasbs3sx");
	assert_int_equal(atomic_load(&loop.stages.full_turns), 3);
	source_end(&shakes[0]); /* it came to the list in the first turn, c in the second */
	assert_string_equal(turn(), "scsds2sx");
	assert_int_equal(atomic_load(&loop.stages.oldest_ms), start_ms + 6);
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		source_end(&answers[i]);
	for (unsigned i = 1; i < ARRAY_SIZE(shakes); i++)
		source_end(&shakes[i]);
	assert_string_equal(turn(), "sx");
	assert_int_equal(left(), 0);
	assert_int_equal(atomic_load(&loop.stages.oldest_ms), 0);
	source_end(&session);
	source_end(&listener);
}

/* LIB-8: between two logins sessions have their turn when the first of them took its time, and not
 * else. */
static void test_sessions_go_on_between_logins(void **state)
{
	struct source logins[3], session;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(logins); i++)
		source_start(&logins[i], (char)('1' + i), LOOP_TALK, 0);
	source_start(&session, 's', LOOP_AT_ONCE, 0);
	loop.stages.budget_ns = 100 * NS_PER_MS;
	assert_string_equal(turn(), "s123");
	logins[1].cost_ms = 1;
	/* With what epoll told of then, the turn goes on: there is time. */
	assert_string_equal(turn(), "s12s312");
	for (unsigned i = 0; i < ARRAY_SIZE(logins); i++)
		source_end(&logins[i]);
	source_end(&session);
}

/* LIB-8: what sessions take between them is none of the logins' time. */
static void test_sessions_do_not_spend_the_budget(void **state)
{
	struct source logins[4], session;

	(void)state;
	loop.stages.budget_ns = 3 * NS_PER_MS;
	for (unsigned i = 0; i < ARRAY_SIZE(logins); i++)
		source_start(&logins[i], (char)('1' + i), LOOP_TALK, 1);
	source_start(&session, 's', LOOP_AT_ONCE, 5);
	assert_string_equal(turn(), "s1s2s3");
	for (unsigned i = 0; i < ARRAY_SIZE(logins); i++)
		source_end(&logins[i]);
	source_end(&session);
}

/* What a session does then may end all logins that wait. */
static void test_a_session_ends_who_waits(void **state)
{
	struct source logins[2], session;

	(void)state;
	loop.stages.budget_ns = 100 * NS_PER_MS;
	source_start(&logins[0], '1', LOOP_TALK, 1);
	source_start(&logins[1], '2', LOOP_TALK, 1);
	source_start(&session, 's', LOOP_AT_ONCE, 0);
	assert_int_equal(loop_watch_set(&session.staged.watch, 0), 0);
	assert_int_equal(loop_watch_set(&logins[0].staged.watch, EPOLLIN | EPOLLET), 0);
	logins[0].wakes = &session;
	session.kills = &logins[1];
	assert_string_equal(turn(), "1s");
	source_end(&logins[0]);
	source_end(&session);
}

/* LIB-8: whatever is flooded, every other stage goes on, and each of the flood has its turn. */
static void test_nothing_starves(void **state)
{
	struct source flood[8], others[LOOP_STAGES];

	(void)state;
	loop.stages.budget_ns = 0;
	for (int flooded = LOOP_AT_ONCE + 1; flooded < LOOP_STAGES; flooded++) {
		for (unsigned i = 0; i < ARRAY_SIZE(flood); i++)
			source_start(&flood[i], 'f', (enum loop_stage)flooded, 3);
		for (int stage = LOOP_AT_ONCE; stage < LOOP_STAGES; stage++)
			source_start(&others[stage], 'o', (enum loop_stage)stage, 3);
		for (unsigned i = 0; i <= ARRAY_SIZE(flood); i++)
			/* One of each, the session before each. */
			assert_int_equal(strlen(turn()), 2 * (LOOP_STAGES - 1));
		source_end(&others[LOOP_AT_ONCE]);
		for (int stage = LOOP_AT_ONCE + 1; stage < LOOP_STAGES; stage++) {
			assert_int_equal(
				others[stage].calls, stage == flooded ? 1 : ARRAY_SIZE(flood) + 1);
			source_end(&others[stage]);
		}
		for (unsigned i = 0; i < ARRAY_SIZE(flood); i++) {
			assert_int_equal(flood[i].calls, 1);
			source_end(&flood[i]);
		}
	}
}

/* In the same turn, or while it waits for its own. */
static void test_who_is_removed_is_not_called(void **state)
{
	struct source sources[3], late;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++)
		source_start(&sources[i], (char)('a' + i), LOOP_TALK, 3);
	source_start(&late, 'x', LOOP_ACCEPT, 0);
	sources[0].kills = &sources[1];
	assert_string_equal(turn(), "ax");
	assert_int_equal(left(), 2); /* and a again */
	sources[2].kills = &late;
	assert_string_equal(turn(), "c");
	assert_int_equal(sources[1].calls, 0);
	source_end(&sources[0]);
	source_end(&sources[2]);
	assert_int_equal(loop_run_once(&loop, 0), 0);
	assert_int_equal(left(), 0);
}

static void test_a_stage_may_change_while_it_waits(void **state)
{
	struct source first, second, moved;
	struct loop_watch elsewhere = { 0 };

	(void)state;
	source_start(&first, 'a', LOOP_HANDSHAKE, 3);
	source_start(&second, 'b', LOOP_HANDSHAKE, 3);
	source_start(&moved, 'm', LOOP_HANDSHAKE, 3);
	assert_string_equal(turn(), "a");
	loop_watch_set_stage(&moved.staged, LOOP_ANSWER);
	assert_int_equal(loop.stages.waiting, 2);
	assert_string_equal(turn(), "mb");
	/* Logged in: no list has it any more. */
	assert_string_equal(turn(), "ma");
	loop_watch_set_stage(&first.staged, LOOP_AT_ONCE);
	loop_watch_set_stage(&second.staged, LOOP_AT_ONCE);
	assert_int_equal(loop.stages.waiting, 1); /* m again */
	assert_int_equal(strlen(turn()), 3);
	/* Nor when the watch goes to another owner, who has no place in a list. */
	loop_watch_set_stage(&first.staged, LOOP_TALK);
	loop_watch_set_stage(&second.staged, LOOP_TALK);
	assert_int_equal(strlen(turn()), 2);
	assert_int_equal(loop.stages.waiting, 2);
	loop_watch_move(
		list_linked(&first.staged.ready) ? &first.staged.watch : &second.staged.watch,
		&elsewhere, on_source);
	assert_int_equal(loop.stages.waiting, 1);
	assert_int_equal(elsewhere.stage, LOOP_AT_ONCE);
	loop_watch_del(&elsewhere);
	source_end(&first);
	source_end(&second);
	source_end(&moved);
}

/* What the owner asks for no more is not told, though it was true when the wait ended. */
static void test_what_nobody_asks_for_is_left_out(void **state)
{
	struct source first, second;

	(void)state;
	source_start(&first, 'a', LOOP_TALK, 3);
	source_start(&second, 'b', LOOP_TALK, 3);
	assert_string_equal(turn(), "a");
	assert_int_equal(loop_watch_set(&second.staged.watch, 0), 0);
	assert_string_equal(turn(), "a"); /* b costs no turn */
	assert_int_equal(second.calls, 0);
	assert_int_equal(loop_watch_set(&second.staged.watch, EPOLLIN | EPOLLOUT), 0);
	(void)turn();
	assert_int_equal(second.calls + first.calls, 3);
	(void)turn();
	assert_int_equal(second.events, EPOLLIN | EPOLLOUT);
	source_end(&first);
	source_end(&second);
}

/* More wait than one wait of epoll's tells of: a session stands behind them and is found all the
 * same, in the turn in which it has something. */
static void test_a_session_is_found_behind_many(void **state)
{
	static struct source many[MANY];
	struct source session;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		source_start(&many[i], 'm', LOOP_HANDSHAKE, 3);
	for (unsigned i = 0; i < MANY / 256 + 1; i++)
		(void)turn();
	assert_int_equal(loop.stages.waiting, MANY - 1);
	source_start(&session, 's', LOOP_AT_ONCE, 0);
	for (unsigned i = 1; i <= 20; i++) {
		(void)turn();
		assert_true(session.calls >= i);
		session.calls = i; /* epoll may tell of it twice in one turn */
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(many[i].calls <= 1);
		source_end(&many[i]);
	}
	source_end(&session);
}

static unsigned told_elsewhere;

static void on_elsewhere(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	told_elsewhere += epoll_events == EPOLLIN;
}

/* Where many wait, epoll is told to be silent of them. Each still has its turn, and is heard again
 * when it has had it, or when it is no login any more. */
static void test_many_are_muted_and_none_is_lost(void **state)
{
	static struct source many[MANY];
	struct loop_watch elsewhere = { 0 };
	unsigned muted = 0;

	(void)state;
	loop.stages.budget_ns = 0;
	for (unsigned i = 0; i < MANY; i++)
		source_start(&many[i], 'm', LOOP_TALK, 3);
	for (unsigned i = 0; i < 10; i++)
		(void)turn();
	for (unsigned i = 0; i < MANY; i++)
		muted += many[i].staged.muted;
	assert_in_range(muted, MANY - 200, MANY);
	assert_true(many[MANY - 1].staged.muted && many[MANY - 2].staged.muted &&
		many[MANY - 3].staged.muted && many[MANY - 4].staged.muted);
	loop_watch_set_stage(&many[MANY - 1].staged, LOOP_AT_ONCE);
	assert_int_equal(loop_watch_set(&many[MANY - 2].staged.watch, EPOLLIN | EPOLLRDHUP), 0);
	assert_false(many[MANY - 2].staged.muted);
	loop_watch_set_stage(&many[MANY - 3].staged, LOOP_ANSWER); /* goes on in another list */
	assert_true(many[MANY - 3].staged.muted);
	loop_watch_move(&many[MANY - 4].staged.watch, &elsewhere, on_elsewhere);
	for (unsigned i = 0; i < 10; i++)
		(void)turn();
	assert_in_range(many[MANY - 1].calls, 10, 20);
	assert_int_equal(many[MANY - 3].calls, 10);
	assert_in_range(told_elsewhere, 10, 20);
	loop_watch_del(&elsewhere);
	source_end(&many[MANY - 1]);
	source_end(&many[MANY - 3]);
	close(many[MANY - 4].fd);
	for (unsigned i = 0; i < 2 * MANY; i++)
		(void)turn();
	for (unsigned i = 0; i < MANY; i++) {
		if (i == MANY - 1 || i == MANY - 3 || i == MANY - 4)
			continue;
		assert_in_range(many[i].calls, 2, 3);
		source_end(&many[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_latest_stage_first),
		TEST(test_what_is_left_goes_on_in_the_next_turn),
		TEST(test_sessions_go_on_between_logins),
		TEST(test_sessions_do_not_spend_the_budget),
		TEST(test_a_session_ends_who_waits),
		TEST(test_nothing_starves),
		TEST(test_who_is_removed_is_not_called),
		TEST(test_a_stage_may_change_while_it_waits),
		TEST(test_what_nobody_asks_for_is_left_out),
		TEST(test_a_session_is_found_behind_many),
		TEST(test_many_are_muted_and_none_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
