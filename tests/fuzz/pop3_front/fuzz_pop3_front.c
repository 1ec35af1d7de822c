// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a POP3 client. */
#define OPS pop3_front_ops
#include "../front.h"
