// SPDX-License-Identifier: Apache-2.0
/* Plain legs over TCP that are watched for edges: where recv() returns less than it was asked for
 * though there is more, and where it returns just that. */
#include "unit.h"

#include "relay/frame.h"
#include "unit/tcp_pair.h"

#include <sys/epoll.h>

struct fixture {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	int far[2]; /* per leg */
	bool done;
	enum relay_end end;
};

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct fixture *f = arg;

	(void)relay;
	f->done = true;
	f->end = end;
}

static bool has_edges(const struct fixture *f)
{
	return f->relay->watches[RELAY_CLIENT].events & EPOLLET;
}

/* Of n bytes from the client nothing is missing at the node in the end. */
static void expect(struct fixture *f, const char *want, size_t n)
{
	static char got[1 << 20];
	size_t have = 0;

	for (int i = 0; have < n; i++) {
		ssize_t r;

		assert_in_range(i, 0, 1000);
		assert_int_equal(loop_run_once(&f->loop, 5), 0);
		r = recv(f->far[RELAY_NODE], got + have, sizeof(got) - have, MSG_DONTWAIT);
		assert_true(r > 0 || (r < 0 && errno == EAGAIN));
		have += r > 0 ? (size_t)r : 0;
	}
	assert_int_equal(have, n);
	assert_memory_equal(got, want, n);
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(
		send(f->far[RELAY_CLIENT], text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void talk(struct fixture *f)
{
	for (int i = 0; i < RELAY_EDGE_EVENTS; i++) {
		say(f, "hello");
		expect(f, "hello", 5);
	}
	assert_true(has_edges(f));
}

static void setup(struct fixture *f)
{
	static struct relay_kernel kernel;
	struct relay_params params = {
		.engine = &f->engine,
		.settings = { .mode = RELAY_MODE_COPY },
		.protocol = "test",
		.idle_ms = 60000,
		.owed_ms = 5000,
		.done = on_done,
		.arg = f,
	};
	struct buf early[2] = { { 0 }, { 0 } };
	struct stream legs[2];

	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(relay_engine_init(&f->engine, &f->loop, &kernel, 0), 0);
	for (int leg = 0; leg < 2; leg++) {
		int fds[2];

		tcp_pair(fds);
		f->far[leg] = fds[0];
		stream_init_plain(&legs[leg], fds[1]);
	}
	assert_int_equal(relay_start(&params, legs, early, &f->relay), 0);
	talk(f);
}

static void teardown(struct fixture *f)
{
	relay_free(f->relay);
	relay_engine_fini(&f->engine);
	for (int leg = 0; leg < 2; leg++)
		close(f->far[leg]);
	loop_fini(&f->loop);
}

/* recv() stops at an urgent byte, which is not of the stream, and what is behind it is no new
 * event. */
static void test_behind_an_urgent_byte(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (int i = 0; i < 3; i++) {
		say(&f, "before");
		assert_int_equal(send(f.far[RELAY_CLIENT], "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
		say(&f, "behind");
		expect(&f, "beforebehind", 12);
		talk(&f);
	}
	/* alone, and at the end */
	assert_int_equal(send(f.far[RELAY_CLIENT], "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	say(&f, "behind");
	expect(&f, "behind", 6);
	say(&f, "before");
	assert_int_equal(send(f.far[RELAY_CLIENT], "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	expect(&f, "before", 6);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_run_once(&f.loop, 0), 0);
	talk(&f);
	teardown(&f);
}

/* As much as one read asks for, or a byte more or less: with the end behind it, or at once more. */
static void test_just_what_a_read_asks_for(void **state)
{
	static char text[RELAY_CHUNK_BYTES + RELAY_SLACK_BYTES + 1];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (int with_end = 0; with_end < 2; with_end++) {
		for (int less = 0; less < 3; less++) {
			size_t n = sizeof(text) - (size_t)less;
			struct fixture f;
			char byte;

			setup(&f);
			f.relay->io[RELAY_UP].chunk = 0;
			assert_int_equal(send(f.far[RELAY_CLIENT], text, n, MSG_NOSIGNAL), n);
			if (with_end)
				shutdown(f.far[RELAY_CLIENT], SHUT_WR);
			expect(&f, text, n);
			if (!with_end) {
				talk(&f);
				shutdown(f.far[RELAY_CLIENT], SHUT_WR);
			}
			for (int i = 0; recv(f.far[RELAY_NODE], &byte, 1, MSG_DONTWAIT) != 0; i++) {
				assert_in_range(i, 0, 1000);
				assert_int_equal(loop_run_once(&f.loop, 5), 0);
			}
			teardown(&f);
		}
	}
}

/* A reset behind data, and one alone. */
static void test_a_reset_is_seen(void **state)
{
	(void)state;
	for (int with_data = 0; with_data < 2; with_data++) {
		struct fixture f;

		setup(&f);
		if (with_data)
			say(&f, "hello");
		sock_abort_on_close(f.far[RELAY_CLIENT]);
		close(f.far[RELAY_CLIENT]);
		for (int i = 0; !f.done; i++) {
			assert_in_range(i, 0, 1000);
			assert_int_equal(loop_run_once(&f.loop, 5), 0);
		}
		assert_int_equal(f.end, RELAY_END_CLIENT_ERROR);
		f.far[RELAY_CLIENT] = dup(f.far[RELAY_NODE]);
		teardown(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_behind_an_urgent_byte),
		cmocka_unit_test(test_just_what_a_read_asks_for),
		cmocka_unit_test(test_a_reset_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
