// SPDX-License-Identifier: Apache-2.0
/* What the load generator and the light node have in common; see peer.h. */
#include "peer.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#define KEEP_BYTES (1 << 30)

static char scratch[PEER_LINE_MAX + PEER_SCRATCH];

uint64_t peer_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void peer_process_init(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	/* What a connection gives back is for the next one, not for the system. */
	mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
}

SSL_CTX *peer_tls_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	tls_context_common(ctx);
	SSL_CTX_set_keylog_callback(ctx, NULL); /* its streams stay with OpenSSL */
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
		SSL_CTX_set1_groups_list(ctx, "X25519") != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int peer_tls_attach(struct stream *stream, SSL *ssl)
{
	return tls_stream_attach(stream, ssl, NULL, NULL);
}

ssize_t peer_read(struct stream *stream, struct buf *part, struct view *ret_data, bool *ret_more)
{
	size_t kept = part->len;
	ssize_t n = stream_read(stream, scratch + kept, PEER_SCRATCH);

	if (n <= 0)
		return n;
	if (kept) {
		memcpy(scratch, buf_view(part).data, kept);
		buf_fini(part);
	}
	*ret_data = view_make(scratch, kept + (size_t)n);
	*ret_more = n == PEER_SCRATCH || (stream_is_tls(stream) && n == PEER_RECORD) ||
		stream_pending(stream);
	return (ssize_t)ret_data->len;
}

int peer_keep(struct buf *part, struct view rest)
{
	if (rest.len > PEER_LINE_MAX)
		return -EMSGSIZE;
	return rest.len ? buf_append_view(part, rest) : 0;
}

bool peer_take_line(struct view *data, const char **ret_line)
{
	char *end = data->len ? memchr(data->data, '\n', data->len) : NULL;

	if (!end)
		return false;
	*ret_line = data->data;
	*data = view_skip(*data, (size_t)(end + 1 - data->data));
	if (end > *ret_line && end[-1] == '\r')
		end--;
	*end = '\0';
	return true;
}
