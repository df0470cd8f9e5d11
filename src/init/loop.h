/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_LOOP_H
#define INIT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A small level-triggered epoll loop. Callbacks may remove and free any source, their own too: events are fetched one at a time.
 * epoll and plain descriptors only, so that CRIU can dump the process at any moment.
 */
struct loop_io {
	int fd;                         /* -1: not in use */
	uint32_t events;                /* what it is registered for */
	void (*ready)(struct loop_io *io, uint32_t events);
	void *ctx;
};

struct loop_timer {
	uint64_t at_ns;                 /* CLOCK_MONOTONIC; 0 = off; switched off before it fires */
	void (*fire)(struct loop_timer *timer);
	void *ctx;
};

#define LOOP_TIMERS 4

struct loop {
	int epoll_fd;
	bool stop;
	struct loop_timer *timers[LOOP_TIMERS];
	size_t timer_count;
};

int loop_init(struct loop *loop);               /* 0, -errno */
void loop_done(struct loop *loop);
int loop_add(struct loop *loop, struct loop_io *io, uint32_t events);
int loop_want(struct loop *loop, struct loop_io *io, uint32_t events);
/** loop_close - remove and close; fine when not in use */
void loop_close(struct loop *loop, struct loop_io *io);
/** loop_timer_add - once per timer, at start; at most LOOP_TIMERS */
void loop_timer_add(struct loop *loop, struct loop_timer *timer);
/** loop_run - until loop->stop. Return: 0, -errno. */
int loop_run(struct loop *loop);

#endif
