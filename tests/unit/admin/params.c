// SPDX-License-Identifier: Apache-2.0
/* Parameters of a request as an endpoint's row names them (ADM-21), and limits. */
#include "unit.h"

#include "admin/request.h"

static const struct admin_endpoint endpoint = { "/x", METHOD_GET, { "identifier", "limit" }, NULL,
	false };

static const char *take(struct admin_request *request, const char *query)
{
	memset(request, 0, sizeof(*request));
	return admin_take_query(request, &endpoint, view_str(query));
}

static void test_ADM_21_values_are_decoded_in_the_order_of_the_row(void **state)
{
	static struct admin_request request;

	(void)state;
	assert_null(take(&request, "limit=5&identifier=a%40x%00b"));
	assert_true(request.params[0].given && request.params[1].given);
	assert_int_equal(request.params[0].len, 5);
	assert_memory_equal(request.params[0].value, "a@x\0b", 6);
	assert_string_equal(request.params[1].value, "5");
	assert_null(take(&request, ""));
	assert_false(request.params[0].given || request.params[1].given);
	assert_null(take(&request, "identifier="));
	assert_true(request.params[0].given);
	assert_int_equal(request.params[0].len, 0);
}

static void test_ADM_21_refusals(void **state)
{
	static const struct {
		const char *query, *error;
	} rows[] = { { "node=x", "unknown parameter" }, { "Limit=1", "unknown parameter" },
		{ "limit=1&limit=1", "duplicate parameter" }, { "limit", "bad request" },
		{ "limit=1&", "bad request" }, { "&limit=1", "bad request" },
		{ "limit=%4", "bad request" }, { "limit=%zz", "bad request" },
		{ "=1", "unknown parameter" } };
	static struct admin_request request;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *error = take(&request, rows[i].query);

		assert_non_null(error);
		assert_string_equal(error, rows[i].error);
	}
}

static void test_a_value_has_1024_bytes_at_most(void **state)
{
	static struct admin_request request;
	char query[6 + ADMIN_VALUE_BYTES + 2];

	(void)state;
	memset(query, 'x', sizeof(query));
	memcpy(query, "limit=", 6);
	query[sizeof(query) - 1] = '\0';
	assert_string_equal(take(&request, query), "bad request");
	query[sizeof(query) - 2] = '\0';
	assert_null(take(&request, query));
	assert_int_equal(request.params[1].len, ADMIN_VALUE_BYTES);
}

static unsigned limit_of(const char *text)
{
	struct admin_param param = { .given = text };

	if (text) {
		param.len = strlen(text);
		memcpy(param.value, text, param.len);
	}
	return admin_parse_limit(&param, 100, 1000);
}

static void test_limits(void **state)
{
	(void)state;
	assert_int_equal(limit_of(NULL), 100);
	assert_int_equal(limit_of("1"), 1);
	assert_int_equal(limit_of("1000"), 1000);
	assert_int_equal(limit_of("1001"), 0);
	assert_int_equal(limit_of("0"), 0);
	assert_int_equal(limit_of(""), 0);
	assert_int_equal(limit_of("-1"), 0);
	assert_int_equal(limit_of("18446744073709551617"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ADM_21_values_are_decoded_in_the_order_of_the_row),
		cmocka_unit_test(test_ADM_21_refusals),
		cmocka_unit_test(test_a_value_has_1024_bytes_at_most),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
