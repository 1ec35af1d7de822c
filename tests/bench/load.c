// SPDX-License-Identifier: Apache-2.0
/*
 * The load generator: mail clients by the thousand on one epoll loop, IMAP or submission, plain or
 * TLS. Prints "ready"; then each command on standard input gets one line of KEY=VALUE pairs. A
 * command that fails prints error=TEXT and ends the program; so do 60 s in which nothing comes.
 *
 *     logins COUNT AT_ONCE [full|resumed]  COUNT sessions that log in and out, AT_ONCE in flight;
 *                          resumed: each with a TLS ticket of one before, which is used once; where
 *                          a server gives none in a resumed handshake, those of full logins before
 *                          (two each, mostly) have to last
 *     open COUNT AT_ONCE [full|resumed]    COUNT more sessions that stay
 *     close                all of them log out
 *     noop                 a NOOP on all, at once
 *     ping COUNT [SESSIONS]                NOOPs one after the other on one session; or in turns
 *                          over so many
 *     bulk BYTES SIZE [TIMES]              the node sends BYTES in writes (TLS: records) of SIZE;
 *                          so many times, each when all of the one before is here
 *     check BYTES SIZE     the same with content that says where it belongs; every byte is compared
 *     push BYTES SIZE      the other way
 *     fetch MESSAGES BYTES SESSIONS        messages of BYTES, SESSIONS of them at once
 *     notify COUNT RATE    all sessions IDLE; the node sends COUNT notifications, RATE a second
 *     mixed SECONDS CHATTY_RATE BULK_RATE  95 % idle and now and then notified, 4 % chatty, 1 %
 *                          fetch messages of 64 KiB
 *     quit
 *
 * ping, noop, logins, open and close work with any server; the others need the light node, notify
 * and mixed also its address (node=).
 * usage: load ADDRESS:PORT imap|submission plain|tls [node=ADDRESS:PORT] [accounts=N]
 *        [domain=NAME] [source=ADDRESS] [curve=NAME]      curve: of TLS, instead of X25519
 * Session K logs in as user(K modulo N)@NAME with the password "secret", K counting all logins.
 */
#include "load.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define QUIET_MS 60000
#define ARGS_MAX 4

struct load load = { .accounts = 1000, .domain = "example.com" };
static uint64_t progress_ms;

/* A value has no blanks. */
static void print_text(const char *key, const char *text)
{
	printf("%s=", key);
	for (; *text; text++)
		putchar(*text > ' ' && *text < 127 ? *text : '_');
}

_Noreturn void load_die(const char *text)
{
	print_text("error", text);
	putchar('\n');
	fflush(stdout);
	exit(1);
}

void load_progress(void)
{
	progress_ms = load.loop.now_ms;
}

void load_run_until(const uint64_t *counter, uint64_t goal)
{
	progress_ms = clock_mono_ms();
	while (*counter < goal) {
		if (loop_run_once(&load.loop, 1000) < 0)
			load_die("epoll");
		if (load.loop.now_ms > progress_ms + QUIET_MS)
			load_die("timeout");
	}
}

/* ---- samples ---- */

