// SPDX-License-Identifier: Apache-2.0
/* The table of routes, and identifiers from requests. */
#include "route/route.h"
#include "base/buf.h"
#include "base/base64.h"
#include "identity/token.h"
#include "route/digest.h"
#include "route/glob.h"
#include "route/regex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct route {
	struct route_spec spec;
	struct glob *glob;
	struct regex *regex;
};

struct route_table {
	size_t count;
	struct route routes[];
};

/* ---- the table ---- */

static int make_route(struct route *route, char error[ROUTE_ERROR_SIZE])
{
	const char *fault;
	char text[REGEX_ERROR_SIZE];
	int r = glob_new(route->spec.match, &route->glob, &fault);

	if (r < 0) {
		snprintf(error, ROUTE_ERROR_SIZE, "the glob %s", fault);
		return r;
	}
	if (route->spec.from != ROUTE_BODY)
		return 0;
	r = regex_new(route->spec.regex, &route->regex, text);
	if (r < 0)
		snprintf(error, ROUTE_ERROR_SIZE, "the regex %s", text);
	return r;
}

int route_table_new(const struct route_spec *specs, size_t count, struct route_table **ret_table,
	char error[ROUTE_ERROR_SIZE])
{
	struct route_table *table = calloc(1, sizeof(*table) + count * sizeof(struct route));
	int r = 0;

	snprintf(error, ROUTE_ERROR_SIZE, "out of memory");
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		table->routes[i].spec = specs[i];
		table->count++;
		r = make_route(&table->routes[i], error);
	}
	if (r < 0) {
		route_table_free(table);
		return r;
	}
	*ret_table = table;
	return 0;
}

void route_table_free(struct route_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++) {
		glob_free(table->routes[i].glob);
		regex_free(table->routes[i].regex);
	}
	free(table);
}

static struct view query_of(struct view target)
{
	const char *mark = target.len ? memchr(target.data, '?', target.len) : NULL;

	return mark ? view_skip(target, (size_t)(mark - target.data) + 1) : view_make("", 0);
}

static struct view path_of(struct view target)
{
	const char *mark = target.len ? memchr(target.data, '?', target.len) : NULL;

	if (view_eq(target, VIEW_LIT("*")))
		return VIEW_LIT("/");
	return mark ? view_make(target.data, (size_t)(mark - target.data)) : target;
}

int route_find(const struct route_table *table, struct view target)
{
	struct view path = path_of(target), bare = path;

	while (bare.len > 1 && bare.data[bare.len - 1] == '/')
		bare.len--;
	for (size_t i = 0; i < table->count; i++) {
		if (glob_match(table->routes[i].glob, path) ||
			(bare.len != path.len && glob_match(table->routes[i].glob, bare)))
			return (int)i;
	}
	return -1;
}

/* ---- decoding ---- */

/* '+' is a blank; %xx a byte; bad escapes stay as they are. */
static int form_decode(struct view v, struct buf *out)
{
	int r = 0;

	while (r == 0 && v.len) {
		char first = v.data[0];
		int c = view_take_percent(&v);

		if (c < 0)
			v = view_skip(v, 1);
		if (c < 0 || first == '+')
			c = first == '+' ? ' ' : first;
		r = buf_append(out, &(char){ (char)c }, 1);
	}
	return r;
}

static int name_to_account(
	const struct route_rules *rules, struct view name, struct identity *ret_identity)
{
	return identity_login(rules->identity, name, ret_identity) < 0 ? ROUTE_REJECTED
								       : ROUTE_FOUND;
}

/* ---- authorization ---- */

/* The account that a bearer token speaks of: the rules that OAuth logins use (sessions.md section
 * 6). */
static int from_token(
	const struct route_rules *rules, struct view token, struct identity *ret_identity)
{
	struct buf login;
	int r;

	buf_init(&login, IDENTITY_LOGIN_BYTES, false);
	r = identity_token(rules->jwt_claim, token, &login);
	if (r == IDENTITY_NO_LOGIN)
		r = ROUTE_NOTHING;
	else if (r == -ENOBUFS)
		r = ROUTE_REJECTED;
	else if (r == 0)
		r = name_to_account(rules, buf_view(&login), ret_identity);
	buf_fini(&login);
	return r;
}

static int from_basic(
	const struct route_rules *rules, struct view text, struct identity *ret_identity)
{
	struct buf decoded;
	struct view login;
	const char *colon;
	int r;

	buf_init(&decoded, 0, true);
	r = base64_decode(text, &decoded);
	if (r == -EINVAL) {
		r = ROUTE_NOTHING;
	} else if (r == 0) {
		login = buf_view(&decoded);
		colon = login.len ? memchr(login.data, ':', login.len) : NULL;
		if (colon)
			login.len = (size_t)(colon - login.data);
		r = name_to_account(rules, login, ret_identity);
	}
	buf_fini(&decoded);
	return r;
}

