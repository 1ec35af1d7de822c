// SPDX-License-Identifier: Apache-2.0
/* Connecting: listeners on the loopback, an owner that notes what it is told. */
#include "unit.h"

#include "base/fd.h"
#include "net/connect.h"
#include "net/sock.h"

#include <errno.h>
#include <unistd.h>

struct fixture {
	struct loop loop;
	struct resolver *resolver;
	struct leg leg;
	struct connect connect;
	int listener, peer;
	struct addr at; /* of the listener */
	struct timer patience;
	bool gave_up;

	/* What it does. */
	bool goes_on; /* tries the next address after a failure */
	int address_says, preamble_says, secure_says;
	uint64_t limit_ms;
	const char *source, *preamble;
	/* What it was told. */
	unsigned ups, fails, secures;
	int outcome;
	enum connect_phase phase;
	uint16_t failed_port;
};

static struct fixture *of(struct connect *connect)
{
	return container_of(connect, struct fixture, connect);
}

static int on_address(struct connect *connect, const struct addr *addr, struct addr *ret_source,
	uint64_t *ret_limit_ms)
{
	struct fixture *f = of(connect);

	assert_true(addr_eq(addr, connect_addr(connect)));
	assert_false(addr_is_set(ret_source));
	if (f->source)
		assert_int_equal(addr_parse_ip(view_str(f->source), 0, ret_source), 0);
	*ret_limit_ms = f->limit_ms;
	return f->address_says;
}

static int on_preamble(struct connect *connect)
{
	struct fixture *f = of(connect);

	if (f->preamble)
		assert_int_equal(buf_append_str(&f->leg.out, f->preamble), 0);
	return f->preamble_says;
}

static int on_secure(struct connect *connect)
{
	struct fixture *f = of(connect);

	f->secures++;
	f->leg.stream.want = EPOLLIN;
	return f->secure_says;
}

static void on_up(struct connect *connect)
{
	assert_int_equal(connect->phase, CONNECT_UP);
	assert_false(connect_is_under_way(connect));
	of(connect)->ups++;
}

static void on_failed(struct connect *connect, int outcome)
{
	struct fixture *f = of(connect);

	f->fails++;
	f->outcome = outcome;
	f->phase = connect->phase;
	f->failed_port = connect_addr(connect) ? addr_port(connect_addr(connect)) : 0;
	if (f->goes_on && connect_has_next(connect))
		connect_next(connect);
}

static const struct connect_ops ops = {
	.address = on_address,
	.preamble = on_preamble,
	.secure = on_secure,
	.up = on_up,
	.failed = on_failed,
};

