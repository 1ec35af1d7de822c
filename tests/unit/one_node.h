// SPDX-License-Identifier: Apache-2.0
/* A configuration with one node, which is a socket of the test that does not listen yet; what is
 * needed to reach it. */
#ifndef UNIT_ONE_NODE_H
#define UNIT_ONE_NODE_H

#include "base/clock.h"
#include "router/router.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char text[] =
	"[server]\nbackend_connect_retries = 0\n"
	"[mapping]\nsource = \"file\"\n[mapping.file]\npath = \"accounts\"\n"
	"[routing]\ndefault_destination = \"node1\"\n"
	"[destination.node1]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n"
	"forwarding = \"proxy\"\n"
	"[destination.node1.protocol.imap]\nport = %u\ntls = \"plain\"\n"
	"[capabilities.imap]\nallow_plain_auth_without_tls = true\nsasl = [\"PLAIN\"]\n"
	"[listener.imap]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:0\"]\ntls = \"plain\"\n";

static struct fixture {
	struct loop loop;
	struct router router;
	struct resolver *resolver;
	struct config *config;
	struct addr client, local;
	int node_listener;
	char directory[64], path[96], accounts[96], content[1024];
} f;

static void no_finding(void *arg, const struct config_finding *finding)
{
	(void)arg;
	if (finding->error)
		fail_msg("%s: %s", finding->keypath, finding->text);
}

static void write_file(const char *name, const char *content, char path[96])
{
	FILE *file;

	snprintf(path, 96, "%s/%s", f.directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(content, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	struct build_error error;
	struct snapshot *snapshot;

	(void)state;
	memset(&f, 0, sizeof(f));
	f.node_listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f.node_listener, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(f.node_listener, (struct sockaddr *)&addr, &len), 0);
	snprintf(f.content, sizeof(f.content), text, (unsigned)ntohs(addr.sin_port));
	strcpy(f.directory, "/tmp/homing-dial-XXXXXX");
	assert_non_null(mkdtemp(f.directory));
	write_file("homing.toml", f.content, f.path);
	write_file("accounts", "alice node1\n", f.accounts);
	assert_int_equal(config_load(f.path, no_finding, NULL, &f.config), 0);
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(snapshot_new(NULL, &f.router.known, f.config, &snapshot, &error), 0);
	assert_int_equal(router_reserve(&f.router, snapshot), 0);
	router_adopt(&f.router, snapshot);
	assert_int_equal(netlink_addrs_new(&f.loop, &f.router.local_addrs), 0);
	assert_int_equal(resolver_new(&f.loop, &f.resolver), 0);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:40000"), &f.client), 0);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.2:143"), &f.local), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	resolver_free(f.resolver);
	netlink_addrs_free(f.router.local_addrs);
	router_forget(&f.router);
	config_unref(f.config);
	loop_fini(&f.loop);
	close(f.node_listener);
	unlink(f.path);
	unlink(f.accounts);
	rmdir(f.directory);
	return 0;
}

static void run_until(const int *done)
{
	uint64_t end = clock_mono_ms() + 20000;

	while (!*done && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	assert_int_equal(*done, 1);
}

#endif
