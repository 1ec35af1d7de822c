// SPDX-License-Identifier: Apache-2.0
/* XCLIENT (Postfix' XCLIENT_README, with the attributes that Dovecot adds): what a trusted peer
 * says of its client, and what we say to a node. LOGIN is neither sent nor honoured (#14). */
#include "proto/front.h"

#include <assert.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

static const char *const names[] = { "ADDR", "PORT", "DESTADDR", "DESTPORT", "SESSION", "TTL",
	"CLIENT-TRANSPORT", "HELO", "PROTO" };
static_assert(ARRAY_SIZE(names) == XCLIENT_ATTRIBUTES, "a name for each");

static int find_name(struct view name)
{
	for (int i = 0; i < XCLIENT_ATTRIBUTES; i++) {
		if (view_eq_nocase(name, view_str(names[i])))
			return i;
	}
	return -1;
}

/* ---- from a peer ---- */

static int set_address(struct view value, char ret[PROTO_ADDRESS_BYTES])
{
	bool six = view_starts_nocase(value, VIEW_LIT("IPV6:"));
	char text[PROTO_ADDRESS_BYTES];
	unsigned char binary[16];

	if (six)
		value = view_skip(value, 5);
	if (!value.len || value.len >= sizeof(text) || memchr(value.data, 0, value.len))
		return -EINVAL;
	memcpy(text, value.data, value.len);
	text[value.len] = '\0';
	if ((six || inet_pton(AF_INET, text, binary) != 1) &&
		inet_pton(AF_INET6, text, binary) != 1)
		return -EINVAL;
	memcpy(ret, text, value.len + 1);
	return 0;
}

static int set_number(struct view value, unsigned least, unsigned most, unsigned *ret)
{
	uint64_t number;

	if (view_to_u64(value, &number) < 0 || number < least || number > most)
		return -EINVAL;
	*ret = (unsigned)number;
	return 0;
}

static int set_session(struct view value, char ret[65])
{
	if (value.len > 64)
		return -EINVAL;
	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] <= ' ' || value.data[i] > '~')
			return -EINVAL;
	}
	memcpy(ret, value.data, value.len);
	ret[value.len] = '\0';
	return 0;
}

int front_peer_set(struct front_peer *peer, struct view name, struct view value)
{
	unsigned number = 0;
	int r = 0;

	if (view_eq_nocase(value, VIEW_LIT("[UNAVAILABLE]")) ||
		view_eq_nocase(value, VIEW_LIT("[TEMPUNAVAIL]")))
		return 0;
	switch (find_name(name)) {
	case XCLIENT_ADDR:
		return set_address(value, peer->addr);
	case XCLIENT_DESTADDR:
		return set_address(value, peer->dest_addr);
	case XCLIENT_PORT:
		r = set_number(value, 1, UINT16_MAX, &number);
		if (r == 0)
			peer->port = (uint16_t)number;
		return r;
	case XCLIENT_DESTPORT:
		r = set_number(value, 1, UINT16_MAX, &number);
		if (r == 0)
			peer->dest_port = (uint16_t)number;
		return r;
	case XCLIENT_SESSION:
		return set_session(value, peer->session);
	case XCLIENT_TTL:
		r = set_number(value, 0, 255, &number);
		if (r == 0) {
			peer->ttl = number;
			peer->has_ttl = true;
		}
		return r;
	default: /* CLIENT-TRANSPORT never makes a leg secure */
		return 0;
	}
}

/* xtext of RFC 3461 section 4. Returns the length, or -EINVAL. */
static int decode_xtext(struct view text, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c <= ' ' || c > '~' || n == size)
			return -EINVAL;
		if (c == '+') {
			int high, low;

			if (i + 2 >= text.len)
				return -EINVAL;
			high = hex_digit(text.data[i + 1]);
			low = hex_digit(text.data[i + 2]);
			if (high < 0 || low < 0)
				return -EINVAL;
			c = (char)(high << 4 | low);
			i += 2;
		}
		ret[n++] = c;
	}
	return (int)n;
}

