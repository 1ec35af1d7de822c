// SPDX-License-Identifier: Apache-2.0
/* Mailboxes: a locked list and an eventfd. */
#include "loop/post.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
	close(mailbox->event_fd);
	pthread_mutex_destroy(&mailbox->lock);
	mailbox->event_fd = -1;
	mailbox->first = mailbox->last = NULL;
}

bool mailbox_send(struct mailbox *mailbox, struct post *post, post_fn *fn)
{
	uint64_t one = 1;
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
		/* Under the lock, so that the receiver cannot close event_fd in between. It only
		 * fails with the counter full, and then the receiver is awake anyhow. */
		if (wake)
			(void)!write(mailbox->event_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&mailbox->lock);
	return !closed;
}

unsigned mailbox_run(struct mailbox *mailbox)
{
	struct post *post, *next;
	unsigned count = 0;
	uint64_t value;

	if (read(mailbox->event_fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
		return 0;
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
