// SPDX-License-Identifier: Apache-2.0
/* Conversations before login; texts from sessions.md sections 5.1 and 5.2; SASL of section 6. */
#include "dialogue/imap_front.h"

/* What the client sends, what the router answers, and what the conversation came to. */
struct script {
	const char *name;
	const char *input, *output;
	/* of the last input() call: PROTO_MORE, FRONT_LOGIN, FRONT_CLOSE, FRONT_STARTTLS */
	int result;
	const char *message; /* of the credential, NULs written as | */
	unsigned attempts;
	int flags;
};

#define FAILED " NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
#define SYNTAX " BAD Syntax error.\r\n"
#define NOT_NOW " BAD Not allowed before authentication.\r\n"

static const struct script scripts[] = {
	{ "capability", "a CAPABILITY\r\n",
		"* CAPABILITY X Y AUTH=PLAIN AUTH=LOGIN\r\na OK Done.\r\n" },
	{ "any case, lone LF", "a noOP\n", "a OK Done.\r\n" },
	{ "id", "a ID (\"name\" \"x\")\r\nb ID NIL\r\n",
		"* ID NIL\r\na OK Done.\r\n* ID NIL\r\nb OK Done.\r\n" },
	{ "logout", "a LOGOUT\r\nb NOOP\r\n", "* BYE Closing.\r\na OK Done.\r\n", FRONT_CLOSE },
	{ "unknown commands are not counted", "a SELECT INBOX\r\nb XYZZY\r\n",
		"a" NOT_NOW "b" NOT_NOW },
	{ "unparsable lines are counted", "\r\na\r\n",
		"* BAD Syntax error.\r\n* BAD Syntax error.\r\n", PROTO_MORE, NULL, 2 },
	{ "tag with a plus", "+ NOOP\r\n", "* BAD Syntax error.\r\n", PROTO_MORE, NULL, 1 },
	{ "long command name", "a ABCDEFGHIJKLMNOP\r\n", "a BAD Syntax error.\r\n", PROTO_MORE,
		NULL, 1 },
	{ "what cannot be read behind a tag", "a \r\nb LOGIN bob abc(def\r\nc LOGIN bob p w\r\n",
		"a" SYNTAX "b" SYNTAX "c" SYNTAX "* BYE Too many failed attempts.\r\n", FRONT_CLOSE,
		NULL, 3 },
	{ "what servers take in arguments without quotes", "a LOGIN alice@x%admin 50%*]\\\r\n", "",
		FRONT_LOGIN, "|alice@x%admin|50%*]\\" },
	{ "a Windows domain", "a LOGIN DOMAIN\\user pw\r\n", "", FRONT_LOGIN, "|DOMAIN\\user|pw" },
	{ "blanks that are too many", "b CAPABILITY \r\nb  NOOP\r\na  LOGIN   alice  pw  \r\n",
		"* CAPABILITY X Y AUTH=PLAIN AUTH=LOGIN\r\nb OK Done.\r\nb OK Done.\r\n",
		FRONT_LOGIN, "|alice|pw" },
	{ "blanks in AUTHENTICATE", "a AUTHENTICATE  PLAIN \r\nAGJvYgBwdw== \r\n", "+ \r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "blanks around an initial response", "a AUTHENTICATE PLAIN  AGJvYgBwdw== \r\n", "",
		FRONT_LOGIN, "|bob|pw" },
	{ "passwords that are not UTF-8", "a LOGIN bob {3+}\r\np\xe9!\r\n", "", FRONT_LOGIN,
		"|bob|p\xe9!" },
	{ "not UTF-8, in quotes", "a LOGIN bob \"p\xe9\"\r\n", "", FRONT_LOGIN, "|bob|p\xe9" },
	{ "not UTF-8, bare", "a LOGIN bob p\xe9\r\n", "", FRONT_LOGIN, "|bob|p\xe9" },
	{ "a name that is not UTF-8", "a LOGIN b\xe9 pw\r\n", "a" FAILED, PROTO_MORE, NULL, 1 },
	{ "literals of refused commands are no commands",
		"a APPEND x {8+}\r\nb NOOP\r\n\r\nc X ({8+}\r\nb NOOP\r\n)\r\nd X y{8+}\r\nb "
		"NOOP\r\n\r\ne X ~{8+}\r\nb NOOP\r\n\r\nf NOOP\r\n",
		"a" NOT_NOW "c" NOT_NOW "d" NOT_NOW "e" NOT_NOW "f OK Done.\r\n" },
	{ "literals of commands that cannot be read",
		"+ X y {8+}\r\nb NOOP\r\n\r\na LOGIN b{8+}\r\nb NOOP\r\n\r\nc NOOP\r\n",
		"*" SYNTAX "a" SYNTAX "c OK Done.\r\n", PROTO_MORE, NULL, 2 },
	{ "a literal of ID behind the parenthesis", "a ID ({4+}\r\nname {3+}\r\nx y)\r\nb NOOP\r\n",
		"* ID NIL\r\na OK Done.\r\nb OK Done.\r\n" },
	{ "a brace in an argument announces nothing", "a LOGIN bob pw{5}\r\nb NOOP\r\n",
		"a" SYNTAX "b OK Done.\r\n", PROTO_MORE, NULL, 1 },
	{ "login with atoms", "a LOGIN bob secret\r\n", "", FRONT_LOGIN, "|bob|secret" },
	{ "login with quotes", "a LOGIN \"bo b\" \"s\\\"e\\\\c\"\r\n", "", FRONT_LOGIN,
		"|bo b|s\"e\\c" },
	{ "login with quotes and needless escapes", "a LOGIN bob \"s\\e\\\\c\"\r\n", "",
		FRONT_LOGIN, "|bob|se\\c" },
	{ "an escaped line end", "a LOGIN bob \"s\\\r\nb NOOP\r\n", "a" SYNTAX "b OK Done.\r\n",
		PROTO_MORE, NULL, 1 },
	{ "login with literals", "a LOGIN {3}\r\nbob {6}\r\nsecret\r\n", "+ Ready.\r\n+ Ready.\r\n",
		FRONT_LOGIN, "|bob|secret" },
	{ "login with non-synchronising literals", "a LOGIN {3+}\r\nbob {6+}\r\nse{5}t\r\n", "",
		FRONT_LOGIN, "|bob|se{5}t" },
	{ "line ends inside a literal", "a LOGIN bob {8+}\r\na\r\nb\r\nc \r\n", "", FRONT_LOGIN,
		"|bob|a\r\nb\r\nc " },
	{ "what looks like a literal in quotes", "a LOGIN bob \"x {5}\"\r\n", "", FRONT_LOGIN,
		"|bob|x {5}" },
	{ "missing argument", "a LOGIN bob\r\nb LOGIN\r\n", "a" FAILED "b" FAILED, PROTO_MORE, NULL,
		2 },
	{ "empty password", "a LOGIN bob \"\"\r\n", "a" FAILED, PROTO_MORE, NULL, 1 },
	{ "bad literals", "a LOGIN {abc}\r\n", "a BAD Syntax error.\r\n", PROTO_MORE, NULL, 1 },
	{ "literal with junk", "a LOGIN {30} junk\r\n", "a BAD Syntax error.\r\n", PROTO_MORE, NULL,
		1 },
	{ "literal with the plus in front", "a LOGIN {+30}\r\n", "a BAD Syntax error.\r\n",
		PROTO_MORE, NULL, 1 },
	{ "literal too long", "a LOGIN {4294967295}\r\nb NOOP\r\n",
		"a BAD Literal too long.\r\nb OK Done.\r\n", PROTO_MORE, NULL, 1 },
	{ "literal with a number beyond 64 bits", "a LOGIN {99999999999999999999999}\r\n",
		"a BAD Literal too long.\r\n", PROTO_MORE, NULL, 1 },
	{ "non-synchronising literal too long", "a LOGIN {70000+}\r\n",
		"* BYE Command too long.\r\n", FRONT_CLOSE },
	{ "plain with initial response", "a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n", "", FRONT_LOGIN,
		"|bob|pw" },
	{ "plain without padding", "a AUTHENTICATE PLAIN AGJvYgBwdw\r\n", "", FRONT_LOGIN,
		"|bob|pw" },
	{ "plain with a prompt", "a AUTHENTICATE plain\r\nAGJvYgBwdw==\r\n", "+ \r\n", FRONT_LOGIN,
		"|bob|pw" },
	{ "plain with authzid", "a AUTHENTICATE PLAIN Ym9iAGJvYgBwdw==\r\n", "", FRONT_LOGIN,
		"bob|bob|pw" },
	{ "empty initial response", "a AUTHENTICATE PLAIN =\r\n", "a" FAILED, PROTO_MORE, NULL, 1 },
	{ "three NULs", "a AUTHENTICATE PLAIN AGEAYgBj\r\n", "a" FAILED, PROTO_MORE, NULL, 1 },
	{ "no NUL", "a AUTHENTICATE PLAIN bm9udWxoZXJl\r\nb NOOP\r\n", "a" FAILED "b OK Done.\r\n",
		PROTO_MORE, NULL, 1 },
	{ "not UTF-8", "a AUTHENTICATE PLAIN AP//AHB3\r\n", "a" FAILED, PROTO_MORE, NULL, 1 },
	{ "bad base64", "a AUTHENTICATE PLAIN AG!b\r\nb AUTHENTICATE PLAIN AGJvYgBwdx==\r\n",
		"a BAD Invalid base64.\r\nb BAD Invalid base64.\r\n", PROTO_MORE, NULL, 2 },
	{ "cancel", "a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n",
		"+ \r\na BAD Authentication cancelled.\r\nb OK Done.\r\n", PROTO_MORE, NULL, 1 },
	{ "mechanism login", "a AUTHENTICATE LOGIN\r\nYm9i\r\ncHc=\r\n",
		"+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "mechanism login with the name", "a AUTHENTICATE LOGIN Ym9i\r\ncHc=\r\n",
		"+ UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "unknown mechanisms", "a AUTHENTICATE XOAUTH2\r\nb AUTHENTICATE FOO x\r\n",
		"a NO Mechanism not supported.\r\nb NO Mechanism not supported.\r\n" },
	{ "attempt limit", "a LOGIN x\r\nb LOGIN x\r\nc LOGIN x\r\nd NOOP\r\n",
		"a" FAILED "b" FAILED "c" FAILED "* BYE Too many failed attempts.\r\n", FRONT_CLOSE,
		NULL, 3 },
	{ "privacy",
		"a LOGIN bob pw\r\nb AUTHENTICATE XOAUTH2\r\nc AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
		"a" PRIVACY "b" PRIVACY "c" PRIVACY, PROTO_MORE, NULL, 0, PLAIN_LEG },
	{ "privacy before a literal", "a LOGIN {3}\r\nb NOOP\r\n", "a" PRIVACY "b OK Done.\r\n",
		PROTO_MORE, NULL, 0, PLAIN_LEG },
	{ "capabilities of a plain leg", "a CAPABILITY\r\n",
		"* CAPABILITY X Y LOGINDISABLED STARTTLS\r\na OK Done.\r\n", PROTO_MORE, NULL, 0,
		PLAIN_LEG },
	{ "starttls", "a STARTTLS\r\n", "", FRONT_STARTTLS, NULL, 0, PLAIN_LEG },
	{ "starttls not offered", "a STARTTLS\r\n", "a BAD STARTTLS not available.\r\n" },
	{ "starttls with an argument", "a STARTTLS now\r\n", "a BAD Syntax error.\r\n", PROTO_MORE,
		NULL, 1, PLAIN_LEG },
	{ "OAuth is announced", "a CAPABILITY\r\n",
		"* CAPABILITY X Y AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2\r\na OK "
		"Done.\r\n",
		PROTO_MORE, NULL, 0, OAUTH },
	{ "SES-35 with an initial response",
		"a AUTHENTICATE OAUTHBEARER "
		"bixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n",
		"", FRONT_LOGIN, "n,a=carol@example.com,\1auth=Bearer tok\1\1", 0, OAUTH },
	{ "SES-35 with a prompt, any case",
		"a authenticate "
		"OAuthBearer\r\nbixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n",
		"+ \r\n", FRONT_LOGIN, "n,a=carol@example.com,\1auth=Bearer tok\1\1", 0, OAUTH },
	{ "SES-35 no name, final separator missing",
		"a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHRrAQ==\r\n", "", FRONT_LOGIN,
		"n,,\1auth=Bearer tk\1", 0, OAUTH },
	{ "SES-35 escapes, other pairs",
		"a AUTHENTICATE OAUTHBEARER "
		"eSxhPWE9MkNiPTNEYywBaG9zdD1oAWF1dGg9YmVhcmVyIHQBAQ==\r\n",
		"", FRONT_LOGIN, "y,a=a=2Cb=3Dc,\1host=h\1auth=bearer t\1\1", 0, OAUTH },
	{ "SES-37 padding missing", "a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHRrAQ\r\n", "",
		FRONT_LOGIN, "n,,\1auth=Bearer tk\1", 0, OAUTH },
	{ "SES-35 channel binding",
		"a AUTHENTICATE OAUTHBEARER cD10bHMtdW5pcXVlLCwBYXV0aD1CZWFyZXIgdAEB\r\nb NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 two tokens",
		"a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHQBYXV0aD1CZWFyZXIgdAEB\r\nb "
		"NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 no token", "a AUTHENTICATE OAUTHBEARER biwsAWhvc3Q9aAEB\r\nb NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 bad escape",
		"a AUTHENTICATE OAUTHBEARER bixhPWI9MmNjLAFhdXRoPUJlYXJlciB0AQE=\r\nb NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 XOAUTH2 in OAUTHBEARER",
		"a AUTHENTICATE OAUTHBEARER dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rAQE=\r\nb NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 just a separator", "a AUTHENTICATE OAUTHBEARER AQ==\r\nb NOOP\r\n",
		"a" FAILED "b OK Done.\r\n", PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-35 empty", "a AUTHENTICATE OAUTHBEARER =\r\nb AUTHENTICATE OAUTHBEARER\r\n\r\n",
		"a" FAILED "+ \r\nb" FAILED, PROTO_MORE, NULL, 2, OAUTH },
	{ "SES-36 with an initial response",
		"a AUTHENTICATE XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rAQE=\r\n", "", FRONT_LOGIN,
		"user=u@x\1auth=Bearer tok\1\1", 0, OAUTH },
	{ "SES-36 with a prompt, no separators at the end",
		"a AUTHENTICATE XOAUTH2\r\ndXNlcj11QHgBYXV0aD1CZWFyZXIgdG9r\r\n", "+ \r\n",
		FRONT_LOGIN, "user=u@x\1auth=Bearer tok", 0, OAUTH },
	{ "SES-36 OAUTHBEARER in XOAUTH2",
		"a AUTHENTICATE XOAUTH2 "
		"bixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n",
		"a" FAILED, PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-36 three separators",
		"a AUTHENTICATE XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdAEBAQ==\r\n", "a" FAILED,
		PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-36 blank in the token",
		"a AUTHENTICATE XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdCB0AQE=\r\n", "a" FAILED,
		PROTO_MORE, NULL, 1, OAUTH },
	{ "SES-36 other scheme", "a AUTHENTICATE XOAUTH2 dXNlcj11QHgBYXV0aD1CYXNpYyB0AQE=\r\n",
		"a" FAILED, PROTO_MORE, NULL, 1, OAUTH },
	{ "OAuth cancelled, bad base64",
		"a AUTHENTICATE XOAUTH2\r\n*\r\nb AUTHENTICATE OAUTHBEARER biws!\r\n",
		"+ \r\na BAD Authentication cancelled.\r\nb BAD Invalid base64.\r\n", PROTO_MORE,
		NULL, 2, OAUTH },
	{ "a password after a failed token", "b AUTHENTICATE XOAUTH2 AQ==\r\na LOGIN bob pw\r\n",
		"b" FAILED, FRONT_LOGIN, "|bob|pw", 1, OAUTH },
	{ "OAuth on a plain leg",
		"a AUTHENTICATE OAUTHBEARER "
		"bixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\nb AUTHENTICATE "
		"XOAUTH2\r\n",
		"a" PRIVACY "b" PRIVACY, PROTO_MORE, NULL, 0, OAUTH | PLAIN_LEG },
};

