// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/libxdp.h>
#include <xdp/xsk.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ring.h"
#include "frame.h"
#include "module.h"
#include "xdp_prog.h"

/*
 * AF_XDP. One UMEM in shared memory, one socket for each transmitting queue on it (XDP_SHARED_UMEM), all on one queue of the interface. The receiver's socket
 * also receives; fill and completion ring are the receiver's alone.
 *
 *	fill ring --kernel--> receive ring --xdp_rx--> whoever works on it --xdp_tx--> queue's transmit ring --kernel--> completion ring --+
 *	    ^                                                 +--xdp_release--> queue's ring back --+                                      |
 *	    +---------------------------------------------- xdp_rx, xdp_arm -----------------------+--------------------------------------+
 *
 * All frames are always in one of these places, and completion and receive ring and ring back hold as many as there are, so that none is ever full; neither
 * is the fill ring, which holds twice as many: the kernel hands received frames out before it says that their places in there are free. A worker's process
 * uses its own socket, transmit ring and ring back, nothing of anybody else's; all of it is mapped shared and there before it is forked.
 */
#define XDP_FRAME_BYTES 2048u
#define XDP_FRAMES 8192u
#define XDP_FRAMES_MIN 64u               /* what the kernel takes at a time */
#define XDP_FRAMES_MAX (1u << 18)
#define XDP_TX_PLACES 2048u
#define XDP_BATCH 64u
#define XDP_SEND_BYTES (8 << 20)        /* of kernel memory that a queue's datagrams on their way may use; copy mode */
#define XDP_KICKS 256                   /* tries to have the kernel send before that is left to the receiver */
#define XDP_QUEUES_MAX 1024u            /* of an interface */
#define XDP_BIND_RETRY_NS (5 * NS_PER_S)
#define XDP_BIND_PAUSE_NS (50 * NS_PER_MS)

enum { XDP_FRAME_FREE, XDP_FRAME_OUTSIDE, XDP_FRAME_SENT };
enum { PRIV_STATE, PRIV_TX_AT };        /* of net_buf: where the frame is; SENT: its place in the transmit ring */

struct xdp_queue {
	alignas(64) struct xsk_ring_prod tx;
	int fd;
	_Atomic bool stuck;             /* the kernel would not send all: the receiver tries again */
	struct spsc *back;              /* frames released; NULL: the receiver's own queue */
	_Atomic uint64_t sent, sent_bytes, dropped;
};

/* on cache lines of its own: neighbours are other workers' */
struct xdp_buf {
	alignas(64) struct net_buf net;
};

struct xdp_port {
	struct net_port port;
	struct frame_host host;
	struct xdp_prog prog;
	int holder;                     /* keeps the port from others, and drops and counts what the program left to the kernel */
	int ifindex;
	char interface[IF_NAMESIZE];
	uint32_t if_queue, if_queues, mtu;
	bool zerocopy;
	struct xsk_umem *umem;
	struct xsk_socket **sockets;
	unsigned queues, visit;         /* queues: with the receiver's, the last one */
	struct xsk_ring_prod fill;
	struct xsk_ring_cons completion, receive;
	uint32_t frames;
	uint8_t *shared, *area;         /* area: of the frames, within shared */
	size_t shared_bytes;
	struct xdp_queue *queue;
	struct xdp_buf *bufs;
	_Atomic uint64_t rx, rx_bytes, rx_malformed;
};

