// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a POP3 node. */
#define SAME_IN_PIECES(flags) 0 /* CAPA always follows the greeting */
#define OPS pop3_back_ops
#include "../back.h"
