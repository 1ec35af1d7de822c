// SPDX-License-Identifier: Apache-2.0
/* TCP sockets: listening, connecting, options. Every socket is non-blocking and close-on-exec. */
#ifndef NET_SOCK_H
#define NET_SOCK_H

#include "base/buf.h"
#include "net/addr.h"

#include <sys/types.h>

enum {
	SOCK_REUSE_PORT = 1,    /* SO_REUSEPORT */
	SOCK_BOTH_FAMILIES = 2, /* a v6 wildcard takes IPv4 too; else v6-only (CFG-26) */
	SOCK_BIND_ONLY = 4,     /* the address is tried: nobody can connect */
};
/*
 * A listening socket with SO_REUSEADDR and what the flags (SOCK_REUSE_PORT ...) say.
 * The options of every TCP socket (sessions.md section 3: no delay, keepalive, user timeout) are
 * set; the sockets that it accepts inherit them.
 * Returns the descriptor (the caller's), or -errno.
 */
MUST_USE int sock_listen(const struct addr *addr, unsigned flags, int backlog);
/*
 * Whether this host can bind addresses of the family (AF_INET, AF_INET6) at all: tried with the
 * wildcard address and a port of the kernel's choice.
 */
bool sock_has_family(int family);
/* What to add to strerror(-error) for the operator: what is missing, or "". */
const char *sock_listen_hint(const struct addr *addr, int error);
/*
 * Starts a connect, from *source (NULL or unset: the kernel's choice). Returns the descriptor
 * (the caller's) with the connect done or in progress (EPOLLOUT tells; then sock_error()), or
 * -errno. It has no delay; keepalive and user timeout are the caller's to set, which a connection
 * with a limit of its own does not need.
 */
MUST_USE int sock_connect_start(const struct addr *addr, const struct addr *source);
/* Keepalive 60 s/15 s/4 and user timeout 120 s (sessions.md section 3). Best effort. */
void sock_keep_alive(int fd);
/* SO_ERROR as 0 or -errno. */
MUST_USE int sock_error(int fd);
/* Whether the host has an address to reach addr from, ports aside: source, or, if that is not set,
 * one of the family. Sends nothing. */
bool sock_has_address(const struct addr *addr, const struct addr *source);
/*
 * A listening socket takes nothing more: what arrives for it is dropped unanswered, so a client
 * that is not connected yet tries again, and finds who listens there then, if anybody. Who waits in
 * its queue is still accepted; what close() finds there would be reset. Best effort.
 */
void sock_stop_listening(int listen_fd);
/* accept4() with peer (v4-mapped unmapped). Returns the descriptor or -errno. */
MUST_USE int sock_accept(int listen_fd, struct addr *ret_peer);
/* A listening unix socket, mode 0600, or 0660 for a group (group (gid_t)-1: none); a socket that
 * nobody listens on any more is replaced. Returns the descriptor (the caller's), or -errno. */
MUST_USE int sock_listen_unix(const char *path, gid_t group, int backlog);
/* accept4() on it, with the peer's user (SO_PEERCRED). Returns the descriptor or -errno. */
MUST_USE int sock_accept_unix(int listen_fd, uid_t *ret_uid);
/* Starts a connect; as sock_connect_start(). */
MUST_USE int sock_connect_unix(const char *path);
/* Local address of a connected or bound socket. Returns 0 or -errno. */
MUST_USE int sock_local(int fd, struct addr *ret_addr);
/* recv() and send(), gone on with when interrupted; a peer that is gone is an error, not a signal.
 * Return bytes (receiving, 0 at the end), or -errno. */
MUST_USE ssize_t sock_recv(int fd, void *data, size_t len);
MUST_USE ssize_t sock_send(int fd, const void *data, size_t len);
/* Sends what is in buf and drops what is sent; the memory stays. Returns 0 when nothing is left,
 * -EAGAIN or -errno. */
MUST_USE int sock_send_buf(int fd, struct buf *buf);
/* Bytes waiting in the receive queue (SIOCINQ), or -errno. */
MUST_USE int sock_unread(int fd);
/* Bytes written that the peer has not acknowledged (SIOCOUTQ), or -errno. */
MUST_USE int sock_unsent(int fd);
/* Makes the next close() send RST (SO_LINGER 0). */
void sock_abort_on_close(int fd);

#endif
