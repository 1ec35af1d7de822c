// SPDX-License-Identifier: Apache-2.0
/* What of a session counts as what for the guard: every end, and what is nobody's failure; logins,
 * good, bad and with an old password; who is asked of whom behind a balancer. */
#include "unit.h"

#include "guard_defaults.h"
#include "session/guarded.h"

#define NOTHING GUARD_EVENTS

static const struct front_ops front;
static const struct session_kind mail = { .front = &front }, http = { .by_request = true },
				 passed = { 0 };

struct fixture {
	struct router router;
	struct session_pool pool;
	struct cidr trusted;
	struct config_listener settings;
	struct login login;
	struct session session;
};

static void set_up(struct fixture *f, const struct session_kind *kind, const char *client)
{
	struct guard *guard = NULL;

	*f = (struct fixture){ .settings = { .name = "l", .protocol = PROTOCOL_IMAP } };
	f->router.auth_events = (struct auth_events)AUTH_EVENTS_INIT;
	f->pool.router = &f->router;
	f->session = (struct session){
		.pool = &f->pool, .settings = &f->settings, .kind = kind, .login = &f->login
	};
	assert_int_equal(cidr_parse(VIEW_LIT("10.0.0.0/8"), &f->trusted), 0);
	f->settings.proxy_trusted = &f->trusted;
	f->settings.proxy_trusted_count = 1;
	assert_int_equal(addr_parse_ip(view_str(client), 40000, &f->session.client), 0);
	assert_int_equal(guard_new(&guard_defaults, &guard), 0);
	atomic_store(&f->router.guard, guard);
}

static struct guard_status status_of(struct fixture *f)
{
	struct guard_status status;

	guard_status(f->router.guard, &status);
	return status;
}

/* The only event that the guard was told; NOTHING: none. */
static unsigned told(struct fixture *f)
{
	struct guard_status status = status_of(f);
	unsigned found = NOTHING;

	for (unsigned i = 0; i < GUARD_EVENTS; i++) {
		if (!status.events[i])
			continue;
		assert_int_equal(status.events[i], 1);
		assert_int_equal(found, NOTHING);
		found = i;
	}
	return found;
}

static void tear_down(struct fixture *f)
{
	guard_free(f->router.guard);
}

/* ---- ends ---- */

struct end {
	const struct session_kind *kind;
	enum session_state at;
	enum session_reason reason;
	unsigned spoke; /* a command, requests, or bytes */
	unsigned event;
};

static unsigned event_of(const struct end *end, const char *client, bool told_so)
{
	struct fixture f;
	unsigned event;

	set_up(&f, end->kind, client);
	f.session.told = told_so;
	f.session.reason = end->reason;
	f.login.spoke = end->spoke;
	f.session.requests = end->kind == &http ? end->spoke : 0;
	f.session.bytes[RELAY_UP] = end->spoke;
	session_guard_ended(&f.session, end->at);
	event = told(&f);
	tear_down(&f);
	return event;
}

