// SPDX-License-Identifier: Apache-2.0
/* What every front keeps: what is offered, the attempts, the exchange. */
#include "proto/front.h"

#include <errno.h>
#include <stdlib.h>

static char *copy(const char *text)
{
	return view_dup(view_str(text ? text : ""));
}

int front_base_init(struct front_base *base, const struct front_params *params)
{
	*base = (struct front_base){
		.host = copy(params->host),
		.banner = copy(params->banner),
		.capabilities = copy(params->capabilities),
		.implementation = copy(params->implementation),
		.client = copy(params->client),
		.mech_count = MIN(params->mech_count, (size_t)SASL_MECHS),
		.offer_starttls = params->offer_starttls,
		.permit_auth = params->permit_auth,
		.trusted = params->trusted,
		.max_attempts = params->max_attempts,
		.last_mech = -1,
	};
	if (base->mech_count)
		memcpy(base->mechs, params->mechs, base->mech_count * sizeof(base->mechs[0]));
	sasl_exchange_init(&base->sasl);
	if (base->host && base->banner && base->capabilities && base->implementation &&
		base->client)
		return 0;
	front_base_fini(base);
	return -ENOMEM;
}

void front_base_fini(struct front_base *base)
{
	sasl_exchange_reset(&base->sasl);
	free(base->host);
	free(base->banner);
	free(base->capabilities);
	free(base->implementation);
	free(base->client);
	base->host = base->banner = base->capabilities = NULL;
	base->implementation = base->client = NULL;
}

int front_base_mech(struct front_base *base, struct view name)
{
	int mech = sasl_mech_find(name);

	if (mech < 0)
		return -1;
	base->last_mech = mech;
	for (size_t i = 0; i < base->mech_count; i++) {
		if ((int)base->mechs[i] == mech)
			return mech;
	}
	return -1;
}

void front_base_attempt(struct front_base *base, enum sasl_mech mech)
{
	base->last_mech = (int)mech;
	(void)sasl_exchange_start(&base->sasl, mech);
}

void front_base_count_privacy(struct front_base *base)
{
	if (base->privacy < UINT16_MAX)
		base->privacy++;
}

bool front_base_count(struct front_base *base)
{
	return ++base->attempts >= base->max_attempts;
}

void front_base_starttls_done(struct front_base *base, bool permit_auth)
{
	sasl_exchange_reset(&base->sasl);
	base->peer = (struct front_peer){ 0 };
	base->offer_starttls = false;
	base->permit_auth = permit_auth;
}

static const struct front_base *base_of(const struct front *front)
{
	return (const struct front_base *)front;
}

enum front_end front_base_end(const struct front *front)
{
	return base_of(front)->end;
}

unsigned front_base_attempts(const struct front *front)
{
	return base_of(front)->attempts;
}

unsigned front_base_privacy(const struct front *front)
{
	return base_of(front)->privacy;
}

int front_base_last_mech(const struct front *front)
{
	return base_of(front)->last_mech;
}

const struct front_peer *front_base_peer(const struct front *front)
{
	return &base_of(front)->peer;
}

int proto_say(struct buf *out, const char *line)
{
	int r = buf_append_str(out, line);

	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	return r < 0 ? r : PROTO_AGAIN;
}
