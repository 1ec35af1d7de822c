// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a configuration: the reader, and the schema on what it made of them. */
#include "config/toml.h"

#include <stdlib.h>

static unsigned walk(const struct toml_value *value)
{
	unsigned depth = 0;

	if (value->type == TOML_TABLE) {
		for (uint32_t i = 0; i < value->table.count; i++) {
			const struct toml_entry *entry = &value->table.entries[i];

			if (toml_find(&value->table, entry->key) != entry)
				abort();
			depth = MAX(depth, walk(entry->value));
		}
	} else if (value->type == TOML_ARRAY) {
		for (uint32_t i = 0; i < value->array.count; i++)
			depth = MAX(depth, walk(value->array.items[i]));
	}
	return depth + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct toml_document *document;
	struct toml_error error;

	if (toml_parse(view_make((const char *)data, size), &document, &error) == 0) {
		/* headers and values each nest at most TOML_MAX_DEPTH */
		if (walk(toml_root(document)) > 4 * TOML_MAX_DEPTH)
			abort();
		toml_free(document);
	}
	return 0;
}
