/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_XDP_PROG_H
#define SCHED_NET_XDP_PROG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/**
 * struct xdp_prog - our program on an interface
 *
 * It hands UDP datagrams for one address and port to the AF_XDP socket of the queue they came in on, and everything else, ARP and fragments too, to the
 * kernel. It is held by a link, not by the interface: it goes when the last process that has the descriptor ends, however it ends.
 * @native: run by the driver; else on the kernel's packet buffers
 * All -1 is one that is not there.
 */
struct xdp_prog {
	int map, prog, link;
	bool native;
};
#define XDP_PROG_NONE { .map = -1, .prog = -1, .link = -1 }

/**
 * xdp_prog_load - into the kernel, not yet on any interface
 * @ip, @port: network byte order
 * @queues:    of the interface; the map of sockets has that many places
 * Return: 0, -errno with message; @p holds nothing then.
 */
int xdp_prog_load(uint32_t ip, uint16_t port, uint32_t queues, struct xdp_prog *p, struct hearth_err *err);
/** xdp_prog_attach - onto an interface; waits a few seconds for one that is just being removed. Return: 0, -errno with message. */
int xdp_prog_attach(struct xdp_prog *p, int ifindex, const char *interface, struct hearth_err *err);
/** xdp_prog_socket - datagrams from @queue go to this socket from here on. Return: 0, -errno. */
int xdp_prog_socket(struct xdp_prog *p, uint32_t queue, int socket);
void xdp_prog_done(struct xdp_prog *p);

#endif
