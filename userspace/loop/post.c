// SPDX-License-Identifier: Apache-2.0
/* Mailboxes: a locked list and an eventfd, which nobody reads: each write is an edge for epoll. */
#include "loop/post.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HELD_MAX 16

/* Mailboxes that this thread has to wake up: each counts in `waking`. */
static _Thread_local struct {
	bool hold;
	unsigned count;
	struct mailbox *mailboxes[HELD_MAX];
} held;

int mailbox_init(struct mailbox *mailbox)
{
	*mailbox = (struct mailbox){ .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (mailbox->event_fd < 0)
		return -errno;
	pthread_mutex_init(&mailbox->lock, NULL);
	return 0;
}

void mailbox_fini(struct mailbox *mailbox)
{
	if (mailbox->event_fd < 0)
		return;
	while (atomic_load(&mailbox->waking)) /* not for long */
		sched_yield();
	close(mailbox->event_fd);
	pthread_mutex_destroy(&mailbox->lock);
	mailbox->event_fd = -1;
	mailbox->first = mailbox->last = NULL;
}

/* It would fail with the counter full, after 2^64 times. */
static void wake_up(struct mailbox *mailbox)
{
	uint64_t one = 1;

	(void)!write(mailbox->event_fd, &one, sizeof(one));
	atomic_fetch_sub(&mailbox->waking, 1);
}

void mailbox_hold(void)
{
	held.hold = true;
}

void mailbox_wake_held(void)
{
	held.hold = false;
	while (held.count)
		wake_up(held.mailboxes[--held.count]);
}

bool mailbox_send(struct mailbox *mailbox, struct post *post, post_fn *fn)
{
	bool wake, closed;

	post->next = NULL;
	post->fn = fn;
	pthread_mutex_lock(&mailbox->lock);
	closed = mailbox->closed;
	wake = !closed && !mailbox->first;
	if (!closed) {
		if (mailbox->last)
			mailbox->last->next = post;
		else
			mailbox->first = post;
		mailbox->last = post;
		if (wake)
			atomic_fetch_add(&mailbox->waking, 1);
	}
	pthread_mutex_unlock(&mailbox->lock);
	/* Without the lock: the receiver may run at once, in our place, and would find it taken;
	 * it does not close event_fd in between. It may find nothing, if it was awake anyhow. */
	if (wake && held.hold && held.count < HELD_MAX)
		held.mailboxes[held.count++] = mailbox;
	else if (wake)
		wake_up(mailbox);
	return !closed;
}

unsigned mailbox_run(struct mailbox *mailbox)
{
	struct post *post, *next;
	unsigned count = 0;

	pthread_mutex_lock(&mailbox->lock);
	post = mailbox->first;
	mailbox->first = mailbox->last = NULL;
	pthread_mutex_unlock(&mailbox->lock);
	for (; post; post = next) {
		next = post->next;
		post->next = NULL;
		post->fn(post);
		count++;
	}
	return count;
}

void mailbox_close(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	mailbox->closed = true;
	pthread_mutex_unlock(&mailbox->lock);
}
