/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "link.h"

/* Who listens, and lends its memory. */

/* ---- devices ---- */

static struct device *device_of(struct at_pool *p, struct ibv_context *verbs)
{
	struct device *d = p->devices;

	while (d && d->verbs != verbs)
		d = d->next;
	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d)
			return NULL;
		d->verbs = verbs;
		d->next = p->devices;
		p->devices = d;
	}
	if (!d->users) {
		d->pd = ibv_alloc_pd(verbs);
		if (!d->pd)
			return NULL;
	}
	d->users++;
	return d;
}

/* The last one that uses it takes the loan back. */
static void device_leave(struct device *d)
{
	if (!d || --d->users)
		return;
	for (size_t k = 0; k < d->regions; k++)
		if (d->region[k].mr)
			ibv_dereg_mr(d->region[k].mr);
	free(d->region);
	d->region = NULL;
	d->regions = 0;
	ibv_dealloc_pd(d->pd);
	d->pd = NULL;
}

static int lend(struct conn *c, void *memory, uint64_t bytes, struct wire_memory *ret)
{
	struct device *d = ((struct link *)c->at)->device;
	size_t before = d->regions;
	struct ibv_mr *mr;

	if (array_grow((void **)&d->region, &d->regions, ret->region + 1, sizeof(*d->region)) < 0)
		return -ENOMEM;
	memset(d->region + before, 0, (d->regions - before) * sizeof(*d->region));
	mr = d->region[ret->region].mr;
	errno = 0;
	/* writing is the device's own: what nobody has written yet is made now, and is what will be written */
	if (!mr)
		mr = ibv_reg_mr(d->pd, memory, bytes, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	if (!mr)
		return errno ? -errno : -ENOMEM;
	d->region[ret->region].mr = mr;
	ret->rkey = mr->rkey;
	ret->address = (uintptr_t)memory;
	return 0;
}

/* ---- connections ---- */

static int change(struct link *l, enum ibv_qp_state state, uint8_t depth)
{
	struct ibv_qp_attr attr = { .qp_state = state };
	int mask;

	if (rdma_init_qp_attr(l->id, &attr, &mask))
		return -errno;
	/* nobody reads before it has joined */
	if (mask & IBV_QP_ACCESS_FLAGS)
		attr.qp_access_flags = 0;
	if (mask & IBV_QP_MAX_DEST_RD_ATOMIC)
		attr.max_dest_rd_atomic = depth;
	return -ibv_modify_qp(l->qp, &attr, mask);
}

static int admit(struct conn *c)
{
	struct link *l = c->at;
	struct ibv_qp_attr attr = { .qp_access_flags = IBV_ACCESS_REMOTE_READ };

	return -ibv_modify_qp(l->qp, &attr, IBV_QP_ACCESS_FLAGS);
}

static void pool_done(struct conn *c)
{
	struct device *d = ((struct link *)c->at)->device;

	link_done(c);
	device_leave(d);
}

static const struct way_reads reads = { .admit = admit, .lend = lend };
static const struct way way = { .fill = link_fill, .flush = link_flush, .again = link_again, .gone = link_gone, .name = link_name, .done = pool_done, .reads = &reads, .only_in = true };

/* Return: a descriptor of the link's, -errno */
static int answer(struct at_pool *p, struct link *l, uint8_t depth)
{
	struct rdma_conn_param param = { .responder_resources = depth, .rnr_retry_count = 7 };
	int r;

	l->device = device_of(p, l->id->verbs);
	if (!l->device)
		return -ENOMEM;
	r = rdma_migrate_id(l->id, l->events) ? -errno : link_make(l, l->device->pd, false);
	if (r == 0)
		r = change(l, IBV_QPS_INIT, depth);
	if (r == 0)
		r = link_post_all(l);
	if (r == 0)
		r = change(l, IBV_QPS_RTR, depth);
	if (r == 0)
		r = change(l, IBV_QPS_RTS, depth);
	if (r < 0)
		return r;
	param.qp_num = l->qp->qp_num;
	if (rdma_accept(l->id, &param))
		return -errno;
	r = link_fd(l);
	return r < 0 ? r : link_watch_bell(l, r) < 0 ? -ENOMEM : r;
}

/* Somebody wants to connect. Return: 1, 0: it is turned away. */
static int take_in(struct at_pool *p, struct rdma_cm_id *id, uint8_t depth, struct conn *ret)
{
	struct link *l = link_new();
	struct device *d;
	int fd = -ENOMEM;

	if (l) {
		l->id = id;
		fd = answer(p, l, depth);
	}
	if (fd >= 0) {
		conn_init(ret, fd, &way, l);
		return 1;
	}
	(void)rdma_reject(id, NULL, 0);
	d = l ? l->device : NULL;
	if (l)
		link_free(l);
	else
		rdma_destroy_id(id);
	device_leave(d);
	return 0;
}

int pool_accept(struct listener *l, struct conn *ret)
{
	struct at_pool *p = l->at;
	struct rdma_cm_event *e;
	struct rdma_cm_id *id;
	uint8_t depth;

	while (rdma_get_cm_event(p->events, &e) == 0) {
		bool asks = e->event == RDMA_CM_EVENT_CONNECT_REQUEST;

		id = e->id;
		depth = e->param.conn.responder_resources < LINK_DEPTH ? e->param.conn.responder_resources : LINK_DEPTH;
		rdma_ack_cm_event(e);
		if (asks && take_in(p, id, depth, ret))
			return 1;
	}
	return errno == EAGAIN ? 0 : -errno;
}

/* ---- listening ---- */

void pool_unlisten(struct listener *l)
{
	struct at_pool *p = l->at;
	struct device *d, *next;

	for (d = p->devices; d; d = next) {
		next = d->next;
		free(d);
	}
	if (p->id)
		rdma_destroy_id(p->id);
	if (p->events)
		rdma_destroy_event_channel(p->events);
	free(p);
	/* it was the channel's */
	l->fd = -1;
	l->at = NULL;
}

static int begin(struct at_pool *p, const struct place *place)
{
	struct sockaddr_storage a;
	int r = link_address(place, &a);

	errno = 0;
	p->events = r < 0 ? NULL : rdma_create_event_channel();
	if (!p->events)
		return r < 0 ? r : errno ? -errno : -ENODEV;
	if (fd_set_nonblock(p->events->fd, true) < 0 || fd_set_cloexec(p->events->fd, true) < 0 || rdma_create_id(p->events, &p->id, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(p->id, (struct sockaddr *)&a) || rdma_listen(p->id, 64))
		return -errno;
	return 0;
}

int pool_listen(const struct place *place, struct listener *ret)
{
	struct at_pool *p = calloc(1, sizeof(*p));
	int r = p ? begin(p, place) : -ENOMEM;

	ret->at = p;
	if (r < 0) {
		if (p)
			pool_unlisten(ret);
		return r;
	}
	ret->fd = p->events->fd;
	ret->port = ntohs(rdma_get_src_port(p->id));
	return 0;
}
