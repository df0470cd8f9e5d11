/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ring.h"
#include "sched/net.h"

/*
 * UDP sockets, in batches. One socket, which the receiver reads and every worker sends on: sending takes no lock of the socket. Buffers lie in one shared
 * mapping; the receiver has the free ones on a stack, and each worker gives its own back through a ring that holds all there are, so that it is never full.
 */
#define UDP_BATCH 64
#define UDP_STRIDE 2048                 /* a buffer: struct udp_buf and the room for its datagram */
#define UDP_BUFFERS 8192
#define UDP_BUFFERS_MAX (1u << 20)
#define UDP_SOCKET_BYTES (8 << 20)      /* asked for each way; the kernel gives what rmem_max and wmem_max allow */
#define UDP_SEND_WAIT_MS 10             /* for room in the socket, before a datagram counts as dropped */

union udp_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

union udp_local {
	struct in_pktinfo in;
	struct in6_pktinfo in6;
};

struct udp_buf {
	struct net_buf net;
	bool outside;                   /* handed out by rx and not back; the receiver's */
	union udp_address peer;
	union udp_local local;          /* where it came to, so that the reply leaves from there; wildcard sockets only */
	alignas(64) uint8_t data[];
};
#define UDP_ROOM (UDP_STRIDE - sizeof(struct udp_buf))

union udp_control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(union udp_local)) + CMSG_SPACE(sizeof(uint32_t))];
};

/* What sendmmsg and recvmmsg need for a batch. */
struct udp_batch {
	struct mmsghdr msg[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	union udp_control control[UDP_BATCH];
};

/* A queue belongs to one worker; only its process touches it, but for @back, whose other side is the receiver, and the counters. */
struct udp_queue {
	alignas(64) struct udp_batch batch;
	_Atomic uint64_t tx, tx_bytes, tx_dropped;
	struct spsc *back;              /* NULL: the receiver's own queue */
};

struct udp_port {
	struct net_port port;
	int fd;
	bool v6, wildcard;
	unsigned queues, drain_next;    /* queues: with the receiver's, the last one */
	uint8_t *shared;
	size_t shared_bytes;
	struct udp_queue *queue;
	uint32_t buffers, free_n;
	struct udp_buf **free;
	struct udp_batch rx_batch;
	struct udp_buf *posted[UDP_BATCH];
	unsigned posted_n;
	_Atomic uint64_t rx, rx_bytes, rx_dropped, rx_malformed;
};

static struct udp_port *udp_of(struct net_port *p)
{
	return (struct udp_port *)p;
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

static int udp_probe(struct hearth_err *err)
{
	FD_AUTO int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 ? 0 : err_set(err, -EOPNOTSUPP, "UDP sockets: %s; allow them to this process", strerror(errno));
}

/* getaddrinfo takes 70000 for 4464 */
static bool is_port(const char *text)
{
	return text[strspn(text, "0123456789")] == '\0' && text[0] != '\0' && strlen(text) <= 5 && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* "1.2.3.4:5", "[::1]:5". Return: 0, -EINVAL with message. */
static int parse_listen(const char *listen, union udp_address *ret, socklen_t *ret_len, struct hearth_err *err)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_DGRAM }, *found;
	const char *colon = listen != NULL ? strrchr(listen, ':') : NULL;
	char host[128];
	size_t n;
	int r;

