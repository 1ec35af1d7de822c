// SPDX-License-Identifier: Apache-2.0
/*
 * The catalogue of request smuggling and its relatives (http.md sections 2 and 3; security.md #24,
 * #25) as streams of requests and of responses: what is passed on, to the byte, and with which
 * status it ends; whole, byte by byte, and cut in two at every byte.
 */
#include "unit.h"

#include "http_stream.h"

#define H "Host: x\r\n"
#define P "POST / HTTP/1.1\r\n" H
#define G "GET / HTTP/1.1\r\n" H
#define TE "Transfer-Encoding: chunked\r\n"
#define CL(n) "Content-Length: " #n "\r\n"
#define EVIL "GET /evil HTTP/1.1\r\n" H "\r\n"

struct stream_case {
	const char *name, *in;
	int status;
	const char *out; /* "": nothing may reach the other side */
	unsigned messages;
};

static const struct stream_case requests[] = {
	/* what is right passes */
	{ "two pipelined", P CL(3) "\r\nabc" EVIL, 0, P CL(3) "\r\nabc" EVIL, 2 },
	{ "chunked", P TE "\r\n3\r\nabc\r\n0\r\n\r\n" EVIL, 0,
		P TE "\r\n3\r\nabc\r\n0\r\n\r\n" EVIL, 2 },
	{ "HTTP_17 equal lengths are one", P CL(3) CL(3) "\r\nabc", 0, P CL(3) "\r\nabc", 1 },
	{ "HTTP_17 the same number in two spellings", P CL(3) CL(003) "\r\nabc", 0,
		P CL(3) "\r\nabc", 1 },
	{ "HTTP_18 codings in two fields become one",
		P "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0,
		P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 1 },
	{ "CL.0: a body of a method that has none is a body",
		"GET / HTTP/1.1\r\n" H CL(36) "\r\n" EVIL, 0,
		"GET / HTTP/1.1\r\n" H CL(36) "\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n", 0 },
	{ "0.CL: no length, then the bytes are a request", P "\r\n" EVIL, 0, P "\r\n" EVIL, 2 },

	/* CL.TE and TE.CL */
	{ "CL.TE", P CL(13) TE "\r\n0\r\n\r\nSMUGGLED", 400, "", 0 },
	{ "TE.CL", P TE CL(3) "\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 400, "", 0 },
	{ "CL.TE with a zero length", P CL(0) TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "CL differ", P CL(5) CL(6) "\r\nabcdef", 400, "", 0 },
	{ "CL list", P "Content-Length: 5, 5\r\n\r\nabcde", 400, "", 0 },
	{ "CL list of two", P "Content-Length: 5, 6\r\n\r\nabcdef", 400, "", 0 },
	{ "CL plus", P "Content-Length: +5\r\n\r\nabcde", 400, "", 0 },
	{ "CL minus", P "Content-Length: -5\r\n\r\nabcde", 400, "", 0 },
	{ "CL hex", P "Content-Length: 0x5\r\n\r\nabcde", 400, "", 0 },
	{ "CL float", P "Content-Length: 5.0\r\n\r\nabcde", 400, "", 0 },
	{ "CL exponent", P "Content-Length: 5e0\r\n\r\nabcde", 400, "", 0 },
	{ "CL inner tab", P "Content-Length: 5\t1\r\n\r\nabcde", 400, "", 0 },
	{ "CL empty", P "Content-Length:\r\n\r\nabcde", 400, "", 0 },
	{ "CL over 64 bits", P "Content-Length: 18446744073709551617\r\n\r\na", 400, "", 0 },
	{ "CL other digits", P "Content-Length: \xd9\xa5\r\n\r\nabcde", 400, "", 0 },
	{ "CL quoted", P "Content-Length: \"5\"\r\n\r\nabcde", 400, "", 0 },

	/* TE.TE: one of the two does not see it */
	{ "TE.TE xchunked", P "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE chunked twice", P TE TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE chunked, identity", P "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400,
		"", 0 },
	{ "TE.TE identity, chunked", P "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400,
		"", 0 },
	{ "TE.TE chunked and cow", P TE "Transfer-encoding: cow\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE parameter", P "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE quoted", P "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE vertical tab",
		P "Transfer-Encoding: \x0b"
		  "chunked\r\n\r\n0\r\n\r\n",
		400, "", 0 },
	{ "TE.TE form feed", P "Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE non-breaking blank",
		P "Transfer-Encoding: \xa0"
		  "chunked\r\n\r\n0\r\n\r\n",
		400, "", 0 },
	{ "TE.TE empty element", P "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE.TE trailing comma", P "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE empty", P "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE last is not chunked", P "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, "",
		0 },
	{ "TE folded", P "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE name folded into another", P "X: y\r\n " TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE blank before colon", P "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE tab before colon", P "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE blank in front", P " " TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE control byte in name",
		"POST / HTTP/1.1\r\n" H "Transfer-Encoding\x01: chunked\r\n\r\n", 400, "", 0 },
	{ "TE behind a bare CR", P "X: y\r" TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE behind a bare LF", P "X: y\n" TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "TE with an underscore is another field", P CL(2) "Transfer_Encoding: chunked\r\n\r\nab",
		0, P CL(2) "Transfer_Encoding: chunked\r\n\r\nab", 1 },
	{ "TE any case", P "tRANSFER-eNCODING: CHUNKED\r\n\r\n0\r\n\r\n", 0,
		P "tRANSFER-eNCODING: CHUNKED\r\n\r\n0\r\n\r\n", 1 },
	{ "TE named by Connection stays",
		P "Connection: Transfer-Encoding, close\r\n" TE "\r\n0\r\n\r\n", 0,
		P TE "\r\n0\r\n\r\n", 1 },
	{ "CL named by Connection stays", P "Connection: Content-Length\r\n" CL(3) "\r\nabc", 0,
		P CL(3) "\r\nabc", 1 },

	/* lines */
	{ "all bare LF", "GET / HTTP/1.1\nHost: x\n\n", 400, "", 0 },
	{ "head ended by LF LF", "GET / HTTP/1.1\r\nHost: x\n\n", 400, "", 0 },
	{ "head ended by CR CR", "GET / HTTP/1.1\r\nHost: x\r\r", 400, "", 0 },
	{ "bare CR in the request line", "GET /\r HTTP/1.1\r\n" H "\r\n", 400, "", 0 },
	{ "header injection by a bare CR", "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400, "", 0 },
	{ "tab in the request line", "GET\t/\tHTTP/1.1\r\n" H "\r\n", 400, "", 0 },
	{ "two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", 400, "", 0 },
	{ "blank at the end of the request line", "GET / HTTP/1.1 \r\n" H "\r\n", 400, "", 0 },
	{ "request line in the target", "GET /x HTTP/1.1 HTTP/1.1\r\n" H "\r\n", 400, "", 0 },
	{ "HTTP/0.9", "GET /\r\n\r\n", 400, "", 0 },
	{ "HTTP_13 1.0 goes on as 1.1", "GET / HTTP/1.0\r\n" H "\r\n", 0, G "\r\n", 1 },
	{ "HTTP_13 1.0 with a body", "POST / HTTP/1.0\r\n" H CL(2) "\r\nab", 0, P CL(2) "\r\nab",
		1 },
	{ "HTTP_13 1.0 without a host", "GET / HTTP/1.0\r\nX: y\r\n\r\n", 0,
		"GET / HTTP/1.1\r\nHost: \r\nX: y\r\n\r\n", 1 },
	{ "HTTP_13 1.0 keep-alive is of the connection",
		"GET / HTTP/1.0\r\n" H "Connection: keep-alive\r\nKeep-Alive: 5\r\n\r\n", 0,
		G "\r\n", 1 },
	{ "HTTP_13 1.0 asks for no 100 and no upgrade",
		"GET / HTTP/1.0\r\n" H "Expect: 100-continue\r\nConnection: upgrade\r\n"
		"Upgrade: websocket\r\n\r\n",
		0, G "\r\n", 1 },
	{ "HTTP_13 chunked in 1.0", "POST / HTTP/1.0\r\n" H TE "\r\n0\r\n\r\n" EVIL, 400, "", 0 },
	{ "HTTP_13 a coding in 1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: identity\r\n\r\n",
		400, "", 0 },
	{ "HTTP_13 CL.TE in 1.0", "POST / HTTP/1.0\r\n" H CL(5) TE "\r\n0\r\n\r\n", 400, "", 0 },
	{ "HTTP_13 two hosts in 1.0", "GET / HTTP/1.0\r\n" H H "\r\n", 400, "", 0 },
	{ "HTTP_13 absolute form without a host in 1.0", "GET http://x/ HTTP/1.0\r\n\r\n", 400, "",
		0 },
	{ "HTTP_70 forwarded fields in other spellings",
		G "X_Forwarded_For: 1.1.1.1\r\nX-Forwarded_For: 2\r\nx_real-ip: 3\r\n"
		  "X_FORWARDED_PROTO: https\r\nProxy_Authorization: x\r\nX_Y: 4\r\n\r\n",
		0, G "X_Y: 4\r\n\r\n", 1 },
	{ "HTTP_30 trailer fields in other spellings",
		P TE "\r\n0\r\nX_Forwarded_For: 1\r\nContent_Length: 2\r\nX_Y: 3\r\n\r\n", 0,
		P TE "\r\n0\r\nX_Y: 3\r\n\r\n", 1 },
	{ "HTTP_13 h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "", 0 },
	{ "version with more digits", "GET / HTTP/1.11\r\n" H "\r\n", 400, "", 0 },
	{ "HTTP_14 CONNECT", "CONNECT x:80 HTTP/1.1\r\n" H "\r\n", 405, "", 0 },
	{ "HTTP_15 Host twice", "GET / HTTP/1.1\r\n" H "hOST: y\r\n\r\n", 400, "", 0 },
	{ "HTTP_15 Host folded", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400, "", 0 },
	{ "HTTP_15 first line folded", "GET / HTTP/1.1\r\n Host: y\r\n" H "\r\n", 400, "", 0 },
	{ "HTTP_19 h2c upgrade is dropped",
		"GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
		"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
		0, "GET / HTTP/1.1\r\n" H "\r\n", 1 },
	{ "HTTP_19 websocket and h2c is no websocket",
		"GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", 0,
		"GET / HTTP/1.1\r\n" H "\r\n", 1 },
	{ "websocket with a body goes on without the upgrade",
		"GET / HTTP/1.1\r\n" H
		"Connection: Upgrade\r\nUpgrade: websocket\r\n" CL(1) "\r\na",
		0, "GET / HTTP/1.1\r\n" H CL(1) "\r\na", 1 },
	{ "section 7 hop fields go",
		"GET / HTTP/1.1\r\n" H
		"Connection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
		"Trailer: X\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nX-Keep:  a  b "
		"\r\n\r\n",
		0, "GET / HTTP/1.1\r\n" H "X-Keep: a  b\r\n\r\n", 1 },
	{ "HTTP_21 absolute form", "GET http://X/a?b HTTP/1.1\r\n" H "\r\n", 0,
		"GET /a?b HTTP/1.1\r\n" H "\r\n", 1 },
	{ "HTTP_21 absolute form of another host", "GET http://y/ HTTP/1.1\r\n" H "\r\n", 400, "",
		0 },
	{ "HTTP_21 user in the authority", "GET http://x@y/ HTTP/1.1\r\n" H "\r\n", 400, "", 0 },
	{ "HTTP_21 whole server", "OPTIONS http://x HTTP/1.1\r\n" H "\r\n", 0,
		"OPTIONS * HTTP/1.1\r\n" H "\r\n", 1 },

	/* chunks */
	{ "HTTP_30 extension is dropped", P TE "\r\n3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n", 0,
		P TE "\r\n3\r\nabc\r\n0\r\n\r\n", 1 },
	{ "HTTP_30 size in another spelling", P TE "\r\n00A\r\n0123456789\r\n000\r\n\r\n", 0,
		P TE "\r\na\r\n0123456789\r\n0\r\n\r\n", 1 },
	{ "chunk size with a sign", P TE "\r\n+3\r\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size 0x", P TE "\r\n0x3\r\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size of 5g", P TE "\r\n5g\r\nabcde\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size empty", P TE "\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size only an extension", P TE "\r\n;a\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size of 17 digits", P TE "\r\n00000000000000003\r\nabc", 400, P TE "\r\n", 0 },
	{ "chunk size with a blank", P TE "\r\n3 \r\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk size behind a blank", P TE "\r\n 3\r\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk line ended by LF", P TE "\r\n3\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk line ended by CR and something", P TE "\r\n3\rxabc\r\n", 400, P TE "\r\n", 0 },
	{ "extension with a bare LF", P TE "\r\n3;a\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "extension with a bare CR", P TE "\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", 400, P TE "\r\n", 0 },
	{ "chunk longer than its size", P TE "\r\n3\r\nabcd\r\n0\r\n\r\n", 400, P TE "\r\n3\r\nabc",
		0 },
	{ "chunk without its CRLF", P TE "\r\n3\r\nabc0\r\n\r\n", 400, P TE "\r\n3\r\nabc", 0 },
	{ "chunk ended by LF", P TE "\r\n3\r\nabc\n0\r\n\r\n", 400, P TE "\r\n3\r\nabc", 0 },
	{ "chunk ended by CR CR", P TE "\r\n3\r\nabc\r\r0\r\n\r\n", 400, P TE "\r\n3\r\nabc", 0 },
	{ "last chunk, then no empty line", P TE "\r\n0\r\n" EVIL, 400, P TE "\r\n0\r\n", 0 },
	{ "trailer passes", P TE "\r\n0\r\nX-Sum:  1\r\nY:\r\n\r\n", 0,
		P TE "\r\n0\r\nX-Sum:  1\r\nY:\r\n\r\n", 1 },
	{ "HTTP_30 trailer fields that reframe or name somebody are dropped",
		P TE "\r\n0\r\nContent-Length: 5\r\ntransfer-encoding: x\r\nHost: y\r\n"
		     "Authorization: z\r\nContent-Type: t\r\nTrailer: X\r\nConnection: X\r\n"
		     "X-Forwarded-For: 1.2.3.4\r\nX: 1\r\n\r\n",
		0, P TE "\r\n0\r\nX: 1\r\n\r\n", 1 },
	{ "trailer with a bare LF", P TE "\r\n0\r\nX: 1\nY: 2\r\n\r\n", 400, P TE "\r\n0\r\n", 0 },
	{ "trailer with a bare CR", P TE "\r\n0\r\nX: 1\rY: 2\r\n\r\n", 400, P TE "\r\n0\r\n", 0 },
	{ "trailer folded", P TE "\r\n0\r\nX: 1\r\n Y: 2\r\n\r\n", 400, P TE "\r\n0\r\nX: 1\r\n",
		0 },
	{ "trailer without colon", P TE "\r\n0\r\nfoo\r\n\r\n", 400, P TE "\r\n0\r\n", 0 },
};

#define OK "HTTP/1.1 200 OK\r\n"
#define BAD(...) { __VA_ARGS__, 502, "", 0 }

static const struct stream_case responses[] = {
	{ "counted, then another", OK CL(2) "\r\nab" OK CL(0) "\r\n", 0,
		OK CL(2) "\r\nab" OK CL(0) "\r\n", 2 },
	{ "chunked", OK TE "\r\n2;x\r\nab\r\n0\r\nA: b\r\n\r\n", 0,
		OK TE "\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n", 1 },
	{ "until close", OK "A: b\r\n\r\nabc" OK "\r\n", 0, OK "A: b\r\n\r\nabc" OK "\r\n", 0 },
	{ "no reason", "HTTP/1.1 200\r\n" CL(0) "\r\n", 0, "HTTP/1.1 200 \r\n" CL(0) "\r\n", 1 },
	{ "HTTP_34 of 1.0", "HTTP/1.0 200 OK\r\n" CL(1) "\r\na", 0, OK CL(1) "\r\na", 1 },
	{ "section 3: 304 has no body", "HTTP/1.1 304 N\r\n" CL(100) "\r\n" OK CL(0) "\r\n", 0,
		"HTTP/1.1 304 N\r\n" CL(100) "\r\n" OK CL(0) "\r\n", 2 },
	{ "section 3: 204 has no body", "HTTP/1.1 204 N\r\n\r\n" OK CL(0) "\r\n", 0,
		"HTTP/1.1 204 N\r\n\r\n" OK CL(0) "\r\n", 2 },
	{ "section 3: 205 has no body, and says so", "HTTP/1.1 205 N\r\n" CL(7) "\r\n", 0,
		"HTTP/1.1 205 N\r\n" CL(0) "\r\n", 1 },
	{ "HTTP_35 interim", "HTTP/1.1 103 E\r\nLink: x\r\n\r\n" OK CL(0) "\r\n", 0,
		"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" OK CL(0) "\r\n", 2 },
	{ "section 7 hop fields go",
		OK "Connection: close, X\r\nX: 1\r\nKeep-Alive: 5\r\n" CL(0) "\r\n", 0,
		OK CL(0) "Connection: close\r\n\r\n", 1 },
	BAD("CL and TE", OK CL(1) TE "\r\n"),
	BAD("CL differ", OK CL(1) CL(2) "\r\n"),
	BAD("CL list", OK "Content-Length: 1, 1\r\n\r\n"),
	BAD("TE without chunked", OK "Transfer-Encoding: gzip\r\n\r\n"),
	BAD("TE in 1.0", "HTTP/1.0 200 OK\r\n" TE "\r\n"),
	BAD("bare LF", "HTTP/1.1 200 OK\nA: b\n\n"),
	BAD("bare CR", OK "A: b\rC: d\r\n\r\n"),
	BAD("folded", OK "A: b\r\n c\r\n\r\n"),
	BAD("blank before colon", OK "A : b\r\n\r\n"),
	BAD("control", OK "A: b\x01\r\n\r\n"),
	BAD("empty line first", "\r\n" OK "\r\n"),
	BAD("not HTTP", "SSH-2.0-OpenSSH\r\n\r\n"),
	BAD("version 2", "HTTP/2.0 200 OK\r\n\r\n"),
	BAD("status 99", "HTTP/1.1 099 OK\r\n\r\n"),
	BAD("status 600", "HTTP/1.1 600 OK\r\n\r\n"),
	BAD("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
	BAD("two blanks", "HTTP/1.1  200 OK\r\n\r\n"),
	BAD("control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"),
	{ "bad chunk", OK TE "\r\nx\r\n", 400, OK TE "\r\n", 0 },
};

static void check(const struct stream_case *c, bool is_response, size_t cut)
{
	struct http_stream stream;

	http_stream_init(&stream, is_response);
	http_stream_run(&stream, view_str(c->in), cut);
	if (stream.status != c->status || stream.messages != c->messages ||
		!view_eq(buf_view(&stream.out), view_str(c->out)))
		fail_msg("%s, cut %zd: status %d, %u messages, passed on:\n%.*s", c->name,
			(ssize_t)cut, stream.status, stream.messages, (int)stream.out.len,
			buf_view(&stream.out).data);
	http_stream_fini(&stream);
}

static void check_all(const struct stream_case *cases, size_t count, bool are_responses)
{
	for (size_t i = 0; i < count; i++) {
		check(&cases[i], are_responses, STREAM_WHOLE);
		for (size_t cut = 0; cut < strlen(cases[i].in); cut++)
			check(&cases[i], are_responses, cut);
	}
}

static void test_security_24_requests(void **state)
{
	(void)state;
	check_all(requests, ARRAY_SIZE(requests), false);
}

static void test_security_25_responses(void **state)
{
	(void)state;
	check_all(responses, ARRAY_SIZE(responses), true);
}

static void test_section_3_head_has_no_body(void **state)
{
	static const char in[] = OK CL(7) "\r\n" OK TE "\r\n";
	struct http_stream stream;

	(void)state;
	http_stream_init(&stream, true);
	stream.to_head = true;
	http_stream_run(&stream, view_str(in), 0);
	assert_int_equal(stream.messages, 2);
	assert_true(view_eq(buf_view(&stream.out), view_str(in)));
	http_stream_fini(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_security_24_requests),
		cmocka_unit_test(test_security_25_responses),
		cmocka_unit_test(test_section_3_head_has_no_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
