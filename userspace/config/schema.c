// SPDX-License-Identifier: Apache-2.0
/* The rows. Order inside a table is the order of docs/config.md. */
#include "config/schema.h"

#include <assert.h>
#include <stddef.h>

/* In the order of their enum, then NULL; a bool has two. */
#define NAMES_ALL(names, count) static_assert(ARRAY_SIZE(names) == (count) + 1, "a name for each")

static const char *const levels[] = { "error", "warn", "info", "debug", "trace", NULL };
NAMES_ALL(levels, LOGL_LEVELS);
static const char *const accounts[] = { "redacted", "full", NULL };
NAMES_ALL(accounts, 2);
static const char *const versions[] = { "1.2", "1.3", NULL };
NAMES_ALL(versions, 2);
static const char *const leg_tls[] = { "implicit", "starttls", "plain", NULL };
NAMES_ALL(leg_tls, CONFIG_TLS_KINDS);
static const char *const proxies[] = { "off", "optional", "required", NULL };
NAMES_ALL(proxies, CONFIG_PROXY_KINDS);
static const char *const forwarded[] = { "off", "trust", NULL };
NAMES_ALL(forwarded, 2);
/* The first, unset, has no name in the file. */
static const char *const forwardings[] = { "", "proxy", "xclient", "none", NULL };
NAMES_ALL(forwardings, CONFIG_FORWARDINGS);
static const char *const sources[] = { "file", "redis", "sql", NULL };
NAMES_ALL(sources, CONFIG_SOURCES);
static const char *const on_failures[] = { "default", "unavailable", NULL };
NAMES_ALL(on_failures, CONFIG_FAILURES);
static const char *const normals[] = { "none", "lowercase", NULL };
NAMES_ALL(normals, IDENTITY_NORMALIZES);
static const char *const froms[] = { "", "authorization", "query", "body", "header", NULL };
NAMES_ALL(froms, CONFIG_EXTRACTS);
static const char *const modes[] = { "auto", "sockmap", "record", "ktls", "copy", NULL };
NAMES_ALL(modes, CONFIG_SPLICE_MODES);
static const char *const same_hosts[] = { "off", "auto", NULL };
NAMES_ALL(same_hosts, CONFIG_SAME_HOSTS);
static const char *const xdp_modes[] = { "native", "generic", "auto", NULL };
NAMES_ALL(xdp_modes, CONFIG_XDP_MODES);
static const char *const ban_scopes[] = { "new", "all", NULL };
NAMES_ALL(ban_scopes, 2);
static const char *const shares[] = { "off", "store", NULL };
NAMES_ALL(shares, 2);
static const char *const admin_tls[] = { "implicit", NULL };
const char *const schema_protocols[] = { "imap", "pop3", "managesieve", "submission", "smtp",
	"lmtp", "http", "handoff", NULL };
NAMES_ALL(schema_protocols, PROTOCOLS);
static const char *const handoff_modes[] = { "prefer", "require", NULL };
NAMES_ALL(handoff_modes, CONFIG_HANDOFF_MODES);

#define SASL_DEFAULT "[\"PLAIN\", \"LOGIN\", \"OAUTHBEARER\", \"XOAUTH2\"]"
#define SIEVE_DEFAULT                                                                      \
	"["                                                                                \
	"\"body\", \"comparator-elbonia\", \"comparator-i;ascii-casemap\", "               \
	"\"comparator-i;ascii-numeric\", \"comparator-i;octet\", \"convert\", \"copy\", "  \
	"\"date\", \"duplicate\", \"editheader\", \"enclose\", \"encoded-character\", "    \
	"\"enotify\", \"envelope\", \"envelope-deliverby\", \"envelope-dsn\", "            \
	"\"environment\", \"ereject\", \"extlists\", \"extracttext\", \"fcc\", "           \
	"\"fileinto\", \"foreverypart\", \"ihave\", \"imap4flags\", \"imapsieve\", "       \
	"\"include\", \"index\", \"mailbox\", \"mailboxid\", \"mboxmetadata\", \"mime\", " \
	"\"redirect-deliverby\", \"redirect-dsn\", \"regex\", \"reject\", "                \
	"\"relational\", \"replace\", \"servermetadata\", \"spamtest\", "                  \
	"\"spamtestplus\", \"special-use\", \"subaddress\", \"vacation\", "                \
	"\"vacation-seconds\", \"variables\", \"virustest\""                               \
	"]"
