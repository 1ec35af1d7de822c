// SPDX-License-Identifier: Apache-2.0
/* What differs between two configurations: keys, tables, files, restart (CFG-51, CFG-52,
 * CFG-56). */
#include "unit.h"

#include "config/config.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/homing-diff-XXXXXX";

static const char *const base = "[server]\n"
				"bridge_idle = \"30s\"\n"
				"[mapping]\n"
				"source = \"file\"\n"
				"[mapping.file]\n"
				"path = \"map\"\n"
				"[routing]\n"
				"default_destination = \"node1\"\n"
				"[destination.node1]\n"
				"host = \"192.0.2.1\"\n"
				"allow_plaintext_auth = true\n"
				"[destination.node1.protocol.imap]\n"
				"port = 143\n"
				"tls = \"plain\"\n"
				"[listener.imap]\n"
				"protocol = \"imap\"\n"
				"bind = [\"127.0.0.1:1143\"]\n"
				"tls = \"plain\"\n"
				"proxy_trusted = [\"10.0.0.0/8\"]\n";

static const char *const admin =
	"[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"token\"\n";
#define TOKEN "0123456789abcdef0123456789abcdef"

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

	write_file("homing.toml", text);
	snprintf(path, sizeof(path), "%s/homing.toml", dir);
	assert_int_equal(config_load(path, show_error, NULL, &config), 0);
	return config;
}