static int from_digest(
	const struct route_rules *rules, struct view params, struct identity *ret_identity)
{
	struct buf login;
	int r;

	buf_init(&login, IDENTITY_LOGIN_BYTES, false);
	r = digest_username(params, &login);
	if (r == DIGEST_NOTHING)
		r = ROUTE_NOTHING;
	else if (r == DIGEST_AMBIGUOUS)
		r = ROUTE_AMBIGUOUS;
	else if (r == -ENOBUFS)
		r = ROUTE_REJECTED;
	else if (r == DIGEST_FOUND)
		r = name_to_account(rules, buf_view(&login), ret_identity);
	buf_fini(&login);
	return r;
}

/* "Scheme value" with one or more blanks between. */
static int from_authorization(const struct route_rules *rules, const struct http_head *head,
	struct identity *ret_identity)
{
	const struct http_field *field;
	struct view scheme, rest;
	const char *blank;
	size_t count;

	field = http_head_field(head, "Authorization", &count);
	if (!field)
		return ROUTE_NOTHING;
	if (count > 1)
		return ROUTE_AMBIGUOUS;
	blank = field->value.len ? memchr(field->value.data, ' ', field->value.len) : NULL;
	if (!blank)
		return ROUTE_NOTHING;
	scheme = view_make(field->value.data, (size_t)(blank - field->value.data));
	rest = view_skip(field->value, scheme.len);
	while (rest.len && rest.data[0] == ' ')
		rest = view_skip(rest, 1);
	if (view_eq_nocase(scheme, VIEW_LIT("Basic")))
		return from_basic(rules, rest, ret_identity);
	if (view_eq_nocase(scheme, VIEW_LIT("Bearer")))
		return from_token(rules, rest, ret_identity);
	if (view_eq_nocase(scheme, VIEW_LIT("Digest")))
		return from_digest(rules, rest, ret_identity);
	return ROUTE_NOTHING;
}

/* ---- the others ---- */

static int decode_account(
	const struct route_rules *rules, struct view text, struct identity *ret_identity)
{
	struct buf decoded = { 0 };
	int r = form_decode(text, &decoded);

	if (r == 0)
		r = name_to_account(rules, buf_view(&decoded), ret_identity);
	buf_fini(&decoded);
	return r;
}

static bool decodes_to(struct view text, const char *name)
{
	struct buf decoded = { 0 };
	bool same = form_decode(text, &decoded) == 0 && view_eq(buf_view(&decoded), view_str(name));

	buf_fini(&decoded);
	return same;
}

static int from_query(const struct route_rules *rules, const char *param, struct view query,
	struct identity *ret_identity)
{
	while (query.len) {
		const char *end = memchr(query.data, '&', query.len);
		size_t len = end ? (size_t)(end - query.data) : query.len;
		const char *equals = memchr(query.data, '=', len);
		size_t name = equals ? (size_t)(equals - query.data) : len;

		if (decodes_to(view_make(query.data, name), param))
			return decode_account(rules,
				equals ? view_make(equals + 1, len - name - 1) : VIEW_LIT(""),
				ret_identity);
		query = view_skip(query, len + 1);
	}
	return ROUTE_NOTHING;
}

static int from_header(const struct route_rules *rules, const char *name,
	const struct http_head *head, struct identity *ret_identity)
{
	size_t count;
	const struct http_field *field = http_head_field(head, name, &count);

	if (!field)
		return ROUTE_NOTHING;
	if (count > 1)
		return ROUTE_AMBIGUOUS;
	return field->value.len ? name_to_account(rules, field->value, ret_identity)
				: ROUTE_NOTHING;
}

static int from_body(const struct route_rules *rules, const struct regex *regex, struct view body,
	struct identity *ret_identity)
{
	struct view group;
	int r = regex_match(regex, body, &group);

	if (r == REGEX_LIMITED)
		return ROUTE_LIMITED;
	if (r == REGEX_NO_MATCH || !group.len)
		return ROUTE_NOTHING;
	return decode_account(rules, group, ret_identity);
}

int route_extract(const struct route_table *table, int route, const struct route_rules *rules,
	const struct http_head *head, struct view body, struct identity *ret_identity)
{
	const struct route *r = &table->routes[route];

	switch (r->spec.from) {
	case ROUTE_AUTHORIZATION:
		return from_authorization(rules, head, ret_identity);
	case ROUTE_QUERY:
		return from_query(rules, r->spec.param, query_of(head->target), ret_identity);
	case ROUTE_BODY:
		return from_body(rules, r->regex, body, ret_identity);
	case ROUTE_HEADER:
		return from_header(rules, r->spec.header, head, ret_identity);
	default:
		return ROUTE_NOTHING;
	}
}