#define GROUPS_HELP                                                                              \
	"key exchange groups, best first; empty = `X25519MLKEM768` (where the TLS library has "  \
	"it), `X25519`, `P-256`. Also known: `P-384`, `P-521`, `X448`. Any client can have the " \
	"router answer one message with each of them, as often as it likes; with OpenSSL 3.0 "   \
	"that costs 0.2 ms of a core for `X25519`, 0.3 ms for `P-256`, 2.2 ms for `P-384`, "     \
	"1.0 ms for `P-521`, 0.6 ms for `X448` ([security.md](security.md))"
#define SECOND 1000
#define MINUTE (60 * SECOND)
#define DAY (24 * 60LL * MINUTE)
#define LONGEST (3650 * DAY)
#define END { .key = NULL }

#define AT(field) offsetof(struct config_server, field)
static const struct schema_row server_rows[] = {
	{ "threads", KIND_INT, AT(threads), "0", 0, 1024, NULL, ROW_RESTART,
		"worker threads, 0 = one per usable CPU" },
	{ "hostname", KIND_HOSTNAME, AT(hostname), NULL, 0, 0, NULL, 0,
		"name in greetings; unset = the local address of the connection as a literal" },
	{ "shutdown_grace", KIND_DURATION, AT(shutdown_grace_ms), "\"30s\"", 0, LONGEST, NULL, 0,
		"drain time after SIGTERM or SIGINT" },
	{ "bridge_idle", KIND_DURATION, AT(bridge_idle_ms), "\"1800s\"", SECOND, LONGEST, NULL, 0,
		"both directions silent this long on an established session: close" },
	{ "backend_timeout", KIND_DURATION, AT(backend_timeout_ms), "\"10s\"", 100, 10 * MINUTE,
		NULL, 0, "window for reaching a node, and again for the replay of the login" },
	{ "backend_connect_retries", KIND_INT, AT(backend_connect_retries), "1", 0, 10, NULL, 0,
		"extra attempts after a retryable failure" },
	{ "host_down_threshold", KIND_INT, AT(host_down_threshold), "5", 0, 1000000, NULL, 0,
		"consecutive failures that mark a node down; 0 = breaker off" },
	{ "host_down_min_clients", KIND_INT, AT(host_down_min_clients), "2", 0, 1024, NULL, 0,
		"distinct client addresses a streak of client-attributed failures must span" },
	{ "host_down_cooldown", KIND_DURATION, AT(host_down_cooldown_ms), "\"30s\"", 0, LONGEST,
		NULL, 0, "time a node stays down before one probe" },
	{ "stuck_exit", KIND_DURATION, AT(stuck_exit_ms), "\"30s\"", 0, LONGEST, NULL, ROW_RESTART,
		"a thread that does not return to its loop for so long ends the process, whose "
		"supervisor starts it again; 0 = never" },
	{ "proxy_ttl", KIND_INT, AT(proxy_ttl), "7", 1, 255, NULL, 0,
		"hop budget given to sessions that arrive without one" },
	{ "log_level", KIND_ENUM, AT(log_level), "\"info\"", 0, 0, levels, 0,
		"overridden by HOMING_LOG" },
	{ "log_accounts", KIND_ENUM_BOOL, AT(log_accounts_full), "\"redacted\"", 0, 0, accounts, 0,
		"account form in logs" },
	{ "user", KIND_STRING, AT(user), "\"homing\"", 1, 64, NULL, ROW_RESTART,
		"identity taken when started as uid 0" },
	{ "group", KIND_STRING, AT(group), NULL, 1, 64, NULL, ROW_RESTART,
		"group taken when started as uid 0; unset = primary group of user" },
	{ "seccomp", KIND_BOOL, AT(seccomp), "true", 0, 0, NULL, ROW_RESTART,
		"after the start only the system calls that the router needs "
		"([security.md](security.md))" },
	END,
};
#undef AT

#define AT(field) offsetof(struct tls_cert_params, field)
static const struct schema_row certificate_rows[] = {
	{ "cert", KIND_PATH, AT(cert_path), NULL, 0, 0, NULL, ROW_REQUIRED,
		"PEM: leaf first, then intermediates" },
	{ "key", KIND_PATH, AT(key_path), NULL, 0, 0, NULL, ROW_REQUIRED,
		"PEM private key, not encrypted" },
	{ "subjects", KIND_STRINGS, AT(subjects), "[]", 0, 0, NULL, 0,
		"names to serve; empty = DNS names of the leaf, or its CN when it has none. Of "
		"certificates with the same name the one that lasts longer is served; those of RSA "
		"and of other keys are served side by side" },
	{ "default", KIND_BOOL, AT(is_default), "false", 0, 0, NULL, 0,
		"used when nothing else matches" },
	END,
};
#undef AT

