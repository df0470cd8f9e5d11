/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/fd.h"
#include "link.h"

/* Who connects: address, route, connection, each an event when it is there. */

#define RESOLVE_MS 2000
/* 4.096 us * 2^16, after which what was not acknowledged is sent again, 7 times: a machine that is gone is noticed in two seconds */
#define ACK_TIMEOUT 16

static int resolved(struct link *l)
{
	struct rdma_conn_param param = { .retry_count = 7, .rnr_retry_count = 7 };
	struct ibv_device_attr attr;
	int r;

	errno = 0;
	l->pd = ibv_alloc_pd(l->id->verbs);
	if (!l->pd)
		return errno ? -errno : -ENOMEM;
	r = link_make(l, l->pd, true);
	if (r == 0)
		r = link_post_all(l);
	if (r < 0)
		return r;
	if (ibv_query_device(l->id->verbs, &attr))
		return -EIO;
	param.initiator_depth = (uint8_t)(attr.max_qp_init_rd_atom < (int)LINK_DEPTH ? attr.max_qp_init_rd_atom : (int)LINK_DEPTH);
	return rdma_connect(l->id, &param) ? -errno : 0;
}

/* Return: 0, -errno */
static int happened(struct link *l, enum rdma_cm_event_type event)
{
	switch (event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		return rdma_resolve_route(l->id, RESOLVE_MS) ? -errno : 0;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		return resolved(l);
	case RDMA_CM_EVENT_ESTABLISHED:
		l->step = LINK_UP;
		return 0;
	case RDMA_CM_EVENT_TIMEWAIT_EXIT:
		return 0;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		return -EHOSTUNREACH;
	case RDMA_CM_EVENT_REJECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
		return -ECONNREFUSED;
	default:
		return -ECONNRESET;
	}
}

int link_events(struct conn *c)
{
	struct link *l = c->at;
	struct rdma_cm_event *e;
	int r = 0;

	while (!r && rdma_get_cm_event(l->events, &e) == 0) {
		enum rdma_cm_event_type event = e->event;

		rdma_ack_cm_event(e);
		r = happened(l, event);
		if (r == 0 && event == RDMA_CM_EVENT_ROUTE_RESOLVED)
			r = link_watch_bell(l, c->fd);
	}
	return r;
}

static int reached(struct conn *c)
{
	struct link *l = c->at;
	int r = link_events(c);

	return r < 0 ? r : l->step == LINK_UP;
}

static const struct way_reads reads = { .begin = link_begin, .next = link_next };
static const struct way way = { .reached = reached, .fill = link_fill, .flush = link_flush, .again = link_again, .gone = link_gone, .name = link_name, .done = link_done, .reads = &reads, .only_in = true };

int client_connect(const struct place *p, struct conn *ret)
{
	uint8_t timeout = ACK_TIMEOUT;
	struct sockaddr_storage a;
	struct link *l;
	int fd, r;

	errno = 0;
	l = link_new();
	if (!l)
		return errno ? -errno : -ENOMEM;
	if (rdma_create_id(l->events, &l->id, NULL, RDMA_PS_TCP)) {
		r = -errno;
		goto err;
	}
	/* older ones do not have it */
	(void)rdma_set_option(l->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout));
	r = link_address(p, &a);
	if (r == 0 && rdma_resolve_addr(l->id, NULL, (struct sockaddr *)&a, RESOLVE_MS))
		r = -errno;
	if (r < 0)
		goto err;
	r = fd = link_fd(l);
	if (r < 0)
		goto err;
	conn_init(ret, fd, &way, l);
	return 0;
err:
	link_free(l);
	return r;
}
