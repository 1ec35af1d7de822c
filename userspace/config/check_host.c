// SPDX-License-Identifier: Apache-2.0
/*
 * What the host must have for a configuration: the users and groups it names, and files that are
 * still readable when root is given up, because every reload reads them again (OPS-15). What the
 * start survives is an error for --check-config alone.
 */
#include "config/check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_USER "homing" /* as the schema has it */

/* ---- users and groups ---- */

/* As root a name that is not there stops the start; else it is not used. The default may be missing
 * where the file is only looked at. */
static bool find_user(struct loader *loader, uid_t *ret_uid, gid_t *ret_gid)
{
	const struct config_server *server = &loader->config->server;
	bool root = geteuid() == 0, is_default = strcmp(server->user, DEFAULT_USER) == 0;
	const struct passwd *user = getpwnam(server->user);
	const struct group *group = server->group ? getgrnam(server->group) : NULL;

	if (!user && (root || !is_default))
		check_find(loader, root && !is_default, "server", "user", "no such user: \"%s\"%s",
			server->user, is_default ? ", which a start as root needs" : "");
	if (server->group && !group)
		check_find(loader, root, "server", "group", "no such group: \"%s\"", server->group);
	if (!user || (server->group && !group))
		return false;
	*ret_uid = user->pw_uid;
	*ret_gid = group ? group->gr_gid : user->pw_gid;
	return true;
}

static void check_socket_group(struct loader *loader)
{
	const struct config_admin *admin = &loader->config->admin;

	if (!admin->present || !admin->socket_group)
		return;
	if (!admin->socket)
		check_find(loader, false, "admin", "socket_group", "has no effect without socket");
	else if (!getgrnam(admin->socket_group))
		check_find(loader, true, "admin", "socket_group", "no such group: \"%s\"",
			admin->socket_group);
}

/* ---- files ---- */

struct file {
	const char *path;
	const struct config_instance *instance; /* NULL: the configuration itself */
	const char *key;
};

/* All that a reload reads. Returns their number; *ret_files is freed by the caller, NULL: none. */
static size_t list_files(const struct config *config, struct file **ret_files)
{
	const struct config_private *priv = config->priv;
	struct file *files = NULL, *more;
	size_t count = 1;

	*ret_files = calloc(1, sizeof(*files));
	if (!*ret_files)
		return 0;
	(*ret_files)[0] = (struct file){ .path = priv->path };
	for (size_t i = 0; i < priv->instance_count; i++) {
		const struct config_instance *instance = &priv->instances[i];
		const struct schema_row *row = schema_tables[instance->id].rows;

		for (; instance->table && row->key; row++) {
			const char *path = row->kind == KIND_PATH
				? *(const char *const *)((const char *)instance->base + row->offset)
				: NULL;

			if (!path || access(path, R_OK) < 0) /* reported by who reads it */
				continue;
			more = reallocarray(*ret_files, count + 1, sizeof(*more));
			if (!more)
				return count;
			*ret_files = more;
			more[count++] = (struct file){ path, instance, row->key };
		}
	}
	return count;
}

/* In a process of its own, because root comes back for nobody. Writes an errno for each file. */
static void try_as(uid_t uid, gid_t gid, const struct file *files, size_t count, int out)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		_exit(1);
	for (size_t i = 0; i < count; i++) {
		int fd = open(files[i].path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		unsigned char error = (unsigned char)(fd < 0 ? errno : 0);

		if (fd >= 0)
			close(fd);
		if (write(out, &error, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static void report_file(struct loader *loader, const struct file *file, int error)
{
	const char *user = loader->config->server.user;

	if (file->instance)
		check_find(loader, loader->only_check, file->instance->path, file->key,
			"\"%s\" cannot be read by the user \"%s\", so that a reload will fail: %s",
			file->path, user, strerror(error));
	else
		config_find(loader, loader->only_check, 1, 1, "",
			"cannot be read by the user \"%s\", so that a reload will fail: %s", user,
			strerror(error));
}

static void check_readable(struct loader *loader, uid_t uid, gid_t gid)
{
	struct file *files;
	size_t count = list_files(loader->config, &files);
	unsigned char error;
	int ends[2], status;
	pid_t child;

	if (!count || pipe2(ends, O_CLOEXEC) < 0) {
		free(files);
		return;
	}
	child = fork();
	if (child == 0)
		try_as(uid, gid, files, count, ends[1]);
	close(ends[1]);
	for (size_t i = 0; child > 0 && i < count && read(ends[0], &error, 1) == 1; i++) {
		if (error)
			report_file(loader, &files[i], error);
	}
	close(ends[0]);
	if (child > 0)
		waitpid(child, &status, 0);
	free(files);
}

void check_host(struct loader *loader)
{
	uid_t uid;
	gid_t gid;

	check_socket_group(loader);
	if (loader->before) /* a reload: the user is the one that the process has */
		return;
	if (find_user(loader, &uid, &gid) && geteuid() == 0 && uid != 0)
		check_readable(loader, uid, gid);
}
