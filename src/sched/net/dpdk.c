// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

#include "dpdk_eal.h"
#include "frame.h"
#include "module.h"

/*
 * DPDK. The receiver's thread is the only one that calls it, for sending too (forks is false): drivers, memory pools and their per-core caches are made for
 * threads that all live as long as the process, not for processes that may be killed at any instruction. What workers touch is the datagram and its struct
 * net_buf, both in the packet buffer, whose memory is shared with them.
 *
 * No kernel answers for our address, so ARP requests for it are answered here (frame_arp). Nothing else that comes in is answered but datagrams for our port.
 */
#define DPDK_BUFFERS 8192u
#define DPDK_BUFFERS_MAX (1u << 20)
#define DPDK_BURST 32u
#define DPDK_DESCRIPTORS 1024u
#define DPDK_CACHE 256u
#define DPDK_SEND_TRIES 1000u           /* for a full transmit queue, before a datagram counts as dropped */

enum { PRIV_MBUF, PRIV_OUTSIDE };       /* of net_buf */

struct dpdk_port {
	struct net_port port;
	struct frame_host host;
	uint16_t id, rx_queues, rx_next;
	bool configured;
	struct rte_mempool *pool;
	char device[RTE_ETH_NAME_MAX_LEN], driver[64];
	_Atomic uint64_t rx, rx_bytes, rx_malformed, sent, sent_bytes, dropped;
};

static struct dpdk_port *dpdk_of(struct net_port *p)
{
	return (struct dpdk_port *)p;
}

