// SPDX-License-Identifier: Apache-2.0
/*
 * What homingctl prints comes from anonymous clients, nodes and stores, and goes to a terminal.
 * Strings of answers are made harmless when they are read (ctl_clean_json()), and everything that
 * is printed passes a filter again, so that no command can forget it.
 */
#include "base/view.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEQUENCE_MAX 4

/* Writes at most 6 bytes and returns their number. JSON takes this form too. */
static size_t escape(uint32_t code, size_t len, char *to)
{
	return (size_t)sprintf(to, len ? "\\u%04x" : "\\x%02x", (unsigned)code);
}

static bool is_kept(uint32_t code, const char *kept)
{
	return !utf8_is_control(code) || (code && code < 0x80 && strchr(kept, (int)code));
}

/* Each character that is kept is copied; *used: what is left out is the beginning of a
 * character. */
static size_t clean(struct view text, const char *kept, char *to, size_t *used)
{
	size_t n = 0, at = 0;

	while (at < text.len) {
		struct view rest = view_skip(text, at);
		uint32_t code;
		size_t len = view_utf8_first(rest, &code);

		if (!len && used && rest.len < SEQUENCE_MAX && code >= 0xc2)
			break; /* perhaps the rest is still to come */
		if (!len || !is_kept(code, kept)) {
			n += escape(code, len, to + n);
		} else {
			memcpy(to + n, rest.data, len);
			n += len;
		}
		at += len ? len : 1;
	}
	if (used)
		*used = at;
	return n;
}

char *ctl_clean(const char *text)
{
	struct view v = view_str(text);
	char *out = malloc(v.len * 6 + 1);

	if (out)
		out[clean(v, "", out, NULL)] = '\0';
	return out;
}

static json_t *clean_string(const char *text)
{
	char *cleaned = ctl_clean(text);
	json_t *string = cleaned ? json_string(cleaned) : NULL;

	free(cleaned);
	return string;
}

json_t *ctl_clean_json(json_t *value)
{
	json_t *result, *item;
	const char *key;
	size_t i;

	if (json_is_string(value))
		return clean_string(json_string_value(value));
	if (json_is_array(value)) {
		result = json_array();
		json_array_foreach(value, i, item)
		{
			json_array_append_new(result, ctl_clean_json(item));
		}
		return result;
	}
	if (!json_is_object(value))
		return json_incref(value);
	result = json_object();
	json_object_foreach(value, key, item)
	{
		char *cleaned = ctl_clean(key);

		if (cleaned)
			json_object_set_new(result, cleaned, ctl_clean_json(item));
		free(cleaned);
	}
	return result;
}

/* ---- the filter ---- */

struct filter {
	int fd;
	char begun[SEQUENCE_MAX]; /* of a character that the next piece ends */
	size_t begun_len;
};

static struct filter filters[] = { { .fd = STDOUT_FILENO }, { .fd = STDERR_FILENO } };

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Of fopencookie(): returns size, or 0 after an error. */
static ssize_t on_write(void *cookie, const char *data, size_t size)
{
	struct filter *filter = cookie;
	size_t len = filter->begun_len + size, used = 0;
	char *in = malloc(len + 1), *out = malloc(len * 6 + 1);
	ssize_t result = 0;

	if (in && out) {
		memcpy(in, filter->begun, filter->begun_len);
		memcpy(in + filter->begun_len, data, size);
		if (write_all(filter->fd, out, clean(view_make(in, len), "\n\t", out, &used)) == 0)
			result = (ssize_t)size;
		filter->begun_len = len - used;
		memcpy(filter->begun, in + used, filter->begun_len);
	}
	free(in);
	free(out);
	return result;
}

void ctl_guard_output(void)
{
	static const cookie_io_functions_t functions = { .write = on_write };
	FILE *out = fopencookie(&filters[0], "w", functions);
	FILE *err = fopencookie(&filters[1], "w", functions);

	if (!out || !err)
		abort();
	setvbuf(out, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
	setvbuf(err, NULL, _IOLBF, BUFSIZ);
	stdout = out;
	stderr = err;
}

void ctl_put_raw(FILE *file, const char *text)
{
	fflush(file);
	(void)!write_all(file == stderr ? STDERR_FILENO : STDOUT_FILENO, text, strlen(text));
}
