// SPDX-License-Identifier: Apache-2.0
/*
 * Mailboxes: the way one thread asks another for something. A message is embedded in its payload;
 * posting hands it over to the receiver, whose loop calls fn(message) once, in posting order.
 * A closed mailbox takes no messages: the sender keeps and disposes of it.
 */
#ifndef LOOP_POST_H
#define LOOP_POST_H

#include "base/compiler.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct post;
typedef void post_fn(struct post *post);

struct post {
	struct post *next;
	post_fn *fn;
};

struct mailbox {
	pthread_mutex_t lock;
	struct post *first, *last;
	int event_fd; /* owned; to be watched with EPOLLET */
	bool closed;
	atomic_uint waking; /* senders about to write to event_fd */
};

MUST_USE int mailbox_init(struct mailbox *mailbox);
/* Closes it; messages still inside are dropped without a call (their memory is the sender's leak
 * unless mailbox_run() was called after the last sender stopped). */
void mailbox_fini(struct mailbox *mailbox);

/* Any thread. Returns false, keeping nothing, if the mailbox is closed. */
bool mailbox_send(struct mailbox *mailbox, struct post *post, post_fn *fn);
/* From here to mailbox_wake_held() messages of the calling thread wake nobody up, so that who gets
 * several is woken up once. Others' messages to the same mailboxes wait too: not for long. */
void mailbox_hold(void);
void mailbox_wake_held(void);
/* Receiver only: runs what has arrived. Returns the number of messages run. */
unsigned mailbox_run(struct mailbox *mailbox);
/* Receiver only: refuse further messages; those inside can still be run. */
void mailbox_close(struct mailbox *mailbox);

#endif
