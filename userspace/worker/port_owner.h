// SPDX-License-Identifier: Apache-2.0
/* Whose the port is that we cannot bind: for the message of a start that fails. */
#ifndef WORKER_PORT_OWNER_H
#define WORKER_PORT_OWNER_H

#include "net/addr.h"

#include <stdbool.h>
#include <sys/types.h>

struct port_owner {
	pid_t pid;
	char name[32]; /* of the program, printable */
};

/* The process that listens on the port of addr, first on its family. Reads /proc; false if there is
 * none or it is not ours to see (not root). */
bool port_owner_find(const struct addr *addr, struct port_owner *ret_owner);

/* What is known of a homingd that has the port: nothing (a reload), that it serves, that it has
 * closed its listeners and drains. */
enum port_use { PORT_USE_UNKNOWN, PORT_USE_SERVES, PORT_USE_DRAINS };

#define PORT_OWNER_TEXT_SIZE 256
/* Why a bind failed (error: -errno) in words, and for an address that another homingd has what to
 * do (OPS-17). Returns text. */
const char *port_owner_explain(
	const struct addr *addr, int error, enum port_use use, char text[PORT_OWNER_TEXT_SIZE]);

#endif
