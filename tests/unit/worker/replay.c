// SPDX-License-Identifier: Apache-2.0
/*
 * A session in one thread, between a client and a node that are sockets of the test: what no
 * configuration can bring about. The test is the only one that runs the loop.
 */
#include "unit.h"

#include "base/clock.h"
#include "session/session.h"
#include "worker/kinds.h"
#include "unit/file_mapping.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static char directory[] = "/tmp/homing-session-XXXXXX";

static const char text[] =
	"[server]\n"
	"backend_connect_retries = 0\n"
	"[mapping]\nsource = \"file\"\n[mapping.file]\npath = \"accounts\"\n"
	"[routing]\ndefault_destination = \"node1\"\n"
	"[destination.node1]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n"
	"forwarding = \"none\"\n"
	"[destination.node1.protocol.imap]\nport = %u\ntls = \"plain\"\n"
	"[capabilities.imap]\nallow_plain_auth_without_tls = true\n"
	"sasl = [\"PLAIN\", \"LOGIN\"]\n"
	"[listener.imap]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:0\"]\n"
	"tls = \"plain\"\n";

static struct fixture {
	struct loop loop;
	struct router router;
	struct listener *listener; /* the snapshot's */
	struct session_pool pool;
	struct config *config;
	int node_listener, node, client;
	char from_client[4096], from_node[4096]; /* what the client and the node have read */
} f;

static void write_file(const char *name, const char *content, char path[128])
{
	FILE *file;

	snprintf(path, 128, "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(content, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void no_finding(void *arg, const struct config_finding *finding)
{
	(void)arg;
	if (finding->error)
		fail_msg("%s: %s", finding->keypath, finding->text);
}

static int listen_here(uint16_t *ret_port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

static void make_mapping(const char *accounts)
{
	static const char *const names[] = { "node1", NULL };

	f.router.mapping = file_mapping(&f.loop, accounts, names, 1000, 1000);
}

static void connect_client(void)
{
	uint16_t port;
	int listener = listen_here(&port), fd;
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct addr peer;

	f.client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(f.client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fcntl(f.client, F_SETFL, O_NONBLOCK);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(listener);
	assert_int_equal(addr_parse(VIEW_LIT("127.0.0.1:40000"), &peer), 0);
	session_accept(&f.pool, f.listener, fd, &peer);
}

static void setup(void)
{
	char content[2048], path[128], accounts[128];
	struct build_error error;
	struct snapshot *snapshot;
	uint16_t port;

	memset(&f, 0, sizeof(f));
	f.node = -1;
	f.node_listener = listen_here(&port);
	write_file("accounts", "alice node1\n", accounts);
	snprintf(content, sizeof(content), text, port);
	write_file("homing.toml", content, path);
	assert_int_equal(config_load(path, no_finding, NULL, &f.config), 0);
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(snapshot_new(NULL, &f.router.known, f.config, &snapshot, &error), 0);
	assert_int_equal(router_reserve(&f.router, snapshot), 0);
	router_adopt(&f.router, snapshot);
	assert_int_equal(holds_new(&f.router.holds), 0);
	assert_int_equal(netlink_addrs_new(&f.loop, &f.router.local_addrs), 0);
	make_mapping(accounts);
	f.router.worker_count = 1;
	f.listener = f.router.snapshot->listeners[0];
	assert_int_equal(session_pool_init(&f.pool, session_kinds, &f.router, &f.loop, 0), 0);
	session_pool_follow(&f.pool, f.router.snapshot);
	connect_client();
}

static void teardown(void)
{
	session_pool_fini(&f.pool);
	assert_int_equal(loop_run_once(&f.loop, 0), 0); /* deferred frees */
	mapping_free(f.router.mapping);
	holds_free(f.router.holds);
	netlink_addrs_free(f.router.local_addrs);
	router_forget(&f.router);
	config_unref(f.config);
	loop_fini(&f.loop);
	close(f.client);
	close(f.node);
	close(f.node_listener);
}

static void take(int fd, char into[4096])
{
	size_t len = strlen(into);
	ssize_t n = read(fd, into + len, 4095 - len);

	if (n > 0)
		into[len + (size_t)n] = '\0';
}

/* Until one of them has read the text. */
static void run_until(const char *side, const char *wanted)
{
	uint64_t end = clock_mono_ms() + 20000;

	while (!strstr(side, wanted)) {
		if (clock_mono_ms() > end)
			fail_msg("no \"%s\": client \"%s\", node \"%s\"", wanted, f.from_client,
				f.from_node);
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
		if (f.node < 0) {
			static const char greeting[] = "* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n";

			f.node = accept4(f.node_listener, NULL, NULL, SOCK_NONBLOCK);
			if (f.node >= 0)
				assert_int_equal(write(f.node, greeting, sizeof(greeting) - 1),
					sizeof(greeting) - 1);
		}
		take(f.client, f.from_client);
		if (f.node >= 0)
			take(f.node, f.from_node);
	}
}

static void say(int fd, const char *line)
{
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
}

static void test_a_plain_leg_that_is_permitted(void **state)
{
	(void)state;
	setup();
	say(f.client, "a LOGIN alice secret\r\n");
	run_until(f.from_node, "a AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n");
	say(f.node, "a OK in\r\n");
	run_until(f.from_client, "a OK in\r\n");
	teardown();
}

/* SES-48: asked again right before the credential is written, whatever the configuration's check
 * said of this leg. */
static void test_SES_48_no_secret_on_a_plain_leg_without_the_override(void **state)
{
	(void)state;
	setup();
	f.config->destinations[0].allow_plaintext_auth = false;
	say(f.client, "a LOGIN alice secret\r\n");
	run_until(f.from_client, "* BYE Try again later.\r\n");
	assert_non_null(strstr(f.from_client, "a NO [UNAVAILABLE] "));
	assert_true(f.node >= 0); /* it was reached and has greeted */
	while (read(f.node, f.from_node, sizeof(f.from_node) - 1) < 0)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	assert_string_equal(f.from_node, ""); /* and got nothing but the end */
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_plain_leg_that_is_permitted),
		cmocka_unit_test(test_SES_48_no_secret_on_a_plain_leg_without_the_override),
	};
	char path[128];
	int r;

	if (!mkdtemp(directory))
		return 1;
	if (tls_process_init() < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tls_process_fini();
	snprintf(path, sizeof(path), "%s/accounts", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/homing.toml", directory);
	unlink(path);
	rmdir(directory);
	return r;
}
