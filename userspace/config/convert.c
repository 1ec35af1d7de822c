// SPDX-License-Identifier: Apache-2.0
/*
 * From a TOML value to the field of a row. No conversion between types (CFG-13): "5" is not an
 * integer and 5 is not a duration. Every refusal names what was expected and what was found.
 */
#include "config/convert.h"

void config_convert(struct loader *loader, const struct schema_row *row,
	const struct toml_value *value, void *base, const char *keypath)
{
	const struct config_at at = { loader, row, value, keypath };
	void *field = (char *)base + row->offset;

	switch (row->kind) {
	case KIND_ADDRESS:
	case KIND_ADDRESSES:
	case KIND_CIDRS:
	case KIND_IPS:
	case KIND_STRINGS:
	case KIND_ATOMS:
	case KIND_LINES:
	case KIND_WORDS:
	case KIND_SASL:
	case KIND_PIN:
	case KIND_PINS:
	case KIND_LOGINS:
		config_convert_list(&at, field);
		break;
	case KIND_EXTRACT: /* document.c reads it as a table */
		break;
	default:
		config_convert_plain(&at, field);
	}
}
