// SPDX-License-Identifier: Apache-2.0
/* What every cmocka program needs, in the order cmocka wants it. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the test; whoever runs the program counts it and prints the reason. */
#define skip_because(reason)                    \
	do {                                    \
		printf("SKIPPED %s\n", reason); \
		fflush(stdout);                 \
		skip();                         \
	} while (0)

#endif
