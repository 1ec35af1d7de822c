// SPDX-License-Identifier: Apache-2.0
/* See bypass.h. */
#include "bpfctl/bypass.h"
#include "base/fd.h"
#include "bpfctl/shared.h"
#include "bypass.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct bpfctl_bypass {
	struct bypass *skel;
	int arm, nodes; /* the skeleton's */
	int links[2];   /* owned; -1: attached without a link */
};

/* ---- load ---- */

static int prepare(struct bypass *skel, const struct bpfctl *bpfctl, unsigned max_nodes)
{
	struct bpfctl_maps maps = bpfctl_maps(bpfctl);
	int r = bpf_map__reuse_fd(skel->maps.hm_targets, maps.targets);

	if (r == 0)
		r = bpf_map__reuse_fd(skel->maps.hm_flows, maps.flows);
	if (r == 0)
		r = bpf_map__reuse_fd(skel->maps.hm_control, maps.control);
	if (r == 0)
		r = bpf_map__set_max_entries(skel->maps.hm_nodes, max_nodes);
	return r;
}

/* Nothing else holds the map. */
static int attach(const struct bpf_program *prog, const struct bpf_map *map, int *ret_link)
{
	return bpfctl_attach(bpf_program__fd(prog), bpf_map__fd(map), BPF_SK_MSG_VERDICT, ret_link);
}

static int load(struct bpfctl_bypass *bypass, const struct bpfctl *bpfctl, unsigned max_nodes,
	char error[BPFCTL_ERROR_SIZE])
{
	struct bypass *skel = bypass->skel = bypass__open();
	int r;

	if (!skel)
		return bpfctl_fail(error, "cannot read the program of the bypass", -errno);
	r = prepare(skel, bpfctl, max_nodes);
	if (r == 0)
		r = bypass__load(skel);
	if (r < 0)
		return bpfctl_fail(error, "cannot load the program of the bypass", r);
	bypass->arm = bpf_program__fd(skel->progs.hm_arm);
	bypass->nodes = bpf_map__fd(skel->maps.hm_nodes);
	r = attach(skel->progs.hm_redirect, skel->maps.hm_nodes, &bypass->links[0]);
	if (r == 0)
		r = attach(skel->progs.hm_pass, skel->maps.hm_strangers, &bypass->links[1]);
	return r < 0 ? bpfctl_fail(error, "cannot attach the program of the bypass", r) : 0;
}

int bpfctl_bypass_load(const struct bpfctl *bpfctl, unsigned max_nodes,
	struct bpfctl_bypass **ret_bypass, char error[BPFCTL_ERROR_SIZE])
{
	struct bpfctl_bypass *bypass = calloc(1, sizeof(*bypass));
	int r;

	if (!bypass)
		return bpfctl_fail(error, "memory", -ENOMEM);
	bypass->links[0] = bypass->links[1] = -1;
	bpfctl_silence_libbpf();
	r = load(bypass, bpfctl, max_nodes, error);
	if (r < 0)
		bpfctl_bypass_free(bypass);
	else
		*ret_bypass = bypass;
	return r;
}

void bpfctl_bypass_free(struct bpfctl_bypass *bypass)
{
	if (!bypass)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(bypass->links); i++)
		fd_closep(&bypass->links[i]);
	bypass__destroy(bypass->skel);
	free(bypass);
}

/* ---- nodes ---- */

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Returns the family as the program wants it, 0 for one it does not know. An IPv4 address in IPv6's
 * clothes is IPv4. */
static __u8 take_address(const union address *address, __u32 ret_ip[4], __u16 *ret_port)
{
	if (address->sa.sa_family == AF_INET) {
		ret_ip[0] = address->in.sin_addr.s_addr;
		*ret_port = address->in.sin_port;
		return 4;
	}
	if (address->sa.sa_family != AF_INET6)
		return 0;
	*ret_port = address->in6.sin6_port;
	memcpy(ret_ip, &address->in6.sin6_addr, sizeof(address->in6.sin6_addr));
	if (!IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr))
		return 6;
	ret_ip[0] = ret_ip[3];
	return 4;
}

/* Returns 0, -errno, or -EAFNOSUPPORT. */
static int describe(int fd, struct hm_bypass_request *request)
{
	union address local = { .sa = { 0 } }, remote = { .sa = { 0 } };
	socklen_t local_len = sizeof(local), remote_len = sizeof(remote);

	if (getsockname(fd, &local.sa, &local_len) < 0 ||
		getpeername(fd, &remote.sa, &remote_len) < 0)
		return -errno;
	request->family = take_address(&local, request->local_ip, &request->local_port);
	if (!request->family ||
		take_address(&remote, request->remote_ip, &request->remote_port) != request->family)
		return -EAFNOSUPPORT;
	return 0;
}

static int add(struct bpfctl_bypass *bypass, enum hm_bypass_map map, __u64 cookie, int fd)
{
	struct hm_bypass_request request = { .map = (__u8)map, .cookie = cookie }, answer;
	struct bpf_test_run_opts run = { .sz = sizeof(run),
		.data_in = &request,
		.data_size_in = sizeof(request),
		.data_out = &answer,
		.data_size_out = sizeof(answer) };
	int r = describe(fd, &request);

	if (r == 0)
		r = bpf_prog_test_run_opts(bypass->arm, &run);
	if (r < 0)
		return r;
	switch ((enum hm_bypass_answer)run.retval) {
	case HM_BYPASS_DONE:
		return 0;
	case HM_BYPASS_NO_NODE:
	case HM_BYPASS_NOT_ITS_PEER:
		return BPFCTL_BYPASS_ELSEWHERE;
	case HM_BYPASS_REFUSED:
		return answer.error;
	case HM_BYPASS_MALFORMED:
	case HM_BYPASS_NO_ROUTER_SOCKET:
	case HM_BYPASS_NO_TARGET:
		break;
	}
	return -EINVAL;
}

int bpfctl_bypass_add(struct bpfctl_bypass *bypass, __u64 cookie, int fd)
{
	return add(bypass, HM_BYPASS_NODES, cookie, fd);
}

int bpfctl_bypass_occupy(struct bpfctl_bypass *bypass, __u64 cookie, int fd)
{
	return add(bypass, HM_BYPASS_STRANGERS, cookie, fd);
}

void bpfctl_bypass_remove(struct bpfctl_bypass *bypass, __u64 cookie)
{
	bpf_map_delete_elem(bypass->nodes, &cookie);
}
