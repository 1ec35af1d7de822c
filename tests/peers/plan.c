// SPDX-License-Identifier: Apache-2.0
/* A plan as text: words, each KEY=VALUE; lists are AT:VALUE with commas. */
#include "base/compiler.h"
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct suite suites[SUITES] = {
	{ "12-aes128", false, AES_128_GCM },
	{ "12-aes256", false, AES_256_GCM },
	{ "12-chacha", false, CHACHA20_POLY1305 },
	{ "13-aes128", true, AES_128_GCM },
	{ "13-aes256", true, AES_256_GCM },
	{ "13-chacha", true, CHACHA20_POLY1305 },
};

static const struct suite *find_suite(const char *name)
{
	for (int i = 0; i < SUITES; i++) {
		if (strcmp(suites[i].name, name) == 0)
			return &suites[i];
	}
	return NULL;
}

/* AT:ACTION or AT:NUMBER, with commas between. Returns 0 or -EINVAL. */
static int parse_events(const char *text, bool numbers, struct event *events, unsigned *count)
{
	char *end;

	for (*count = 0; *text; (*count)++) {
		struct event *event = &events[*count];

		if (*count == EVENTS_MAX)
			return -EINVAL;
		event->at = strtoull(text, &end, 10);
		if (*end++ != ':' || !*end)
			return -EINVAL;
		if (numbers)
			event->value = (unsigned)strtoul(end, &end, 10);
		else
			event->action = *end++;
		if (*end && *end != ',')
			return -EINVAL;
		text = *end ? end + 1 : end;
	}
	return 0;
}

static int parse_number(struct plan *plan, const char *key, uint64_t value)
{
	const struct {
		const char *key;
		uint64_t *wide;
		unsigned *narrow;
	} rows[] = {
		{ "n", NULL, &plan->number },
		{ "seed", NULL, &plan->seed },
		{ "send", &plan->send, NULL },
		{ "receive", &plan->receive, NULL },
		{ "early", &plan->early, NULL },
		{ "rest_send", &plan->rest_send, NULL },
		{ "rest_receive", &plan->rest_receive, NULL },
		{ "chunk", NULL, &plan->chunk },
		{ "padding", NULL, &plan->padding },
		{ "limit", NULL, &plan->limit },
		{ "buffer", NULL, &plan->buffer },
	};

	if (strcmp(key, "ends") == 0) {
		plan->ends = value;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].key, key) != 0)
			continue;
		if (rows[i].wide)
			*rows[i].wide = value;
		else
			*rows[i].narrow = (unsigned)value;
		return 0;
	}
	return -EINVAL;
}

static int parse_word(struct plan *plan, const char *key, const char *value)
{
	if (strcmp(key, "do") == 0)
		return parse_events(value, false, plan->events, &plan->event_count);
	if (strcmp(key, "stall") == 0)
		return parse_events(value, true, plan->stalls, &plan->stall_count);
	if (strcmp(key, "account") == 0) {
		snprintf(plan->account, sizeof(plan->account), "%s", value);
		return 0;
	}
	if (strcmp(key, "suite") == 0) {
		plan->suite = find_suite(value);
		return plan->suite ? 0 : -EINVAL;
	}
	return parse_number(plan, key, strtoull(value, NULL, 10));
}

int plan_parse(const char *text, struct plan *ret_plan)
{
	char *copy = strdup(text), *save = NULL;
	int r = copy ? 0 : -ENOMEM;

	*ret_plan = (struct plan){ .chunk = 4096 };
	for (char *word = copy ? strtok_r(copy, " \r\n", &save) : NULL; word && r == 0;
		word = strtok_r(NULL, " \r\n", &save)) {
		char *equals = strchr(word, '=');

		if (!equals) {
			r = -EINVAL;
			break;
		}
		*equals = '\0';
		r = parse_word(ret_plan, word, equals + 1);
	}
	free(copy);
	return r;
}
