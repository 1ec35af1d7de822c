// SPDX-License-Identifier: Apache-2.0
/* Keyed hash for tables whose keys an outsider chooses (SipHash-1-3, random key per process). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/view.h"

/* Sets the process-wide key; call once before the first table is filled. Returns 0 or -errno. */
MUST_USE int hash_seed(void);
uint64_t hash_view(struct view v);

#endif
