/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

/* hearth-pool-rdma.so: RDMA as one of the pool's transports. */

static const struct transport transport = { .connect = client_connect, .listen = pool_listen, .accept = pool_accept, .unlisten = pool_unlisten };

extern const struct rdma_module hearth_pool_rdma;
__attribute__((visibility("default"))) const struct rdma_module hearth_pool_rdma = { HEARTH_VERSION, &transport };
