// SPDX-License-Identifier: Apache-2.0
/* Looking keys up in the rows, and the nearest known name for one that is not there (CFG-12). */
#include "config/config.h"
#include "config/schema.h"

#define WORD_MAX 64

const struct schema_row *schema_find(const struct schema_table *table, struct view key)
{
	for (const struct schema_row *row = table->rows; row->key; row++) {
		if (view_eq(key, view_str(row->key)))
			return row;
	}
	return NULL;
}

const char *schema_other_home(const struct schema_table *not_this, struct view key)
{
	const char *home = NULL;

	for (int i = 0; i < TABLES; i++) {
		if (&schema_tables[i] == not_this || !schema_find(&schema_tables[i], key))
			continue;
		if (home)
			return NULL; /* more than one */
		home = schema_tables[i].path;
	}
	return home;
}

/* Optimal string alignment distance: insert, delete, replace, swap of neighbours. */
static unsigned distance(struct view a, struct view b)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *previous = rows[0], *last = rows[1], *now = rows[2], *tmp;

	for (size_t j = 0; j <= b.len; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.len; j++) {
			unsigned replace = last[j - 1] + (a.data[i - 1] != b.data[j - 1]);

			now[j] = MIN(MIN(last[j], now[j - 1]) + 1, replace);
			if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
				a.data[i - 2] == b.data[j - 1])
				now[j] = MIN(now[j], previous[j - 2] + 1);
		}
		tmp = previous;
		previous = last;
		last = now;
		now = tmp;
	}
	return last[b.len];
}

static void consider(struct view word, const char *name, const char **best, unsigned *best_distance)
{
	struct view cut = view_make(word.data, MIN(word.len, (size_t)WORD_MAX));
	unsigned d = distance(cut, view_str(name));

	if (*best && (d > *best_distance || (d == *best_distance && strcmp(name, *best) >= 0)))
		return;
	*best = name;
	*best_distance = d;
}

const char *schema_nearest(struct view word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_distance = 0;

	for (; *names; names++)
		consider(word, *names, &best, &best_distance);
	return best;
}

const char *config_near(struct view word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_distance = 0;

	for (const char *const *name = names; *name; name++) {
		if (view_eq_nocase(word, view_str(*name)) ||
			(strlen(*name) > 3 && view_starts_nocase(word, view_str(*name))))
			return *name;
	}
	for (; *names; names++)
		consider(word, *names, &best, &best_distance);
	return best && word.len && best_distance <= 1 + MIN(word.len, strlen(best)) / 4 ? best
											: NULL;
}

static bool is_offered(const char *value, const char *const *values)
{
	for (; *values; values++) {
		if (strcmp(value, *values) == 0)
			return true;
	}
	return false;
}

const char *schema_meant(struct view word, const char *const *values)
{
	/* What Dovecot, Postfix, nginx, HAProxy and others call it. A word may stand for several:
	 * the value set decides. */
	static const struct {
		const char *word, *meant;
	} synonyms[] = { { "ssl", "implicit" }, { "tls", "implicit" }, { "ssl/tls", "implicit" },
		{ "wrapper", "implicit" }, { "wrapped", "implicit" }, { "tls_wrapper", "implicit" },
		{ "on", "implicit" }, { "yes", "implicit" }, { "true", "implicit" },
		{ "imaps", "implicit" }, { "tlsv1.2", "1.2" }, { "tls1.2", "1.2" },
		{ "tlsv1.3", "1.3" }, { "tls1.3", "1.3" }, { "none", "plain" }, { "off", "plain" },
		{ "no", "plain" }, { "false", "plain" }, { "clear", "plain" },
		{ "cleartext", "plain" }, { "plaintext", "plain" }, { "tcp", "plain" },
		{ "start_tls", "starttls" }, { "stls", "starttls" }, { "upgrade", "starttls" },
		{ "on", "required" }, { "yes", "required" }, { "true", "required" },
		{ "always", "required" }, { "accept-proxy", "required" }, { "maybe", "optional" },
		{ "none", "off" }, { "no", "off" }, { "false", "off" }, { "never", "off" },
		{ "off", "none" }, { "no", "none" }, { "false", "none" }, { "haproxy", "proxy" },
		{ "send-proxy", "proxy" }, { "send-proxy-v2", "proxy" },
		{ "proxy_protocol", "proxy" }, { "proxyv2", "proxy" }, { "on", "proxy" },
		{ "yes", "proxy" }, { "yes", "trust" }, { "on", "trust" }, { "imaps", "imap" },
		{ "imap4", "imap" }, { "pop", "pop3" }, { "pop3s", "pop3" },
		{ "sieve", "managesieve" }, { "smtps", "submission" },
		{ "submissions", "submission" }, { "mail", "smtp" }, { "https", "http" },
		{ "jmap", "http" }, { "dav", "http" }, { "websocket", "http" },
		{ "postgres", "sql" }, { "postgresql", "sql" }, { "pgsql", "sql" },
		{ "sqlite", "sql" }, { "sqlite3", "sql" }, { "valkey", "redis" },
		{ "static", "file" }, { "passwd-file", "file" }, { "lower", "lowercase" },
		{ "off", "none" }, { "warning", "warn" }, { "err", "error" }, { "crit", "error" },
		{ "notice", "info" }, { "verbose", "debug" }, { "all", "trace" },
		{ "hidden", "redacted" }, { "hash", "redacted" } };

	for (size_t i = 0; i < ARRAY_SIZE(synonyms); i++) {
		if (view_eq_nocase(word, view_str(synonyms[i].word)) &&
			is_offered(synonyms[i].meant, values))
			return synonyms[i].meant;
	}
	return config_near(word, values);
}

const char *schema_nearest_key(const struct schema_table *table, struct view key)
{
	const char *best = NULL;
	unsigned best_distance = 0;

	for (const struct schema_row *row = table->rows; row->key; row++)
		consider(key, row->key, &best, &best_distance);
	for (const char *const *name = table->subtables; name && *name; name++)
		consider(key, *name, &best, &best_distance);
	return best;
}
