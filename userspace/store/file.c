// SPDX-License-Identifier: Apache-2.0
/*
 * The mapping file (MAP-40 to MAP-44): one line per account, kept in memory as a sorted array, so
 * that a write comes out sorted and a lookup is a binary search. Written to PATH.tmp, synced,
 * renamed, directory synced: a failed write changes neither the file nor the table.
 * One lock: lookups, writes and reloads may come from any thread.
 */
#include "base/fd.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_LIMIT_BYTES (1024u * 1024 * 1024)
#define ACCOUNT_BYTES 320
#define LIST_LINES 50000
#define WARNED_MAX 16

struct line {
	char *account, *destination; /* one allocation: account NUL destination NUL */
	unsigned number;             /* in the file */
};

struct table {
	struct line *lines; /* sorted by account */
	size_t count, cap;
};

struct store_file {
	struct store store;
	struct store_file_params params;
	char *path;
	pthread_mutex_t lock;
	struct table table;
};

/* ---- the table ---- */

static void table_free(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->lines[i].account);
	free(table->lines);
	*table = (struct table){ 0 };
}

/* Returns where the next one goes. An empty view may have no data. */
static char *put_string(char *to, struct view text)
{
	if (text.len)
		memcpy(to, text.data, text.len);
	to[text.len] = '\0';
	return to + text.len + 1;
}

static int make_line(
	struct view account, struct view destination, unsigned number, struct line *ret_line)
{
	char *text = malloc(account.len + destination.len + 2);

	if (!text)
		return -ENOMEM;
	put_string(put_string(text, account), destination);
	*ret_line = (struct line){ text, text + account.len + 1, number };
	return 0;
}

