// SPDX-License-Identifier: Apache-2.0
/* The cache of names, against a name server of the test's own: TTLs, shared queries, negative
 * answers, the bound, and a resolver that goes while answers are on their way. */
#include "unit.h"

#include "net/resolve.h"
#include "unit/fake_clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_BYTES 12

/* Answers A with 192.0.2.1, AAAA with nothing; names that begin with "none" do not exist, "sick"
 * fails. */
struct nameserver {
	int fd;
	uint32_t ttl_s;
	unsigned asked;
};

struct fixture {
	struct loop loop;
	struct resolver *resolver;
	struct nameserver server;
};

struct answer {
	unsigned calls;
	int status;
	size_t count;
	struct addr first;
};

static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->status = status;
	answer->count = count;
	if (count)
		answer->first = addrs[0];
}

static size_t put_record(unsigned char *at, uint32_t ttl_s)
{
	unsigned char record[] = { 0xc0, HEAD_BYTES, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1 };
	uint32_t ttl = htonl(ttl_s);

	memcpy(record + 6, &ttl, sizeof(ttl));
	memcpy(at, record, sizeof(record));
	return sizeof(record);
}

static void serve_one(struct nameserver *server)
{
	unsigned char text[512] = { 0 };
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(server->fd, text, sizeof(text) - 64, MSG_DONTWAIT,
		(struct sockaddr *)&from, &from_len);
	size_t end = HEAD_BYTES;
	bool is_a;

	if (n < HEAD_BYTES)
		return;
	server->asked++;
	while (text[end])
		end += text[end] + 1u;
	is_a = text[end + 2] == 1;
	end += 5;
	text[2] = 0x81;
	text[3] = 0x80;
	memset(text + 6, 0, 6); /* no records; EDNS is not answered */
	if (strncasecmp((char *)text + HEAD_BYTES + 1, "none", 4) == 0)
		text[3] |= 3;
	else if (strncasecmp((char *)text + HEAD_BYTES + 1, "sick", 4) == 0)
		text[3] |= 2;
	else if (is_a) {
		text[7] = 1;
		end += put_record(text + end, server->ttl_s);
	}
	(void)!sendto(server->fd, text, end, 0, (struct sockaddr *)&from, from_len);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	char text[64];

	assert_non_null(fixture);
	fixture->server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fixture->server.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fixture->server.fd, (struct sockaddr *)&addr, &len), 0);
	fixture->server.ttl_s = 60;
	assert_int_equal(loop_init(&fixture->loop), 0);
	assert_int_equal(resolver_new(&fixture->loop, &fixture->resolver), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(addr.sin_port));
	assert_int_equal(resolver_use_servers(fixture->resolver, text), 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	resolver_free(fixture->resolver);
	loop_fini(&fixture->loop);
	close(fixture->server.fd);
	free(fixture);
	return 0;
}

static void start(struct fixture *fixture, const char *host, uint16_t port, struct answer *answer)
{
	struct resolve_query *query;

	assert_int_equal(
		resolve_start(fixture->resolver, host, port, on_resolved, answer, &query), 0);
	assert_int_equal(answer->calls, 0); /* never inside the call */
}

static void run(struct fixture *fixture, const struct answer *answer)
{
	for (int i = 0; i < 2000 && !answer->calls; i++) {
		serve_one(&fixture->server);
		assert_int_equal(loop_run_once(&fixture->loop, 5), 0);
	}
	assert_int_equal(answer->calls, 1);
}

/* Asks and waits. Returns how many questions the server got for it. */
static unsigned ask(struct fixture *fixture, const char *host, int status)
{
	struct answer answer = { 0 };
	unsigned before = fixture->server.asked;

	start(fixture, host, 993, &answer);
	run(fixture, &answer);
	assert_int_equal(answer.status, status);
	assert_int_equal(answer.count, status == 0);
	if (status == 0)
		assert_int_equal(addr_port(&answer.first), 993);
	return fixture->server.asked - before;
}

static void test_ttl(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(ask(fixture, "node.homing.test", 0), 2); /* A, AAAA */
	fake_now_ms += 59999;
	assert_int_equal(ask(fixture, "Node.Homing.Test", 0), 0);
	fake_now_ms += 1;
	fixture->server.ttl_s = 0;
	assert_int_equal(ask(fixture, "node.homing.test", 0), 2);
	assert_int_equal(ask(fixture, "node.homing.test", 0), 2); /* not to be kept */
	fixture->server.ttl_s = 1000000;
	assert_int_equal(ask(fixture, "node.homing.test", 0), 2);
	fake_now_ms += 3600 * 1000 - 1;
	assert_int_equal(ask(fixture, "node.homing.test", 0), 0);
	fake_now_ms += 1;
	assert_int_equal(ask(fixture, "node.homing.test", 0), 2);
}