static struct xdp_port *xdp_of(struct net_port *p)
{
	return (struct xdp_port *)p;
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

/* ---- opening ---- */

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int quiet_xdp(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int xdp_probe(struct hearth_err *err)
{
	FD_AUTO int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct xdp_prog prog;
	int r;

	if (fd < 0 && errno == EPERM)
		return err_set(err, -EOPNOTSUPP, "AF_XDP: not allowed; run as root or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF");
	if (fd < 0)
		return err_set(err, -EOPNOTSUPP, "AF_XDP: sockets: %s; the kernel needs CONFIG_XDP_SOCKETS", strerror(errno));
	libbpf_set_print(quiet);
	r = xdp_prog_load(htonl(INADDR_LOOPBACK), htons(1), 1, &prog, err);
	if (r < 0) {
		if (err != NULL)
			err->code = -EOPNOTSUPP;
		return -EOPNOTSUPP;
	}
	xdp_prog_done(&prog);
	return 0;
}

/* how many queues the interface receives on, as far as it says */
static uint32_t receive_queues(int fd, const char *interface)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq ifr = { .ifr_data = (char *)&channels };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
	return ioctl(fd, SIOCETHTOOL, &ifr) == 0 && channels.rx_count + channels.combined_count > 0 ? channels.rx_count + channels.combined_count : 1;
}

/* what the kernel knows of the interface */
static int ask_interface(struct xdp_port *p, const struct net_config *cfg, struct hearth_err *err)
{
	FD_AUTO int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	if (cfg->interface == NULL)
		return err_set(err, -EINVAL, "AF_XDP: which interface? Name it");
	if (strlen(cfg->interface) >= IF_NAMESIZE)
		return err_set(err, -EINVAL, "AF_XDP: \"%s\" is no name of an interface", cfg->interface);
	memcpy(ifr.ifr_name, cfg->interface, strlen(cfg->interface));
	memcpy(p->interface, cfg->interface, strlen(cfg->interface));
	p->ifindex = (int)if_nametoindex(cfg->interface);
	if (p->ifindex == 0 || fd < 0)
		return err_set(err, -ENODEV, "AF_XDP: interface %s: %s; ip link shows those there are", cfg->interface, strerror(errno));
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0 || (ifr.ifr_flags & IFF_LOOPBACK))
		return err_set(err, -EINVAL, "AF_XDP: %s is a loopback interface; use the backend udp there", cfg->interface);
	if (!(ifr.ifr_flags & IFF_UP))
		return err_set(err, -ENETDOWN, "AF_XDP: interface %s is down: ip link set dev %s up", cfg->interface, cfg->interface);
	if (ioctl(fd, SIOCGIFMTU, &ifr) < 0)
		return err_set(err, -errno, "AF_XDP: interface %s: its MTU: %s", cfg->interface, strerror(errno));
	p->mtu = (uint32_t)ifr.ifr_mtu;
	p->if_queues = receive_queues(fd, cfg->interface);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0 || ifr.ifr_hwaddr.sa_family != 1 /* ARPHRD_ETHER */)
		return err_set(err, -EOPNOTSUPP, "AF_XDP: interface %s is no Ethernet; use the backend udp there", cfg->interface);
	memcpy(p->host.mac, ifr.ifr_hwaddr.sa_data, FRAME_MAC_BYTES);
	if (p->host.ip == htonl(INADDR_ANY)) {
		ifr.ifr_addr.sa_family = AF_INET;
		if (ioctl(fd, SIOCGIFADDR, &ifr) < 0)
			return err_set(err, -errno, "AF_XDP: interface %s has no IPv4 address: %s; ip address add ... dev %s", cfg->interface,
				       strerror(errno), cfg->interface);
		p->host.ip = ((struct sockaddr_in *)&ifr.ifr_addr)->sin_addr.s_addr;
	}
	return 0;
}

/* An ordinary socket on our port: nobody else believes that it is free, and no datagram that our program leaves alone is answered as to a closed port. */
static int hold_port(struct xdp_port *p, const char *listen, struct hearth_err *err)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { .len = 1, .filter = &drop };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = p->host.ip, .sin_port = p->host.port };
	socklen_t len = sizeof(a);

	p->holder = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p->holder < 0 || setsockopt(p->holder, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0)
		return err_set(err, -errno, "AF_XDP: a socket to hold the port: %s", strerror(errno));
	if (bind(p->holder, (struct sockaddr *)&a, sizeof(a)) < 0 || getsockname(p->holder, (struct sockaddr *)&a, &len) < 0)
		return err_set(err, -errno, "listen on xdp %s: %s%s", listen, strerror(errno), errno == EADDRINUSE ? "; another program has this port" :
			       errno == EADDRNOTAVAIL ? "; give the interface this address, or listen on one that it has" : "");
	p->host.port = a.sin_port;
	return 0;
}

