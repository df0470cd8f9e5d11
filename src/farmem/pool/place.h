/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_PLACE_H
#define FARMEM_POOL_PLACE_H

#include "base/err.h"
#include "conn.h"

/* Where a pool is, and how one gets there. */

struct transport;

enum place_kind { PLACE_TCP, PLACE_UNIX, PLACE_SHARED, PLACE_RDMA };

/** struct place - @loopback: what goes there never leaves this machine; never so of RDMA, whose devices answer whoever has the address */
struct place {
	enum place_kind kind;
	bool loopback;
	char host[108];
	uint16_t port;
};

/** struct listener - @fd: readable when somebody wants to connect; @port: that it got; @at: the transport's */
struct listener {
	int fd;
	enum place_kind kind;
	uint16_t port;
	const struct transport *transport;
	void *at;
};

/**
 * struct transport - one kind of place
 * @connect:  begin; never blocks. Then the way's reached(), whenever its descriptor has an event, until it is. Return: 0, -errno.
 * @accept:   Return: 1, 0 (nobody is there any more), -errno.
 * @unlisten: may be NULL; the descriptor is closed by its caller
 */
struct transport {
	int (*connect)(const struct place *p, struct conn *ret);
	int (*listen)(const struct place *p, struct listener *ret);
	int (*accept)(struct listener *l, struct conn *ret);
	void (*unlisten)(struct listener *l);
};

/* RDMA is a module (base/module.h), hearth-pool-rdma.so. */
#define RDMA_MODULE_SYMBOL "hearth_pool_rdma"

/** struct rdma_module - what it exports */
struct rdma_module {
	const char *version;
	const struct transport *transport;
};

/** place_parse - "tcp:HOST:PORT", "rdma:HOST:PORT", "unix:PATH" or "shm:PATH" of @n bytes. Return: 0, -EINVAL with message. */
int place_parse(const char *uri, size_t n, struct place *ret, struct hearth_err *err);
/** place_transport - how one gets there. Return: 0, -EOPNOTSUPP (this Hearth cannot) with message. */
int place_transport(const struct place *p, const struct transport **ret, struct hearth_err *err);
/** listener_open - Return: 0, -errno; then there is nothing to close */
int listener_open(const struct place *p, const struct transport *t, struct listener *ret);
void listener_close(struct listener *l);

#endif
