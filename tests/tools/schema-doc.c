// SPDX-License-Identifier: Apache-2.0
/* Prints docs/config.md from the schema's rows. */
#include "config/config.h"

int main(void)
{
	config_print_schema(stdout);
	return 0;
}