/* Without a query, in any case; not what is old, unknown or being asked for. */
static void test_LIB_7_known_addresses(void **state)
{
	struct fixture *fixture = *state;
	struct addr addrs[RESOLVE_MAX_ADDRS];
	struct answer answer = { 0 };
	size_t count = 0;

	assert_true(resolve_known(fixture->resolver, "192.0.2.7", 143, addrs, &count));
	assert_int_equal(count, 1);
	assert_int_equal(addr_port(&addrs[0]), 143);
	assert_false(resolve_known(fixture->resolver, "node.homing.test", 993, addrs, &count));
	start(fixture, "node.homing.test", 1, &answer);
	assert_false(resolve_known(fixture->resolver, "node.homing.test", 993, addrs, &count));
	run(fixture, &answer);
	count = 0;
	assert_true(resolve_known(fixture->resolver, "Node.homing.test", 993, addrs, &count));
	assert_int_equal(count, 1);
	assert_int_equal(addr_port(&addrs[0]), 993);
	assert_true(addr_eq_ip(&addrs[0], &answer.first));
	fake_now_ms += 60000;
	assert_false(resolve_known(fixture->resolver, "node.homing.test", 993, addrs, &count));
	assert_int_equal(ask(fixture, "none.homing.test", -ENOENT) > 0, 1);
	assert_false(resolve_known(fixture->resolver, "none.homing.test", 993, addrs, &count));
}

static void test_queries_are_shared(void **state)
{
	struct fixture *fixture = *state;
	struct answer answers[20] = { 0 }, cancelled = { 0 };
	struct resolve_query *query;

	fixture->server.ttl_s = 0;
	for (uint16_t i = 0; i < ARRAY_SIZE(answers); i++)
		start(fixture, "node.homing.test", (uint16_t)(i + 1), &answers[i]);
	assert_int_equal(resolve_start(fixture->resolver, "node.homing.test", 1, on_resolved,
				 &cancelled, &query),
		0);
	resolve_cancel(query);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		run(fixture, &answers[i]);
		assert_int_equal(answers[i].status, 0);
		assert_int_equal(addr_port(&answers[i].first), i + 1);
	}
	assert_int_equal(fixture->server.asked, 2);
	assert_int_equal(cancelled.calls, 0);
}

static void test_negative_answers(void **state)
{
	struct fixture *fixture = *state;

	assert_true(ask(fixture, "none.homing.test", -ENOENT) > 0);
	fake_now_ms += 4999;
	assert_int_equal(ask(fixture, "none.homing.test", -ENOENT), 0);
	fake_now_ms += 1;
	assert_true(ask(fixture, "none.homing.test", -ENOENT) > 0);
	assert_true(ask(fixture, "sick.homing.test", -EHOSTUNREACH) > 0);
	assert_true(ask(fixture, "sick.homing.test", -EHOSTUNREACH) > 0); /* may be over */
	assert_non_null(strstr(resolve_text(-ENOENT), "no such name"));
}

static void test_bounded(void **state)
{
	struct fixture *fixture = *state;
	char host[64];

	for (int i = 0; i < 300; i++) {
		snprintf(host, sizeof(host), "node%d.homing.test", i);
		assert_int_equal(ask(fixture, host, 0), 2);
		assert_int_equal(ask(fixture, "used.homing.test", 0), i ? 0 : 2);
	}
	assert_int_equal(ask(fixture, "node299.homing.test", 0), 0);
	assert_int_equal(ask(fixture, "node0.homing.test", 0), 2); /* had to go */
}

/* It must not be taken for a name that cannot be resolved. */
static void test_no_descriptors(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit before, none;
	struct answer answer = { 0 };

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	start(fixture, "node.homing.test", 993, &answer);
	run(fixture, &answer);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(answer.status, -EMFILE);
	assert_int_equal(ask(fixture, "node.homing.test", 0), 2);
}

/* Queued answers, a query without an answer, and its cancelled like: nothing is left, nobody is
 * called. */
static void test_freed_with_answers_queued(void **state)
{
	struct fixture *fixture = *state;
	struct answer literal = { 0 }, known = { 0 }, running = { 0 };
	struct resolve_query *query;

	assert_int_equal(ask(fixture, "node.homing.test", 0), 2);
	start(fixture, "192.0.2.7", 993, &literal);
	start(fixture, "node.homing.test", 993, &known);
	start(fixture, "other.homing.test", 993, &running);
	assert_int_equal(resolve_start(fixture->resolver, "other.homing.test", 1, on_resolved,
				 &running, &query),
		0);
	resolve_cancel(query);
	resolver_free(fixture->resolver);
	fixture->resolver = NULL;
	assert_int_equal(loop_run_once(&fixture->loop, 0), 0);
	assert_int_equal(literal.calls + known.calls + running.calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ttl),
		TEST(test_LIB_7_known_addresses),
		TEST(test_queries_are_shared),
		TEST(test_negative_answers),
		TEST(test_bounded),
		TEST(test_no_descriptors),
		TEST(test_freed_with_answers_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
