// SPDX-License-Identifier: Apache-2.0
/*
 * TLS for every leg: contexts (certificates, policy, trust) and connections over net/stream.
 * Only tls/ knows OpenSSL's connections; record/ uses its ciphers. Nothing here blocks, logs or
 * looks at configuration: the caller passes plain parameters and gets -errno or an error text.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "base/buf.h"
#include "base/view.h"
#include "net/stream.h"

#define TLS_ERROR_SIZE 256
#define TLS_SHA256_SIZE 32

/* The TLS library that this is built with and the version that runs: "OpenSSL 3.0.19". Static. */
const char *tls_library_name(void);

/* ---- server side ---- */

struct tls_cert_params {
	const char *name;      /* table name, for messages */
	const char *cert_path; /* PEM chain, leaf first */
	const char *key_path;
	const char *const
		*subjects; /* lower or upper case; NULL-terminated; NULL or empty: from the leaf */
	bool is_default;
};

struct tls_policy {
	bool tls13_only;          /* min_version = "1.3" */
	bool ignore_client_order; /* the router's order wins */
	/* IANA names, any case, TLS13_ alias accepted; NULL-terminated, may be NULL */
	const char *const *disabled_suites;
	/* key exchange, best first, of tls_groups_check(); NULL or empty: what is safe to offer */
	const char *const *groups;
};

/* What a finding is about; errors refuse the configuration, warnings do not (CFG-20..25). */
struct tls_finding {
	bool error;
	const char *cert;  /* name of the certificate, or NULL for policy findings */
	const char *field; /* "cert" "key" "subjects" "default" "disable_cipher_suites" ... */
	char text[384];
};
typedef void tls_finding_fn(void *arg, const struct tls_finding *finding);

/* Reads and checks certificates without keeping them, for --check-config. Every finding is
 * reported. Returns 0 if there was no error, -EINVAL otherwise. */
MUST_USE int tls_check(const struct tls_cert_params *certs, size_t cert_count,
	const struct tls_policy *policy, tls_finding_fn *report, void *arg);

/* Whether groups of a policy or of client parameters can be used: reports an unknown one, one that
 * this library lacks, and one that is named twice under field. names may be NULL.
 * Returns 0, -EINVAL or -ENOMEM. */
MUST_USE int tls_groups_check(
	const char *const *names, const char *field, tls_finding_fn *report, void *arg);

/* Which of enum record_cipher (record/record.h), as bits, record/ has passed a trial with: they go
 * first in what both legs offer and choose, and legs with others stay with OpenSSL
 * (tls_records_take()); the rest keeps its order behind them. With none nobody needs the secrets of
 * TLS 1.3: they are not followed, and tls_keys_export() is refused.
 * Before the first context is made; without a call: all. */
void tls_prefer_ciphers(unsigned mask);

/* Immutable set of certificates plus policy, shared by all threads, reference counted. */
struct tls_server;

/* Process-wide secrets that outlive a reload: ticket keys (rotated hourly, valid 2 h, SES-12) and
 * the self-signed certificate (CFG-22). Call once. Returns 0 or -errno. */
MUST_USE int tls_process_init(void);
void tls_process_fini(void);

/* error gets a text on failure. Returns 0 or -errno. */
MUST_USE int tls_server_new(const struct tls_cert_params *certs, size_t cert_count,
	const struct tls_policy *policy, struct tls_server **ret_server,
	char error[TLS_ERROR_SIZE]);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server);

/* How ALPN is handled on a leg (SES-13, HTTP-2, ADM-1). */
struct tls_alpn {
	const char *id; /* "imap", "pop3", "managesieve", "http/1.1"; NULL = no ALPN at all */
	/* Mail (false): a list without id is served unless it names h2 or http/1.1.
	 * HTTP (true): a list without id is refused with no_application_protocol. */
	bool required;
};

/* Puts TLS (server side) on an open plain stream; on failure the stream stays plain.
 * alpn must outlive the connection. Returns 0 or -errno. */
MUST_USE int tls_stream_accept(
	struct stream *stream, struct tls_server *server, const struct tls_alpn *alpn);

/* Whether a PEM file has a certificate of an authority, for --check-config; error gets a text if
 * not. Returns 0, -EINVAL or -ENOMEM. */
MUST_USE int tls_authorities_check(const char *path, char error[TLS_ERROR_SIZE]);

/* Whose clients have to be known: by a certificate that one of the authorities has signed for a
 * client, or that is one of the pinned ones. Immutable, thread-safe, reference counted. */