#define AT(field) offsetof(struct tls_policy, field)
static const struct schema_row tls_protocols_rows[] = {
	{ "min_version", KIND_ENUM_BOOL, AT(tls13_only), "\"1.2\"", 0, 0, versions, 0,
		"lowest version on client legs; highest is always 1.3" },
	{ "ignore_client_order", KIND_BOOL, AT(ignore_client_order), "false", 0, 0, NULL, 0,
		"true = the router's cipher order wins" },
	{ "disable_cipher_suites", KIND_STRINGS, AT(disabled_suites), "[]", 0, 0, NULL, 0,
		"IANA names, any case; TLS13_ is an alias of TLS_ for 1.3 suites" },
	{ "groups", KIND_STRINGS, AT(groups), "[]", 0, 0, NULL, 0, GROUPS_HELP },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_listener, field)
static const struct schema_row listener_rows[] = {
	{ "protocol", KIND_ENUM, AT(protocol), NULL, 0, 0, schema_protocols, ROW_REQUIRED,
		"what is spoken here" },
	{ "bind", KIND_ADDRESSES, AT(bind), NULL, 0, 0, NULL, ROW_REQUIRED,
		"addresses; every one must bind, but a wildcard of a family that the host lacks is "
		"left out; `[::]:P` takes IPv4 as well unless another bind has an IPv4 address on "
		"port P" },
	{ "tls", KIND_ENUM, AT(tls), NULL, 0, 0, leg_tls, ROW_REQUIRED, "how TLS starts" },
	{ "proxy_protocol", KIND_ENUM, AT(proxy_protocol), "\"off\"", 0, 0, proxies, 0,
		"inbound PROXY header" },
	{ "proxy_trusted", KIND_CIDRS, AT(proxy_trusted), "[]", 0, 0, NULL, 0,
		"peers allowed to send PROXY, XCLIENT, ID metadata" },
	{ "max_connections", KIND_INT, AT(max_connections), "8192", 1, 10000000, NULL, 0,
		"above it a new connection is closed without a byte" },
	{ "preauth_timeout", KIND_DURATION, AT(preauth_timeout_ms), "\"30s\"", 100, LONGEST, NULL,
		0, "from accept to a complete credential" },
	{ "max_auth_attempts", KIND_INT, AT(max_auth_attempts), "3", 1, 1000, NULL, 0,
		"failed attempts before the connection is closed" },
	{ "forwarded", KIND_ENUM_BOOL, AT(forwarded_trust), "\"off\"", 0, 0, forwarded, 0,
		"http only: keep Forwarded fields of the client" },
	{ "client_ca", KIND_PATH, AT(client_ca), NULL, 0, 0, NULL, 0,
		"handoff only: PEM of the authorities that sign the routers' certificates" },
	{ "client_pins", KIND_PINS, AT(client_pins), "[]", 0, 0, NULL, 0,
		"handoff only: SHA-256 of the DER of routers' certificates; this or client_ca is "
		"enough" },
	{ "destination", KIND_NAME, AT(destination), NULL, 0, 0, NULL, 0,
		"handoff only: the node beside this agent" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_destination, field)
static const struct schema_row destination_rows[] = {
	{ "host", KIND_HOST, AT(host), NULL, 0, 0, NULL, ROW_REQUIRED, "resolved at each dial" },
	{ "tls_server_name", KIND_HOST, AT(tls_server_name), NULL, 0, 0, NULL, 0,
		"SNI and verified name; unset = host" },
	{ "proxy_protocol", KIND_BOOL, AT(proxy_protocol), "true", 0, 0, NULL, 0,
		"mode when forwarding is unset: true = proxy, false = none" },
	{ "forwarding", KIND_ENUM, AT(forwarding), NULL, 0, 0, forwardings, 0,
		"how the client's address is conveyed" },
	{ "forwarded", KIND_BOOL, AT(forwarded), "false", 0, 0, NULL, 0,
		"add Forwarded and X-Forwarded-For to HTTP requests" },
	{ "tls_allow_invalid_certs", KIND_BOOL, AT(tls_allow_invalid_certs), "false", 0, 0, NULL, 0,
		"no verification; warning at every load" },
	{ "tls_pinned_cert_sha256", KIND_PIN, AT(pins), NULL, 0, 0, NULL, 0,
		"64 hex digits: SHA-256 of the leaf's DER" },
	{ "tls_client_cert", KIND_PATH, AT(tls_client_cert), NULL, 0, 0, NULL, 0,
		"mutual TLS; both or neither" },
	{ "tls_client_key", KIND_PATH, AT(tls_client_key), NULL, 0, 0, NULL, 0,
		"mutual TLS; both or neither" },
	{ "tls_groups", KIND_STRINGS, AT(tls_groups), "[]", 0, 0, NULL, 0,
		"key exchange groups offered to the node, as in tls.protocols.groups; "
		"empty = `X25519`, `P-256`, `P-384`" },
	{ "source_ips", KIND_IPS, AT(source_ips), "[]", 0, 0, NULL, 0,
		"local addresses for dialling, round robin per family" },
	{ "hide_auth_errors", KIND_BOOL, AT(hide_auth_errors), "false", 0, 0, NULL, 0,
		"replace the node's refusal text" },
	{ "allow_plaintext_auth", KIND_BOOL, AT(allow_plaintext_auth), "false", 0, 0, NULL, 0,
		"permit credentials on a plain leg" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_leg, field)
static const struct schema_row leg_rows[] = {
	{ "port", KIND_PORT, AT(port), NULL, 1, 65535, NULL, ROW_REQUIRED, "TCP port" },
	{ "tls", KIND_ENUM, AT(tls), NULL, 0, 0, leg_tls, ROW_REQUIRED, "how TLS starts" },
	{ "forwarding", KIND_ENUM, AT(forwarding), NULL, 0, 0, forwardings, 0,
		"wins over the destination's value" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_handoff, field)
static const struct schema_row handoff_rows[] = {
	{ "port", KIND_PORT, AT(port), NULL, 1, 65535, NULL, ROW_REQUIRED, "of the agent" },
	{ "host", KIND_HOST, AT(host), NULL, 0, 0, NULL, 0,
		"of the agent; unset = the destination's" },
	{ "tls_server_name", KIND_HOST, AT(tls_server_name), NULL, 0, 0, NULL, 0,
		"SNI and verified name; unset = the destination's, or host" },
	{ "tls_ca", KIND_PATH, AT(tls_ca), NULL, 0, 0, NULL, 0,
		"PEM of the authorities that sign agents' certificates; unset = a pin decides, or "
		"the system's trust" },
	{ "tls_pinned_cert_sha256", KIND_PIN, AT(pins), NULL, 0, 0, NULL, 0,
		"64 hex digits: SHA-256 of the agent's leaf, instead of tls_ca; unset = the "
		"destination's" },
	{ "tls_client_cert", KIND_PATH, AT(tls_client_cert), NULL, 0, 0, NULL, ROW_REQUIRED,
		"who the router is" },
	{ "tls_client_key", KIND_PATH, AT(tls_client_key), NULL, 0, 0, NULL, ROW_REQUIRED,
		"who the router is" },
	{ "mode", KIND_ENUM, AT(mode), "\"prefer\"", 0, 0, handoff_modes, 0,
		"`prefer`: what cannot be handed over takes the destination's ordinary legs; "
		"`require`: it gets the unavailable reply" },
	{ "protocols", KIND_LOGINS, AT(protocols),
		"[\"imap\", \"pop3\", \"managesieve\", \"submission\"]", 0, 0, NULL, 0,
		"for which of those that have a login" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config, field)
static const struct schema_row routing_rows[] = {
	{ "default_destination", KIND_NAME, AT(routing.default_destination), NULL, 0, 0, NULL,
		ROW_REQUIRED, "node for accounts without a mapping" },
	{ "smtp_passthrough_destination", KIND_NAME, AT(routing.smtp_passthrough_destination), NULL,
		0, 0, NULL, 0, "node of every smtp and lmtp session" },
	{ "on_store_failure", KIND_ENUM, AT(routing.on_store_failure), "\"default\"", 0, 0,
		on_failures, 0,
		"nothing remembered and the store away: the default destination, or the "
		"unavailable reply" },
	{ "master_user_separators", KIND_STRINGS, AT(identity_rules.separators), "[\"%\"]", 0, 0,
		NULL, 0, "1..8 bytes each; [] turns the feature off" },
	END,
};

static const struct schema_row mapping_rows[] = {
	{ "source", KIND_ENUM, AT(mapping.source), NULL, 0, 0, sources, ROW_REQUIRED,
		"where the assignment of accounts is" },
	{ "normalize", KIND_ENUM, AT(identity_rules.normalize), "\"none\"", 0, 0, normals, 0,
		"ASCII letters only" },
	{ "positive_ttl", KIND_DURATION, AT(mapping.positive_ttl_ms), "\"600s\"", 0, LONGEST, NULL,
		0, "lifetime of a found mapping; 0 = not cached" },
	{ "negative_ttl", KIND_DURATION, AT(mapping.negative_ttl_ms), "\"30s\"", 0, LONGEST, NULL,
		0, "lifetime of \"no mapping\"" },
	{ "cache_max_entries", KIND_INT, AT(mapping.cache_max_entries), "1000000", 1, 100000000,
		NULL, 0, "entries kept, stale ones included; at most a quarter without a mapping" },
	{ "lookup_timeout", KIND_DURATION, AT(mapping.lookup_timeout_ms), "\"5s\"", 10, 5 * MINUTE,
		NULL, 0, "one store query, waiting for a connection included" },
	{ "stale_grace", KIND_DURATION, AT(mapping.stale_grace_ms), "\"24h\"", 0, LONGEST, NULL, 0,
		"how long an expired mapping may stand in during an outage; 0 = never" },
	END,
};

static const struct schema_row mapping_file_rows[] = {
	{ "path", KIND_PATH, AT(mapping.file_path), NULL, 0, 0, NULL, ROW_REQUIRED,
		"lines of identifier and destination" },
	END,
};

static const struct schema_row mapping_redis_rows[] = {
	{ "url", KIND_URL, AT(mapping.redis_url), NULL, 1, 4096, NULL, ROW_REQUIRED,
		"redis://, rediss:// or redis+unix://" },
	{ "key_prefix", KIND_STRING, AT(mapping.redis_key_prefix), "\"route:\"", 0, 128, NULL, 0,
		"may be empty" },
	{ "pool_size", KIND_INT, AT(mapping.redis_pool_size), "16", 1, 1024, NULL, 0,
		"connections" },
	END,
};

static const struct schema_row mapping_sql_rows[] = {
	{ "url", KIND_URL, AT(mapping.sql_url), NULL, 1, 4096, NULL, 0,
		"postgres://, postgresql:// or sqlite://; unset = PostgreSQL by its environment" },
	{ "query", KIND_STRING, AT(mapping.sql_query), NULL, 1, 65536, NULL, ROW_REQUIRED,
		"one parameter: identifier" },
	{ "pool_size", KIND_INT, AT(mapping.sql_pool_size), "16", 1, 1024, NULL, 0, "connections" },
	{ "upsert_query", KIND_STRING, AT(mapping.sql_upsert_query), NULL, 1, 65536, NULL, 0,
		"parameters: identifier, node" },
	{ "delete_query", KIND_STRING, AT(mapping.sql_delete_query), NULL, 1, 65536, NULL, 0,
		"parameter: identifier" },
	{ "list_query", KIND_STRING, AT(mapping.sql_list_query), NULL, 1, 65536, NULL, 0,
		"parameters: node, last identifier seen, page size; a node's identifiers in order, "
		"for `homingctl drain`" },
	END,
};

static const struct schema_row oauth_rows[] = {
	{ "jwt_username_claim", KIND_STRING, AT(oauth_jwt_username_claim), "\"email\"", 1, 64, NULL,
		0, "first claim tried in a JWT" },
	END,
};

static const struct schema_row http_rows[] = {
	{ "body_extract_cap", KIND_INT, AT(http.body_extract_cap), "65536", 1, 16777216, NULL, 0,
		"body bytes looked at for routing" },
	{ "max_head_size", KIND_INT, AT(http.max_head_size), "65536", 1024, 1048576, NULL, 0,
		"request or response head in bytes" },
	{ "head_timeout", KIND_DURATION, AT(http.head_timeout_ms), "\"30s\"", 100, LONGEST, NULL, 0,
		"for a whole request head; the first is bounded by `preauth_timeout` too" },
	{ "relay_idle", KIND_DURATION, AT(http.relay_idle_ms), "\"60s\"", SECOND, LONGEST, NULL, 0,
		"silence allowed inside a head or a body" },
	{ "min_rate", KIND_BYTES, AT(http.min_rate_bytes), "\"100B\"", 0, INT64_MAX, NULL, 0,
		"bytes per second, averaged over 30 s, that a client moves of a body that waits "
		"for "
		"it, sent or received; not for event streams and tunnels; 0 = off" },
	{ "keepalive_timeout", KIND_DURATION, AT(http.keepalive_timeout_ms), "\"75s\"", 0, LONGEST,
		NULL, 0, "wait for the next request" },
	{ "max_keepalive_requests", KIND_INT, AT(http.max_keepalive_requests), "1000", 0,
		4294967295, NULL, 0, "requests per client connection, 0 = no limit" },
	END,
};

static const struct schema_row admin_rows[] = {
	{ "bind", KIND_ADDRESS, AT(admin.bind), NULL, 0, 0, NULL, ROW_REQUIRED | ROW_RESTART,
		"address of the HTTPS listener" },
	{ "tls", KIND_ENUM, AT(admin.tls), "\"implicit\"", 0, 0, admin_tls, 0, "always implicit" },
	{ "bearer_token_file", KIND_PATH, AT(admin.bearer_token_file), NULL, 0, 0, NULL, 0,
		"file whose one line is the token" },
	{ "bearer_token", KIND_SECRET, AT(admin.bearer_token), NULL, 0, 0, NULL, 0, "the token" },
	{ "min_token_len", KIND_INT, AT(admin.min_token_len), "32", 1, 4096, NULL, 0,
		"shortest token accepted" },
	{ "lockout_threshold", KIND_INT, AT(admin.lockout_threshold), "5", 0, 1000000, NULL, 0,
		"failures that lock an address out; 0 = no lockout" },
	{ "lockout_duration", KIND_DURATION, AT(admin.lockout_duration_ms), "\"5m\"", 0, LONGEST,
		NULL, 0, "how long it stays locked out" },
	{ "socket", KIND_ABSOLUTE, AT(admin.socket), NULL, 0, 0, NULL, ROW_RESTART,
		"unix socket with the same API, without token, for root and `server.user`" },
	{ "socket_group", KIND_STRING, AT(admin.socket_group), NULL, 1, 64, NULL, ROW_RESTART,
		"group whose members may use the socket too: all that the API can do" },
	END,
};

static const struct schema_row splice_rows[] = {
	{ "mode", KIND_ENUM, AT(splice.mode), "\"auto\"", 0, 0, modes, 0, "data path after login" },
	{ "backlog_limit", KIND_BYTES, AT(splice.backlog_limit_bytes), "\"256KiB\"", 65536,
		16777216, NULL, 0, "bytes a sockmap direction may hold in the kernel" },
	{ "bulk_rate", KIND_BYTES, AT(splice.bulk_rate_bytes), "\"8MiB\"", 0, INT64_MAX, NULL, 0,
		"bytes per second above which user space moves a direction; 0 = off" },
	{ "arm_after", KIND_DURATION, AT(splice.arm_after_ms), "\"1s\"", 0, 3600000, NULL, 0,
		"age at which a session goes to sockmap, if it is not busy before; 0 = at once" },
	{ "stall_after", KIND_DURATION, AT(splice.stall_after_ms), "\"2s\"", 0, LONGEST, NULL, 0,
		"a direction that could move and does not is taken over" },
	{ "same_host", KIND_ENUM, AT(splice.same_host), "\"off\"", 0, 0, same_hosts, ROW_RESTART,
		"`auto`: a node on this host writes to the client's socket itself, where both legs "
		"are plain" },
	{ "pin_path", KIND_ABSOLUTE, AT(splice.pin_path), "\"/sys/fs/bpf/homing\"", 0, 0, NULL,
		ROW_RESTART, "where maps and programs are pinned" },
	END,
};

static const struct schema_row guard_rows[] = {
	{ "enabled", KIND_BOOL, AT(guard.enabled), "false", 0, 0, NULL, 0,
		"clients that fail too often are kept waiting and banned. A reload turns it on and "
		"off, but what the kernel does of it only a start turns on" },
	{ "observe", KIND_BOOL, AT(guard.observe), "false", 0, 0, NULL, 0,
		"true = count and tell, refuse and delay nobody" },
	{ "interfaces", KIND_STRINGS, AT(guard.interfaces), "[]", 0, 0, NULL, ROW_RESTART,
		"where banned packets are dropped by XDP; `\"auto\"` = all that are physical, up "
		"and "
		"not enslaved; empty = nowhere" },
	{ "xdp_mode", KIND_ENUM, AT(guard.xdp_mode), "\"native\"", 0, 0, xdp_modes, ROW_RESTART,
		"auto = native where the device can, else generic" },
	{ "allow", KIND_CIDRS, AT(guard.allow), "[]", 0, 0, NULL, 0,
		"never banned; the longest prefix of allow and deny wins" },
	{ "deny", KIND_CIDRS, AT(guard.deny), "[]", 0, 0, NULL, 0, "always refused" },
	{ "ban_after", KIND_INT, AT(guard.ban_after), "10", 1, 1000000, NULL, 0,
		"points that ban a source: 1 for a failed login, 0.2 for a failed handshake or "
		"leaving without a command" },
	{ "ban_window", KIND_DURATION, AT(guard.ban_window_ms), "\"10m\"", SECOND, LONGEST, NULL, 0,
		"in which so many points vanish, evenly" },
	{ "ban_time", KIND_DURATION, AT(guard.ban_time_ms), "\"10m\"", SECOND, LONGEST, NULL, 0,
		"of the first ban of a source; doubles with each" },
	{ "ban_time_max", KIND_DURATION, AT(guard.ban_time_max_ms), "\"24h\"", SECOND, LONGEST,
		NULL, 0, "longest ban by points" },
	{ "ban_scope", KIND_ENUM_BOOL, AT(guard.ban_scope_all), "\"new\"", 0, 0, ban_scopes, 0,
		"all = the kernel drops packets of established connections too, which hurts those "
		"behind one NAT" },
	{ "ipv4_prefix", KIND_INT, AT(guard.ipv4_prefix), "32", 8, 32, NULL, ROW_RESTART,
		"bits that make a source" },
	{ "ipv6_prefix", KIND_INT, AT(guard.ipv6_prefix), "64", 16, 128, NULL, ROW_RESTART,
		"bits that make a source" },
	{ "spare_active", KIND_INT, AT(guard.spare_active), "10", 0, 1000000, NULL, 0,
		"so many logged-in sessions save a source from bans by points; 0 = none do" },
	{ "penalty", KIND_DURATION, AT(guard.penalty_ms), "\"2s\"", 0, 10 * MINUTE, NULL, 0,
		"delay of the next answer that a login failed, once one has; doubles with each; 0 "
		"= "
		"off" },
	{ "penalty_max", KIND_DURATION, AT(guard.penalty_max_ms), "\"15s\"", 0, 10 * MINUTE, NULL,
		0, "longest delay" },
	{ "syn_rate", KIND_INT, AT(guard.syn_rate), "0", 0, 10000000, NULL, 0,
		"new connections per second and source that the kernel lets through; 0 = off, "
		"because senders of SYNs can be forged" },
	{ "syn_burst", KIND_INT, AT(guard.syn_burst), "100", 1, 10000000, NULL, 0,
		"so many at once" },
	{ "max_bans", KIND_INT, AT(guard.max_bans), "65536", 1, 10000000, NULL, ROW_RESTART,
		"at the same time; above it the one that ends first goes" },
	{ "max_sources", KIND_INT, AT(guard.max_sources), "100000", 1, 10000000, NULL, ROW_RESTART,
		"without sessions, of which something is remembered; above it the one goes of "
		"which "
		"nothing was heard for longest" },
	{ "share", KIND_ENUM_BOOL, AT(guard.share_store), "\"off\"", 0, 0, shares, 0,
		"store = bans reach the other routers through the mapping's store, which is then "
		"Redis or PostgreSQL" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_capabilities, field)
#define CAP_ROWS                                                                               \
	{ "sasl", KIND_SASL, 0, SASL_DEFAULT, 0, 0, NULL, 0, "mechanisms, in order" },         \
		{ "allow_plain_auth_without_tls", KIND_BOOL, AT(allow_plain_auth_without_tls), \
			"false", 0, 0, NULL, 0, "permit credentials before TLS" }

static const struct schema_row imap_rows[] = {
	CAP_ROWS,
	{ "banner", KIND_TEXT, AT(banner), "\"Homing IMAP ready.\"", 1, 255, NULL, 0,
		"text of the greeting" },
	{ "advertise", KIND_ATOMS, AT(advertise_joined),
		"[\"IMAP4rev1\", \"ENABLE\", \"SASL-IR\", \"LITERAL+\", \"ID\", "
		"\"UTF8=ACCEPT\"]",
		0, 0, NULL, 0, "capabilities before login" },
	END,
};

static const struct schema_row pop3_rows[] = {
	CAP_ROWS,
	{ "banner", KIND_TEXT, AT(banner), "\"Homing POP3 ready.\"", 1, 255, NULL, 0,
		"text of the greeting" },
	END,
};

static const struct schema_row submission_rows[] = {
	CAP_ROWS,
	{ "banner", KIND_TEXT, AT(banner), "\"Homing ready.\"", 1, 255, NULL, 0,
		"text of the greeting" },
	{ "ehlo", KIND_LINES, AT(advertise_joined),
		"[\"ENHANCEDSTATUSCODES\", \"8BITMIME\", \"PIPELINING\", \"CHUNKING\", "
		"\"SIZE\"]",
		0, 0, NULL, 0, "keywords of the EHLO reply" },
	END,
};

static const struct schema_row managesieve_rows[] = {
	CAP_ROWS,
	{ "banner", KIND_SIEVE_TEXT, AT(banner), "\"Homing ManageSieve ready.\"", 1, 255, NULL, 0,
		"text of the greeting" },
	{ "implementation", KIND_SIEVE_TEXT, AT(implementation), "\"Homing ManageSieve\"", 1, 255,
		NULL, 0, "IMPLEMENTATION capability" },
	{ "sieve", KIND_WORDS, AT(advertise_joined), SIEVE_DEFAULT, 0, 0, NULL, 0,
		"SIEVE capability" },
	END,
};
#undef AT

#define AT(field) offsetof(struct config_route, field)
static const struct schema_row route_rows[] = {
	{ "match", KIND_STRING, AT(match), NULL, 1, 1024, NULL, ROW_REQUIRED, "glob on the path" },
	{ "destination", KIND_NAME, AT(destination), NULL, 0, 0, NULL, 0, "pin" },
	{ "extract", KIND_EXTRACT, 0, NULL, 0, 0, NULL, 0, "where the identifier is" },
	{ "fallback", KIND_NAME, AT(fallback), NULL, 0, 0, NULL, 0,
		"used when no identifier is found; unset = \"default\"" },
	END,
};

static const struct schema_row extract_rows[] = {
	{ "from", KIND_ENUM, AT(from), NULL, 0, 0, froms, ROW_REQUIRED, "place of the identifier" },
	{ "param", KIND_STRING, AT(param), NULL, 1, 256, NULL, 0, "query parameter" },
	{ "regex", KIND_STRING, AT(regex), NULL, 1, 4096, NULL, 0,
		"first capture group on the body" },
	{ "header", KIND_STRING, AT(header), NULL, 1, 256, NULL, 0, "field name" },
	END,
};
#undef AT

static const char *const destination_subtables[] = { "handoff", "protocol", NULL };
static const char *const mapping_subtables[] = { "file", "redis", "sql", NULL };
static const char *const http_subtables[] = { "route", NULL };

const char *const schema_root_tables[] = { "admin", "capabilities", "destination", "guard", "http",
	"listener", "mapping", "oauth", "routing", "server", "splice", "tls", NULL };

const struct schema_table schema_tables[] = {
	[TABLE_SERVER] = { "server", server_rows, NULL },
	[TABLE_CERTIFICATE] = { "tls.certificate.<name>", certificate_rows, NULL },
	[TABLE_TLS_PROTOCOLS] = { "tls.protocols", tls_protocols_rows, NULL },
	[TABLE_LISTENER] = { "listener.<name>", listener_rows, NULL },
	[TABLE_DESTINATION] = { "destination.<name>", destination_rows, destination_subtables },
	[TABLE_LEG] = { "destination.<name>.protocol.<protocol>", leg_rows, NULL },
	[TABLE_HANDOFF] = { "destination.<name>.handoff", handoff_rows, NULL },
	[TABLE_ROUTING] = { "routing", routing_rows, NULL },
	[TABLE_MAPPING] = { "mapping", mapping_rows, mapping_subtables },
	[TABLE_MAPPING_FILE] = { "mapping.file", mapping_file_rows, NULL },
	[TABLE_MAPPING_REDIS] = { "mapping.redis", mapping_redis_rows, NULL },
	[TABLE_MAPPING_SQL] = { "mapping.sql", mapping_sql_rows, NULL },
	[TABLE_OAUTH] = { "oauth", oauth_rows, NULL },
	[TABLE_CAP_IMAP] = { "capabilities.imap", imap_rows, NULL },
	[TABLE_CAP_POP3] = { "capabilities.pop3", pop3_rows, NULL },
	[TABLE_CAP_MANAGESIEVE] = { "capabilities.managesieve", managesieve_rows, NULL },
	[TABLE_CAP_SUBMISSION] = { "capabilities.submission", submission_rows, NULL },
	[TABLE_HTTP] = { "http", http_rows, http_subtables },
	[TABLE_ROUTE] = { "http.route", route_rows, NULL },
	[TABLE_EXTRACT] = { "http.route.extract", extract_rows, NULL },
	[TABLE_ADMIN] = { "admin", admin_rows, NULL },
	[TABLE_SPLICE] = { "splice", splice_rows, NULL },
	[TABLE_GUARD] = { "guard", guard_rows, NULL },
};
static_assert(ARRAY_SIZE(schema_tables) == TABLES, "rows for each");
