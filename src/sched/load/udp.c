/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane over UDP. Each flow is a connected socket with a port of its own. What is due at once goes out in one system call per flow, what has arrived comes
 * in likewise; between the two the lane sleeps until the next request is due, or looks at the clock.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "lane.h"
#include "payload.h"
#include "sched/wire.h"

#define BATCH 64                                /* datagrams a system call */
#define ROUND 64                                /* requests sent before answers are looked for again */
#define SEND_BYTES (WIRE_HEADER_BYTES + PAYLOAD_BYTES_MAX)
#define RECV_BYTES (WIRE_HEADER_BYTES + WIRE_PAYLOAD_MAX)
#define SOCKET_BUFFER (4 << 20)
#define RING_MIN (1 << 12)
#define RING_MAX (1 << 22)                      /* 40 bytes each */
#define EVENTS 64

struct flow {
	int fd;
	unsigned n;                             /* to send */
	struct mmsghdr out[BATCH];
	struct iovec iov[BATCH];
	uint8_t data[BATCH][SEND_BYTES];
};

struct udp {
	struct lane lane;
	int epoll;
	struct flow *flows;
	unsigned flows_n;
	struct flights flights;
	uint64_t first_id;                      /* ids begin anywhere, so that answers to an earlier run are no answers to this one */
	struct sched_random random;             /* flows and keys: not the schedule's, which stays the same whatever is sent */
	unsigned touched[ROUND], touched_n;
	bool no_segments;                       /* the kernel, or the device, does not cut one buffer into datagrams */
	struct mmsghdr in[BATCH];
	struct iovec in_iov[BATCH];
	uint8_t (*in_data)[RECV_BYTES + 1];     /* one more: a longer one is seen to be too long */
};

/* ---- opening ---- */

static size_t ring_size(const struct load_config *cfg)
{
	double rate_hz = 0, need;
	size_t n = RING_MIN;

	for (uint32_t i = 0; i < cfg->workload->phases_n; i++)
		if (schedule_rate_hz(cfg, i) > rate_hz)
			rate_hz = schedule_rate_hz(cfg, i);
	if (cfg->trace)
		rate_hz = (double)cfg->trace->n / ((double)schedule_length_ns(cfg) / 1e9) * 4;
	need = rate_hz / cfg->threads * ((double)cfg->timeout_ns / 1e9) * 2;
	while (n < RING_MAX && (double)n < need)
		n *= 2;
	return n;
}

