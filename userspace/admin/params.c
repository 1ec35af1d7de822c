// SPDX-License-Identifier: Apache-2.0
/* The parameters of a request, as the endpoint's row names them (ADM-21). */
#include "admin/request.h"

static bool decode(struct view text, char *to, size_t *ret_len)
{
	size_t n = 0;

	while (text.len) {
		int c = view_take_percent(&text);

		if (c < 0 || n == ADMIN_VALUE_BYTES)
			return false;
		to[n++] = (char)c;
	}
	to[n] = '\0';
	*ret_len = n;
	return true;
}

/* Returns NULL or the error text. */
static const char *take_pair(
	struct admin_request *request, const struct admin_endpoint *endpoint, struct view pair)
{
	const char *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
	struct view name;

	if (!equals)
		return "bad request";
	name = view_make(pair.data, (size_t)(equals - pair.data));
	for (int i = 0; endpoint->params[i]; i++) {
		struct admin_param *param = &request->params[i];

		if (!view_eq(name, view_str(endpoint->params[i])))
			continue;
		if (param->given)
			return "duplicate parameter";
		param->given = true;
		return decode(view_skip(pair, name.len + 1), param->value, &param->len)
			? NULL
			: "bad request";
	}
	return "unknown parameter";
}

const char *admin_take_query(
	struct admin_request *request, const struct admin_endpoint *endpoint, struct view query)
{
	const char *error = NULL;

	while (!error && query.len) {
		const char *amp = memchr(query.data, '&', query.len);
		size_t n = amp ? (size_t)(amp - query.data) : query.len;

		error = take_pair(request, endpoint, view_make(query.data, n));
		query = view_skip(query, n + 1);
		if (amp && !query.len && !error)
			error = "bad request";
	}
	return error;
}

bool admin_takes_only(struct admin_request *request, unsigned params)
{
	for (unsigned i = 0; i < ADMIN_PARAMS_MAX; i++) {
		if (request->params[i].given && !(params & BIT(i))) {
			admin_error(request->conn, 400, "unknown parameter");
			return false;
		}
	}
	return true;
}

unsigned admin_parse_limit(const struct admin_param *param, unsigned standard, unsigned most)
{
	uint64_t limit;

	if (!param->given)
		return standard;
	if (view_to_u64(view_make(param->value, param->len), &limit) < 0 || limit > most)
		return 0;
	return (unsigned)limit;
}