static const struct end ends[] = {
	/* gone without a word */
	{ &mail, S_DIALOGUE, REASON_CLIENT_EOF, 0, GUARD_LEFT_SILENT },
	{ &mail, S_DIALOGUE, REASON_CLIENT_ERROR, 0, GUARD_LEFT_SILENT },
	{ &mail, S_DIALOGUE, REASON_TLS_CLIENT, 0, GUARD_LEFT_SILENT },
	{ &mail, S_LINGER, REASON_PREAUTH_TIMEOUT, 0, GUARD_LEFT_SILENT },
	{ &http, S_FIRST_HEAD, REASON_CLIENT_EOF, 0, GUARD_LEFT_SILENT },
	{ &http, S_LINGER, REASON_PROTOCOL_ERROR, 0, GUARD_LEFT_SILENT },
	{ &http, S_LINGER, REASON_PREAUTH_TIMEOUT, 0, GUARD_LEFT_SILENT },
	{ &passed, S_ESTABLISHED, REASON_CLIENT_EOF, 0, GUARD_LEFT_SILENT },
	{ &passed, S_ESTABLISHED, REASON_CLIENT_ERROR, 0, GUARD_LEFT_SILENT },
	/* no TLS, at once or after STARTTLS */
	{ &mail, S_TLS, REASON_TLS_CLIENT, 0, GUARD_HANDSHAKE_FAILED },
	{ &mail, S_TLS, REASON_CLIENT_EOF, 1, GUARD_HANDSHAKE_FAILED },
	{ &http, S_TLS, REASON_PREAUTH_TIMEOUT, 0, GUARD_HANDSHAKE_FAILED },
	{ &passed, S_TLS, REASON_TLS_CLIENT, 0, GUARD_HANDSHAKE_FAILED },
	/* what nobody sends by mistake */
	{ &mail, S_LINGER, REASON_PROTOCOL_ERROR, 1, GUARD_MALFORMED },
	{ &mail, S_LINGER, REASON_STARTTLS_INJECTION, 1, GUARD_MALFORMED },
	/* it has said something */
	{ &mail, S_LINGER, REASON_CLIENT_QUIT, 1, NOTHING },
	{ &mail, S_DIALOGUE, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_LINGER, REASON_PREAUTH_TIMEOUT, 1, NOTHING },
	{ &mail, S_LINGER, REASON_AUTH_LIMIT, 1, NOTHING },
	{ &http, S_IDLE, REASON_CLIENT_EOF, 1, NOTHING },
	{ &http, S_LINGER, REASON_PROTOCOL_ERROR, 1, NOTHING },
	{ &passed, S_ESTABLISHED, REASON_CLIENT_EOF, 5, NOTHING },
	/* cut while the login was under way, penalty included */
	{ &mail, S_STARTTLS, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_HOLD, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_LOOKUP, REASON_CLIENT_ERROR, 1, NOTHING },
	{ &mail, S_DIAL, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_REPLAY, REASON_CLIENT_ERROR, 1, NOTHING },
	{ &mail, S_PENALTY, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_SPLICE, REASON_CLIENT_EOF, 1, NOTHING },
	{ &mail, S_ESTABLISHED, REASON_CLIENT_EOF, 0, NOTHING },
	{ &http, S_EXCHANGE, REASON_CLIENT_EOF, 1, NOTHING },
	{ &passed, S_DIAL, REASON_CLIENT_EOF, 0, NOTHING },
	/* not the client's doing */
	{ &mail, S_TLS, REASON_KEEPALIVE, 0, NOTHING },
	{ &mail, S_TLS, REASON_SHUTDOWN, 0, NOTHING },
	{ &mail, S_TLS, REASON_INTERNAL, 0, NOTHING },
	{ &mail, S_LINGER, REASON_SHUTDOWN, 0, NOTHING },
	{ &mail, S_LINGER, REASON_KICKED, 1, NOTHING },
	{ &mail, S_DIALOGUE, REASON_BANNED, 0, NOTHING },
	{ &mail, S_PROXY, REASON_PROXY_HEADER, 0, NOTHING },
	{ &mail, S_LINGER, REASON_NODE_DOWN, 1, NOTHING },
	{ &mail, S_LINGER, REASON_NODE_TIMEOUT, 1, NOTHING },
	{ &http, S_FIRST_HEAD, REASON_SHUTDOWN, 0, NOTHING },
	{ &passed, S_LINGER, REASON_NODE_DOWN, 0, NOTHING },
	{ &passed, S_ESTABLISHED, REASON_NODE_EOF, 0, NOTHING },
	{ &passed, S_ESTABLISHED, REASON_CLIENT_QUIT, 0, NOTHING },
};

static void test_GRD_2_what_an_end_counts_as(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		unsigned event = event_of(&ends[i], "203.0.113.5", false);

		if (event != ends[i].event)
			fail_msg("row %zu: event %u", i, event);
	}
}

static void test_GRD_3_a_balancers_own_connections_count_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		if (event_of(&ends[i], "10.0.0.1", false) != NOTHING)
			fail_msg("row %zu: a balancer's own", i);
		/* The balancer has told of its client, who may be anybody. */
		if (event_of(&ends[i], "10.0.0.1", true) != ends[i].event)
			fail_msg("row %zu: a client's behind it", i);
	}
}

/* ---- logins ---- */

static void fail_login(struct fixture *f, const char *password)
{
	session_guard_secret(&f->session, VIEW_LIT("alice"), view_str(password));
	session_guard_failed(&f->session, GUARD_REFUSED);
}

static void test_GRD_2_an_old_password_counts_once(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	for (int i = 0; i < 100; i++)
		fail_login(&f, "of last year");
	assert_int_equal(status_of(&f).repeated, 99);
	assert_int_equal(status_of(&f).bans[GUARD_LOCAL], 0);
	assert_false(guarded_refuses(f.router.guard, &f.session.client, &f.settings));
	for (int i = 0; i < 10; i++) /* points fade from the first moment on */
		fail_login(&f, (char[]){ (char)('a' + i), 0 });
	assert_true(guarded_refuses(f.router.guard, &f.session.client, &f.settings));
	tear_down(&f);
}

/* An attempt's secret is of that attempt: none is left for what fails without one. */
static void test_GRD_2_a_failure_without_a_password_always_counts(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	for (int i = 0; i < 10; i++) {
		fail_login(&f, "same");
		session_guard_failed(&f.session, GUARD_MALFORMED);
	}
	assert_int_equal(status_of(&f).bans_total[GUARD_FOR_MALFORMED], 1);
	tear_down(&f);
}

/* "Try again later", and then what cannot be read: not the same attempt once more. */
static void test_GRD_2_an_attempt_that_counts_nothing_leaves_no_secret(void **state)
{
	struct node node = { 0 };
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	f.session.node = &node;
	for (int i = 0; i < 10; i++) {
		session_guard_secret(&f.session, VIEW_LIT("alice"), VIEW_LIT("same"));
		session_auth_failed(&f.session, AUTH_REFUSED, true);
		session_guard_failed(&f.session, GUARD_MALFORMED);
	}
	assert_int_equal(status_of(&f).repeated, 0);
	assert_int_equal(status_of(&f).events[GUARD_MALFORMED], 10);
	tear_down(&f);
}

