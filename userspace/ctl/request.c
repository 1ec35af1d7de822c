// SPDX-License-Identifier: Apache-2.0
/* One request of a command: path, parameters, error text. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool complained;

int ctl_complain(const char *what, const char *detail)
{
	char *text = ctl_clean(what), *more = detail ? ctl_clean(detail) : NULL;

	fprintf(stderr, "homingctl: %s%s%s\n", text ? text : "out of memory", more ? ": " : "",
		more ? more : "");
	free(text);
	free(more);
	complained = true;
	return EXIT_USAGE;
}

bool ctl_has_complained(void)
{
	return complained;
}

/* Percent-encodes all but unreserved characters; freed by the caller. NULL without memory. */
static char *encode(const char *text)
{
	char *out = malloc(strlen(text) * 3 + 1), *to = out;

	for (; out && *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-._~", c))
			*to++ = (char)c;
		else
			to += sprintf(to, "%%%02X", c);
	}
	if (out)
		*to = '\0';
	return out;
}

int ctl_ask(const struct ctl_target *target, const char *method, const char *path,
	json_t **ret_body, char error[CTL_ERROR_BYTES])
{
	struct ctl_response response = { 0 };
	const char *text;
	json_t *body;

	*ret_body = NULL;
	if (ctl_request(target, method, path, &response, error, CTL_ERROR_BYTES) < 0)
		return EXIT_CONNECT;
	body = json_loads(response.body, 0, NULL);
	free(response.body);
	if (response.status == 200 && body) {
		*ret_body = body;
		return EXIT_OK;
	}
	text = json_string_value(json_object_get(body, "error"));
	snprintf(error, CTL_ERROR_BYTES, "%.200s", text ? text : "not an answer of the admin API");
	json_decref(body);
	return EXIT_REFUSED;
}

int ctl_call(struct ctl *ctl, const char *method, const char *path, json_t **ret_body)
{
	struct ctl_response response = { 0 };
	char error[TLS_ERROR_SIZE];
	json_t *received, *body;
	int code = EXIT_OK;

	*ret_body = NULL;
	if (ctl_request(&ctl->target, method, path, &response, error, sizeof(error)) < 0) {
		ctl_complain(error, NULL);
		return EXIT_CONNECT;
	}
	if (ctl->options.json)
		fputs(response.body, stdout);
	received = json_loads(response.body, 0, NULL);
	body = received ? ctl_clean_json(received) : NULL;
	json_decref(received);
	if (response.status != 200) {
		const char *text = json_string_value(json_object_get(body, "error"));

		if (!ctl->options.json && text)
			ctl_complain(text, json_string_value(json_object_get(body, "store_error")));
		code = EXIT_REFUSED;
	}
	if (!ctl->options.json &&
		(code == EXIT_OK || json_object_get(body, "reasons") ||
			json_object_get(body, "errors"))) {
		*ret_body = body;
		body = NULL;
	}
	json_decref(body);
	free(response.body);
	return code;
}

char *ctl_path(const char *path, const struct ctl_param *params, size_t count)
{
	char *whole = strdup(path), mark = '?';

	for (size_t i = 0; whole && i < count; i++) {
		char *value, *longer;

		if (!params[i].value)
			continue;
		value = encode(params[i].value);
		if (!value ||
			asprintf(&longer, "%s%c%s=%s", whole, mark, params[i].name, value) < 0)
			longer = NULL;
		free(value);
		free(whole);
		whole = longer;
		mark = '&';
	}
	return whole;
}

int ctl_call_with(struct ctl *ctl, const char *method, const char *path,
	const struct ctl_param *params, size_t count, json_t **ret_body)
{
	char *whole = ctl_path(path, params, count);
	int code;

	*ret_body = NULL;
	code = whole ? ctl_call(ctl, method, whole, ret_body) : ctl_complain("out of memory", NULL);
	free(whole);
	return code;
}

int ctl_call_for(struct ctl *ctl, const char *method, const char *path, const char *account,
	const char *node, json_t **ret_body)
{
	const struct ctl_param params[] = { { "identifier", account }, { "destination", node } };

	return ctl_call_with(ctl, method, path, params, ARRAY_SIZE(params), ret_body);
}

const char *ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

long long ctl_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}
