// SPDX-License-Identifier: Apache-2.0
/* What one snapshot takes over from the one before it (CFG-51, #33). */
#include "unit.h"

#include "router/router.h"
#include "tls/issue.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/homing-snapshot-XXXXXX";

#define PIN "00112233445566778899aabbccddeeff00112233445566778899aabbccddee"

static const char *const base =
	"[mapping]\nsource = \"sql\"\n[mapping.sql]\nquery = \"SELECT $1\"\n"
	"[routing]\ndefault_destination = \"node1\"\n"
	"[destination.node1]\nhost = \"192.0.2.1\"\ntls_server_name = \"a.example\"\n"
	"tls_pinned_cert_sha256 = \"" PIN "ff\"\n"
	"[destination.node1.protocol.imap]\nport = 993\ntls = \"implicit\"\n"
	"[destination.node1.protocol.pop3]\nport = 995\ntls = \"implicit\"\n"
	"[destination.node2]\nhost = \"192.0.2.2\"\ntls_server_name = \"b.example\"\n"
	"[destination.node2.protocol.imap]\nport = 993\ntls = \"implicit\"\n"
	"[listener.imap]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:0\"]\ntls = \"implicit\"\n";

static void show_error(void *arg, const struct config_finding *finding)
{
	(void)arg;
	if (finding->error)
		fprintf(stderr, "%u: %s: %s\n", finding->line, finding->keypath, finding->text);
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static struct config *load(const char *text)
{
	struct config *config;
	char path[128];

	write_file("homing.toml", text);
	snprintf(path, sizeof(path), "%s/homing.toml", dir);
	assert_int_equal(config_load(path, show_error, NULL, &config), 0);
	unlink(path);
	return config;
}

static struct snapshot *build(struct router *router, const char *text)
{
	struct config *config = load(text);
	struct build_error error;
	struct snapshot *snapshot;

	assert_int_equal(
		snapshot_new(router->snapshot, &router->known, config, &snapshot, &error), 0);
	config_unref(config);
	return snapshot;
}

static void adopt(struct router *router, struct snapshot *snapshot)
{
	assert_int_equal(router_reserve(router, snapshot), 0);
	router_adopt(router, snapshot);
}

/* A copy of base with the first `from` replaced; freed by the next call. */
static const char *edit(const char *from, const char *to)
{
	static char *edited;
	const char *at = strstr(base, from);

	free(edited);
	edited = NULL;
	assert_non_null(at);
	assert_true(
		asprintf(&edited, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from)) > 0);
	return edited;
}

static void check_legs(struct router *router, const char *text, bool node1, bool node2)
{
	struct snapshot *next = build(router, text), *now = router->snapshot;

	assert_int_equal(
		next->legs[0].tls[PROTOCOL_IMAP] == now->legs[0].tls[PROTOCOL_IMAP], node1);
	assert_int_equal(
		next->legs[0].tls[PROTOCOL_POP3] == now->legs[0].tls[PROTOCOL_POP3], node1);
	assert_int_equal(
		next->legs[1].tls[PROTOCOL_IMAP] == now->legs[1].tls[PROTOCOL_IMAP], node2);
	assert_ptr_not_equal(next->legs[0].tls[PROTOCOL_IMAP], next->legs[0].tls[PROTOCOL_POP3]);
	snapshot_unref(next);
}

static void test_33_tls_sessions_are_kept_with_their_trust(void **state)
{
	struct router router = { 0 };

	(void)state;
	adopt(&router, build(&router, base));
	check_legs(&router, base, true, true);
	check_legs(&router,
		edit("default_destination",
			"master_user_separators = []\n"
			"default_destination"),
		true, true);
	check_legs(&router, edit("port = 993", "port = 1993"), true, true);
	check_legs(&router, edit("a.example", "c.example"), false, true);
	check_legs(&router, edit("192.0.2.1", "192.0.2.9"), false, true);
	check_legs(&router, edit(PIN "ff", PIN "fe"), false, true);
	check_legs(&router, edit("tls_pinned_cert_sha256 = \"" PIN "ff\"\n", ""), false, true);
	check_legs(&router,
		edit("tls_pinned_cert_sha256",
			"tls_allow_invalid_certs = true\n"
			"tls_pinned_cert_sha256"),
		false, true);
	check_legs(&router,
		edit("tls_pinned_cert_sha256",
			"tls_groups = [\"P-256\"]\n"
			"tls_pinned_cert_sha256"),
		false, true);
	check_legs(&router,
		edit("tls_server_name = \"b.example\"",
			"tls_server_name = \"b.example\"\ntls_allow_invalid_certs = true"),
		true, false);
	router_forget(&router);
}

static void test_33_system_trust(void **state)
{
	struct router router = { 0 };
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/ca.pem", dir);
	assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
	adopt(&router, build(&router, base));
	check_legs(&router, base, true, true);
	write_file("ca.pem", "# another set\n");
	check_legs(&router, base, false, false);
	unlink(path);
	assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
	router_forget(&router);
}

static const char *const agent_files[] = { "ca.pem", "me.pem", "me.key" };

