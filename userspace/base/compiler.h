// SPDX-License-Identifier: Apache-2.0
/* Compiler helpers used everywhere: attributes, cleanup, containers. No code. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(a, b) __attribute__((format(printf, a, b)))
/* Runs fn(&variable) when the variable goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define UNUSED __attribute__((unused))
/* A large array that is written before it is read, where often: -ftrivial-auto-var-init would clear
 * all of it in each call. Nothing for compilers that do not know it: they know no such flag
 * either. */
#ifdef __has_attribute
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#endif
#endif
#ifndef UNINITIALIZED
#define UNINITIALIZED
#endif

#define BIT(n) (1u << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
/* Each argument is evaluated once; they must have the same type. */
#define COMPARE_UNIQUE(a, op, b, x, y) \
	({                             \
		__auto_type x = (a);   \
		__auto_type y = (b);   \
		(void)(&x == &y);      \
		x op y ? x : y;        \
	})
#define COMPARE_NAMED(a, op, b, n) COMPARE_PASTE(a, op, b, n)
#define COMPARE_PASTE(a, op, b, n) COMPARE_UNIQUE(a, op, b, compare_x##n, compare_y##n)
#define MIN(a, b) COMPARE_NAMED(a, <, b, __COUNTER__)
#define MAX(a, b) COMPARE_NAMED(a, >, b, __COUNTER__)

#endif