	if (colon == NULL || colon == listen || !is_port(colon + 1) || (size_t)(colon - listen) >= sizeof(host))
		return err_set(err, -EINVAL, "listen address \"%s\" is not ADDRESS:PORT; write 0.0.0.0:5000 or [::]:5000", listen != NULL ? listen : "");
	n = (size_t)(colon - listen);
	memcpy(host, listen, n);
	host[n] = '\0';
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		memmove(host, host + 1, n - 1);
	} else if (strchr(host, ':') != NULL) {
		return err_set(err, -EINVAL, "listen address \"%s\": write an IPv6 address in brackets, as in [::1]:5000", listen);
	}
	r = getaddrinfo(host, colon + 1, &hints, &found);
	if (r != 0)
		return err_set(err, -EINVAL, "listen address \"%s\" is not ADDRESS:PORT with a numeric IPv4 or IPv6 address: %s", listen, gai_strerror(r));
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	*ret_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static bool is_wildcard(const union udp_address *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) : a->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Sizes are wishes: a small buffer drops more, which is counted. */
static void size_socket(int fd)
{
	int bytes = UDP_SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int open_socket(struct udp_port *p, const struct net_config *cfg, struct hearth_err *err)
{
	union udp_address a;
	socklen_t len = 0;
	int one = 1, r;

	r = parse_listen(cfg->listen, &a, &len, err);
	if (r < 0)
		return r;
	p->v6 = a.any.sa_family == AF_INET6;
	p->wildcard = is_wildcard(&a);
	p->fd = socket(a.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return err_set(err, -errno, "UDP socket: %s", strerror(errno));
	size_socket(p->fd);
	if (setsockopt(p->fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) < 0)
		return err_set(err, -errno, "UDP socket: counting of drops (SO_RXQ_OVFL): %s", strerror(errno));
	if (p->wildcard && setsockopt(p->fd, p->v6 ? IPPROTO_IPV6 : IPPROTO_IP, p->v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &one, sizeof(one)) < 0)
		return err_set(err, -errno, "UDP socket: local addresses (IP_PKTINFO): %s", strerror(errno));
	if (cfg->interface != NULL && setsockopt(p->fd, SOL_SOCKET, SO_BINDTODEVICE, cfg->interface, (socklen_t)strlen(cfg->interface)) < 0)
		return err_set(err, -errno, "bind UDP socket to interface %s: %s", cfg->interface, strerror(errno));
	if (bind(p->fd, &a.any, len) < 0)
		return err_set(err, -errno, "listen on udp %s: %s%s", cfg->listen, strerror(errno),
			       errno == EADDRINUSE ? "; another program has this port" : "");
	return 0;
}

static size_t lines(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

/* One shared mapping: queues, their rings, the buffers. */
static int map_shared(struct udp_port *p, struct hearth_err *err)
{
	size_t ring = spsc_bytes(p->buffers), queue_bytes = lines(p->queues * sizeof(struct udp_queue)), at = queue_bytes;
	void *m;

	p->shared_bytes = queue_bytes + (p->queues - 1) * ring + (size_t)p->buffers * UDP_STRIDE;
	m = mmap(NULL, p->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return err_set(err, -errno, "memory for %u UDP buffers (%zu bytes): %s; configure fewer", p->buffers, p->shared_bytes, strerror(errno));
	p->shared = m;
	p->queue = m;
	for (unsigned q = 0; q + 1 < p->queues; q++, at += ring)
		p->queue[q].back = spsc_init(p->shared + at, p->buffers);
	for (uint32_t i = 0; i < p->buffers; i++, at += UDP_STRIDE) {
		struct udp_buf *b = (struct udp_buf *)(p->shared + at);

		b->net.data = b->data;
		b->net.room = UDP_ROOM;
		p->free[p->free_n++] = b;
	}
	return 0;
}

static void prepare_batches(struct udp_port *p)
{
	for (unsigned q = 0; q < p->queues; q++)
		for (unsigned i = 0; i < UDP_BATCH; i++)
			p->queue[q].batch.msg[i].msg_hdr = (struct msghdr){ .msg_iov = &p->queue[q].batch.iov[i], .msg_iovlen = 1 };
	for (unsigned i = 0; i < UDP_BATCH; i++)
		p->rx_batch.msg[i].msg_hdr = (struct msghdr){ .msg_iov = &p->rx_batch.iov[i], .msg_iovlen = 1, .msg_control = &p->rx_batch.control[i] };
}

static struct net_port *udp_close(struct net_port *port)
{
	struct udp_port *p = udp_of(port);

	if (p == NULL)
		return NULL;
	fd_close(&p->fd);
	if (p->shared != NULL)
		munmap(p->shared, p->shared_bytes);
	free(p->free);
	free(p);
	return NULL;
}

static int udp_open(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err)
{
	uint32_t buffers = cfg->buffers != 0 ? cfg->buffers : UDP_BUFFERS;
	struct udp_port *p;
	int r;

	if ((buffers & (buffers - 1)) != 0 || buffers > UDP_BUFFERS_MAX)
		return err_set(err, -EINVAL, "%u UDP buffers: must be a power of two, at most %u", buffers, UDP_BUFFERS_MAX);
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return err_set(err, -ENOMEM, "UDP port: out of memory");
	p->port.ops = &net_udp;
	p->fd = -1;
	p->buffers = buffers;
	p->queues = cfg->tx_queues + 1;
	p->free = calloc(buffers, sizeof(struct udp_buf *));
	r = p->free != NULL ? open_socket(p, cfg, err) : err_set(err, -ENOMEM, "UDP port: out of memory");
	if (r == 0)
		r = map_shared(p, err);
	if (r < 0) {
		udp_close(&p->port);
		return r;
	}
	prepare_batches(p);
	*ret = &p->port;
	return 0;
}

/* ---- receiving ---- */

static void push_free(struct udp_port *p, struct udp_buf *b)
{
	assert(b->outside);
	b->outside = false;
	p->free[p->free_n++] = b;
}

static void drain_queue(struct udp_port *p, unsigned q)
{
	struct udp_buf *b;

	while ((b = spsc_pop(p->queue[q].back)) != NULL)
		push_free(p, b);
}

/* A worker's ring a call, so that buffers come round while the caches know them; all of them when buffers become few. */
static void collect(struct udp_port *p, unsigned want)
{
	if (p->queues == 1)
		return;
	if (p->drain_next >= p->queues - 1)
		p->drain_next = 0;
	drain_queue(p, p->drain_next++);
	for (unsigned q = 0; p->free_n < want && q < p->queues - 1; q++)
		drain_queue(p, q);
}

/* Buffers wait in the first places of the batch until datagrams fill them. */
static void post(struct udp_port *p, unsigned want)
{
	if (p->posted_n < want)
		collect(p, want - p->posted_n);
	for (; p->posted_n < want && p->free_n > 0; p->posted_n++) {
		struct udp_buf *b = p->free[--p->free_n];

		p->posted[p->posted_n] = b;
		p->rx_batch.iov[p->posted_n] = (struct iovec){ b->data, UDP_ROOM };
		p->rx_batch.msg[p->posted_n].msg_hdr.msg_name = &b->peer;
	}
}

static uint32_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)(z ^ (z >> 31));
}

/* our own address and port are the same for every datagram, but for a wildcard socket's address, which does not tell flows apart in practice */
static uint32_t flow_of(const union udp_address *a)
{
	uint64_t word[2];

	if (a->any.sa_family == AF_INET)
		return mix((uint64_t)a->in.sin_addr.s_addr << 16 | a->in.sin_port);
	memcpy(word, &a->in6.sin6_addr, sizeof(word));
	return mix(word[0] ^ mix(word[1] ^ ((uint64_t)a->in6.sin6_port << 32)));
}

static void read_control(struct udp_port *p, struct msghdr *h, struct udp_buf *b)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
			uint32_t total, seen = (uint32_t)value(&p->rx_dropped);

			memcpy(&total, CMSG_DATA(c), sizeof(total));
			bump(&p->rx_dropped, total - seen);     /* the kernel's counter has 32 bits and wraps */
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			memcpy(&b->local.in, CMSG_DATA(c), sizeof(b->local.in));
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&b->local.in6, CMSG_DATA(c), sizeof(b->local.in6));
		}
	}
}