static void check(const struct script *script, size_t first)
{
	struct view input = view_str(script->input);
	struct front *front = make(script->flags);
	struct proto_credential credential;
	struct buf out = { 0 };
	int r = play_front(&imap_front_ops, front, input, first, &out);

	if (r != script->result || out.len != strlen(script->output) ||
		memcmp(buf_view(&out).data, script->output, out.len) != 0)
		fail_msg("%s (cut %zd): result %d, output \"%.*s\"", script->name, first, r,
			(int)out.len, buf_view(&out).data);
	assert_int_equal(imap_front_ops.attempts(front), script->attempts);
	if (r == FRONT_LOGIN) {
		imap_front_ops.take_credential(front, &credential);
		for (size_t i = 0; i < credential.message.len; i++) {
			char *byte = credential.message.data + credential.message.start + i;

			*byte = *byte ? *byte : '|';
		}
		assert_int_equal(credential.message.len, strlen(script->message));
		assert_memory_equal(buf_view(&credential.message).data, script->message,
			credential.message.len);
		assert_string_equal(credential.tag, "a");
		proto_credential_wipe(&credential);
	}
	buf_fini(&out);
	imap_front_ops.free(front);
}

static void test_scripts_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++)
		check(&scripts[i], SIZE_MAX);
}

static void test_scripts_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++)
		check(&scripts[i], 0);
}