static void on_leg(struct loop_watch *watch, uint32_t epoll_events)
{
	struct fixture *f = container_of(watch, struct fixture, leg.watch);

	if (connect_is_under_way(&f->connect))
		connect_event(&f->connect, epoll_events);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(resolver_new(&f->loop, &f->resolver), 0);
	assert_int_equal(addr_parse(VIEW_LIT("127.0.0.1:0"), &f->at), 0);
	f->listener = sock_listen(&f->at, 0, 8);
	assert_true(f->listener >= 0);
	assert_int_equal(sock_local(f->listener, &f->at), 0);
	f->peer = -1;
	leg_init(&f->leg, 0, 0);
	f->connect = (struct connect){
		.ops = &ops, .loop = &f->loop, .resolver = f->resolver, .leg = &f->leg, .fn = on_leg
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	connect_stop(&f->connect);
	leg_close(&f->leg);
	resolver_free(f->resolver);
	loop_timer_del(&f->loop, &f->patience);
	fd_closep(&f->listener);
	fd_closep(&f->peer);
	loop_fini(&f->loop);
	free(f);
	return 0;
}

static void on_patience(struct timer *timer)
{
	container_of(timer, struct fixture, patience)->gave_up = true;
}

/* Until the count at `what` has been reached. */
static void run_until(struct fixture *f, const unsigned *what, unsigned count)
{
	f->gave_up = false;
	loop_timer_set(&f->loop, &f->patience, 20000, on_patience);
	while (*what < count && !f->gave_up)
		assert_int_equal(loop_run_once(&f->loop, -1), 0);
	assert_int_equal(*what, count);
}

static void run_for(struct fixture *f, uint64_t ms)
{
	f->gave_up = false;
	loop_timer_set(&f->loop, &f->patience, ms, on_patience);
	while (!f->gave_up)
		assert_int_equal(loop_run_once(&f->loop, -1), 0);
}

static void accept_peer(struct fixture *f, struct addr *ret_from)
{
	f->peer = sock_accept(f->listener, ret_from);
	assert_true(f->peer >= 0);
}

static void test_up(void **state)
{
	struct fixture *f = *state;
	struct addr from;
	char byte;

	f->source = "127.0.0.5";
	connect_start(&f->connect, "127.0.0.1", addr_port(&f->at));
	assert_int_equal(f->connect.phase, CONNECT_OPEN); /* an address is known at once */
	assert_int_equal(f->ups + f->fails, 0);           /* never inside */
	run_until(f, &f->ups, 1);
	assert_int_equal(f->fails, 0);
	assert_int_equal(f->secures, 0);
	accept_peer(f, &from);
	assert_true(addr_eq_ip(&from, &f->connect.source));
	assert_int_equal(stream_write(&f->leg.stream, "x", 1), 1);
	assert_int_equal(read(f->peer, &byte, 1), 1);
}

static void test_no_such_name(void **state)
{
	struct fixture *f = *state;

	connect_start(&f->connect, "bad..name", 1);
	run_until(f, &f->fails, 1);
	assert_int_equal(f->outcome, -ENOENT);
	assert_int_equal(f->phase, CONNECT_RESOLVE);
	assert_null(connect_addr(&f->connect));
	assert_false(connect_has_next(&f->connect));
}

/* A port that nobody listens on: one that was bound and let go. */
static struct addr dead_address(void)
{
	struct addr addr;
	int fd;

	assert_int_equal(addr_parse(VIEW_LIT("127.0.0.1:0"), &addr), 0);
	fd = sock_listen(&addr, 0, 1);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, &addr), 0);
	close(fd);
	return addr;
}

static void test_addresses_in_turn(void **state)
{
	struct fixture *f = *state;
	struct addr addrs[3] = { dead_address(), dead_address(), f->at };

	f->goes_on = true;
	connect_start_addrs(&f->connect, addrs, 3);
	run_until(f, &f->ups, 1);
	assert_int_equal(f->fails, 2);
	assert_int_equal(f->outcome, -ECONNREFUSED);
	assert_int_equal(f->phase, CONNECT_OPEN);
	assert_int_equal(f->failed_port, addr_port(&addrs[1]));
	assert_true(addr_eq(connect_addr(&f->connect), &f->at));
	accept_peer(f, &addrs[0]);
}

static void test_no_address_answers(void **state)
{
	struct fixture *f = *state;
	struct addr addrs[2] = { dead_address(), dead_address() };

	f->goes_on = true;
	connect_start_addrs(&f->connect, addrs, 2);
	run_until(f, &f->fails, 2);
	assert_int_equal(f->ups, 0);
	assert_false(connect_has_next(&f->connect));
}

/* What the owner says of an address comes back to it, and no connection is made. */
static void test_address_refused(void **state)
{
	struct fixture *f = *state;
	struct addr from;

	f->address_says = CONNECT_REFUSED + 1;
	connect_start_addrs(&f->connect, &f->at, 1);
	assert_int_equal(f->fails, 1);
	assert_int_equal(f->outcome, CONNECT_REFUSED + 1);
	assert_int_equal(f->phase, CONNECT_OPEN);
	assert_int_equal(sock_accept(f->listener, &from), -EAGAIN);
	assert_false(stream_is_open(&f->leg.stream));
}