/* Takes the line, also when it fails. */
static int table_append(struct table *table, struct line line)
{
	struct line *lines;

	if (table->count == table->cap) {
		size_t cap = table->cap ? table->cap * 2 : 64;

		lines = realloc(table->lines, cap * sizeof(*lines));
		if (!lines) {
			free(line.account);
			return -ENOMEM;
		}
		table->lines = lines;
		table->cap = cap;
	}
	table->lines[table->count++] = line;
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = strcmp(x->account, y->account);

	if (order)
		return order;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Index of the account, or where it would be inserted. */
static size_t table_search(const struct table *table, struct view account, bool *ret_found)
{
	size_t low = 0, high = table->count;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		size_t len = strlen(table->lines[mid].account);
		int order = memcmp(table->lines[mid].account, account.data, MIN(len, account.len));

		if (!order)
			order = len < account.len ? -1 : len > account.len;
		if (!order) {
			*ret_found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- reading ---- */

struct reader {
	const struct store_file_params *params;
	char first_error[STORE_ERROR_BYTES];
	bool failed;
	struct view warned[WARNED_MAX]; /* destinations, in the text that is being read */
	size_t warned_count;
};

static void report(struct reader *reader, bool error, unsigned line, const char *text)
{
	struct store_file_finding finding = { .error = error, .line = line, .text = text };

	if (error && !reader->failed) {
		reader->failed = true;
		snprintf(reader->first_error, sizeof(reader->first_error), "%.120s:%u: %.100s",
			reader->params->path, line, text);
	}
	if (reader->params->report)
		reader->params->report(reader->params->report_arg, &finding);
}

static struct view take_field(struct view *rest)
{
	struct view field;
	size_t n = 0, blanks = 0;

	while (blanks < rest->len && (rest->data[blanks] == ' ' || rest->data[blanks] == '\t'))
		blanks++;
	*rest = view_skip(*rest, blanks);
	while (n < rest->len && rest->data[n] != ' ' && rest->data[n] != '\t')
		n++;
	field = view_make(rest->data, n);
	*rest = view_skip(*rest, n);
	return field;
}

/* Once for each destination, at its first line (MAP-41). */
static void warn_unserved(struct reader *reader, struct view destination, unsigned number)
{
	const struct store_file_params *params = reader->params;
	const char *protocol;
	char message[160];

	for (size_t i = 0; i < reader->warned_count; i++) {
		if (view_eq(reader->warned[i], destination))
			return;
	}
	if (!params->unserved || reader->warned_count == WARNED_MAX)
		return;
	protocol = params->unserved(params->arg, destination);
	if (!protocol)
		return;
	reader->warned[reader->warned_count++] = destination;
	snprintf(message, sizeof(message), "destination \"%.*s\" declares no %s",
		(int)MIN(destination.len, (size_t)64), destination.data, protocol);
	report(reader, false, number, message);
}

static int read_line(struct reader *reader, struct view text, unsigned number, struct table *table)
{
	const struct store_file_params *params = reader->params;
	char normal[ACCOUNT_BYTES + 1];
	struct view account, destination, more;
	struct line line;
	int n, r;

	if (text.len && text.data[text.len - 1] == '\r')
		text.len--;
	account = take_field(&text);
	if (!account.len || account.data[0] == '#')
		return 0;
	destination = take_field(&text);
	if (!destination.len || destination.data[0] == '#') {
		report(reader, true, number, "expected an identifier and a destination");
		return 0;
	}
	more = take_field(&text);
	if (more.len && more.data[0] != '#') {
		report(reader, true, number, "unexpected text after the destination");
		return 0;
	}
	n = params->account(params->arg, account, normal);
	if (n < 0) {
		report(reader, true, number, "not a valid identifier");
		return 0;
	}
	if (!params->declared(params->arg, destination)) {
		char message[160];

		snprintf(message, sizeof(message), "destination \"%.*s\" is not declared",
			(int)MIN(destination.len, (size_t)64), destination.data);
		report(reader, true, number, message);
		return 0;
	}
	warn_unserved(reader, destination, number);
	r = make_line(view_make(normal, (size_t)n), destination, number, &line);
	return r < 0 ? r : table_append(table, line);
}

/* Sorts; of several lines for one account the last stays (MAP-42). */
static void table_settle(struct reader *reader, struct table *table)
{
	size_t kept = 0;

	if (table->count)
		qsort(table->lines, table->count, sizeof(*table->lines), compare_lines);
	for (size_t i = 0; i < table->count; i++) {
		struct line *line = &table->lines[i];

		if (kept && strcmp(table->lines[kept - 1].account, line->account) == 0) {
			struct line *earlier = &table->lines[kept - 1];

			if (strcmp(earlier->destination, line->destination) != 0) {
				char text[160];

				snprintf(text, sizeof(text),
					"the identifier stands in line %u too, with another "
					"destination; this later line wins",
					earlier->number);
				report(reader, false, line->number, text);
			}
			free(earlier->account);
			*earlier = *line;
			continue;
		}
		table->lines[kept++] = *line;
	}
	table->count = kept;
}

/* Returns 0, -EINVAL with the first error in reader, or -errno. */
static int read_table(struct reader *reader, struct table *ret_table)
{
	struct table table = { 0 };
	unsigned number = 1;
	struct view rest;
	char *text;
	size_t len;
	int r;

	if (!reader->params->path) {
		*ret_table = table;
		return 0;
	}
	r = fd_read_file(reader->params->path, FILE_LIMIT_BYTES, &text, &len);
	if (r < 0) {
		snprintf(reader->first_error, sizeof(reader->first_error), "%.150s: %s",
			reader->params->path, strerror(-r));
		return r;
	}
	for (rest = view_make(text, len); r == 0 && rest.len; number++) {
		const char *newline = memchr(rest.data, '\n', rest.len);
		size_t n = newline ? (size_t)(newline - rest.data) : rest.len;

		r = read_line(reader, view_make(rest.data, n), number, &table);
		rest = view_skip(rest, n + 1);
	}
	free(text);
	if (r == 0)
		table_settle(reader, &table);
	if (r == 0 && reader->failed)
		r = -EINVAL;
	if (r < 0)
		table_free(&table);
	else
		*ret_table = table;
	return r;
}

/* ---- writing ---- */

static int write_lines(FILE *file, const struct table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		if (fprintf(file, "%s\t%s\n", table->lines[i].account,
			    table->lines[i].destination) < 0)
			return -EIO;
	}
	return fflush(file) == 0 && fsync(fileno(file)) == 0 ? 0 : -errno;
}

static int sync_dir(const char *path)
{
	CLEANUP(fd_closep) int fd = -1;
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

/* A file of mode 0600 first, then the old file's mode and owner. */
static int open_tmp(const char *tmp, const char *path, FILE **ret_file)
{
	struct stat st;
	int fd;

	(void)!unlink(tmp); /* what a crash has left, or somebody has put there */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (stat(path, &st) == 0) {
		/* Without the right to give files away they stay ours; the mode must not widen. */
		if (fchown(fd, st.st_uid, st.st_gid) < 0)
			st.st_mode &= ~(mode_t)S_IROTH;
		(void)!fchmod(fd, st.st_mode & 0777);
	}
	*ret_file = fdopen(fd, "w");
	if (*ret_file)
		return 0;
	close(fd);
	return -errno;
}

static int save(const char *path, const struct table *table)
{
	FILE *file;
	char *tmp;
	int r;

	if (asprintf(&tmp, "%s.tmp", path) < 0)
		return -ENOMEM;
	r = open_tmp(tmp, path, &file);
	if (r == 0) {
		r = write_lines(file, table);
		if (fclose(file) != 0 && r == 0)
			r = -errno;
		if (r == 0 && rename(tmp, path) < 0)
			r = -errno;
		if (r < 0)
			unlink(tmp);
	}
	free(tmp);
	return r == 0 ? sync_dir(path) : r;
}

/* A copy of the table with one change, sharing nothing. */
static int copy_table(const struct table *from, struct view skip, struct table *ret_table)
{
	struct table table = { 0 };

	for (size_t i = 0; i < from->count; i++) {
		struct line line;

		if (view_eq(view_str(from->lines[i].account), skip))
			continue;
		if (make_line(view_str(from->lines[i].account),
			    view_str(from->lines[i].destination), 0, &line) < 0 ||
			table_append(&table, line) < 0) {
			table_free(&table);
			return -ENOMEM;
		}
	}
	*ret_table = table;
	return 0;
}

static int change(struct store_file *store, struct store_request *request, bool found)
{
	struct table table;
	struct line line;
	int r;

	if (request->op == STORE_DELETE && !found) {
		request->result = STORE_NONE;
		return 0;
	}
	r = copy_table(&store->table, request->identifier, &table);
	if (r == 0 && request->op == STORE_UPSERT) {
		r = make_line(request->identifier, request->destination, 0, &line);
		if (r == 0)
			r = table_append(&table, line);
		if (r == 0)
			qsort(table.lines, table.count, sizeof(*table.lines), compare_lines);
	}
	if (r == 0)
		r = save(store->path, &table);
	if (r < 0) {
		table_free(&table);
		return r;
	}
	table_free(&store->table);
	store->table = table;
	request->result = STORE_DONE;
	return 0;
}

/* ---- operations ---- */

/* Looks at LIST_LINES at most, so that nobody waits for a long table: the page is short then. */
static void list(struct store_file *store, struct store_request *request)
{
	const struct table *table = &store->table;
	struct store_list *list = request->list;
	bool found;
	size_t at = table_search(table, view_str(list->after), &found), end;
	int r = 0;

	at += found;
	end = MIN(at + LIST_LINES, table->count);
	for (; r == 0 && at < end && list->count < list->limit; at++) {
		if (view_eq(view_str(table->lines[at].destination), request->destination))
			r = store_list_add(list, view_str(table->lines[at].account));
	}
	if (r == 0 && at < table->count)
		r = store_list_set_next(list, view_str(table->lines[at - 1].account));
	request->result = r == 0 ? STORE_DONE : STORE_ERROR;
	if (r < 0)
		snprintf(request->error, sizeof(request->error), "cannot list: %s", strerror(-r));
}

static void run_request(struct store_file *store, struct store_request *request)
{
	bool found;
	size_t at;
	int r;

	if (request->op == STORE_LIST) {
		list(store, request);
		return;
	}
	at = table_search(&store->table, request->identifier, &found);
	request->result = STORE_NONE;
	if (request->op == STORE_LOOKUP) {
		if (!found)
			return;
		snprintf(request->value, sizeof(request->value), "%s",
			store->table.lines[at].destination);
		request->result = STORE_FOUND;
		return;
	}
	r = change(store, request, found);
	if (r < 0) {
		request->result = STORE_ERROR;
		snprintf(request->error, sizeof(request->error),
			"cannot write the mapping file: %s", strerror(-r));
	}
}

static void file_submit(struct store *base, struct store_request *request)
{
	struct store_file *store = (struct store_file *)base;

	if (request->op == STORE_PING) {
		request->result = STORE_DONE;
	} else if (store_is_ban(request->op)) {
		store_no_bans(request);
	} else {
		pthread_mutex_lock(&store->lock);
		run_request(store, request);
		pthread_mutex_unlock(&store->lock);
	}
	request->done(request);
}

static bool file_writable(const struct store *base)
{
	return ((const struct store_file *)base)->path != NULL;
}

static bool file_can_list(const struct store *base)
{
	(void)base;
	return true;
}

static int file_reload(struct store *base, char error[STORE_ERROR_BYTES])
{
	struct store_file *store = (struct store_file *)base;
	struct reader reader = { .params = &store->params };
	struct table table;
	int r = read_table(&reader, &table);

	if (r < 0) {
		snprintf(error, STORE_ERROR_BYTES, "%s", reader.first_error);
		return r;
	}
	pthread_mutex_lock(&store->lock);
	table_free(&store->table);
	store->table = table;
	r = (int)MIN(table.count, (size_t)INT32_MAX);
	pthread_mutex_unlock(&store->lock);
	return r;
}

static void file_free(struct store *base)
{
	struct store_file *store = (struct store_file *)base;

	table_free(&store->table);
	pthread_mutex_destroy(&store->lock);
	free(store->path);
	free(store);
}

static const struct store_ops file_ops = {
	.name = "file",
	.submit = file_submit,
	.writable = file_writable,
	.can_list = file_can_list,
	.reload = file_reload,
	.free = file_free,
};

int store_file_new(const struct store_file_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES])
{
	struct store_file *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->store.ops = &file_ops;
	store->params = *params;
	store->path = params->path ? strdup(params->path) : NULL;
	store->params.path = store->path;
	pthread_mutex_init(&store->lock, NULL);
	r = store->path || !params->path ? file_reload(&store->store, error) : -ENOMEM;
	if (r < 0) {
		file_free(&store->store);
		return r;
	}
	*ret_store = &store->store;
	return 0;
}

int store_file_check(const struct store_file_params *params)
{
	struct reader reader = { .params = params };
	struct table table;
	int r = read_table(&reader, &table);

	if (r == 0)
		table_free(&table);
	return r;
}
