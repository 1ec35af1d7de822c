// SPDX-License-Identifier: Apache-2.0
/* What one snapshot takes over from the one before it (CFG-51, #33). */
#include "unit.h"

#include "router/router.h"

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

static struct config *load(const char *text)
{
	struct config *config;
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/homing.toml", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
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
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/ca.pem", dir);
	assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
	adopt(&router, build(&router, base));
	check_legs(&router, base, true, true);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs("# another set\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
	check_legs(&router, base, false, false);
	unlink(path);
	assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
	router_forget(&router);
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
		cmocka_unit_test(test_CFG_51_nodes_and_listeners_by_name),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