static void test_GRD_2_what_a_failed_login_counts_as(void **state)
{
	struct node node = { 0 };
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	f.session.node = &node;
	session_auth_failed(&f.session, AUTH_REFUSED, true); /* "try again later" */
	assert_int_equal(told(&f), NOTHING);
	session_auth_failed(&f.session, AUTH_REFUSED, false);
	assert_int_equal(told(&f), GUARD_REFUSED);
	session_auth_failed(&f.session, AUTH_MALFORMED, false);
	assert_int_equal(status_of(&f).events[GUARD_MALFORMED], 1);
	tear_down(&f);
}

static void test_GRD_9_the_first_failure_waits_for_nothing(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	fail_login(&f, "a");
	assert_int_equal(f.login.penalty_ms, 0);
	fail_login(&f, "b");
	assert_int_equal(f.login.penalty_ms, 2000);
	fail_login(&f, "c");
	assert_int_equal(f.login.penalty_ms, 4000);
	tear_down(&f);
}

static void test_GRD_9_nobody_waits_behind_a_balancer_that_does_not_tell(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, &mail, "10.0.0.1");
	for (int i = 0; i < 5; i++) {
		fail_login(&f, (char[]){ (char)('a' + i), 0 });
		assert_int_equal(f.login.penalty_ms, 0);
	}
	f.session.told = true;
	fail_login(&f, "z");
	assert_true(f.login.penalty_ms > 0);
	tear_down(&f);
}

static void test_GRD_9_nobody_waits_when_the_router_stops(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, &http, "203.0.113.5");
	fail_login(&f, "a");
	f.pool.shutting_down = true;
	fail_login(&f, "b");
	assert_int_equal(f.login.penalty_ms, 0);
	assert_int_equal(status_of(&f).events[GUARD_REFUSED], 2);
	tear_down(&f);
}

/* A session counts once, whatever it does, and to its end. */
static void test_GRD_2_sessions_of_a_client_spare_it(void **state)
{
	struct guard_settings settings = guard_defaults;
	struct fixture f;

	(void)state;
	set_up(&f, &http, "203.0.113.5");
	settings.spare_active = 1;
	assert_int_equal(guard_configure(f.router.guard, &settings), 0);
	for (int i = 0; i < 3; i++)
		session_guard_passed(&f.session);
	assert_ptr_equal(f.session.guard, f.router.guard);
	for (int i = 0; i < 20; i++)
		session_guard_failed(&f.session, GUARD_REFUSED);
	assert_int_equal(status_of(&f).withheld[GUARD_WHY_ACTIVE], 1);
	f.session.reason = REASON_CLIENT_EOF;
	session_guard_ended(&f.session, S_IDLE);
	session_guard_ended(&f.session, S_IDLE); /* no more than once */
	assert_null(f.session.guard);
	session_guard_failed(&f.session, GUARD_REFUSED);
	assert_int_equal(status_of(&f).bans[GUARD_LOCAL], 1);
	tear_down(&f);
}

/* Taken away by a reload between a caller's question and the call. */
static void test_GRD_9_a_guard_that_is_gone_is_not_missed(void **state)
{
	struct fixture f;
	struct guard *guard;

	(void)state;
	set_up(&f, &mail, "203.0.113.5");
	guard = f.router.guard;
	f.router.guard = NULL;
	f.login.penalty_ms = 5;
	fail_login(&f, "a");
	assert_int_equal(f.login.penalty_ms, 0);
	session_guard_passed(&f.session);
	assert_null(f.session.guard);
	assert_false(session_guard_refuses(&f.session));
	session_guard_ended(&f.session, S_DIALOGUE);
	f.router.guard = guard;
	assert_int_equal(told(&f), NOTHING);
	session_guard_passed(&f.session);
	f.router.guard = NULL;
	session_guard_ended(&f.session, S_ESTABLISHED); /* it is counted out all the same */
	assert_null(f.session.guard);
	f.router.guard = guard;
	assert_int_equal(status_of(&f).sources, 0);
	tear_down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_2_what_an_end_counts_as),
		cmocka_unit_test(test_GRD_3_a_balancers_own_connections_count_nothing),
		cmocka_unit_test(test_GRD_2_an_old_password_counts_once),
		cmocka_unit_test(test_GRD_2_a_failure_without_a_password_always_counts),
		cmocka_unit_test(test_GRD_2_an_attempt_that_counts_nothing_leaves_no_secret),
		cmocka_unit_test(test_GRD_2_what_a_failed_login_counts_as),
		cmocka_unit_test(test_GRD_9_the_first_failure_waits_for_nothing),
		cmocka_unit_test(test_GRD_9_nobody_waits_behind_a_balancer_that_does_not_tell),
		cmocka_unit_test(test_GRD_9_nobody_waits_when_the_router_stops),
		cmocka_unit_test(test_GRD_2_sessions_of_a_client_spare_it),
		cmocka_unit_test(test_GRD_9_a_guard_that_is_gone_is_not_missed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
