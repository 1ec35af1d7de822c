// SPDX-License-Identifier: Apache-2.0
/* Private to the PostgreSQL store: pool connections and operations (pg.c), the connection that
 * listens (pg_listen.c), what both need (pg_link.c). Everything belongs to the store's thread. */
#ifndef STORE_PG_H
#define STORE_PG_H

#include "store/pool.h"

/* As in libpq-fe.h, which is not on the common path of headers. */
typedef struct pg_conn PGconn;

enum pg_statement { PG_LOOKUP, PG_UPSERT, PG_DELETE, PG_STATEMENTS };

/* What pool connections and the listener have in common. */
struct pg_link {
	PGconn *pg;
	struct loop_watch watch;
	int fd; /* of the watch: libpq may change its socket while connecting */
};

/* How far the push channel is. */
enum pg_listening { PG_LISTEN_NOT, PG_LISTEN_ASKED, PG_LISTEN_CONFIRMED };

struct store_pg {
	struct store store;
	char *url;                /* NULL: environment */
	char *sql[PG_STATEMENTS]; /* NULL: none */
	char *list_sql;
	char name[32]; /* of the lookup's prepared statement */
	bool pooled;   /* seen: server connections are not ours alone */
	struct store_thread thread;
	struct store_pool pool;
	struct store_push push;

	struct pg_link listener;
	enum pg_listening listening;
};

/* pg_link.c. NULL without memory; else its status may be bad at once. */
PGconn *pg_connect(const struct store_pg *store);
/* (Re)arms the watch on the connection's socket, which libpq may have changed. */
MUST_USE int pg_watch(
	struct store_pg *store, struct pg_link *link, uint32_t events, loop_watch_fn *fn);
void pg_close_link(struct pg_link *link);

/* pg_listen.c. Fills store->push and what belongs to it. */
void pg_listen_init(struct store_pg *store, const struct store_pg_params *params);

#endif
