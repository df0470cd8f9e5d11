/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_OUTQ_H
#define INIT_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "fn/wire.h"

/*
 * Frames on their way to hearthd, in order. Log frames are bounded in bytes: the oldest go first, and a FN_LOG_LOST frame in their place counts them.
 * What matters beyond a connection (log, results, exit) stays until it was sent whole.
 */
struct outq_frame;

struct outq {
	struct outq_frame *head, *tail;
	size_t log_bytes, log_max;      /* memory of the queued log frames, with their overhead */
};

void outq_init(struct outq *q, size_t log_max);
void outq_done(struct outq *q);
/** outq_put - queue a frame; len and meta_len of the header are filled in. Return: 0, -ENOMEM, -EMSGSIZE. */
int outq_put(struct outq *q, struct fn_frame head, const char *meta, size_t meta_len, const void *body, size_t body_len);
/** outq_put_first - the same in front of everything; only while nothing is half sent */
int outq_put_first(struct outq *q, struct fn_frame head, const void *body, size_t body_len);
/** outq_log - queue output of the function; never fails: what cannot be kept is counted as lost */
void outq_log(struct outq *q, unsigned stream, const void *data, size_t len);
/** outq_iov - what to send next. Return: number of pieces, 0 = nothing. */
size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max);
/** outq_sent - n bytes of it were sent */
void outq_sent(struct outq *q, size_t n);
/** outq_hangup - the connection is gone: frames that only concerned it are dropped, a half-sent one starts again */
void outq_hangup(struct outq *q);
/** outq_result_ids - the ids of queued results of invocations, appended to @ids as the wire has them. Return: 0, -ENOMEM. */
int outq_result_ids(const struct outq *q, struct buf *ids);

#endif
