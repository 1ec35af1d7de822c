// SPDX-License-Identifier: Apache-2.0
/* Plain legs over TCP that are watched for edges: where recv() returns less than it was asked for
 * though there is more, and where it returns just that. */
#include "unit/relayed.h"

#include "unit/tcp_pair.h"

#include <sys/epoll.h>

static bool has_edges(const struct session *s)
{
	return s->relay->watches[RELAY_CLIENT].events & EPOLLET;
}

static int far_fd(const struct session *s, int leg)
{
	return s->ends[leg].far.fd;
}

static void say(struct session *s, const char *text)
{
	assert_int_equal(
		send(far_fd(s, RELAY_CLIENT), text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void talk(struct session *s)
{
	for (int i = 0; i < RELAY_EDGE_EVENTS; i++) {
		say(s, "hello");
		expect_at_node(s, "hello", 5);
	}
	assert_true(has_edges(s));
}

static void begin(struct session *s)
{
	prepare(s);
	for (int leg = 0; leg < 2; leg++) {
		int fds[2];

		tcp_pair(fds);
		stream_init_plain(&s->ends[leg].far, fds[0]);
		stream_init_plain(&s->ends[leg].near, fds[1]);
	}
	start_new(s, RELAY_MODE_COPY);
	talk(s);
}

/* recv() stops at an urgent byte, which is not of the stream, and what is behind it is no new
 * event. */
static void test_behind_an_urgent_byte(void **state)
{
	struct session s;

	(void)state;
	begin(&s);
	for (int i = 0; i < 3; i++) {
		say(&s, "before");
		assert_int_equal(send(far_fd(&s, RELAY_CLIENT), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
		say(&s, "behind");
		expect_at_node(&s, "beforebehind", 12);
		talk(&s);
	}
	/* alone, and at the end */
	assert_int_equal(send(far_fd(&s, RELAY_CLIENT), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	say(&s, "behind");
	expect_at_node(&s, "behind", 6);
	say(&s, "before");
	assert_int_equal(send(far_fd(&s, RELAY_CLIENT), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	expect_at_node(&s, "before", 6);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_run_once(&s.loop, 0), 0);
	talk(&s);
	finish(&s);
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
			struct session s;
			char byte;

			begin(&s);
			s.relay->io[RELAY_UP].chunk = 0;
			assert_int_equal(send(far_fd(&s, RELAY_CLIENT), text, n, MSG_NOSIGNAL), n);
			if (with_end)
				shutdown(far_fd(&s, RELAY_CLIENT), SHUT_WR);
			expect_at_node(&s, text, n);
			if (!with_end) {
				talk(&s);
				shutdown(far_fd(&s, RELAY_CLIENT), SHUT_WR);
			}
			for (int i = 0; recv(far_fd(&s, RELAY_NODE), &byte, 1, MSG_DONTWAIT) != 0;
				i++) {
				assert_in_range(i, 0, 1000);
				assert_int_equal(loop_run_once(&s.loop, 5), 0);
			}
			finish(&s);
		}
	}
}

/* A reset behind data, and one alone. */
static void test_a_reset_is_seen(void **state)
{
	(void)state;
	for (int with_data = 0; with_data < 2; with_data++) {
		struct session s;

		begin(&s);
		if (with_data)
			say(&s, "hello");
		sock_abort_on_close(far_fd(&s, RELAY_CLIENT));
		stream_close(&s.ends[RELAY_CLIENT].far);
		for (int i = 0; !s.done; i++) {
			assert_in_range(i, 0, 1000);
			assert_int_equal(loop_run_once(&s.loop, 5), 0);
		}
		assert_int_equal(s.end, RELAY_END_CLIENT_ERROR);
		finish(&s);
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
