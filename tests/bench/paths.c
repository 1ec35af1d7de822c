// SPDX-License-Identifier: Apache-2.0
/*
 * One session with two plain legs, everything on this host: client, router and node as a process
 * each, on every data path in turn and without a router. What a small question and its answer take,
 * and what a gigabyte to the client costs all three and the router. The bypass is taken also where
 * its probe refuses the kernel: the node here asks for nothing that is wrong there.
 *
 * usage: paths [ROUNDS [QUESTIONS [MEGABYTES]]]
 */
#include "base/clock.h"
#include "net/sock.h"
#include "relay/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUESTION_BYTES 40
#define QUESTIONS_MAX 20000u
#define BULK_WRITE 16384

/* What every question begins with. */
struct question {
	uint64_t answer_bytes;
	char rest[QUESTION_BYTES - 8];
};

/* Between the processes. */
static struct shared {
	double router_s, node_s;
} *shared;

static double latencies[QUESTIONS_MAX];

static void die(const char *what)
{
	perror(what);
	_exit(2);
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int listen_on(struct addr *ret_addr)
{
	int fd;

	if (addr_parse(VIEW_LIT("127.0.0.1:0"), ret_addr) < 0)
		die("address");
	fd = sock_listen(ret_addr, 0, 4);
	if (fd < 0 || sock_local(fd, ret_addr) < 0)
		die("listen");
	return fd;
}

/* Blocking. */
static int connect_to(const struct addr *addr)
{
	int fd = socket(addr->sa.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, &addr->sa, addr_len(addr)) < 0)
		die("connect");
	return fd;
}

static bool read_all(int fd, char *data, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, data, len, 0);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- the node ---- */

static void node(int listener)
{
	static char data[BULK_WRITE];
	struct question question;
	int fd = accept(listener, NULL, NULL);
	double before = cpu_s();

	while (fd >= 0 && read_all(fd, (char *)&question, sizeof(question))) {
		for (uint64_t left = question.answer_bytes; left;) {
			ssize_t n = send(fd, data, MIN(left, sizeof(data)), MSG_NOSIGNAL);

			if (n <= 0)
				_exit(1);
			left -= (uint64_t)n;
		}
	}
	shared->node_s = cpu_s() - before;
	_exit(0);
}

/* ---- the router ---- */

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	(void)relay;
	(void)end;
	*(bool *)arg = true;
}

static void load(struct relay_kernel *kernel, enum relay_path path)
{
	struct bpfctl_params params = { .workers = 1, .max_flows = 16 };
	char error[BPFCTL_ERROR_SIZE] = "";

	if (path == RELAY_PATH_COPY)
		return;
	if (bpfctl_load(&params, &kernel->bpfctl, error) < 0 ||
		(path == RELAY_PATH_BYPASS &&
			bpfctl_bypass_load(kernel->bpfctl, 8, &kernel->bypass, error) < 0)) {
		fprintf(stderr, "%s\n", error);
		_exit(2);
	}
	kernel->sockmap = true;
	kernel->same_host = path == RELAY_PATH_BYPASS;
}

static void router(enum relay_path path, int listener, const struct addr *node_addr)
{
	struct relay_kernel kernel = { 0 };
	struct relay_engine engine;
	struct relay *relay;
	struct loop loop;
	bool done = false;
	struct relay_params params = {
		.engine = &engine,
		.settings = { .mode = path == RELAY_PATH_COPY ? RELAY_MODE_COPY : RELAY_MODE_AUTO,
			.backlog_limit = 262144,
			.bulk_rate = 8 << 20,
			.stall_ms = 2000,
			.same_host = true },
		.protocol = "bench",
		.idle_ms = 600000,
		.owed_ms = 60000,
		.done = on_done,
		.arg = &done,
	};
	struct buf early[2] = { { 0 }, { 0 } };
	struct stream legs[2];
	struct addr peer;
	double before;
	int fd;

	load(&kernel, path);
	do {
		fd = sock_accept(listener, &peer);
	} while (fd == -EAGAIN && usleep(100) == 0);
	stream_init_plain(&legs[RELAY_CLIENT], fd);
	fd = sock_connect_start(node_addr, NULL);
	usleep(10000);
	stream_init_plain(&legs[RELAY_NODE], fd);
	if (loop_init(&loop) < 0 || relay_engine_init(&engine, &loop, &kernel, 0) < 0 ||
		relay_start(&params, legs, early, &relay) < 0)
		die("relay");
	if (relay_path_of(relay, RELAY_DOWN) != path)
		die("another path");
	before = cpu_s();
	while (!done && loop_run_once(&loop, 1000) == 0)
		;
	shared->router_s = cpu_s() - before;
	relay_free(relay);
	_exit(0);
}