static void test_scripts_cut_everywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		for (size_t first = 1; first < strlen(scripts[i].input); first++)
			check(&scripts[i], first);
	}
}

static void test_over_long_input(void **state)
{
	static char text[PROTO_INPUT_BYTES + 10];
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(
		play_front(&imap_front_ops, front, view_make(text, sizeof(text)), SIZE_MAX, &out),
		FRONT_CLOSE);
	assert_memory_equal(buf_view(&out).data, "* BYE Command too long.\r\n", 25);
	buf_fini(&out);
	imap_front_ops.free(front);
}

/* One on the command line as well; it has a tag, so the answer has it. */
static void test_over_long_initial_response(void **state)
{
	static const char head[] = "a AUTHENTICATE PLAIN ", tail[] = "\r\nb NOOP\r\n";
	static char text[sizeof(head) - 1 + 16385 + sizeof(tail)];
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	memcpy(text, head, sizeof(head) - 1);
	memset(text + sizeof(head) - 1, 'A', 16385);
	memcpy(text + sizeof(head) - 1 + 16385, tail, sizeof(tail) - 1);
	assert_int_equal(play_front(&imap_front_ops, front, view_make(text, sizeof(text) - 1),
				 SIZE_MAX, &out),
		PROTO_MORE);
	assert_true(
		view_eq(buf_view(&out), VIEW_LIT("a BAD Response too long.\r\nb OK Done.\r\n")));
	assert_int_equal(imap_front_ops.attempts(front), 1);
	buf_fini(&out);
	imap_front_ops.free(front);
}

