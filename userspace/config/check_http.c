// SPDX-License-Identifier: Apache-2.0
/* Routes: globs, regular expressions, where they lead. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "config/check.h"

#include <pcre2.h>

static bool regex_ok(struct loader *loader, const char *path, const char *regex)
{
	int error;
	PCRE2_SIZE offset;
	uint32_t groups = 0;
	pcre2_code *code =
		pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, 0, &error, &offset, NULL);

	if (!code) {
		PCRE2_UCHAR text[128];

		pcre2_get_error_message(error, text, sizeof(text));
		check_find(loader, true, path, "regex", "does not compile at offset %zu: %s",
			offset, (const char *)text);
		return false;
	}
	pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
	pcre2_code_free(code);
	if (!groups)
		check_find(loader, true, path, "regex", "has no capture group");
	return groups > 0;
}

/* http.md section 4. Returns what is wrong, or NULL. */
static const char *glob_fault(const char *glob)
{
	bool set = false, braces = false;

	for (const char *p = glob; *p; p++) {
		if (*p == '\\') {
			if (!*++p)
				return "ends with a backslash";
		} else if (set) {
			set = *p != ']' || p[-1] == '[';
		} else if (*p == '[') {
			set = true;
		} else if (*p == '{') {
			if (braces)
				return "nests { }";
			braces = true;
		} else if (*p == '}') {
			braces = false;
		}
	}
	return set ? "has an open [" : braces ? "has an open {" : NULL;
}

static void check_target(struct loader *loader, const char *path, const char *key, const char *name)
{
	const struct config_destination *destination =
		config_find_destination(loader->config, view_str(name));

	if (!destination)
		check_find(loader, true, path, key, "destination \"%s\" is not declared", name);
	else if (!destination->legs[PROTOCOL_HTTP].declared)
		check_find(loader, true, path, key, "destination \"%s\" declares no http", name);
}

static void check_extract(struct loader *loader, const struct config_route *route, size_t i)
{
	char path[KEYPATH_SIZE];
	bool body = route->from == CONFIG_EXTRACT_BODY, query = route->from == CONFIG_EXTRACT_QUERY,
	     header = route->from == CONFIG_EXTRACT_HEADER;

	snprintf(path, sizeof(path), "http.route[%zu].extract", i);
	if (body && !route->regex) /* 17 */
		check_find(loader, true, path, "regex", "from = \"body\" needs regex");
	if (query && !route->param)
		check_find(loader, true, path, "param", "from = \"query\" needs param");
	if (header && !route->header)
		check_find(loader, true, path, "header", "from = \"header\" needs header");
	if (route->regex) /* 18 */
		(void)!regex_ok(loader, path, route->regex);
	if ((route->param && !query) || (route->regex && !body) ||
		(route->header && !header)) /* 24 */
		check_find(
			loader, false, path, NULL, "a key here has no effect with this \"from\"");
}

static bool reaches_default(const struct config_route *route)
{
	return !route->destination && (!route->fallback || strcmp(route->fallback, "default") == 0);
}

static void check_route(struct loader *loader, size_t i, bool *after_all)
{
	const struct config *config = loader->config;
	const struct config_route *route = &config->http.routes[i];
	const struct config_destination *fallback = check_default(config);
	const char *fault = route->match ? glob_fault(route->match) : NULL;
	char path[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "http.route[%zu]", i);
	if (fault) /* 18 */
		check_find(loader, true, path, "match", "the glob %s", fault);
	if (route->destination) /* 15 */
		check_target(loader, path, "destination", route->destination);
	if (route->fallback && strcmp(route->fallback, "default") != 0)
		check_target(loader, path, "fallback", route->fallback);
	if (route->fallback && strcmp(route->fallback, "default") == 0 && fallback &&
		strcmp(fallback->name, "default") != 0 &&
		config_find_destination(config, VIEW_LIT("default"))) /* 16 */
		check_find(loader, true, path, "fallback",
			"ambiguous: a destination is called \"default\" and is not the default "
			"one");
	if (reaches_default(route) && fallback && !fallback->legs[PROTOCOL_HTTP].declared) /* 22 */
		check_find(loader, false, path, NULL,
			"the default destination \"%s\" declares no http", fallback->name);
	if (route->destination && (route->from || route->fallback)) /* 24 */
		check_find(loader, false, path, "destination", "wins over extract and fallback");
	if (config_is_set(config, path, "extract"))
		check_extract(loader, route, i);
	if (*after_all) /* 28 */
		check_find(loader, false, path, NULL,
			"is never reached: an earlier route matches everything");
	*after_all |= route->match && strcmp(route->match, "/**") == 0;
}

void check_http(struct loader *loader)
{
	const struct config *config = loader->config;
	bool after_all = false;

	if (check_any_listener(config, PROTOCOL_HTTP) && !config->http.route_count) /* 21 */
		check_find(loader, false, "http", NULL, "no route: every request gets 404");
	for (size_t i = 0; i < config->http.route_count; i++)
		check_route(loader, i, &after_all);
}
