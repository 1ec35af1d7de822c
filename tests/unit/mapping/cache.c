// SPDX-License-Identifier: Apache-2.0
/* What the cache of answers keeps, and what goes first: MAP-84, MAP-104. */
#include "unit.h"

#include "mapping/cache.h"

static void test_MAP_84_bound_and_order_of_eviction(void **state)
{
	struct cache_answer got;
	struct cache *cache;
	uint64_t fresh, stale;
	char account[16];

	(void)state;
	assert_int_equal(cache_new(10, 100000, &cache), 0);
	cache_put(cache, VIEW_LIT("old"), 0, CACHE_POSITIVE, 1, 10, 1000); /* stale from 1010 on */
	cache_put(cache, VIEW_LIT("hot"), 0, CACHE_POSITIVE, 1, 100000, 1000);
	for (int i = 0; i < 40; i++) {
		snprintf(account, sizeof(account), "u%d", i);
		cache_put(cache, view_str(account), 0, CACHE_POSITIVE, 1, 100000, 2000);
		assert_true(cache_get(cache, VIEW_LIT("hot"), 2000, &got)); /* used: stays */
		cache_count(cache, 2000, &fresh, &stale);
		assert_true(fresh + stale <= 10);
		if (i == 8) /* the stale one went first, no fresh one before it */
			assert_int_equal(fresh, 10);
	}
	assert_true(cache_get(cache, VIEW_LIT("u39"), 2000, &got));
	assert_false(cache_get(cache, VIEW_LIT("u1"), 2000, &got));
	assert_int_equal(cache_drop_all(cache), 10);
	cache_free(cache);
}

/* Where everything has been used since, the oldest goes after a bounded search. */
static void test_MAP_84_all_used(void **state)
{
	struct cache_answer got;
	struct cache *cache;
	uint64_t fresh, stale;
	char account[16];

	(void)state;
	assert_int_equal(cache_new(200, 100000, &cache), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(account, sizeof(account), "u%d", i);
		cache_put(cache, view_str(account), 0, CACHE_POSITIVE, 1, 100000, 1000);
		for (int k = 0; k < 1000; k++) {
			snprintf(account, sizeof(account), "u%d", k);
			(void)cache_get(cache, view_str(account), 1000, &got);
		}
		cache_count(cache, 1000, &fresh, &stale);
		assert_int_equal(fresh, i < 200 ? i + 1 : 200);
	}
	cache_free(cache);
}

static unsigned usable(struct cache *cache, unsigned known, uint64_t now_ms)
{
	unsigned count = 0;
	uint16_t destination;
	char account[16];

	for (unsigned i = 0; i < known; i++) {
		snprintf(account, sizeof(account), "known%u", i);
		count += cache_get_stale(cache, view_str(account), now_ms, &destination);
	}
	return count;
}

/* Names that anybody can make up: while the store is away they take no place that is taken;
 * while it answers, a quarter at most. */
static void test_MAP_84_unknown_names_leave_the_fallback(void **state)
{
	static const struct {
		enum cache_kind kind;
		unsigned known, left;
	} cases[] = {
		{ CACHE_TRANSIENT, 100, 100 }, { CACHE_TRANSIENT, 800, 800 },
		{ CACHE_TRANSIENT, 1000, 1000 }, { CACHE_NEGATIVE, 700, 700 },
		{ CACHE_NEGATIVE, 1000, 999 }, /* one place, taken again and again */
	};
	struct cache_answer got;
	uint64_t fresh, stale;
	struct cache *cache;
	char account[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(cache_new(1000, 100000, &cache), 0);
		for (unsigned k = 0; k < cases[i].known; k++) {
			snprintf(account, sizeof(account), "known%u", k);
			cache_put(cache, view_str(account), 0, CACHE_POSITIVE, 1, 10, 1000);
		}
		for (unsigned k = 0; k < 1100; k++) {
			snprintf(account, sizeof(account), "anon%u", k);
			cache_put(cache, view_str(account), 0, cases[i].kind, 0, 5000, 2000);
			cache_count(cache, 2000, &fresh, &stale);
			assert_true(fresh <= 250 && fresh + stale <= 1000);
		}
		assert_int_equal(usable(cache, cases[i].known, 2000), cases[i].left);
		/* The latest of them is there if any is, and room for known ones is made of
		 * them. */
		assert_int_equal(cache_get(cache, VIEW_LIT("anon1099"), 2000, &got), fresh > 0);
		cache_count(cache, 2000, &fresh, &stale);
		for (unsigned k = 0; k < fresh + 1000 - (fresh + stale); k++) {
			snprintf(account, sizeof(account), "new%u", k);
			cache_put(cache, view_str(account), 0, CACHE_POSITIVE, 1, 10000, 2000);
		}
		assert_int_equal(usable(cache, cases[i].known, 2000), cases[i].left);
		assert_false(cache_get(cache, VIEW_LIT("anon1099"), 2000, &got));
		cache_free(cache);
	}
}

/* A smaller cache keeps the share. */
static void test_MAP_84_the_share_after_a_reload(void **state)
{
	uint64_t fresh, stale;
	struct cache *cache;
	char account[16];

	(void)state;
	assert_int_equal(cache_new(1000, 0, &cache), 0);
	for (unsigned k = 0; k < 400; k++) {
		snprintf(account, sizeof(account), "anon%u", k);
		cache_put(cache, view_str(account), 0, k % 2 ? CACHE_TRANSIENT : CACHE_NEGATIVE, 0,
			5000, 0);
	}
	cache_count(cache, 0, &fresh, &stale);
	assert_int_equal(fresh, 250);
	cache_configure(cache, 100, 0);
	cache_count(cache, 0, &fresh, &stale);
	assert_int_equal(fresh, 25);
	cache_free(cache);
}

static void test_MAP_104_expire_all(void **state)
{
	struct cache_answer got;
	struct cache *cache;
	uint16_t destination;

	(void)state;
	assert_int_equal(cache_new(100, 1000, &cache), 0);
	cache_put(cache, VIEW_LIT("a"), 0, CACHE_POSITIVE, 1, 5000, 0);
	cache_put(cache, VIEW_LIT("b"), 0, CACHE_NEGATIVE, 0, 5000, 0);
	cache_expire_all(cache, 100);
	assert_false(cache_get(cache, VIEW_LIT("a"), 100, &got));
	assert_true(cache_get_stale(cache, VIEW_LIT("a"), 100, &destination));
	assert_false(cache_get_stale(cache, VIEW_LIT("a"), 1101, &destination));
	assert_false(cache_get_stale(cache, VIEW_LIT("b"), 100, &destination));
	cache_free(cache);
}

int main(void)

{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_84_bound_and_order_of_eviction),
		cmocka_unit_test(test_MAP_84_all_used),
		cmocka_unit_test(test_MAP_84_unknown_names_leave_the_fallback),
		cmocka_unit_test(test_MAP_84_the_share_after_a_reload),
		cmocka_unit_test(test_MAP_104_expire_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
