// SPDX-License-Identifier: Apache-2.0
/* See aead.h. What is fetched stays for the life of the process, and with it its provider. */
#include "record/aead.h"

#include <errno.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

struct record_functions {
	EVP_CIPHER *cipher; /* holds its provider */
	void *provider;
	size_t key_len;
	OSSL_FUNC_cipher_newctx_fn *new;
	OSSL_FUNC_cipher_freectx_fn *free;
	OSSL_FUNC_cipher_encrypt_init_fn *init[2]; /* per enum record_direction; both are alike */
	OSSL_FUNC_cipher_update_fn *update;
	OSSL_FUNC_cipher_final_fn *final;
	OSSL_FUNC_cipher_get_ctx_params_fn *get_params;
};

/* Without `new`: libcrypto does not have the cipher. */
static struct record_functions functions_of[RECORD_CIPHERS];

static void note_function(struct record_functions *functions, const OSSL_DISPATCH *row)
{
	switch (row->function_id) {
	case OSSL_FUNC_CIPHER_NEWCTX:
		functions->new = OSSL_FUNC_cipher_newctx(row);
		break;
	case OSSL_FUNC_CIPHER_FREECTX:
		functions->free = OSSL_FUNC_cipher_freectx(row);
		break;
	case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
		functions->init[RECORD_WRITE] = OSSL_FUNC_cipher_encrypt_init(row);
		break;
	case OSSL_FUNC_CIPHER_DECRYPT_INIT:
		functions->init[RECORD_READ] = OSSL_FUNC_cipher_decrypt_init(row);
		break;
	case OSSL_FUNC_CIPHER_UPDATE:
		functions->update = OSSL_FUNC_cipher_update(row);
		break;
	case OSSL_FUNC_CIPHER_FINAL:
		functions->final = OSSL_FUNC_cipher_final(row);
		break;
	case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
		functions->get_params = OSSL_FUNC_cipher_get_ctx_params(row);
		break;
	default:
		break;
	}
}

/* Of names with colons between them the first is the one that OpenSSL calls it by. */
static bool is_called(const char *names, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(names, name, len) == 0 && (!names[len] || names[len] == ':');
}

/* Of the table of the provider that has the cipher. */
static void find_functions(
	struct record_functions *functions, const char *name, const OSSL_ALGORITHM *rows)
{
	struct record_functions found = *functions;

	while (rows && rows->algorithm_names && !is_called(rows->algorithm_names, name))
		rows++;
	if (!rows || !rows->algorithm_names)
		return;
	for (const OSSL_DISPATCH *row = rows->implementation; row->function_id; row++)
		note_function(&found, row);
	if (!found.new || !found.free || !found.init[0] || !found.init[1])
		return;
	if (found.get_params && found.final && found.update)
		*functions = found;
}

static void fetch_cipher(struct record_functions *functions, const char *name)
{
	const OSSL_PROVIDER *provider;
	const OSSL_ALGORITHM *rows;
	int no_cache = 0;

	functions->cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	provider = functions->cipher ? EVP_CIPHER_get0_provider(functions->cipher) : NULL;
	if (!provider)
		return;
	functions->key_len = (size_t)EVP_CIPHER_get_key_length(functions->cipher);
	functions->provider = OSSL_PROVIDER_get0_provider_ctx(provider);
	rows = OSSL_PROVIDER_query_operation(provider, OSSL_OP_CIPHER, &no_cache);
	find_functions(functions, name, rows);
	OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_CIPHER, rows);
}

static void fetch(void)
{
	for (int c = 0; c < RECORD_CIPHERS; c++)
		fetch_cipher(&functions_of[c], record_cipher_name((enum record_cipher)c));
}

int record_aead_init(
	struct record_aead *aead, enum record_cipher cipher, enum record_direction direction)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct record_functions *functions = &functions_of[cipher];

	pthread_once(&once, fetch);
	*aead = (struct record_aead){ .functions = functions, .direction = direction };
	if (functions->new)
		aead->ctx = functions->new(functions->provider);
	return aead->ctx ? 0 : -EIO;
}

void record_aead_fini(struct record_aead *aead)
{
	if (aead->ctx)
		aead->functions->free(aead->ctx);
	aead->ctx = NULL;
}

int record_aead_set_key(struct record_aead *aead, const unsigned char *key)
{
	const struct record_functions *functions = aead->functions;

	return functions->init[aead->direction](
		       aead->ctx, key, functions->key_len, NULL, 0, NULL) == 1
		? 0
		: -EIO;
}

int record_aead_begin(struct record_aead *aead, const unsigned char nonce[RECORD_NONCE_BYTES],
	const unsigned char *tag)
{
	OSSL_PARAM params[] = {
		{ OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, (void *)tag,
			RECORD_TAG_BYTES, OSSL_PARAM_UNMODIFIED },
		{ 0 },
	};

	return aead->functions->init[aead->direction](
		       aead->ctx, NULL, 0, nonce, RECORD_NONCE_BYTES, tag ? params : NULL) == 1
		? 0
		: -EIO;
}

int record_aead_add(struct record_aead *aead, const unsigned char *data, size_t len)
{
	return record_aead_update(aead, NULL, data, len);
}

int record_aead_update(
	struct record_aead *aead, unsigned char *to, const unsigned char *from, size_t len)
{
	size_t n;

	return !len || aead->functions->update(aead->ctx, to, &n, len, from, len) == 1 ? 0 : -EIO;
}

/* Neither cipher has anything left to write then. */
static bool finish(struct record_aead *aead)
{
	unsigned char nothing[RECORD_TAG_BYTES];
	size_t n;

	return aead->functions->final(aead->ctx, nothing, &n, sizeof(nothing)) == 1;
}

int record_aead_seal(struct record_aead *aead, unsigned char ret_tag[RECORD_TAG_BYTES])
{
	OSSL_PARAM params[] = {
		{ OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, ret_tag, RECORD_TAG_BYTES,
			OSSL_PARAM_UNMODIFIED },
		{ 0 },
	};

	return finish(aead) && aead->functions->get_params(aead->ctx, params) == 1 ? 0 : -EIO;
}

int record_aead_open(struct record_aead *aead)
{
	return finish(aead) ? 0 : -EBADMSG;
}