/* ---- the client ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct result {
	double median_us, all_s, router_s, wall_s;
};

/* Asks `count` times for so many bytes. */
static void ask(int fd, unsigned count, uint64_t answer_bytes)
{
	static char data[262144];
	struct question question = { .answer_bytes = answer_bytes };

	for (unsigned i = 0; i < count; i++) {
		double start = now_us();

		if (send(fd, &question, sizeof(question), MSG_NOSIGNAL) != sizeof(question))
			die("send");
		for (uint64_t left = answer_bytes; left;) {
			ssize_t n = recv(fd, data, MIN(left, sizeof(data)), 0);

			if (n <= 0)
				die("recv");
			left -= (uint64_t)n;
		}
		latencies[i] = now_us() - start;
	}
	qsort(latencies, count, sizeof(*latencies), compare);
}

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return pid;
}

/* path: RELAY_PATH_NONE without a router. */
static struct result measure(enum relay_path path, unsigned count, uint64_t answer_bytes)
{
	struct addr node_addr, router_addr;
	int node_listener = listen_on(&node_addr), router_listener = listen_on(&router_addr), fd;
	struct result result;
	double before, start;

	*shared = (struct shared){ 0 };
	fcntl(node_listener, F_SETFL, 0);
	if (child() == 0)
		node(node_listener);
	if (path != RELAY_PATH_NONE && child() == 0) {
		close(node_listener);
		router(path, router_listener, &node_addr);
	}
	fd = connect_to(path == RELAY_PATH_NONE ? &node_addr : &router_addr);
	ask(fd, 200, 300); /* all are up and warm */
	before = cpu_s();
	start = now_us();
	ask(fd, count, answer_bytes);
	result.wall_s = (now_us() - start) / 1e6;
	result.all_s = cpu_s() - before;
	result.median_us = latencies[count / 2];
	close(fd);
	close(node_listener);
	close(router_listener);
	while (wait(NULL) > 0)
		;
	result.all_s += shared->router_s + shared->node_s;
	result.router_s = shared->router_s;
	return result;
}

static int compare_results(const void *a, const void *b)
{
	return compare(
		&((const struct result *)a)->median_us, &((const struct result *)b)->median_us);
}

/* The round in the middle, by what is asked for. */
static struct result middle(enum relay_path path, unsigned count, uint64_t bytes, unsigned rounds)
{
	struct result results[15];

	for (unsigned i = 0; i < rounds; i++)
		results[i] = measure(path, count, bytes);
	qsort(results, rounds, sizeof(*results), compare_results);
	return results[rounds / 2];
}

int main(int argc, char **argv)
{
	static const enum relay_path paths[] = { RELAY_PATH_NONE, RELAY_PATH_COPY,
		RELAY_PATH_SOCKMAP, RELAY_PATH_BYPASS };
	static const uint64_t sizes[] = { 300, 2000, 20000 };
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
	unsigned questions = argc > 2 ? (unsigned)atoi(argv[2]) : QUESTIONS_MAX;
	unsigned megabytes = argc > 3 ? (unsigned)atoi(argv[3]) : 1000;

	rounds = MIN(MAX(rounds, 1u), 15u);
	questions = MIN(MAX(questions, 200u), QUESTIONS_MAX);
	signal(SIGPIPE, SIG_IGN);
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	printf("%-8s %21s %21s %21s %30s\n", "path", "300 B: us, CPU us", "2000 B: us, CPU us",
		"20 kB: us, CPU us", "1 GB: s, CPU s, router's CPU s");
	for (size_t p = 0; p < ARRAY_SIZE(paths); p++) {
		struct result bulk;

		printf("%-8s", paths[p] ? relay_path_name(paths[p]) : "direct");
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct result r = middle(paths[p], questions, sizes[i], rounds);

			printf(" %12.1f %8.1f", r.median_us, r.all_s * 1e6 / questions);
			fflush(stdout);
		}
		bulk = middle(paths[p], 1, megabytes * 1000000ull, rounds);
		printf(" %12.2f %8.2f %8.2f\n", bulk.wall_s * 1000 / megabytes,
			bulk.all_s * 1000 / megabytes, bulk.router_s * 1000 / megabytes);
	}
	return 0;
}
