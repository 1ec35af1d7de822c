// SPDX-License-Identifier: Apache-2.0
/* Globs as automata: all states that could hold are followed at once. */
#include "route/glob.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_STATES 2048
#define SET_BYTES 32

enum kind {
	ONE,   /* this byte, then the next state */
	ANY,   /* any byte */
	SET,   /* a byte of the set */
	SPLIT, /* the next state and the target */
	JUMP,  /* the target */
	REST,  /* whatever follows */
	END,
};

struct state {
	enum kind kind;
	uint16_t target;
	unsigned char byte;
	unsigned char *set; /* owned */
};

struct glob {
	size_t count;
	struct state states[];
};

/* ---- compiling ---- */

struct compiler {
	const char *start, *p, *fault;
	size_t count;
	struct state states[MAX_STATES];
};

static struct state *add(struct compiler *compiler, enum kind kind)
{
	if (compiler->count == MAX_STATES - 1) { /* one is left for END */
		compiler->fault = "is too long";
		return &compiler->states[0];
	}
	compiler->states[compiler->count] = (struct state){ .kind = kind };
	return &compiler->states[compiler->count++];
}

static void add_star(struct compiler *compiler)
{
	size_t at = compiler->count;

	add(compiler, SPLIT)->target = (uint16_t)(at + 3);
	add(compiler, ANY);
	add(compiler, JUMP)->target = (uint16_t)at;
}

/* Behind the first star of the ** in "/" "**" "/": any directories, or none. */
static bool add_directories(struct compiler *compiler)
{
	const char *star = compiler->p - 1;
	size_t at = compiler->count;

	if (star == compiler->start || star[-1] != '/' || star[1] != '*' || star[2] != '/')
		return false;
	add(compiler, SPLIT)->target = (uint16_t)(at + 5);
	add_star(compiler);
	add(compiler, ONE)->byte = '/';
	compiler->p += 2;
	return true;
}

static void set_range(unsigned char *set, unsigned char from, unsigned char to)
{
	for (unsigned c = from; c <= to; c++)
		set[c / 8] |= (unsigned char)BIT(c % 8);
}

/* One character of a set, its escape taken off. Returns false at the end of the pattern. */
static bool set_char(struct compiler *compiler, unsigned char *ret_char)
{
	if (*compiler->p == '\\')
		compiler->p++;
	if (!*compiler->p)
		return false;
	*ret_char = (unsigned char)*compiler->p++;
	return true;
}

static bool set_members(struct compiler *compiler, unsigned char *set)
{
	bool first = true;
	unsigned char from, to;

	while (first || *compiler->p != ']') {
		first = false;
		if (!set_char(compiler, &from))
			return false;
		to = from;
		if (compiler->p[0] == '-' && compiler->p[1] && compiler->p[1] != ']') {
			compiler->p++;
			if (!set_char(compiler, &to))
				return false;
		}
		set_range(set, from, to);
	}
	compiler->p++;
	return true;
}

/* Behind the [. */
static void add_set(struct compiler *compiler)
{
	struct state *state = add(compiler, SET);
	bool negated = *compiler->p == '!' || *compiler->p == '^';

	if (compiler->fault)
		return;
	state->set = calloc(1, SET_BYTES);
	if (!state->set) {
		compiler->fault = "";
		return;
	}
	compiler->p += negated;
	if (!set_members(compiler, state->set))
		compiler->fault = "has an open [";
	for (size_t i = 0; negated && i < SET_BYTES; i++)
		state->set[i] = (unsigned char)~state->set[i];
}

static void compile_item(struct compiler *compiler)
{
	char c = *compiler->p++;

	switch (c) {
	case '?':
		add(compiler, ANY);
		break;
	case '*':
		if (add_directories(compiler))
			break;
		while (*compiler->p == '*')
			compiler->p++;
		add_star(compiler);
		break;
	case '[':
		add_set(compiler);
		break;
	case '\\':
		if (!*compiler->p) {
			compiler->fault = "ends with a backslash";
			return;
		}
		c = *compiler->p++;
		/* fall through */
	default:
		add(compiler, ONE)->byte = (unsigned char)c;
	}
}

/* Behind the {: every alternative ends with a jump behind the last; the jumps are chained by their
 * targets until it is known where that is. */