static size_t lines(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

/* One shared mapping: queues, their rings back, the buffers' descriptions, the frames. */
static int map_shared(struct xdp_port *p, struct hearth_err *err)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), ring = lines(spsc_bytes(p->frames));
	size_t rings = lines(p->queues * sizeof(struct xdp_queue)), bufs = rings + (p->queues - 1) * ring;
	size_t area = (bufs + p->frames * sizeof(struct xdp_buf) + page - 1) & ~(page - 1);
	void *m;

	p->shared_bytes = area + (size_t)p->frames * XDP_FRAME_BYTES;
	m = mmap(NULL, p->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return err_set(err, -errno, "AF_XDP: memory for %u frames (%zu bytes): %s; configure fewer buffers", p->frames, p->shared_bytes, strerror(errno));
	p->shared = m;
	p->queue = m;
	p->bufs = (struct xdp_buf *)(p->shared + bufs);
	p->area = p->shared + area;
	for (unsigned q = 0; q < p->queues; q++) {
		p->queue[q].fd = -1;
		if (q + 1 < p->queues)
			p->queue[q].back = spsc_init(p->shared + rings + q * ring, p->frames);
	}
	return 0;
}

static void close_sockets(struct xdp_port *p)
{
	for (unsigned q = 0; p->sockets != NULL && q < p->queues; q++)
		if (p->sockets[q] != NULL) {
			xsk_socket__delete(p->sockets[q]);
			p->sockets[q] = NULL;
			p->queue[q].fd = -1;
		}
	if (p->umem != NULL)
		xsk_umem__delete(p->umem);
	p->umem = NULL;
}