static int flow_open(struct udp *u, struct flow *f, unsigned index)
{
	const struct address *to = &u->lane.run->address;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = index };
	int size = SOCKET_BUFFER;

	f->fd = socket(to->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (f->fd < 0)
		return err_set(&u->lane.err, -errno, "cannot make socket %u: %s", index, strerror(errno));
	/* As much as is allowed; replies that the lane is late to read should not be dropped. The forced ones need CAP_NET_ADMIN. */
	if (setsockopt(f->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(f->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(f->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(f->fd, (const struct sockaddr *)&to->sa, to->len) < 0)
		return err_set(&u->lane.err, -errno, "cannot send to %s: %s", to->text, strerror(errno));
	if (epoll_ctl(u->epoll, EPOLL_CTL_ADD, f->fd, &ev) < 0)
		return err_set(&u->lane.err, -errno, "cannot wait for socket %u: %s", index, strerror(errno));
	for (unsigned i = 0; i < BATCH; i++) {
		f->iov[i].iov_base = f->data[i];
		f->out[i].msg_hdr = (struct msghdr){ .msg_iov = &f->iov[i], .msg_iovlen = 1 };
	}
	return 0;
}

static int udp_open(struct lane *l)
{
	struct udp *u = (struct udp *)l;
	int rc = 0;

	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	u->flows = calloc(l->cfg->flows, sizeof(*u->flows));
	u->in_data = calloc(BATCH, sizeof(*u->in_data));
	if (u->epoll < 0 || !u->flows || !u->in_data || flights_init(&u->flights, ring_size(l->cfg)) < 0)
		return err_set(&l->err, -ENOMEM, "no memory, or no descriptors, for a thread");
	for (unsigned i = 0; i < l->cfg->flows; i++)
		u->flows[i].fd = -1;
	if (getrandom(&u->first_id, sizeof(u->first_id), 0) != (ssize_t)sizeof(u->first_id))
		return err_set(&l->err, -EIO, "no random numbers");
	sched_random_seed(&u->random, ~(l->cfg->seed + l->index));
	for (u->flows_n = 0; rc == 0 && u->flows_n < l->cfg->flows; u->flows_n++)
		rc = flow_open(u, &u->flows[u->flows_n], u->flows_n);
	for (unsigned i = 0; i < BATCH; i++) {
		u->in_iov[i] = (struct iovec){ u->in_data[i], sizeof(u->in_data[i]) };
		u->in[i].msg_hdr = (struct msghdr){ .msg_iov = &u->in_iov[i], .msg_iovlen = 1 };
	}
	return rc;
}

static void udp_close(struct lane *l)
{
	struct udp *u = (struct udp *)l;

	for (unsigned i = 0; i < u->flows_n; i++)
		fd_close(&u->flows[i].fd);
	fd_close(&u->epoll);
	free(u->flows);
	free(u->in_data);
	flights_done(&u->flights);
}

/* ---- sending ---- */

/*
 * Datagrams of one length as one buffer, which the kernel cuts up at the end of its path (udp(7), UDP_SEGMENT): what is due at once costs much less;
 * whoever looks at packets before they are cut sees one large one, so this has to be asked for.
 * Return: how many were sent, -1 with errno.
 */
static int send_segments(struct flow *f, unsigned from)
{
	union { char buf[CMSG_SPACE(sizeof(uint16_t))]; struct cmsghdr align; } control = { .buf = "" };
	struct msghdr m = { .msg_iov = f->iov + from, .msg_iovlen = f->n - from, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	uint16_t size = (uint16_t)f->iov[from].iov_len;

	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(c), &size, sizeof(size));
	return sendmsg(f->fd, &m, MSG_NOSIGNAL) < 0 ? -1 : (int)(f->n - from);
}

static bool same_length(const struct flow *f, unsigned from)
{
	for (unsigned i = from + 1; i < f->n; i++)
		if (f->iov[i].iov_len != f->iov[from].iov_len)
			return false;
	return f->n - from > 1;
}

static int send_some(struct udp *u, struct flow *f, unsigned from)
{
	int n;

	if (u->lane.cfg->segment && !u->no_segments && same_length(f, from)) {
		n = send_segments(f, from);
		if (n >= 0 || (errno != EIO && errno != EINVAL && errno != EOPNOTSUPP && errno != EMSGSIZE))
			return n;
		u->no_segments = true;
	}
	return sendmmsg(f->fd, f->out + from, f->n - from, MSG_NOSIGNAL);
}

static int flush(struct udp *u, struct flow *f)
{
	unsigned sent = 0;

	while (sent < f->n) {
		int n = send_some(u, f, sent);

		if (n > 0) {
			sent += (unsigned)n;
		} else if (errno == ECONNREFUSED) {
			u->lane.refused++;              /* what an earlier one came to; this one is sent now */
		} else if (errno == EAGAIN || errno == ENOBUFS) {
			struct pollfd p = { .fd = f->fd, .events = POLLOUT };

			/* The device is behind: wait for it, no longer than a stop may. What is late by then is measured as late. */
			if (poll(&p, 1, 100) < 0 && errno != EINTR)
				return err_set(&u->lane.err, -errno, "cannot wait to send: %s", strerror(errno));
			if (lane_stopped(&u->lane))
				break;
		} else if (errno != EINTR) {
			return err_set(&u->lane.err, -errno, "cannot send to %s: %s", u->lane.run->address.text, strerror(errno));
		}
	}
	f->n = 0;
	return 0;
}

static void request_add(struct udp *u, const struct arrival *a)
{
	const struct load_config *cfg = u->lane.cfg;
	unsigned index = u->flows_n == 1 ? 0 : sched_random_below(&u->random, u->flows_n);
	struct flow *f = &u->flows[index];
	struct flight evicted, *e;
	bool was_evicted;
	uint8_t *at = f->data[f->n];
	size_t len = payload_write(cfg, a, &u->random, at + WIRE_HEADER_BYTES);

	e = flights_add(&u->flights, &evicted, &was_evicted);
	if (was_evicted)
		lane_lost(&u->lane, &evicted);
	e->due_ns = a->due_ns;
	e->service_ns = a->service_ns;
	e->phase = a->phase;
	e->type = (uint16_t)a->type;
	e->measured = lane_measured(&u->lane, a->due_ns);
	wire_write(&(struct wire_header){ .kind = WIRE_REQUEST, .type = cfg->numbers ? cfg->numbers[a->type] : (uint16_t)a->type, .id = u->first_id + e->seq,
		.payload_len = (uint32_t)len }, at);
	f->iov[f->n].iov_len = WIRE_HEADER_BYTES + len;
	if (f->n++ == 0)
		u->touched[u->touched_n++] = index;
}

/* Everything that is due, ROUND at most. Return: 0, -errno. */
static int send_due(struct udp *u, uint64_t now_ns)
{
	struct lane *l = &u->lane;
	int rc = 0;

	u->touched_n = 0;
	for (unsigned n = 0; n < ROUND && l->more && l->next.due_ns <= now_ns; n++) {
		lane_due(l, &l->next, now_ns, true);
		request_add(u, &l->next);
		lane_advance(l);
	}
	for (unsigned i = 0; rc == 0 && i < u->touched_n; i++)
		rc = flush(u, &u->flows[u->touched[i]]);
	return rc;
}

/* ---- receiving ---- */

static void take_reply(struct udp *u, const uint8_t *data, size_t len, uint64_t now_ns)
{
	struct lane *l = &u->lane;
	struct wire_header h;
	struct flight *e;

	if (wire_parse(data, len, &h) < 0 || h.kind != (l->cfg->app == LOAD_ECHO ? WIRE_REQUEST : WIRE_REPLY)) {
		l->malformed++;
		return;
	}
	switch (flights_answer(&u->flights, h.id - u->first_id, &e)) {
	case FLIGHT_FIRST:
		lane_answered(l, e, &(struct answer){ .now_ns = now_ns, .queue_ns = h.queue_ns, .service_ns = h.service_ns, .status = h.status, .ok = h.status == WIRE_OK,
			.slow_ns = l->cfg->app == LOAD_ROCKSDB ? h.service_ns : e->service_ns });
		break;
	case FLIGHT_DUPLICATE:
		if (e->measured)
			lane_series(l, e->phase, e->type)->duplicates++;
		break;
	case FLIGHT_LATE:
		if (e && e->measured)
			lane_series(l, e->phase, e->type)->late++;
		break;
	case FLIGHT_STRAY:
		l->stray++;
		break;
	}
}

static int receive(struct udp *u, struct flow *f)
{
	int n = recvmmsg(f->fd, u->in, BATCH, 0, NULL);
	uint64_t now_ns = lane_now(&u->lane);

	if (n < 0 && errno == ECONNREFUSED) {
		u->lane.refused++;
		return 0;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return err_set(&u->lane.err, -errno, "cannot receive from %s: %s", u->lane.run->address.text, strerror(errno));
	for (int i = 0; i < n; i++)
		take_reply(u, u->in_data[i], u->in[i].msg_len, now_ns);
	return 0;
}

/* ---- the loop ---- */

static void expire(struct udp *u, uint64_t now_ns)
{
	uint64_t timeout_ns = u->lane.cfg->timeout_ns;
	struct flight *e;

	if (now_ns < timeout_ns)
		return;
	while ((e = flights_expire(&u->flights, now_ns - timeout_ns)))
		lane_lost(&u->lane, e);
}

static int wait_and_receive(struct udp *u)
{
	struct lane *l = &u->lane;
	uint64_t oldest_ns = flights_oldest_ns(&u->flights), expiry_ns = oldest_ns == UINT64_MAX ? UINT64_MAX : oldest_ns + l->cfg->timeout_ns + 1;
	uint64_t wait_ns = lane_wait_ns(l, lane_now(l), l->more && l->next.due_ns < expiry_ns ? l->next.due_ns : expiry_ns);
	struct timespec ts = { .tv_sec = (time_t)(wait_ns / NS_PER_S), .tv_nsec = (long)(wait_ns % NS_PER_S) };
	struct epoll_event ev[EVENTS];
	int n = epoll_pwait2(u->epoll, ev, EVENTS, &ts, NULL), rc = 0;

	if (n < 0 && errno != EINTR)
		return err_set(&l->err, -errno, "cannot wait: %s", strerror(errno));
	for (int i = 0; rc == 0 && i < n; i++)
		rc = receive(u, &u->flows[ev[i].data.u32]);
	return rc;
}

static int udp_play(struct lane *l)
{
	struct udp *u = (struct udp *)l;
	int rc = 0;

	lane_advance(l);
	while (rc == 0 && (l->more || u->flights.flying > 0)) {
		uint64_t now_ns = lane_now(l);

		if (lane_stopped(l))
			break;
		if (l->more && l->next.due_ns <= now_ns)
			rc = send_due(u, now_ns);
		if (rc == 0)
			rc = wait_and_receive(u);
		expire(u, now_ns);
		atomic_store_explicit(&l->flying, u->flights.flying, memory_order_relaxed);
	}
	for (struct flight *e; (e = flights_expire(&u->flights, UINT64_MAX)); )
		lane_forget(l, e);              /* stopped: nobody knows what would have become of them */
	return rc;
}

const struct lane_ops lane_udp = { sizeof(struct udp), udp_open, udp_play, udp_close };
