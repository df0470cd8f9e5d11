/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_FRONT_H
#define SCHED_FRONT_H

#include "app.h"
#include "classify.h"
#include "disp.h"
#include "sched/net.h"

/*
 * Requests in datagrams: the front of a server, on a packet backend. front.c is what the dispatcher's thread does with datagrams, front_work.c what a worker does.
 */

/** struct front_counters - datagrams that became no request. @malformed: refused by wire_parse; @answered: those of them that were told so; @replies: not for us */
struct front_counters { _Atomic uint64_t malformed, answered, replies, starved; };

/**
 * struct front
 * @classifier, @reject_unknown, @drop_silently: changed by the dispatcher's thread only
 * @reqs:    shared memory, @reqs_n of them: as many as there may be buffers inside, so that a datagram always finds one, and @spare for workers that are
 *           past sending their reply
 * @answers: rewritten into replies, leave with a flush, on the receiver's queue @self; @held_ns: since when they are held back, 0: they are not
 * @received: in this round
 */
#define FRONT_BATCH 64
/*
 * While requests keep coming in, or the one that was started last may soon be done, replies wait for one another for so many or so long: a burst costs the
 * driver little more than a single one. A reply that nothing follows waits for nothing.
 */
#define FRONT_HOLD 32
#define FRONT_HOLD_NS 2000
struct front {
	const struct net_backend *net;
	struct net_port *port;
	struct disp *disp;
	struct classifier *classifier;
	bool reject_unknown, drop_silently;
	uint32_t self, reqs_n, free_n, spare;
	struct req *reqs, **free;
	struct net_buf *answers[FRONT_BATCH], *drops[FRONT_BATCH];
	unsigned answers_n, drops_n, received;
	uint64_t held_ns;
	struct front_counters counters;
};

extern const struct disp_front front_ops;

/** front_init - @port stays the caller's. @buffers: that may be inside. Return: 0, -ENOMEM with message. */
int front_init(struct front *f, struct net_port *port, uint32_t workers, uint32_t buffers, struct hearth_err *err);
void front_done(struct front *f);

/** struct front_worker - one worker's; in its process */
struct front_worker {
	const struct hearth_app *app;
	void *state;
	struct net_port *port;
	uint32_t worker;
};
extern const struct slot_work front_work;

#endif
