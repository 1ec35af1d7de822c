// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an IMAP client. */
#define OPS imap_front_ops
#include "../front.h"