/* A copy of text with the first `from` replaced. */
static char *edit(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *edited;

	assert_non_null(at);
	assert_true(
		asprintf(&edited, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return edited;
}

static void check(const struct config *before, const struct config *after, enum config_diff_set set,
	const char *wanted)
{
	struct config_keys keys;
	char joined[1024] = "";

	assert_int_equal(config_diff(before, after, set, &keys), 0);
	for (size_t i = 0; i < keys.count; i++)
		snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
			i ? " " : "", keys.keys[i]);
	assert_string_equal(joined, wanted);
	config_keys_free(&keys);
}

/* Loads both and compares; the files on disk may change between by `touch`. */
static void check_texts(
	const char *before_text, const char *after_text, const char *live, const char *restart)
{
	struct config *before = load(before_text), *after = load(after_text);

	check(before, after, CONFIG_DIFF_LIVE, live);
	check(before, after, CONFIG_DIFF_RESTART, restart);
	config_unref(before);
	config_unref(after);
}

static void check_edit(const char *from, const char *to, const char *live, const char *restart)
{
	char *edited = edit(base, from, to);

	check_texts(base, edited, live, restart);
	free(edited);
}

static void test_CFG_51_nothing_differs(void **state)
{
	(void)state;
	check_texts(base, base, "", "");
	check_edit("\"30s\"", "\" 30000 ms\"", "", "");
	check_edit("[server]", "[splice]\nbacklog_limit = \"256KiB\"\n[server]", "", "");
}

static void test_CFG_51_changed_values(void **state)
{
	(void)state;
	check_edit("\"30s\"", "\"31s\"", "server.bridge_idle", "");
	check_edit("[server]", "[server]\nhostname = \"x.example\"", "server.hostname", "");
	check_edit("[server]", "[server]\nlog_level = \"debug\"", "server.log_level", "");
	check_edit("192.0.2.1", "192.0.2.2", "destination.node1.host", "");
	check_edit("10.0.0.0/8", "10.0.0.0/9", "listener.imap.proxy_trusted", "");
	check_edit(":1143\"", ":1143\", \"127.0.0.1:1144\"", "listener.imap.bind", "");
	check_edit("port = 143", "port = 144", "destination.node1.protocol.imap.port", "");
	check_edit("[mapping]", "[mapping]\nnormalize = \"lowercase\"", "mapping.normalize", "");
	check_edit("[mapping]",
		"[capabilities.imap]\nsasl = [\"LOGIN\"]\nbanner = \"x\"\n[mapping]",
		"capabilities.imap.banner capabilities.imap.sasl", "");
	check_edit("[mapping]", "[tls.protocols]\nmin_version = \"1.3\"\n[mapping]",
		"tls.protocols.min_version", "");
	check_edit("default_destination", "master_user_separators = []\ndefault_destination",
		"routing.master_user_separators", "");
	check_edit("allow_plaintext_auth", "proxy_protocol = false\nallow_plaintext_auth",
		"destination.node1.proxy_protocol", "");
	check_edit("allow_plaintext_auth",
		"tls_pinned_cert_sha256 = \"0000000000000000000000000000000000000000000000000000000"
		"000000001\"\nallow_plaintext_auth",
		"destination.node1.tls_pinned_cert_sha256", "");
}

static void test_CFG_51_tables_that_come_and_go(void **state)
{
	static const char more[] = "[destination.node2]\nhost = \"192.0.2.9\"\n"
				   "allow_plaintext_auth = true\n"
				   "[destination.node2.protocol.imap]\nport = 1\ntls = \"plain\"\n"
				   "[listener.\"a.b\"]\nprotocol = \"imap\"\ntls = \"plain\"\n"
				   "bind = [\"127.0.0.1:1150\"]\n"
				   "[destination.node1.protocol.pop3]\nport = 1\ntls = \"plain\"\n"
				   "[[http.route]]\nmatch = \"/x\"\ndestination = \"node1\"\n"
				   "[destination.node1.protocol.http]\nport = 1\ntls = \"plain\"\n";
	static const char wanted[] =
		"destination.node1.protocol.http destination.node1.protocol.pop3 "
		"destination.node2 http.route[0] listener.\"a.b\"";
	char *longer;

	(void)state;
	assert_true(asprintf(&longer, "%s%s", base, more) > 0);
	check_texts(base, longer, wanted, "");
	check_texts(longer, base, wanted, "");
	free(longer);
}

static void test_CFG_56_restart_keys(void **state)
{
	char *with, *moved;

	(void)state;
	check_edit("[server]", "[server]\nthreads = 3\nuser = \"daemon\"\ngroup = \"sys\"", "",
		"server.group server.threads server.user");
	check_edit("[server]", "[splice]\npin_path = \"/x\"\nmode = \"copy\"\n[server]",
		"splice.mode", "splice.pin_path");
	check_edit("[server]",
		"[guard]\nenabled = true\ninterfaces = [\"eth0\"]\nipv6_prefix = 48\n"
		"allow = [\"10.0.0.0/8\"]\nmax_bans = 7\n[server]",
		"guard.allow guard.enabled", "guard.interfaces guard.ipv6_prefix guard.max_bans");
	assert_true(asprintf(&with, "%s%s", base, admin) > 0);
	check_texts(base, with, "", "admin");
	check_texts(with, base, "", "admin");
	moved = edit(with, "127.0.0.1:9443\"",
		"127.0.0.1:9444\"\nsocket = \"/x\"\nlockout_threshold = 1");
	check_texts(with, moved, "admin.lockout_threshold", "admin.bind admin.socket");
	free(moved);
	free(with);
}

static void test_CFG_50_files_by_content(void **state)
{
	struct config *before, *after;
	char *with;

	(void)state;
	assert_true(asprintf(&with, "%s%s", base, admin) > 0);
	before = load(with);
	write_file("map", "bob node1\n");
	after = load(with);
	check(before, after, CONFIG_DIFF_LIVE, "mapping.file.path");
	assert_true(config_answers_differ(before, after));
	config_unref(before);
	before = after;
	write_file("token", TOKEN "!\n");
	after = load(with);
	check(before, after, CONFIG_DIFF_LIVE, "admin.bearer_token_file");
	assert_false(config_answers_differ(before, after));
	assert_true(config_store_differs(before, after)); /* CFG-53: read again all the same */
	config_unref(before);
	config_unref(after);
	write_file("token", TOKEN "\n");
	free(with);
}

static void test_CFG_56_token_in_the_file(void **state)
{
	char *one, *other;

	(void)state;
	assert_true(asprintf(&one, "%s[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token = \"%s\"\n",
			    base, TOKEN) > 0);
	other = edit(one, TOKEN, TOKEN "x");
	check_texts(one, one, "", "");
	check_texts(one, other, "admin.bearer_token", "");
	free(one);
	free(other);
}

/* CFG-8: the variable is gone after the first load, and still it wins. */
static void test_CFG_8_environment_token_after_reload(void **state)
{
	struct config *before, *after;
	char *with;

	(void)state;
	assert_true(asprintf(&with, "%s%s", base, admin) > 0);
	assert_int_equal(setenv("HOMING_ADMIN_TOKEN", "E" TOKEN, 1), 0);
	before = load(with);
	assert_int_equal(unsetenv("HOMING_ADMIN_TOKEN"), 0);
	assert_int_equal(config_load_again(before, show_error, NULL, &after), 0);
	assert_memory_equal(before->admin.token_sha256, after->admin.token_sha256, TLS_SHA256_SIZE);
	config_unref(after);
	after = load(with); /* a start without it */
	assert_memory_not_equal(
		before->admin.token_sha256, after->admin.token_sha256, TLS_SHA256_SIZE);
	config_unref(before);
	config_unref(after);
	free(with);
}

static const char *const sql = "[mapping.sql]\nquery = \"SELECT $1\"\n[mapping.file]";

static void check_answers(const char *before_text, const char *after_text, bool answers, bool store)
{
	struct config *before = load(before_text), *after = load(after_text);

	assert_int_equal(config_answers_differ(before, after), answers);
	assert_int_equal(config_store_differs(before, after), store);
	config_unref(before);
	config_unref(after);
}

static void test_CFG_52_inputs_of_the_answers(void **state)
{
	char *from_sql = edit(base, "[mapping.file]", sql), *one, *other;

	(void)state;
	one = edit(from_sql, "\"file\"", "\"sql\"");
	check_answers(one, one, false, false);
	check_answers(from_sql, one, true, true);
	other = edit(one, "SELECT $1", "SELECT $1::text");
	check_answers(one, other, true, true);
	free(other);
	other = edit(one, "query", "pool_size = 3\nquery");
	check_answers(one, other, false, true);
	free(other);
	other = edit(one, "query", "url = \"postgres://x/y\"\nquery");
	check_answers(one, other, true, true);
	free(other);
	other = edit(one, "source", "lookup_timeout = \"1s\"\nsource");
	check_answers(one, other, false, true);
	free(other);
	other = edit(one, "source", "positive_ttl = \"1s\"\nsource");
	check_answers(one, other, false, false);
	free(other);
	free(one);
	free(from_sql);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	write_file("map", "alice node1\n");
	write_file("token", TOKEN "\n");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "map", "token", "homing.toml" };
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_CFG_51_nothing_differs),
		cmocka_unit_test(test_CFG_51_changed_values),
		cmocka_unit_test(test_CFG_51_tables_that_come_and_go),
		cmocka_unit_test(test_CFG_56_restart_keys),
		cmocka_unit_test(test_CFG_50_files_by_content),
		cmocka_unit_test(test_CFG_56_token_in_the_file),
		cmocka_unit_test(test_CFG_8_environment_token_after_reload),
		cmocka_unit_test(test_CFG_52_inputs_of_the_answers),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
