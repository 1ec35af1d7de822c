// SPDX-License-Identifier: Apache-2.0
/*
 * Intrusive doubly linked list. A list is a struct list_node used as head; an unlinked or zeroed
 * node may be passed to list_del() any number of times.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/compiler.h"

#include <stdbool.h>

struct list_node {
	struct list_node *prev, *next;
};

static inline void list_init(struct list_node *head)
{
	head->prev = head->next = head;
}

/*
 * The clang analyzer does not see that what has left a list, and was freed, is not what the head
 * points to any more. It is told that the head may have changed since it was looked at.
 */
#ifdef __clang_analyzer__
void list_changed(void *head);
#else
#define list_changed(head) ((void)(head))
#endif

static inline bool list_empty(const struct list_node *head)
{
	list_changed((void *)head);
	return head->next == head || !head->next;
}

static inline bool list_linked(const struct list_node *node)
{
	return node->next != NULL && node->next != node;
}

static inline void list_add_tail(struct list_node *head, struct list_node *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_add_head(struct list_node *head, struct list_node *node)
{
	list_add_tail(head->next, node);
}

static inline void list_del(struct list_node *node)
{
	if (!node->next)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->prev = node->next = NULL;
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_for_each(pos, head) \
	for (struct list_node *pos = (head)->next; pos != (head); pos = pos->next)
/* The current node may be unlinked or freed inside the loop. */
#define list_for_each_safe(pos, tmp, head)                                          \
	for (struct list_node *pos = (head)->next, *tmp = pos->next; pos != (head); \
		pos = tmp, tmp = pos->next)

#endif
