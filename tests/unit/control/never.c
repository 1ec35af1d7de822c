// SPDX-License-Identifier: Apache-2.0
/* Who is never banned: in a network namespace of this program's own, with names that the test
 * answers for. */
#include "unit/own_network.h"

#include "guard_defaults.h"
#include "unit/fake_clock.h"

#include "control/never.h"

static const char *const base =
	"[mapping]\nsource = \"sql\"\n[mapping.sql]\nquery = \"SELECT $1\"\n"
	"[routing]\ndefault_destination = \"node1\"\n"
	"[destination.node1]\nhost = \"203.0.113.1\"\nallow_plaintext_auth = true\n"
	"[destination.node1.protocol.imap]\nport = 143\ntls = \"plain\"\n"
	"[destination.node2]\nhost = \"node2.example\"\nallow_plaintext_auth = true\n"
	"[destination.node2.protocol.imap]\nport = 143\ntls = \"plain\"\n"
	"[listener.imap]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:0\"]\ntls = \"plain\"\n"
	"proxy_trusted = [\"10.1.0.0/16\"]\n"
	"[listener.more]\nprotocol = \"imap\"\nbind = [\"127.0.0.2:0\"]\ntls = \"plain\"\n"
	"proxy_trusted = [\"10.2.0.0/16\"]\n"
	"[guard]\nenabled = true\nallow = [\"198.51.100.0/24\"]\n";

/* ---- names: asked when they are, answered when the test says so ---- */

struct resolver {
	unsigned running;
} the_resolver;
struct resolve_query {
	resolve_done_fn *done;
	void *arg;
} the_query;

int resolver_new(struct loop *loop, struct resolver **ret_resolver)
{
	(void)loop;
	*ret_resolver = &the_resolver;
	return 0;
}

int resolver_use_servers(struct resolver *resolver, const char *servers)
{
	(void)resolver;
	(void)servers;
	return 0;
}

void resolver_free(struct resolver *resolver)
{
	(void)resolver;
	assert_int_equal(the_resolver.running, 0);
}

const char *resolve_text(int status)
{
	return strerror(-status);
}

bool resolve_known(struct resolver *resolver, const char *host, uint16_t port,
	struct addr ret_addrs[RESOLVE_MAX_ADDRS], size_t *ret_count)
{
	(void)resolver;
	(void)host;
	(void)port;
	(void)ret_addrs;
	(void)ret_count;
	return false;
}

int resolve_start(struct resolver *resolver, const char *host, uint16_t port, resolve_done_fn *done,
	void *arg, struct resolve_query **ret_query)
{
	(void)port;
	assert_ptr_equal(resolver, &the_resolver);
	assert_string_equal(host, "node2.example"); /* nobody asks for the address of an address */
	assert_int_equal(the_resolver.running++, 0);
	the_query = (struct resolve_query){ done, arg };
	*ret_query = &the_query;
	return 0;
}

void resolve_cancel(struct resolve_query *query)
{
	the_resolver.running -= query != NULL;
}

/* ---- the rest of a router ---- */

static struct fixture {
	struct loop loop;
	struct router router;
	struct guard *guard;
	struct never *never;
	unsigned changes;
} f;

static void on_nets_changed(void *arg)
{
	(void)arg;
	f.changes++;
}

static const struct guard_observer_ops ops = { .nets_changed = on_nets_changed };

static void no_finding(void *arg, const struct config_finding *finding)
{
	(void)arg;
	if (finding->error)
		fail_msg("%s: %s", finding->keypath, finding->text);
}

static void adopt(const char *text)
{
	char path[] = "/tmp/homing-never-XXXXXX";
	int fd = mkstemp(path);
	struct build_error error;
	struct snapshot *snapshot;
	struct config *config;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_equal(config_load(path, no_finding, NULL, &config), 0);
	unlink(path);
	if (snapshot_new(f.router.snapshot, &f.router.known, config, &snapshot, &error) < 0)
		fail_msg("%s: %s", error.table, error.text);
	config_unref(config);
	assert_int_equal(router_reserve(&f.router, snapshot), 0);
	router_adopt(&f.router, snapshot);
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(netlink_addrs_new(&f.loop, &f.router.local_addrs), 0);
	adopt(base);
	assert_int_equal(guard_new(&guard_defaults, &f.guard), 0);
	assert_int_equal(guard_observe(f.guard, &ops, NULL), 0);
	assert_int_equal(never_new(&f.router, &f.loop, f.guard, &f.never), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	never_free(f.never);
	guard_free(f.guard);
	router_forget(&f.router);
	netlink_addrs_free(f.router.local_addrs);
	loop_fini(&f.loop);
	return 0;
}

/* Why an address is not banned; "" = it would be. */
static const char *why(const char *net)
{
	struct guard_order order = { .for_ms = 1000, .origin = GUARD_OPERATOR };
	enum guard_why found;

	assert_int_equal(cidr_parse(view_str(net), &order.net), 0);
	if (guard_ban(f.guard, &order, &found) == GUARD_NEVER)
		return guard_why_name(found);
	assert_int_equal(guard_unban(f.guard, &order.net), 0);
	return "";
}

static void answer(int status, const char *const *ips, size_t count)
{
	struct addr addrs[RESOLVE_MAX_ADDRS];

	for (size_t i = 0; i < count; i++)
		assert_int_equal(addr_parse_ip(view_str(ips[i]), 143, &addrs[i]), 0);
	assert_int_equal(the_resolver.running--, 1);
	the_query.done(the_query.arg, status, addrs, count);
}

static void admit(const char *ip)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(ip), 4711, &addr), 0);
	never_admit(f.never, &addr);
}

