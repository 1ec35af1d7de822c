// SPDX-License-Identifier: Apache-2.0
/* Overwriting memory that held a secret, in a way the compiler cannot remove. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/compiler.h"

/* Accepts NULL with len 0. */
void secret_wipe(void *data, size_t len);

/* Compares len bytes in time that depends on len alone. Returns 1 if equal, else 0. */
int secret_equal(const void *a, const void *b, size_t len);

#endif
