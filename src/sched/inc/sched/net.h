/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_H
#define SCHED_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Packet backends behind one interface: UDP sockets, AF_XDP, DPDK. One receiver thread (the dispatcher) owns a port's receive side and gives buffers
 * back; each worker owns a transmit queue of its own. A received buffer is borrowed by whoever works on it, is rewritten in place into its reply, and is
 * transmitted or released exactly once, so that a request crosses no copy on AF_XDP and DPDK.
 *
 * Workers are processes, forked after open, so that one that crashes takes nothing with it. Whatever tx and release touch (buffers, free lists, queues,
 * descriptors) must therefore be in MAP_SHARED memory and open before the fork. A backend that cannot do that leaves @forks false: the dispatcher then transmits
 * for the workers, on the receiver's queue; buffers must be shared even so.
 */

struct net_port;

/**
 * struct net_buf - one datagram
 * @data: payload of the datagram, @len bytes of @room
 * @flow: hash of the sender's and our address and port
 * @gen:  counted up by rx each time that it hands this buffer out
 * @priv: the backend's: addresses for the reply, frame, mbuf
 */
struct net_buf {
	uint8_t *data;
	uint32_t len, room, flow, gen;
	uint64_t priv[6];
};

/**
 * struct net_config
 * @backend:   "udp", "xdp", "dpdk"
 * @listen:    "ADDRESS:PORT"; IPv4 or [IPv6] for udp, IPv4 for xdp and dpdk
 * @interface: xdp: network interface, its queue @queue; @listen's address may be 0.0.0.0 there: the interface's own. udp: only what comes in there.
 * @eal:       dpdk: words for the EAL, NULL-terminated, or NULL
 * @tx_queues: how many workers will transmit
 * @buffers:   datagrams that may be inside at a time; power of two, 0 = 8192
 */
struct net_config {
	const char *backend, *listen, *interface;
	char *const *eal;
	uint32_t queue, tx_queues, buffers;
};

/** struct net_counters - @rx_dropped: for want of room, before us; @rx_malformed: cut short. counters() may be called by any thread. */
struct net_counters { uint64_t rx, tx, rx_bytes, tx_bytes, rx_dropped, tx_dropped, rx_malformed; };

/**
 * struct net_backend - a kind of port
 * @probe:   can this machine do it? Return: 0, -EOPNOTSUPP with message (what is missing, what to do).
 * @open:    Return: 0, -errno with message
 * @rx:      up to @max datagrams, at once; the receiver's thread only. Return: how many.
 * @tx:      transmit in order, on queue @q, from one thread at a time per queue. All @n buffers are given back whatever happens. Return: how many were sent.
 * @release: give back without an answer; as tx, by the queue's thread. The receiver's thread has queue tx_queues (one more than the workers').
 * @recover: the owner of queue @q is dead (its process is gone) and held @buf of generation @gen: repair what it left half done, on the receiver's thread, so
 *           that another may own the queue. Return: whether @buf had not been given back: it is the caller's again, to transmit or release. Needed with @forks.
 * @fd:      readable when rx may have something; for who sleeps. -1: cannot sleep.
 * @arm:     before sleeping on @fd: true if it is all right to sleep, false if there is something already
 */
struct net_backend {
	const char *name;
	bool forks;
	int (*probe)(struct hearth_err *err);
	int (*open)(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err);
	struct net_port *(*close)(struct net_port *p);
	unsigned (*rx)(struct net_port *p, struct net_buf **bufs, unsigned max);
	unsigned (*tx)(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n);
	void (*release)(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n);
	bool (*recover)(struct net_port *p, unsigned q, struct net_buf *buf, uint32_t gen);
	int (*fd)(const struct net_port *p);
	bool (*arm)(struct net_port *p);
	void (*counters)(const struct net_port *p, struct net_counters *ret);
	/* the address that was bound, "ADDRESS:PORT" (port 0 asks for any) */
	void (*address)(const struct net_port *p, char *out, size_t n);
	/* how this port works here, in words ("AF_XDP on eth0 queue 0: native program, zero-copy"); @p NULL: what probe found. NULL: nothing to say. */
	void (*describe)(const struct net_port *p, char *out, size_t n);
};

/* Every port begins with this. */
struct net_port { const struct net_backend *ops; };

/* net_xdp and net_dpdk are in every build: what they need is in modules of their own, hearth-net-xdp.so and hearth-net-dpdk.so, loaded by probe and open */
extern const struct net_backend net_udp, net_xdp, net_dpdk;
extern const struct net_backend *const net_backends[];  /* those of this build; NULL-terminated */

/** net_backend_find - NULL: this build has none of that name */
const struct net_backend *net_backend_find(const char *name);

#endif
