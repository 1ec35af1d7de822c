// SPDX-License-Identifier: Apache-2.0
/* The body of both stream fuzzers; ARE_RESPONSES says which. */

static void run(struct http_stream *stream, struct view bytes, size_t cut)
{
	http_stream_init(stream, ARE_RESPONSES);
	stream->limits.head_bytes = 1024;
	stream->limits.fields = HTTP_MAX_FIELDS - 1; /* a Host may be added */
	http_stream_run(stream, bytes, cut);
}

static void must_be_same(const struct http_stream *a, const struct http_stream *b)
{
	if (!view_eq(buf_view(&a->out), buf_view(&b->out)) ||
		!view_eq(buf_view(&a->data), buf_view(&b->data)) || a->messages != b->messages)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_stream whole, cut, again;
	struct view bytes = view_make((const char *)data, size);

	if (!size)
		return 0;
#ifdef EACH_INPUT
	EACH_INPUT(bytes);
#endif
	run(&whole, bytes, STREAM_WHOLE);
	run(&cut, bytes, size % 3 ? data[size / 2] : 0);
	must_be_same(&whole, &cut);
	/* A head may be refused for its first or its last fault. */
	if (!whole.status != !cut.status)
		abort();
	/* The limit of heads is one for what comes in. */
	http_stream_init(&again, ARE_RESPONSES);
	again.limits.head_bytes = 4096;
	http_stream_run(&again, buf_view(&whole.out), STREAM_WHOLE);
	if (again.status)
		abort();
	must_be_same(&whole, &again);
	http_stream_fini(&whole);
	http_stream_fini(&cut);
	http_stream_fini(&again);
	return 0;
}