/* A response line over the limit is answered once and dropped to its end. */
static void test_over_long_response(void **state)
{
	static const char head[] = "a AUTHENTICATE PLAIN\r\n", tail[] = "\r\nb NOOP\r\n";
	static char text[sizeof(head) - 1 + 17000 + sizeof(tail)];
	size_t cuts[] = { SIZE_MAX, 100, sizeof(head) + 16384, sizeof(head) + 16386, 17010 };

	(void)state;
	memcpy(text, head, sizeof(head) - 1);
	memset(text + sizeof(head) - 1, 'A', 17000);
	memcpy(text + sizeof(head) - 1 + 17000, tail, sizeof(tail) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct front *front = make(0);
		struct buf out = { 0 };
		char *said;

		assert_int_equal(play_front(&imap_front_ops, front,
					 view_make(text, sizeof(text) - 1), cuts[i], &out),
			PROTO_MORE);
		said = view_dup(buf_view(&out));
		assert_string_equal(said, "+ \r\na BAD Response too long.\r\nb OK Done.\r\n");
		free(said);
		buf_fini(&out);
		imap_front_ops.free(front);
	}
}

static void test_replies(void **state)
{
	static const struct {
		enum front_reply reply;
		int result;
		const char *text;
	} replies[] = {
		{ FRONT_REPLY_AUTH_FAILED, PROTO_AGAIN, "a" FAILED },
		{ FRONT_REPLY_HIDDEN_TEMP, PROTO_AGAIN,
			"a NO [UNAVAILABLE] Service temporarily unavailable.\r\n" },
		{ FRONT_REPLY_UNAVAILABLE, FRONT_CLOSE,
			"a NO [UNAVAILABLE] Service temporarily unavailable.\r\n* BYE Try again "
			"later.\r\n" },
		{ FRONT_REPLY_SHUTDOWN, FRONT_CLOSE, "* BYE Shutting down.\r\n" },
		{ FRONT_REPLY_TIMEOUT, FRONT_CLOSE, "* BYE Timed out.\r\n" },
		{ FRONT_REPLY_VIOLATION, FRONT_CLOSE, "* BYE Protocol violation.\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct front *front = make(0);
		struct proto_credential credential;
		struct buf out = { 0 };
		char *said;

		assert_int_equal(play_front(&imap_front_ops, front, VIEW_LIT("a LOGIN bob pw\r\n"),
					 SIZE_MAX, &out),
			FRONT_LOGIN);
		imap_front_ops.take_credential(front, &credential);
		proto_credential_wipe(&credential);
		assert_int_equal(
			imap_front_ops.reply(front, replies[i].reply, &out), replies[i].result);
		said = view_dup(buf_view(&out));
		assert_string_equal(said, replies[i].text);
		free(said);
		buf_fini(&out);
		imap_front_ops.free(front);
	}
}

static void test_SES_14_starttls_restarts(void **state)
{
	struct front *front = make(PLAIN_LEG);
	struct buf out = { 0 };
	char *said;

	(void)state;
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT("a STARTTLS\r\n"), SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_int_equal(imap_front_ops.starttls_ok(front, &out), 0);
	imap_front_ops.starttls_done(front, true);
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT("b CAPABILITY\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	said = view_dup(buf_view(&out));
	assert_string_equal(said,
		"a OK Begin TLS.\r\n* CAPABILITY X Y AUTH=PLAIN AUTH=LOGIN\r\n"
		"b OK Done.\r\n");
	free(said);
	buf_fini(&out);
	imap_front_ops.free(front);
}

/* Where the login name and the token are in what the client sent. */
static void test_SES_35_36_parts(void **state)
{
	static const struct {
		const char *command, *login, *token;
		enum sasl_mech mech;
	} cases[] = {
		{ "a AUTHENTICATE OAUTHBEARER "
		  "bixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n",
			"carol@example.com", "tok", SASL_OAUTHBEARER },
		{ "a AUTHENTICATE OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHRrAQ==\r\n", "", "tk",
			SASL_OAUTHBEARER },
		{ "a AUTHENTICATE OAUTHBEARER "
		  "eSxhPWE9MkNiPTNEYywBaG9zdD1oAWF1dGg9YmVhcmVyIHQBAQ==\r\n",
			"a,b=c", "t", SASL_OAUTHBEARER },
		{ "a AUTHENTICATE XOAUTH2 dXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rAQE=\r\n", "u@x", "tok",
			SASL_XOAUTH2 },
		{ "a AUTHENTICATE XOAUTH2 dXNlcj0BYXV0aD1CZWFyZXIgdG9rAQE=\r\n", "", "tok",
			SASL_XOAUTH2 },
		{ "a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n", "bob", "", SASL_PLAIN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct front *front = make(OAUTH);
		struct proto_credential credential;
		struct buf out = { 0 };
		struct view token;

		assert_int_equal(play_front(&imap_front_ops, front, view_str(cases[i].command),
					 SIZE_MAX, &out),
			FRONT_LOGIN);
		assert_int_equal(imap_front_ops.last_mech(front), cases[i].mech);
		imap_front_ops.take_credential(front, &credential);
		assert_int_equal(credential.mech, cases[i].mech);
		assert_true(view_eq(proto_credential_login(&credential), view_str(cases[i].login)));
		token = view_make(buf_view(&credential.message).data + credential.token_at,
			credential.token_len);
		assert_true(view_eq(token, view_str(cases[i].token)));
		proto_credential_wipe(&credential);
		buf_fini(&out);
		imap_front_ops.free(front);
	}
}

int main(void)

{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_over_long_input),
		cmocka_unit_test(test_over_long_initial_response),
		cmocka_unit_test(test_over_long_response),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_SES_14_starttls_restarts),
		cmocka_unit_test(test_SES_35_36_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
