// SPDX-License-Identifier: Apache-2.0
/* Handles that outlive what they named, timers against a model, mailboxes from many threads. */
#include "unit.h"

#include "base/clock.h"
#include "loop/loop.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
	struct loop_watch watch;
	struct pair *other;
	int fds[2];
	unsigned calls;
};

static void on_pair(struct loop_watch *watch, uint32_t events)
{
	struct pair *pair = container_of(watch, struct pair, watch);

	(void)events;
	pair->calls++;
	/* Both are readable in one batch: whoever comes first removes the other. */
	loop_watch_del(&pair->other->watch);
	close(pair->other->fds[0]);
	memset(&pair->other->watch, 0xff, sizeof(pair->other->watch)); /* as if freed */
}

static void test_removed_watch_is_not_called(void **state)
{
	struct loop loop;
	struct pair pairs[2] = { 0 };

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	for (int i = 0; i < 2; i++) {
		pairs[i].other = &pairs[!i];
		assert_int_equal(pipe(pairs[i].fds), 0);
		assert_int_equal(
			loop_watch_add(&loop, &pairs[i].watch, pairs[i].fds[0], EPOLLIN, on_pair),
			0);
		assert_int_equal(write(pairs[i].fds[1], "x", 1), 1);
	}
	assert_int_equal(loop_run_once(&loop, 1000), 0);
	assert_int_equal(pairs[0].calls + pairs[1].calls, 1);
	for (int i = 0; i < 2; i++) {
		if (pairs[i].calls) {
			loop_watch_del(&pairs[i].watch);
			close(pairs[i].fds[0]);
		}
		close(pairs[i].fds[1]);
	}
	loop_fini(&loop);
}

#define TIMERS 500

static uint64_t last_at;
static unsigned fired;

static void on_timer(struct timer *timer)
{
	assert_true(timer->at >= last_at);
	last_at = timer->at;
	fired++;
}

/* Random set, reset and removal; what fires, fires in order and exactly once. */
static void test_timers_against_a_model(void **state)
{
	static struct timer timers[TIMERS];
	struct timer_heap heap = { 0 };
	struct timer *timer;
	timer_fn *fn;
	unsigned armed = 0;

	(void)state;
	srand(42);
	for (int i = 0; i < 20000; i++) {
		timer = &timers[rand() % TIMERS];
		if (rand() % 3)
			timer_heap_add(&heap, timer, (uint64_t)(rand() % 1000), on_timer);
		else
			timer_heap_del(&heap, timer);
	}
	for (int i = 0; i < TIMERS; i++)
		armed += timer_armed(&timers[i]);
	while ((timer = timer_heap_take_due(&heap, 1000, &fn))) {
		assert_false(timer_armed(timer));
		fn(timer);
	}
	assert_int_equal(fired, armed);
	assert_true(timer_heap_first(&heap) == UINT64_MAX);
}

struct message {
	struct post post;
	unsigned thread, number;
};

static unsigned received[4], total;
static struct loop *receiver;

static void on_message(struct post *post)
{
	struct message *message = container_of(post, struct message, post);

	assert_int_equal(message->number, received[message->thread]); /* in posting order */
	received[message->thread]++;
	if (++total == 4 * 10000)
		loop_stop(receiver);
	free(message);
}

static void *sender(void *arg)
{
	for (unsigned i = 0; i < 10000; i++) {
		struct message *message = calloc(1, sizeof(*message));

		message->thread = (unsigned)(uintptr_t)arg;
		message->number = i;
		assert_true(mailbox_send(&receiver->mailbox, &message->post, on_message));
	}
	return NULL;
}

static void test_mailbox_from_threads(void **state)
{
	struct message late;
	pthread_t threads[4];
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	receiver = &loop;
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, sender, (void *)i);
	assert_int_equal(loop_run(&loop), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(total, 40000);
	mailbox_close(&loop.mailbox);
	assert_false(mailbox_send(&loop.mailbox, &late.post, on_message));
	loop_fini(&loop);
}

struct again {
	struct timer timer;
	struct loop *loop;
	unsigned runs;
};

