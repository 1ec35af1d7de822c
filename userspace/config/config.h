// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration as an immutable snapshot with a reference count. Everything is parsed: units
 * are in the names, names are resolved, defaults are filled in. Strings live as long as the
 * snapshot. Keys, defaults and ranges: schema.c, and docs/config.md which is made from it.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/log.h"
#include "identity/identity.h"
#include "net/addr.h"
#include "tls/tls.h"

#include <stdio.h>

/* In this order: those with a dialogue and a login of their own up to SUBMISSION (they have
 * capabilities), then those that are passed through, then HTTP, then what only listeners speak:
 * routers that hand sessions over. */
enum protocol {
	PROTOCOL_IMAP,
	PROTOCOL_POP3,
	PROTOCOL_MANAGESIEVE,
	PROTOCOL_SUBMISSION,
	PROTOCOL_SMTP,
	PROTOCOL_LMTP,
	PROTOCOL_HTTP,
	PROTOCOL_HANDOFF,
	PROTOCOLS
};
#define PROTOCOLS_INTERACTIVE (PROTOCOL_SUBMISSION + 1)
const char *protocol_name(enum protocol protocol);

enum config_tls { CONFIG_TLS_IMPLICIT, CONFIG_TLS_STARTTLS, CONFIG_TLS_PLAIN, CONFIG_TLS_KINDS };
enum config_proxy {
	CONFIG_PROXY_OFF,
	CONFIG_PROXY_OPTIONAL,
	CONFIG_PROXY_REQUIRED,
	CONFIG_PROXY_KINDS
};
enum config_forwarding {
	CONFIG_FORWARDING_UNSET,
	CONFIG_FORWARDING_PROXY,
	CONFIG_FORWARDING_XCLIENT,
	CONFIG_FORWARDING_NONE,
	CONFIG_FORWARDINGS
};
/* The names of proto/'s enum sasl_mech; mail/dialogue.c maps one to the other, so that this header
 * needs none of proto/. */
enum config_sasl {
	CONFIG_SASL_PLAIN,
	CONFIG_SASL_LOGIN,
	CONFIG_SASL_OAUTHBEARER,
	CONFIG_SASL_XOAUTH2,
	CONFIG_SASL_MECHS
};
enum config_source { CONFIG_SOURCE_FILE, CONFIG_SOURCE_REDIS, CONFIG_SOURCE_SQL, CONFIG_SOURCES };
enum config_sql_kind { CONFIG_SQL_POSTGRES, CONFIG_SQL_SQLITE };
enum config_splice_mode {
	CONFIG_SPLICE_AUTO,
	CONFIG_SPLICE_SOCKMAP,
	CONFIG_SPLICE_RECORD,
	CONFIG_SPLICE_KTLS,
	CONFIG_SPLICE_COPY,
	CONFIG_SPLICE_MODES
};
enum config_xdp_mode { CONFIG_XDP_NATIVE, CONFIG_XDP_GENERIC, CONFIG_XDP_AUTO, CONFIG_XDP_MODES };
enum config_extract_from {
	CONFIG_EXTRACT_NONE,
	CONFIG_EXTRACT_AUTHORIZATION,
	CONFIG_EXTRACT_QUERY,
	CONFIG_EXTRACT_BODY,
	CONFIG_EXTRACT_HEADER,
	CONFIG_EXTRACTS
};

struct config_server {
	int64_t threads;      /* 0 = one per usable CPU */
	const char *hostname; /* NULL = the local address of the connection as a literal */
	uint64_t shutdown_grace_ms, bridge_idle_ms, backend_timeout_ms;
	int64_t backend_connect_retries;
	int64_t host_down_threshold, host_down_min_clients;
	uint64_t host_down_cooldown_ms;
	uint64_t stuck_exit_ms;
	int64_t proxy_ttl;
	enum log_level log_level; /* HOMING_LOG has been applied */
	bool log_accounts_full;
	const char *user, *group; /* group NULL = primary group of user */
	bool seccomp;
};

