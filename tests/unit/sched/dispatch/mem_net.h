/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MEM_NET_H
#define TESTS_MEM_NET_H

/*
 * A test double of a packet backend: datagrams come from a list and go to one. It sees to it that each buffer is transmitted or released exactly once, by
 * whoever it is, and on a queue that there is. What it does not do: lose, reorder, or have anything to do with a network.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sched/net.h"
#include "sched/wire.h"

#define MEM_BUFFERS 256
#define MEM_ROOM 1536

struct mem_buf {
	struct net_buf net;
	atomic_int out;
	uint8_t data[MEM_ROOM];
};

struct mem_net {
	struct net_port port;
	unsigned queues;                        /* the receiver's is the last one */
	pthread_mutex_t lock;
	struct mem_buf bufs[MEM_BUFFERS];
	atomic_int outside, wrong;              /* wrong: given back twice, or on no queue */
	int fd;
	/* in: @left more of @message[0..n-1] in turn */
	const uint8_t (*message)[64];
	size_t message_n, at, left;
	/* out */
	void (*sent)(void *ctx, const uint8_t *data, size_t len);
	void *ctx;
	atomic_ulong sent_n, released_n;
};

static inline struct mem_net *mem_of(struct net_port *p) { return (struct mem_net *)p; }

static unsigned mem_rx(struct net_port *p, struct net_buf **bufs, unsigned max)
{
	struct mem_net *m = mem_of(p);
	unsigned n = 0;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < MEM_BUFFERS && n < max && m->left > 0; i++) {
		struct mem_buf *b = &m->bufs[i];
		int in = 0;

		if (!atomic_compare_exchange_strong(&b->out, &in, 1))
			continue;
		b->net.data = b->data;
		b->net.room = MEM_ROOM;
		b->net.len = m->message[m->at][63];
		b->net.flow = (uint32_t)m->at;
		b->net.gen++;
		memcpy(b->data, m->message[m->at], b->net.len);
		m->at = (m->at + 1) % m->message_n;
		m->left--;
		atomic_fetch_add(&m->outside, 1);
		bufs[n++] = &b->net;
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

static void mem_back(struct mem_net *m, unsigned q, struct net_buf *buf)
{
	struct mem_buf *b = (struct mem_buf *)buf;

	if (q >= m->queues || atomic_exchange(&b->out, 0) != 1)
		atomic_fetch_add(&m->wrong, 1);
	atomic_fetch_sub(&m->outside, 1);
}

static unsigned mem_tx(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n)
{
	struct mem_net *m = mem_of(p);

	for (unsigned i = 0; i < n; i++) {
		pthread_mutex_lock(&m->lock);
		m->sent(m->ctx, bufs[i]->data, bufs[i]->len);
		pthread_mutex_unlock(&m->lock);
		mem_back(m, q, bufs[i]);
		atomic_fetch_add(&m->sent_n, 1);
	}
	return n;
}

static void mem_release(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n)
{
	struct mem_net *m = mem_of(p);

	for (unsigned i = 0; i < n; i++)
		mem_back(m, q, bufs[i]);
	atomic_fetch_add(&m->released_n, n);
}

static bool mem_recover(struct net_port *p, unsigned q, struct net_buf *buf, uint32_t gen)
{
	return atomic_load(&((struct mem_buf *)buf)->out) == 1 && buf->gen == gen;
}

static int mem_fd(const struct net_port *p) { return ((const struct mem_net *)p)->fd; }

static bool mem_arm(struct net_port *p)
{
	struct mem_net *m = mem_of(p);
	uint64_t count;
	bool empty;

	(void)!read(m->fd, &count, sizeof(count));
	pthread_mutex_lock(&m->lock);
	/* none can be taken while all are out, so there is nothing to wake up for */
	empty = m->left == 0 || atomic_load(&m->outside) == MEM_BUFFERS;
	pthread_mutex_unlock(&m->lock);
	return empty;
}

static struct net_port *mem_close(struct net_port *p) { return NULL; }
static void mem_counters(const struct net_port *p, struct net_counters *ret) { memset(ret, 0, sizeof(*ret)); }

#define MEM_OPS(does_fork) { .name = "mem", .forks = does_fork, .close = mem_close, .rx = mem_rx, .tx = mem_tx, .release = mem_release, .recover = mem_recover, \
			     .fd = mem_fd, .arm = mem_arm, .counters = mem_counters }
static const struct net_backend mem_forks = MEM_OPS(true), mem_plain = MEM_OPS(false);

static inline void mem_init(struct mem_net *m, bool forks, unsigned workers)
{
	memset(m, 0, sizeof(*m));
	m->port.ops = forks ? &mem_forks : &mem_plain;
	m->queues = workers + 1;
	m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&m->lock, NULL);
}

/** mem_feed - @n datagrams more, of these in turn; byte 63 of each is its length */
static inline void mem_feed(struct mem_net *m, const uint8_t (*message)[64], size_t message_n, size_t n)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&m->lock);
	m->message = message;
	m->message_n = message_n;
	m->at = 0;
	m->left = n;
	pthread_mutex_unlock(&m->lock);
	(void)!write(m->fd, &one, sizeof(one));
}

#endif
