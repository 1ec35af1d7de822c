// SPDX-License-Identifier: Apache-2.0
/* What every back tells of a node that is not as it should be: whether it has greeted, which is
 * what the breaker goes by (SES-50), and the cause in words where the node's own line does not say
 * it (OPS-13). */
#include "dialogue/dialogue.h"

static const struct row {
	const struct back_ops *ops;
	const char *node;
	int result;
	bool greeted;
	const char *cause;
} rows[] = {
	{ &imap_back_ops, "* OK [CAPABILITY IMAP4rev1] hello\r\n", BACK_FAILED, true, "STARTTLS" },
	{ &imap_back_ops, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n", PROTO_AGAIN, true,
		NULL },
	{ &imap_back_ops, "* BYE full\r\n", BACK_FAILED, false, NULL },
	{ &imap_back_ops, "* PREAUTH hello\r\n", BACK_FAILED, false, NULL },
	{ &imap_back_ops, "+OK hello\r\n", BACK_FAILED, false, NULL },
	{ &imap_back_ops, "* OK hel", PROTO_MORE, false, NULL },
	{ &pop3_back_ops, "+OK hello\r\n", PROTO_AGAIN, true, NULL },
	{ &pop3_back_ops, "+OK hello\r\n+OK\r\nUIDL\r\n.\r\n", BACK_FAILED, true, "STARTTLS" },
	{ &pop3_back_ops, "-ERR full\r\n", BACK_FAILED, false, NULL },
	{ &pop3_back_ops, "* OK hello\r\n", BACK_FAILED, false, NULL },
	{ &sieve_back_ops, "\"SASL\" \"PLAIN\"\r\n", PROTO_AGAIN, false, NULL },
	{ &sieve_back_ops, "\"SASL\" \"PLAIN\"\r\nOK\r\n", BACK_FAILED, true, "STARTTLS" },
	{ &sieve_back_ops, "BYE \"full\"\r\n", BACK_FAILED, false, NULL },
	{ &smtp_back_ops, "220-hello\r\n", PROTO_AGAIN, false, NULL },
	{ &smtp_back_ops, "220 hello\r\n", PROTO_AGAIN, true, NULL },
	{ &smtp_back_ops, "220 hello\r\n250 h\r\n", BACK_FAILED, true, "STARTTLS" },
	{ &smtp_back_ops, "421 full\r\n", BACK_FAILED, false, NULL },
	{ &smtp_back_ops, "554 no\r\n", BACK_FAILED, false, NULL },
};

static void play(const struct row *row)
{
	struct back_params params = {
		.starttls = true, .host = "h", .client_tag = "a", .helo = ""
	};
	struct buf to_node = { 0 }, to_client = { 0 };
	struct back *back;
	struct view in = view_str(row->node);
	int r = PROTO_AGAIN;

	assert_int_equal(row->ops->create(&params, &back), 0);
	assert_false(row->ops->greeted(back));
	while (in.len && r == PROTO_AGAIN) {
		const char *end = memchr(in.data, '\n', in.len);
		size_t consumed = 0, line = end ? (size_t)(end - in.data) + 1 : in.len;

		r = row->ops->input(
			back, view_make(in.data, line), &consumed, &to_node, &to_client);
		in = view_skip(in, line);
	}
	if (r != row->result || row->ops->greeted(back) != row->greeted)
		fail_msg("%s: %s", row->ops->name, row->node);
	if (row->cause)
		assert_non_null(strstr(row->ops->cause(back), row->cause));
	else
		assert_null(row->ops->cause(back));
	row->ops->free(back);
	buf_fini(&to_node);
	buf_fini(&to_client);
}

static void test_SES_50_OPS_13_greetings_and_causes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		play(&rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_50_OPS_13_greetings_and_causes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
