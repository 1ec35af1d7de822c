// SPDX-License-Identifier: Apache-2.0
/* A line for each ban and for each end of one (GRD-8). */
#ifndef CONTROL_GUARD_LOG_H
#define CONTROL_GUARD_LOG_H

#include "guard/guard.h"

/* As guard_observe(). */
MUST_USE int guard_log_observe(struct guard *guard);

#endif
