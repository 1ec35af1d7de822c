// SPDX-License-Identifier: Apache-2.0
/* The rows of commands and options, and what is made of them: --help, the man page, the completion
 * for bash. One place says what there is. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

const struct ctl_command ctl_commands[] = {
	{ "health", "", "is the router alive", ctl_cmd_health, 0, CTL_OPEN },
	{ "ready", "", "is it ready to serve, and if not, why", ctl_cmd_ready, 0, CTL_OPEN },
	{ "stats", "", "counters of cache, store, nodes, listeners, data paths", ctl_cmd_stats, 0,
		0 },
	{ "sessions", "[--account A] [--node N] [--limit K] [--net]",
		"who is connected, and on which path; --net: how both connections fare",
		ctl_cmd_sessions, 0, 0 },
	{ "top", "", "a live view of nodes, paths and accounts; q ends it", ctl_cmd_top, 0, 0 },
	{ "probe", "", "which data paths work here, and why not", ctl_cmd_probe, 0, 0 },
	{ "nodes", "[reset NODE]", "health of the nodes; forget a node's failures", ctl_cmd_nodes,
		2, 0 },
	{ "map", "get ACCOUNT | set ACCOUNT NODE | del ACCOUNT | reload",
		"the assignment of an account", ctl_cmd_map, 3, 0 },
	{ "flush", "[ACCOUNT]", "drop one cached mapping, or all", ctl_cmd_flush, 1, 0 },
	{ "kick", "ACCOUNT", "end the account's sessions", ctl_cmd_kick, 1, 0 },
	{ "delay", "ACCOUNT SECONDS", "let new logins of the account wait; 0: no more",
		ctl_cmd_delay, 2, 0 },
	{ "move", "ACCOUNT NODE [--hold SECONDS]",
		"assign another node and end the sessions on the old one", ctl_cmd_move, 2,
		CTL_MANY },
	{ "drain", "NODE [--rate N] [--to NODE,...] [--hold SECONDS]",
		"move all accounts that are assigned to the node to others; ^C stops it, a second "
		"run goes on",
		ctl_cmd_drain, 1, CTL_MANY },
	{ "ban", "ADDR[/N] [--for TIME] [--reason TEXT]",
		"refuse an address, or a network, from now on; default: for 1h", ctl_cmd_ban, 1,
		0 },
	{ "unban", "ADDR[/N]", "end a ban, and forget what the address has failed", ctl_cmd_unban,
		1, 0 },
	{ "bans", "[ADDR[/N]] [--limit K]", "who is banned, the newest first", ctl_cmd_bans, 1, 0 },
	{ "guard", "", "what the guard has counted, and who is never banned", ctl_cmd_guard, 0, 0 },
	{ "reload", "[--dry-run] [--force]",
		"read the configuration again; --dry-run: only say what would change; --force: "
		"also to a store that does not answer",
		ctl_cmd_reload, 0, 0 },
	{ "init-db", "FILE | postgres://... | --apply | --print [--role ROLE]",
		"create the table for mapping.sql: in an SQLite file, in a PostgreSQL database "
		"(with "
		"--apply that of the PG* environment), or print the schema for PostgreSQL",
		ctl_cmd_init_db, 1, CTL_LOCAL | CTL_OPEN },
	{ "handoff-keys", "DIR [AGENT...]",
		"make certificates for handoff in a directory: an authority, one for routers, and "
		"one "
		"for each agent by its host name or address; what is there is kept",
		ctl_cmd_handoff_keys, 65, CTL_LOCAL | CTL_OPEN },
	{ NULL, NULL, NULL, NULL, 0, 0 },
};

const struct ctl_option ctl_options[] = {
	{ "url", "URL",
		"the router's admin API; default: what the configuration says, else "
		"https://127.0.0.1:9443; for move and drain once for each router",
		CTL_URL },
	{ "socket", "PATH", "the router's own socket on this host (admin.socket): no token",
		CTL_SOCKET },
	{ "config", "FILE",
		"the router's configuration: its socket, else address, token and certificate; "
		"default: HOMING_CONFIG, else /etc/homing/homing.toml",
		CTL_CONFIG },
	{ "token-file", "FILE", "else HOMING_ADMIN_TOKEN, else from the configuration",
		CTL_TOKEN_FILE },
	{ "cacert", "FILE",
		"trust these certificates; default: the one that the configuration names, with "
		"--url "
		"the system store",
		CTL_CACERT },
	{ "pin", "HEX", "trust the certificate with this SHA-256", CTL_PIN },
	{ "insecure", NULL, "trust any certificate", CTL_INSECURE },
	{ "json", NULL, "print the answer as received", CTL_JSON },
	{ "timeout", "SECONDS", "default 10", CTL_TIMEOUT },
	{ "account", "ACCOUNT", "sessions: only this account's", CTL_ACCOUNT },
	{ "node", "NODE", "sessions: only this node's", CTL_NODE },
	{ "net", NULL,
		"sessions: round trip, retransmissions, congestion window, what limits, memory",
		CTL_NET },
	{ "limit", "N", "sessions, bans: at most that many, the oldest, the newest; default 100",
		CTL_LIMIT },
	{ "hold", "SECONDS", "move, drain: the longest that new logins wait; default 10",
		CTL_HOLD },
	{ "rate", "N", "drain: accounts per second, 1 to 1000; default 10", CTL_RATE },
	{ "to", "NODE,...", "drain: the new nodes, in turn; default: all others that are not down",
		CTL_TO },
	{ "dry-run", NULL, "reload: change nothing, say what would change", CTL_DRY_RUN },
	{ "force", NULL, "reload: take another store although it does not answer", CTL_FORCE },
	{ "for", "TIME", "ban: how long, as 90s, 30m, 1h or 2d; default 1h", CTL_FOR },
	{ "reason", "TEXT", "ban: why, for those who see it in a list", CTL_REASON },
	{ "role", "ROLE", "init-db: give this PostgreSQL role what the queries need, and try them",
		CTL_ROLE },
	{ "print", NULL, "init-db: print the schema for PostgreSQL", CTL_PRINT },
	{ "apply", NULL, "init-db: apply it to the PostgreSQL database of the PG* environment",
		CTL_APPLY },
	{ "completion", NULL, "print a completion script for bash", CTL_COMPLETION },
	{ "man", NULL, "print the manual page", CTL_MAN },
	{ "help", NULL, "print this", CTL_HELP },
	{ "version", NULL, "print the version", CTL_VERSION },
	{ NULL, NULL, NULL, 0 },
};

static const char exits[] =
	"0 success, 1 the router answered with an error, 2 usage, 3 no connection";

int ctl_usage(FILE *out, int code)
{
	fputs("usage: homingctl [OPTIONS] COMMAND\n\ncommands:\n", out);
	for (const struct ctl_command *row = ctl_commands; row->name; row++)
		fprintf(out, "  %s %s\n      %s\n", row->name, row->args, row->help);
	fputs("\noptions:\n", out);
	for (const struct ctl_option *row = ctl_options; row->name; row++) {
		int n = fprintf(out, "  --%s%s%s", row->name, row->arg ? " " : "",
			row->arg ? row->arg : "");

		fprintf(out, "%*s%s\n", n < 21 ? 21 - n : 1, "", row->help);
	}
	fprintf(out, "exit: %s\n", exits);
	return code;
}

/* roff: a hyphen that is typed is \-. */
static void put_roff(const char *text)
{
	for (; *text; text++) {
		if (*text == '-' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
}

int ctl_man(void)
{
	puts(".\\\" made by homingctl --man\n.TH HOMINGCTL 8 \"\" \"homing " HOMING_VERSION
	     "\" \"System administration\"\n.SH NAME\nhomingctl \\- control a running homingd\n"
	     ".SH SYNOPSIS\n.B homingctl\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n.SH COMMANDS");
	for (const struct ctl_command *row = ctl_commands; row->name; row++) {
		printf(".TP\n\\fB");
		put_roff(row->name);
		printf("\\fR ");
		put_roff(row->args);
		putchar('\n');
		put_roff(row->help);
		puts(".");
	}
	puts(".SH OPTIONS");
	for (const struct ctl_option *row = ctl_options; row->name; row++) {
		printf(".TP\n\\fB\\-\\-");
		put_roff(row->name);
		printf("\\fR %s\n", row->arg ? row->arg : "");
		put_roff(row->help);
		puts(".");
	}
	printf(".SH EXIT STATUS\n%s.\n.SH ENVIRONMENT\n.TP\n\\fBHOMING_ADMIN_TOKEN\\fR\n"
	       "The bearer token. It is never taken from the command line.\n.TP\n"
	       "\\fBHOMING_CONFIG\\fR\nThe configuration, if \\-\\-config does not name it.\n"
	       ".SH FILES\n/etc/homing/homing.toml\n.SH SEE ALSO\n"
	       "homingd(8)\n",
		exits);
	return EXIT_OK;
}

int ctl_completion(void)
{
	printf("# bash completion for homingctl; made by homingctl --completion\n"
	       "_homingctl() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tcase $prev in\n"
	       "\t--config|--token-file|--cacert|--socket)\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
	       "\tmap) mapfile -t COMPREPLY < <(compgen -W 'get set del reload' -- \"$cur\"); "
	       "return ;;\n"
	       "\tnodes) mapfile -t COMPREPLY < <(compgen -W 'reset' -- \"$cur\"); return ;;\n"
	       "\tesac\n"
	       "\tif [[ $cur == -* ]]; then\n\t\tmapfile -t COMPREPLY < <(compgen -W '");
	for (const struct ctl_option *row = ctl_options; row->name; row++)
		printf("%s--%s", row == ctl_options ? "" : " ", row->name);
	printf("' -- \"$cur\")\n\telse\n\t\tmapfile -t COMPREPLY < <(compgen -W '");
	for (const struct ctl_command *row = ctl_commands; row->name; row++)
		printf("%s%s", row == ctl_commands ? "" : " ", row->name);
	printf("' -- \"$cur\")\n\tfi\n}\ncomplete -F _homingctl homingctl\n");
	return EXIT_OK;
}