/* A listener whose queue is full does not answer: the address has its time, then the next one. */
static void test_slow_address(void **state)
{
	struct fixture *f = *state;
	struct addr addrs[2] = { f->at, dead_address() };
	int crowd[4];

	assert_int_equal(listen(f->listener, 0), 0);
	for (int i = 0; i < 4; i++)
		crowd[i] = sock_connect_start(&f->at, NULL);
	f->limit_ms = 50;
	connect_start_addrs(&f->connect, addrs, 2);
	run_until(f, &f->fails, 1);
	assert_int_equal(f->outcome, CONNECT_SLOW);
	assert_int_equal(f->phase, CONNECT_OPEN);
	connect_next(&f->connect);
	run_until(f, &f->fails, 2);
	assert_int_equal(f->outcome, -ECONNREFUSED);
	run_for(f, 150); /* the limit went with the address */
	assert_int_equal(f->fails, 2);
	for (int i = 0; i < 4; i++)
		close(crowd[i]);
}

/* It has answered within its time. That nobody has looked so far is no fault of its own. */
static void test_answer_not_yet_seen(void **state)
{
	struct fixture *f = *state;

	f->limit_ms = 50;
	connect_start_addrs(&f->connect, &f->at, 1);
	assert_int_equal(loop_watch_set(&f->leg.watch, 0), 0);
	run_until(f, &f->ups, 1);
	assert_int_equal(f->fails, 0);
}

static void test_refusal_not_yet_seen(void **state)
{
	struct fixture *f = *state;
	struct addr dead = dead_address();

	f->limit_ms = 50;
	connect_start_addrs(&f->connect, &dead, 1);
	loop_watch_del(&f->leg.watch); /* epoll tells of errors always */
	run_until(f, &f->fails, 1);
	assert_int_equal(f->outcome, -ECONNREFUSED);
}

static void test_preamble_then_tls(void **state)
{
	struct fixture *f = *state;
	struct addr from;
	char said[16];

	f->preamble = "PROXY";
	f->connect.tls_first = true;
	f->secure_says = -EAGAIN;
	connect_start_addrs(&f->connect, &f->at, 1);
	run_until(f, &f->secures, 1);
	assert_int_equal(f->connect.phase, CONNECT_TLS);
	assert_int_equal(f->leg.watch.events, EPOLLIN); /* as the handshake wants it */
	accept_peer(f, &from);
	assert_int_equal(read(f->peer, said, sizeof(said)), 5);
	assert_int_equal(f->ups, 0);
	f->secure_says = 0;
	assert_int_equal(write(f->peer, "y", 1), 1);
	run_until(f, &f->ups, 1);
	assert_int_equal(f->secures, 2);
	assert_int_equal(f->leg.stream.want, 0);
}

/* What the kernel does not take at once is not forgotten; TLS does not begin before it is out. */
static void test_long_preamble(void **state)
{
	enum { TOTAL = 8 * 1024 * 1024 };
	struct fixture *f = *state;
	char *text = malloc(TOTAL + 1);
	struct addr from;
	size_t taken = 0;
	ssize_t n;

	assert_non_null(text);
	memset(text, 'p', TOTAL);
	text[TOTAL] = '\0';
	f->preamble = text;
	f->connect.tls_first = true;
	connect_start_addrs(&f->connect, &f->at, 1);
	run_for(f, 50);
	assert_int_equal(f->connect.phase, CONNECT_PREAMBLE);
	assert_int_equal(f->secures, 0);
	accept_peer(f, &from);
	for (int i = 0; i < 100000 && taken < TOTAL; i++) {
		while ((n = read(f->peer, text, TOTAL)) > 0)
			taken += (size_t)n;
		assert_int_equal(loop_run_once(&f->loop, 1), 0);
	}
	free(text);
	assert_int_equal(taken, TOTAL);
	assert_int_equal(f->ups, 1);
	assert_int_equal(f->secures, 1);
}

static void test_tls_later(void **state)
{
	struct fixture *f = *state;
	struct addr from;

	connect_start_addrs(&f->connect, &f->at, 1);
	run_until(f, &f->ups, 1);
	assert_int_equal(f->secures, 0);
	accept_peer(f, &from);
	f->secure_says = -EPROTO;
	connect_secure(&f->connect);
	assert_int_equal(f->fails, 1);
	assert_int_equal(f->outcome, -EPROTO);
	assert_int_equal(f->phase, CONNECT_TLS);
	assert_true(stream_is_open(&f->leg.stream)); /* it may be asked what went wrong */
}

