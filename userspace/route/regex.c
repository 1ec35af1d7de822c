// SPDX-License-Identifier: Apache-2.0
/* PCRE2 with limits. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "route/regex.h"

#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#define MATCH_LIMIT 1000000
#define DEPTH_LIMIT 100000
#define HEAP_LIMIT_KIB 16384
#define JIT_STACK_BYTES ((size_t)4 * 1024 * 1024)

struct regex {
	pcre2_code *code;
};

/* What one match needs beside the code. */
struct match {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

void regex_free(struct regex *regex)
{
	if (!regex)
		return;
	pcre2_code_free(regex->code);
	free(regex);
}

static int compile(const char *pattern, struct regex *regex, char error[REGEX_ERROR_SIZE])
{
	int code;
	PCRE2_SIZE offset;
	uint32_t groups = 0;

	regex->code =
		pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &offset, NULL);
	if (!regex->code) {
		PCRE2_UCHAR text[128];

		pcre2_get_error_message(code, text, sizeof(text));
		snprintf(error, REGEX_ERROR_SIZE, "does not compile at offset %zu: %s", offset,
			(const char *)text);
		return -EINVAL;
	}
	pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	if (!groups) {
		snprintf(error, REGEX_ERROR_SIZE, "has no capture group");
		return -EINVAL;
	}
	return 0;
}

int regex_new(const char *pattern, struct regex **ret_regex, char error[REGEX_ERROR_SIZE])
{
	struct regex *regex = calloc(1, sizeof(*regex));
	int r = -ENOMEM;

	snprintf(error, REGEX_ERROR_SIZE, "out of memory");
	if (!regex)
		return r;
	r = compile(pattern, regex, error);
	if (r < 0) {
		regex_free(regex);
		return r;
	}
	/* Where there is no JIT the interpreter does the same. */
	(void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
	*ret_regex = regex;
	return 0;
}

static bool match_init(struct match *match)
{
	match->data = pcre2_match_data_create(2, NULL);
	match->context = pcre2_match_context_create(NULL);
	match->stack = pcre2_jit_stack_create(32768, JIT_STACK_BYTES, NULL);
	if (!match->data || !match->context || !match->stack)
		return false;
	pcre2_set_match_limit(match->context, MATCH_LIMIT);
	pcre2_set_depth_limit(match->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(match->context, HEAP_LIMIT_KIB);
	pcre2_jit_stack_assign(match->context, NULL, match->stack);
	return true;
}

static void match_fini(struct match *match)
{
	pcre2_match_data_free(match->data);
	pcre2_match_context_free(match->context);
	pcre2_jit_stack_free(match->stack);
}

int regex_match(const struct regex *regex, struct view text, struct view *ret_group)
{
	struct match match = { 0 };
	int r = PCRE2_ERROR_NOMEMORY;

	*ret_group = view_make("", 0);
	if (match_init(&match))
		r = pcre2_match(regex->code, (PCRE2_SPTR)(text.data ? text.data : ""), text.len, 0,
			0, match.data, match.context);
	if (r >= 0) {
		const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match.data);

		/* \K may put the end in front. */
		if (ends[2] != PCRE2_UNSET && ends[3] > ends[2])
			*ret_group = view_make(text.data + ends[2], ends[3] - ends[2]);
	}
	match_fini(&match);
	if (r >= 0)
		return REGEX_MATCH;
	/* The others: limits of matches, depth, heap, the JIT's stack. */
	return r == PCRE2_ERROR_NOMATCH ? REGEX_NO_MATCH : REGEX_LIMITED;
}