/* The receiver's first: the others share what it made. The kernel tries zero-copy by itself unless told to copy. */
static int open_sockets_once(struct xdp_port *p)
{
	const struct xsk_umem_config umem = { .fill_size = 2 * p->frames, .comp_size = p->frames, .frame_size = XDP_FRAME_BYTES };
	struct xsk_socket_config cfg = {
		.rx_size = p->frames, .tx_size = p->frames < XDP_TX_PLACES ? p->frames : XDP_TX_PLACES, .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = (uint16_t)(XDP_USE_NEED_WAKEUP | (p->prog.native ? 0 : XDP_COPY)),
	};
	int bytes = XDP_SEND_BYTES, r;

	r = xsk_umem__create(&p->umem, p->area, (uint64_t)p->frames * XDP_FRAME_BYTES, &p->fill, &p->completion, &umem);
	for (unsigned i = 0; r == 0 && i < p->queues; i++) {
		unsigned q = p->queues - 1 - i;
		struct xdp_queue *queue = &p->queue[q];

		r = i == 0 ? xsk_socket__create(&p->sockets[q], p->interface, p->if_queue, p->umem, &p->receive, &queue->tx, &cfg)
			   : xsk_socket__create_shared(&p->sockets[q], p->interface, p->if_queue, p->umem, NULL, &queue->tx, NULL, NULL, &cfg);
		if (r == 0) {
			queue->fd = xsk_socket__fd(p->sockets[q]);
			if (setsockopt(queue->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
				(void)setsockopt(queue->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		}
	}
	if (r < 0)
		close_sockets(p);
	return r;
}

static int open_sockets(struct xdp_port *p, struct hearth_err *err)
{
	const struct timespec pause = { .tv_nsec = XDP_BIND_PAUSE_NS };
	uint64_t end = clock_mono_ns() + XDP_BIND_RETRY_NS;
	struct xdp_options options = { 0 };
	socklen_t len = sizeof(options);
	int r;

	/* the sockets that had this queue may have been closed a moment ago; the kernel says nothing when they are gone */
	while ((r = open_sockets_once(p)) == -EBUSY && clock_mono_ns() < end)
		nanosleep(&pause, NULL);
	if (r == -EBUSY)
		return err_set(err, r, "AF_XDP: queue %u of interface %s is another program's; use another queue or end it", p->if_queue, p->interface);
	if (r == -EINVAL)
		return err_set(err, r, "AF_XDP: queue %u of interface %s: %s; ethtool -l %s shows how many it has", p->if_queue, p->interface, strerror(-r),
			       p->interface);
	if (r < 0)
		return err_set(err, r, "AF_XDP: sockets on queue %u of interface %s: %s%s", p->if_queue, p->interface, strerror(-r),
			       r == -ENOBUFS || r == -ENOMEM ? "; raise the limit of locked memory (ulimit -l)" : "");
	if (getsockopt(p->queue[p->queues - 1].fd, SOL_XDP, XDP_OPTIONS, &options, &len) == 0)
		p->zerocopy = options.flags & XDP_OPTIONS_ZEROCOPY;
	r = xdp_prog_socket(&p->prog, p->if_queue, p->queue[p->queues - 1].fd);
	return r == 0 ? 0 : err_set(err, r, "AF_XDP: handing queue %u to its socket: %s", p->if_queue, strerror(-r));
}

static void give_to_kernel(struct xdp_port *p, uint32_t frame)
{
	uint32_t at = 0;

	p->bufs[frame].net.priv[PRIV_STATE] = XDP_FRAME_FREE;
	if (xsk_ring_prod__reserve(&p->fill, 1, &at) != 1)
		assert(!"more frames than there are");
	*xsk_ring_prod__fill_addr(&p->fill, at) = (uint64_t)frame * XDP_FRAME_BYTES;
}

static struct net_port *xdp_close(struct net_port *port)
{
	struct xdp_port *p = xdp_of(port);

	if (p == NULL)
		return NULL;
	xdp_prog_done(&p->prog);
	close_sockets(p);
	fd_close(&p->holder);
	if (p->shared != NULL)
		munmap(p->shared, p->shared_bytes);
	free(p->sockets);
	free(p);
	return NULL;
}

static int open_port(struct xdp_port *p, const struct net_config *cfg, struct hearth_err *err)
{
	int r = ask_interface(p, cfg, err);

	if (r == 0)
		r = hold_port(p, cfg->listen, err);
	if (r == 0)
		r = map_shared(p, err);
	if (r == 0)
		r = xdp_prog_load(p->host.ip, p->host.port, XDP_QUEUES_MAX, &p->prog, err);
	if (r == 0)
		r = xdp_prog_attach(&p->prog, p->ifindex, p->interface, err);
	if (r == 0)
		r = open_sockets(p, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < p->frames; i++)
		give_to_kernel(p, i);
	xsk_ring_prod__submit(&p->fill, p->frames);
	return 0;
}

static int xdp_open(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err)
{
	uint32_t frames = cfg->buffers != 0 ? cfg->buffers : XDP_FRAMES;
	struct xdp_port *p;
	int r;

	if ((frames & (frames - 1)) != 0 || frames < XDP_FRAMES_MIN || frames > XDP_FRAMES_MAX)
		return err_set(err, -EINVAL, "%u AF_XDP buffers: must be a power of two, %u to %u", frames, XDP_FRAMES_MIN, XDP_FRAMES_MAX);
	if (cfg->queue >= XDP_QUEUES_MAX)
		return err_set(err, -EINVAL, "AF_XDP: queue %u: at most %u", cfg->queue, XDP_QUEUES_MAX - 1);
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return err_set(err, -ENOMEM, "AF_XDP port: out of memory");
	p->port.ops = &net_xdp_module;
	p->prog = (struct xdp_prog)XDP_PROG_NONE;
	p->holder = -1;
	p->frames = frames;
	p->if_queue = cfg->queue;
	p->queues = cfg->tx_queues + 1;
	p->sockets = calloc(p->queues, sizeof(struct xsk_socket *));
	libbpf_set_print(quiet);
	libxdp_set_print(quiet_xdp);
	if (p->sockets == NULL)
		r = err_set(err, -ENOMEM, "AF_XDP port: out of memory");
	else if (cfg->listen == NULL || frame_listen(cfg->listen, &p->host.ip, &p->host.port) < 0)
		r = err_set(err, -EINVAL, "listen address \"%s\" is not ADDRESS:PORT with an IPv4 address; write 192.0.2.1:5000", cfg->listen ?: "");
	else
		r = open_port(p, cfg, err);
	if (r < 0) {
		xdp_close(&p->port);
		return r;
	}
	*ret = &p->port;
	return 0;
}

/* ---- transmitting ---- */

static bool pending(const struct xdp_queue *q)
{
	return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) != *q->tx.producer;
}

/*
 * Have the kernel send what is in the ring. In copy mode the call does the work, a part of the ring at a time; a driver that copies nothing asks for the call
 * when it sleeps. A kernel that cannot take more just now leaves the rest to the receiver's rounds.
 */
static void kick(const struct xdp_port *p, struct xdp_queue *q)
{
	if (p->zerocopy && !xsk_ring_prod__needs_wakeup(&q->tx))
		return;
	for (unsigned i = 0; i < XDP_KICKS; i++) {
		if (sendto(q->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS && errno != EINTR))
			return;
		if (!pending(q))
			return;
	}
	atomic_store_explicit(&q->stuck, true, memory_order_relaxed);
}

static uint32_t frame_of(const struct xdp_port *p, const struct net_buf *b)
{
	return (uint32_t)((const struct xdp_buf *)b - p->bufs);
}

static void give_back(struct xdp_port *p, struct xdp_queue *q, struct net_buf *b)
{
	assert(b->priv[PRIV_STATE] == XDP_FRAME_OUTSIDE);
	if (q->back == NULL) {
		give_to_kernel(p, frame_of(p, b));
		xsk_ring_prod__submit(&p->fill, 1);
	} else if (!spsc_push(q->back, b)) {
		assert(!"more frames than there are");
	}
}

/* The ring's own counter says where the next one goes, so that a worker begins where the one before it ended, wherever that was. */
static bool reserve(struct xdp_port *p, struct xdp_queue *q, uint32_t *ret)
{
	if (xsk_ring_prod__reserve(&q->tx, 1, ret) == 1)
		return true;
	kick(p, q);
	return xsk_ring_prod__reserve(&q->tx, 1, ret) == 1;
}

static unsigned xdp_tx(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	struct xdp_port *p = xdp_of(port);
	struct xdp_queue *q = &p->queue[queue];
	uint64_t bytes = 0;
	unsigned sent = 0;

	q->tx.cached_prod = *q->tx.producer;
	for (unsigned i = 0; i < n; i++) {
		struct net_buf *b = bufs[i];
		uint8_t *frame = b->data - FRAME_HEADERS_BYTES;
		uint32_t at;

		if (b->len > b->room || !reserve(p, q, &at)) {
			bump(&q->dropped, 1);
			give_back(p, q, b);
			continue;
		}
		*xsk_ring_prod__tx_desc(&q->tx, at) = (struct xdp_desc){ .addr = (uint64_t)(frame - p->area), .len = (uint32_t)frame_answer(frame, b->len) };
		/* in this order, so that xdp_recover can tell whether the kernel has it */
		b->priv[PRIV_TX_AT] = at;
		atomic_signal_fence(memory_order_seq_cst);
		b->priv[PRIV_STATE] = XDP_FRAME_SENT;
		bytes += b->len;
		xsk_ring_prod__submit(&q->tx, 1);
		sent++;
	}
	if (sent > 0)
		kick(p, q);
	bump(&q->sent, sent);
	bump(&q->sent_bytes, bytes);
	return sent;
}

static void xdp_release(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	struct xdp_port *p = xdp_of(port);

	for (unsigned i = 0; i < n; i++)
		give_back(p, &p->queue[queue], bufs[i]);
}

/* ---- receiving ---- */

static unsigned take_released(struct xdp_port *p, struct xdp_queue *q)
{
	struct net_buf *b;
	unsigned n = 0;

	for (; (b = spsc_pop(q->back)) != NULL; n++)
		give_to_kernel(p, frame_of(p, b));
	return n;
}

/* What came back goes to the kernel for the next datagrams. One worker's ring a call: releasing is rare, and what is sent comes back by itself. */
static void recycle(struct xdp_port *p)
{
	struct xdp_queue *visited;
	uint32_t at = 0;
	unsigned n = xsk_ring_cons__peek(&p->completion, XDP_BATCH, &at), released = 0;

	for (unsigned i = 0; i < n; i++)
		give_to_kernel(p, (uint32_t)(*xsk_ring_cons__comp_addr(&p->completion, at + i) / XDP_FRAME_BYTES));
	if (n > 0)
		xsk_ring_cons__release(&p->completion, n);
	if (++p->visit >= p->queues)
		p->visit = 0;
	visited = &p->queue[p->visit];
	if (visited->back != NULL)
		released = take_released(p, visited);
	if (n + released > 0)
		xsk_ring_prod__submit(&p->fill, n + released);
	if (atomic_load_explicit(&visited->stuck, memory_order_relaxed)) {
		atomic_store_explicit(&visited->stuck, false, memory_order_relaxed);
		kick(p, visited);
	}
	if (xsk_ring_prod__needs_wakeup(&p->fill))
		(void)recvfrom(p->queue[p->queues - 1].fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* Return: the buffer, NULL if it is not what we take; its frame is the kernel's again then, once the caller submits it. */
static struct net_buf *received(struct xdp_port *p, const struct xdp_desc *d)
{
	uint32_t frame = (uint32_t)(d->addr / XDP_FRAME_BYTES), room = XDP_FRAME_BYTES - (uint32_t)(d->addr % XDP_FRAME_BYTES) - FRAME_HEADERS_BYTES;
	struct net_buf *b = &p->bufs[frame].net;
	struct frame_udp udp;
	int r = frame_parse(p->area + d->addr, d->len, &p->host, &udp);

	if (r < 0) {
		if (r != -ENOMSG)
			bump(&p->rx_malformed, 1);
		give_to_kernel(p, frame);
		return NULL;
	}
	b->data = p->area + d->addr + FRAME_HEADERS_BYTES;
	b->len = udp.payload_len;
	b->room = room < p->mtu - FRAME_IP_BYTES - FRAME_UDP_BYTES ? room : p->mtu - FRAME_IP_BYTES - FRAME_UDP_BYTES;
	b->flow = udp.flow;
	b->gen++;
	b->priv[PRIV_STATE] = XDP_FRAME_OUTSIDE;
	bump(&p->rx_bytes, b->len);
	return b;
}

static unsigned xdp_rx(struct net_port *port, struct net_buf **bufs, unsigned max)
{
	struct xdp_port *p = xdp_of(port);
	uint32_t at = 0;
	unsigned n, taken = 0;

	recycle(p);
	n = xsk_ring_cons__peek(&p->receive, max, &at);
	if (n == 0)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		bufs[taken] = received(p, xsk_ring_cons__rx_desc(&p->receive, at + i));
		taken += bufs[taken] != NULL;
	}
	xsk_ring_cons__release(&p->receive, n);
	if (taken < n)
		xsk_ring_prod__submit(&p->fill, n - taken);
	bump(&p->rx, taken);
	return taken;
}

/* The frame is the kernel's exactly if the ring's counter has passed its place. A dead worker may have left it there without a call. */
static bool xdp_recover(struct net_port *port, unsigned queue, struct net_buf *b, uint32_t gen)
{
	struct xdp_port *p = xdp_of(port);
	struct xdp_queue *q = &p->queue[queue];
	unsigned n = take_released(p, q);

	if (n > 0)
		xsk_ring_prod__submit(&p->fill, n);
	if (pending(q))
		kick(p, q);
	if (b->gen != gen || b->priv[PRIV_STATE] == XDP_FRAME_FREE)
		return false;
	if (b->priv[PRIV_STATE] == XDP_FRAME_SENT && (int32_t)(*q->tx.producer - (uint32_t)b->priv[PRIV_TX_AT]) > 0)
		return false;
	b->priv[PRIV_STATE] = XDP_FRAME_OUTSIDE;
	return true;
}

static int xdp_fd(const struct net_port *port)
{
	const struct xdp_port *p = (const struct xdp_port *)port;

	return p->queue[p->queues - 1].fd;
}

/* Not while the kernel has no frame to put a datagram in, or datagrams to send: nothing would wake us when it could go on. */
static bool xdp_arm(struct net_port *port)
{
	struct xdp_port *p = xdp_of(port);
	bool stuck = false;

	for (unsigned q = 0; q < p->queues; q++) {
		recycle(p);
		stuck |= atomic_load_explicit(&p->queue[q].stuck, memory_order_relaxed);
	}
	return !stuck && xsk_cons_nb_avail(&p->receive, 1) == 0 && __atomic_load_n(p->fill.consumer, __ATOMIC_ACQUIRE) != *p->fill.producer;
}

/* ---- the rest ---- */

static void xdp_counters(const struct net_port *port, struct net_counters *ret)
{
	const struct xdp_port *p = (const struct xdp_port *)port;
	struct net_counters c = { .rx = value(&p->rx), .rx_bytes = value(&p->rx_bytes), .rx_malformed = value(&p->rx_malformed) };
	struct xdp_statistics kernel = { 0 };
	uint32_t holder[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(kernel);

	if (getsockopt(p->queue[p->queues - 1].fd, SOL_XDP, XDP_STATISTICS, &kernel, &len) == 0)
		c.rx_dropped = kernel.rx_dropped + kernel.rx_ring_full;
	len = sizeof(holder);
	if (getsockopt(p->holder, SOL_SOCKET, SO_MEMINFO, holder, &len) == 0)
		c.rx_malformed += holder[SK_MEMINFO_DROPS];     /* came in fragments, or on another queue */
	for (unsigned q = 0; q < p->queues; q++) {
		c.tx += value(&p->queue[q].sent);
		c.tx_bytes += value(&p->queue[q].sent_bytes);
		c.tx_dropped += value(&p->queue[q].dropped);
	}
	*ret = c;
}

static void xdp_address(const struct net_port *port, char *out, size_t n)
{
	const struct xdp_port *p = (const struct xdp_port *)port;
	char ip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &p->host.ip, ip, sizeof(ip));
	snprintf(out, n, "%s:%u", ip, ntohs(p->host.port));
}

#define LIBBPF_TEXT_(x) #x
#define LIBBPF_TEXT(x) LIBBPF_TEXT_(x)

static void xdp_describe(const struct net_port *port, char *out, size_t n)
{
	const struct xdp_port *p = (const struct xdp_port *)port;
	int used;

	if (p == NULL) {
		snprintf(out, n, "AF_XDP sockets and programs work (libxdp, libbpf " LIBBPF_TEXT(LIBBPF_MAJOR_VERSION) "." LIBBPF_TEXT(LIBBPF_MINOR_VERSION)
			 "); whether a driver copies is seen when an interface is opened");
		return;
	}
	used = snprintf(out, n, "AF_XDP on %s queue %u: %s program, %s", p->interface, p->if_queue, p->prog.native ? "native" : "generic",
			p->zerocopy ? "zero-copy" : "copy mode");
	if (p->if_queues > 1 && used > 0 && (size_t)used < n)
		snprintf(out + used, n - (size_t)used, "; of the interface's %u receive queues the others are not read: ethtool -L %s combined 1, or steer to this one",
			 p->if_queues, p->interface);
}

const struct net_backend net_xdp_module = {
	.name = "xdp",
	.forks = true,
	.probe = xdp_probe,
	.open = xdp_open,
	.close = xdp_close,
	.rx = xdp_rx,
	.tx = xdp_tx,
	.release = xdp_release,
	.recover = xdp_recover,
	.fd = xdp_fd,
	.arm = xdp_arm,
	.counters = xdp_counters,
	.address = xdp_address,
	.describe = xdp_describe,
};
NET_MODULE(net_xdp_module);