static void test_preamble_without_memory(void **state)
{
	struct fixture *f = *state;

	f->preamble_says = -ENOMEM;
	connect_start_addrs(&f->connect, &f->at, 1);
	run_until(f, &f->fails, 1);
	assert_int_equal(f->outcome, CONNECT_OURS);
	assert_int_equal(f->phase, CONNECT_PREAMBLE);
	assert_int_equal(f->ups, 0);
}

static void test_stop(void **state)
{
	struct fixture *f = *state;

	connect_start(&f->connect, "127.0.0.1", addr_port(&f->at));
	connect_stop(&f->connect);
	run_for(f, 20);
	f->limit_ms = 10;
	connect_start_addrs(&f->connect, &f->at, 1);
	connect_stop(&f->connect);
	leg_close(&f->leg);
	run_for(f, 50);
	assert_int_equal(f->ups + f->fails, 0);
	f->limit_ms = 0;
	connect_start_addrs(&f->connect, &f->at, 1); /* it can be used again */
	run_until(f, &f->ups, 1);
}

static void test_unix(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/homing-connect-XXXXXX", at[64];
	uid_t uid;
	int fd;

	assert_non_null(mkdtemp(path));
	snprintf(at, sizeof(at), "%s/s", path);
	connect_start_unix(&f->connect, at);
	assert_int_equal(f->fails, 1);
	assert_int_equal(f->outcome, -ENOENT);
	fd = sock_listen_unix(at, (gid_t)-1, 4);
	assert_true(fd >= 0);
	connect_start_unix(&f->connect, at);
	run_until(f, &f->ups, 1);
	f->peer = sock_accept_unix(fd, &uid);
	assert_true(f->peer >= 0);
	close(fd);
	unlink(at);
	rmdir(path);
}

/* An owner that is gone after its failure. */
struct brief {
	struct leg leg;
	struct connect connect;
};

static unsigned brief_fails;

static void on_brief_failed(struct connect *connect, int outcome)
{
	struct brief *brief = container_of(connect, struct brief, connect);

	brief_fails += outcome == -ECONNREFUSED;
	connect_stop(&brief->connect);
	leg_close(&brief->leg);
	free(brief);
}

static void on_brief_leg(struct loop_watch *watch, uint32_t epoll_events)
{
	connect_event(&container_of(watch, struct brief, leg.watch)->connect, epoll_events);
}

static void test_owner_goes(void **state)
{
	static const struct connect_ops brief_ops = { .failed = on_brief_failed };
	struct fixture *f = *state;
	struct brief *brief = calloc(1, sizeof(*brief));
	struct addr addr = dead_address();

	assert_non_null(brief);
	brief->connect = (struct connect){ .ops = &brief_ops,
		.loop = &f->loop,
		.resolver = f->resolver,
		.leg = &brief->leg,
		.fn = on_brief_leg };
	brief_fails = 0;
	connect_start(&brief->connect, "127.0.0.1", addr_port(&addr));
	run_until(f, &brief_fails, 1);
}

int main(void)
{
#define CONNECT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CONNECT_TEST(test_up),
		CONNECT_TEST(test_no_such_name),
		CONNECT_TEST(test_addresses_in_turn),
		CONNECT_TEST(test_no_address_answers),
		CONNECT_TEST(test_address_refused),
		CONNECT_TEST(test_slow_address),
		CONNECT_TEST(test_answer_not_yet_seen),
		CONNECT_TEST(test_refusal_not_yet_seen),
		CONNECT_TEST(test_preamble_then_tls),
		CONNECT_TEST(test_long_preamble),
		CONNECT_TEST(test_tls_later),
		CONNECT_TEST(test_preamble_without_memory),
		CONNECT_TEST(test_stop),
		CONNECT_TEST(test_unix),
		CONNECT_TEST(test_owner_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
