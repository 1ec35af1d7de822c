// SPDX-License-Identifier: Apache-2.0
/*
 * Two hosts for the guard's tests: this process with a network and mounts of its own, among them a
 * BPF file system, and a child in another network that connects when it is asked to. A pair of veth
 * devices joins them: "server" here, 198.18.0.2 and fd00:18::2, "client" there, .1.
 */
#ifndef TESTS_TWO_HOSTS_H
#define TESTS_TWO_HOSTS_H

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bonding.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/link/vlan.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER_V4 "198.18.0.2"
#define SERVER_V6 "fd00:18::2"
#define CLIENT_V4 "198.18.0.1"
#define CLIENT_V6 "fd00:18::1"
#define SERVER_VLAN "198.19.0.2"
#define CLIENT_VLAN "198.19.0.1"
#define VLAN_ID 5
#define SERVER_PORT 993
/* ARP and TCP repeat after a second what was lost while a device came up. What is banned gets no
 * answer however long it waits, and had one before. */
#define CONNECT_MS 5000
#define DROPPED_MS 200

static inline struct nl_sock *nl_open(void)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock || nl_connect(sock, NETLINK_ROUTE) < 0)
		abort();
	return sock;
}

static inline int link_set(const char *name, bool up)
{
	struct nl_sock *sock = nl_open();
	struct rtnl_link *now = NULL, *change = rtnl_link_alloc();
	int r = rtnl_link_get_kernel(sock, 0, name, &now);

	if (up)
		rtnl_link_set_flags(change, IFF_UP);
	else
		rtnl_link_unset_flags(change, IFF_UP);
	if (r == 0)
		r = rtnl_link_change(sock, now, change, 0);
	rtnl_link_put(change);
	rtnl_link_put(now);
	nl_socket_free(sock);
	return r;
}

static inline int link_up(const char *name)
{
	return link_set(name, true);
}

static inline int change_address(const char *name, const char *text, bool add)
{
	struct nl_sock *sock = nl_open();
	struct rtnl_addr *addr = rtnl_addr_alloc();
	struct nl_addr *local = NULL;
	int r = nl_addr_parse(text, AF_UNSPEC, &local);

	rtnl_addr_set_ifindex(addr, (int)if_nametoindex(name));
	rtnl_addr_set_local(addr, local);
	rtnl_addr_set_flags(addr, IFA_F_NODAD);
	if (r == 0)
		r = add ? rtnl_addr_add(sock, addr, 0) : rtnl_addr_delete(sock, addr, 0);
	nl_addr_put(local);
	rtnl_addr_put(addr);
	nl_socket_free(sock);
	return r;
}

static inline int link_address(const char *name, const char *text)
{
	return change_address(name, text, true);
}

/* One end stays here, the other goes to the process's network. */
static inline int veth_add(const char *here, const char *there, pid_t pid)
{
	struct nl_sock *sock = nl_open();
	int r = rtnl_link_veth_add(sock, here, there, pid);

	nl_socket_free(sock);
	return r;
}

/* What comes with that tag on a device is another device's. */
static inline int vlan_add(const char *name, const char *on, const char *address)
{
	struct nl_sock *sock = nl_open();
	struct rtnl_link *link = rtnl_link_vlan_alloc();
	int r;

	rtnl_link_set_name(link, name);
	rtnl_link_set_link(link, (int)if_nametoindex(on));
	rtnl_link_vlan_set_id(link, VLAN_ID);
	r = rtnl_link_add(sock, link, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(link);
	nl_socket_free(sock);
	return r < 0 ? r : link_up(name) | link_address(name, address);
}

/* The device becomes a port of a new bridge, which takes that address of it over. */
static inline int bridge_add(const char *name, const char *port, const char *address)
{
	struct nl_sock *sock = nl_open();
	int r = rtnl_link_bridge_add(sock, name);

	if (r == 0)
		r = rtnl_link_enslave_ifindex(
			sock, (int)if_nametoindex(name), (int)if_nametoindex(port));
	nl_socket_free(sock);
	return r < 0 ? r
		     : change_address(port, address, false) | link_up(name) |
			link_address(name, address);
}

/* The device becomes the only one of a new bond, which takes that address of it over. Only a device
 * that is down can become one. */
static inline int bond_add(const char *name, const char *port, const char *address)
{
	struct nl_sock *sock = nl_open();
	int r = rtnl_link_bond_add(sock, name, NULL);

	if (r == 0)
		r = change_address(port, address, false) | link_set(port, false);
	if (r == 0)
		r = rtnl_link_bond_enslave_ifindex(
			sock, (int)if_nametoindex(name), (int)if_nametoindex(port));
	nl_socket_free(sock);
	return r < 0 ? r : link_up(name) | link_up(port) | link_address(name, address);
}

static inline int link_delete(const char *name)
{
	struct nl_sock *sock = nl_open();
	struct rtnl_link *link = rtnl_link_alloc();
	int r;

	rtnl_link_set_name(link, name);
	r = rtnl_link_delete(sock, link);
	rtnl_link_put(link);
	nl_socket_free(sock);
	return r;
}

/* A network and mounts of its own. Returns false without the rights. */
static inline bool isolate(void)
{
	return unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
		mount("", "/", "", MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("sysfs", "/sys", "sysfs", 0, NULL) == 0 &&
		mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) == 0 && link_up("lo") == 0;
}

/* ---- the client ---- */

enum ask { ASK_CONNECT_V4, ASK_CONNECT_V6, ASK_CONNECT_VLAN, ASK_SEND, ASK_ADDRESSES, ASK_VLAN };
struct request {
	enum ask ask;
	int wait_ms;
};

/* Returns the socket, or -errno. */
static inline int client_connect(enum ask ask, int wait_ms)
{
	bool v6 = ask == ASK_CONNECT_V6;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(SERVER_PORT) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(SERVER_PORT) };
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t len = sizeof(error);

	inet_pton(AF_INET, ask == ASK_CONNECT_VLAN ? SERVER_VLAN : SERVER_V4, &in.sin_addr);
	inet_pton(AF_INET6, SERVER_V6, &in6.sin6_addr);
	if (connect(fd, v6 ? (void *)&in6 : (void *)&in, v6 ? sizeof(in6) : sizeof(in)) < 0 &&
		errno != EINPROGRESS)
		error = errno;
	else if (poll(&p, 1, wait_ms) == 0)
		error = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		close(fd);
	return error ? -error : fd;
}

