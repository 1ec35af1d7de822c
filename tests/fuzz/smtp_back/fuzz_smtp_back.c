// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a submission node. */
#define SAME_IN_PIECES(flags) 0 /* EHLO always follows the greeting */
#define OPS smtp_back_ops
#include "../back.h"