static bool is_read(int attribute)
{
	return attribute >= 0 && attribute <= XCLIENT_TTL;
}

static int take_word(struct view word, bool xtext, struct front_peer *peer)
{
	const char *equals = memchr(word.data, '=', word.len);
	struct view name, value;
	char decoded[512];

	if (!equals || equals == word.data)
		return -EINVAL;
	name = view_make(word.data, (size_t)(equals - word.data));
	value = view_skip(word, name.len + 1);
	if (!is_read(find_name(name)))
		return 0; /* may be of any form: not for us to judge */
	if (xtext) {
		int n = decode_xtext(value, decoded, sizeof(decoded));

		if (n < 0)
			return n;
		value = view_make(decoded, (size_t)n);
	}
	return front_peer_set(peer, name, value);
}

/* The first word; rest moves behind it. Empty at the end. */
static struct view next_word(struct view *rest)
{
	size_t start = 0, end;

	while (start < rest->len && rest->data[start] == ' ')
		start++;
	for (end = start; end < rest->len && rest->data[end] != ' '; end++)
		;
	struct view word = view_make(rest->data + start, end - start);

	*rest = view_skip(*rest, end);
	return word;
}

int xclient_parse(struct view words, bool xtext, struct front_peer *peer)
{
	struct front_peer new = *peer;
	struct view word;

	while ((word = next_word(&words)).len) {
		if (take_word(word, xtext, &new) < 0)
			return -EINVAL;
	}
	*peer = new;
	return 0;
}

/* ---- to a node ---- */

unsigned xclient_listed(struct view words)
{
	unsigned listed = 0;
	struct view word;

	while ((word = next_word(&words)).len) {
		int attribute = find_name(word);

		if (attribute >= 0)
			listed |= BIT(attribute);
	}
	return listed;
}

static int put_xtext(struct buf *out, const char *text)
{
	int r = 0;

	for (; r == 0 && *text; text++) {
		if (*text <= ' ' || *text > '~' || *text == '+' || *text == '=')
			r = buf_printf(out, "+%02X", (unsigned char)*text);
		else
			r = buf_append(out, text, 1);
	}
	return r;
}

static int put_text(struct buf *out, const char *text, bool smtp)
{
	return smtp ? put_xtext(out, text) : buf_append_str(out, text);
}

static int put_address(struct buf *out, const char *addr, bool smtp)
{
	int r = smtp && strchr(addr, ':') ? buf_append_str(out, "IPV6:") : 0;

	return r < 0 ? r : put_text(out, addr, smtp);
}

static int put_value(struct buf *out, enum xclient_attribute attribute,
	const struct back_forward *forward, const char *helo, bool smtp)
{
	switch (attribute) {
	case XCLIENT_ADDR:
		return put_address(out, forward->client_ip, smtp);
	case XCLIENT_PORT:
		return buf_printf(out, "%u", forward->client_port);
	case XCLIENT_DESTADDR:
		return put_address(out, forward->local_ip, smtp);
	case XCLIENT_DESTPORT:
		return buf_printf(out, "%u", forward->local_port);
	case XCLIENT_SESSION:
		return put_text(out, forward->session_id, smtp);
	case XCLIENT_TTL:
		return buf_printf(out, "%u", forward->ttl);
	case XCLIENT_CLIENT_TRANSPORT:
		return buf_append_str(out, forward->client_tls ? "TLS" : "insecure");
	case XCLIENT_HELO:
		return put_xtext(out, helo);
	default:
		return buf_append_str(out, "ESMTP");
	}
}

int xclient_write(struct buf *out, const struct back_forward *forward, const char *helo,
	unsigned mask, bool smtp, bool *ret_any)
{
	int r = 0;

	*ret_any = false;
	for (int i = 0; r == 0 && i < XCLIENT_ATTRIBUTES; i++) {
		if (!(mask & BIT(i)) || (i == XCLIENT_HELO && !*helo))
			continue;
		*ret_any = true;
		r = buf_printf(out, " %s=", names[i]);
		if (r == 0)
			r = put_value(out, (enum xclient_attribute)i, forward, helo, smtp);
	}
	return r;
}
