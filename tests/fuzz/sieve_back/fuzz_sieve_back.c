// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a ManageSieve node. */
#define OPS sieve_back_ops
#include "../back.h"