void samples_add(struct samples *samples, uint64_t ns)
{
	if (samples->count == samples->cap) {
		samples->cap = samples->cap ? samples->cap * 2 : 4096;
		samples->ns = realloc(samples->ns, samples->cap * sizeof(*samples->ns));
		if (!samples->ns)
			load_die("out of memory");
	}
	samples->ns[samples->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void samples_sort(struct samples *samples)
{
	if (samples->count)
		qsort(samples->ns, samples->count, sizeof(*samples->ns), compare);
}

double samples_us(const struct samples *samples, unsigned permille)
{
	size_t at = samples->count * permille / 1000;

	if (!samples->count)
		return 0;
	return (double)samples->ns[MIN(at, samples->count - 1)] / 1000;
}

void samples_free(struct samples *samples)
{
	free(samples->ns);
	*samples = (struct samples){ 0 };
}

/* ---- commands ---- */

static uint64_t number(const char *text)
{
	uint64_t value;

	if (view_to_u64(view_str(text), &value) < 0)
		load_die("not a number");
	return value;
}

static void log_in(struct logins *logins)
{
	struct logins fill = { .count = logins->at_once * 2, .at_once = logins->at_once };

	if (!logins->at_once)
		load_die("nothing at once");
	if (logins->resume && session_tickets() < logins->at_once) {
		session_log_in(&fill);
		samples_free(&fill.took);
	}
	session_log_in(logins);
	samples_sort(&logins->took);
}

static struct logins parse_logins(char **args)
{
	struct logins logins = { .count = number(args[0]), .at_once = number(args[1]) };

	logins.resume = args[2] && strcmp(args[2], "resumed") == 0;
	if (args[2] && !logins.resume && strcmp(args[2], "full") != 0)
		load_die("full or resumed");
	return logins;
}

static void run_logins(char **args)
{
	struct logins logins = parse_logins(args);

	log_in(&logins);
	printf("logins=%llu failed=%llu seconds=%.6f p50_us=%.1f p99_us=%.1f resumed=%llu",
		(unsigned long long)logins.done, (unsigned long long)logins.failed,
		(double)logins.seconds_ns / 1e9, samples_us(&logins.took, 500),
		samples_us(&logins.took, 990), (unsigned long long)logins.resumed);
	if (logins.failed)
		print_text(" failure", logins.failure);
	samples_free(&logins.took);
}

static void run_open(char **args)
{
	struct logins logins = parse_logins(args);

	logins.stay = true;
	log_in(&logins);
	printf("open=%u failed=%llu seconds=%.6f", load.open_count,
		(unsigned long long)logins.failed, (double)logins.seconds_ns / 1e9);
	if (logins.failed)
		print_text(" failure", logins.failure);
	samples_free(&logins.took);
}

static void run_close(char **args)
{
	(void)args;
	printf("closed=%llu", (unsigned long long)session_log_out());
}

static void run_noop(char **args)
{
	(void)args;
	work_noop();
}

static void run_ping(char **args)
{
	work_ping(number(args[0]), args[1] ? number(args[1]) : 1);
}

static void run_bulk(char **args)
{
	work_bulk("BULK", number(args[0]), number(args[1]), args[2] ? number(args[2]) : 1);
}

static void run_check(char **args)
{
	work_bulk("CHECK", number(args[0]), number(args[1]), 1);
}

static void run_push(char **args)
{
	work_push(number(args[0]), number(args[1]));
}

static void run_fetch(char **args)
{
	work_fetch(number(args[0]), number(args[1]), number(args[2]));
}

static void run_notify(char **args)
{
	crowd_notify(number(args[0]), number(args[1]));
}

static void run_mixed(char **args)
{
	crowd_mixed(number(args[0]), number(args[1]), number(args[2]));
}

static const struct command {
	const char *name;
	void (*run)(char **args);
	int args, args_max;
	bool imap, session; /* what it needs */
} commands[] = {
	{ "logins", run_logins, 2, 3, false, false },
	{ "open", run_open, 2, 3, false, false },
	{ "close", run_close, 0, 0, false, false },
	{ "noop", run_noop, 0, 0, false, false },
	{ "ping", run_ping, 1, 2, false, true },
	{ "bulk", run_bulk, 2, 3, true, true },
	{ "check", run_check, 2, 2, true, true },
	{ "push", run_push, 2, 2, true, true },
	{ "fetch", run_fetch, 3, 3, true, true },
	{ "notify", run_notify, 2, 2, true, true },
	{ "mixed", run_mixed, 3, 3, true, true },

};

static void run_command(const char *name, int count, char **args)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *command = &commands[i];

		if (strcmp(command->name, name) != 0)
			continue;
		if (count < command->args || count > command->args_max)
			load_die("wrong number of arguments");
		if (command->imap && load.submission)
			load_die("only with imap");
		if (command->session && !load.open_count)
			load_die("no open session");
		command->run(args);
		putchar('\n');
		fflush(stdout);
		return;
	}
	load_die("unknown command");
}

static void read_commands(void)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		char *args[ARGS_MAX + 1] = { NULL }, *rest = line;
		char *name = strsep(&rest, " \r\n");
		int count = 0;

		for (char *arg; count < ARGS_MAX && (arg = strsep(&rest, " \r\n"));) {
			if (*arg)
				args[count++] = arg;
		}
		if (strcmp(name, "quit") == 0)
			return;
		run_command(name, count, args);
	}
}

static bool parse_option(const char *option)
{
	const char *value = strchr(option, '=');
	struct view text = view_str(value ? value + 1 : NULL);

	if (!value)
		return false;
	if (strncmp(option, "node=", 5) == 0)
		return addr_parse(text, &load.node) == 0;
	if (strncmp(option, "accounts=", 9) == 0)
		return view_to_u64(text, &load.accounts) == 0 && load.accounts > 0;
	if (strncmp(option, "source=", 7) == 0)
		return addr_parse_ip(text, 0, &load.source) == 0;
	if (strncmp(option, "curve=", 6) == 0)
		return *(load.curve = text.data) != '\0';
	load.domain = text.data;
	return strncmp(option, "domain=", 7) == 0;
}

static bool parse_arguments(int argc, char **argv)
{
	if (argc < 4 || addr_parse(view_str(argv[1]), &load.target) < 0)
		return false;
	load.submission = strcmp(argv[2], "submission") == 0;
	load.tls = strcmp(argv[3], "tls") == 0;
	if ((!load.submission && strcmp(argv[2], "imap") != 0) ||
		(!load.tls && strcmp(argv[3], "plain") != 0))
		return false;
	for (int i = 4; i < argc; i++) {
		if (!parse_option(argv[i]))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	if (!parse_arguments(argc, argv)) {
		fprintf(stderr,
			"usage: load ADDRESS:PORT imap|submission plain|tls "
			"[node=ADDRESS:PORT] [accounts=N] [domain=NAME] [source=ADDRESS] "
			"[curve=NAME]\n");
		return 2;
	}
	peer_process_init();
	if (loop_init(&load.loop) < 0)
		load_die("no epoll");
	session_process_init();
	puts("ready");
	fflush(stdout);
	read_commands();
	session_process_fini();
	loop_fini(&load.loop);
	return 0;
}
