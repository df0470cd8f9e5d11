/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_PROBE_H
#define INIT_PROBE_H

#include "loop.h"

/* http contract: the function is ready when it accepts connections on 127.0.0.1:port. Tried again after 1 ms, growing to 20 ms. */
struct probe {
	struct loop *loop;
	struct loop_io io;
	struct loop_timer timer;
	uint16_t port;
	uint64_t interval_ns;
	void (*ready)(void *ctx);
	void *ctx;
};

void probe_start(struct probe *p, struct loop *loop, uint16_t port, void (*ready)(void *ctx), void *ctx);
void probe_stop(struct probe *p);

#endif