static void on_again(struct timer *timer)
{
	struct again *again = container_of(timer, struct again, timer);

	again->runs++;
	loop_timer_set(again->loop, timer, 0, on_again);
}

static void test_timer_for_now_runs_in_the_next_batch(void **state)
{
	struct loop loop;
	struct again again = { .loop = &loop };

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_timer_set(&loop, &again.timer, 0, on_again);
	/* Once in each batch, also in many within one millisecond, and without a wait. */
	for (unsigned i = 1; i <= 1000; i++) {
		assert_int_equal(loop_run_once(&loop, -1), 0);
		assert_int_equal(again.runs, i);
	}
	loop_timer_del(&loop, &again.timer);
	loop_fini(&loop);
}

static void on_due(struct timer *timer)
{
	assert_true(clock_mono_ms() >= timer->at >> 16); /* TURN_BITS */
	fired++;
}

/* The kernel's timer follows the first of ours when that comes before it, and else stays: then it
 * wakes the loop for nothing, once. */
static void test_alarm_is_no_later_than_the_first_timer(void **state)
{
	struct timer soon = { 0 }, middle = { 0 }, late = { 0 };
	uint64_t start_ms = clock_mono_ms(), alarm_ms;
	struct loop loop;

	(void)state;
	fired = 0;
	assert_int_equal(loop_init(&loop), 0);
	loop_timer_set(&loop, &middle, 2000, on_due);
	assert_int_equal(loop_run_once(&loop, 0), 0);
	alarm_ms = loop.alarm_ms;
	assert_in_range(alarm_ms, start_ms + 2000, start_ms + 10000);
	loop_timer_set(&loop, &late, 60000, on_due);
	assert_int_equal(loop_run_once(&loop, 0), 0);
	assert_int_equal(loop.alarm_ms, alarm_ms);
	loop_timer_set(&loop, &soon, 1000, on_due);
	assert_int_equal(loop_run_once(&loop, 0), 0);
	assert_true(loop.alarm_ms < alarm_ms);
	loop_timer_del(&loop, &soon);
	assert_int_equal(loop_run_once(&loop, -1), 0); /* for what is not due any more */
	if (clock_mono_ms() < alarm_ms)
		assert_int_equal(fired, 0);
	while (!fired)
		assert_int_equal(loop_run_once(&loop, -1), 0);
	assert_in_range(clock_mono_ms(), alarm_ms, alarm_ms + 10000);
	loop_timer_del(&loop, &late);
	loop_fini(&loop);
}

/* Each in its time, whatever came in between: a loop that waits without a limit. */
static void test_timers_wake_the_loop(void **state)
{
	static struct timer timers[100];
	struct loop loop;

	(void)state;
	fired = 0;
	assert_int_equal(loop_init(&loop), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(timers); i++) {
		loop_timer_set(&loop, &timers[i], i * 37 % 100, on_due);
		if (i % 7 == 0)
			assert_int_equal(loop_run_once(&loop, 0), 0);
	}
	while (fired < ARRAY_SIZE(timers))
		assert_int_equal(loop_run_once(&loop, -1), 0);
	loop_fini(&loop);
}

struct end {
	struct loop_watch watch;
	unsigned events;
};

static void on_end(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)epoll_events;
	container_of(watch, struct end, watch)->events++;
}

static void on_nothing(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	fail_msg("an event for a watch that gave its descriptor away: %x", epoll_events);
}

static void test_moved_watch_and_forgotten_watch(void **state)
{
	struct loop_watch first = { 0 };
	struct end second = { .events = 0 };
	struct loop loop;
	int ends[2];

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(loop_watch_add(&loop, &first, ends[0], EPOLLIN, on_nothing), 0);
	loop_watch_move(&first, &second.watch, on_end);
	assert_null(first.loop);
	loop_watch_del(&first); /* changes nothing */
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(loop_run_once(&loop, 1000), 0);
	assert_int_equal(second.events, 1);
	assert_int_equal(loop_watch_set(&second.watch, EPOLLOUT), 0);
	assert_int_equal(loop_run_once(&loop, 1000), 0);
	assert_int_equal(second.events, 2);
	loop_watch_forget(&second.watch);
	close(ends[0]);
	assert_int_equal(
		loop_watch_add(&loop, &first, ends[1], 0, on_nothing), 0); /* the slot is free */
	assert_int_equal(first.slot, second.watch.slot);
	loop_watch_del(&first);
	close(ends[1]);
	loop_fini(&loop);
}

