// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a submission client. */
#define OPS smtp_front_ops
#include "../front.h"
