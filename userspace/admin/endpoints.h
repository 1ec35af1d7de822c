// SPDX-License-Identifier: Apache-2.0
/* The table of the admin API, for whoever starts its listeners. */
#ifndef ADMIN_ENDPOINTS_H
#define ADMIN_ENDPOINTS_H

struct admin_endpoint;
/* Rows up to one without a path. */
extern const struct admin_endpoint *const admin_endpoints;

#endif