/* SHA-256 of certificates. */
struct config_pins {
	unsigned char (*sha256)[TLS_SHA256_SIZE];
	size_t count;
};

struct config_listener {
	const char *name;
	enum protocol protocol;
	struct addr *bind;
	size_t bind_count;
	enum config_tls tls;
	enum config_proxy proxy_protocol;
	struct cidr *proxy_trusted;
	size_t proxy_trusted_count;
	int64_t max_connections;
	uint64_t preauth_timeout_ms;
	int64_t max_auth_attempts;
	bool forwarded_trust;
	/* PROTOCOL_HANDOFF: which routers may come, and the node beside it. */
	const char *client_ca;
	struct config_pins client_pins;
	const char *destination;
};

struct config_leg {
	bool declared;
	uint16_t port;
	enum config_tls tls;
	enum config_forwarding forwarding; /* resolved: never UNSET on a declared leg */
};

enum config_handoff_mode { CONFIG_HANDOFF_PREFER, CONFIG_HANDOFF_REQUIRE, CONFIG_HANDOFF_MODES };

/* The agent beside a node, which takes clients' TLS sessions over. */
struct config_handoff {
	bool declared;
	uint16_t port;
	const char *host;            /* the destination's, when the file has none */
	const char *tls_server_name; /* likewise; NULL = host */
	/* Who vouches for it; NULL = the system's trust, if there is no pin. Never both. */
	const char *tls_ca;
	struct config_pins pins; /* the destination's, when the file has neither here */
	const char *tls_client_cert, *tls_client_key;
	enum config_handoff_mode mode;
	bool protocols[PROTOCOLS_INTERACTIVE];
};

struct config_destination {
	const char *name;
	const char *host;
	const char *tls_server_name; /* NULL = host */
	bool proxy_protocol;
	enum config_forwarding forwarding; /* as written */
	bool forwarded;
	bool tls_allow_invalid_certs;
	struct config_pins pins;                      /* none or one */
	const char *tls_client_cert, *tls_client_key; /* both or neither */
	const char *const *tls_groups;                /* NULL-terminated, NULL = default */
	struct addr *source_ips;                      /* port 0 */
	size_t source_ip_count;
	bool hide_auth_errors;
	bool allow_plaintext_auth;
	struct config_leg legs[PROTOCOLS];
	struct config_handoff handoff;
};

/* Where a login goes of which the store cannot say anything and nothing is remembered. */
enum config_on_failure { CONFIG_FAILURE_DEFAULT, CONFIG_FAILURE_UNAVAILABLE, CONFIG_FAILURES };

struct config_routing {
	const char *default_destination;
	const char *smtp_passthrough_destination; /* NULL = unset */
	enum config_on_failure on_store_failure;
};

struct config_mapping {
	enum config_source source;
	uint64_t positive_ttl_ms, negative_ttl_ms, lookup_timeout_ms, stale_grace_ms;
	int64_t cache_max_entries;
	const char *file_path;
	const char *redis_url, *redis_key_prefix;
	int64_t redis_pool_size;
	enum config_sql_kind sql_kind;
	const char *sql_url;     /* NULL = PostgreSQL with libpq's environment */
	const char *sqlite_path; /* absolute; set when sql_kind is SQLITE */
	bool sqlite_read_only;
	const char *sql_query, *sql_upsert_query, *sql_delete_query, *sql_list_query;
	int64_t sql_pool_size;
};

/* Index: PROTOCOL_IMAP .. PROTOCOL_SUBMISSION. */
struct config_capabilities {
	enum config_sasl mechs[CONFIG_SASL_MECHS];
	size_t mech_count;
	bool mechs_set; /* the file names them */
	bool allow_plain_auth_without_tls;
	const char *banner;
	const char *advertise_joined; /* imap: atoms; submission: ehlo lines joined by LF;
				       * managesieve: sieve list joined by blanks */
	const char *implementation;   /* managesieve */
};

