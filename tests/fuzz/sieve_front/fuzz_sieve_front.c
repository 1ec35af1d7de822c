// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a ManageSieve client. */
#define OPS sieve_front_ops
#include "../front.h"
