// SPDX-License-Identifier: Apache-2.0
/* Private to config/: the cross checks, by subject, and what they share. Numbers in comments are
 * the rows of config.md section 12. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/load.h"

/* ---- check_shared.c ---- */

/* A finding at table.key (key NULL: at the table's header). */
void check_find(struct loader *loader, bool error, const char *table, const char *key,
	const char *format, ...) PRINTF_LIKE(5, 6);
/* "listener.imap"; returns path. */
const char *check_path(char path[KEYPATH_SIZE], const char *table, const char *name);
bool check_any_listener(const struct config *config, enum protocol protocol);
/* NULL if it is not declared. */
const struct config_destination *check_default(const struct config *config);
/* 26: a file that holds a secret and is readable by others. */
void check_mode(struct loader *loader, const char *table, const char *key, const char *path);

/* A file can be read; NULL: none is named. */
void check_access(struct loader *loader, const char *table, const char *key, const char *path);
/* A certificate's and its key's files: both or neither, and they can be read. */
void check_key_pair(
	struct loader *loader, const char *table, const char *cert_path, const char *key_path);

/* ---- one subject each ---- */

void check_mapping(struct loader *loader); /* check_mapping.c */
void check_http(struct loader *loader);    /* check_http.c */
void check_admin(struct loader *loader);   /* check_admin.c */
void check_guard(struct loader *loader);   /* check_guard.c */
void check_host(struct loader *loader);    /* check_host.c */
void check_handoff(struct loader *loader); /* check_handoff.c */

#endif