struct config_route {
	const char *match;
	const char *destination;
	enum config_extract_from from;
	const char *param, *regex, *header;
	const char *fallback; /* NULL = "default" */
};

struct config_http {
	int64_t body_extract_cap, max_head_size;
	uint64_t head_timeout_ms, relay_idle_ms, keepalive_timeout_ms, min_rate_bytes;
	int64_t max_keepalive_requests;
	struct config_route *routes;
	size_t route_count;
};

struct config_admin {
	bool present;
	struct addr bind;
	unsigned char token_sha256[TLS_SHA256_SIZE];
	/* Where the token came from, for tools that need it again; NULL = not from there. */
	const char *bearer_token_file;
	const char *bearer_token; /* NULL after checking: hashed and wiped */
	int tls;                  /* 0: implicit, the only value */
	int64_t min_token_len, lockout_threshold;
	uint64_t lockout_duration_ms;
	const char *socket, *socket_group;
};

enum config_same_host { CONFIG_SAME_HOST_OFF, CONFIG_SAME_HOST_AUTO, CONFIG_SAME_HOSTS };

struct config_splice {
	enum config_splice_mode mode;
	enum config_same_host same_host;
	uint64_t backlog_limit_bytes, bulk_rate_bytes;
	uint64_t arm_after_ms, stall_after_ms;
	const char *pin_path;
};

/* Also when not enabled. */
struct config_guard {
	bool enabled, observe;
	const char *const *interfaces; /* NULL-terminated, may be NULL; "auto" stands alone */
	enum config_xdp_mode xdp_mode;
	struct cidr *allow;
	size_t allow_count;
	struct cidr *deny;
	size_t deny_count;
	int64_t ban_after;
	uint64_t ban_window_ms, ban_time_ms, ban_time_max_ms;
	bool ban_scope_all; /* drop established connections too */
	int64_t ipv4_prefix, ipv6_prefix, spare_active;
	uint64_t penalty_ms, penalty_max_ms;
	int64_t syn_rate, syn_burst; /* per second; SYNs */
	int64_t max_bans, max_sources;
	bool share_store;
};

struct config {
	struct config_server server;
	struct tls_cert_params *certs;
	size_t cert_count;
	struct tls_policy tls_policy;
	struct config_listener *listeners;
	size_t listener_count;
	struct config_destination *destinations;
	size_t destination_count;
	struct config_routing routing;
	struct identity_rules
		identity_rules; /* mapping.normalize, routing.master_user_separators */
	struct config_mapping mapping;
	const char *oauth_jwt_username_claim;
	struct config_capabilities capabilities[PROTOCOL_SUBMISSION + 1];
	struct config_http http;
	struct config_admin admin;
	struct config_splice splice;
	struct config_guard guard;
	struct config_private *priv; /* the document, for printing; reference count */
};

/* One error or warning. keypath is dotted ("http.route[2].match"), or "" for a TOML syntax error;
 * the text holds no secret (CFG-5). Line and column are 1-based; 0 when the file could not be
 * read. */
struct config_finding {
	bool error;
	unsigned line, column;
	const char *file; /* the configuration file, or the mapping file */
	const char *keypath, *text;
};
typedef void config_finding_fn(void *arg, const struct config_finding *finding);

/*
 * Reads, parses and checks a file; HOMING_LOG and HOMING_ADMIN_TOKEN are applied, and the latter
 * is removed from the environment (SEC-23). Every finding is reported in file order. Returns 0
 * (warnings allowed), -EINVAL when there was an error, or -errno when the file cannot be read.
 */
MUST_USE int config_load(
	const char *path, config_finding_fn *report, void *arg, struct config **ret_config);