/* for counters with one writer */
static void bump(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

static uint64_t value(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct rte_mbuf *mbuf_of(const struct net_buf *b)
{
	return (struct rte_mbuf *)(uintptr_t)b->priv[PRIV_MBUF];
}

/* ---- opening ---- */

static int dpdk_probe(struct hearth_err *err)
{
	return dpdk_eal_usable(err);
}

/* The first port there is. Devices that spread what they receive over all their queues, whether these are read or not, have all of them read. */
static int choose_device(struct dpdk_port *p, struct rte_eth_dev_info *ret_info, struct hearth_err *err)
{
	struct rte_ether_addr mac;
	uint16_t id = (uint16_t)rte_eth_find_next(0);
	bool spreads;
	int r;

	if (id >= RTE_MAX_ETHPORTS)
		return err_set(err, -ENODEV, "DPDK has no device%s%s: bind one to vfio-pci (dpdk-devbind.py), or name one in the words for its EAL, as in "
			       "--no-pci --vdev=net_af_packet0,iface=eth0", *dpdk_eal_complaint() ? ": " : "", dpdk_eal_complaint());
	r = rte_eth_dev_info_get(id, ret_info);
	if (r == 0)
		r = rte_eth_macaddr_get(id, &mac);
	if (r == 0)
		r = rte_eth_dev_get_name_by_port(id, p->device);
	if (r < 0)
		return err_set(err, r, "DPDK: port %u: %s", id, rte_strerror(-r));
	snprintf(p->driver, sizeof(p->driver), "%s", ret_info->driver_name);
	memcpy(p->host.mac, mac.addr_bytes, FRAME_MAC_BYTES);
	p->id = id;
	spreads = strcmp(p->driver, "net_af_packet") == 0 || strcmp(p->driver, "net_af_xdp") == 0;
	p->rx_queues = spreads && ret_info->max_rx_queues > 0 ? ret_info->max_rx_queues : 1;
	return 0;
}

static int make_pool(struct dpdk_port *p, uint32_t buffers, uint32_t descriptors, struct hearth_err *err)
{
	const uint16_t private = RTE_ALIGN(sizeof(struct net_buf), RTE_CACHE_LINE_SIZE);
	uint32_t n = buffers + descriptors + 2 * DPDK_CACHE;

	p->pool = rte_pktmbuf_pool_create("hearth", n, DPDK_CACHE, private, RTE_MBUF_DEFAULT_BUF_SIZE, (int)rte_socket_id());
	if (p->pool == NULL)
		return err_set(err, -ENOMEM, "DPDK: %u packet buffers of %u bytes: %s; give it more memory (-m MEBIBYTES among the words for its EAL), or "
			       "configure fewer buffers", n, RTE_MBUF_DEFAULT_BUF_SIZE + private, rte_strerror(rte_errno));
	return dpdk_eal_shared(p->pool->mz->addr, err);
}

static int start_device(struct dpdk_port *p, const struct rte_eth_dev_info *info, uint32_t buffers, struct hearth_err *err)
{
	struct rte_eth_conf conf = { 0 };
	uint16_t rx = DPDK_DESCRIPTORS, tx = DPDK_DESCRIPTORS;
	int r = rte_eth_dev_configure(p->id, p->rx_queues, 1, &conf);

	if (r == 0)
		r = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
	if (r < 0)
		return err_set(err, r, "DPDK: configuring %s (%s): %s", p->device, p->driver, rte_strerror(-r));
	p->configured = true;
	r = make_pool(p, buffers, (uint32_t)p->rx_queues * rx + tx, err);
	if (r < 0)
		return r;
	for (uint16_t q = 0; r == 0 && q < p->rx_queues; q++)
		r = rte_eth_rx_queue_setup(p->id, q, rx, (unsigned)rte_eth_dev_socket_id(p->id), NULL, p->pool);
	if (r == 0)
		r = rte_eth_tx_queue_setup(p->id, 0, tx, (unsigned)rte_eth_dev_socket_id(p->id), NULL);
	if (r == 0)
		r = rte_eth_dev_start(p->id);
	return r == 0 ? 0 : err_set(err, r, "DPDK: starting %s (%s): %s", p->device, p->driver, rte_strerror(-r));
}

static struct net_port *dpdk_close(struct net_port *port)
{
	struct dpdk_port *p = dpdk_of(port);

	if (p == NULL)
		return NULL;
	if (p->configured) {
		rte_eth_dev_stop(p->id);
		rte_eth_dev_close(p->id);
	}
	rte_mempool_free(p->pool);
	dpdk_eal_stop();
	free(p);
	return NULL;
}

static int dpdk_open(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err)
{
	uint32_t buffers = cfg->buffers != 0 ? cfg->buffers : DPDK_BUFFERS;
	struct rte_eth_dev_info info;
	struct dpdk_port *p;
	int r;

	if ((buffers & (buffers - 1)) != 0 || buffers > DPDK_BUFFERS_MAX)
		return err_set(err, -EINVAL, "%u DPDK buffers: must be a power of two, at most %u", buffers, DPDK_BUFFERS_MAX);
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return err_set(err, -ENOMEM, "DPDK port: out of memory");
	p->port.ops = &net_dpdk_module;
	if (cfg->listen == NULL || frame_listen(cfg->listen, &p->host.ip, &p->host.port) < 0 || p->host.ip == htonl(INADDR_ANY) || p->host.port == 0) {
		r = err_set(err, -EINVAL, "listen address \"%s\": DPDK has no kernel to ask, so write an IPv4 address and a port, as in 192.0.2.1:5000",
			    cfg->listen ?: "");
		free(p);
		return r;
	}
	r = dpdk_eal_start(cfg->eal, err);
	if (r < 0) {
		free(p);
		return r;
	}
	r = choose_device(p, &info, err);
	if (r == 0)
		r = start_device(p, &info, buffers, err);
	if (r < 0) {
		dpdk_close(&p->port);
		return r;
	}
	*ret = &p->port;
	return 0;
}

/* ---- transmitting ---- */

static unsigned send_all(struct dpdk_port *p, struct rte_mbuf **mbufs, unsigned n)
{
	unsigned at = 0;

	for (unsigned i = 0; at < n && i < DPDK_SEND_TRIES; i++)
		at += rte_eth_tx_burst(p->id, 0, mbufs + at, (uint16_t)(n - at));
	if (at < n)
		rte_pktmbuf_free_bulk(mbufs + at, n - at);
	return at;
}

static unsigned dpdk_tx(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	struct dpdk_port *p = dpdk_of(port);
	unsigned total = 0;

	for (unsigned at = 0; at < n;) {
		struct rte_mbuf *mbufs[DPDK_BURST];
		uint64_t bytes = 0;
		unsigned part = 0, sent;

		for (; at < n && part < DPDK_BURST; at++) {
			struct net_buf *b = bufs[at];
			struct rte_mbuf *m = mbuf_of(b);

			assert(b->priv[PRIV_OUTSIDE]);
			b->priv[PRIV_OUTSIDE] = false;
			if (b->len > b->room) {
				bump(&p->dropped, 1);
				rte_pktmbuf_free(m);
				continue;
			}
			m->data_len = (uint16_t)frame_answer(rte_pktmbuf_mtod(m, uint8_t *), b->len);
			m->pkt_len = m->data_len;
			m->ol_flags = 0;
			bytes += b->len;
			mbufs[part++] = m;
		}
		if (part == 0)
			continue;
		sent = send_all(p, mbufs, part);
		bump(&p->sent, sent);
		bump(&p->sent_bytes, sent == part ? bytes : bytes * sent / part);
		bump(&p->dropped, part - sent);
		total += sent;
	}
	return total;
}

static void dpdk_release(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert(bufs[i]->priv[PRIV_OUTSIDE]);
		bufs[i]->priv[PRIV_OUTSIDE] = false;
		rte_pktmbuf_free(mbuf_of(bufs[i]));
	}
}

/* ---- receiving ---- */

static bool answer_arp(struct dpdk_port *p, struct rte_mbuf *m)
{
	size_t n = frame_arp(rte_pktmbuf_mtod(m, uint8_t *), m->data_len, &p->host);

	if (n == 0)
		return false;
	m->data_len = (uint16_t)n;
	m->pkt_len = m->data_len;
	m->ol_flags = 0;
	send_all(p, &m, 1);
	return true;
}

/* Return: the buffer; NULL: dealt with. */
static struct net_buf *received(struct dpdk_port *p, struct rte_mbuf *m)
{
	struct net_buf *b = rte_mbuf_to_priv(m);
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	struct frame_udp udp;
	int r;

	/* tagged for another network, or longer than any datagram that we take */
	if (m->nb_segs != 1 || (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	r = frame_parse(frame, m->data_len, &p->host, &udp);
	if (r == -ENOMSG && answer_arp(p, m))
		return NULL;
	if (r < 0) {
		if (r != -ENOMSG)
			bump(&p->rx_malformed, 1);
		rte_pktmbuf_free(m);
		return NULL;
	}
	b->data = frame + FRAME_HEADERS_BYTES;
	b->len = udp.payload_len;
	b->room = (uint32_t)RTE_MIN((unsigned)FRAME_PAYLOAD_MAX, (unsigned)(m->buf_len - m->data_off - FRAME_HEADERS_BYTES));
	b->flow = udp.flow;
	b->gen++;
	b->priv[PRIV_MBUF] = (uintptr_t)m;
	b->priv[PRIV_OUTSIDE] = true;
	bump(&p->rx_bytes, b->len);
	return b;
}

static unsigned dpdk_rx(struct net_port *port, struct net_buf **bufs, unsigned max)
{
	struct dpdk_port *p = dpdk_of(port);
	struct rte_mbuf *mbufs[DPDK_BURST];
	unsigned n = 0, taken = 0;

	for (uint16_t i = 0; n == 0 && i < p->rx_queues; i++) {
		n = rte_eth_rx_burst(p->id, p->rx_next, mbufs, (uint16_t)RTE_MIN(max, DPDK_BURST));
		if (++p->rx_next == p->rx_queues)
			p->rx_next = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		bufs[taken] = received(p, mbufs[i]);
		taken += bufs[taken] != NULL;
	}
	if (taken > 0)
		bump(&p->rx, taken);
	return taken;
}

/* ---- the rest ---- */

static int dpdk_fd(const struct net_port *port)
{
	return -1;
}

static bool dpdk_arm(struct net_port *port)
{
	return false;
}

static void dpdk_counters(const struct net_port *port, struct net_counters *ret)
{
	const struct dpdk_port *p = (const struct dpdk_port *)port;
	struct rte_eth_stats stats = { 0 };

	rte_eth_stats_get(p->id, &stats);
	*ret = (struct net_counters){ .rx = value(&p->rx), .rx_bytes = value(&p->rx_bytes), .rx_malformed = value(&p->rx_malformed),
				      .rx_dropped = stats.imissed + stats.rx_nombuf, .tx = value(&p->sent), .tx_bytes = value(&p->sent_bytes),
				      .tx_dropped = value(&p->dropped) };
}

static void dpdk_address(const struct net_port *port, char *out, size_t n)
{
	const struct dpdk_port *p = (const struct dpdk_port *)port;
	char ip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &p->host.ip, ip, sizeof(ip));
	snprintf(out, n, "%s:%u", ip, ntohs(p->host.port));
}

static void dpdk_describe(const struct net_port *port, char *out, size_t n)
{
	const struct dpdk_port *p = (const struct dpdk_port *)port;

	if (p != NULL)
		snprintf(out, n, "%s: %s (%s), receive queues: %u", rte_version(), p->device, p->driver, p->rx_queues);
	else
		snprintf(out, n, "%s; %s", rte_version(), dpdk_eal_memory());
}

const struct net_backend net_dpdk_module = {
	.name = "dpdk",
	.forks = false,
	.probe = dpdk_probe,
	.open = dpdk_open,
	.close = dpdk_close,
	.rx = dpdk_rx,
	.tx = dpdk_tx,
	.release = dpdk_release,
	.fd = dpdk_fd,
	.arm = dpdk_arm,
	.counters = dpdk_counters,
	.address = dpdk_address,
	.describe = dpdk_describe,
};
NET_MODULE(net_dpdk_module);
