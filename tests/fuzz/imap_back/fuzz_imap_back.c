// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an IMAP node. Answers have tags: later bytes are later ones, but behind STARTTLS and
 * behind a prompt nothing may stand. */
#define SAME_IN_PIECES(flags) (!((flags) & STARTTLS) && !memmem(data + 1, size - 1, "\n+", 2))
#define CLIENT_TAG "a"
#define OPS imap_back_ops
#include "../back.h"
