// SPDX-License-Identifier: Apache-2.0
/* Frames of a channel and what they hold: what is written is read again, cut anywhere it waits, and
 * nothing else is taken. */
#include "unit.h"

#include "handoff/frame.h"

#include <arpa/inet.h>
#include <errno.h>

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(view_str(text), &addr), 0);
	return addr;
}

static struct handoff_open an_open(void)
{
	struct handoff_open open = { .protocol = HANDOFF_POP3,
		.tls_version = 0x0303,
		.tls_suite = 0xc02f,
		.client = address("192.0.2.7:50123"),
		.local = address("[2001:db8::1]:993"),
		.session = "H12ab-1f",
		.account = VIEW_LIT("user@example.com") };

	memset(open.proxy_id, 0x5a, sizeof(open.proxy_id));
	return open;
}

static struct handoff_frame read_one(const struct buf *buf)
{
	struct handoff_frame frame;

	assert_int_equal(handoff_frame_read(buf_view(buf), &frame), buf->len);
	return frame;
}

/* Each byte is a place where it may be cut. */
static void test_frame(void **state)
{
	struct buf buf = { 0 };
	struct handoff_frame frame;

	(void)state;
	assert_int_equal(handoff_frame_write(&buf, HANDOFF_DATA, 0x01020304, VIEW_LIT("hello")), 0);
	assert_memory_equal(buf_view(&buf).data, "\0\0\0\x0d\4\0\0\0\1\2\3\4hello", 17);
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(
			handoff_frame_read(view_make(buf_view(&buf).data, len), &frame), 0);
	frame = read_one(&buf);
	assert_int_equal(frame.type, HANDOFF_DATA);
	assert_int_equal(frame.stream, 0x01020304);
	assert_true(view_eq(frame.payload, VIEW_LIT("hello")));
	buf_fini(&buf);
}

/* Whatever the other end says of a frame's length, type or stream. */
static void test_no_frames(void **state)
{
	static const struct {
		const char *why, *bytes;
	} faults[] = {
		{ "too short", "\0\0\0\7\4\0\0\0\0\0\0\1" },
		{ "too long", "\0\1\x10\1\4\0\0\0\0\0\0\1" },
		{ "longer than any", "\xff\xff\xff\xff\4\0\0\0\0\0\0\1" },
		{ "no type", "\0\0\0\x09\0\0\0\0\0\0\0\1" },
		{ "unknown type", "\0\0\0\x09\x0a\0\0\0\0\0\0\1" },
		{ "not zero", "\0\0\0\x09\4\0\0\1\0\0\0\1" },
		{ "not zero", "\0\0\0\x09\4\1\0\0\0\0\0\1" },
		{ "data of no stream", "\0\0\0\x09\4\0\0\0\0\0\0\0" },
		{ "no data", "\0\0\0\x08\4\0\0\0\0\0\0\1" },
		{ "more data than may be", "\0\1\0\x09\4\0\0\0\0\0\0\1" },
		{ "ping of a stream", "\0\0\0\x08\x08\0\0\0\0\0\0\1" },
		{ "ping with something", "\0\0\0\x09\x08\0\0\0\0\0\0\0" },
		{ "a token of 15", "\0\0\0\x17\2\0\0\0\0\0\0\1" },
		{ "a token of 17", "\0\0\0\x19\2\0\0\0\0\0\0\1" },
		{ "two reasons", "\0\0\0\x0a\5\0\0\0\0\0\0\1" },
		{ "keys too short", "\0\0\0\x8e\6\0\0\0\0\0\0\1" },
		{ "open too short", "\0\0\0\x68\1\0\0\0\0\0\0\1" },
	};
	struct handoff_frame frame;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		ssize_t n =
			handoff_frame_read(view_make(faults[i].bytes, HANDOFF_HEAD_BYTES), &frame);

		if (n != -EPROTO)
			fail_msg("%s: %zd", faults[i].why, n);
	}
	/* a length is judged alone */
	assert_int_equal(handoff_frame_read(view_make("\0\0\0\7", 4), &frame), -EPROTO);
	assert_int_equal(handoff_frame_read(view_make("\0\1\x10\1", 4), &frame), -EPROTO);
	assert_int_equal(handoff_frame_read(view_make("\0\1\x10\0", 4), &frame), 0);
}

