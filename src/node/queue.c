// SPDX-License-Identifier: Apache-2.0
#include "priv.h"

static void fifo_push(struct function *fn, struct invocation *inv)
{
	TAILQ_INSERT_TAIL(&fn->queue, inv, entry);
}

static struct invocation *fifo_peek(struct function *fn)
{
	return TAILQ_FIRST(&fn->queue);
}

static void fifo_remove(struct function *fn, struct invocation *inv)
{
	TAILQ_REMOVE(&fn->queue, inv, entry);
}

const struct queue_policy queue_fifo = {
	.name = "fifo",
	.push = fifo_push,
	.peek = fifo_peek,
	.remove = fifo_remove,
};
