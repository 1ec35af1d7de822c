// SPDX-License-Identifier: Apache-2.0
/*
 * homingctl handoff-keys: a small authority for routers and agents, and a certificate for each, as
 * files. What is there already is kept, so that an agent can be added later. Asks no router.
 */
#include "base/fd.h"
#include "base/secret.h"
#include "ctl/ctl.h"
#include "tls/issue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AUTHORITY_DAYS 3650
#define SIGNED_DAYS 825
#define FILE_LIMIT_BYTES 65536

static int complain(const char *path, int error)
{
	char text[CTL_ERROR_BYTES];

	snprintf(text, sizeof(text), "%.200s: %s", path, strerror(-error));
	ctl_complain("handoff-keys", text);
	return EXIT_REFUSED;
}

static void path_of(char path[512], const char *dir, const char *name, const char *ending)
{
	snprintf(path, 512, "%.300s/%.150s.%s", dir, name, ending);
}

/* A new file: what is there is somebody's key. */
static int write_new(const char *path, const char *text, mode_t mode)
{
	CLEANUP(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t len = strlen(text);

	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len || fsync(fd) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

/* Both, the key first: a certificate without its key is of no use. */
static int write_pair(const char *dir, const char *name, const struct tls_pair *pair)
{
	char path[512];
	int r;

	path_of(path, dir, name, "key");
	r = write_new(path, pair->key, 0600);
	if (r < 0)
		return complain(path, r);
	path_of(path, dir, name, "pem");
	r = write_new(path, pair->cert, 0644);
	if (r < 0)
		return complain(path, r);
	printf("%s/%s.pem and .key\n", dir, name);
	return EXIT_OK;
}

static int read_pair(const char *dir, const char *name, struct tls_pair *ret_pair)
{
	char path[512];
	size_t len;
	int r;

	*ret_pair = (struct tls_pair){ 0 };
	path_of(path, dir, name, "pem");
	r = fd_read_file(path, FILE_LIMIT_BYTES, &ret_pair->cert, &len);
	path_of(path, dir, name, "key");
	if (r == 0)
		r = fd_read_file(path, FILE_LIMIT_BYTES, &ret_pair->key, &len);
	if (r < 0)
		tls_pair_free(ret_pair);
	return r;
}

static bool has(const char *dir, const char *name, const char *ending)
{
	char path[512];

	path_of(path, dir, name, ending);
	return access(path, F_OK) == 0;
}

/* The one that is there, or a new one. */
static int get_authority(const char *dir, struct tls_pair *ret_pair)
{
	char error[TLS_ERROR_SIZE];
	int r;

	if (has(dir, "ca", "pem") || has(dir, "ca", "key")) {
		r = read_pair(dir, "ca", ret_pair);
		return r < 0 ? complain("the authority's ca.pem and ca.key", r) : EXIT_OK;
	}
	if (tls_make_authority("Homing handoff", AUTHORITY_DAYS, ret_pair, error) < 0) {
		ctl_complain("handoff-keys", error);
		return EXIT_REFUSED;
	}
	return write_pair(dir, "ca", ret_pair);
}

static int make_one(
	const char *dir, const char *name, bool is_agent, const struct tls_pair *authority)
{
	struct tls_pair pair;
	char error[TLS_ERROR_SIZE];
	int r;

	if (has(dir, name, "pem")) {
		printf("%s/%s.pem is there already\n", dir, name);
		return EXIT_OK;
	}
	if (tls_make_signed(authority, name, is_agent, SIGNED_DAYS, &pair, error) < 0) {
		ctl_complain("handoff-keys", error);
		return EXIT_REFUSED;
	}
	r = write_pair(dir, name, &pair);
	tls_pair_free(&pair);
	return r;
}

/* It becomes a part of file names. */
static bool is_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.:-";

	return *name && *name != '.' && strlen(name) <= 64 && !name[strspn(name, allowed)] &&
		strcmp(name, "ca") != 0 && strcmp(name, "router") != 0;
}

int ctl_cmd_handoff_keys(struct ctl *ctl, char **args)
{
	const char *dir = args[0];
	struct tls_pair authority = { 0 };
	int r = EXIT_OK;

	(void)ctl;
	if (!dir || strlen(dir) > 300)
		return EXIT_USAGE;
	for (char **name = args + 1; *name; name++) {
		if (!is_name(*name)) {
			ctl_complain("handoff-keys",
				"a name is a host name or an address, of 64 bytes at most");
			return EXIT_USAGE;
		}
	}
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return complain(dir, -errno);
	r = get_authority(dir, &authority);
	if (r == EXIT_OK)
		r = make_one(dir, "router", false, &authority);
	for (char **name = args + 1; r == EXIT_OK && *name; name++)
		r = make_one(dir, *name, true, &authority);
	tls_pair_free(&authority);
	return r;
}
