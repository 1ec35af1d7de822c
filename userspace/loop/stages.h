// SPDX-License-Identifier: Apache-2.0
/*
 * Turns of logins (LIB-8). What happens to a watch with a stage is noted in a list of that stage,
 * the longest there first. In each batch, when all that is at once is done, the lists are worked
 * through from the latest stage to the first, for as long as the budget lasts; of each stage at
 * least one has its turn, whatever the others have to do. What is left stays where it is, and the
 * batch after it does not wait. A watch that is removed leaves its list; one that is told of again
 * stays in its place, and where many wait epoll is asked to tell no more of it until its turn: to
 * look at thousands of them in each wait would cost a third of the turn.
 */
#ifndef LOOP_STAGES_H
#define LOOP_STAGES_H

#include "loop/loop.h"

void stages_init(struct loop_stages *stages);
/* watch: that of a loop_staged. */
void stages_put(struct loop_watch *watch, uint32_t epoll_events);
/* It goes, and its descriptor with it. */
void stages_drop(struct loop_watch *watch);
/* It belongs to somebody else. */
void stages_leave(struct loop_watch *watch);
/* Epoll has got its mask anew. */
void stages_set(struct loop_watch *watch);
/* Somebody waits for a turn. */
static inline bool stages_wait(const struct loop_stages *stages)
{
	return stages->waiting || !list_empty(&stages->ready[LOOP_ACCEPT]);
}
/* One turn. look: asks epoll and serves what is at once, while the turn goes on; called when logins
 * took 0.15 ms since the last time. */
void stages_run(struct loop *loop, void (*look)(struct loop *loop));

#endif