static void test_longest(void **state)
{
	struct buf buf = { 0 };
	struct handoff_frame frame;
	char *data = test_calloc(1, HANDOFF_DATA_MAX);

	(void)state;
	assert_int_equal(
		handoff_frame_write(&buf, HANDOFF_DATA, 1, view_make(data, HANDOFF_DATA_MAX)), 0);
	frame = read_one(&buf);
	assert_int_equal(frame.payload.len, HANDOFF_DATA_MAX);
	buf_fini(&buf);
	test_free(data);
}

static void test_open(void **state)
{
	struct handoff_open open = an_open(), got;
	struct buf buf = { 0 };

	(void)state;
	assert_int_equal(handoff_open_write(&buf, 7, &open), 0);
	assert_int_equal(handoff_open_read(read_one(&buf).payload, &got), 0);
	assert_int_equal(got.protocol, HANDOFF_POP3);
	assert_int_equal(got.tls_version, 0x0303);
	assert_int_equal(got.tls_suite, 0xc02f);
	assert_true(addr_eq(&got.client, &open.client));
	assert_true(addr_eq(&got.local, &open.local));
	assert_memory_equal(got.proxy_id, open.proxy_id, sizeof(open.proxy_id));
	assert_string_equal(got.session, "H12ab-1f");
	assert_true(view_eq(got.account, open.account));
	buf_fini(&buf);
}

/* One byte of a good one is changed; at: in the payload. */
static void test_no_opens(void **state)
{
	enum { CLIENT = 5, LOCAL = 24, SESSION = 71, LENGTH = 95, ACCOUNT = 97 };
	static const struct {
		size_t at;
		unsigned char byte;
	} faults[] = { { 0, 0 }, { 0, HANDOFF_PROTOCOLS }, { 1, 2 }, { 2, 1 }, { 2, 5 },
		{ CLIENT, 5 }, { CLIENT, 0 }, { CLIENT + 5, 1 }, { LOCAL, 4 }, { SESSION, 0 },
		{ SESSION, ' ' }, { SESSION + 3, 0 }, { SESSION + 20, 'x' }, { SESSION, 0xc3 },
		{ LENGTH, 1 }, { LENGTH + 1, 15 }, { LENGTH + 1, 17 }, { ACCOUNT + 3, 0 } };
	struct handoff_open open = an_open(), got;
	struct buf buf = { 0 };
	struct view payload;
	char *bytes;

	(void)state;
	assert_int_equal(handoff_open_write(&buf, 7, &open), 0);
	payload = read_one(&buf).payload;
	bytes = test_malloc(payload.len);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		memcpy(bytes, payload.data, payload.len);
		bytes[faults[i].at] = (char)faults[i].byte;
		if (handoff_open_read(view_make(bytes, payload.len), &got) != -EPROTO)
			fail_msg("%zu: %u was taken", faults[i].at, faults[i].byte);
	}
	for (size_t len = 0; len < payload.len; len++)
		assert_int_equal(handoff_open_read(view_make(payload.data, len), &got), -EPROTO);
	test_free(bytes);
	buf_fini(&buf);
}

static void test_keys(void **state)
{
	struct handoff_keys keys = { .delivered = 65536, .text = VIEW_LIT("a NOOP\r\n") }, got;
	struct buf buf = { .secret = true };
	struct view payload;

	(void)state;
	memset(keys.connection, 0x77, sizeof(keys.connection));
	assert_int_equal(handoff_keys_write(&buf, 9, &keys), 0);
	payload = read_one(&buf).payload;
	assert_int_equal(handoff_keys_read(payload, &got), 0);
	assert_int_equal(got.delivered, 65536);
	assert_memory_equal(got.connection, keys.connection, sizeof(keys.connection));
	assert_true(view_eq(got.text, keys.text));
	for (size_t len = 0; len < payload.len; len++)
		assert_int_equal(handoff_keys_read(view_make(payload.data, len), &got), -EPROTO);
	buf_clear(&buf);
	keys.delivered = 65537; /* more than there can have been */
	assert_int_equal(handoff_keys_write(&buf, 9, &keys), 0);
	assert_int_equal(handoff_keys_read(read_one(&buf).payload, &got), -EPROTO);
	buf_fini(&buf);
}

static void test_names(void **state)
{
	(void)state;
	for (int t = HANDOFF_OPEN; t < HANDOFF_TYPES; t++)
		assert_true(*handoff_type_name((enum handoff_type)t));
	assert_string_equal(handoff_refusal_name(HANDOFF_REFUSED_NO_PROTOCOL), "no_protocol");
	assert_string_equal(handoff_refusal_name((enum handoff_refusal)0), "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_no_frames),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_no_opens),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