static inline int client_answer(const struct request *request, int *open_fd)
{
	int r;

	switch (request->ask) {
	case ASK_ADDRESSES:
		return link_up("client") | link_address("client", CLIENT_V4 "/24") |
			link_address("client", CLIENT_V6 "/64");
	case ASK_VLAN:
		return vlan_add("client.5", "client", CLIENT_VLAN "/24");
	case ASK_SEND:
		return send(*open_fd, "still here", 10, MSG_NOSIGNAL) == 10 ? 0 : -errno;
	default:
		r = client_connect(request->ask, request->wait_ms);
		if (r < 0)
			return r;
		if (*open_fd >= 0)
			close(*open_fd);
		*open_fd = r;
		return 0;
	}
}

struct client {
	pid_t pid;
	int fd;
};

static inline int client_ask_within(const struct client *client, enum ask ask, int wait_ms)
{
	struct request request = { ask, wait_ms };
	int r = -1;

	if (write(client->fd, &request, sizeof(request)) != sizeof(request) ||
		read(client->fd, &r, sizeof(r)) != sizeof(r))
		return -EPIPE;
	return r;
}

static inline int client_ask(const struct client *client, enum ask ask)
{
	return client_ask_within(client, ask, CONNECT_MS);
}

/* Returns false without the rights. */
static inline bool client_start(struct client *client)
{
	int fds[2], r, open_fd = -1;
	struct request request;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		return false;
	client->pid = fork();
	if (client->pid == 0) {
		close(fds[0]);
		r = unshare(CLONE_NEWNET) == 0 ? 0 : -errno;
		if (write(fds[1], &r, sizeof(r)) != sizeof(r) || r < 0)
			_exit(1);
		while (read(fds[1], &request, sizeof(request)) == sizeof(request)) {
			r = client_answer(&request, &open_fd);
			if (write(fds[1], &r, sizeof(r)) != sizeof(r))
				break;
		}
		_exit(0);
	}
	close(fds[1]);
	client->fd = fds[0];
	return read(client->fd, &r, sizeof(r)) == sizeof(r) && r == 0;
}

/* It ends when nobody asks any more. */
static inline void client_stop(struct client *client)
{
	close(client->fd);
	waitpid(client->pid, NULL, 0);
}

/* The devices; the server's is made again if it is there. */
static inline bool client_join(const struct client *client)
{
	if (if_nametoindex("server"))
		link_delete("server");
	return veth_add("server", "client", client->pid) == 0 && link_up("server") == 0 &&
		link_address("server", SERVER_V4 "/24") == 0 &&
		link_address("server", SERVER_V6 "/64") == 0 &&
		client_ask(client, ASK_ADDRESSES) == 0;
}

/* ---- the server ---- */

/* On both families' wildcards. */
static inline int server_listen(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(SERVER_PORT) };
	int fd = socket(AF_INET6, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 16) < 0)
		return -errno;
	return fd;
}

/* Whether what the client sends on its open connection arrives at its other end. */
static inline bool server_hears(const struct client *client, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[16];

	return client_ask(client, ASK_SEND) == 0 && poll(&p, 1, 2000) == 1 &&
		recv(fd, text, sizeof(text), 0) == 10;
}

#endif