static void compile_alternatives(struct compiler *compiler)
{
	uint16_t chain = 0;
	size_t split, at;

	for (;;) {
		split = compiler->count;
		add(compiler, SPLIT);
		while (*compiler->p && !strchr(",{}", *compiler->p) && !compiler->fault)
			compile_item(compiler);
		if (!compiler->fault && *compiler->p != ',' && *compiler->p != '}')
			compiler->fault = *compiler->p ? "nests { }" : "has an open {";
		if (compiler->fault)
			return;
		at = compiler->count;
		add(compiler, JUMP)->target = chain;
		chain = (uint16_t)at;
		compiler->states[split].target = (uint16_t)compiler->count;
		if (*compiler->p++ == '}')
			break;
	}
	compiler->states[split].kind = JUMP; /* the last has no other beside it */
	compiler->states[split].target = (uint16_t)(split + 1);
	while (chain) {
		at = chain;
		chain = compiler->states[at].target;
		compiler->states[at].target = (uint16_t)compiler->count;
	}
}

static void compile(struct compiler *compiler)
{
	while (*compiler->p && !compiler->fault) {
		if (*compiler->p == '{') {
			compiler->p++;
			compile_alternatives(compiler);
		} else if (strspn(compiler->p, "*") == strlen(compiler->p)) {
			add(compiler, REST);
			return;
		} else {
			compile_item(compiler);
		}
	}
	compiler->states[compiler->count++] = (struct state){ .kind = END };
}

static void free_sets(struct state *states, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(states[i].set);
}

int glob_new(const char *pattern, struct glob **ret_glob, const char **ret_fault)
{
	struct compiler *compiler = calloc(1, sizeof(*compiler));
	struct glob *glob = NULL;
	int r = -ENOMEM;

	*ret_fault = "out of memory";
	if (!compiler)
		return r;
	compiler->start = compiler->p = pattern;
	compile(compiler);
	if (!compiler->fault)
		glob = malloc(sizeof(*glob) + compiler->count * sizeof(struct state));
	if (glob) {
		glob->count = compiler->count;
		memcpy(glob->states, compiler->states, compiler->count * sizeof(struct state));
		*ret_glob = glob;
		r = 0;
	} else {
		if (compiler->fault && *compiler->fault) {
			*ret_fault = compiler->fault;
			r = -EINVAL;
		}
		free_sets(compiler->states, compiler->count);
	}
	free(compiler);
	return r;
}

void glob_free(struct glob *glob)
{
	if (!glob)
		return;
	free_sets(glob->states, glob->count);
	free(glob);
}

/* ---- matching ---- */

struct states {
	size_t count;
	uint16_t at[MAX_STATES];
};

/* Adds a state and what it leads to without a byte. seen: of this step, so that no state is
 * followed twice. Returns true if the rest of the text does not matter. */
static bool follow(const struct glob *glob, struct states *states, uint32_t *seen, uint32_t step,
	uint16_t first)
{
	uint16_t todo[MAX_STATES] UNINITIALIZED;
	size_t count = 0;

	todo[count++] = first;
	while (count) {
		uint16_t at = todo[--count];
		const struct state *state = &glob->states[at];

		if (seen[at] == step)
			continue;
		seen[at] = step;
		if (state->kind == REST)
			return true;
		if (state->kind == SPLIT && seen[at + 1] != step)
			todo[count++] = (uint16_t)(at + 1);
		if (state->kind == SPLIT || state->kind == JUMP) {
			if (seen[state->target] != step)
				todo[count++] = state->target;
		} else {
			states->at[states->count++] = at;
		}
	}
	return false;
}

static bool takes(const struct state *state, unsigned char c)
{
	switch (state->kind) {
	case ONE:
		return state->byte == c;
	case ANY:
		return true;
	case SET:
		return state->set[c / 8] & BIT(c % 8);
	default:
		return false;
	}
}

bool glob_match(const struct glob *glob, struct view text)
{
	struct states a UNINITIALIZED, b UNINITIALIZED, *now = &a, *next = &b;
	uint32_t seen[MAX_STATES] UNINITIALIZED;

	memset(seen, 0, glob->count * sizeof(seen[0]));
	a.count = 0;
	if (follow(glob, now, seen, 1, 0))
		return true;
	for (size_t i = 0; i < text.len && now->count; i++) {
		struct states *swap = now;

		next->count = 0;
		for (size_t k = 0; k < now->count; k++) {
			uint16_t at = now->at[k];

			if (takes(&glob->states[at], (unsigned char)text.data[i]) &&
				follow(glob, next, seen, (uint32_t)i + 2, (uint16_t)(at + 1)))
				return true;
		}
		now = next;
		next = swap;
	}
	for (size_t k = 0; k < now->count; k++) {
		if (glob->states[now->at[k]].kind == END)
			return true;
	}
	return false;
}
