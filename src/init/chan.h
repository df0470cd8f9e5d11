/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_CHAN_H
#define INIT_CHAN_H

#include "base/buf.h"
#include "fn/wire.h"
#include "loop.h"
#include "outq.h"

/* The instance's end of the channel: listener, one peer, frames both ways. */
struct chan_ops {
	void (*invoke)(void *ctx, const struct fn_view *frame);
	void (*stop)(void *ctx, int sig);
	void (*cancel)(void *ctx, uint64_t id);
	void (*rest)(void *ctx);
	int (*running)(void *ctx, struct buf *ids);     /* append the ids of invocations in progress, as the wire has them. Return: 0, -ENOMEM. */
};

struct chan {
	struct loop *loop;
	struct loop_io listener, peer;
	struct buf in;
	struct outq out;
	const struct chan_ops *ops;
	void *ctx;
	bool loaded;                            /* the runtime is loaded */
	bool ready;                             /* the function finished its initialisation */
	bool forks;                             /* it may become a zygote: version 2 is spoken */
	bool zygote;                            /* it did */
	unsigned workers;
	bool done;                              /* stop the loop as soon as everything is sent */
};

int chan_init(struct chan *c, struct loop *loop, const char *suffix, const struct chan_ops *ops, void *ctx);    /* 0, -errno */
void chan_done(struct chan *c);
/** chan_send - queue a frame and send what the socket takes. Return: 0, -ENOMEM, -EMSGSIZE. */
int chan_send(struct chan *c, struct fn_frame head, const char *meta, size_t meta_len, const void *body, size_t body_len);
void chan_log(struct chan *c, unsigned stream, const void *data, size_t len);
/** chan_ready - the function is ready, @zygote: to fork workers: said now, and in every later HELLO */
void chan_ready(struct chan *c, bool zygote);
/** chan_workers - how many workers there are: the same */
void chan_workers(struct chan *c, unsigned count);
/** chan_loaded - the language runtime is loaded: the same */
void chan_loaded(struct chan *c);
/** chan_finish - stop the loop once everything is sent */
void chan_finish(struct chan *c);

#endif
