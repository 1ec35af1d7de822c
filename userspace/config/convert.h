// SPDX-License-Identifier: Apache-2.0
/* Private to the files that make a field of a TOML value: convert.c of convert_plain.c and
 * convert_list.c. */
#ifndef CONFIG_CONVERT_H
#define CONFIG_CONVERT_H

#include "config/load.h"

/* What is converted, for whom, and what findings call it. */
struct config_at {
	struct loader *loader;
	const struct schema_row *row;
	const struct toml_value *value;
	const char *keypath;
};

#define CONFIG_FIND(at, where, ...) \
	config_find((at)->loader, true, (where)->line, (where)->column, (at)->keypath, __VA_ARGS__)

/* ---- convert_plain.c ---- */

/* A kind of one value; field: as the row's kind has it. */
void config_convert_plain(const struct config_at *at, void *field);
/* False with a finding. what: of the type, for it. */
bool config_expect(const struct config_at *at, const struct toml_value *value, enum toml_type type,
	const char *what);
/* Index in values, or -1 with a finding. Empty names in the list cannot be chosen. */
int config_pick(
	const struct config_at *at, const struct toml_value *value, const char *const *values);
/* A control character, of which no kind may have one. */
bool config_has_control(struct view v);

/* ---- convert_list.c ---- */

/* A list, or a kind of which there are lists; field likewise. */
void config_convert_list(const struct config_at *at, void *field);

#endif