static unsigned posts_run;

static void on_counted(struct post *post)
{
	(void)post;
	posts_run++;
}

static uint64_t wakes_of(struct mailbox *mailbox)
{
	uint64_t value = 0;

	return read(mailbox->event_fd, &value, sizeof(value)) < 0 ? 0 : value;
}

/* More mailboxes than are held: the others are woken at once. */
static void test_held_messages_wake_once(void **state)
{
	static struct mailbox mailboxes[40];
	static struct post posts[40][2];
	unsigned woken = 0;

	(void)state;
	for (int i = 0; i < 40; i++)
		assert_int_equal(mailbox_init(&mailboxes[i]), 0);
	mailbox_hold();
	for (int i = 0; i < 40; i++) {
		assert_true(mailbox_send(&mailboxes[i], &posts[i][0], on_counted));
		assert_true(mailbox_send(&mailboxes[i], &posts[i][1], on_counted));
	}
	assert_int_equal(wakes_of(&mailboxes[0]), 0);
	for (int i = 1; i < 40; i++)
		woken += (unsigned)wakes_of(&mailboxes[i]);
	assert_true(woken < 39);
	mailbox_wake_held();
	for (int i = 0; i < 40; i++)
		woken += (unsigned)wakes_of(&mailboxes[i]);
	assert_int_equal(woken, 40);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(mailbox_run(&mailboxes[i]), 2);
		mailbox_fini(&mailboxes[i]);
	}
	assert_true(posts_run >= 80);
}

struct guarded {
	struct loop loop;
	pthread_mutex_t guard;
	struct timer timer;
	unsigned fired;
};

static void on_guarded_timer(struct timer *timer)
{
	struct guarded *g = container_of(timer, struct guarded, timer);

	if (++g->fired == 3)
		loop_stop(&g->loop);
}

static void *guarded_main(void *arg)
{
	struct guarded *g = arg;

	pthread_mutex_lock(&g->guard);
	assert_int_equal(loop_run(&g->loop), 0);
	pthread_mutex_unlock(&g->guard);
	return NULL;
}

/* A loop that waits for nothing is told of timers, due later and now, by who holds its guard. */
static void test_guest_sets_a_timer(void **state)
{
	static struct guarded g = { .guard = PTHREAD_MUTEX_INITIALIZER };
	pthread_t thread;
	unsigned seen = 0;

	(void)state;
	assert_int_equal(loop_init(&g.loop), 0);
	g.loop.guard = &g.guard;
	assert_int_equal(pthread_create(&thread, NULL, guarded_main, &g), 0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_mutex_lock(&g.guard);
		loop_timer_set(&g.loop, &g.timer, i == 1 ? 0 : 5, on_guarded_timer);
		loop_guest_done(&g.loop);
		pthread_mutex_unlock(&g.guard);
		for (int wait = 0; wait < 20000 && seen == i; wait++) {
			usleep(1000);
			pthread_mutex_lock(&g.guard);
			seen = g.fired;
			pthread_mutex_unlock(&g.guard);
		}
		assert_int_equal(seen, i + 1);
	}
	pthread_join(thread, NULL);
	loop_fini(&g.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_removed_watch_is_not_called),
		cmocka_unit_test(test_timers_against_a_model),
		cmocka_unit_test(test_mailbox_from_threads),
		cmocka_unit_test(test_timer_for_now_runs_in_the_next_batch),
		cmocka_unit_test(test_alarm_is_no_later_than_the_first_timer),
		cmocka_unit_test(test_timers_wake_the_loop),
		cmocka_unit_test(test_moved_watch_and_forgotten_watch),
		cmocka_unit_test(test_held_messages_wake_once),
		cmocka_unit_test(test_guest_sets_a_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
