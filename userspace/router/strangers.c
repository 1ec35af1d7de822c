// SPDX-License-Identifier: Apache-2.0
#include "router/strangers.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct strangers {
	pthread_mutex_t lock;
	size_t used;
	struct stranger rows[STRANGERS_MAX];
};

int strangers_new(struct strangers **ret_strangers)
{
	struct strangers *strangers = calloc(1, sizeof(*strangers));

	if (!strangers)
		return -ENOMEM;
	pthread_mutex_init(&strangers->lock, NULL);
	*ret_strangers = strangers;
	return 0;
}

void strangers_free(struct strangers *strangers)
{
	if (!strangers)
		return;
	pthread_mutex_destroy(&strangers->lock);
	free(strangers);
}

/* Came more often, or as often and later. */
static bool is_worse(const struct stranger *a, const struct stranger *b)
{
	return a->count != b->count ? a->count > b->count : a->last_real_ms > b->last_real_ms;
}

/* Its row, or the one that it is to have. */
static struct stranger *place_of(struct strangers *strangers, const struct addr *key)
{
	struct stranger *least = &strangers->rows[0];

	for (size_t i = 0; i < strangers->used; i++) {
		struct stranger *row = &strangers->rows[i];

		if (addr_eq_ip(&row->addr, key))
			return row;
		if (is_worse(least, row))
			least = row;
	}
	if (strangers->used < STRANGERS_MAX)
		least = &strangers->rows[strangers->used++];
	*least = (struct stranger){ .addr = *key };
	return least;
}

void strangers_count(struct strangers *strangers, const struct addr *addr, uint64_t now_real_ms)
{
	struct stranger *row;
	struct addr key;

	addr_limit_key(addr, &key);
	pthread_mutex_lock(&strangers->lock);
	row = place_of(strangers, &key);
	row->count++;
	row->last_real_ms = now_real_ms;
	pthread_mutex_unlock(&strangers->lock);
}

static int worst_first(const void *a, const void *b)
{
	return is_worse(a, b) ? -1 : is_worse(b, a);
}

size_t strangers_worst(struct strangers *strangers, struct stranger *ret_worst, size_t max)
{
	size_t count;

	pthread_mutex_lock(&strangers->lock);
	qsort(strangers->rows, strangers->used, sizeof(strangers->rows[0]), worst_first);
	count = MIN(strangers->used, max);
	memcpy(ret_worst, strangers->rows, count * sizeof(*ret_worst));
	pthread_mutex_unlock(&strangers->lock);
	return count;
}

const char *stranger_format(const struct stranger *stranger, char text[STRANGER_TEXT_SIZE])
{
	char ip[ADDR_TEXT_SIZE];

	snprintf(text, STRANGER_TEXT_SIZE, "%s%s", addr_format_ip(&stranger->addr, ip),
		stranger->addr.sa.sa_family == AF_INET6 ? "/64" : "");
	return text;
}
