// SPDX-License-Identifier: Apache-2.0
/*
 * The configuration's schema as rows: key, kind, where the value goes, default, range, whether a
 * change needs a restart, one line of help. Reading, checking, printing and docs/config.md all
 * work from these rows. Private to config/.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "config/config.h"

/* kind: what the value is in the file, and the C type at the row's offset */
enum schema_kind {
	KIND_INT,        /* int64_t, min..max */
	KIND_PORT,       /* uint16_t, min..max */
	KIND_BOOL,       /* bool */
	KIND_DURATION,   /* uint64_t milliseconds, min..max milliseconds */
	KIND_BYTES,      /* "256KiB": uint64_t, min..max; 0 allowed where min is 0 */
	KIND_STRING,     /* const char *, min..max bytes when max is set */
	KIND_TEXT,       /* const char *: CFG-32 */
	KIND_SIEVE_TEXT, /* the same without quotes and backslashes */
	KIND_PATH,       /* const char *: relative to the file's directory */
	KIND_ABSOLUTE,   /* const char *: must be absolute */
	KIND_HOSTNAME,   /* const char * */
	KIND_HOST,       /* const char *: hostname or IP literal */
	KIND_NAME,       /* const char *: 1..64 of A-Z a-z 0-9 . _ - */
	KIND_ADDRESS,    /* struct addr */
	KIND_ADDRESSES,  /* struct addr *, then size_t count, at least one */
	KIND_CIDRS,      /* struct cidr *, then size_t count */
	KIND_IPS,        /* struct addr *, then size_t count */
	KIND_STRINGS,    /* const char *const *, NULL-terminated */
	KIND_ATOMS,      /* list joined by blanks: const char * */
	KIND_LINES,      /* list joined by LF: const char * */
	KIND_WORDS,      /* list joined by blanks, Sieve extension names: const char * */
	KIND_ENUM,       /* int: index in values */
	KIND_ENUM_BOOL,  /* bool: true for the second of two values */
	KIND_SASL,       /* struct config_capabilities at offset 0 */
	KIND_PIN,        /* struct config_pins: one */
	KIND_PINS,       /* struct config_pins: a list */
	KIND_LOGINS,     /* bool[PROTOCOLS_INTERACTIVE]: names of protocols */
	KIND_EXTRACT,    /* struct config_route at offset 0: a table of its own */
	KIND_SECRET,     /* const char *: masked everywhere */
	KIND_URL,        /* const char *: password masked */
};

#define ROW_REQUIRED BIT(0)
#define ROW_RESTART BIT(1) /* a change needs a restart */

struct schema_row {
	const char *key;
	enum schema_kind kind;
	size_t offset;
	const char *fallback;      /* default as a TOML value; NULL = unset */
	int64_t min, max;          /* 0, 0 = no range */
	const char *const *values; /* enums; NULL-terminated */
	unsigned flags;
	const char *help;
};

enum schema_table_id {
	TABLE_SERVER,
	TABLE_CERTIFICATE,
	TABLE_TLS_PROTOCOLS,
	TABLE_LISTENER,
	TABLE_DESTINATION,
	TABLE_LEG,
	TABLE_HANDOFF,
	TABLE_ROUTING,
	TABLE_MAPPING,
	TABLE_MAPPING_FILE,
	TABLE_MAPPING_REDIS,
	TABLE_MAPPING_SQL,
	TABLE_OAUTH,
	TABLE_CAP_IMAP,
	TABLE_CAP_POP3,
	TABLE_CAP_MANAGESIEVE,
	TABLE_CAP_SUBMISSION,
	TABLE_HTTP,
	TABLE_ROUTE,
	TABLE_EXTRACT,
	TABLE_ADMIN,
	TABLE_SPLICE,
	TABLE_GUARD,
	TABLES
};

struct schema_table {
	const char *path;              /* as in messages: "listener.<name>" */
	const struct schema_row *rows; /* ends with key NULL */
	const char *const *subtables;  /* names below it, NULL-terminated; may be NULL */
};

extern const struct schema_table schema_tables[]; /* one for each id */
extern const char *const schema_root_tables[];    /* NULL-terminated */
extern const char *const schema_protocols[];

/* NULL if there is no such key. */
const struct schema_row *schema_find(const struct schema_table *table, struct view key);
/* The path of the one table but `not_this` that has the key, or NULL (CFG-12). */
const char *schema_other_home(const struct schema_table *not_this, struct view key);
/* Of the NULL-terminated names the one with the least edit distance (insert, delete, replace, swap
 * of neighbours), ties by alphabet; NULL for an empty list. */
/* Of a value set: what the word was probably meant to be, by another product's name for it, or
 * because it is near (config_near()); NULL if nothing is. */
const char *schema_meant(struct view word, const char *const *values);
const char *schema_nearest(struct view word, const char *const *names);
/* The same over a table's keys and subtables. */
const char *schema_nearest_key(const struct schema_table *table, struct view key);

#endif
