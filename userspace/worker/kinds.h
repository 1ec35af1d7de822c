// SPDX-License-Identifier: Apache-2.0
/* The kinds of listeners, one row for each protocol (session/kind.h). */
#ifndef WORKER_KINDS_H
#define WORKER_KINDS_H

#include "session/kind.h"

extern const struct session_kind session_kinds[PROTOCOLS];

#endif