/* The same for a reload: the file that `before` came from, and HOMING_ADMIN_TOKEN as `before` had
 * it (CFG-8, CFG-50). */
MUST_USE int config_load_again(const struct config *before, config_finding_fn *report, void *arg,
	struct config **ret_config);
/* "FILE:LINE:COL: error: KEYPATH: TEXT" (CFG-10), of a finding, or of what is wrong with a key
 * (table and key as in config_changes). Freed by the caller; NULL without memory. */
char *config_format_finding(const struct config_finding *finding);
char *config_format_error(
	const struct config *config, const char *table, const char *key, const char *text);
/* The same, printing "FILE:LINE:COL: error: KEYPATH: TEXT" lines and, if there was any finding,
 * the closing count (CFG-10, CFG-11). */
MUST_USE int config_load_reporting(const char *path, FILE *out, struct config **ret_config);
/* --check-config: prints findings and the count; returns the number of errors. */
unsigned config_check_file(const char *path, FILE *out);

/* Sorted dotted keys, each once. */
struct config_keys {
	char **keys; /* owned */
	size_t count, cap;
};
void config_keys_free(struct config_keys *keys);

/* Which keys to compare: those that a reload changes, or those that need a restart (CFG-56). */
enum config_diff_set { CONFIG_DIFF_LIVE, CONFIG_DIFF_RESTART };
/*
 * The keys whose effective values differ; a table that is there in one alone is one key
 * ("listener.pop3"). A key that names a file differs also if the file held something else when the
 * configurations were loaded. Returns 0 or -ENOMEM.
 */
MUST_USE int config_diff(const struct config *before, const struct config *after,
	enum config_diff_set set, struct config_keys *ret_keys);
/* The table of a listener, destination or certificate, as config_file_digest() and findings name
 * it: prefix.name, the name quoted if it has a dot. */
void config_named_path(char *ret, size_t ret_size, const char *prefix, const char *name);
/* SHA-256 of what the file of a key held when it was read; NULL if it could not be read. */
const unsigned char *config_file_digest(
	const struct config *config, const char *table_path, const char *key);
/* Whether the store would answer something else, so that nothing cached may stay (CFG-52,
 * MAP-44). */
bool config_answers_differ(const struct config *before, const struct config *after);
/* Whether another store has to be opened. */
bool config_store_differs(const struct config *before, const struct config *after);

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is fine */

/* --print-config: valid TOML, sorted, unset keys as comments, secrets masked (CFG-4, CFG-5). */
void config_print(const struct config *config, FILE *out);
/* docs/config.md: every key from the schema's rows. */
void config_print_schema(FILE *out);

/* NULL if no destination has this name. */
const struct config_destination *config_find_destination(
	const struct config *config, struct view name);

/* The first interactive protocol that has a listener and that the destination does not declare;
 * NULL if there is none, or no such destination. */
const char *config_unserved_protocol(const struct config *config, struct view destination);

/* The one of the names (NULL-terminated) that the word was probably meant to be: few edits away, or
 * another case, or the same with something behind it. NULL if none is that near. */
const char *config_near(struct view word, const char *const *names);

/* CFG-26: whether a v6 wildcard takes IPv4 connections too, because no other bind of the file has
 * an IPv4 address on its port. *ret_v4 is then the IPv4 wildcard with that port. */
bool config_binds_both(const struct config *config, const struct addr *bind, struct addr *ret_v4);

/* A token file's content without outer blanks and line ends. The caller wipes and frees. Returns 0
 * or -errno. */
MUST_USE int config_read_token(const char *path, char **ret_token);
/* For tools beside the router: what can be read of the values, without any check and without the
 * files that the configuration names, which perhaps only the router may read. report is told why
 * the file is no configuration at all. The caller wipes admin.bearer_token. Returns 0 or -errno. */
MUST_USE int config_load_unchecked(
	const char *path, config_finding_fn *report, void *arg, struct config **ret_config);

#endif