struct tls_auth;
struct tls_auth_params {
	const char *ca_path;       /* PEM; NULL: none */
	const unsigned char *pins; /* TLS_SHA256_SIZE bytes each: SHA-256 of the leaf's DER */
	size_t pin_count;
};
/* error gets a text on failure. Returns 0 or -errno. */
MUST_USE int tls_auth_new(const struct tls_auth_params *params, struct tls_auth **ret_auth,
	char error[TLS_ERROR_SIZE]);
struct tls_auth *tls_auth_ref(struct tls_auth *auth);
void tls_auth_unref(struct tls_auth *auth); /* NULL is fine */
/* Whether both know the same clients. */
bool tls_auth_same(const struct tls_auth *a, const struct tls_auth *b);
/* After tls_stream_accept(): TLS 1.3 only, and only with such a certificate. 0 or -EIO. */
MUST_USE int tls_stream_demand(struct stream *stream, struct tls_auth *auth);

/* ---- client side ---- */

struct tls_client_params {
	const char *server_name; /* SNI (not sent for IP literals) and verified name */
	bool allow_invalid;      /* no verification */
	/* SHA-256 of the leaf's DER, TLS_SHA256_SIZE bytes; NULL = none. With a pin chain, name and
	 * dates are not checked (CFG-29). */
	const unsigned char *pin;
	unsigned pin_count; /* that many, one behind the other, each good; 0 = one */
	const char *client_cert_path, *client_key_path; /* both or neither */
	const char *ca_path; /* PEM bundle instead of the system's trust; NULL = the system's */
	const char *alpn;    /* offered protocol or NULL */
	bool tls13_only;
	/* As in struct tls_policy; NULL or empty: X25519, P-256, P-384. Borrowed for the call. */
	const char *const *groups;
};

/* Immutable trust settings plus the session cache of one destination and leg (SES-47, #33):
 * each context resumes only its own sessions. Thread-safe, reference counted. */
struct tls_client;

MUST_USE int tls_client_new(const struct tls_client_params *params, struct tls_client **ret_client,
	char error[TLS_ERROR_SIZE]);
struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_unref(struct tls_client *client);

/* What the system trusts now: changes when its certificates do. */
void tls_system_trust_digest(unsigned char ret_digest[TLS_SHA256_SIZE]);

/* Puts TLS (client side) on an open plain stream; on failure the stream stays plain. */
MUST_USE int tls_stream_connect(struct stream *stream, struct tls_client *client);

/* ---- both ---- */

/* Drives the handshake: 0 when done, -EAGAIN (see stream->want), -EPROTO or -errno on failure.
 * Reads and writes before it is done return -EAGAIN. A server's session tickets may wait for the
 * first read or write after it, and then go with that. */
MUST_USE int tls_stream_handshake(struct stream *stream);
/* Whether OpenSSL takes from the socket what is there (true), or never more than the record it is
 * reading (false, as a new stream does). With true, bytes may be waiting that epoll does not
 * report: stream_pending() tells, and the owner reads until it says no or a read returns
 * -EAGAIN. */
void tls_stream_read_ahead(struct stream *stream, bool on);
/* Whether OpenSSL wipes in its own buffers what was read: a server's stream does from the end of
 * its handshake on, a client's does not. */
void tls_stream_wipe_read(struct stream *stream, bool on);
/* Why the handshake or the last read/write failed; "" if it did not. No peer-chosen bytes. */
const char *tls_stream_error(const struct stream *stream);
/* After the handshake: "TLSv1.3", "TLS_AES_256_GCM_SHA384" (IANA names). "-" on a plain stream. */
const char *tls_stream_version(const struct stream *stream);
const char *tls_stream_cipher(const struct stream *stream);
/* As they stand in records and hellos: 0x0304, 0x1301. 0 on a plain stream. */
uint16_t tls_stream_wire_version(const struct stream *stream);
uint16_t tls_stream_suite(const struct stream *stream);
/* IANA's name of such a number; "-" when the library has none. Static. */
const char *tls_suite_name(uint16_t suite);
bool tls_stream_resumed(const struct stream *stream);
/* Whether both sides have agreed on this protocol by ALPN (RFC 7301). */
bool tls_stream_agreed(const struct stream *stream, const char *alpn_id);

/* SHA-256. */
void tls_sha256(struct view data, unsigned char ret_digest[TLS_SHA256_SIZE]);
/* Of the first certificate in a PEM file, as pins are made. Returns 0, or -EINVAL if there is none
 * that can be read. */
MUST_USE int tls_file_sha256(const char *path, unsigned char ret_digest[TLS_SHA256_SIZE]);
/* 64 hex digits, ':' ignored, any case (pins). Returns 0 or -EINVAL. */
MUST_USE int tls_parse_sha256(struct view text, unsigned char ret_digest[TLS_SHA256_SIZE]);

#endif