/* An authority and a certificate of it; ret_authority is the caller's. */
static void make_agent_files(struct tls_pair *ret_authority)
{
	char error[TLS_ERROR_SIZE];
	struct tls_pair me;

	assert_int_equal(tls_make_authority("test", 2, ret_authority, error), 0);
	assert_int_equal(tls_make_signed(ret_authority, "router", false, 2, &me, error), 0);
	write_file("ca.pem", ret_authority->cert);
	write_file("me.pem", me.cert);
	write_file("me.key", me.key);
	tls_pair_free(&me);
}

static bool agent_is_kept(struct router *router, const char *text)
{
	struct snapshot *next = build(router, text);
	bool kept = next->legs[0].agent == router->snapshot->legs[0].agent;

	assert_non_null(next->legs[0].agent);
	snapshot_unref(next);
	return kept;
}

static void test_HND_4_authority_of_agents(void **state)
{
	static const char table[] = "[destination.node1.handoff]\nport = 4191\n"
				    "tls_client_cert = \"me.pem\"\ntls_client_key = \"me.key\"\n";
	struct router router = { 0 };
	struct tls_pair authority, other;
	char *with_ca, *without;
	char error[TLS_ERROR_SIZE], path[128];

	(void)state;
	make_agent_files(&authority);
	assert_true(asprintf(&without, "%s%s", base, table) > 0);
	assert_true(asprintf(&with_ca, "%stls_ca = \"ca.pem\"\n", without) > 0);
	adopt(&router, build(&router, with_ca));
	assert_false(router.snapshot->config->destinations[0].handoff.pins.count); /* node1's own */
	assert_true(agent_is_kept(&router, with_ca));
	assert_false(agent_is_kept(&router, without));
	assert_int_equal(tls_make_authority("test", 2, &other, error), 0);
	write_file("ca.pem", other.cert);
	assert_false(agent_is_kept(&router, with_ca));
	write_file("ca.pem", authority.cert);
	assert_true(agent_is_kept(&router, with_ca));
	check_legs(&router, with_ca, true, true);
	router_forget(&router);
	tls_pair_free(&authority);
	tls_pair_free(&other);
	free(with_ca);
	free(without);
	for (size_t i = 0; i < ARRAY_SIZE(agent_files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, agent_files[i]);
		unlink(path);
	}
}

static void fail_once(struct node *node)
{
	struct addr client = { 0 };

	assert_int_equal(addr_parse_ip(VIEW_LIT("198.51.100.1"), 0, &client), 0);
	health_report(node->health, HEALTH_FAIL_HOST, false, &client, 1);
}

static unsigned failures_of(struct node *node)
{
	struct health_status status;

	health_status(node->health, 1, &status);
	return status.consecutive_failures;
}

static void test_CFG_51_nodes_and_listeners_by_name(void **state)
{
	struct router router = { 0 };
	struct snapshot *held;
	struct node *node1, *node2;
	struct listener *listener;

	(void)state;
	adopt(&router, build(&router, base));
	held = snapshot_ref(router.snapshot); /* a session's */
	node1 = held->nodes[0];
	node2 = held->nodes[1];
	listener = held->listeners[0];
	fail_once(node1);
	fail_once(node2);
	atomic_fetch_add(&node2->active, 1);
	/* not adopted: nothing has happened */
	snapshot_unref(build(&router, edit("192.0.2.1", "192.0.2.9")));
	assert_int_equal(failures_of(node1), 1);
	adopt(&router, build(&router, edit("a.example", "c.example")));
	assert_ptr_equal(router.snapshot->nodes[0], node1);
	assert_ptr_equal(router.snapshot->listeners[0], listener);
	assert_ptr_equal(snapshot_listener(router.snapshot, listener),
		&router.snapshot->config->listeners[0]);
	assert_int_equal(failures_of(node1), 1);
	adopt(&router, build(&router, edit("192.0.2.1", "192.0.2.9")));
	assert_ptr_equal(router.snapshot->nodes[0], node1);
	assert_int_equal(failures_of(node1), 0); /* another machine */
	assert_int_equal(failures_of(node2), 1);
	/* gone, but shown while it has sessions; and the same when it comes back */
	adopt(&router,
		build(&router,
			edit("[destination.node2]\nhost = \"192.0.2.2\"\n"
			     "tls_server_name = \"b.example\"\n"
			     "[destination.node2.protocol.imap]\nport = 993\n"
			     "tls = \"implicit\"\n[listener.imap]",
				"[listener.other]")));
	assert_int_equal(router.snapshot->node_count, 1);
	assert_true(router_shows_node(&router, node2));
	assert_null(snapshot_listener(router.snapshot, listener));
	assert_false(router_shows_listener(&router, listener));
	atomic_fetch_sub(&node2->active, 1);
	assert_false(router_shows_node(&router, node2));
	assert_ptr_equal(snapshot_listener(held, listener), &held->config->listeners[0]);
	adopt(&router, build(&router, base));
	assert_ptr_equal(router.snapshot->nodes[1], node2);
	assert_ptr_equal(router.snapshot->listeners[0], listener);
	assert_int_equal(failures_of(node2), 1);
	snapshot_unref(held);
	router_forget(&router);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) ? tls_process_init() : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tls_process_fini();
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_33_tls_sessions_are_kept_with_their_trust),
		cmocka_unit_test(test_33_system_trust),
		cmocka_unit_test(test_HND_4_authority_of_agents),
		cmocka_unit_test(test_CFG_51_nodes_and_listeners_by_name),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