/* A minute at a time, as the loop's timer has it. */
static void pass_minutes(unsigned minutes)
{
	while (minutes--) {
		if (the_resolver.running)
			answer(-ETIMEDOUT, NULL, 0);
		atomic_fetch_add(&fake_now_ms, 60000);
		settle(&f.loop);
	}
}

static void test_GRD_3_from_the_configuration(void **state)
{
	(void)state;
	assert_string_equal(why("127.0.0.1"), "loopback");
	assert_string_equal(why("127.255.255.255"), "loopback");
	assert_string_equal(why("::1"), "loopback");
	assert_string_equal(why("10.1.2.3"), "proxy");
	assert_string_equal(why("10.2.2.3"), "proxy");
	assert_string_equal(why("198.51.100.7"), "allow");
	assert_string_equal(why("203.0.113.1"), "node");
	assert_string_equal(why("203.0.113.2"), "");
	assert_string_equal(why("10.3.0.0"), "");
}

static void test_GRD_3_follows_a_reload(void **state)
{
	char *text = strdup(base), *at;

	(void)state;
	at = strstr(text, "10.2.0.0");
	memcpy(at, "10.3.0.0", 8);
	at = strstr(text, "203.0.113.1");
	memcpy(at, "203.0.113.3", 11);
	adopt(text);
	free(text);
	f.changes = 0;
	never_follow(f.never);
	assert_int_equal(f.changes, 1);
	assert_string_equal(why("10.2.2.3"), "");
	assert_string_equal(why("10.3.2.3"), "proxy");
	assert_string_equal(why("203.0.113.1"), "");
	assert_string_equal(why("203.0.113.3"), "node");
	never_follow(f.never); /* nothing is different: nobody hears of it */
	assert_int_equal(f.changes, 1);
}

static void test_GRD_3_own_addresses(void **state)
{
	(void)state;
	assert_string_equal(why("192.0.2.77"), "");
	ip("addr add 192.0.2.77/24 dev lo");
	settle(&f.loop);
	assert_string_equal(why("192.0.2.77"), "own");
	assert_string_equal(why("192.0.2.78"), ""); /* not its whole network */
	ip("addr del 192.0.2.77/24 dev lo");
	settle(&f.loop);
	assert_string_equal(why("192.0.2.77"), "");
}

static void test_GRD_3_nodes_by_name(void **state)
{
	static const char *const first[] = { "203.0.113.50", "2001:db8::50" };
	static const char *const second[] = { "203.0.113.51" };

	(void)state;
	assert_string_equal(why("203.0.113.50"), "");
	answer(0, first, 2);
	assert_string_equal(why("203.0.113.50"), "node");
	assert_string_equal(why("2001:db8::50"), "node");
	/* A name that cannot be resolved for a while has the addresses that it had. */
	pass_minutes(3);
	assert_string_equal(why("203.0.113.50"), "node");
	answer(0, second, 1);
	assert_string_equal(why("203.0.113.50"), "");
	assert_string_equal(why("203.0.113.51"), "node");
	never_follow(f.never); /* a reload that leaves the node as it is */
	assert_string_equal(why("203.0.113.51"), "node");
}

static void test_GRD_3_recent_admins(void **state)
{
	char text[64];

	(void)state;
	admit("192.0.2.1");
	assert_string_equal(why("192.0.2.1"), "admin");
	assert_string_equal(why("192.0.2.2"), "");
	pass_minutes(30);
	f.changes = 0;
	admit("192.0.2.1");
	assert_int_equal(f.changes, 0);
	pass_minutes(59);
	assert_string_equal(why("192.0.2.1"), "admin");
	pass_minutes(1);
	assert_string_equal(why("192.0.2.1"), "");
	/* One more than are remembered: the oldest goes. */
	for (unsigned i = 1; i <= NEVER_ADMITTED; i++) {
		snprintf(text, sizeof(text), "192.0.2.%u", i);
		atomic_fetch_add(&fake_now_ms, 1);
		admit(text);
	}
	assert_string_equal(why("192.0.2.1"), "admin");
	atomic_fetch_add(&fake_now_ms, 1);
	admit("192.0.2.1"); /* now it is 2 */
	admit("192.0.2.200");
	assert_string_equal(why("192.0.2.1"), "admin");
	assert_string_equal(why("192.0.2.2"), "");
	assert_string_equal(why("192.0.2.3"), "admin");
	assert_string_equal(why("192.0.2.200"), "admin");
}

static int set_up(void **state)
{
	return enter_own_network(state) == 0 ? tls_process_init() : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tls_process_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_GRD_3_from_the_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_3_follows_a_reload, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_3_own_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_3_nodes_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_3_recent_admins, setup, teardown),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
