// SPDX-License-Identifier: Apache-2.0
/* TCP sockets and their options. */
#include "net/sock.h"
#include "base/fd.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int new_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

	return fd < 0 ? -errno : fd;
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* TCP_USER_TIMEOUT takes the place of a number of probes: 4 fit into it. */
void sock_keep_alive(int fd)
{
	(void)!set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	(void)!set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
	(void)!set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
	(void)!set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 120000);
}

int sock_listen(const struct addr *addr, unsigned flags, int backlog)
{
	CLEANUP(fd_closep) int fd = new_socket(addr->sa.sa_family);
	int r;

	if (fd < 0)
		return fd;
	r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && flags & SOCK_REUSE_PORT)
		r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && addr->sa.sa_family == AF_INET6)
		r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !(flags & SOCK_BOTH_FAMILIES));
	if (r < 0)
		return r;
	(void)!set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* accepted sockets inherit all this */
	sock_keep_alive(fd);
	if (bind(fd, &addr->sa, addr_len(addr)) < 0)
		return -errno;
	if (!(flags & SOCK_BIND_ONLY) && listen(fd, backlog) < 0)
		return -errno;
	return take_fd(&fd);
}

/* A filter of packets that lets none pass. Needs no rights, unlike a program that chooses among the
 * sockets of a port. */
void sock_stop_listening(int listen_fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &drop };

	(void)!setsockopt(listen_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

bool sock_has_family(int family)
{
	struct addr any = { .sa.sa_family = (sa_family_t)family };
	CLEANUP(fd_closep) int fd = new_socket(family);

	if (fd < 0)
		return fd != -EAFNOSUPPORT && fd != -EPROTONOSUPPORT;
	return bind(fd, &any.sa, addr_len(&any)) == 0 || errno != EADDRNOTAVAIL;
}

const char *sock_listen_hint(const struct addr *addr, int error)
{
	return error == -EACCES && addr_port(addr) < 1024
		? " (ports below 1024 need the capability CAP_NET_BIND_SERVICE)"
		: "";
}

int sock_connect_start(const struct addr *addr, const struct addr *source)
{
	CLEANUP(fd_closep) int fd = new_socket(addr->sa.sa_family);

	if (fd < 0)
		return fd;
	(void)!set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (source && addr_is_set(source)) {
		/* Leaves the choice of the port to connect(), so that ports are not used up. */
		(void)!set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
		if (bind(fd, &source->sa, addr_len(source)) < 0)
			return -errno;
	}
	if (connect(fd, &addr->sa, addr_len(addr)) < 0 && errno != EINPROGRESS)
		return -errno;
	return take_fd(&fd);
}

int sock_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

bool sock_has_address(const struct addr *addr, const struct addr *source)
{
	/* Datagram sockets have ports of their own. */
	CLEANUP(fd_closep) int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno != EAFNOSUPPORT;
	if (addr_is_set(source) && bind(fd, &source->sa, addr_len(source)) < 0)
		return errno != EADDRNOTAVAIL;
	return connect(fd, &addr->sa, addr_len(addr)) == 0 || errno != EADDRNOTAVAIL;
}

int sock_accept(int listen_fd, struct addr *ret_peer)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	int fd, r;

	do {
		fd = accept4(
			listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	r = addr_from_sockaddr(&from, ret_peer);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int sock_local(int fd, struct addr *ret_addr)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (getsockname(fd, (struct sockaddr *)&local, &len) < 0)
		return -errno;
	return addr_from_sockaddr(&local, ret_addr);
}

ssize_t sock_recv(int fd, void *data, size_t len)
{
	ssize_t n;

	do {
		n = recv(fd, data, len, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t sock_send(int fd, const void *data, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, data, len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int sock_send_buf(int fd, struct buf *buf)
{
	while (buf->len) {
		struct view v = buf_view(buf);
		ssize_t n = sock_send(fd, v.data, v.len);

		if (n < 0)
			return (int)n;
		buf_consume(buf, (size_t)n);
	}
	return 0;
}

int sock_unread(int fd)
{
	int count = 0;

	return ioctl(fd, SIOCINQ, &count) < 0 ? -errno : count;
}

int sock_unsent(int fd)
{
	int queued;

	return ioctl(fd, SIOCOUTQ, &queued) < 0 ? -errno : queued;
}

void sock_abort_on_close(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* ---- unix sockets ---- */

static int unix_address(const char *path, struct sockaddr_un *ret_addr)
{
	*ret_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret_addr->sun_path))
		return -ENAMETOOLONG;
	strcpy(ret_addr->sun_path, path);
	return 0;
}

int sock_connect_unix(const char *path)
{
	struct sockaddr_un addr;
	int r = unix_address(path, &addr), fd;

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* Left behind by a process that is gone. */
static void remove_stale(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = sock_connect_unix(path);
	if (fd == -ECONNREFUSED)
		unlink(path);
	else if (fd >= 0)
		close(fd);
}

int sock_listen_unix(const char *path, gid_t group, int backlog)
{
	struct sockaddr_un addr;
	int r = unix_address(path, &addr), fd;
	mode_t before;

	if (r < 0)
		return r;
	remove_stale(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	before = umask(group == (gid_t)-1 ? 0177 : 0117);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(before);
	if (r == 0 && group != (gid_t)-1 && lchown(path, (uid_t)-1, group) < 0)
		r = -errno;
	if (r == 0 && listen(fd, backlog) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int sock_accept_unix(int listen_fd, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	*ret_uid = peer.uid;
	return fd;
}
