// SPDX-License-Identifier: Apache-2.0
/* Base64 as SASL exchanges use it (RFC 4648 section 4; SES-32), and the one of tokens (section
 * 5). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

/* Strict: standard alphabet, no blanks, padding may be missing, unused bits zero. Appends the
 * bytes to out. Returns 0, -EINVAL (out unchanged), -ENOBUFS or -ENOMEM. */
MUST_USE int base64_decode(struct view text, struct buf *out);
/* The alphabet for URLs, without padding: tokens (RFC 7515 section 2). Otherwise the same. */
MUST_USE int base64url_decode(struct view text, struct buf *out);
/* Canonical, with padding. Returns 0, -ENOBUFS or -ENOMEM. */
MUST_USE int base64_encode(struct view bytes, struct buf *out);

#endif
