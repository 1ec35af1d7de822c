// SPDX-License-Identifier: Apache-2.0
/* Routes: globs, regular expressions, where they lead. */
#include "config/check.h"
#include "route/glob.h"
#include "route/regex.h"

static void check_regex(struct loader *loader, const char *path, const char *pattern)
{
	char error[REGEX_ERROR_SIZE];
	struct regex *regex = NULL;

	if (regex_new(pattern, &regex, error) < 0)
		check_find(loader, true, path, "regex", "%s", error);
	regex_free(regex);
}

static void check_glob(struct loader *loader, const char *path, const char *pattern)
{
	struct glob *glob = NULL;
	const char *fault;

	if (glob_new(pattern, &glob, &fault) < 0)
		check_find(loader, true, path, "match", "the glob %s", fault);
	glob_free(glob);
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
		check_regex(loader, path, route->regex);
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
	char path[KEYPATH_SIZE];

	snprintf(path, sizeof(path), "http.route[%zu]", i);
	if (route->match) /* 18 */
		check_glob(loader, path, route->match);
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