static struct net_buf *received(struct udp_port *p, unsigned i)
{
	struct msghdr *h = &p->rx_batch.msg[i].msg_hdr;
	struct udp_buf *b = p->posted[i];

	if (h->msg_controllen > 0)
		read_control(p, h, b);
	if (h->msg_flags & MSG_TRUNC)
		bump(&p->rx_malformed, 1);      /* longer than any datagram of ours; stays too long for wire_parse */
	b->outside = true;
	b->net.len = p->rx_batch.msg[i].msg_len;
	b->net.flow = flow_of(&b->peer);
	b->net.gen++;
	bump(&p->rx_bytes, b->net.len);
	return &b->net;
}

static unsigned udp_rx(struct net_port *port, struct net_buf **bufs, unsigned max)
{
	struct udp_port *p = udp_of(port);
	int n;

	post(p, max < UDP_BATCH ? max : UDP_BATCH);
	if (p->posted_n < max)
		max = p->posted_n;
	if (max == 0)
		return 0;
	for (unsigned i = 0; i < max; i++) {
		p->rx_batch.msg[i].msg_hdr.msg_namelen = sizeof(union udp_address);
		p->rx_batch.msg[i].msg_hdr.msg_controllen = sizeof(union udp_control);
	}
	n = recvmmsg(p->fd, p->rx_batch.msg, max, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return 0;
	for (int i = 0; i < n; i++)
		bufs[i] = received(p, (unsigned)i);
	bump(&p->rx, (uint64_t)n);
	p->posted_n -= (unsigned)n;
	for (unsigned i = 0; i < p->posted_n; i++) {
		p->posted[i] = p->posted[i + (unsigned)n];
		p->rx_batch.iov[i] = p->rx_batch.iov[i + (unsigned)n];
		p->rx_batch.msg[i].msg_hdr.msg_name = p->rx_batch.msg[i + (unsigned)n].msg_hdr.msg_name;
	}
	return (unsigned)n;
}

/* ---- transmitting ---- */

static void give_back(struct udp_port *p, struct udp_queue *q, struct net_buf *const *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (q->back == NULL) {
			push_free(p, (struct udp_buf *)bufs[i]);
		} else {
			bool pushed = spsc_push(q->back, bufs[i]);

			assert(pushed);
			(void)pushed;
		}
	}
}

