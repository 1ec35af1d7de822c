// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a stream of responses: the way they are cut changes nothing, and what is passed on
 * is read again as exactly itself. */
#include "http_stream.h"

#define ARE_RESPONSES true
#include "fuzz/http_requests/stream.h"
