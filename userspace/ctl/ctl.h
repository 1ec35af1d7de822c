// SPDX-License-Identifier: Apache-2.0
/* Private to ctl/: what the commands share. Exit codes are those of admin.md section 8. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "ctl/client.h"
#include "tls/tls.h"

#include <jansson.h>
#include <stdio.h>

enum { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_CONNECT };

/* Options; those before CTL_TEXTS hold a text. Above '?', which getopt returns for what it does not
 * know. */
enum ctl_option_code {
	CTL_URL = 64,
	CTL_SOCKET,
	CTL_CONFIG,
	CTL_TOKEN_FILE,
	CTL_CACERT,
	CTL_PIN,
	CTL_ACCOUNT,
	CTL_NODE,
	CTL_LIMIT,
	CTL_HOLD,
	CTL_RATE,
	CTL_TO,
	CTL_ROLE,
	CTL_FOR,
	CTL_REASON,
	CTL_TEXTS,
	CTL_INSECURE,
	CTL_JSON,
	CTL_PRINT,
	CTL_APPLY,
	CTL_DRY_RUN,
	CTL_FORCE,
	CTL_NET,
	CTL_TIMEOUT,
	CTL_COMPLETION,
	CTL_MAN,
	CTL_HELP,
	CTL_VERSION,
	CTL_OPTION_CODES,
};

#define CTL_ERROR_BYTES 300

struct config;
struct ctl_command;

struct ctl_option {
	const char *name, *arg, *help; /* arg: NULL if it takes none */
	int code;
};

#define CTL_ROUTERS_MAX 32
#define CTL_COMMANDS_MAX 64
#define CTL_TIMEOUT_DEFAULT 10

struct ctl_options {
	const char *texts[CTL_TEXTS]; /* by code; NULL: not given; the last one given */
	const char *urls[CTL_ROUTERS_MAX];
	unsigned url_count;
	bool insecure, json, print, apply, dry_run, force, net;
	unsigned timeout_s;
};

/* Of a request. value: NULL if it is not given. */
struct ctl_param {
	const char *name, *value;
};

struct ctl {
	struct ctl_options options;
	struct ctl_target target; /* of the next call */
	struct ctl_target targets[CTL_ROUTERS_MAX];
	unsigned target_count;
	char *hosts[CTL_ROUTERS_MAX], *ports[CTL_ROUTERS_MAX], *token;
	unsigned char *pins; /* of --pin, or of the configuration's certificates */
	unsigned pin_count;
	struct config *config; /* NULL: none was found or needed */
	const char *config_path;
	char config_error[CTL_ERROR_BYTES]; /* why there is none */
};

enum {
	CTL_LOCAL = 1, /* asks no router */
	CTL_OPEN = 2,  /* needs no token */
	CTL_MANY = 4,  /* --url once for each router: every step waits for all of them */
};

struct ctl_command {
	const char *name, *args, *help;
	int (*run)(struct ctl *ctl, char **args); /* args: NULL-terminated; returns the exit code */
	int max_args;
	unsigned flags; /* CTL_LOCAL ... */
};

/* help.c: the rows, ended by one without a name, and what is printed from them. */
extern const struct ctl_command ctl_commands[];
extern const struct ctl_option ctl_options[];
/* Returns code. */
int ctl_usage(FILE *out, int code);
int ctl_man(void);
int ctl_completion(void);

/* access.c: fills targets and token from options and configuration. Returns EXIT_OK, or EXIT_USAGE
 * after a message. */
int ctl_find_router(struct ctl *ctl, const struct ctl_command *command);
/* Wipes the token and frees what ctl_find_router() has made. */
void ctl_forget_router(struct ctl *ctl);

/* output.c. stdout and stderr take no control character from now on but line ends and tabs. */
void ctl_guard_output(void);
/* Past the filter: what moves the cursor. */
void ctl_put_raw(FILE *file, const char *text);
/* A copy with controls, bidirectional controls and what is not UTF-8 escaped (\u009b, \xff), to be
 * freed; NULL without memory. */
