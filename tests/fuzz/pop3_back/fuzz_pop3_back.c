// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a POP3 node. */
#define OPS pop3_back_ops
#include "../back.h"
