// SPDX-License-Identifier: Apache-2.0
/* homingctl top: what the router does now, once a second, until q. Rates come from the difference
 * of two answers. Without a terminal: one frame, and the end. */
#include "base/clock.h"
#include "base/compiler.h"
#include "ctl/ctl.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define INTERVAL_MS 1000
#define ACCOUNTS_SHOWN 10

struct rates {
	uint64_t at_ms;
	json_t *stats; /* owned; NULL before the first answer */
};

struct account {
	const char *name;
	long long sessions, bytes;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* "12.3 MB/s"; decimal units. */
static const char *human(double value, char text[16])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	size_t i = 0;

	while (value >= 1000 && i < ARRAY_SIZE(units) - 1) {
		value /= 1000;
		i++;
	}
	snprintf(text, 16, i && value < 100 ? "%.1f %s" : "%.0f %s", value, units[i]);
	return text;
}

/* The growth of a counter per second; 0 before there are two answers. */
static double rate(const struct rates *before, const json_t *now, const json_t *then,
	const char *key, uint64_t at_ms)
{
	if (!before->stats || !then || at_ms <= before->at_ms)
		return 0;
	return (double)(ctl_number(now, key) - ctl_number(then, key)) * 1000 /
		(double)(at_ms - before->at_ms);
}

static void print_head(const json_t *stats, const struct rates *before, uint64_t at_ms)
{
	double hits = rate(before, stats, before->stats, "cache_hits", at_ms);
	double misses = rate(before, stats, before->stats, "cache_misses", at_ms);

	printf("homing %s  up %lld s  connections %lld  cache %lld entries, hit rate %.2f %%\n",
		json_string_value(json_object_get(stats, "version")), ctl_number(stats, "uptime_s"),
		ctl_number(stats, "active_connections"), ctl_number(stats, "cache_entries"),
		json_number_value(json_object_get(stats, "hit_rate_pct")));
	printf("logins %.0f/s (%.0f/s from the cache)  refused %lld  held %lld  store %s  push "
	       "%s\n",
		hits + misses, hits, ctl_number(stats, "auth_failed"), ctl_number(stats, "held"),
		json_string_value(json_object_get(stats, "store_state")),
		json_string_value(json_object_get(stats, "push_state")));
}

static void print_nodes(const json_t *stats, const struct rates *before, uint64_t at_ms)
{
	json_t *nodes = json_object_get(stats, "nodes"), *row;
	const char *name;
	char up[16], down[16];

	printf("\n%-20s %-6s %10s %12s %12s %10s\n", "NODE", "STATE", "SESSIONS", "UP/s", "DOWN/s",
		"LOGINS/s");
	json_object_foreach(nodes, name, row)
	{
		json_t *then = json_object_get(json_object_get(before->stats, "nodes"), name);

		printf("%-20.20s %-6s %10lld %12s %12s %10.0f\n", name,
			json_is_true(json_object_get(row, "down")) ? "down" : "up",
			ctl_number(row, "active"),
			human(rate(before, row, then, "bytes_up", at_ms), up),
			human(rate(before, row, then, "bytes_down", at_ms), down),
			rate(before, row, then, "sessions", at_ms));
	}
}

static void print_paths(const json_t *stats, const struct rates *before, uint64_t at_ms)
{
	json_t *paths = json_object_get(stats, "paths"), *row;
	const char *name;
	char bytes[16];

	printf("\n%-20s %10s %12s\n", "PATH", "DIRECTIONS", "BYTES/s");
	json_object_foreach(paths, name, row)
	{
		json_t *then = json_object_get(json_object_get(before->stats, "paths"), name);

		printf("%-20s %10lld %12s\n", name, ctl_number(row, "active"),
			human(rate(before, row, then, "bytes", at_ms), bytes));
	}
}

static int by_bytes(const void *a, const void *b)
{
	const struct account *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct account *)a)->name, ((const struct account *)b)->name);
}

static void print_accounts(const json_t *sessions)
{
	json_t *list = json_object_get(sessions, "sessions"), *row;
	size_t count = 0, kept = 0, i;
	struct account *accounts = calloc(json_array_size(list) + 1, sizeof(*accounts));
	char bytes[16];

	if (!accounts)
		return;
	json_array_foreach(list, i, row)
	{
		const char *name = json_string_value(json_object_get(row, "account"));

		if (name)
			accounts[count++] = (struct account){ name, 1,
				ctl_number(row, "bytes_up") + ctl_number(row, "bytes_down") };
	}
	qsort(accounts, count, sizeof(*accounts), by_name);
	for (i = 0; i < count; i++) { /* those of one name become one */
		if (kept && strcmp(accounts[kept - 1].name, accounts[i].name) == 0) {
			accounts[kept - 1].sessions += accounts[i].sessions;
			accounts[kept - 1].bytes += accounts[i].bytes;
		} else {
			accounts[kept++] = accounts[i];
		}
	}
	qsort(accounts, kept, sizeof(*accounts), by_bytes);
	printf("\n%-40s %10s %12s   (%zu accounts)\n", "ACCOUNT", "SESSIONS", "BYTES", kept);
	for (i = 0; i < kept && i < ACCOUNTS_SHOWN; i++)
		printf("%-40.40s %10lld %12s\n", accounts[i].name, accounts[i].sessions,
			human((double)accounts[i].bytes, bytes));
	free(accounts);
}

/* One frame. Returns the exit code. */
static int frame(struct ctl *ctl, struct rates *before, bool show, bool screen)
{
	json_t *stats = NULL, *sessions = NULL;
	int code = ctl_call(ctl, "GET", "/stats", &stats);
	uint64_t at_ms = clock_mono_ms();

	if (code == EXIT_OK && show)
		code = ctl_call(ctl, "GET", "/sessions?limit=10000", &sessions);
	if (code == EXIT_OK && show) {
		if (screen)
			ctl_put_raw(stdout, "\033[H\033[2J");
		print_head(stats, before, at_ms);
		print_nodes(stats, before, at_ms);
		print_paths(stats, before, at_ms);
		print_accounts(sessions);
		fflush(stdout);
	}
	json_decref(sessions);
	if (code != EXIT_OK) {
		json_decref(stats);
		return code;
	}
	json_decref(before->stats);
	*before = (struct rates){ .at_ms = at_ms, .stats = stats };
	return EXIT_OK;
}

/* True when the user wants to go. */
static bool wait_key(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char c = 0;

	if (poll(&p, 1, INTERVAL_MS) != 1)
		return stop;
	return read(STDIN_FILENO, &c, 1) != 1 || c == 'q' || c == 'Q' || stop;
}

static int run_screen(struct ctl *ctl, struct rates *before)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct termios saved, raw;
	int code = EXIT_OK;

	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return ctl_complain("top", "needs a terminal");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	raw = saved;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	ctl_put_raw(stdout, "\033[?1049h\033[?25l");
	while (code == EXIT_OK && !stop) {
		code = frame(ctl, before, true, true);
		if (code == EXIT_OK && wait_key())
			break;
	}
	ctl_put_raw(stdout, "\033[?25h\033[?1049l");
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	return code;
}

int ctl_cmd_top(struct ctl *ctl, char **args)
{
	struct rates before = { 0 };
	int code;

	(void)args;
	ctl->options.json = false;
	if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO)) {
		code = run_screen(ctl, &before);
	} else {
		code = frame(ctl, &before, false, false);
		if (code == EXIT_OK) {
			poll(NULL, 0, INTERVAL_MS);
			code = frame(ctl, &before, true, false);
		}
	}
	json_decref(before.stats);
	return code;
}