char *ctl_clean(const char *text);
/* A copy with each string and key cleaned; the caller's reference. */
json_t *ctl_clean_json(json_t *value);

/* Prints to standard error; returns EXIT_USAGE. */
int ctl_complain(const char *what, const char *detail);
/* Whether it was called: a usage error that nobody has explained needs the command's own usage. */
bool ctl_has_complained(void);
/* Sends a request and prints nothing. On EXIT_OK *ret_body is the answer, for the caller to drop;
 * else error says why. Any thread. */
int ctl_ask(const struct ctl_target *target, const char *method, const char *path,
	json_t **ret_body, char error[CTL_ERROR_BYTES]);
/* Sends a request; prints the error or, with --json, the answer. On success *ret_body is the
 * parsed answer (NULL when it has been printed already). Returns the exit code. */
int ctl_call(struct ctl *ctl, const char *method, const char *path, json_t **ret_body);
/* PATH?NAME=VALUE&... of those that have a value, encoded; freed by the caller. NULL without
 * memory. */
char *ctl_path(const char *path, const struct ctl_param *params, size_t count);
/* ctl_call() for such a path. */
int ctl_call_with(struct ctl *ctl, const char *method, const char *path,
	const struct ctl_param *params, size_t count, json_t **ret_body);
/* ctl_call() for PATH?identifier=A&destination=N; each may be NULL. */
int ctl_call_for(struct ctl *ctl, const char *method, const char *path, const char *account,
	const char *node, json_t **ret_body);
/* Of an answer: a string, "-" where it is none; a number, 0 where it is none. */
const char *ctl_text(const json_t *object, const char *key);
long long ctl_number(const json_t *object, const char *key);

/* The steps that move an account, in their order (mapping.md section 11). */
enum ctl_move_step { MOVE_HOLD, MOVE_WRITE, MOVE_DROP, MOVE_KICK, MOVE_RELEASE, MOVE_STEPS };
#define CTL_HOLD_DEFAULT "10"
/* The request of a step: a path, freed by the caller, and the method. NULL without memory. drain:
 * the announced drain that it belongs to, or "". */
char *ctl_move_path(enum ctl_move_step step, const char *account, const char *node,
	const char *hold, const char *drain, const char **ret_method);

int ctl_cmd_stats(struct ctl *ctl, char **args);
int ctl_cmd_probe(struct ctl *ctl, char **args);
int ctl_cmd_nodes(struct ctl *ctl, char **args);
int ctl_cmd_map(struct ctl *ctl, char **args);
int ctl_cmd_flush(struct ctl *ctl, char **args);
int ctl_cmd_sessions(struct ctl *ctl, char **args);
int ctl_cmd_top(struct ctl *ctl, char **args); /* top.c */
int ctl_cmd_kick(struct ctl *ctl, char **args);
int ctl_cmd_delay(struct ctl *ctl, char **args);
int ctl_cmd_move(struct ctl *ctl, char **args);  /* move.c */
int ctl_cmd_drain(struct ctl *ctl, char **args); /* drain.c */
int ctl_cmd_health(struct ctl *ctl, char **args);
int ctl_cmd_ready(struct ctl *ctl, char **args);
int ctl_cmd_init_db(struct ctl *ctl, char **args);      /* init_db.c */
int ctl_cmd_handoff_keys(struct ctl *ctl, char **args); /* handoff_keys.c */
int ctl_cmd_reload(struct ctl *ctl, char **args);       /* reload.c */
/* guard.c */
int ctl_cmd_ban(struct ctl *ctl, char **args);
int ctl_cmd_unban(struct ctl *ctl, char **args);
int ctl_cmd_bans(struct ctl *ctl, char **args);
int ctl_cmd_guard(struct ctl *ctl, char **args);

#endif