/* The source address of a reply: the address that the request came to. */
static void write_control(const struct udp_port *p, struct msghdr *h, union udp_control *control, const struct udp_buf *b)
{
	struct cmsghdr *c = &control->align;

	h->msg_control = control;
	if (p->v6) {
		struct in6_pktinfo info = b->local.in6;

		/* the route decides the interface, but for link-local addresses, which mean something on one only */
		if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
			info.ipi6_ifindex = 0;
		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(info)) };
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		h->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in_pktinfo info = { .ipi_spec_dst = b->local.in.ipi_spec_dst };

		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(info)) };
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		h->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

static void prepare(const struct udp_port *p, struct udp_batch *batch, unsigned i, struct net_buf *net)
{
	struct msghdr *h = &batch->msg[i].msg_hdr;
	struct udp_buf *b = (struct udp_buf *)net;

	batch->iov[i] = (struct iovec){ net->data, net->len };
	h->msg_name = &b->peer;
	h->msg_namelen = p->v6 ? sizeof(b->peer.in6) : sizeof(b->peer.in);
	if (p->wildcard)
		write_control(p, h, &batch->control[i], b);
}

static bool room_to_send(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	return poll(&pfd, 1, UDP_SEND_WAIT_MS) > 0;
}

/* A datagram that cannot be sent does not stop those behind it. Return: how many were sent. */
static unsigned send_batch(struct udp_port *p, struct mmsghdr *msg, unsigned n)
{
	unsigned at = 0, sent = 0;

	while (at < n) {
		int r = sendmmsg(p->fd, msg + at, n - at, MSG_DONTWAIT);

		if (r > 0) {
			at += (unsigned)r;
			sent += (unsigned)r;
		} else if (errno != EINTR && !((errno == EAGAIN || errno == EWOULDBLOCK) && room_to_send(p->fd))) {
			at++;
		}
	}
	return sent;
}

static unsigned udp_tx(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	struct udp_port *p = udp_of(port);
	struct udp_queue *q = &p->queue[queue];
	unsigned total = 0;

	for (unsigned at = 0; at < n;) {
		unsigned part = n - at < UDP_BATCH ? n - at : UDP_BATCH, sent;
		uint64_t bytes = 0;

		for (unsigned i = 0; i < part; i++) {
			prepare(p, &q->batch, i, bufs[at + i]);
			bytes += bufs[at + i]->len;
		}
		sent = send_batch(p, q->batch.msg, part);
		give_back(p, q, bufs + at, part);
		bump(&q->tx, sent);
		bump(&q->tx_bytes, sent == part ? bytes : bytes * sent / part);
		bump(&q->tx_dropped, part - sent);
		total += sent;
		at += part;
	}
	return total;
}

static void udp_release(struct net_port *port, unsigned queue, struct net_buf *const *bufs, unsigned n)
{
	struct udp_port *p = udp_of(port);

	give_back(p, &p->queue[queue], bufs, n);
}

/* A worker gives a buffer back by one store in its ring: it happened or it did not. */
static bool udp_recover(struct net_port *port, unsigned queue, struct net_buf *buf, uint32_t gen)
{
	drain_queue(udp_of(port), queue);
	return ((struct udp_buf *)buf)->outside && buf->gen == gen;
}

/* ---- the rest ---- */

static int udp_fd(const struct net_port *port)
{
	return ((const struct udp_port *)port)->fd;
}

/* The socket stays readable while there is something. */
static bool udp_arm(struct net_port *port)
{
	return true;
}

static void udp_counters(const struct net_port *port, struct net_counters *ret)
{
	const struct udp_port *p = (const struct udp_port *)port;
	struct net_counters c = { .rx = value(&p->rx), .rx_bytes = value(&p->rx_bytes), .rx_dropped = value(&p->rx_dropped),
				  .rx_malformed = value(&p->rx_malformed) };

	for (unsigned q = 0; q < p->queues; q++) {
		c.tx += value(&p->queue[q].tx);
		c.tx_bytes += value(&p->queue[q].tx_bytes);
		c.tx_dropped += value(&p->queue[q].tx_dropped);
	}
	*ret = c;
}

static void udp_address(const struct net_port *port, char *out, size_t n)
{
	union udp_address a;
	socklen_t len = sizeof(a);
	char host[NI_MAXHOST], service[NI_MAXSERV];

	out[0] = '\0';
	if (getsockname(((const struct udp_port *)port)->fd, &a.any, &len) < 0 ||
	    getnameinfo(&a.any, len, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(out, n, a.any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, service);
}

const struct net_backend net_udp = {
	.name = "udp",
	.forks = true,
	.probe = udp_probe,
	.open = udp_open,
	.close = udp_close,
	.rx = udp_rx,
	.tx = udp_tx,
	.release = udp_release,
	.recover = udp_recover,
	.fd = udp_fd,
	.arm = udp_arm,
	.counters = udp_counters,
	.address = udp_address,
};
