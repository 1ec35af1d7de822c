// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an IMAP node. */
#define SAME_IN_PIECES(flags) \
	(!((flags)&STARTTLS)) /* answers have tags: later bytes are later ones */
#define CLIENT_TAG "a"
#define OPS imap_back_ops
#include "../back.h"
